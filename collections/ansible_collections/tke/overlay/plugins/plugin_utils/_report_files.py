# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two files of a report: the page and the data. Only files of an earlier report are overwritten."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import Report, is_report
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._locking import open_beside

MARK = '<meta name="tke-overlay-report" content="'
"""Identifies a page of this report; the digest of the report follows."""


class ReportFiles:
    """The page at ``dest``, and the data beside it with the same name and the ending ``.json``.

    :param ledger: a file that must not be overwritten: the ledger.
    :raises ValidationError: names each file that must not be written, and why.
    """

    def __init__(self, dest: str, ledger: str) -> None:
        self.page = os.path.abspath(os.path.expanduser(dest))
        stem, extension = os.path.splitext(self.page)
        self.data = f"{stem}.json"
        self.data_name = os.path.basename(self.data)
        problems = []
        if extension not in (".html", ".htm"):
            problems.append(f"dest is {dest!r}: it must end in .html; the data is written beside it as .json")
        if not os.path.isdir(os.path.dirname(self.page)):
            problems.append(
                f"dest is {dest!r}, but the directory {os.path.dirname(self.page)} does not exist: create it"
            )
        if os.path.realpath(self.data) == os.path.realpath(ledger):
            problems.append(f"dest is {dest!r}, but the data file {self.data} is the ledger: choose another dest")
        if not problems:
            self._old_page, self._old_data = _read(self.page), _read(self.data)
            problems += self._foreign()
        if problems:
            raise ValidationError(*problems)

    def _foreign(self) -> t.Iterator[str]:
        if self._old_page is not None and MARK not in self._old_page:
            yield f"{self.page} exists and is not a page of this report: choose another dest, or remove the file"
        if self._old_data is not None and self._old_report() is None:
            yield f"{self.data} exists and is not the data of a report: choose another dest, or remove the file"

    def _old_report(self) -> Report | None:
        try:
            document = json.loads(self._old_data or "")
        except ValueError:
            return None
        return t.cast(Report, document) if is_report(document) else None

    def current(self) -> Report | None:
        """Return the report in both files, or ``None`` where a file is missing or they are of different reports."""
        old = self._old_report()
        same = old is not None and f'{MARK}{old["digest"]}"' in (self._old_page or "")
        return old if same else None

    def write(self, page: str, data: str) -> None:
        """Replace both files, each atomically.

        :raises ValidationError: a file cannot be written.
        """
        for path, text in ((self.data, data), (self.page, page)):
            try:
                _replace(path, text)
            except OSError as error:
                raise ValidationError(
                    f"{path} cannot be written: {error.strerror or error}; choose another dest"
                ) from error


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValidationError(f"{path} exists and cannot be read: {error.strerror}; choose another dest") from error


def _replace(path: str, text: str) -> None:
    descriptor, temporary = open_beside(path)
    with open(descriptor, "w", encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
            os.chmod(temporary, _mode(path))
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise


def _mode(path: str) -> int:
    """Return the mode of the existing file, or that of a new file under the umask."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask

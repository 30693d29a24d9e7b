# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two files of a report. Only files that an earlier report wrote are ever overwritten."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import Report, is_report
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

MARK = '<meta name="tke-overlay-picture" content="'
"""By this a page is known for one of ours; the name of its picture follows."""


class ReportFiles:
    """The page at ``dest``, and the data beside it under the same name with ``.json``.

    :param taken: a file that is neither, whatever ``dest`` says: the ledger.
    :raises ValidationError: naming each file that cannot be written.
    """

    def __init__(self, dest: str, taken: str) -> None:
        self.page = os.path.abspath(os.path.expanduser(dest))
        stem, extension = os.path.splitext(self.page)
        self.data = f"{stem}.json"
        self.data_name = os.path.basename(self.data)
        problems = []
        if extension not in (".html", ".htm"):
            problems.append(f"dest is {dest!r}: give a file name that ends in .html; the data goes beside it as .json")
        if not os.path.isdir(os.path.dirname(self.page)):
            problems.append(f"dest is {dest!r}, and there is no directory {os.path.dirname(self.page)}: create it")
        if os.path.realpath(self.data) == os.path.realpath(taken):
            problems.append(f"dest is {dest!r}, and {self.data} beside it is the ledger: give another name")
        if not problems:
            self._old_page, self._old_data = _read(self.page), _read(self.data)
            problems += self._foreign()
        if problems:
            raise ValidationError(*problems)

    def _foreign(self) -> t.Iterator[str]:
        if self._old_page is not None and MARK not in self._old_page:
            yield f"{self.page} is there and is no page of this report: give another dest, or remove it"
        if self._old_data is not None and self._old_picture() is None:
            yield f"{self.data} is there and is no data of this report: give another dest, or remove it"

    def _old_picture(self) -> Report | None:
        try:
            document = json.loads(self._old_data or "")
        except ValueError:
            return None
        return t.cast(Report, document) if is_report(document) else None

    def picture(self) -> Report | None:
        """What both files show now; ``None`` where one is missing, or they do not show the same."""
        old = self._old_picture()
        same = old is not None and f'{MARK}{old["picture"]}"' in (self._old_page or "")
        return old if same else None

    def write(self, page: str, data: str) -> None:
        """Each file appears whole or not at all.

        :raises ValidationError: the directory cannot be written.
        """
        for path, text in ((self.data, data), (self.page, page)):
            try:
                _replace(path, text)
            except OSError as error:
                raise ValidationError(
                    f"{path} cannot be written: {error.strerror or error}; give another dest"
                ) from error


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValidationError(f"{path} is there and cannot be read: {error.strerror}; give another dest") from error


def _replace(path: str, text: str) -> None:
    descriptor, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(beside, _mode(path))
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _mode(path: str) -> int:
    """Of the file that is there; of a new one what the umask leaves."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask

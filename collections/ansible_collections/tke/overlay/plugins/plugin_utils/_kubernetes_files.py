# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of module kubernetes_config: one for each host, readable only for their owner, as they hold secrets."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.render import MARK, without_secrets
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._locking import open_beside

MODE = 0o600
MODE_OF_DIRECTORY = 0o700
ENDING = ".yaml"


class ConfigFiles:
    """The files ``HOST.yaml`` in a directory. Only files that this module has written are overwritten.

    :param inventories: the sources of the inventory: Ansible would read the files as an inventory if a directory of
        these contained them.
    :raises ValidationError: names each file that must not be written, and why.
    """

    def __init__(self, dest: str, texts: t.Mapping[str, str], inventories: t.Iterable[str]) -> None:
        self.dest = os.path.abspath(os.path.expanduser(dest))
        self.texts = {os.path.join(self.dest, f"{host}{ENDING}"): text for host, text in texts.items()}
        problems = list(self._problems_of_directory(dest, inventories))
        self.before = {} if problems else {path: _read(path) for path in self.texts}
        problems += [
            f"{path} exists and was not written by this module: set another overlay_kubernetes_dest, or move it away"
            for path, text in self.before.items()
            if text is not None and not text.startswith(MARK)
        ]
        if problems:
            raise ValidationError(*problems)

    def _problems_of_directory(self, dest: str, inventories: t.Iterable[str]) -> t.Iterator[str]:
        for source in inventories:
            if os.path.isdir(source) and _is_inside(self.dest, source):
                yield (
                    f"overlay_kubernetes_dest is {dest!r}, inside the inventory directory {source}, and Ansible would "
                    f"read the files as an inventory: set a directory outside of it"
                )
        parent = os.path.dirname(self.dest)
        if os.path.exists(self.dest) and not os.path.isdir(self.dest):
            yield f"overlay_kubernetes_dest is {dest!r}, which is not a directory: set another one"
        elif not os.path.isdir(parent):
            yield f"overlay_kubernetes_dest is {dest!r}, but {parent} does not exist: create it"

    def changed(self) -> list[str]:
        """Return the files whose text or mode differs."""
        return [path for path, text in self.texts.items() if self.before[path] != text or _mode(path) != MODE]

    def diff(self) -> list[dict[str, str]]:
        """Return the diff of each file whose text differs. Secrets are hidden."""
        found = []
        for path in self.changed():
            before, after = without_secrets(self.before[path] or "", self.texts[path])
            found.append({"before_header": path, "after_header": path, "before": before, "after": after})
        return found

    def former(self) -> list[str]:
        """Return the files of hosts that have no text any more."""
        with contextlib.suppress(FileNotFoundError):
            found = [os.path.join(self.dest, name) for name in sorted(os.listdir(self.dest)) if name.endswith(ENDING)]
            return [path for path in found if path not in self.texts and (_read(path) or "").startswith(MARK)]
        return []

    def write(self) -> None:
        """Write the files that differ, each atomically.

        :raises ValidationError: a file cannot be written.
        """
        try:
            if not os.path.isdir(self.dest):
                os.mkdir(self.dest, MODE_OF_DIRECTORY)
            for path in self.changed():
                _replace(path, self.texts[path])
        except OSError as error:
            path = error.filename or self.dest
            raise ValidationError(
                f"{path} cannot be written: {error.strerror}; set another overlay_kubernetes_dest"
            ) from error


def _is_inside(path: str, directory: str) -> bool:
    real = os.path.realpath(directory)
    return os.path.commonpath([os.path.realpath(path), real]) == real


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValidationError(f"{path} exists and cannot be read: {error.strerror}") from error


def _mode(path: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_mode & 0o777
    return -1


def _replace(path: str, text: str) -> None:
    descriptor, temporary = open_beside(path)
    with open(descriptor, "w", encoding="utf-8") as file:  # only its owner can read it
        try:
            file.write(text)
            file.flush()
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 3: where a ledger is kept.

A store holds one text. ``transact`` turns it into another as one step that no
second writer can come between: either the new text is durable, or the old one
is untouched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Refusal

Change = t.Callable[[t.Optional[str]], str]
"""From the present text (``None``: there is none yet) to the wanted one. May be called more than once."""


class Store(t.Protocol):
    """What floors above need of a ledger's place."""

    where: str

    def read(self) -> str | None:
        """The present text, or ``None``."""

    def transact(self, change: Change) -> None:
        """Replaces the text by ``change(text)``; an exception from ``change`` leaves all as it was."""


class FileStore:
    """A file on the controller; several people may run plays at once.

    Writers hold ``flock`` on a file beside it (not on the ledger itself: the
    lock would stay with the old inode when the new one is renamed over it). The
    kernel drops the lock of a writer that dies.
    """

    def __init__(self, path: str) -> None:
        self.where = os.path.abspath(os.path.expanduser(path))

    def read(self) -> str | None:
        """The present text, or ``None`` when there is no such file.

        :raises Refusal: it cannot be read.
        """
        try:
            with open(self.where, encoding="utf-8") as stream:
                return stream.read()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise Refusal(f"the ledger {self.where} cannot be read: {error}") from error

    def transact(self, change: Change) -> None:
        """See :meth:`Store.transact`.

        :raises Refusal: the directory is missing, read-only or full; the old text is intact.
        """
        try:
            with self._lock():
                before = self.read()
                after = change(before)
                if after != before:
                    self._replace(after)
        except OSError as error:
            raise Refusal(self._why_not(error)) from error

    @contextlib.contextmanager
    def _lock(self) -> t.Iterator[None]:
        descriptor = os.open(self._beside("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _replace(self, text: str) -> None:
        """Beside, synced, renamed, and the directory synced: a crash leaves the old file or the new one."""
        beside = self._beside("new")
        with open(beside, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(beside, self.where)
        directory = os.open(os.path.dirname(self.where), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _beside(self, what: str) -> str:
        """A hidden file, because Ansible takes every other file of an inventory directory for an inventory."""
        directory, name = os.path.split(self.where)
        return os.path.join(directory, f".{name}.{what}")

    def _why_not(self, error: OSError) -> str:
        cures = {
            errno.ENOENT: "create its directory, or set overlay_ledger to another place",
            errno.ENOSPC: "free some disk space",
            errno.EACCES: "run as a user who may write there",
            errno.EROFS: "the file system is read-only; set overlay_ledger to another place",
        }
        cure = cures.get(error.errno or 0, "mend this and run again")
        return f"the ledger {self.where} cannot be written: {error.strerror or error}; nothing was changed; {cure}"


def open_store(ledger: str) -> Store:
    """The store that a user's ``overlay_ledger`` means: a path on the controller.

    :raises Refusal: a URL of a store that does not exist.
    """
    if "://" in ledger:
        raise Refusal(f"overlay_ledger is {ledger!r}: this release keeps the ledger in a file; give a path")
    return FileStore(ledger)

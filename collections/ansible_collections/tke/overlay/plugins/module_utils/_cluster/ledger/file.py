# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store that keeps a ledger in a file on the controller, where several users may run playbooks at once.

The directory of the ledger ``overlay-ledger.json`` also has these files. They are
hidden, because Ansible reads every other file of an inventory directory as an
inventory:

==================================  =============================================================
``.overlay-ledger.json.lock``       the lock of writers; its text names the present holder
``.overlay-ledger.json.000041``     previous versions; the highest number is the newest
``.overlay-ledger.json.new``        the version being written; only a crash leaves it, the next writer removes it
==================================  =============================================================

A write creates and syncs the new file, links the present file as a previous
version, renames the new file over the present one, syncs the directory and
removes the oldest version. So at every instant the ledger is completely the old
one or the new one, and the number of complete versions never decreases.

This module touches files only by unbuffered calls of ``os`` and ``fcntl``: the
tests crash the process before each of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import socket
import stat
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.base import (
    KEPT,
    Change,
    IndeterminateWriteError,
    NotTextError,
    Store,
    Version,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.damage import reason_of_binary
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._locking import lock_file

PATIENCE = 60.0
"""Seconds to wait for another writer."""

_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EXDEV)
"""Errors of file systems without hard links."""

_NO_UNNAMED_FILES = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
"""Errors of file systems without unnamed files (O_TMPFILE)."""

_ROOM = 16 << 10
"""Bytes that a ledger may grow by in the next run."""

_REMEDIES = {
    errno.ENOENT: "create its directory, or set overlay_ledger to another path",
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some of your disk quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EACCES: "run the playbook as a user who may write there",
    errno.EPERM: "run the playbook as a user who may write there",
    errno.EROFS: "the file system is read-only; set overlay_ledger to another path",
    errno.ENOLCK: "its file system does not support locks; keep the ledger on another file system, or in etcd",
    errno.EISDIR: "set overlay_ledger to the path of a file",
    errno.EBUSY: "a mount of a single file cannot be replaced, so mount its directory instead (into a container, too)",
}

_READ_REMEDIES = {
    errno.EISDIR: "set overlay_ledger to the path of a file in it, such as {path}/overlay-ledger.json",
    errno.ENOTDIR: "set overlay_ledger to the path of a file in a directory",
    errno.EACCES: "run the playbook as a user who may read it, or change its mode or its group",
    errno.ELOOP: "its symbolic links lead to each other; set overlay_ledger to the path of the file",
}


class FileStore:
    """A store in a file. A writer holds ``flock`` on the lock file, which the kernel releases when the writer ends.

    The ledger itself is not locked, because the lock would stay with the old inode
    when the new file is renamed over it. ``patience`` is in seconds.
    """

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        self.where = os.path.abspath(os.path.expanduser(path))
        self._path = os.path.realpath(self.where)  # a symbolic link to the ledger stays a symbolic link
        self._patience = patience

    def read(self) -> str | None:
        """Return the present text, or ``None`` when there is no such file.

        :raises ValidationError: the file cannot be read.
        """
        try:
            return _read(self._path)
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            reason = reason_of_binary(error.object)
            raise NotTextError(f"the ledger {self.where} cannot be read: {reason}; nothing was changed") from error
        except OSError as error:
            remedy = _READ_REMEDIES.get(error.errno or 0, "fix this and run the playbook again").format(path=self.where)
            reason = f"{error.strerror or error}; nothing was changed; {remedy}"
            raise ValidationError(f"the ledger {self.where} cannot be read: {reason}") from error

    def transact(self, change: Change) -> None:
        """See :meth:`Store.transact`.

        :raises ValidationError: another process holds the lock for too long, or the directory
            is missing, read-only or full. The old text is unchanged.
        :raises IndeterminateWriteError: the new text is written, but may not survive a power failure.
        """
        with self._lock() as lock:
            before = self.read()
            after = change(before)
            if after != before:
                self._write(before, after, lock)

    def check_writable(self) -> None:
        """See :meth:`Store.check_writable`."""
        try:
            self._try_to_write()
        except OSError as error:
            raise ValidationError(self._why_not(error)) from error

    def is_same(self, other: Store) -> bool:
        """See :meth:`Store.is_same`. A directory has one inode, whatever links and mounts lead to it."""
        if not isinstance(other, FileStore) or os.path.basename(self._path) != os.path.basename(other._path):
            return False
        try:
            mine, theirs = (os.stat(os.path.dirname(path)) for path in (self._path, other._path))
        except OSError:
            return self._path == other._path
        return os.path.samestat(mine, theirs)

    def previous(self) -> list[Version]:
        """See :meth:`Store.previous`."""
        versions = []
        for number in reversed(self._kept()):
            path = self._version(number)
            with contextlib.suppress(OSError, UnicodeDecodeError):
                versions.append(Version(path, _read(path), shlex.join(["cp", path, self.where])))
        return versions

    # --- the lock ---

    @contextlib.contextmanager
    def _lock(self) -> t.Iterator[int]:
        try:
            descriptor = self._locked()
        except OSError as error:
            raise ValidationError(self._why_not(error)) from error
        try:
            yield descriptor
        finally:
            _note(descriptor, "")
            os.close(descriptor)

    def _locked(self) -> int:
        deadline = time.monotonic() + self._patience
        while True:
            descriptor = self._open_lock()
            try:
                self._wait_for(descriptor, deadline)
                if self._is_lock(descriptor):
                    _note(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%c')}")
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # the lock file was deleted while this process waited; other writers lock the new one

    def _open_lock(self) -> int:
        path = self._beside("lock")
        try:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except PermissionError as error:
            # Another user created the file and only that user may write it; it can still be locked.
            with contextlib.suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            raise error

    def _wait_for(self, descriptor: int, deadline: float) -> None:
        if not lock_file(descriptor, max(deadline - time.monotonic(), 0)):
            holder = os.pread(descriptor, 500, 0).decode(errors="replace").strip()
            raise ValidationError(
                f"the ledger {self.where} has been locked for more than {self._patience:g} s by "
                f"{holder or 'another process'}; nothing was changed; wait until that run ends, or stop it if it "
                f"hangs, and run the playbook again"
            )

    def _is_lock(self, descriptor: int) -> bool:
        """Return whether this is still the file that the next writer would lock."""
        try:
            there = os.stat(self._beside("lock"))
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(descriptor), there)

    # --- the write ---

    def _write(self, before: str | None, after: str, lock: int) -> None:
        try:
            self._create(self._beside("new"), after)
            if before is not None:
                self._keep_version(before)
            if not self._is_lock(lock):
                raise ValidationError(
                    f"the lock file {self._beside('lock')} was deleted during the run; nothing was changed; "
                    f"run the playbook again"
                )
            os.rename(self._beside("new"), self._path)
        except (OSError, ValidationError) as error:
            self._remove(self._beside("new"))
            raise error if isinstance(error, ValidationError) else ValidationError(self._why_not(error)) from error
        try:
            self._sync_directory()
        except OSError as error:
            raise IndeterminateWriteError(
                f"the ledger {self.where} was written, but its directory could not be synced ({error.strerror}): "
                f"the change may not survive a power failure; check the disk and run the playbook again"
            ) from error
        for number in self._kept()[:-KEPT]:
            self._remove(self._version(number))

    def _create(self, path: str, text: str) -> None:
        """Write and sync a file with the mode and the owner of the present ledger."""
        self._remove(path)
        present = self._stat()
        mode = 0o666 if present is None else stat.S_IMODE(present.st_mode)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            if present is not None:
                _copy_attributes(descriptor, present)
            left = memoryview(text.encode())
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _keep_version(self, text: str) -> None:
        """Keep the present file as a previous version, unless a run that crashed already has."""
        numbers = self._kept()
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if numbers and _read(self._version(numbers[-1])) == text:
                return
        version = self._version(numbers[-1] + 1 if numbers else 1)
        try:
            os.link(self._path, version)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            copy = self._beside("copy")
            try:
                self._create(copy, text)
                os.rename(copy, version)
            except OSError:
                self._remove(copy)
                raise

    def _sync_directory(self) -> None:
        directory = os.open(os.path.dirname(self._path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _remove(self, path: str) -> None:
        """Remove a leftover file. If another user owns it, it stays; the next step then fails when that matters."""
        with contextlib.suppress(OSError):
            os.unlink(path)

    # --- the attempt ---

    def _try_to_write(self) -> None:
        """Lock and write a file without a name in the directory of the ledger; the kernel removes it on close."""
        present, directory = self._stat(), os.path.dirname(self._path)
        if present is not None and stat.S_ISDIR(present.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        self._check_lock()
        if present is not None:
            self._check_replaceable(present, os.stat(directory))
        try:
            descriptor = os.open(directory, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _NO_UNNAMED_FILES:
                raise
            if not os.access(directory, os.W_OK | os.X_OK):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES)) from error
            return
        try:
            lock_file(descriptor, 0)
            left = (present.st_size if present is not None else 0) + _ROOM
            while left > 0:
                left -= os.write(descriptor, bytes(min(left, 1 << 20)))
        finally:
            os.close(descriptor)

    def _check_replaceable(self, present: os.stat_result, directory: os.stat_result) -> None:
        """Raise the error with which the present file could not be replaced, although its directory can be written.

        There are two such places: a directory with the sticky bit, where only the owners may replace a file, and a file
        that is a mount.
        """
        owners = (0, present.st_uid, directory.st_uid)
        if directory.st_mode & stat.S_ISVTX and os.geteuid() not in owners:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        if _mount_of(self._path) != _mount_of(os.path.dirname(self._path)):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def _check_lock(self) -> None:
        for flags in (os.O_RDWR, os.O_RDONLY):  # see _open_lock
            try:
                os.close(os.open(self._beside("lock"), flags | os.O_CLOEXEC))
            except FileNotFoundError:
                return
            except PermissionError:
                if flags == os.O_RDONLY:
                    raise
            else:
                return

    # --- names ---

    def _beside(self, what: str) -> str:
        directory, name = os.path.split(self._path)
        return os.path.join(directory, f".{name}.{what}")

    def _version(self, number: int) -> str:
        return self._beside(f"{number:06}")

    def _kept(self) -> list[int]:
        """Return the numbers of the previous versions, oldest first."""
        directory, name = os.path.split(self._path)
        pattern = re.compile(rf"\.{re.escape(name)}\.([0-9]{{6,}})")
        try:
            found = [pattern.fullmatch(other) for other in os.listdir(directory)]
        except OSError:
            return []
        return sorted(int(match[1]) for match in found if match)

    def _stat(self) -> os.stat_result | None:
        try:
            return os.stat(self._path)
        except FileNotFoundError:
            return None

    def _why_not(self, error: OSError) -> str:
        remedy = _REMEDIES.get(error.errno or 0, "fix this and run the playbook again")
        return f"the ledger {self.where} cannot be written: {error.strerror or error}; nothing was changed; {remedy}"


def _read(path: str) -> str:
    """Return the text without translating newlines."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while True:
            part = os.read(descriptor, 1 << 20)
            if not part:
                return b"".join(parts).decode()
            parts.append(part)
    finally:
        os.close(descriptor)


def _mount_of(path: str) -> str:
    """Return the line of the kernel with the identifier of a mount; an empty text where there is none."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        found = re.search(r"^mnt_id:.*", _read(f"/proc/self/fdinfo/{descriptor}"), re.MULTILINE)
        return found[0] if found else ""
    except OSError:  # no /proc
        return ""
    finally:
        os.close(descriptor)


def _copy_attributes(descriptor: int, like: os.stat_result) -> None:
    """Set the owner, as far as this user may, and the mode of a file."""
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) != (like.st_uid, like.st_gid):
        try:
            os.fchown(descriptor, like.st_uid, like.st_gid)
        except PermissionError:
            with contextlib.suppress(PermissionError):
                os.fchown(descriptor, -1, like.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(like.st_mode))


def _note(descriptor: int, holder: str) -> None:
    """Write the holder into the lock file. It is only information: a full disk must not stop the run."""
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)

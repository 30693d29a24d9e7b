# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing the files and sysctls of a host: managed files, and managed parts of foreign files."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._locking import beside, open_beside

Texts = t.Dict[str, str]
"""Name (a path, or a sysctl's key) -> content."""

FileSpecs = t.Mapping[str, t.Optional[str]]
"""Path -> desired content; ``None``: the file must not exist."""

Content = t.TypeVar("Content", str, t.Optional[str])

PROC_SYS = "/proc/sys"
"""The directory of the sysctls; a test sets another one."""

RUN_DIRECTORY = "/run/tke-overlay"
"""The directory of files that need not survive a boot."""

PROGRAM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""The value of ``PATH`` for every program that runs on a host."""

MODE = 0o644
RIGHTS = "mode 0644, owner 0"
"""The access rights of every file that the collection writes as a whole."""

MOST_BYTES = 16 << 20
"""A larger foreign file is not read: the ones that the collection reads are smaller by far."""

ROOT = ""
"""The prefix of every path; a test sets a directory for each of its hosts."""


Reader = t.Callable[[t.Iterable[str]], Texts]
"""Returns the content of the existing files, as :func:`read_files` does."""


def read_files(paths: t.Iterable[str]) -> Texts:
    """Return the content of the existing files, by path.

    Bytes that are not UTF-8, which the collection never writes, are replaced: such a file differs from what it should
    be, and is written again.

    :raises KernelError: a file cannot be read.
    """
    texts = {}
    for path in paths:
        try:
            with open(ROOT + path, encoding="utf-8", errors="replace") as stream:
                texts[path] = stream.read()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise KernelError(f"{path} cannot be read: {error}") from error
    return texts


def wrong_rights(paths: t.Iterable[str]) -> Texts:
    """Return path -> mode and owner of the existing files that have others than :func:`write_file` gives them."""
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            status = os.lstat(ROOT + path)
            if stat.S_ISREG(status.st_mode) and (stat.S_IMODE(status.st_mode), status.st_uid) != (MODE, os.geteuid()):
                found[path] = f"mode {stat.S_IMODE(status.st_mode):04o}, owner {status.st_uid}"
    return found


def write_file(path: str, text: str, durable: bool = True) -> None:
    """Write a file atomically, with mode 0644; create missing directories.

    :param durable: wait until the file would survive a loss of power.
    :raises KernelError: the file cannot be written; a former version is intact.
    """
    directory = os.path.dirname(ROOT + path)
    try:
        os.makedirs(directory, exist_ok=True)
        descriptor, new = open_beside(ROOT + path)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            try:
                stream.write(text)
                os.fchmod(stream.fileno(), MODE)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
                os.rename(new, ROOT + path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(new)
                raise
    except OSError as error:
        raise KernelError(f"{path} cannot be written: {error}") from error


def read_regular(path: str, most: int = MOST_BYTES) -> bytes:
    """Return the content of a regular file; symbolic links are followed.

    A user can put a pipe or a device at a path of its own: to read it would never end.

    :param most: a larger file is an error.
    :raises OSError: there is something else at this path, or it cannot be read.
    """
    descriptor = os.open(ROOT + path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        content = stream.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it has more than {most} bytes", path)
    return content


def read_foreign(path: str, most: int = MOST_BYTES) -> str:
    """Return the exact content of a foreign file. Bytes that are not UTF-8 survive :func:`rewrite_foreign`.

    :raises OSError: see :func:`read_regular`.
    """
    return read_regular(path, most).decode("utf-8", "surrogateescape")


def rewrite_foreign(path: str, before: str, after: str, backup: bool = False) -> str:
    """Change a foreign file atomically, and keep its mode, owner and extended attributes.

    Symbolic links are followed. A mounted file (such as /etc/hosts in a container) cannot be replaced, so it is
    written in place. If the change fails, the file is as before, and no copy of it is left.

    :param before: the content that was read from the file.
    :param backup: keep a copy of the file, which only its owner can read.
    :returns: the path of the copy, empty without one.
    :raises KernelError: the file has changed since it was read, or cannot be written.
    """
    real = os.path.realpath(ROOT + path)
    copy = f"{real}.{time.strftime('%Y-%m-%d@%H:%M:%S')}~" if backup else ""
    try:
        if read_foreign(path) != before:
            raise KernelError(f"another program has just changed {path}: run the playbook again")
        remove_unfinished(path)
        with _removed_on_failure(copy):
            if copy:
                _write_like(real, copy, before.encode("utf-8", "surrogateescape"), private=True)
            _replace(real, before.encode("utf-8", "surrogateescape"), after.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise KernelError(f"{path} cannot be changed: {error}") from error
    return copy[len(ROOT) :]


@contextlib.contextmanager
def _removed_on_failure(path: str) -> t.Iterator[None]:
    """Remove a file that exists since the beginning of this block if the block fails, also by a signal."""
    existed = not path or os.path.lexists(path)
    try:
        yield
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise


def remove_unfinished(path: str) -> None:
    """Remove what a killed writer has left beside a file. The caller holds the lock."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(beside(os.path.realpath(ROOT + path)))


def _replace(real: str, before: bytes, after: bytes) -> None:
    new = beside(real)
    try:
        with _removed_on_failure(new):
            _write_like(real, new, after)
            os.rename(new, real)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EROFS, errno.EXDEV):
            raise
        try:
            _write_in_place(real, after)
        except BaseException:
            _write_in_place(real, before)  # such as on a full disk: it had the room for this
            raise


def _write_like(model: str, path: str, content: bytes, private: bool = False) -> None:
    """Write a new file with the access rights of another one. At no time is it readable for more users than that.

    :param private: take the rights of all users but the owner away.
    """
    status = os.stat(model)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
        os.fchown(stream.fileno(), status.st_uid, status.st_gid)
        shutil.copystat(model, path)
        os.fchmod(stream.fileno(), stat.S_IMODE(status.st_mode) & (0o600 if private else 0o7777))
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
        os.utime(stream.fileno())


def _write_in_place(path: str, content: bytes) -> None:
    with open(path, "r+b") as stream:
        stream.write(content)
        stream.truncate()
        stream.flush()
        os.fsync(stream.fileno())


def remove_file(path: str) -> None:
    """Remove a file, if it exists.

    :raises KernelError: the file cannot be removed.
    """
    try:
        os.unlink(ROOT + path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise KernelError(f"{path} cannot be removed: {error}") from error


def put_file(path: str, text: str | None) -> None:
    """Write a file, or remove it if the text is ``None``.

    :raises KernelError: the file cannot be written or removed.
    """
    if text is None:
        remove_file(path)
    else:
        write_file(path, text)


def read_sysctls(keys: t.Iterable[str]) -> Texts:
    """Return the values of the sysctls that this kernel and network namespace has."""
    values = {}
    for key in keys:
        with contextlib.suppress(OSError), open(os.path.join(PROC_SYS, sysctl_path(key)), encoding="ascii") as stream:
            values[key] = stream.read().strip()
    return values


def write_sysctl(key: str, value: str) -> None:
    """Set a sysctl until the next boot.

    :raises KernelError: the sysctl does not exist, or the kernel rejects the value.
    """
    try:
        with open(os.path.join(PROC_SYS, sysctl_path(key)), "w", encoding="ascii") as stream:
            stream.write(value)
    except OSError as error:
        raise KernelError(f"sysctl {key} cannot be set to {value}: {error.strerror}") from error


def differing(found: Texts, wanted: t.Mapping[str, Content]) -> dict[str, Content]:
    """Return the entries of ``wanted`` that are missing or differ; ``None`` differs from any content."""
    return {name: text for name, text in wanted.items() if found.get(name) != text}


def sysctl_path(key: str) -> str:
    """Return the path of a sysctl below /proc/sys. A key with slashes is a path: a device name can contain dots."""
    return key if "/" in key else key.replace(".", "/")

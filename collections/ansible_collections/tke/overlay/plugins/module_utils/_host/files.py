# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: the files and sysctls of a host: those that are ours, and files of others of which a part is ours."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError

Texts = t.Dict[str, str]
"""Name (a path, or a sysctl's key) -> content."""

FileSpecs = t.Mapping[str, t.Optional[str]]
"""Path -> content; ``None``: there must be no such file."""

Content = t.TypeVar("Content", str, t.Optional[str])

PROC_SYS = "/proc/sys"  # a test puts another

RUN_DIRECTORY = "/run/tke-overlay"
"""What need not outlive a boot."""

PROGRAM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""The value of ``PATH`` for every program that runs on a host."""

ROOT = ""
"""Put before every path of a file; a test gives each of its hosts a directory."""


def read_files(paths: t.Iterable[str]) -> Texts:
    """The content of those files that are there.

    :raises KernelError: a path cannot be read, or is no text file.
    """
    texts = {}
    for path in paths:
        try:
            with open(ROOT + path, encoding="utf-8") as stream:
                texts[path] = stream.read()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise KernelError(f"{path} cannot be read: {error}") from error
    return texts


def write_file(path: str, text: str, durable: bool = True) -> None:
    """Writes a file as a whole or not at all; readable by everybody, directories made where missing.

    :param durable: wait until it would survive a loss of power.
    :raises KernelError: it cannot be written; what was there is intact.
    """
    directory = os.path.dirname(ROOT + path)
    try:
        os.makedirs(directory, exist_ok=True)
        descriptor, beside = tempfile.mkstemp(dir=directory, prefix=f".{os.path.basename(path)}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                os.fchmod(stream.fileno(), 0o644)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
            os.rename(beside, ROOT + path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
            raise
    except OSError as error:
        raise KernelError(f"{path} cannot be written: {error}") from error


def read_foreign(path: str) -> str:
    """A file of somebody else to the last byte; what is not UTF-8 survives :func:`rewrite_foreign`.

    :raises OSError: it cannot be read.
    """
    with open(ROOT + path, "rb") as stream:
        return stream.read().decode("utf-8", "surrogateescape")


def rewrite_foreign(path: str, before: str, after: str, backup: bool = False) -> str:
    """Changes a file of somebody else as a whole or not at all; mode, owner and extended attributes stay.

    A link is followed. What is mounted (as /etc/hosts in a container) cannot be replaced: it is written in place.

    :param before: what was read of it.
    :returns: the name of the copy, if one was asked for.
    :raises KernelError: it is otherwise by now, or cannot be written.
    """
    real = os.path.realpath(ROOT + path)
    try:
        if read_foreign(path) != before:
            raise KernelError(f"{path} was changed by somebody else just now: run this again")
        kept = f"{real}.{time.strftime('%Y-%m-%d@%H:%M:%S')}~" if backup else ""
        content = after.encode("utf-8", "surrogateescape")
        if kept:
            _write_like(real, kept, before.encode("utf-8", "surrogateescape"))
        beside = os.path.join(os.path.dirname(real), f".{os.path.basename(real)}.{os.getpid()}")
        try:
            _write_like(real, beside, content)
            os.rename(beside, real)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            if error.errno not in (errno.EBUSY, errno.EROFS, errno.EXDEV):
                raise
            _write_in_place(real, content)
    except OSError as error:
        raise KernelError(f"{path} cannot be changed: {error}") from error
    return kept[len(ROOT) :]


def _write_like(model: str, path: str, content: bytes) -> None:
    """A new file; nobody may read it who may not read the model, at no time."""
    status = os.stat(model)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
        os.fchown(stream.fileno(), status.st_uid, status.st_gid)
        shutil.copystat(model, path)
        os.fchmod(stream.fileno(), stat.S_IMODE(status.st_mode))
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
    """Removes a file, if it is there.

    :raises KernelError: it cannot be removed.
    """
    try:
        os.unlink(ROOT + path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise KernelError(f"{path} cannot be removed: {error}") from error


def put_file(path: str, text: str | None) -> None:
    """Makes a file what is wished.

    :raises KernelError: it cannot be written or removed.
    """
    if text is None:
        remove_file(path)
    else:
        write_file(path, text)


def read_sysctls(keys: t.Iterable[str]) -> Texts:
    """The values of those sysctls that this kernel (and network namespace) has."""
    values = {}
    for key in keys:
        with contextlib.suppress(OSError), open(os.path.join(PROC_SYS, sysctl_path(key)), encoding="ascii") as stream:
            values[key] = stream.read().strip()
    return values


def write_sysctl(key: str, value: str) -> None:
    """Sets one sysctl until the next boot.

    :raises KernelError: the kernel has none of this name, or refuses the value.
    """
    try:
        with open(os.path.join(PROC_SYS, sysctl_path(key)), "w", encoding="ascii") as stream:
            stream.write(value)
    except OSError as error:
        raise KernelError(f"sysctl {key} cannot be set to {value}: {error.strerror}") from error


def differing(found: Texts, wanted: t.Mapping[str, Content]) -> dict[str, Content]:
    """What of ``wanted`` is missing or otherwise, or there and should not be."""
    return {name: text for name, text in wanted.items() if found.get(name) != text}


def sysctl_path(key: str) -> str:
    """A sysctl's place below /proc/sys. A key with slashes is one already: the name of a device can have dots."""
    return key if "/" in key else key.replace(".", "/")

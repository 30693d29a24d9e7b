# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: the files and sysctls of a host that are ours."""

from __future__ import annotations

import contextlib
import os
import tempfile
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.tables import KernelError

Texts = t.Dict[str, str]
"""Name (a path, or a sysctl's key) -> content."""

PROC_SYS = "/proc/sys"

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


def read_sysctls(keys: t.Iterable[str], root: str = PROC_SYS) -> Texts:
    """The values of those sysctls that this kernel (and network namespace) has."""
    values = {}
    for key in keys:
        with contextlib.suppress(OSError), open(_sysctl_path(key, root), encoding="ascii") as stream:
            values[key] = stream.read().strip()
    return values


def write_sysctl(key: str, value: str, root: str = PROC_SYS) -> None:
    """Sets one sysctl until the next boot.

    :raises KernelError: the kernel has none of this name, or refuses the value.
    """
    try:
        with open(_sysctl_path(key, root), "w", encoding="ascii") as stream:
            stream.write(value)
    except OSError as error:
        raise KernelError(f"sysctl {key} cannot be set to {value}: {error.strerror}") from error


def differing(found: Texts, wanted: Texts) -> Texts:
    """What of ``wanted`` is missing or otherwise."""
    return {name: text for name, text in wanted.items() if found.get(name) != text}


def _sysctl_path(key: str, root: str) -> str:
    """A key with slashes first is a path: the name of a device can have dots."""
    return os.path.join(root, key if "/" in key else key.replace(".", "/"))

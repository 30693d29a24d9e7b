# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock that keeps a module and the restore script from changing a host at the same time, and the change of the
saved state that an interruption cannot leave half-done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts, remove_unfinished, write_file
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import CONFIRMED, LOCK, SERVICE, STATE
from ansible_collections.tke.overlay.plugins.module_utils._locking import lock_file

LOCK_SECONDS = 60
"""How long a module waits for the lock; a run of the script takes less than a second."""


@contextlib.contextmanager
def locked() -> t.Iterator[None]:
    """Hold the lock. The script takes the same one with flock(1), so each waits for the other.

    :raises KernelError: another process holds the lock for too long, or the file cannot be locked.
    """
    path = files.ROOT + LOCK
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KernelError(f"{path} cannot be opened: {error}") from error
    try:
        try:
            taken = lock_file(descriptor, LOCK_SECONDS)
        except OSError as error:
            raise KernelError(f"{path} cannot be locked: {error}") from error
        if not taken:
            raise KernelError(f"another process has held {path} for {LOCK_SECONDS} s: is {SERVICE} stuck?")
        yield
    finally:
        os.close(descriptor)


def finish_confirmation() -> None:
    """Complete a confirmation that a loss of power cut short, as the script would. The caller holds the lock.

    :raises KernelError: a file cannot be moved to its place.
    """
    beside = files.ROOT + CONFIRMED
    if not os.path.isdir(beside):
        return
    try:
        for name in os.listdir(beside):
            os.replace(f"{beside}/{name}", f"{files.ROOT}{STATE}/{name}")
        os.rmdir(beside)
    except OSError as error:
        raise KernelError(f"the saved state in {CONFIRMED} cannot be moved to its place: {error}") from error


def save_together(texts: Texts) -> None:
    """Replace files of the saved state: a killed run leaves all old or all new ones. The caller holds the lock.

    From the moment they count, the new files have one directory; what takes the lock next moves the rest.

    :raises KernelError: a file cannot be written; all files are the old ones, unless it cannot be moved to its place.
    """
    if not texts:
        return
    beside = f"{STATE}/.tke-overlay"
    shutil.rmtree(files.ROOT + beside, ignore_errors=True)
    for path, text in texts.items():
        remove_unfinished(path)
        write_file(f"{beside}/{os.path.basename(path)}", text)
    try:
        os.rename(files.ROOT + beside, files.ROOT + CONFIRMED)
    except OSError as error:
        raise KernelError(f"{CONFIRMED} cannot be created: {error}") from error
    finish_confirmation()

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock by which a module and the restore script take turns."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import CONFIRMED, LOCK, SERVICE, STATE

LOCK_SECONDS = 60


@contextlib.contextmanager
def locked() -> t.Iterator[None]:
    """While Ansible is at work the script waits, and the other way round; it takes the same lock by flock(1).

    :raises KernelError: somebody holds it for too long.
    """
    path = files.ROOT + LOCK
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise KernelError(f"{path} cannot be opened: {error}") from error
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    raise KernelError(f"somebody has held {path} for {LOCK_SECONDS} s: is {SERVICE} stuck?") from error
                time.sleep(0.05)
        yield
    finally:
        os.close(descriptor)


def finish_confirmation() -> None:
    """Does the rest of a confirmation that a loss of power cut short, as the script would. Called with the lock held.

    :raises KernelError: a file cannot get to its place.
    """
    beside = files.ROOT + CONFIRMED
    if not os.path.isdir(beside):
        return
    try:
        for name in os.listdir(beside):
            os.replace(f"{beside}/{name}", f"{files.ROOT}{STATE}/{name}")
        os.rmdir(beside)
    except OSError as error:
        raise KernelError(f"the saved state in {CONFIRMED} cannot take its place: {error}") from error

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a lock on a file, as controller and hosts do alike.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import fcntl
import random
import time


def lock_file(descriptor: int, seconds: float) -> bool:
    """Take the exclusive ``flock`` of an open file, and wait for it if another process holds it.

    The kernel releases the lock when the descriptor is closed or the process ends.

    :param seconds: how long to wait; 0 tries once.
    :returns: whether this process holds the lock now.
    :raises OSError: the file cannot be locked at all, for instance on NFS without a lock service.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(random.uniform(0.005, 0.025))
        else:
            return True

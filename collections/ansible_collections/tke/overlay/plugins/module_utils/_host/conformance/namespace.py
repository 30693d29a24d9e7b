# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enter the network namespace of a Pod. A socket belongs to the namespace in which it was created."""

from __future__ import annotations

import contextlib
import ctypes
import os
import typing as t

NAMESPACES = "/run/netns"
"""The directory in which ip-netns(8) keeps the namespaces that have a name."""

_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def inside(name: str) -> t.Iterator[None]:
    """Move this thread, and the processes that it starts, to a network namespace with a name, and back.

    :raises OSError: there is no such namespace.
    """
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"{NAMESPACES}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(descriptor: int) -> None:
    """Call setns(2), for which Python has a function only from 3.12 on."""
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

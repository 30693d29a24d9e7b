# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The TCP connections of a process, from /proc: to which servers it speaks now."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port

_ESTABLISHED = "01"


def servers_of(process: str) -> set[str]:
    """Return the remote ends of the established connections of a process, as ``10.9.9.9:6443``.

    :param process: its directory, such as ``/proc/1``; a process that has ended has no connections.
    """
    sockets = set(_sockets(f"{process}/fd"))
    if not sockets:
        return set()
    rows = [row for name in ("tcp", "tcp6") for row in _rows(f"{process}/net/{name}")]
    return {_end(row[2]) for row in rows if row[3] == _ESTABLISHED and row[9] in sockets}


def _sockets(directory: str) -> t.Iterator[str]:
    """Yield the inodes of the sockets that a process has open."""
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"{directory}/{name}"))
        except OSError:
            continue
        if found:
            yield found[1]


def _rows(path: str) -> list[list[str]]:
    """Return the columns of each line: the third is the remote end, the fourth the state, the tenth the inode."""
    try:
        with open(path, encoding="ascii") as stream:
            rows = [line.split() for line in stream.readlines()[1:]]
    except OSError:
        return []
    return [row for row in rows if len(row) > 9]


def _end(text: str) -> str:
    """Return an address and port. The kernel prints an address as words of 32 bits in the byte order of the host."""
    address, _colon, port = text.partition(":")
    words = [address[at : at + 8] for at in range(0, len(address), 8)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    parsed = ipaddress.ip_address(packed)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return with_port(str(mapped or parsed), int(port, 16))

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""See with which source address a packet of a Pod leaves this host: a packet socket sees what is on the wire."""

from __future__ import annotations

import array
import contextlib
import select
import socket
import struct
import time
import typing as t

_ETH_P_ALL = 3  # a socket for one protocol sees only what arrives
_PACKET_OUTGOING = 4
_SO_ATTACH_FILTER = 26
_IP_OFFSET_TARGET = 16


class Observer:
    """Keeps the sources of the echo requests to some addresses that leave over links other than some.

    :param targets: IPv4 addresses.
    :param inner: the names of the links that do not lead outside.
    """

    def __init__(self, targets: t.Collection[str], inner: t.Collection[str]) -> None:
        self._targets, self._inner = set(targets), set(inner)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        _attach_filter(self._socket, sorted(self._targets))

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def sources(self, seconds: float) -> dict[str, str]:
        """Return target -> the last source that was seen; wait at most this time for those that are missing."""
        found: dict[str, str] = {}
        deadline = time.monotonic() + seconds
        while len(found) < len(self._targets):
            ready = select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))[0]
            if not ready:
                break
            with contextlib.suppress(OSError):
                packet, (link, _protocol, kind, *_rest) = self._socket.recvfrom(64)
                target = socket.inet_ntoa(packet[16:20]) if len(packet) >= 20 else ""
                if kind == _PACKET_OUTGOING and link not in self._inner and target in self._targets:
                    found[target] = socket.inet_ntoa(packet[12:16])
        return found


def _attach_filter(connection: socket.socket, targets: t.Sequence[str]) -> None:
    """Let the kernel drop all but ICMP packets to these addresses, so that the load of the host does not matter.

    This is a classic BPF program: load protocol, compare; load target, compare with each; accept or drop
    (Linux, Documentation/networking/filter.rst).
    """
    load_byte, load_word, equal, give = 0x30, 0x20, 0x15, 0x06
    count = len(targets)
    program = [(load_byte, 0, 0, 9), (equal, 0, count + 1, socket.IPPROTO_ICMP), (load_word, 0, 0, _IP_OFFSET_TARGET)]
    for number, target in enumerate(targets):
        program.append((equal, count - number, 0, int.from_bytes(socket.inet_aton(target), "big")))
    program += [(give, 0, 0, 0), (give, 0, 0, 0xFFFF)]
    code = array.array("B", b"".join(struct.pack("HBBI", *line) for line in program))
    connection.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program), code.buffer_info()[0]))

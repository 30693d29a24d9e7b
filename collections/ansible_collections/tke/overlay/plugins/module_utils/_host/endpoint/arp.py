# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a network for the owner of an address: the kernel keeps one answer, and several hosts can answer (RFC 5227)."""

from __future__ import annotations

import contextlib
import socket
import time

_ARP = 0x0806
_REPLY = b"\x00\x02"
_REQUEST = bytes.fromhex("0001080006040001")  # Ethernet, IPv4, request
_BROADCAST, _NOBODY = b"\xff" * 6, b"\x00" * 6


def macs_of(address: str, link: str, source: str, seconds: float = 1.0) -> list[str]:
    """Return the MACs that answer for an IPv4 address on a link; none where the link has no ARP.

    :param source: the address of this host on that link.
    :param seconds: how long to wait for answers.
    """
    found: set[str] = set()
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ARP)) as raw:
        raw.bind((link, _ARP))
        own = raw.getsockname()[4]
        target = socket.inet_aton(address)
        body = _REQUEST + own + socket.inet_aton(source) + _NOBODY + target
        raw.send(_BROADCAST + own + _ARP.to_bytes(2, "big") + body)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            raw.settimeout(max(deadline - time.monotonic(), 0.01))
            frame = raw.recv(64)
            if frame[20:22] == _REPLY and frame[28:32] == target:
                found.add(frame[22:28].hex(":"))
    return sorted(found)

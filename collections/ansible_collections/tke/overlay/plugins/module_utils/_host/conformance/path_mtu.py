# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a packet that is larger than the MTU of the link is refused with the right size, not lost in silence.

The link of a Pod has the largest MTU of the node's links, so its own kernel refuses larger packets. For this test, it
is made four bytes larger: as much as veth(4) and bridges let pass for a VLAN tag. The node then has to answer that the
packet needs fragmentation, and must say the MTU.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.namespace import inside
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, error_text

MORE = 4
"""Bytes above the MTU of the overlay."""

SECONDS, ATTEMPTS = 1.0, 3

_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3
_SOL_RAW, _ICMP_FILTER = 255, 1
_ECHO_REQUEST, _UNREACHABLE, _FRAGMENTATION_NEEDED = 8, 3, 4


class Sizes(t.NamedTuple):
    """The MTU of the link to the target, and that of the Pod."""

    link: int
    pod: int


def refused_size(pod: tuple[str, str], target: str, sizes: Sizes, run: Run) -> int | str:
    """Send a packet that is too large from a Pod; return the MTU that the refusal names, or what happened instead.

    :param pod: namespace and address of the Pod.
    :raises KernelError: the MTU of the link cannot be changed.
    """
    namespace, address = pod
    size = sizes.link
    _set_mtu(namespace, max(size + MORE, sizes.pod), run)
    try:
        with inside(namespace):
            connection = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with connection:
            connection.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
            wanted = (1 << _UNREACHABLE) | 1
            connection.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ wanted))
            connection.bind((address, 0))
            return _ask(connection, target, size + MORE)
    finally:
        _set_mtu(namespace, sizes.pod, run)


def _set_mtu(namespace: str, mtu: int, run: Run) -> None:
    code, _out, errors = run(("ip", "-n", namespace, "link", "set", "dev", "eth0", "mtu", str(mtu)), None)
    if code != 0:
        raise KernelError(f"the MTU of a test Pod cannot be changed: {error_text(code, errors)}")


def _ask(connection: socket.socket, target: str, size: int) -> int | str:
    identity = os.urandom(2)
    head = struct.pack("!BBH", _ECHO_REQUEST, 0, 0) + identity + b"\0\1"
    packet = (head[:2] + struct.pack("!H", _checksum(head)) + head[4:]).ljust(size - 20, b"\0")
    for _attempt in range(ATTEMPTS):
        try:
            connection.sendto(packet, (target, 0))
        except OSError as error:
            return f"this host cannot send it: {error.strerror}"
        deadline = time.monotonic() + SECONDS
        while select.select([connection], [], [], max(0.0, deadline - time.monotonic()))[0]:
            answer = connection.recv(256)
            start = (answer[0] & 15) * 4
            kind, code = answer[start : start + 2]
            if kind == 0 and answer[start + 4 : start + 6] == identity:
                return "it arrived, although it is larger than the MTU of the overlay"
            if kind == _UNREACHABLE and code == _FRAGMENTATION_NEEDED:
                return int.from_bytes(answer[start + 6 : start + 8], "big")
    return f"it is lost without an answer ({ATTEMPTS} attempts)"


def _checksum(octets: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF

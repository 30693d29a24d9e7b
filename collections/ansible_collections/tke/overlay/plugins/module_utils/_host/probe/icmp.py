# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send many ICMP echo requests at once from one raw socket.

Every request carries a number of its own, so replies may arrive late and in any
order: a reply to the first attempt still counts during the third.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
import typing as t

PACKETS_PER_SECOND = 4000
"""Full-size packets at this rate need 46 Mbit/s, so they do not fill a line of 100 Mbit/s; 5,000 peers take 1.3 s."""

BURST = 16
"""Packets sent between two reads of the clock: 4 ms at the rate above, far less than any queue on the path holds."""

MIN_SIZE = 64
"""Size of a small packet in bytes, IP header included."""

EchoRequest = t.Tuple[str, int]
"""Address, and size in bytes as an MTU counts it."""

_REASONS = {
    errno.EPERM: "its own firewall rules drop the packet, as they do where the route is missing",
    errno.EMSGSIZE: "the packet is larger than the MTU of its own device",
    errno.EINVAL: "a blackhole route drops the packet",
}
"""What an error of the kernel means here."""

_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3
_SOL_RAW, _ICMP_FILTER = 255, 1
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_TOKEN = struct.Struct("!8sI")


def open_echo_socket(source: str) -> socket.socket:
    """Return a raw ICMP socket that receives echo replies and sends packets that must not be fragmented.

    :param source: the address to send from.
    :raises OSError: the address is not on this host, or the permission is missing.
    """
    connection = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    try:
        # Set "don't fragment" and ignore the path MTU that the kernel has learned: the probe measures exactly that.
        connection.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        connection.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ (1 << _ECHO_REPLY)))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        connection.bind((source, 0))
    except OSError:
        connection.close()
        raise
    return connection


class EchoProber:
    """Sends echo requests and collects the replies.

    :param connection: see :func:`open_echo_socket`; it is closed at the end of the context.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.round_trips: dict[EchoRequest, float] = {}  # seconds, of the fastest attempt
        self.send_errors: dict[EchoRequest, str] = {}  # why this host could not send the request
        self._sent: list[tuple[EchoRequest, float]] = []
        self._token = os.urandom(8)
        self._identity = int.from_bytes(os.urandom(2), "big")
        self._socket = connection

    def __enter__(self) -> EchoProber:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def probe(self, requests: t.Iterable[EchoRequest], seconds: float, attempts: int) -> None:
        """Send each request that has no reply yet, in up to ``attempts`` rounds; stop when all have a reply.

        :param seconds: how long to wait for replies after the last packet of a round.
        """
        wanted = list(requests)
        for _attempt in range(attempts):
            pending = [request for request in wanted if request not in self.round_trips]
            if not pending:
                return
            start = time.monotonic()
            for number, request in enumerate(pending):
                if number % BURST == 0:
                    self._receive_until(start + number / PACKETS_PER_SECOND, None)
                self._send(request)
            self._receive_until(time.monotonic() + seconds, pending)

    def _send(self, request: EchoRequest) -> None:
        address, size = request
        number = len(self._sent)
        head = struct.pack("!HH", self._identity, number & 0xFFFF) + _TOKEN.pack(self._token, number)
        # The rest of the packet is zeros, which do not change the checksum.
        packet = struct.pack("!BBH", _ECHO_REQUEST, 0, _checksum(struct.pack("!BB", _ECHO_REQUEST, 0) + head)) + head
        self._sent.append((request, time.monotonic()))
        try:
            self._socket.sendto(packet.ljust(size - 20, b"\0"), (address, 0))
            self.send_errors.pop(request, None)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # a full queue counts as a packet lost on the path
                self.send_errors[request] = _REASONS.get(error.errno or 0) or error.strerror or str(error)

    def _receive_until(self, until: float, awaited: t.Sequence[EchoRequest] | None) -> None:
        """Receive replies until this time; with ``awaited``, stop as soon as all of these requests have a reply."""
        missing = None if awaited is None else {request for request in awaited if request not in self.round_trips}
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while missing is None or missing:
            left = until - time.monotonic()
            if not poll.poll(max(0.0, left) * 1000):
                return
            request = self._receive()
            if missing is not None and request is not None:
                missing.discard(request)

    def _receive(self) -> EchoRequest | None:
        """Receive one packet; return the request that it replies to, or ``None`` if it is not a reply to one."""
        try:
            packet, (address, _port) = self._socket.recvfrom(128)  # the rest of the packet is zeros
        except OSError:
            return None
        now, start = time.monotonic(), (packet[0] & 15) * 4 + 8
        if len(packet) < start + _TOKEN.size or packet[start - 8] != _ECHO_REPLY:
            return None
        token, number = packet[start : start + 8], int.from_bytes(packet[start + 8 : start + 12], "big")
        if token != self._token or number >= len(self._sent) or self._sent[number][0][0] != address:
            return None  # a reply to another program, or from another address than the probed one
        request, sent = self._sent[number]
        self.round_trips[request] = min(now - sent, self.round_trips.get(request, now - sent))
        return request


def _checksum(octets: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF

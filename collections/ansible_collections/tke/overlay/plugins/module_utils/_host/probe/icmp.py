# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: many echo requests at once, from one raw socket.

Every request carries the number under which it is noted, so answers may come in
any order and late: an answer to the first attempt still counts during the third.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
import typing as t

PER_SECOND = 4000
"""Packets sent in a second: 46 Mbit/s of full ones, so a line of 100 Mbit/s is not filled; 5,000 peers in 1.3 s."""

BURST = 16
"""Packets between two looks at the clock: 4 ms of the above, far less than any queue on the way holds."""

LEAST_SIZE = 64

Question = t.Tuple[str, int]
"""Address and size."""

_REASONS = {
    errno.EPERM: "its own rules drop that, as they do where the route is missing",
    errno.EMSGSIZE: "larger than the MTU of its own device",
    errno.EINVAL: "the route drops that",
}
"""What the words of the kernel mean here."""

_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3
_SOL_RAW, _ICMP_FILTER = 255, 1
_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_TOKEN = struct.Struct("!8sI")


class Echo:
    """Asks addresses for echoes of packets that nobody may fragment.

    :param source: the sender's address.
    """

    def __init__(self, source: str) -> None:
        self.answers: dict[Question, float] = {}  # seconds, of the fastest attempt
        self.errors: dict[Question, str] = {}  # why this host did not even send
        self._sent: list[tuple[Question, float]] = []
        self._token = os.urandom(8)
        self._identity = int.from_bytes(os.urandom(2), "big")
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        # Don't fragment, and take no notice of what the kernel has learned of the path: that is what is asked for.
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        self._socket.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", 0xFFFFFFFF ^ (1 << _ECHO_REPLY)))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        try:
            self._socket.bind((source, 0))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Echo:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def ask(self, questions: t.Iterable[Question], seconds: float, attempts: int) -> None:
        """Asks each that has no answer yet, and again those that stay silent, until all have answered or it is enough.

        :param seconds: how long to wait after the last packet of an attempt.
        """
        wanted = list(questions)
        for _attempt in range(attempts):
            silent = [question for question in wanted if question not in self.answers]
            if not silent:
                return
            start = time.monotonic()
            for number, question in enumerate(silent):
                if number % BURST == 0:
                    self._listen(start + number / PER_SECOND, None)
                self._send(question)
            self._listen(time.monotonic() + seconds, silent)

    def _send(self, question: Question) -> None:
        address, size = question
        number = len(self._sent)
        head = struct.pack("!HH", self._identity, number & 0xFFFF) + _TOKEN.pack(self._token, number)
        # The rest is zeros, which no checksum needs to see.
        packet = struct.pack("!BBH", _ECHO_REQUEST, 0, _checksum(struct.pack("!BB", _ECHO_REQUEST, 0) + head)) + head
        self._sent.append((question, time.monotonic()))
        try:
            self._socket.sendto(packet.ljust(size - 20, b"\0"), (address, 0))
            self.errors.pop(question, None)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # a queue was full: as good as lost on the way
                self.errors[question] = _REASONS.get(error.errno or 0) or error.strerror or str(error)

    def _listen(self, until: float, awaited: t.Sequence[Question] | None) -> None:
        """Takes answers until then; with ``awaited`` no longer than until all of these have come."""
        missing = None if awaited is None else {question for question in awaited if question not in self.answers}
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while missing is None or missing:
            left = until - time.monotonic()
            if not poll.poll(max(0.0, left) * 1000):
                return
            answered = self._receive()
            if missing is not None and answered is not None:
                missing.discard(answered)

    def _receive(self) -> Question | None:
        try:
            packet, (address, _port) = self._socket.recvfrom(128)  # the rest of it is zeros
        except OSError:
            return None
        now, start = time.monotonic(), (packet[0] & 15) * 4 + 8
        if len(packet) < start + _TOKEN.size or packet[start - 8] != _ECHO_REPLY:
            return None
        token, number = packet[start : start + 8], int.from_bytes(packet[start + 8 : start + 12], "big")
        if token != self._token or number >= len(self._sent) or self._sent[number][0][0] != address:
            return None  # another program's, or somebody answers for somebody else
        question, sent = self._sent[number]
        self.answers[question] = min(now - sent, self.answers.get(question, now - sent))
        return question


def _checksum(octets: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF

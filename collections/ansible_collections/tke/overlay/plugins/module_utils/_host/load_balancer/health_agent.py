# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: whether this host can proxy, asked ten times a second and told to keepalived.

A program of its own on the two hosts of the pair: standard library only, Python 3.8.
keepalived's own scripts run once a second at most, its process tracking sees a
dead process and not one that hangs. So each VIP has a file that keepalived
tracks, whose number is added to the VIP's priority on this host:

====  =========================================================================
0     HAProxy has answered, and somebody stands behind the VIP
-100  HAProxy has answered, but as it sees it nobody stands behind the VIP, or
      this host reaches nobody at all: the other host takes it, unless it is no
      better off
-254  HAProxy does not answer a request (it is dead, or hangs): *fault*, and the
      VIP leaves this host at once
====  =========================================================================

What gets worse is told at once; what gets better only when it has stayed so for
a while, so that a VIP does not come home to a proxy that has not looked at its
servers yet.

A host that is cut off keeps its VIPs, where nobody sees them. Were it still worth
as much as before when the cut heals, it would have them back in that instant, and
its proxy would take the last checks from before for dead servers. So API servers
and gateway are pinged, too. Who never answered a ping counts for nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import sys
import time
import typing as t

FINE, ALONE, FAULT = 0, -100, -254

PAUSE = 0.1
"""Seconds between an answer and the next question."""

TICK, PATIENCE = 0.02, 20
"""A proxy that does not answer for so many ticks (seconds each: 0.4 s, half of what a fail-over may take) hangs.

Ticks of this program and not of the clock: on a host without a free CPU both wait, and to be slow is not to hang.
"""

STEADY = 1.0
"""Seconds that something must have been better before it is told."""

SILENCE = 0.5
"""Seconds without an answer to any ping after which this host is cut off. A proxy notices that seconds later."""

Values = t.Dict[str, int]


def ask(path: str) -> dict[str, str]:
    """What the proxy says of itself, from a real HTTP request through its event loop.

    :raises OSError: nobody listens, or nothing whole came within the time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        connection.connect(path)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        received = _read_all(connection)
    head, _blank, body = received.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise OSError("no good answer")
    return dict(word.partition("=")[::2] for word in body.decode("ascii", "replace").split())


def _read_all(connection: socket.socket) -> bytes:
    """Everything up to the end, within the patience."""
    received, ticks = b"", 0
    while ticks < PATIENCE:
        if not select.select([connection], [], [], TICK)[0]:
            ticks += 1
            continue
        part = connection.recv(65536)
        if not part:
            return received
        received += part
    raise OSError("no answer in time")


def judge(answer: t.Mapping[str, str], vips: t.Iterable[str], cut_off: bool) -> Values:
    """What each VIP is worth on this host, after what the proxy said; nothing at all where it said nothing."""
    if not answer:
        return dict.fromkeys(vips, FAULT)
    return {vip: ALONE if cut_off or _nobody(answer.get(vip, "")) else FINE for vip in vips}


def _nobody(counts: str) -> bool:
    """Whether all of the backends of a VIP, as in ``2+0+1``, are without a server. No backends at all is as asked."""
    numbers = counts.split("+") if counts else []
    return bool(numbers) and all(number == "0" for number in numbers)


class Pings:
    """Who has answered, and when. Without the right to ping, nobody ever does."""

    def __init__(self) -> None:
        self._heard: dict[str, float] = {}
        self._identity = os.getpid() & 0xFFFF
        self._socket: socket.socket | None = None
        with contextlib.suppress(OSError):
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            self._socket.setblocking(False)

    def close(self) -> None:
        """Ends it."""
        if self._socket is not None:
            self._socket.close()

    def cut_off(self, targets: t.Sequence[str], now: float) -> bool:
        """Whether all of those who once answered have been silent; then asks all of them again."""
        self._listen(now)
        for target in targets:
            self._ping(target)
        heard = [self._heard[target] for target in targets if target in self._heard]
        return bool(heard) and now - max(heard) > SILENCE

    def _ping(self, target: str) -> None:
        words = (8 << 8, self._identity, 0)  # type 8 (echo request), our identity, and a sequence number nobody needs
        total = sum(words)
        checksum = ~(total + (total >> 16)) & 0xFFFF
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.sendto(struct.pack("!BBHHH", 8, 0, checksum, self._identity, 0), (target, 0))

    def _listen(self, now: float) -> None:
        with contextlib.suppress(OSError):
            while self._socket is not None:
                packet, (source, _port) = self._socket.recvfrom(2048)
                start = (packet[0] & 0x0F) * 4
                kind, _code, _checksum, identity, _number = struct.unpack_from("!BBHHH", packet, start)
                if kind == 0 and identity == self._identity:
                    self._heard[source] = now


class HealthAgent:
    """What was told, and since when it could be told better."""

    def __init__(self, told: Values) -> None:
        self.told = told
        self._better: dict[str, tuple[int, float]] = {}

    def step(self, seen: Values, now: float) -> Values:
        """What is to be told after another look: worse at once, better after a while at the least of what was seen."""
        for vip, value in seen.items():
            present = self.told.get(vip, FAULT)
            if value <= present:
                self.told[vip] = value
                self._better.pop(vip, None)
                continue
            least, since = self._better.get(vip, (value, now))
            self._better[vip] = (min(least, value), since)
            if now - since >= STEADY:
                self.told[vip] = min(least, value)
                del self._better[vip]
        return self.told


def tell(directory: str, values: Values) -> None:
    """Writes the files that differ; each as a whole, because a file that is just being written reads as 0."""
    for vip, value in values.items():
        path = os.path.join(directory, vip)
        text = f"{value}\n"
        if _read(path) != text:
            with open(f"{path}.new", "w", encoding="ascii") as stream:
                stream.write(text)
            os.rename(f"{path}.new", path)


def told(directory: str, vips: t.Iterable[str]) -> Values:
    """What the files say, so that a restart of this program changes nothing. What never was told is a fault."""
    values = {}
    for vip in vips:
        try:
            values[vip] = int(_read(os.path.join(directory, vip)))
        except ValueError:
            values[vip] = FAULT
    return values


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.read()
    except OSError:
        return ""


def _notify(word: bytes) -> None:
    """Tells systemd that this program lives; otherwise it would be restarted."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path:
        address = "\0" + path[1:] if path.startswith("@") else path
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(word, address)


def _asked(path: str) -> dict[str, str]:
    try:
        return ask(path)
    except OSError:
        return {}


def main(arguments: t.Sequence[str]) -> None:
    """``SOCKET DIRECTORY VIP...``, until it is ended."""
    path, directory, *vips = arguments
    watch, pings = HealthAgent(told(directory, vips)), Pings()
    targets: list[str] = []
    tell(directory, watch.told)
    _notify(b"READY=1")
    while True:
        answer = _asked(path)
        if answer:
            targets = [target for target in answer.get("reach", "").split(",") if target]
        now = time.monotonic()
        tell(directory, watch.step(judge(answer, vips, pings.cut_off(targets, now)), now))
        _notify(b"WATCHDOG=1")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(sys.argv[1:])

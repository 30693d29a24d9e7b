# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The health agent of the load balancer: checks ten times a second whether this host can proxy; keepalived reads it.

A program of its own on the two hosts of the pair, ``health_agent.py SOCKET DIRECTORY
VIP...``: standard library only, Python 3.8, no import from the collection.
keepalived runs its own check scripts once a second at most, and its process tracking
detects a dead process but not a hanging one. So the agent writes one file per VIP,
which keepalived tracks; keepalived adds the number in it to the VIP's priority on
this host:

====  =========================================================================
0     HAProxy answers, and a server behind the VIP is up
-100  HAProxy answers, but no server behind the VIP is up according to it, or
      this host is cut off. The other host takes the VIP, unless it is in the
      same state
-254  HAProxy does not answer a request (it is dead or hangs). keepalived
      enters the state *fault*, and the VIP leaves this host at once
====  =========================================================================

The agent publishes a lower weight at once, and a higher one only after it has held
for a while. So a VIP does not return to a proxy that has not checked its servers yet.

A host that is cut off keeps its VIPs, where no client sees them. With an unchanged
weight it would take them back in the instant in which the partition heals, while its
proxy still considers the servers dead from checks during the partition. Therefore the
agent also pings API servers and gateways. A target that has never answered a ping
does not count.
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

HEALTHY, DEGRADED, FAULTY = 0, -100, -254

PAUSE = 0.1
"""Seconds between the end of one check and the start of the next."""

TICK, MAX_TICKS = 0.02, 20
"""A proxy that does not answer for this many ticks (seconds each: 0.4 s, half of what a failover may take) hangs.

The agent counts ticks of its own instead of time: on a host without a free CPU, both programs wait, and a slow proxy
is not a hanging one.
"""

RECOVERY_SECONDS = 1.0
"""How long a weight must have been higher before the agent publishes it."""

PING_SECONDS = 0.5
"""How long no target has answered a ping when this host counts as cut off. HAProxy notices that seconds later."""

Weights = t.Dict[str, int]
"""VIP -> number that keepalived adds to its priority."""


def fetch_health(path: str) -> dict[str, str]:
    """Return what HAProxy reports on its health socket, by a real HTTP request through its event loop.

    :raises OSError: HAProxy does not listen, or sent no complete answer in time.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        connection.connect(path)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        received = _read_all(connection)
    head, _blank, body = received.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise OSError("the status of the answer is not 200")
    return dict(word.partition("=")[::2] for word in body.decode("ascii", "replace").split())


def _read_all(connection: socket.socket) -> bytes:
    """Read until the end of the connection, for at most :data:`MAX_TICKS` idle ticks."""
    received, ticks = b"", 0
    while ticks < MAX_TICKS:
        if not select.select([connection], [], [], TICK)[0]:
            ticks += 1
            continue
        part = connection.recv(65536)
        if not part:
            return received
        received += part
    raise OSError("no answer in time")


def weights_of(health: t.Mapping[str, str], vips: t.Iterable[str], cut_off: bool) -> Weights:
    """Return the weight of each VIP.

    :param health: what :func:`fetch_health` returned; empty if HAProxy did not answer.
    """
    if not health:
        return dict.fromkeys(vips, FAULTY)
    return {vip: DEGRADED if cut_off or _all_down(health.get(vip, "")) else HEALTHY for vip in vips}


def _all_down(counts: str) -> bool:
    """Return whether no backend of a VIP has a server, from counts like ``2+0+1``. A VIP may have no backends."""
    numbers = counts.split("+") if counts else []
    return bool(numbers) and all(number == "0" for number in numbers)


def open_ping_socket() -> socket.socket | None:
    """Return a raw ICMP socket, or ``None`` without the permission for one."""
    try:
        connection = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except OSError:
        return None
    connection.setblocking(False)
    return connection


class PingMonitor:
    """Pings targets and notes when each of them last answered. Without a socket, no target ever answers."""

    def __init__(self, connection: socket.socket | None) -> None:
        self.last_reply: dict[str, float] = {}
        self._identity = os.getpid() & 0xFFFF
        self._socket = connection

    def is_cut_off(self, targets: t.Sequence[str], now: float) -> bool:
        """Return whether every target that ever answered is silent by now; then ping all of them again."""
        self._receive(now)
        for target in targets:
            self._ping(target)
        replies = [self.last_reply[target] for target in targets if target in self.last_reply]
        return bool(replies) and now - max(replies) > PING_SECONDS

    def _ping(self, target: str) -> None:
        words = (8 << 8, self._identity, 0)  # type 8 (echo request), the identity, and an unused sequence number
        total = sum(words)
        checksum = ~(total + (total >> 16)) & 0xFFFF
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.sendto(struct.pack("!BBHHH", 8, 0, checksum, self._identity, 0), (target, 0))

    def _receive(self, now: float) -> None:
        with contextlib.suppress(OSError):
            while self._socket is not None:
                packet, (source, _port) = self._socket.recvfrom(2048)
                start = (packet[0] & 0x0F) * 4
                kind, _code, _checksum, identity, _number = struct.unpack_from("!BBHHH", packet, start)
                if kind == 0 and identity == self._identity:
                    self.last_reply[source] = now


class HealthAgent:
    """The published weights, and since when each could be higher."""

    def __init__(self, published: Weights) -> None:
        self.published = published
        self._rising: dict[str, tuple[int, float]] = {}  # VIP -> lowest weight since, and since when

    def update(self, measured: Weights, now: float) -> Weights:
        """Return the weights to publish: a lower one at once, a higher one after :data:`RECOVERY_SECONDS`.

        Of several higher weights measured in that time, the lowest is published.
        """
        for vip, weight in measured.items():
            present = self.published.get(vip, FAULTY)
            if weight <= present:
                self.published[vip] = weight
                self._rising.pop(vip, None)
                continue
            lowest, since = self._rising.get(vip, (weight, now))
            self._rising[vip] = (min(lowest, weight), since)
            if now - since >= RECOVERY_SECONDS:
                self.published[vip] = min(lowest, weight)
                del self._rising[vip]
        return self.published


def write_weights(directory: str, weights: Weights) -> None:
    """Write the files that differ. Each is replaced in one step, because keepalived reads an incomplete one as 0."""
    for vip, weight in weights.items():
        path = os.path.join(directory, vip)
        text = f"{weight}\n"
        if _read(path) != text:
            with open(f"{path}.new", "w", encoding="ascii") as stream:
                stream.write(text)
            os.rename(f"{path}.new", path)


def read_weights(directory: str, vips: t.Iterable[str]) -> Weights:
    """Return the published weights, so that a restart of the agent changes nothing; FAULTY where none is published."""
    weights = {}
    for vip in vips:
        try:
            weights[vip] = int(_read(os.path.join(directory, vip)))
        except ValueError:
            weights[vip] = FAULTY
    return weights


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.read()
    except OSError:
        return ""


def notify_systemd(message: bytes) -> bool:
    """Send a message of ``sd_notify``; return whether it was sent.

    systemd restarts the agent when the watchdog messages stop. Without systemd, there is no socket to send to.
    """
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return False
    address = "\0" + path[1:] if path.startswith("@") else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.sendto(message, address)
    except OSError:
        return False
    return True


def main(arguments: t.Sequence[str]) -> None:
    """Run the agent with the arguments ``SOCKET DIRECTORY VIP...`` until it is terminated."""
    path, directory, *vips = arguments
    agent, pings = HealthAgent(read_weights(directory, vips)), PingMonitor(open_ping_socket())
    targets: list[str] = []
    write_weights(directory, agent.published)
    notify_systemd(b"READY=1")
    while True:
        try:
            health = fetch_health(path)
        except OSError:
            health = {}
        if health:
            targets = [target for target in health.get("reach", "").split(",") if target]
        now = time.monotonic()
        measured = weights_of(health, vips, pings.is_cut_off(targets, now))
        write_weights(directory, agent.update(measured, now))
        notify_systemd(b"WATCHDOG=1")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(sys.argv[1:])

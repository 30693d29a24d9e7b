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
-100  HAProxy has answered, but as it sees it nobody stands behind the VIP: the
      other host takes it, unless it sees the same
-254  HAProxy does not answer a request (it is dead, or hangs): *fault*, and the
      VIP leaves this host at once
====  =========================================================================

What gets worse is told at once; what gets better only when it has stayed so for
a while, so that a VIP does not come home to a proxy that has not looked at its
servers yet.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
import typing as t

FINE, ALONE, FAULT = 0, -100, -254

PAUSE = 0.1
"""Seconds between an answer and the next question."""

PATIENCE = 0.4
"""Seconds until a proxy that does not answer counts as hung. Half of what a fail-over may take."""

STEADY = 1.0
"""Seconds that something must have been better before it is told."""

Values = t.Dict[str, int]


def ask(path: str) -> dict[str, str]:
    """What the proxy says of itself, from a real HTTP request through its event loop.

    :raises OSError: nobody listens, or nothing whole came within the time.
    """
    deadline = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(path)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        received = b""
        while True:
            connection.settimeout(max(deadline - time.monotonic(), 0.001))
            part = connection.recv(65536)
            if not part:
                break
            received += part
    head, _blank, body = received.partition(b"\r\n\r\n")
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise OSError("no good answer")
    return dict(word.partition("=")[::2] for word in body.decode("ascii", "replace").split())


def judge(path: str, vips: t.Iterable[str]) -> Values:
    """What each VIP is worth on this host at this moment."""
    try:
        answer = ask(path)
    except OSError:
        return dict.fromkeys(vips, FAULT)
    return {vip: ALONE if _nobody(answer.get(vip, "")) else FINE for vip in vips}


def _nobody(counts: str) -> bool:
    """Whether all of the backends of a VIP, as in ``2+0+1``, are without a server. No backends at all is as asked."""
    numbers = counts.split("+") if counts else []
    return bool(numbers) and all(number == "0" for number in numbers)


class Watch:
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


def main(arguments: t.Sequence[str]) -> None:
    """``SOCKET DIRECTORY VIP...``, until it is ended."""
    path, directory, *vips = arguments
    watch = Watch(told(directory, vips))
    tell(directory, watch.told)
    _notify(b"READY=1")
    while True:
        tell(directory, watch.step(judge(path, vips), time.monotonic()))
        _notify(b"WATCHDOG=1")
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(sys.argv[1:])

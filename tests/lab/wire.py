#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Count the packets on the wire that carry an address of one node CIDR to another one in clear.

A frame counts if it contains, at any place, a source of one node CIDR followed by a target of the other one, as an IPv4
header does: plain, in VXLAN, or in any other encapsulation that does not encrypt. The router of the lab captures on all
of its links, also on those of hosts that boot meanwhile, so nothing on a host can hide a packet.

  tests/lab/wire.py HOST HOST COMMAND...    count between the Pods of two hosts while a command runs; exit with 1 if any
"""

from __future__ import annotations

import errno
import ipaddress
import json
import re
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tkelab.model import ROUTER  # found by the line above
from tkelab.system import inside

LAB = Path(__file__).resolve().parent / "lab"
ETH_P_ALL = 3
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
BUFFER = 64 << 20
STRAGGLERS = 0.2
"""Seconds for the frames in flight after the body of the context ends."""


class WireError(Exception):
    """The capture is not complete, so its counts prove nothing."""


class Wire:
    """A context in which frames are counted. Afterwards ``clear`` and ``frames`` have the counts.

    :param node_cidrs: pairs of node CIDRs. Packets between those of a pair must not appear in clear.
    """

    def __init__(self, *node_cidrs: tuple[str, str]) -> None:
        self.clear = 0
        """Frames with both addresses in clear; a frame counts once for each link of the router that it passes."""
        self.frames = 0
        """All frames."""
        self.example = b""
        """The last frame in clear."""
        self._pattern = pattern(*node_cidrs)
        with inside(ROUTER):
            self._socket = _capture()
        self._stopped = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Wire:
        self._reader.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()
        self._reader.join()
        lost = _lost(self._socket)
        self._socket.close()
        if lost:
            raise WireError(f"the capture has missed {lost} frames, because this machine is too busy")

    def _read(self) -> None:
        until = None  # the links are never silent, so the end is a time
        while until is None or time.monotonic() < until:
            if until is None and self._stopped.is_set():
                until = time.monotonic() + STRAGGLERS
            ready, _, _ = select.select([self._socket], [], [], STRAGGLERS)
            if ready:
                self._count()

    def _count(self) -> None:
        while True:
            try:
                frame = self._socket.recv(1 << 16)
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # a link went down, as when a host boots; the others go on
                    continue
                if error.errno == errno.EAGAIN:
                    return
                raise
            self.frames += 1
            if self._pattern.search(frame):
                self.clear += 1
                self.example = frame

    def __str__(self) -> str:
        example = f", the last one {self.example[:160].hex()}" if self.example else ""
        return f"{self.clear} of {self.frames} frames carry addresses of Pods in clear{example}"


def pattern(*node_cidrs: tuple[str, str]) -> re.Pattern[bytes]:
    """Return the pattern of frames with a source and a target in the node CIDRs of a pair, in either direction.

    :raises WireError: a node CIDR is not one of whole bytes.
    """
    return re.compile(b"|".join(_either_way(*pair) for pair in node_cidrs), re.DOTALL)


def _either_way(one: str, other: str) -> bytes:
    """Return the pattern of the source and target in an IPv4 header, for node CIDRs of whole bytes."""
    first, second = (_prefix(each) for each in (one, other))
    return first + second + b"|" + second + first


def _prefix(cidr: str) -> bytes:
    network = ipaddress.IPv4Network(cidr)
    size, rest = divmod(network.prefixlen, 8)
    if rest:
        raise WireError(f"{cidr} does not end at a byte, so a pattern of bytes cannot describe it")
    return re.escape(network.network_address.packed[:size]) + b"." * (4 - size)


def _capture() -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    made.setblocking(False)
    return made


def _lost(capture: socket.socket) -> int:
    _packets, drops = struct.unpack("II", capture.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    return int(drops)


def node_cidr_of(host: str) -> str:
    """Return the node CIDR of a host, from the list of its Pods."""
    text = subprocess.run([LAB, "exec", host, "--", "lab-pod", "list"], stdout=subprocess.PIPE, text=True, check=True)
    pods: dict[str, str] = json.loads(text.stdout)
    if not pods:
        raise WireError(f"{host} has no Pods")
    return str(ipaddress.ip_network(f"{next(iter(pods.values()))}/24", strict=False))


def main() -> int:
    """Run the command of the command line while frames are counted."""
    if len(sys.argv) < 4:
        sys.exit(str(__doc__))
    one, other, *command = sys.argv[1:]
    with Wire((node_cidr_of(one), node_cidr_of(other))) as wire:
        code = subprocess.run(command, check=False).returncode
    print(wire)
    return code or (1 if wire.clear else 0)


if __name__ == "__main__":
    sys.exit(main())

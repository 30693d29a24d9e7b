# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The part of the flows that runs on one host: flows.py starts it with the Python of the host.

It reads a line of JSON from standard input, then the commands `start`, `stop` and `report`, and answers each with a
line. Packets carry a number and the time at which they were sent. All hosts of a lab share one kernel and so one clock.
The length of an interruption is the time between the sending of the last packet before it and of the first one after
it, so a busy machine, which sends late, does not count as an interruption.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PACKET = struct.Struct("!IQ")  # number, time of sending
CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE, SO_RXQ_OVFL = 33, 40
BUFFER = 1 << 20


class Sender(threading.Thread):
    """Sends packets on every flow at an interval; a flow is (id, socket, target)."""

    def __init__(self, flows: list[tuple[int, socket.socket, tuple[str, int]]], interval: float) -> None:
        super().__init__(daemon=True)
        self.flows, self.interval = flows, interval
        self.number = 0
        self.errors: dict[int, str] = {}
        self.stopped = threading.Event()

    def stop(self) -> dict[str, Any]:
        """End the thread and return the number of packets per flow and the errors."""
        self.stopped.set()
        self.join()
        return {"sent": self.number, "errors": self.errors}

    def run(self) -> None:
        begin = time.monotonic()
        while not self.stopped.is_set():
            packet = PACKET.pack(self.number, time.monotonic_ns())
            for flow, sock, target in self.flows:
                try:
                    sock.sendto(packet, target)
                except OSError as error:  # the packet counts as sent, so it counts as lost
                    self.errors[flow] = str(error)
            self.number += 1
            self.stopped.wait(max(begin + self.number * self.interval - time.monotonic(), 0))


class Receiver(threading.Thread):
    """Receives packets, and records their numbers and the packets that did not fit into the socket's buffer."""

    def __init__(self, sockets: dict[socket.socket, int]) -> None:
        super().__init__(daemon=True)
        self.sockets = sockets  # socket -> id
        self.times: dict[int, dict[int, int]] = {flow: {} for flow in sockets.values()}
        self.overrun = dict.fromkeys(sockets.values(), 0)

    def run(self) -> None:
        poll = select.epoll()
        by_number = {sock.fileno(): (sock, flow) for sock, flow in self.sockets.items()}
        for number in by_number:
            poll.register(number, select.EPOLLIN)
        while True:
            for number, _event in poll.poll():
                self.take(*by_number[number])

    def take(self, sock: socket.socket, flow: int) -> None:
        data, extra, _flags, _source = sock.recvmsg(PACKET.size, socket.CMSG_SPACE(4))
        number, sent = PACKET.unpack(data)
        self.times[flow][number] = sent
        for _level, kind, value in extra:
            if kind == SO_RXQ_OVFL:
                self.overrun[flow] = int.from_bytes(value, sys.byteorder)

    def report(self) -> dict[int, dict[str, float]]:
        return {
            flow: {"numbers": len(times), "gap": longest_gap(times), "overrun": self.overrun[flow]}
            for flow, times in self.times.items()
        }


def longest_gap(times: dict[int, int]) -> float:
    """Return the longest time in seconds between the sending of two packets between which others are missing, or 0."""
    numbers = sorted(times)
    # Not itertools.pairwise: the Python of the host can be 3.9.
    holes = [times[after] - times[before] for before, after in zip(numbers, numbers[1:]) if after - before > 1]
    return max(holes, default=0) / 1e9


def socket_in(pod: str) -> socket.socket:
    """Return a UDP socket in the network namespace of a Pod. This thread returns to its own namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as here, open("/run/netns/" + pod) as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns " + pod)
        try:
            return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        finally:
            if libc.setns(here.fileno(), CLONE_NEWNET):
                os._exit(1)


def main() -> None:
    """Open the sockets, and run the commands from standard input."""
    settings = json.loads(sys.stdin.readline())
    receiving = {}
    for flow, pod, port in settings["receive"]:
        sock = socket_in(pod)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        sock.setsockopt(socket.SOL_SOCKET, SO_RXQ_OVFL, 1)
        sock.bind(("0.0.0.0", port))
        receiving[sock] = flow
    sending = [(flow, socket_in(pod), (address, port)) for flow, pod, address, port in settings["send"]]
    receiver, sender = Receiver(receiving), Sender(sending, settings["interval"])
    receiver.start()
    answers: dict[str, Callable[[], Any]] = {
        "start": sender.start,
        "stop": sender.stop,
        "report": receiver.report,
    }
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(answers[line.strip()]()), flush=True)


main()

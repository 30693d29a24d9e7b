# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Three network namespaces: the host, a Pod on its bridge, and a neighbour in the underlay."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import socket
import subprocess
from collections.abc import Iterator

from ansible_collections.tke.overlay.plugins.module_utils._addressing import vtep_mac
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from breakages import PEERS

HOST, NEIGHBOUR, POD = "10.0.1.11", "10.0.1.21", "10.244.0.2"
PEER = PEERS[1].underlay
BURST = 1_000

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


class World:
    """The host with its Pod and its neighbour. Sockets are created in a namespace and used outside of it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.processes = {name: subprocess.Popen(["unshare", "-n", "sleep", "600"]) for name in ("pod", "neighbour")}
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        own = os.stat("/proc/self/ns/net").st_ino
        for process in self.processes.values():
            while os.stat(f"/proc/{process.pid}/ns/net").st_ino == own or b"sleep" not in self._command(process):
                pass
        pod, neighbour = (process.pid for process in self.processes.values())
        for line in (
            f"link set far netns {neighbour} name eth0",
            "link add tke-br0 type bridge",
            "address add 10.244.0.1/24 dev tke-br0",
            "link set tke-br0 up",
            f"link add pod0 type veth peer name eth0 netns {pod}",
            "link set pod0 master tke-br0 up",
            f"route add default via {NEIGHBOUR}",
        ):
            code, _out, errors = run(["ip", *line.split()])
            assert code == 0, (line, errors)
        self.ip(
            "pod",
            "link set lo up",
            "link set eth0 up",
            f"address add {POD}/24 dev eth0",
            "route add default via 10.244.0.1",
        )
        self.ip(
            "neighbour",
            "link set lo up",
            "link set eth0 up",
            f"address add {NEIGHBOUR}/24 dev eth0",
            f"address add {PEER}/24 dev eth0",
            f"route add 10.244.0.0/16 via {HOST}",
        )

    @staticmethod
    def _command(process: subprocess.Popen[bytes]) -> bytes:
        with open(f"/proc/{process.pid}/cmdline", "rb") as stream:
            return stream.read()

    def ip(self, where: str, *lines: str) -> None:
        for line in lines:
            done = self.run(["nsenter", "-t", str(self.processes[where].pid), "-n", "ip", *line.split()])
            assert done[0] == 0, (line, done)

    @contextlib.contextmanager
    def inside(self, where: str) -> Iterator[None]:
        """Move this thread to a namespace, and back."""
        if where == "host":
            yield
            return
        with open(f"/proc/{self.processes[where].pid}/ns/net", "rb") as there:
            assert LIBC.setns(there.fileno(), CLONE_NEWNET) == 0
            try:
                yield
            finally:
                assert LIBC.setns(self.home, CLONE_NEWNET) == 0

    def socket(self, where: str, address: str, port: int = 0, kind: int = socket.SOCK_DGRAM) -> socket.socket:
        """Return a bound socket of a namespace."""
        with self.inside(where):
            created = socket.socket(socket.AF_INET, kind)
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        created.settimeout(5)
        with self.inside(where):
            created.bind((address, port))
        return created

    def close(self) -> None:
        """Remove the namespaces."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        os.close(self.home)


def silent(receiver: socket.socket) -> bool:
    """Whether no packet arrives. Packets of the same machine arrive at once, because no queue is in between."""
    return not select.select([receiver], [], [], 0.05)[0]


def burst(sender: socket.socket, target: tuple[str, int], payload: bytes = b"x") -> None:
    """Send exactly ``BURST`` packets."""
    for _number in range(BURST):
        sender.sendto(payload, target)


def vxlan(vni: int, inner: bytes) -> bytes:
    """Return a tunnel packet, without its outer headers."""
    return b"\x08\0\0\0" + (vni << 8).to_bytes(4, "big") + inner


def frame(source: str, target: str) -> bytes:
    """Return an inner packet to the MAC of the host's VTEP: UDP to port 53 of a Pod."""
    macs = bytes.fromhex((vtep_mac(PEERS[0].node_cidr) + vtep_mac(PEERS[1].node_cidr)).replace(":", ""))
    udp = (1000).to_bytes(2, "big") + (53).to_bytes(2, "big") + (12).to_bytes(2, "big") + b"\0\0" + b"evil"
    head = b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + b"\0\0\0\0\x40\x11"
    ends = socket.inet_aton(source) + socket.inet_aton(target)
    words = head + b"\0\0" + ends
    total = sum(int.from_bytes(words[i : i + 2], "big") for i in range(0, 20, 2))
    checksum = ~(total + (total >> 16)) & 0xFFFF
    return macs + b"\x08\0" + head + checksum.to_bytes(2, "big") + ends + udp


def counted(run: Run) -> dict[str, int]:
    """Return the packets of each counter."""
    _code, out, _errors = run(["nft", "-j", "list", "counters", "table", "inet", "tke_overlay"])
    rows = [row["counter"] for row in json.loads(out)["nftables"] if "counter" in row]
    return {row["name"]: row["packets"] for row in rows}

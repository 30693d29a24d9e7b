# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""WireGuard hosts in network namespaces: what a peer on the other side needs, without the code under test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run

CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_REC_PRIVATE = 0x44000
SOCKETS = "/run/wireguard"
LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def own_sockets() -> Iterator[None]:
    """Run a block in a mount namespace, and end its wireguard-go: they all have their sockets in one directory."""
    home, directory = os.open("/proc/self/ns/mnt", os.O_RDONLY), os.getcwd()
    os.makedirs(SOCKETS, mode=0o700, exist_ok=True)
    assert LIBC.unshare(CLONE_NEWNS) == 0
    try:
        assert LIBC.mount(None, b"/", None, MS_REC_PRIVATE, None) == 0
        assert LIBC.mount(b"none", SOCKETS.encode(), b"tmpfs", 0, None) == 0
        yield
    finally:
        for process in pids_of(""):
            os.kill(process, signal.SIGKILL)
        assert LIBC.setns(home, CLONE_NEWNS) == 0
        os.close(home)
        os.chdir(directory)


def succeed(run: Run, command: str, text: str | None = None) -> str:
    """Run a command that must succeed, and return what it prints."""
    code, out, errors = run(command.split(), text)
    assert code == 0, (command, errors)
    return out


class Keys(NamedTuple):
    """A key pair; the private key is in a file."""

    private: Path
    public: str


def make_keys(run: Run, path: Path) -> Keys:
    """Make a key pair."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(succeed(run, "wg genkey"))
    path.chmod(0o600)
    return Keys(path, succeed(run, "wg pubkey", path.read_text()).strip())


def pids_of(device: str) -> list[int]:
    """Return the process IDs of wireguard-go for a device, or for each, in this mount namespace."""
    own = os.stat("/proc/thread-self/ns/mnt").st_ino
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = [*(entry / "cmdline").read_bytes().split(b"\0"), b""]
            here = words[0].endswith(b"wireguard-go") and os.stat(entry / "ns/mnt").st_ino == own
            if here and device.encode() in (b"", words[1]):
                found.append(int(entry.name))
    return found


HOST, ROUTER, FAR = "10.0.1.11", "10.0.1.21", "192.168.7.2"
POD, FAR_POD = "10.244.0.1", "10.244.2.2"

_MASQUERADE = "table ip nat { chain post { type nat hook postrouting priority 100; oifname eth0 masquerade; }; }"
_WATCH = """table ip watch {
    counter clear { }
    chain pre {
        type filter hook prerouting priority -300;
        ip daddr 10.244.0.0/16 counter name clear
        ip saddr 10.244.0.0/16 counter name clear
    }
}
"""


class Line:
    """The line between the host and a node of another site: a router that sees packets in clear, and that node.

    The node has WireGuard without the code under test, one device for each generation of keys.
    """

    def __init__(self, run: Run, path: Path, masquerade: bool) -> None:
        self.run, self.path, self.masquerade = run, path, masquerade
        self.processes = {name: subprocess.Popen(["unshare", "-n", "sleep", "600"]) for name in ("router", "far")}
        self.home = os.open("/proc/self/ns/net", os.O_RDONLY)
        own = os.fstat(self.home).st_ino
        for process in self.processes.values():
            while os.stat(f"/proc/{process.pid}/ns/net").st_ino == own:
                pass
        router, far = (process.pid for process in self.processes.values())
        for line in (
            f"link set far netns {router} name eth0",
            f"link add inner netns {router} type veth peer name eth0 netns {far}",
            f"route add 192.168.7.0/24 via {ROUTER}",
            "link add tke-br0 type bridge",
            f"address add {POD}/24 dev tke-br0",
            "link set tke-br0 up",
        ):
            succeed(run, f"ip {line}")
        self._configure_router()
        for line in (
            f"address add {FAR}/24 dev eth0",
            f"address add {FAR_POD}/32 dev lo",
            "link set lo up",
            "link set eth0 up",
            "route add default via 192.168.7.1",
        ):
            self.within("far", f"ip {line}")

    def _configure_router(self) -> None:
        for line in (
            f"address add {ROUTER}/24 dev eth0",
            "address add 192.168.7.1/24 dev inner",
            "link set eth0 up",
            "link set inner up",
        ):
            self.within("router", f"ip {line}")
        self.within("router", "sh", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        self.within("router", "nft -f -", _WATCH + (_MASQUERADE if self.masquerade else ""))

    def within(self, where: str, command: str, text: str | None = None) -> str:
        """Run a command that must succeed on the router or the far node."""
        return succeed(self.run, f"nsenter -t {self.processes[where].pid} -n {command}", text)

    def dial(self, generation: int, host_key: str) -> str:
        """Give the far node a device that dials the host's, and return its public key."""
        name, port = f"far{generation}", 51820 + generation
        keys = make_keys(self.run, self.path / f"{name}.key")
        keepalive = "persistent-keepalive 25" if self.masquerade else ""
        self.within("far", f"wireguard-go {name}")
        self.within("far", f"wg set {name} private-key {keys.private} listen-port {port}")
        self.within(
            "far", f"wg set {name} peer {host_key} endpoint {HOST}:{port} allowed-ips 10.244.0.0/24 {keepalive}"
        )
        self.within("far", f"ip link set {name} up")
        return keys.public

    def send_by(self, generation: int) -> None:
        """Let the far node send to the host's Pods by the device of a generation."""
        self.within("far", f"ip route replace 10.244.0.0/24 dev far{generation} src {FAR_POD}")

    def in_clear(self) -> int:
        """Return the packets of Pods that the router has seen in clear."""
        return int(self.within("router", "nft list counter ip watch clear").partition("packets ")[2].split()[0])

    def socket(self, where: str, address: str, port: int = 0) -> socket.socket:
        """Return a bound UDP socket of the host or the far node."""
        if where == "far":
            with open(f"/proc/{self.processes[where].pid}/ns/net", "rb") as there:
                assert LIBC.setns(there.fileno(), CLONE_NEWNET) == 0
        try:
            created = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            created.bind((address, port))
        finally:
            assert LIBC.setns(self.home, CLONE_NEWNET) == 0
        created.settimeout(10)
        return created

    def close(self) -> None:
        """Remove the namespaces."""
        for process in self.processes.values():
            process.kill()
            process.wait()
        os.close(self.home)


class Flow:
    """Numbered packets from one socket to another, every few milliseconds, until the block ends."""

    def __init__(self, sender: socket.socket, receiver: socket.socket) -> None:
        self.sender, self.receiver, self.sent, self.received = sender, receiver, 0, set[int]()
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    def _send(self) -> None:
        while not self._ended.wait(0.005):
            with contextlib.suppress(OSError):
                self.sender.sendto(str(self.sent).encode(), self.receiver.getsockname())
            self.sent += 1

    def _receive(self) -> None:
        with contextlib.suppress(TimeoutError):
            while True:
                self.received.add(int(self.receiver.recv(100)))

    def settle(self) -> None:
        """Wait until everything that was sent so far has arrived: wireguard-go has queues, and the machine is busy."""
        sent, deadline = set(range(self.sent)), time.monotonic() + 10
        while not sent <= self.received and time.monotonic() < deadline:
            pass

    @property
    def lost(self) -> int:
        """The packets that did not arrive."""
        return self.sent - len(self.received)

    def __enter__(self) -> Flow:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._threads[0].join()
        self.receiver.settimeout(1)
        self._threads[1].join()

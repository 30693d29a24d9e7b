# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Members of a real etcd, in a network namespace of their own with the tests inside it."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)

NAMES = ("one", "two", "three")
# Each member has one port for clients and one for the other members, on the loopback of the namespace.
CLIENT_PORTS = {"one": 2379, "two": 3379, "three": 4379, "single": 5379}
PEER_PORTS = {name: port + 1 for name, port in CLIENT_PORTS.items()}


def _call(name: str, *arguments: int) -> None:
    if getattr(LIBC, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def namespace() -> Iterator[None]:
    """Run this process and its children in a new network namespace that has only the loopback."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    _call("unshare", CLONE_NEWNET)
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        _call("setns", home, CLONE_NEWNET)
        os.close(home)


def until(condition: Callable[[], T], seconds: float = 20.0) -> T:
    """Wait until the condition returns a true value, and return that."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < end, f"not within {seconds} s: {condition}"
        time.sleep(0.02)


class Etcd:
    """The members of one etcd cluster; each is a process that a test can kill, start again and isolate."""

    def __init__(
        self,
        directory: pathlib.Path,
        names: Sequence[str] = NAMES,
        tls: Sequence[str] = (),
        scheme: str = "http",
        host: str = "127.0.0.1",
    ) -> None:
        self.directory, self.names, self.tls = directory, names, list(tls)
        self.scheme, self.host = scheme, host
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def address(self, name: str) -> str:
        """Return the address of a member."""
        return self.host

    def entrance(self, name: str) -> list[str]:
        """Return the command, in front of another one, that runs it where a member runs."""
        return []

    def peer_urls(self) -> dict[str, str]:
        return {name: f"http://{self.address(name)}:{PEER_PORTS[name]}" for name in self.names}

    def start(self, name: str) -> None:
        client = f"{self.scheme}://{self.address(name)}:{CLIENT_PORTS[name]}"
        peers = self.peer_urls()
        arguments = {
            "name": name,
            "data-dir": str(self.directory / name),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peers[name],
            "initial-advertise-peer-urls": peers[name],
            "initial-cluster": ",".join(f"{other}={url}" for other, url in peers.items()),
            "heartbeat-interval": "50",
            "election-timeout": "500",
            "snapshot-count": "500",
            "quota-backend-bytes": str(4 << 30),
            "logger": "zap",
            "log-level": "error",
        }
        # Append: the log of a restarted member keeps the reason why it ended.
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                # A member ends with the tests, also when these are killed.
                [
                    *self.entrance(name),
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    "etcd",
                    *(f"--{key}={value}" for key, value in arguments.items()),
                    *self.tls,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)

    def reset(self) -> None:
        """Start all members, remove all packet filters and keys, and wait for a leader."""
        self.heal()
        self.post("/kv/deleterange", {"key": "AA==", "range_end": "AA=="})

    def heal(self) -> None:
        """Start all members, remove all packet filters, and wait for a leader."""
        subprocess.run(["nft", "flush", "ruleset"], check=True)  # of this namespace
        for name in self.names:
            if name not in self.processes:
                self.start(name)
        until(lambda: all(self.status(name) for name in self.names), 60)

    def post(self, path: str, payload: dict[str, Any], name: str | None = None) -> dict[str, Any]:
        port = CLIENT_PORTS[name or self.names[0]]
        url = f"http://{self.address(name or self.names[0])}:{port}/v3{path}"
        request = urllib.request.Request(url, json.dumps(payload).encode(), {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            document: dict[str, Any] = json.load(answer)
            return document

    def status(self, name: str) -> dict[str, Any] | None:
        """Return the status of a member, or None when it does not answer or has no leader."""
        try:
            status = self.post("/maintenance/status", {}, name)
            self.post("/kv/range", {"key": "AA=="}, name)  # only a cluster with a leader answers this
        except (OSError, urllib.error.URLError):
            return None
        return status if status.get("leader") else None

    def leader(self) -> str:
        """Return the name of the leader."""

        def who() -> str | None:
            for name in self.names:
                status = self.status(name)
                if status and status["leader"] == status["header"]["member_id"]:
                    return name
            return None

        return until(who) or ""

    def cut(self, name: str) -> None:
        """Drop the client traffic of a member; the members still reach each other."""
        rules = f"""
        table inet cut {{
            chain input {{
                type filter hook input priority 0
                tcp dport {CLIENT_PORTS[name]} drop
                tcp sport {CLIENT_PORTS[name]} drop
            }}
        }}"""
        subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def compact(self) -> None:
        """Compact the history of all keys, as auto-compaction of an etcd does."""
        revision = self.post("/kv/range", {"key": "AA=="})["header"]["revision"]
        with contextlib.suppress(urllib.error.HTTPError):  # another process has compacted
            self.post("/kv/compaction", {"revision": revision})

    def url(self, prefix: str = "demo", names: Sequence[str] | None = None) -> str:
        hosts = ",".join(f"{self.address(name)}:{CLIENT_PORTS[name]}" for name in names or self.names)
        return f"etcd://{hosts}/{prefix}"

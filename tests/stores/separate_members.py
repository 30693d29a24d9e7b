# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Members of an etcd, each in a network namespace of its own, so that single directions between them can be cut.

The tests, and the controllers that they start, are in another namespace, with a bridge that connects all of them.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence

from members import CLIENT_PORTS, NAMES, Etcd, namespace, until

NETWORK = "192.0.2."
CONTROLLER = f"{NETWORK}254"
SLOW_SYNC = 0.3
"""Seconds that a slow disk adds to each sync. etcd warns from 0.1 s on; its heartbeat is 0.05 s here."""


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class SeparateEtcd(Etcd):
    """The members of one etcd cluster; use it as a context, inside :func:`members.namespace`."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        self._places: dict[str, subprocess.Popen[bytes]] = {}
        self._slow: dict[str, subprocess.Popen[bytes]] = {}

    def address(self, name: str) -> str:
        return f"{NETWORK}{NAMES.index(name) + 1}"

    def entrance(self, name: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self._places[name].pid}/ns/net"]

    def inside(self, name: str, *command: str) -> None:
        run(*self.entrance(name), *command)

    def __enter__(self) -> SeparateEtcd:
        run("ip", "link", "add", "hub", "type", "bridge")
        run("ip", "address", "add", f"{CONTROLLER}/24", "dev", "hub")
        run("ip", "link", "set", "hub", "up")
        for name in self.names:
            self._connect(name)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()
        for place in self._places.values():
            place.kill()
            place.communicate()  # closes its pipes

    def _connect(self, name: str) -> None:
        """Make the namespace of a member. A process that waits for its input keeps it."""
        place = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._places[name] = place
        own = os.readlink("/proc/self/ns/net")
        until(lambda: os.readlink(f"/proc/{place.pid}/ns/net") != own)
        run("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(place.pid))
        run("ip", "link", "set", f"to-{name}", "master", "hub", "up")
        self.inside(name, "ip", "link", "set", "lo", "up")
        self.inside(name, "ip", "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        self.inside(name, "ip", "link", "set", "eth0", "up")

    # --- faults ---

    def deafen(self, name: str, *others: str) -> None:
        """Drop the packets that reach a member from others; what it sends still arrives."""
        self._drop(name, *(self.address(other) for other in others))

    def isolate(self, name: str, *others: str) -> None:
        """Cut a member off from others, in both directions; controllers still reach it."""
        self.deafen(name, *others)
        for other in others:
            self.deafen(other, name)

    def cut(self, name: str) -> None:
        """Drop the client traffic of a member; the members still reach each other."""
        self._drop(name, CONTROLLER)

    def _drop(self, name: str, *sources: str) -> None:
        rules = f"""
        table inet cut {{
            chain input {{
                type filter hook input priority 0
                ip saddr {{ {", ".join(sources)} }} drop
            }}
        }}"""
        subprocess.run([*self.entrance(name), "nft", "-f", "-"], input=rules, text=True, check=True)

    def slow_down(self, name: str) -> None:
        """Let each sync of a member take longer. etcd is linked statically, so only its system calls can be delayed."""
        process = str(self.processes[name].pid)
        delay = f"inject=fsync,fdatasync:delay_exit={round(SLOW_SYNC * 1e6)}"
        command = ["strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", delay, "-o", "/dev/null", "-p", process]
        self._slow[name] = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command])
        until(lambda: _tracer(process) != "0")

    def pause(self, name: str) -> None:
        """Stop a member in the middle of what it does, until :meth:`heal`."""
        self.processes[name].send_signal(signal.SIGSTOP)

    def kill(self, name: str) -> None:
        super().kill(name)
        self._speed_up(name)

    def _speed_up(self, name: str) -> None:
        if name in self._slow:
            tracer = self._slow.pop(name)
            with contextlib.suppress(ProcessLookupError):
                tracer.terminate()
            tracer.wait()

    def heal(self) -> None:
        """End all faults, start all members, and wait until each has a leader."""
        for name in self.names:
            self._speed_up(name)
            self.inside(name, "nft", "flush", "ruleset")
            if name in self.processes:
                self.processes[name].send_signal(signal.SIGCONT)
        super().heal()

    # --- backups ---

    def save(self, path: pathlib.Path) -> None:
        """Save a snapshot of one member, as an administrator does."""
        endpoint = f"--endpoints={self.address(self.names[0])}:{CLIENT_PORTS[self.names[0]]}"
        subprocess.run(["etcdctl", endpoint, "snapshot", "save", str(path)], check=True, capture_output=True)

    def restore(self, path: pathlib.Path) -> None:
        """Stop all members, replace their data by a snapshot, and start them again."""
        self.stop()
        peers = self.peer_urls()
        for name in self.names:
            shutil.rmtree(self.directory / name)
            options = {
                "name": name,
                "data-dir": str(self.directory / name),
                "initial-advertise-peer-urls": peers[name],
                "initial-cluster": ",".join(f"{other}={url}" for other, url in peers.items()),
            }
            words = [f"--{key}={value}" for key, value in options.items()]
            subprocess.run(["etcdctl", "snapshot", "restore", str(path), *words], check=True, capture_output=True)
        self.heal()

    def revision(self) -> int:
        return int(self.post("/kv/range", {"key": "AA=="})["header"]["revision"])


def _tracer(process: str) -> str:
    """Return the process that traces a process; ``0`` if none does."""
    status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(line for line in status.splitlines() if line.startswith("TracerPid")).split()[1]


@contextlib.contextmanager
def separate_members(directory: pathlib.Path) -> Iterator[SeparateEtcd]:
    """Run three members, each in its own network namespace, and this process in another one."""
    with namespace(), SeparateEtcd(directory) as etcd:
        yield etcd


def others(names: Sequence[str], name: str) -> list[str]:
    return [other for other in names if other != name]

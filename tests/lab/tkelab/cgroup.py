# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The processes of the lab: one control group per host, and one for building the base tree.

A process joins its group before it executes its program, so `lab down` finds every process even if `lab up` is killed
at any moment. A pid file cannot guarantee that. The groups are necessary anyway: systemd on a host that shares its
group with another host treats the services of that host as its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from functools import cache
from pathlib import Path

from .system import PREFIX, LabError

PARENT = PREFIX.rstrip("-")
# Joins the groups that the first two arguments name, then executes the remaining arguments.
_JOIN = 'for g in "$1" "$2"; do echo $$ > "$g/cgroup.procs" || exit 1; done; shift 2; exec "$@"'


@cache
def hierarchies() -> tuple[Path, ...]:
    """Return the hierarchies in which systemd keeps its groups: the unified one, its own one, or both."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(Path(left.split()[4]))
    if not found:
        raise LabError("no control group hierarchy for systemd is mounted: the hosts of the lab need cgroup2")
    return tuple(found)


def spawn(group: str, argv: list[str], log: Path, env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a process in its own group and session; it keeps running after this process ends."""
    groups = [hierarchy / PARENT / group for hierarchy in hierarchies()]
    for path in groups:
        path.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(
            ["/bin/sh", "-c", _JOIN, "join", str(groups[0]), str(groups[-1]), *argv],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            env=env,
            start_new_session=True,
        )


def names() -> set[str]:
    """Return the names of the lab's groups."""
    parents = [hierarchy / PARENT for hierarchy in hierarchies()]
    return {path.name for top in parents if top.is_dir() for path in top.iterdir() if path.is_dir()}


def pids(group: str = "") -> set[int]:
    """Return the processes of a group and of the groups below it; without a name, of the entire lab."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy / PARENT / group):
            # A group may vanish between being listed and being read.
            with contextlib.suppress(OSError):
                text = Path(directory, "cgroup.procs").read_text()
                found.update(int(pid) for pid in text.split())
    return found - {0}


def leader(group: str) -> int | None:
    """Return the pid on this machine of the process that has pid 1 in the container."""
    for pid in pids(group):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[2:] == ["1"]:
                    return pid
    return None


def wait_empty(group: str, seconds: float) -> bool:
    """Wait until the group has no process; return False after so many seconds."""
    deadline = time.monotonic() + seconds
    while pids(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def kill(group: str = "", seconds: float = 20) -> None:
    """Kill every process of the group, repeatedly, because a dying process may start another one."""
    deadline = time.monotonic() + seconds
    while left := pids(group):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LabError(f"these processes of the lab do not end after SIGKILL: {sorted(left)}")
        time.sleep(0.02)


def remove(group: str = "") -> None:
    """Remove an empty group. The kernel may report it as busy for a moment after its last process ends."""
    for hierarchy in hierarchies():
        top = hierarchy / PARENT / group
        for directory, _, _ in os.walk(top, topdown=False):
            _remove_directory(Path(directory))


def _remove_directory(path: Path) -> None:
    for attempt in range(50):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            if attempt == 49:
                raise
            time.sleep(0.02)
        else:
            return

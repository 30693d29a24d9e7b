# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Which processes are the lab's: one control group per host, and one for building the base tree.

A process joins its group before it becomes what it shall be, so that there is no instant at which
a killed `lab up` leaves a process that `lab down` cannot find. No pid file can promise that.
The groups are needed anyway: hosts that shared one would take each other's services for their own.
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
# Joins the groups named by its first two arguments, then becomes the rest.
_JOIN = 'for g in "$1" "$2"; do echo $$ > "$g/cgroup.procs" || exit 1; done; shift 2; exec "$@"'


@cache
def hierarchies() -> tuple[Path, ...]:
    """Where systemd keeps its groups here: the unified hierarchy, the one of its own, or both."""
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
    """Start a process in a group of its own; it outlives this one."""
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
    parents = [hierarchy / PARENT for hierarchy in hierarchies()]
    return {path.name for top in parents if top.is_dir() for path in top.iterdir() if path.is_dir()}


def pids(group: str = "") -> set[int]:
    """Every process of a group and the groups below it; of the whole lab without a name."""
    found: set[int] = set()
    for hierarchy in hierarchies():
        for directory, _, _ in os.walk(hierarchy / PARENT / group):
            # A group may vanish between being listed and being read.
            with contextlib.suppress(OSError):
                text = Path(directory, "cgroup.procs").read_text()
                found.update(int(pid) for pid in text.split())
    return found - {0}


def leader(group: str) -> int | None:
    """The process that is PID 1 inside: it has a pid here and the pid 1 there."""
    for pid in pids(group):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[2:] == ["1"]:
                    return pid
    return None


def wait_empty(group: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while pids(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def kill(group: str = "", seconds: float = 20) -> None:
    """End every process of the group. Repeated, because a dying process may still start one."""
    deadline = time.monotonic() + seconds
    while left := pids(group):
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise LabError(f"these processes of the lab do not die: {sorted(left)}")
        time.sleep(0.02)


def remove(group: str = "") -> None:
    """Remove an emptied group. The kernel may hold it busy for a moment after its last process."""
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

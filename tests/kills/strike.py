# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Kill the next module that runs on this host, or the connection to it: python3 -c TEXT module|connection SECONDS.

It begins to look for the module after a line from standard input, and ends with that input: a run that has ended must
not lose a module of the next one. The exit code is 0 if something was killed. A module that is sent through a pipe has
no arguments.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import signal
import sys
import time

PATIENCE = 15
"""Seconds until the module must be there: the machine can be busy."""


def modules() -> set[int]:
    """Return the processes of modules, without those that outlive their module, such as the echo responder."""
    found = set()
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == b"/usr/bin/python3\0" and parent(int(path.parent.name)) != 1:
                found.add(int(path.parent.name))
    return found


def parent(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def connection_of(pid: int) -> int:
    """Return the server process of the connection by which a process was started."""
    while not pathlib.Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
        pid = parent(pid)
    return pid


def main() -> int:
    """Wait for the module, then kill."""
    how, delay = sys.argv[1], float(sys.argv[2])
    if not sys.stdin.readline():
        return 1  # the run has ended before the task
    deadline = time.monotonic() + PATIENCE
    while not (found := sorted(modules())):
        ended, _writable, _errors = select.select([sys.stdin], [], [], 0.005)
        if ended or time.monotonic() > deadline:
            return 1
    time.sleep(delay)
    with contextlib.suppress(OSError):  # it has ended
        os.kill(found[0] if how == "module" else connection_of(found[0]), signal.SIGKILL)
        return 0
    return 1


sys.exit(main())

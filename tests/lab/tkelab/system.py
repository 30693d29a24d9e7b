# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What everything here stands on: paths, commands, network namespaces, mounts, progress."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

LAB_DIR = Path(__file__).resolve().parent.parent
REPO = LAB_DIR.parent.parent

# Another name makes a lab of its own beside the first. The tests of the lab use one.
NAME = os.environ.get("TKE_LAB", "lab")
_SUFFIX = "" if NAME == "lab" else f"-{NAME}"

CACHE = Path("/var/cache/tke-overlay-lab")  # base trees: outlive the lab, shared by all labs
STATE = Path(f"/var/lib/tke-overlay-lab{_SUFFIX}")  # what the hosts wrote, and the keys to them
RUN = Path(f"/run/tke-overlay-lab{_SUFFIX}")  # what a reboot of the machine may forget
LOCK = Path(f"/run/tke-overlay-lab{_SUFFIX}.lock")
NETNS = Path("/run/netns")

PREFIX = f"tke-{NAME}-"  # of namespaces and machines
CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Something the user can read and act on."""


def check_name() -> None:
    if not re.fullmatch(r"[a-z0-9]{1,10}", NAME):
        raise LabError(f"TKE_LAB={NAME!r}: a lab's name is made of at most ten of a-z and 0-9")


def call(*argv: str, text: str | None = None, timeout: float = 60) -> str:
    """Run a command to its end and return what it printed; a failure names the command."""
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise LabError(f"command not found: {argv[0]}") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(argv)}` did not end within {timeout:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise LabError(f"`{' '.join(argv)}` failed: {said}")
    return done.stdout


class Progress:
    """One short line per step, with the time since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def say(self, subject: str, text: str) -> None:
        with self._lock:
            print(f"[{self.seconds:5.1f} s] {subject:<12} {text}", flush=True)


@contextlib.contextmanager
def locked(progress: Progress, path: Path = LOCK) -> Iterator[None]:
    """Only one command at a time changes the lab (or what else the given file stands for).

    `down` removes the file at its end, so whoever waited for it must look whether the file it
    has locked is still the one that others will find.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("lab", "another lab command is running, waiting for it")
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
                yield
                return
        finally:
            os.close(fd)


@contextlib.contextmanager
def inside(netns: str) -> Iterator[None]:
    """This thread, in another network namespace.

    A socket opened here stays there. (Unlike `ip netns exec`, no other namespace changes: a
    mount made meanwhile is seen by everybody.)
    """
    own = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    try:
        enter(netns)
        yield
    finally:
        _setns(own)
        os.close(own)


def enter(netns: str) -> None:
    try:
        fd = os.open(NETNS / netns, os.O_RDONLY)
    except FileNotFoundError:
        raise LabError(f"there is no network namespace {netns}; run `lab up`") from None
    try:
        _setns(fd)
    finally:
        os.close(fd)


def _setns(fd: int) -> None:
    if _LIBC.setns(fd, CLONE_NEWNET):  # os.setns comes with Python 3.12
        raise LabError(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")


def mounts_below(*roots: Path) -> list[Path]:
    """Mount points at or below the given paths, the last mounted first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if any(point == root or root in point.parents for root in roots):
            found.append(point)
    return found[::-1]


def unmount_below(*roots: Path) -> None:
    for point in mounts_below(*roots):
        try:
            call("umount", str(point))
        except LabError:
            # Somebody's shell stands in it. It vanishes from here now, and for good with the shell.
            call("umount", "--lazy", str(point))


def remove_tree(path: Path) -> None:
    """Delete a directory, but never reach through a mount into something else."""
    left = mounts_below(path)
    if left:
        raise LabError(f"not deleting {path}: {left[0]} is still mounted")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def write_whole(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(mode)
    beside.rename(path)


def tail(path: Path, lines: int = 8) -> str:
    if not path.exists():
        return "(no log)"
    text = path.read_text(errors="replace").replace("\r", "")
    return "\n".join("    " + line for line in text.rstrip().splitlines()[-lines:])

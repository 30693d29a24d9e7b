# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Functions that all modules of the lab use: paths, commands, network namespaces, mounts, progress."""

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

# Another name selects a separate lab. The tests of the lab use one.
NAME = os.environ.get("TKE_LAB", "lab")
_SUFFIX = "" if NAME == "lab" else f"-{NAME}"

# Base trees, which all labs share; `lab down` keeps them.
CACHE = Path(os.environ.get("TKE_LAB_CACHE", "/var/cache/tke-overlay-lab"))
STATE = Path(f"/var/lib/tke-overlay-lab{_SUFFIX}")  # the files of the hosts, and the SSH keys
RUN = Path(f"/run/tke-overlay-lab{_SUFFIX}")  # state that a reboot of the machine may delete
LOCK = Path(f"/run/tke-overlay-lab{_SUFFIX}.lock")
NETNS = Path("/run/netns")

PREFIX = f"tke-{NAME}-"  # of namespaces and machines
CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """An error with a message for the user."""


def check_name() -> None:
    """Check the name of the lab."""
    if not re.fullmatch(r"[a-z0-9]{1,10}", NAME):
        raise LabError(f"TKE_LAB={NAME!r}: the name of a lab must have one to ten characters of a-z and 0-9")


def call(*argv: str, text: str | None = None, timeout: float = 60) -> str:
    """Run a command and return its output.

    :raises LabError: when the command fails or does not end in time; the error names the command.
    """
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        raise LabError(f"command not found: {argv[0]}") from None
    except subprocess.TimeoutExpired:
        raise LabError(f"`{' '.join(argv)}` did not end within {timeout:.0f} s") from None
    if done.returncode:
        reason = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise LabError(f"`{' '.join(argv)}` failed: {reason}")
    return done.stdout


class Progress:
    """Prints a short line per step, with the time since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def report(self, subject: str, text: str) -> None:
        with self._lock:
            print(f"[{self.seconds:5.1f} s] {subject:<12} {text}", flush=True)


@contextlib.contextmanager
def locked(progress: Progress, path: Path = LOCK) -> Iterator[None]:
    """Hold an exclusive lock, so that only one command at a time changes the lab.

    `down` removes the file of the lock at its end. After a wait, the function therefore checks that the locked file is
    still the one with this path.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.report("lab", "another lab command is running, waiting for it")
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
                yield
                return
        finally:
            os.close(fd)


@contextlib.contextmanager
def inside(netns: str) -> Iterator[None]:
    """Run the body in another network namespace. Only this thread enters it.

    A socket that the body opens stays in that namespace. Unlike `ip netns exec`, this keeps the mount namespace.
    """
    own = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
    try:
        enter(netns)
        yield
    finally:
        _setns(own)
        os.close(own)


def enter(netns: str) -> None:
    """Move this thread into a network namespace."""
    try:
        fd = os.open(NETNS / netns, os.O_RDONLY)
    except FileNotFoundError:
        raise LabError(f"the network namespace {netns} does not exist; run `lab up`") from None
    try:
        _setns(fd)
    finally:
        os.close(fd)


def _setns(fd: int) -> None:
    if _LIBC.setns(fd, CLONE_NEWNET):  # os.setns comes with Python 3.12
        raise LabError(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")


def mounts_below(*roots: Path) -> list[Path]:
    """Return the mount points at or below the given paths, the last one mounted first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if any(point == root or root in point.parents for root in roots):
            found.append(point)
    return found[::-1]


def unmount_below(*roots: Path) -> None:
    """Unmount everything at or below the given paths."""
    for point in mounts_below(*roots):
        try:
            call("umount", str(point))
        except LabError:
            # A process uses it, such as a shell. A lazy unmount removes it now from the tree, and entirely when the
            # process ends.
            call("umount", "--lazy", str(point))


def remove_tree(path: Path) -> None:
    """Delete a directory.

    :raises LabError: when something is mounted below it, which would be deleted as well.
    """
    left = mounts_below(path)
    if left:
        raise LabError(f"not deleting {path}: {left[0]} is still mounted")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file so that a crash leaves either the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(mode)
    beside.rename(path)


def tail(path: Path, lines: int = 8) -> str:
    """Return the last lines of a log, indented."""
    if not path.exists():
        return "(no log)"
    text = path.read_text(errors="replace").replace("\r", "")
    return "\n".join("    " + line for line in text.rstrip().splitlines()[-lines:])

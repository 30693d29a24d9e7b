# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""WireGuard hosts in network namespaces: what a peer on the other side needs, without the code under test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run

CLONE_NEWNS = 0x20000
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

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""One host: systemd in a container, on an overlay of the base tree, in a namespace of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import base, cgroup, net
from .model import CONTROLLER, Host
from .system import (
    NETNS,
    PREFIX,
    RUN,
    STATE,
    LabError,
    call,
    inside,
    remove_tree,
    tail,
    unmount_below,
    write_whole,
)

KEY = STATE / "ssh" / "id_ed25519"
HOSTS = STATE / "hosts"
STOP_SECONDS = 15
BOOT_SECONDS = 60
NSPAWN_LEFT = Path("/run/systemd/nspawn/propagate")


@dataclass(frozen=True)
class Paths:
    """Where a host lives."""

    name: str

    @property
    def state(self) -> Path:
        return HOSTS / self.name

    @property
    def upper(self) -> Path:
        """What the host changed of the base tree."""
        return self.state / "upper"

    @property
    def record(self) -> Path:
        """What the host was made from."""
        return self.state / "made-from.json"

    @property
    def root(self) -> Path:
        return RUN / "root" / self.name

    @property
    def log(self) -> Path:
        return RUN / "log" / f"{self.name}.log"


def known() -> set[str]:
    """Every host that has left a trace, whether or not some inventory names it."""
    kept = {path.name for path in HOSTS.iterdir()} if HOSTS.is_dir() else set()
    spaces = {name.removeprefix(PREFIX) for name in net.namespaces()}
    groups = cgroup.names() - {base.BUILD_GROUP}
    return (kept | groups | spaces) - {"router", CONTROLLER}


# --- what is there ---------------------------------------------------------------------------


def fault(host: Host, ports: dict[str, dict[str, Any]]) -> str | None:
    """Why this host does not run as it should; None if it does."""
    pid = cgroup.leader(host.name)
    if pid is None:
        return "it does not run"
    if not net.is_linked(host, ports.get(host.port)):
        return "its link is gone or changed"
    try:
        own = Path(f"/proc/{pid}/ns/net").stat().st_ino
    except FileNotFoundError:
        return "it is stopping"
    if own != (NETNS / host.netns).stat().st_ino:
        return "its namespace was replaced"
    return None


def origin(host: Host, tree: Path) -> dict[str, str]:
    """What a host's files depend on: if that changes, it is another host."""
    return {"base": tree.name, "address": " ".join(map(str, host.addresses))}


def recorded(name: str) -> dict[str, str]:
    try:
        record: dict[str, str] = json.loads(Paths(name).record.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return record


# --- its system ------------------------------------------------------------------------------


def provision(host: Host, tree: Path) -> None:
    """Make the host's own files: who it is, and who may log in.

    Written beside and renamed, so that a killed `lab up` leaves a whole host or none.
    """
    paths = Paths(host.name)
    discard(host.name)
    beside = paths.state / "upper.new"
    for directory, mode in (("etc/ssh", 0o755), ("root/.ssh", 0o700)):
        (beside / directory).mkdir(parents=True, mode=mode)
    (beside / "root").chmod(0o700)
    (beside / "etc/hostname").write_text(host.name + "\n")
    (beside / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
    (beside / "etc/hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{host.address} {host.name}\n")
    shutil.copy(KEY.with_suffix(".pub"), beside / "root/.ssh/authorized_keys")
    make_key(beside / "etc/ssh/ssh_host_ed25519_key", host.name)
    beside.rename(paths.upper)
    write_whole(paths.record, json.dumps(origin(host, tree)) + "\n")


def make_key(path: Path, comment: str) -> None:
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def public_key(name: str) -> str:
    text = (Paths(name).upper / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    return " ".join(text.split()[:2])


def discard(name: str) -> None:
    unmount_below(Paths(name).root)
    remove_tree(Paths(name).state)


# --- starting and stopping -------------------------------------------------------------------


def start(host: Host, tree: Path) -> None:
    """Boot a host that does not run: a new namespace, its link, its own tree."""
    paths = Paths(host.name)
    net.link(host)
    _mount(paths, tree)
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        "SYSTEMD_NSPAWN_LOCK": "0",  # the lab has its own; nspawn's would stay behind in /run
    }
    command = [
        "systemd-nspawn", "--quiet", "--boot", f"--directory={paths.root}",
        f"--machine={host.netns}", f"--hostname={host.name}",
        "--register=no", "--keep-unit", "--settings=no", "--console=read-only",
        "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
        f"--network-namespace-path={NETNS / host.netns}",
    ]  # fmt: skip
    paths.log.unlink(missing_ok=True)
    cgroup.spawn(host.name, command, paths.log, env)


def _mount(paths: Paths, tree: Path) -> None:
    unmount_below(paths.root)  # a stale one may show a tree that is no more
    work = paths.state / "work"
    for directory in (paths.root, work):
        directory.mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir={tree},upperdir={paths.upper},workdir={work}"
    call("mount", "-t", "overlay", "-o", layers, PREFIX + paths.name, str(paths.root))


def stop(name: str, orderly: bool) -> None:
    """Stop a host: powered off as its systemd likes it, or at once. Its files stay."""
    pid = cgroup.leader(name)
    if orderly and pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGRTMIN + 4)  # to systemd: poweroff.target
        cgroup.wait_empty(name, STOP_SECONDS)
    cgroup.kill(name)
    cgroup.remove(name)
    unmount_below(Paths(name).root)
    left = NSPAWN_LEFT / (PREFIX + name)
    if left.is_dir():
        remove_tree(left)


def wait_ready(host: Host, seconds: float) -> None:
    """Wait until the controller gets the greeting of the host's SSH server.

    A host that is cut off is asked from its own side: it is as ready as it can be.
    """
    netns = host.netns if host.port in net.cuts() else PREFIX + CONTROLLER
    deadline = time.monotonic() + seconds
    asked = 0
    while not _ssh_greets(netns, host):
        asked += 1
        if asked % 10 == 0 and not cgroup.pids(host.name):
            raise LabError(f"{host.name} died while booting:\n{tail(Paths(host.name).log)}")
        if time.monotonic() > deadline:
            raise LabError(
                f"{host.name} does not answer on port 22 after {seconds:.0f} s;"
                f" the end of {Paths(host.name).log}:\n{tail(Paths(host.name).log)}"
            )
        time.sleep(0.1)


def _ssh_greets(netns: str, host: Host) -> bool:
    family = socket.AF_INET if host.address.version == 4 else socket.AF_INET6
    with inside(netns):
        probe = socket.socket(family, socket.SOCK_STREAM)
    with probe:
        probe.settimeout(2)
        try:
            probe.connect((str(host.address), 22))
            return probe.recv(4) == b"SSH-"
        except OSError:
            return False


def remove(name: str) -> None:
    """Everything of a host, also of one that no inventory names any more."""
    stop(name, orderly=False)
    net.unlink(name)
    discard(name)
    if Paths(name).root.exists():
        Paths(name).root.rmdir()
    Paths(name).log.unlink(missing_ok=True)

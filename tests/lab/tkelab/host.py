# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""One host: systemd in a container, with an overlay mount of the base tree and its own network namespace."""

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

from . import base, cgroup, kubernetes, net
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
    write_atomically,
)

KEY = STATE / "ssh" / "id_ed25519"
HOSTS = STATE / "hosts"
STOP_SECONDS = 15
BOOT_SECONDS = 60
UNIFIED = ("forky", "sid")  # suites whose systemd, 258 or later, boots on the unified control group hierarchy only
TUN = Path("/dev/net/tun")  # for wireguard-go
NSPAWN_LEFT = Path("/run/systemd/nspawn/propagate")


@dataclass(frozen=True)
class Paths:
    """The files and directories of a host."""

    name: str

    @property
    def state(self) -> Path:
        return HOSTS / self.name

    @property
    def upper(self) -> Path:
        """The changes of the host to the base tree."""
        return self.state / "upper"

    @property
    def record(self) -> Path:
        """The record of what the host was built from, see :func:`origin`."""
        return self.state / "made-from.json"

    @property
    def root(self) -> Path:
        return RUN / "root" / self.name

    @property
    def log(self) -> Path:
        return RUN / "log" / f"{self.name}.log"


def known() -> set[str]:
    """Return every host that has files, processes or a namespace, whether or not an inventory names it."""
    kept = {path.name for path in HOSTS.iterdir()} if HOSTS.is_dir() else set()
    spaces = {name.removeprefix(PREFIX) for name in net.namespaces()}
    groups = {name for name in cgroup.names() if not base.is_build_group(name)}
    return (kept | groups | spaces) - {"router", CONTROLLER}


# --- state ---------------------------------------------------------------------------


def fault(host: Host, ports: dict[str, dict[str, Any]]) -> str | None:
    """Return why this host does not run correctly, or None."""
    pid = cgroup.leader(host.name)
    if pid is None:
        return "not running"
    if not net.is_linked(host, ports.get(host.port)):
        return "link missing or changed"
    try:
        own = Path(f"/proc/{pid}/ns/net").stat().st_ino
    except FileNotFoundError:
        return "stopping"
    if own != (NETNS / host.netns).stat().st_ino:
        return "namespace replaced"
    return None


def origin(host: Host, tree: Path) -> dict[str, str]:
    """Return what the files of a host depend on. If it changes, the host is built again."""
    return {"base": tree.name, "address": " ".join(map(str, host.addresses))}


def recorded(name: str) -> dict[str, str]:
    """Return the recorded origin of a host; empty without a record."""
    try:
        record: dict[str, str] = json.loads(Paths(name).record.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return record


# --- its system ------------------------------------------------------------------------------


def provision(host: Host, tree: Path) -> None:
    """Write the host's own files: its identity and the key for logging in.

    The files are written to a temporary directory, which is then renamed: a killed `lab up` leaves all of them or none.
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
    if host.programs:
        kubernetes.provision(beside)
    shutil.copy(KEY.with_suffix(".pub"), beside / "root/.ssh/authorized_keys")
    make_key(beside / "etc/ssh/ssh_host_ed25519_key", host.name)
    beside.rename(paths.upper)
    write_atomically(paths.record, json.dumps(origin(host, tree)) + "\n")


def make_key(path: Path, comment: str) -> None:
    """Generate an SSH key pair without a passphrase."""
    call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path))


def public_key(name: str) -> str:
    """Return the public host key of a host, without its comment."""
    text = (Paths(name).upper / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    return " ".join(text.split()[:2])


def discard(name: str) -> None:
    """Delete the files of a host."""
    unmount_below(Paths(name).root)
    remove_tree(Paths(name).state)


# --- starting and stopping -------------------------------------------------------------------


def start(host: Host, tree: Path) -> None:
    """Boot a host that does not run, with a new namespace, its link and its own tree."""
    paths = Paths(host.name)
    net.link(host)
    _mount(paths, tree)
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
        "SYSTEMD_NSPAWN_LOCK": "0",  # the lab has its own lock; that of nspawn would stay in /run
        **({"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"} if host.suite in UNIFIED else {}),
    }
    command = [
        "systemd-nspawn", "--quiet", "--boot", f"--directory={paths.root}",
        f"--machine={host.netns}", f"--hostname={host.name}",
        "--register=no", "--keep-unit", "--settings=no", "--console=read-only",
        "--link-journal=no", "--resolv-conf=off", "--timezone=off",
        "--capability=CAP_NET_ADMIN,CAP_NET_RAW",
        f"--network-namespace-path={NETNS / host.netns}",
        *([f"--bind={TUN}"] if TUN.exists() else []),
        *(kubernetes.options(host, paths.state) if host.programs else []),
    ]  # fmt: skip
    paths.log.unlink(missing_ok=True)
    cgroup.spawn(host.name, command, paths.log, env)


def _mount(paths: Paths, tree: Path) -> None:
    unmount_below(paths.root)  # a stale mount may refer to a deleted tree
    work = paths.state / "work"
    for directory in (paths.root, work):
        directory.mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir={tree},upperdir={paths.upper},workdir={work}"
    call("mount", "-t", "overlay", "-o", layers, PREFIX + paths.name, str(paths.root))


def stop(name: str, orderly: bool) -> None:
    """Stop a host and keep its files: by an orderly shutdown of its systemd, or at once."""
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
    """Wait until the controller receives the greeting of the host's SSH server.

    For a host that is cut off, the connection starts in the host's own namespace.
    """
    netns = host.netns if host.port in net.cuts() else PREFIX + CONTROLLER
    deadline = time.monotonic() + seconds
    attempts = 0
    while not _ssh_greets(netns, host):
        attempts += 1
        if attempts % 10 == 0 and not cgroup.pids(host.name):
            raise LabError(f"all processes of {host.name} ended while it booted:\n{tail(Paths(host.name).log)}")
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
    """Remove everything of a host, also if no inventory names it any more."""
    stop(name, orderly=False)
    net.unlink(name)
    discard(name)
    if Paths(name).root.exists():
        Paths(name).root.rmdir()
    Paths(name).log.unlink(missing_ok=True)

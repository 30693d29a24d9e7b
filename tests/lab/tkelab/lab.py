# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The verbs of the lab, one function each."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from . import base, cgroup, checks, host, inventory, net
from .model import CONTROLLER, SUITE, Host, Lab, build, netns_name
from .system import (
    CACHE,
    LOCK,
    NETNS,
    PREFIX,
    REPO,
    RUN,
    STATE,
    LabError,
    Progress,
    enter,
    locked,
    remove_tree,
    unmount_below,
    write_atomically,
)

_SNAPSHOT = RUN / "lab.json"
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INOTIFY_BEFORE = RUN / "inotify-before"
_INOTIFY_WANTED = 8192  # with the default of 128, the 21st host of all labs together hangs at boot
_AT_ONCE = 2 * (os.cpu_count() or 1) + 4
_CLEAN_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "USER": "root",
    "LANG": "C.UTF-8",
}


def current() -> Lab:
    """Return the running lab, as the last `lab up` read it from the inventory.

    :raises LabError: when the lab is not up.
    """
    checks.root()
    try:
        return build(json.loads(_SNAPSHOT.read_text()))
    except FileNotFoundError:
        raise LabError("the lab is not up; run `lab up`") from None


# --- up --------------------------------------------------------------------------------------


def up(inventories: list[Path], progress: Progress) -> None:
    """Start the lab of some inventories, or its missing parts."""
    checks.root()
    checks.machine()
    lab = inventory.read(inventories)
    progress.report("inventory", f"{len(lab.hosts)} hosts in {len(lab.networks)} networks")
    with locked(progress):
        checks.memory(sum(cgroup.leader(name) is None for name in lab.hosts))
        trees = base.ensure(progress, [member.tree for member in lab.hosts.values()])
        _prepare(lab)
        if net.ensure_router(lab):
            progress.report("router", "set up: " + ", ".join(lab.networks))
        if not net.is_linked(lab.controller, net.ports().get(lab.controller.port)):
            net.link(lab.controller)
            progress.report(CONTROLLER, f"set up: {lab.controller.address}")
        for name in sorted(host.known() - set(lab.hosts)):
            host.remove(name)
            progress.report(name, "removed: no longer in the inventory")
        started = _ensure_hosts(lab, trees, progress)
        base.discard_outdated(progress)
        progress.report("lab", f"up: {len(lab.hosts)} hosts, {started} started now")


def tree(suite: str, progress: Progress) -> None:
    """Print the directory of the base tree of a suite, built if it is missing."""
    checks.root()
    checks.machine()
    if not SUITE.fullmatch(suite):
        raise LabError(f"{suite!r} is not the code name of a Debian suite")
    print(base.ensure(progress, [suite])[suite])


def _prepare(lab: Lab) -> None:
    """Create what the first namespace and the first process require."""
    for directory in (STATE, RUN, CACHE):
        directory.mkdir(parents=True, exist_ok=True)
    write_atomically(_SNAPSHOT, json.dumps(lab.document, indent=2) + "\n")
    net.remember_netns_directory()
    _raise_inotify()
    if not host.KEY.with_suffix(".pub").exists():
        host.KEY.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        host.KEY.unlink(missing_ok=True)
        host.make_key(host.KEY, "tke-lab")


def _ensure_hosts(lab: Lab, trees: dict[str, Path], progress: Progress) -> int:
    """Start the hosts that do not run correctly, and return their number."""
    ports = net.ports()

    def ensure(member: Host) -> bool:
        tree = trees[member.tree]
        record = host.recorded(member.name)
        if record != host.origin(member, tree):
            host.remove(member.name)
            host.provision(member, tree)
            why = "address or base tree changed" if record else ""
        else:
            why = host.fault(member, ports) or ""
            if not why:
                host.wait_ready(member, host.BOOT_SECONDS)
                return False
            host.stop(member.name, orderly=True)
        _boot(member, tree)
        progress.report(member.name, f"ready: {member.address}" + (f" ({why})" if why else ""))
        return True

    try:
        return sum(_in_parallel(ensure, lab.hosts.values()))
    finally:
        _write_ssh_files(lab)


def _boot(member: Host, tree: Path) -> None:
    host.start(member, tree)
    host.wait_ready(member, host.BOOT_SECONDS)


def _in_parallel(work: Callable[[Host], bool], hosts: Iterable[Host]) -> list[bool]:
    """Call the function for all hosts, a few at a time, and raise all failures together at the end."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        futures = [pool.submit(work, member) for member in hosts]
    failures = [error for future in futures if (error := future.exception())]
    for failure in failures:
        if not isinstance(failure, LabError):
            raise failure
    if failures:
        raise LabError("\n".join(str(failure) for failure in failures))
    return [future.result() for future in futures]


def _write_ssh_files(lab: Lab) -> None:
    """Write the host keys and a client configuration, with which `ssh -F ... HOST` works."""
    known, config = [], []
    for name, member in lab.hosts.items():
        with contextlib.suppress(FileNotFoundError):  # the host could not be provisioned
            known.append(f"{member.address},{name} {host.public_key(name)}\n")
        config.append(f"Host {name}\n  HostName {member.address}\n")
    directory = host.KEY.parent
    config.append(
        "Host *\n  User root\n"
        f"  IdentityFile {host.KEY}\n"
        f"  UserKnownHostsFile {directory / 'known_hosts'}\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
    )
    write_atomically(directory / "known_hosts", "".join(known))
    write_atomically(directory / "config", "".join(config))


# --- down ------------------------------------------------------------------------------------


def down(purge: bool, progress: Progress) -> None:
    """Remove the entire lab. Everything is found by its name, without the inventory."""
    checks.root()
    with locked(progress):
        stopped = sum(not base.is_build_group(name) for name in cgroup.names())
        cgroup.kill()
        _kill_in_namespaces(progress)
        unmount_below(RUN, STATE)
        for path in NETNS.glob(PREFIX + "*"):
            net.delete_namespace(path.name)
        for path in host.NSPAWN_LEFT.glob(PREFIX + "*"):
            remove_tree(path)
        cgroup.remove()
        base.discard_unfinished(progress)
        if purge:
            base.discard_all(progress)
        remove_tree(STATE)
        # RUN contains the record of the machine's former state, so it is removed last.
        net.restore_netns_directory()
        _restore_inotify()
        remove_tree(RUN)
        LOCK.unlink(missing_ok=True)
        progress.report("lab", f"down: {stopped} hosts stopped")


def _kill_in_namespaces(progress: Progress) -> None:
    """Kill the remaining processes in the lab's namespaces, such as Ansible's idle SSH connections or a tcpdump.

    This process and its ancestors are spared.
    """
    inodes = {(NETNS / name).stat().st_ino for name in net.namespaces()}
    spared = _ancestors()
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (path / "ns/net").stat().st_ino in inodes and int(path.name) not in spared:
                name = (path / "comm").read_text().strip()
                os.kill(int(path.name), signal.SIGKILL)
                progress.report("lab", f"ended {name} ({path.name}), left in a namespace of the lab")


def _ancestors() -> set[int]:
    found, pid = set(), os.getpid()
    while pid:
        found.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def _raise_inotify() -> None:
    """Raise the limit of inotify instances, which all labs share. Each lab records the value before the first lab."""
    if int(_INOTIFY.read_text()) < _INOTIFY_WANTED:
        write_atomically(_INOTIFY_BEFORE, _INOTIFY.read_text())
        _INOTIFY.write_text(str(_INOTIFY_WANTED))
    elif not _INOTIFY_BEFORE.exists():
        for record in _inotify_records():
            write_atomically(_INOTIFY_BEFORE, record.read_text())


def _restore_inotify() -> None:
    """Restore the limit if this is the last lab and nothing else has changed the value."""
    alone = not [record for record in _inotify_records() if record != _INOTIFY_BEFORE]
    if alone and _INOTIFY_BEFORE.exists() and int(_INOTIFY.read_text()) == _INOTIFY_WANTED:
        _INOTIFY.write_text(_INOTIFY_BEFORE.read_text())


def _inotify_records() -> list[Path]:
    return list(RUN.parent.glob(f"tke-overlay-lab*/{_INOTIFY_BEFORE.name}"))


# --- single hosts ----------------------------------------------------------------------------


def reboot(names: list[str], progress: Progress) -> None:
    """Power hosts off and boot them in a new namespace, so that only their files are kept."""
    lab = current()
    with locked(progress):
        members = [lab.host(name) for name in names] or list(lab.hosts.values())

        def once(member: Host) -> bool:
            origin = host.recorded(member.name).get("base")
            if not origin:
                raise LabError(f"{member.name} was never started; run `lab up`")
            host.stop(member.name, orderly=True)
            _boot(member, CACHE / origin)
            progress.report(member.name, "rebooted")
            return True

        _in_parallel(once, members)


def poweroff(names: list[str], progress: Progress) -> None:
    """Switch hosts off like a power failure. The links are removed first, so that no host sends a last packet."""
    lab = current()
    with locked(progress):
        members = [lab.host(name) for name in names]
        for member in members:
            net.unlink(member.name)
        for member in members:
            host.stop(member.name, orderly=False)
            progress.report(member.name, "switched off")


def cut(names: list[str], is_cut: bool, progress: Progress) -> None:
    """Isolate hosts from the network, or reconnect them."""
    lab = current()
    with locked(progress):
        for member in [lab.host(name) for name in names]:
            done = "cut off" if is_cut else "reachable again"
            changed = net.set_cut(member, is_cut)
            progress.report(member.name, done if changed else f"was {done} already")


def execute(name: str, command: list[str]) -> NoReturn:
    """Replace this process by a command on a host."""
    words, env = entrance(name)
    _become(words[0], [*words[1:], *command], env)


def entrance(name: str) -> tuple[list[str], dict[str, str]]:
    """Return the prefix of a command that runs on a host, and its environment.

    It does not use SSH, so it also works on a host that is cut off.

    :raises LabError: when the host does not run.
    """
    member = current().host(name)
    pid = cgroup.leader(member.name)
    if pid is None:
        raise LabError(f"{name} does not run; run `lab up`")
    env = {**_CLEAN_ENV, "TERM": os.environ.get("TERM", "dumb")}
    namespaces = ["--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd"]
    return ["nsenter", "--target", str(pid), *namespaces, "--"], env


def run(command: list[str]) -> NoReturn:
    """Replace this process by a command on the controller: with this machine's files and the lab's network."""
    current()
    enter(netns_name(CONTROLLER))
    os.environ["PATH"] = f"{REPO / '.venv' / 'bin'}:{os.environ.get('PATH', os.defpath)}"
    os.environ["TKE_LAB_STATE"] = str(STATE)  # the inventory reads the keys from there
    # Two labs have hosts with the same addresses, so they must not share SSH connections.
    os.environ["ANSIBLE_SSH_CONTROL_PATH_DIR"] = str(RUN / "ssh")
    _become(command[0], command[1:], dict(os.environ))


def _become(program: str, words: list[str], env: dict[str, str]) -> NoReturn:
    found = shutil.which(program)
    if not found:
        raise LabError(f"command not found: {program}")
    sys.stdout.flush()
    os.execve(found, [program, *words], env)


# --- status ----------------------------------------------------------------------------------


def status() -> list[dict[str, Any]]:
    """Return one entry per host, with its network, address, MTU, suite, state, pid and whether it is cut off."""
    lab = current()
    ports, cuts = net.ports(), net.cuts()
    entries = []
    for member in lab.hosts.values():
        fault = host.fault(member, ports)
        entries.append(
            {
                "host": member.name,
                "network": member.network.name,
                "address": str(member.address),
                "mtu": member.network.mtu,
                "suite": member.suite,
                "state": "up" if fault is None else f"down: {fault}",
                "pid": cgroup.leader(member.name),
                "cut": member.port in cuts,
            }
        )
    return entries

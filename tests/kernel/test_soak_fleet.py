# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The soak without Ansible: planner, ledger and hosts of the collection, each host in a namespace of its own.

A run yields between its steps, so it can end early, and two of them can take turns.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import pathlib
import random
import subprocess
import sys

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import document as ledgers
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import plan as planner
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.release import ReleaseRequest, release
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from product import ROOT

sys.path.insert(0, str(ROOT))

from tests.soak import soak  # found by the line above
from tests.soak.chooser import Chooser, Settings
from tests.soak.lab_fleet import Place, Result
from tests.soak.operations import PLAYED, Kind
from tests.soak.session import Session

MACHINES = 6
SEED, ROUNDS = int(os.environ.get("SEED", "4")), int(os.environ.get("ROUNDS", "1"))
NOW = "2026-01-01T00:00:00Z"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
KINDS = frozenset(Kind) - {Kind.REBOOT, Kind.FILL_DISK}
"""A namespace has no boot and no disk of its own."""
CIDRS, SERVICES, NODE_CIDRS = soak.pool(MACHINES)
SETTINGS = ClusterSettings("soak", CIDRS, soak.PODS, SERVICES)


def run(command, text=None):
    """Run a program in the namespace of this thread; systemd is not there."""
    if command[0] in ("systemctl", "systemd-run", "journalctl"):
        return 1, "", "not there"
    done = subprocess.run(command, input=text or "", capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


class Host:
    """A namespace with an underlay link that has all addresses which the machine can have."""

    def __init__(self, machine, root):
        self.root = root
        root.mkdir()
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        assert LIBC.unshare(CLONE_NEWNET) == 0
        self.space = os.open("/proc/self/ns/net", os.O_RDONLY)
        addresses = [address for each in machine.addresses.values() for address in each]
        lines = [
            "link set lo up",
            "link add eth0 mtu 1500 type veth peer name far",
            "link set eth0 up",
            "link set far up",
        ]
        lines += [f"address add {address}/24 dev eth0" for address in addresses]
        for line in lines:
            code, _out, errors = run(["ip", *line.split()])
            assert code == 0, errors
        LIBC.setns(home, CLONE_NEWNET)
        os.close(home)

    @contextlib.contextmanager
    def entered(self):
        """Be on this host."""
        home, root = os.open("/proc/self/ns/net", os.O_RDONLY), files.ROOT
        assert LIBC.setns(self.space, CLONE_NEWNET) == 0
        files.ROOT = str(self.root)
        try:
            yield
        finally:
            files.ROOT = root
            LIBC.setns(home, CLONE_NEWNET)
            os.close(home)


class KernelFleet:
    """A fleet of namespaces, with the interface of the one in the lab."""

    def __init__(self, world, directory):
        self.hosts = {name: Host(each, directory / name) for name, each in world.machines.items()}
        self.place = Place(directory, pathlib.Path("no-such-ledger"))
        self.text, self.world, self.random = None, world, random.Random(3)

    def close(self):
        for host in self.hosts.values():
            os.close(host.space)

    # --- runs ---

    def site(self, now, changed):
        """Do a run of the site playbook, and yield between its steps."""
        before = planner.load_or_create(SETTINGS, self.text, "ledger")
        ledger = planner.assign(SETTINGS, nodes_of(now), self.text, "ledger", NOW)
        self._write(ledger)
        yield
        yield from self._configure(now, ledger, changed)
        assert before.cluster == ledger.cluster

    def release(self, now, name, changed):
        """Do a run of the release playbook."""
        request = ReleaseRequest([name], {}, NOW, force=True)
        if now.reachable(now[name]):
            with self.hosts[name].entered():
                reset.remove("tke0", "tke-br0", run, check=False)
            yield
        ledger, _released = release(SETTINGS, nodes_of(now), self.text, "ledger", request)
        self._write(ledger)
        yield
        yield from self._configure(now, ledger, changed)

    def _write(self, ledger):
        self.text = ledger.text()

    def _configure(self, now, ledger, changed):
        """Configure the nodes that are reachable, then record what they have dropped."""
        document = planner.plan(SETTINGS, nodes_of(now), ledger).document
        done = []
        for each in now.members():
            if now.reachable(each) and each.name in ledger.nodes:
                with self.hosts[each.name].entered(), contextlib.suppress(ValidationError):
                    if node.converge({**document, "node": each.name}, run, check=False).changed:
                        changed.add(each.name)
                    done.append(each.name)
                yield
        found = ledgers.parse(self.text, "ledger", "soak")
        found.acknowledge(done)
        self._write(found)

    # --- the interface ---

    def write(self, now):
        self.world = now

    def do(self, operation, before):
        during = before.during(operation)
        if operation.kind is Kind.STOP_TIMER:
            with self.hosts[operation.target].entered():
                run(["ip", "route", "del", NODE_CIDRS[0], "proto", "144"])
        if operation.kind not in PLAYED:
            return []
        runs = [self._begun(part, during, set()) for part in operation.parts()]
        steps = self.random.randint(0, 12) if operation.kill else 1 << 20
        results = [Result(0, "") for _run in runs]
        while runs and steps:
            steps -= 1
            chosen = self.random.choice(runs)
            try:
                next(chosen)
            except StopIteration:
                runs.remove(chosen)
        return results

    def _begun(self, operation, now, changed):
        if operation.kind is Kind.RELEASE:
            return self.release(now, operation.target, changed)
        return self.site(now, changed)

    def play(self, command, now):
        changed = set()
        if command[0] == "tke.overlay.release":
            list(self.release(now, command[2].partition("=")[2], changed))
        elif command[0] == "tke.overlay.site":
            list(self.site(now, changed))
        return Result(0, "\n".join(f"{name} : ok=1 changed=1" for name in changed))

    def ledger(self):
        return json.loads(self.text)

    def tables(self, names):
        found = {}
        for name in names:
            with self.hosts[name].entered():
                code, text, errors = run([sys.executable, str(ROOT / "tests/soak/host_tables.py")])
            assert code == 0, errors
            tables = json.loads(text)
            found[name] = {**tables, "timer": ["active"] if tables["local"] else [], "unconfirmed": []}
        return found

    def heal(self, now):
        """Nothing is broken but what the model says."""

    def start_pods(self, names):
        """There are no Pods."""


def nodes_of(now):
    """Return the nodes of the inventory for the planner."""
    return [InventoryNode(each.name, [each.site], each.underlay, now.mtu[each.site]) for each in now.members()]


@pytest.fixture
def session(tmp_path):
    world = soak.new_world(MACHINES)
    fleet = KernelFleet(world, tmp_path)
    yield Session(fleet, Chooser(SEED, Settings(KINDS)), world, NODE_CIDRS, 0, lambda line: None)
    fleet.close()


def test_hosts_and_ledger_agree_with_the_model(session):
    session.first_run()
    for _number in range(ROUNDS):
        chosen = session.chooser.round(session.world)
        for operation in chosen.operations:
            session.do(operation)
        session.quiet()
    assert session.counts.operations.total() >= 6 * ROUNDS
    assert dataclasses.replace(session.world, cut_sites=frozenset()) == session.world


def test_a_plan_that_a_release_has_overtaken_is_rejected(session):
    """A controller that stood still while another one released a node: its plan still has that node."""
    session.first_run()
    fleet, world = session.fleet, session.world
    released = fleet.ledger()["nodes"]["idc2"]["node_cidr"]
    others = [each.name for each in world.members() if each.name != "idc2"]
    late = fleet.site(world, set())
    next(late)
    list(fleet.release(world, "idc2", set()))
    list(late)
    assert "idc2" not in fleet.ledger()["nodes"]
    assert others
    for name, tables in fleet.tables(others).items():
        assert released not in str(tables), name

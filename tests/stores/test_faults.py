# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Sixteen controllers on a real etcd whose members are cut off, killed, slow or stopped see a linearizable history.

With TKE_STORES=full in the environment (`make etcd-faults`), every fault comes several times, and controllers are
killed, too; that takes some minutes. Without, one history has some of the faults.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import etcd_client
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import open_store
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import assign, plan
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.saved_plans import (
    ContradictedLedgerError,
    SavedPlans,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.saved_plans import check as check_plans
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import newest
from controllers import MODEL, Client, Controllers, begin, errors, history
from linearizability import check
from members import until
from separate_members import others, separate_members

FULL = os.environ.get("TKE_STORES") == "full"
CONTROLLERS = 16
TIMES = 3 if FULL else 1
SOME = 4  # so many of the faults without TKE_STORES=full
MORE = 30 if FULL else 15
"""Operations between two faults."""
NOW = "2026-01-02T03:04:05Z"
SETTINGS = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    with separate_members(tmp_path_factory.mktemp("members")) as etcd:
        yield etcd


@pytest.fixture
def etcd(members, monkeypatch):
    monkeypatch.setattr(etcd_client, "TIMEOUT", 1.0)
    monkeypatch.setattr(etcd_client, "PATIENCE", 6.0)
    members.reset()
    return members


@pytest.fixture
def chance():
    seed = int(os.environ.get("TKE_SEED") or random.randrange(1 << 32))
    print(f"seed {seed}")  # shown when the test fails; TKE_SEED repeats it
    return random.Random(seed)


# --- the faults: each breaks something, and heal() repairs it ---


def cut_off_the_leader(etcd, _chance):
    """It is the minority: it must not write, nor answer what the others have overtaken."""
    leader = etcd.leader()
    etcd.isolate(leader, *others(etcd.names, leader))


def cut_off_a_follower(etcd, chance):
    follower = chance.choice(others(etcd.names, etcd.leader()))
    etcd.isolate(follower, *others(etcd.names, follower))


def cut_off_all(etcd, _chance):
    """There is no majority, so nothing can be written until it heals."""
    for name in etcd.names:
        etcd.deafen(name, *others(etcd.names, name))


def deafen_the_leader(etcd, _chance):
    """The others hear it and do not elect another one, and it does not hear that they agree."""
    leader = etcd.leader()
    etcd.deafen(leader, *others(etcd.names, leader))


def deafen_a_follower(etcd, chance):
    """It does not hear the leader, and calls for elections that the others hear."""
    leader = etcd.leader()
    etcd.deafen(chance.choice(others(etcd.names, leader)), leader)


def cut_clients(etcd, _chance):
    etcd.cut(etcd.leader())


def kill_the_leader(etcd, _chance):
    """It is in the middle of a write, because its disk is slow and sixteen controllers write."""
    leader = etcd.leader()
    etcd.slow_down(leader)
    etcd.kill(leader)


def kill_all(etcd, _chance):
    for name in etcd.names:
        etcd.kill(name)


def slow_disk_of_the_leader(etcd, _chance):
    etcd.slow_down(etcd.leader())


def slow_disks(etcd, _chance):
    for name in etcd.names:
        etcd.slow_down(name)


def stop_the_leader(etcd, _chance):
    """When it goes on, it still believes that it is the leader."""
    etcd.pause(etcd.leader())


FAULTS: list[Callable[..., None]] = [
    cut_off_the_leader,
    deafen_the_leader,
    kill_the_leader,
    cut_off_all,
    stop_the_leader,
    slow_disk_of_the_leader,
    cut_off_a_follower,
    deafen_a_follower,
    cut_clients,
    kill_all,
    slow_disks,
]
NO_MAJORITY = [cut_off_all, kill_all]


def leaderless(etcd):
    return not any(etcd.status(name) for name in etcd.names if name in etcd.processes)


def endure(etcd, controllers, chance, fault):
    """Let a fault come while one controller is stopped in the middle of what it does, and another one is killed."""
    controllers.go_on(MORE)
    stopped, killed = chance.sample(range(CONTROLLERS), 2)
    controllers.pause(stopped)
    fault(etcd, chance)
    if fault in NO_MAJORITY:
        until(lambda: leaderless(etcd), 60)
    else:
        controllers.go_on(MORE)
    controllers.kill(killed)
    etcd.heal()
    etcd.compact()
    controllers.resume()


def verified(directory):
    """Check a history, print its numbers, and return its operations and messages."""
    operations, messages = history(directory), errors(directory)
    since = time.process_time()
    verdict = check(MODEL, operations)
    print(
        f"{len(operations)} operations, {sum(each.end is None for each in operations)} with an unknown end, "
        f"{len(messages)} errors, checked in {time.process_time() - since:.1f} s"
    )
    assert verdict.stuck == [], f"no order explains these, after {len(verdict.order)} operations"
    return operations, messages


def test_what_sixteen_controllers_see_is_linearizable(etcd, chance, tmp_path):
    faults = chance.sample(FAULTS * TIMES, len(FAULTS) * TIMES) if FULL else FAULTS[:SOME]
    begin(open_store(etcd.url()))
    with Controllers(etcd.url(), tmp_path / "reports", CONTROLLERS) as controllers:
        for fault in faults:
            print(f"{time.monotonic():.1f} {fault.__name__}")
            endure(etcd, controllers, chance, fault)
        controllers.go_on(MORE)
    Client(open_store(etcd.url()), tmp_path / "reports" / "end").read()
    operations, messages = verified(tmp_path / "reports")
    assert len(operations) > MORE * len(faults)
    assert all("nothing was changed" in text or "written" in text for text in messages), messages


# --- snapshots -----------------------------------------------------------------------------------


def append(word):
    return lambda text: f"{text or ''}{word}\n"


def nodes_of(names):
    return [InventoryNode(name, ["idc"], f"10.0.1.{ord(name)}", 1500) for name in names]


def planned(text, where, names):
    return assign(SETTINGS, nodes_of(names), text, where, NOW)


def without(text, where, name):
    ledger = parse(text, where, "demo")
    ledger.release([name], [], NOW)
    return ledger


def applied(document):
    """Return what the hosts have saved after they applied a plan."""
    return {
        peer.name: {
            "node": peer.name,
            "cluster": document["cluster"],
            "node_cidr": peer.node_cidr,
            "underlay": peer.underlay,
            "fleet": document["fleet"],
            "ledger_version": newest(document["ledger_versions"]),
        }
        for peer in parse_fleet(document["fleet"]).values()
    }


def test_a_read_before_a_restored_snapshot_is_outdated(etcd, tmp_path):
    """The revisions count again from the snapshot, so other writes get the revision that a controller has read."""
    store, other = open_store(etcd.url()), open_store(etcd.url())
    store.transact(append("before"))
    etcd.save(tmp_path / "snapshot")
    for number in range(3):
        store.transact(append(f"lost {number}"))
    read = etcd.revision()
    texts = []

    def change(text):
        texts.append(text)
        if len(texts) == 1:
            etcd.restore(tmp_path / "snapshot")
            while etcd.revision() < read:
                other.transact(append("other"))
            assert etcd.revision() == read
        return f"{text}mine\n"

    store.transact(change)
    assert texts == ["before\nlost 0\nlost 1\nlost 2\n", "before\nother\nother\nother\n"]
    assert other.read() == "before\nother\nother\nother\nmine\n"


def test_the_checker_notices_a_restored_snapshot(etcd, tmp_path):
    """It would notice any other loss of a write, too."""
    (tmp_path / "reports").mkdir()
    begin(open_store(etcd.url()))
    client = Client(open_store(etcd.url()), tmp_path / "reports" / "one")
    client.allocate("a")
    etcd.save(tmp_path / "snapshot")
    client.allocate("b")
    etcd.restore(tmp_path / "snapshot")
    client.allocate("c")
    verdict = check(MODEL, history(tmp_path / "reports"))
    assert [operation.argument for operation in verdict.stuck] == ["c"]
    assert verdict.stuck[0].output == (1, 3), "the node CIDR of b, a second time"


def test_a_restored_snapshot_is_older_than_the_hosts(etcd, tmp_path):
    """Nothing in it contradicts a host, because only a release is lost."""
    store = open_store(etcd.url())
    store.transact(lambda text: planned(text, store.where, "abcd").text())
    etcd.save(tmp_path / "snapshot")
    store.transact(lambda text: without(text, store.where, "d").text())
    later = parse(store.read(), store.where, "demo")
    document = plan(SETTINGS, nodes_of("abc"), later).document
    etcd.restore(tmp_path / "snapshot")
    older, found = planned(store.read(), store.where, "abc"), SavedPlans(applied(document))
    with pytest.raises(ContradictedLedgerError) as caught:
        check_plans(older, found, store.where, is_new=False)
    for word in (store.where, *map(newest, (later.recorded, older.recorded)), "a, b, c", "tke.overlay.rebuild_ledger"):
        assert word in str(caught.value)
    check_plans(later, found, store.where, is_new=False)

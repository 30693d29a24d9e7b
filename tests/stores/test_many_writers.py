# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Many processes that write one ledger, and processes that are killed at any instant, lose and repeat no write.

With TKE_STORES=full in the environment every node is a write of its own and the killing goes on for a minute; that
takes some minutes. Without, the nodes come in batches and the killing lasts a few seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import threading
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd import EtcdStore
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import FileStore, open_store

FULL = os.environ.get("TKE_STORES") == "full"
PROCESSES, NODES, BATCH = 16, 200, 1 if FULL else 40
KILL_SECONDS, KILL_EVERY = 60.0 if FULL else 6.0, 0.05
PATIENCE = 600.0  # seconds: this machine may have less to give than it takes
NOW = "2026-01-02T03:04:05Z"
FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["file", "etcd"])
def place(request, tmp_path):
    """A place without a ledger; an etcd is compacted every two seconds."""
    if request.param == "file":
        yield str(tmp_path / "ledger.json")
        return
    etcd, done = request.getfixturevalue("etcd"), threading.Event()

    def compact():
        while not done.wait(2.0):
            etcd.compact()

    compacting = threading.Thread(target=compact)
    compacting.start()
    yield etcd.url()
    done.set()
    compacting.join()


def opened(place):
    return EtcdStore(place, PATIENCE) if "://" in place else FileStore(place, PATIENCE)


def add(store, names):
    """Assign node CIDRs to these nodes, as a run of the playbook does, and return them."""
    written = []

    def change(text):
        ledger = parse(text, "here", "demo") if text else Ledger("demo", Pool(["10.0.0.0/8"], 256, 256))
        ledger.assign([Request(name, underlay="10.1.2.3", underlay_mtu=1500) for name in names], NOW)
        written[:] = [ledger.nodes[name].node_cidr for name in names]
        return ledger.text()

    store.transact(change)
    return written


def nodes_of(place):
    """Return all nodes with their node CIDRs. Loading rejects a ledger with two holders of one node CIDR."""
    text = open_store(place).read()
    ledger = parse(text, place, "demo") if text else Ledger("demo", Pool(["10.0.0.0/8"], 256, 256))
    return {name: held.node_cidr for name, held in ledger.nodes.items()}


def _work(place, worker):
    store = opened(place)
    for first in range(0, NODES, BATCH):
        add(store, [f"node-{worker}-{number}" for number in range(first, first + BATCH)])


def test_sixteen_processes_assign_3200_node_cidrs(place):
    workers = [FORK.Process(target=_work, args=(place, worker)) for worker in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    nodes = nodes_of(place)
    assert set(nodes) == {f"node-{worker}-{number}" for worker in range(PROCESSES) for number in range(NODES)}
    assert len(set(nodes.values())) == PROCESSES * NODES
    assert len(open_store(place).previous()) == 3


def _work_until_killed(place, worker, report):
    store = opened(place)
    descriptor = os.open(report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    number = 0
    while True:
        name = f"node-{worker}-{number}"
        (node_cidr,) = add(store, [name])
        os.write(descriptor, f"{name} {node_cidr}\n".encode())  # one call: a line is there or not
        number += 1


def test_killed_processes_lose_and_repeat_nothing(place, tmp_path, record_property):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # shown when the test fails
    chance, report = random.Random(seed), str(tmp_path / "report")
    workers, born = {}, 0
    begin = kill_at = time.monotonic()
    while time.monotonic() < begin + KILL_SECONDS:
        while len(workers) < PROCESSES // 2:
            workers[born] = FORK.Process(target=_work_until_killed, args=(place, born, report))
            workers[born].start()
            born += 1
        kill_at += KILL_EVERY
        time.sleep(max(0.0, kill_at - time.monotonic()))  # wait for the instant of the kill
        victim = workers.pop(chance.choice(sorted(workers)))
        assert victim.is_alive(), "a worker ended by itself"
        victim.kill()
        victim.join()
        nodes_of(place)
    for worker in workers.values():
        worker.kill()
        worker.join()

    add(opened(place), ["after"])  # the next write succeeds
    nodes = nodes_of(place)
    del nodes["after"]
    with open(report, encoding="ascii") as stream:
        reported = dict(line.split() for line in stream)
    assert reported.items() <= nodes.items(), "what was reported is there, as it was reported"
    per_worker = {}
    for name in reported:
        worker = name.split("-")[1]
        per_worker[worker] = per_worker.get(worker, 0) + 1
    for name in nodes.keys() - reported.keys():
        _node, worker, number = name.split("-")
        assert int(number) == per_worker.get(worker, 0), f"only a worker's last node may be unreported, not {name}"
    print(f"{born} processes, {len(nodes)} nodes, {len(nodes) - len(reported)} written and not reported")
    assert born > 20
    assert len(reported) > 20

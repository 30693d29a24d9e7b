# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The ledger: the largest possible one, the addition of a node to a large one, and how both times grow."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import document as ledgers
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import FileStore
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import plan
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from tests.bench.report import BenchError, Measure, Section

ABOUT = "the ledger, called as a library; needs no lab"

ALL = 65_535  # node CIDRs of 256 addresses in 10.0.0.0/8, less one for the Service range
SIZES = (1_000, 10_000, 60_000)
ROUNDS = 5
NOW = "2026-01-01T00:00:00Z"
SETTINGS = ClusterSettings("bench", ["10.0.0.0/8"], max_pods_per_node=256, max_services=256, networks={})


def run() -> Section:
    """Measure; every time is a median."""
    grown = {size: (assigned(size), one_more(size)) for size in SIZES}
    measures = [
        Measure(f"{ALL:,} node CIDRs assigned from empty", assigned(ALL), "s", at_most=1.0),
        Measure("one more node on 10,000", grown[10_000][1], "s", at_most=0.25),
    ]
    for size, (fresh, more) in grown.items():
        measures += [
            Measure(f"{size:,} from empty: per node", fresh / size * 1e6, "us", digits=1),
            Measure(f"one more on {size:,}: per existing node", more / size * 1e6, "us", digits=1),
        ]
    small, large = SIZES[0], SIZES[-1]
    for what, column in (("from empty", 0), ("one more", 1)):
        ratio = (grown[large][column] / large) / (grown[small][column] / small)
        measures.append(Measure(f"{what}: per node, {large:,} / {small:,}", ratio, digits=2, at_most=3.0))
    return Section(
        measures,
        [
            "from empty: 10.0.0.0/8, 256 Pods a node and 256 services; assign() and text(), in memory",
            "one more: lock, read, parse, check, assign, text, write, fsync and rename; a file in /var/tmp",
            f"medians of {ROUNDS} runs in this process; growth is linear if the time per node does not rise",
        ],
    )


def assigned(count: int) -> float:
    """Return the seconds for building a ledger with so many nodes and its text."""
    requests = requests_of(count)

    def once() -> float:
        start = time.perf_counter()
        ledger = ledgers.Ledger("bench", pool())
        ledger.assign(requests, NOW)
        ledger.text()
        seconds = time.perf_counter() - start
        check_order(ledger, count)
        return seconds

    return median_of(once)


def one_more(count: int) -> float:
    """Return the seconds for adding a node to a ledger of so many nodes in a file."""
    ledger = ledgers.Ledger("bench", pool())
    ledger.assign(requests_of(count), NOW)
    text = ledger.text()
    # Not /tmp, which is often in memory, where a sync costs no time.
    with tempfile.TemporaryDirectory(prefix="tke-overlay-bench-", dir="/var/tmp") as directory:
        path = os.path.join(directory, "ledger.json")

        def change(before: str | None) -> str:
            return plan.assign(SETTINGS, [InventoryNode("one-more")], before, path, NOW).text()

        def once() -> float:
            with open(path, "w", encoding="utf-8") as stream:
                stream.write(text)
                os.fsync(stream.fileno())
            store = FileStore(path)
            start = time.perf_counter()
            store.transact(change)
            seconds = time.perf_counter() - start
            after = ledgers.parse(store.read() or "", path, "bench")
            if after.nodes["one-more"].node_cidr != pool().node_cidr(count):
                raise BenchError(f"one more node on {count} got {after.nodes['one-more'].node_cidr}")
            return seconds

        return median_of(once)


def check_order(ledger: ledgers.Ledger, count: int) -> None:
    """Check that the node CIDRs are the first ones of the pool, and that the pool has no more than :data:`ALL`."""
    held = [assignment.node_cidr for assignment in ledger.nodes.values()]
    if held != [ledger.pool.node_cidr(number) for number in range(count)]:
        raise BenchError(f"{count} nodes did not get the first {count} node CIDRs in order")
    if count == ALL:
        try:
            ledger.assign([ledgers.Request("too-many")], NOW)
        except ValidationError:
            return
        raise BenchError(f"10.0.0.0/8 gave more than {ALL} node CIDRs")


def pool() -> Pool:
    """Return a new pool, as every run builds one."""
    return Pool(SETTINGS.container_cidr, SETTINGS.max_pods_per_node, SETTINGS.max_services)


def requests_of(count: int) -> list[ledgers.Request]:
    """Return the requests of the planner for so many nodes, each with an underlay address and its MTU."""
    return [
        ledgers.Request(f"node{number:05}", underlay=f"172.16.{number >> 8}.{number & 255}", underlay_mtu=1500)
        for number in range(count)
    ]


def median_of(once: Callable[[], float]) -> float:
    """Return the median of several runs."""
    return statistics.median(once() for _round in range(ROUNDS))

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The model of the soak: the operations of a seed, the ledgers that the model allows, and the tables of a host."""

from __future__ import annotations

import collections
import dataclasses
import ipaddress
import itertools
import json
import pathlib
import random
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request
from product import ROOT

sys.path.insert(0, str(ROOT))

from tests.soak import book, soak, tables, world  # found by the line above
from tests.soak.book import Book, Held, Waiting, Wanted
from tests.soak.chooser import Chooser, Settings
from tests.soak.lab_fleet import MOST, RACK, Place, Result, lab_networks
from tests.soak.operations import Kill, Kind, Operation
from tests.soak.session import DisagreementError, Session

NOW = "2026-01-01T00:00:00Z"
POOL = Pool(["10.64.0.0/25"], 16, 64)  # 4 node CIDRs
NAMES = [f"cloud{number}" for number in range(1, 5)]


def chosen(seed, rounds, hosts=12, settings=None):
    """Return rounds with the world before each of their operations."""
    chooser, now = Chooser(seed, settings or Settings()), soak.new_world(hosts)
    found = []
    for _number in range(rounds):
        each = chooser.round(now)
        found.append((each, now))
        for operation in each.operations:
            now = now.after(operation)
        now = now.healed()
    return found


def all_operations(seed, rounds, hosts=12):
    return [operation for each, _before in chosen(seed, rounds, hosts) for operation in each.operations]


# --- the machines ---


def test_each_network_of_the_lab_has_few_machines():
    """The kernel's table of neighbours has room for 1,024, and all hosts of the lab share it."""
    subnets = [ipaddress.ip_network(each["subnet"]) for each in lab_networks()["lab_networks"].values()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(subnets, 2))
    machines = soak.new_world(MOST).machines.values()
    logins: collections.Counter[ipaddress.IPv4Network] = collections.Counter()
    for each in machines:
        for site, addresses in each.addresses.items():
            (subnet,) = {one for one in subnets for address in addresses if ipaddress.ip_address(address) in one}
            logins[subnet] += site == each.site
    assert len(machines) == MOST
    assert max(logins.values()) == RACK


def test_a_failed_run_is_told_without_what_was_in_order():
    recap = "a1 : ok=2    changed=0    unreachable=0    failed=0    skipped=1\n" * 60
    bad = "a2 : ok=2    changed=0    unreachable=0    failed=1    skipped=1"
    told = Result(2, f"TASK [Plan]\nok: [a1]\nfatal: [a2]: FAILED!\n{recap}{bad}\n").told()
    assert told.splitlines() == ["TASK [Plan]", "fatal: [a2]: FAILED!", bad]


# --- what is chosen ---


def test_a_seed_gives_the_same_operations_again():
    first, again, other = (list(map(str, all_operations(seed, 20))) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_every_kind_is_chosen():
    names = collections.Counter(name for each in all_operations(1, 60) for name in each.names())
    assert names.keys() == {*map(str, Kind), "killed", "second controller"}
    assert {each.kill.how for each in all_operations(1, 60) if each.kill} == {"begin", "middle", "module"}


@pytest.mark.parametrize("hosts", [4, 12, 60])
def test_untouched_nodes_of_both_sites_stay_untouched(hosts):
    for each, before in chosen(3, 30, hosts):
        now = before
        for operation in each.operations:
            assert not operation.hosts() & set(each.untouched), operation
            now = now.after(operation)
        assert {now[name].site for name in each.untouched} == set(world.SITES)
        assert all(now[name].member and not now[name].cut for name in each.untouched)


def test_only_chosen_kinds_are_chosen():
    settings = Settings(kinds=frozenset({Kind.ADD, Kind.RELEASE}), killed=0, beside=0)
    found = {operation.kind for each, _before in chosen(1, 10, 12, settings) for operation in each.operations}
    assert found == {Kind.ADD, Kind.RELEASE}


def test_no_machine_boots_where_the_lab_cannot_reach_it():
    for each, before in chosen(6, 80):
        now = before
        for operation in each.operations:
            assert operation.kind is not Kind.MOVE or not now.cut_sites
            assert operation.kind is not Kind.REBOOT or now[operation.target].site not in now.cut_sites
            now = now.after(operation)


def test_a_healed_world_has_no_fault():
    for each, before in chosen(5, 20):
        now = before
        for operation in each.operations:
            now = now.after(operation)
        healed = now.healed()
        assert not healed.silent()
        assert not healed.unfinished()
        assert [member.name for member in healed.members()] == [member.name for member in now.members()]


# --- the ledger ---

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("assign"), st.sets(st.sampled_from(NAMES), min_size=1)),
        st.tuples(st.just("release"), st.sampled_from(NAMES)),
        st.tuples(st.just("acknowledge"), st.sets(st.sampled_from(NAMES))),
    ),
    max_size=25,
)


AT_THE_END_OF_A_CYCLE = [
    ("assign", set(NAMES)),
    ("release", "cloud1"),
    ("release", "cloud4"),
    ("acknowledge", set(NAMES)),
    ("assign", {"cloud1"}),  # begins the second cycle, so the last node CIDR is free again
    ("release", "cloud3"),
    ("acknowledge", set(NAMES)),
    ("assign", {"cloud4"}),  # takes it, and ends the quarantine of the one before
]


@given(STEPS)
@example(AT_THE_END_OF_A_CYCLE)
def test_the_model_and_the_ledger_of_the_product_are_equal(steps):
    mine, product = Book(POOL.size), Ledger("soak", POOL)
    for what, names in steps:
        if what == "assign":
            wanted = [Wanted(name, f"192.0.2.{number}", 1500) for number, name in enumerate(sorted(names))]
            fresh = {each.name for each in wanted} - mine.nodes.keys()
            if len(mine.nodes) + len(fresh) + sum(each.awaited for each in mine.pending.values()) > POOL.size:
                continue
            mine = mine.assign(wanted)
            product.assign([Request(each.name, None, each.underlay, each.mtu) for each in wanted], NOW)
        elif what == "release":
            mine = mine.release(names)
            product.release([names], sorted(product.nodes.keys() - {names}), NOW)
        else:
            mine = mine.acknowledge(names)
            product.acknowledge(names)
        assert book.read(json.loads(product.text()), POOL.number, POOL.size) == mine


TWO = Book(8, 2, {"cloud1": Held(0, "192.0.2.1", 1500), "cloud2": Held(1, "192.0.2.2", 1450)})
THIRD = [Wanted("cloud3", "192.0.2.3", 1500)]
ADD = [lambda ledger: ledger.assign(THIRD), lambda ledger: ledger.acknowledge(ledger.nodes)]
RELEASE = [lambda ledger: ledger.release("cloud2"), lambda ledger: ledger.acknowledge(ledger.nodes)]


def test_a_killed_run_leaves_the_old_or_the_new_ledger():
    allowed = list(book.killed(TWO, RELEASE))
    assert TWO in allowed
    assert TWO.release("cloud2") in allowed
    assert book.complete(TWO, RELEASE) in allowed
    assert book.unexplained(allowed, TWO.release("cloud1"))


def test_two_runs_at_once_leave_the_result_of_either_order():
    allowed = book.distinct(book.at_once(TWO, ADD, RELEASE))
    for first, second in ((ADD, RELEASE), (RELEASE, ADD)):
        assert book.complete(book.complete(TWO, first), second) in allowed
    assert TWO not in [each for each in allowed if "cloud3" in each.nodes]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (TWO.assign(THIRD), ["cloud3", "cursor is 3, not 2"]),
        (TWO.record([Wanted("cloud1", "192.0.2.9", 1500)]), ["cloud1", "192.0.2.9", "192.0.2.1"]),
        (TWO.release("cloud2"), ["cloud2", "number 1", "cloud1"]),
    ],
)
def test_a_ledger_that_differs_is_described(found, words):
    text = "\n".join(book.unexplained([TWO], found))
    assert all(word in text for word in words), text
    assert book.unexplained([TWO, found], found) == []


@pytest.mark.parametrize(
    ("on", "agrees"), [([], True), (["idc1"], True), (["idc1", "idc2"], False), (["cloud1"], False)]
)
def test_a_host_that_perhaps_acknowledged_may_be_pending(on, agrees):
    waiting = Book(8, 3, {}, {1: Waiting("cloud2", frozenset({"idc1", "idc2"}))})
    allowed = waiting.acknowledge({"idc2"}, {"idc1"})
    found = Book(8, 3, {}, {1: Waiting("cloud2", frozenset(on))} if on else {})
    assert (book.unexplained([allowed], found) == []) == agrees


def test_a_node_that_was_cut_off_does_not_acknowledge():
    before = soak.new_world(4).after(Operation(Kind.CUT, "idc2"))
    (start,) = world.steps(soak.new_world(4), Operation(Kind.CONVERGE))
    (steps,) = world.steps(before, Operation(Kind.RELEASE, "cloud2"))
    ledger = book.complete(book.complete(Book(8), start), steps)
    assert ledger.pending[1] == Waiting("cloud2", frozenset({"idc2"}))


def test_a_release_that_was_killed_has_to_be_repeated():
    killed = Operation(Kind.RELEASE, "cloud2", kill=Kill(9, "begin"))
    after = soak.new_world(12).after(killed)
    assert after.unfinished() == ["cloud2"]
    assert not after["cloud2"].member
    assert "cloud2" in {each.name for each in soak.new_world(12).during(killed).members()}


# --- hosts and flows ---


def test_the_tables_of_a_host_follow_from_the_ledger():
    found = tables.expected("cloud1", TWO.assign(THIRD), POOL.node_cidr)
    assert found["mtu"] == ["1400"]
    assert found["local"] == ["192.0.2.1"]
    assert found["routes"] == ["10.64.0.0/28 blackhole", "10.64.0.16/28 10.64.0.16", "10.64.0.32/28 10.64.0.32"]
    assert found["fdb"] == ["0a:58:0a:40:00:10 192.0.2.2", "0a:58:0a:40:00:20 192.0.2.3"]
    assert found["neighbours"] == ["10.64.0.16 0a:58:0a:40:00:10", "10.64.0.32 0a:58:0a:40:00:20"]
    assert found["peers"] == ["192.0.2.2", "192.0.2.3"]


def test_a_host_that_differs_is_described_by_table_and_row():
    wanted = tables.expected("cloud1", TWO, POOL.node_cidr)
    found = {**wanted, "fdb": ["0a:58:0a:40:00:10 192.0.2.7"], "timer": []}
    assert list(tables.differences(wanted, found)) == [
        "fdb: missing 0a:58:0a:40:00:10 192.0.2.2",
        "fdb: surplus 0a:58:0a:40:00:10 192.0.2.7",
        "timer: missing active",
    ]
    assert list(tables.differences(wanted, wanted)) == []


@pytest.mark.parametrize(
    ("operation", "path", "judged"),
    [
        (Operation(Kind.MTU, "cloud", "1400"), ("cloud1", "idc1"), True),
        (Operation(Kind.REBOOT, "cloud2"), ("cloud1", "idc1"), True),
        (Operation(Kind.REBOOT, "cloud1"), ("cloud1", "idc1"), False),
        (Operation(Kind.CUT_SITE, "idc"), ("cloud1", "idc1"), False),
        (Operation(Kind.CUT_SITE, "idc"), ("idc1", "idc2"), True),
        (Operation(Kind.CONVERGE, kill=Kill(3, "module", "idc1")), ("cloud1", "idc1"), False),
        (Operation(Kind.ADD, "idc2", beside=Operation(Kind.RELEASE, "cloud1")), ("cloud1", "idc1"), False),
    ],
)
def test_flows_are_judged_where_no_operation_touches_them(operation, path, judged):
    assert world.judged(path, soak.new_world(4), [operation]) == judged


# --- the comparison of model and fleet ---

CIDRS = soak.pool(12)[2]


class Fleet:
    """A fleet without a lab, which does what the product promises, except for one fault."""

    def __init__(self, fault=""):
        self.place = Place(pathlib.Path("no-such-directory"), pathlib.Path("no-such-ledger"))
        self.book, self.fault, self.random = Book(len(CIDRS)), fault, random.Random(1)
        self.inventory = []

    def write(self, now):
        self.inventory = [each.name for each in now.members()]

    def do(self, operation, before):
        """Do the steps of the runs: of interrupted ones some of the first."""
        self.write(before.after(operation))
        if operation.kind not in (Kind.ADD, Kind.RELEASE, Kind.READDRESS, Kind.MOVE, Kind.MTU, Kind.CONVERGE):
            return []
        runs = world.steps(before, operation)
        for steps in runs:
            done = self.random.randint(0, len(steps)) if operation.interrupted else len(steps)
            self.book = book.complete(self.book, steps[:done])
        pending = {
            number: dataclasses.replace(each, perhaps_on=frozenset()) for number, each in self.book.pending.items()
        }
        self.book = dataclasses.replace(self.book, pending=pending).acknowledge([])
        self._err(operation)
        return [Result(0, "")] * len(runs)

    def _err(self, operation):
        if self.fault == "cursor" and operation.kind is Kind.ADD:
            self.book = dataclasses.replace(self.book, cursor=0)
        if self.fault == "same node CIDR" and operation.kind is Kind.ADD:
            first = next(iter(self.book.nodes.values()))
            self.book = dataclasses.replace(self.book, nodes={**self.book.nodes, operation.target: first})

    def play(self, command, now):
        if command[0] == "tke.overlay.release":
            (steps,) = world.steps(now, Operation(Kind.RELEASE, command[2].partition("=")[2]))
            self.book = book.complete(self.book, steps)
        elif command[0] == "tke.overlay.site":
            (steps,) = world.steps(now, Operation(Kind.CONVERGE))
            self.book = book.complete(self.book, steps)
        changed = f"cloud1 : ok=3 changed={1 if self.fault == 'second run' else 0} failed=0"
        return Result(2 if (command[0], self.fault) == ("tke.overlay.verify", "verify") else 0, changed)

    def ledger(self):
        nodes = {
            name: {"node_cidr": CIDRS[held.number], "underlay": held.underlay, "underlay_mtu": held.mtu}
            for name, held in self.book.nodes.items()
        }
        pending = {
            CIDRS[number]: {"node": each.node, "on": sorted(each.on), "quarantined": each.quarantined}
            for number, each in self.book.pending.items()
        }
        return {"nodes": nodes, "pending": pending, "cursor": self.book.cursor}

    def tables(self, names):
        found = {}
        for name in names:
            member = name in self.inventory and name in self.book.nodes
            found[name] = tables.expected(name, self.book, CIDRS.__getitem__) if member else tables.NOTHING
        if self.fault == "route":
            found["idc1"] = {**found["idc1"], "routes": found["idc1"]["routes"][1:]}
        return found

    def heal(self, now):
        pass

    def start_pods(self, names):
        pass


def run_rounds(fault, rounds=12):
    session = Session(Fleet(fault), Chooser(2, Settings()), soak.new_world(12), CIDRS, 40, lambda line: None)
    session.first_run()
    for each, _before in chosen(2, rounds):
        for operation in each.operations:
            session.do(operation)
        session.quiet()
    return session


def test_a_fleet_that_keeps_its_promises_agrees_with_the_model():
    session = run_rounds("")
    assert session.counts.operations["killed"] > 5
    assert session.counts.operations["second controller"] > 3
    assert session.world.healed() == session.world


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("cursor", ["the cursor is 0, not "]),
        ("same node CIDR", ["the ledger has", "Held(number=0"]),
        ("second run", ["a second run ended with 0 and changed cloud1"]),
        ("route", ["idc1: routes: missing"]),
        ("verify", ["tke.overlay.verify ended with 2"]),
    ],
)
def test_a_fleet_with_a_fault_is_found(fault, words):
    with pytest.raises(DisagreementError) as caught:
        run_rounds(fault)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_what_kills_a_module_ends_with_its_run():
    """Otherwise it kills the first module of the next run, if its own run has none left. No process here is one."""
    alone = ["unshare", "--pid", "--fork", "--mount-proc"]
    strike = [sys.executable, ROOT / "tests/kills/strike.py", "module", "0"]
    with subprocess.Popen([*alone, *strike], stdin=subprocess.PIPE) as process:
        process.communicate(b"now\n", timeout=10)  # as long as its run goes on, it looks for 15 s
    assert process.returncode == 1

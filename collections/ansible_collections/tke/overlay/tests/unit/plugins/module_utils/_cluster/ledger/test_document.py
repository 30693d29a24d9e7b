# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import (
    Assignment,
    Ledger,
    Pending,
    Request,
    is_broken,
    parse,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import Tombstone
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

NOW = "2026-01-02T03:04:05Z"


def ledger_of(*names, cidrs=("10.0.0.0/24",), pods=32, services=32, applied=True):
    ledger = Ledger("demo", Pool(list(cidrs), pods, services), applied=applied)
    ledger.assign([Request(name) for name in names], NOW)
    return ledger


def node_cidrs(ledger):
    return {name: held.node_cidr for name, held in ledger.nodes.items()}


def test_allocates_in_the_order_of_the_names_and_keeps_them():
    ledger = ledger_of("b", "a")
    assert node_cidrs(ledger) == {"b": "10.0.0.0/27", "a": "10.0.0.32/27"}
    before = ledger.text()
    assert ledger.assign([Request("a"), Request("b")], "later") == []
    assert ledger.text() == before


def test_node_added_again_gets_the_next_node_cidr():
    ledger = ledger_of("a", "b")
    ledger.release(["a"], [], NOW)
    ledger.assign([Request("a")], NOW)
    assert node_cidrs(ledger)["a"] == "10.0.0.64/27"


def test_node_added_again_with_a_pin_gets_that_node_cidr():
    ledger = ledger_of("a", "b")
    ledger.release(["a"], [], NOW)
    ledger.assign([Request("a", node_cidr="10.0.0.0/27")], NOW)
    assert node_cidrs(ledger)["a"] == "10.0.0.0/27"
    assert ledger.nodes["a"].pinned


def test_cursor_survives_a_restart():
    ledger = ledger_of("a", "b")
    ledger.release(["b"], [], NOW)
    ledger = parse(ledger.text(), "here", "demo")
    ledger.assign([Request("c")], NOW)
    assert node_cidrs(ledger)["c"] == "10.0.0.64/27"


def test_pins_are_occupied_before_allocations():
    ledger = ledger_of()
    ledger.assign([Request("new"), Request("runs", node_cidr="10.0.0.0/27")], NOW)
    assert node_cidrs(ledger) == {"runs": "10.0.0.0/27", "new": "10.0.0.32/27"}


def test_released_node_cidr_waits_for_all_acknowledgements():
    ledger = ledger_of("a", "b", "c", cidrs=["10.0.0.0/25"])  # three node CIDRs, all in use
    ledger.release(["a"], ["b", "c", "a"], NOW)
    assert ledger.pending["10.0.0.0/27"].on == ["b", "c"], "the node itself has nothing left to drop"
    with pytest.raises(ValidationError, match="1 pending"):
        ledger.assign([Request("d")], NOW)
    ledger.acknowledge(["b"])
    with pytest.raises(ValidationError, match="without one: d"):
        ledger.assign([Request("d")], NOW)
    ledger.acknowledge(["c"])
    ledger.assign([Request("d")], NOW)
    assert node_cidrs(ledger)["d"] == "10.0.0.0/27"
    assert not ledger.pending


def test_released_peer_does_not_have_to_acknowledge():
    ledger = ledger_of("a", "b")
    ledger.release(["a"], ["b"], NOW)
    ledger.release(["b"], [], NOW)
    assert ledger.awaited() == {}


def test_pin_released_ahead_of_the_cursor_is_quarantined():
    ledger = ledger_of("a")
    ledger.assign([Request("p", node_cidr="10.0.0.32/27")], NOW)
    ledger.release(["p"], [], NOW)
    ledger = parse(ledger.text(), "here", "demo")
    ledger.assign([Request("b")], NOW)
    assert node_cidrs(ledger)["b"] == "10.0.0.64/27"


def test_releasing_an_unknown_name_changes_nothing():
    ledger = ledger_of("a")
    before = ledger.text()
    assert ledger.release(["stranger"], ["a"], NOW) == {}
    assert ledger.text() == before


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request("x", "10.0.0.0/27"), ["node x", "10.0.0.0/27", "belongs to node a"]),
        (Request("a", "10.0.0.64/27"), ["node a has 10.0.0.0/27", "asks for 10.0.0.64/27"]),
        (Request("x", "10.0.0.224/27"), ["node x", "Service range 10.0.0.224/27"]),
        (Request("x", "10.0.0.64/26"), ["node x", "not of the node CIDR size /27"]),
        (Request("x", "10.9.0.0/27"), ["node x", "not a node CIDR of the container CIDR"]),
        (Request("x", "10.0.0.32/27"), ["node x", "released by b", "pending on a"]),
    ],
)
def test_invalid_pin_names_both_sides_and_changes_nothing(request_, words):
    ledger = ledger_of("a", "b")
    ledger.release(["b"], ["a"], NOW)
    before = ledger.text()
    with pytest.raises(ValidationError) as caught:
        ledger.assign([Request("first"), request_], NOW)
    assert len(caught.value.problems) == 1
    for word in words:
        assert word in str(caught.value)
    assert ledger.text() == before


def test_two_requests_for_one_node_cidr_are_both_named():
    with pytest.raises(ValidationError, match=r"node y asks for 10\.0\.0\.64/27 .*, which belongs to node x"):
        ledger_of().assign([Request("x", "10.0.0.64/27"), Request("y", "10.0.0.64/27")], NOW)


def test_exhaustion_names_counts_nodes_and_remedies():
    ledger = ledger_of("a", "b", cidrs=["10.0.0.0/25"])
    before = ledger.text()
    with pytest.raises(ValidationError) as caught:
        ledger.assign([Request(name) for name in ("c", "d", "e")] + [Request("p", "10.0.0.64/27")], NOW)
    for word in (
        "10.0.0.0/25",
        "3 node CIDRs of 32",
        "without one: c, d, e",
        "Append a CIDR to overlay_container_cidr",
        "release nodes",
    ):
        assert word in str(caught.value)
    assert ledger.text() == before


def test_appending_a_cidr_keeps_the_service_range():
    ledger = ledger_of("a", "b", "c", cidrs=["10.0.0.0/25"])
    ledger.adopt_pool(Pool(["10.0.0.0/25", "10.9.0.0/25"], 32, 32))
    ledger.assign([Request("d")], NOW)
    assert node_cidrs(ledger)["d"] == "10.9.0.0/27"
    assert ledger.pool.service_cidr == "10.0.0.96/27"


@pytest.mark.parametrize(
    ("cidrs", "pods", "services"),
    [
        (["10.0.0.0/24"], 64, 32),
        (["10.0.0.0/24"], 32, 64),
        (["10.0.0.0/25"], 32, 32),
        (["10.9.0.0/24"], 32, 32),
        (["10.9.0.0/24", "10.0.0.0/24"], 32, 32),
    ],
)
def test_other_changes_of_a_used_pool_name_its_nodes(cidrs, pods, services):
    ledger = ledger_of("a", "b")
    ledger.release(["b"], ["a"], NOW)
    with pytest.raises(ValidationError) as caught:
        ledger.adopt_pool(Pool(cidrs, pods, services))
    for word in ("a 10.0.0.0/27", "10.0.0.32/27 of b", "10.0.0.0/24 with 32 addresses"):
        assert word in str(caught.value)
    empty = ledger_of()
    empty.adopt_pool(Pool(cidrs, pods, services))
    assert empty.pool.cidrs == cidrs


def test_unused_pool_can_change_and_resets_the_cursor():
    ledger = ledger_of("a", "b", "c")
    ledger.assign([Request("p", node_cidr="10.0.0.192/27")], NOW)
    ledger.release(["a", "b", "c", "p"], [], NOW)
    assert ledger.pending, "the last one is quarantined"
    ledger.adopt_pool(Pool(["10.9.0.0/26"], 32, 32))
    assert ledger.cursor == 0
    assert ledger.pending == {}
    assert parse(ledger.text(), "here", "demo").summary().count("\n") == 3


def test_pending_node_cidr_prevents_a_change_of_the_pool():
    ledger = ledger_of("a")
    ledger.release(["a"], ["b"], NOW)
    with pytest.raises(ValidationError, match=r"In use: no node; released but pending: 10\.0\.0\.0/27 of a"):
        ledger.adopt_pool(Pool(["10.9.0.0/26"], 32, 32))


def test_wrapped_cursor_is_stored():
    ledger = ledger_of("a", "b", "c", cidrs=["10.0.0.0/25"])
    ledger.release(["a", "b", "c"], [], NOW)
    ledger = parse(ledger.text(), "here", "demo")
    ledger.assign([Request("d")], NOW)
    ledger = parse(ledger.text(), "here", "demo")
    ledger.release(["d"], [], NOW)
    ledger.assign([Request("e")], NOW)
    assert node_cidrs(ledger) == {"e": "10.0.0.32/27"}


def test_reserved_quarantined_node_cidr_is_never_allocated():
    ledger = ledger_of("a")
    ledger.assign([Request("p", node_cidr="10.0.0.64/27")], NOW)
    ledger.release(["p"], [], NOW)
    ledger.adopt_pool(Pool(["10.0.0.0/24"], 32, 32, reserved=["10.0.0.64/27"]))
    with pytest.raises(ValidationError, match="6 node CIDRs of 32 addresses"):
        ledger.assign([Request(f"n{number}") for number in range(7)], NOW)
    ledger.assign([Request(f"n{number}") for number in range(5)], NOW)
    assert "10.0.0.64/27" not in node_cidrs(ledger).values()
    assert ledger.capacity()["free"] == 0


def test_pending_and_reserved_node_cidr_counts_once():
    ledger = ledger_of("a")
    ledger.release(["a"], ["b"], NOW)
    ledger.adopt_pool(Pool(["10.0.0.0/24"], 32, 32, reserved=["10.0.0.0/27"]))
    assert ledger.capacity()["free"] == ledger.capacity()["max_nodes"] == 6


def test_failed_assignment_keeps_pending_node_cidrs():
    ledger = ledger_of("a", "b", cidrs=["10.0.0.0/25"])
    ledger.release(["b"], [], NOW)
    ledger.pending["10.0.0.32/27"] = ledger.pending.get("10.0.0.32/27") or Pending("b", NOW, [], True)
    before = ledger.text()
    with pytest.raises(ValidationError, match="exhausted"):
        ledger.assign([Request("p", "10.0.0.32/27"), Request("c"), Request("d")], NOW)
    assert ledger.text() == before


def test_quarantined_node_cidr_may_be_pinned():
    ledger = ledger_of("a")
    ledger.assign([Request("p", node_cidr="10.0.0.64/27")], NOW)
    ledger.release(["p"], [], NOW)
    ledger.assign([Request("q", node_cidr="10.0.0.64/27")], NOW)
    assert node_cidrs(ledger)["q"] == "10.0.0.64/27"
    assert not ledger.pending


def test_rejects_a_node_that_is_listed_twice():
    with pytest.raises(ValidationError, match="node x is listed twice"):
        ledger_of().assign([Request("x"), Request("x")], NOW)


def test_records_new_underlay_and_mtu():
    ledger = ledger_of("a")
    ledger.assign([Request("a", underlay="10.9.9.9", underlay_mtu=1400)], NOW)
    ledger.assign([Request("a", underlay="10.9.9.8", underlay_mtu=1300)], NOW)
    ledger.assign([Request("a")], NOW)
    assert ledger.nodes["a"][1:3] == ("10.9.9.8", 1300)


def test_text_has_one_line_per_node_sorted_by_name():
    lines = ledger_of("b", "a").text().splitlines()
    rows = [line for line in lines if '"node_cidr"' in line]
    assert [row.split('"')[1] for row in rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda text: "", "it is empty"),
        (lambda text: "[]", "another JSON document"),
        (lambda text: text[: len(text) // 2], "it is truncated"),
        (lambda text: text.replace("10.0.0.0/27", "10.0.0.64/27"), "checksum"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema 2"),
    ],
)
def test_rejects_truncated_edited_and_later_ledgers(edit, words):
    with pytest.raises(ValidationError, match=words) as caught:
        parse(edit(ledger_of("a").text()), "/some/where", "demo")
    assert "/some/where" in str(caught.value)


def test_ledger_of_another_cluster_names_both_clusters():
    with pytest.raises(ValidationError, match="cluster 'demo', not to 'other'"):
        parse(ledger_of("a").text(), "/some/where", "other")


def test_rejects_two_holders_of_one_node_cidr():
    ledger = ledger_of("a", "b")
    ledger.nodes["b"] = ledger.nodes["a"]
    with pytest.raises(ValidationError, match="is held by a and by b"):
        parse(ledger.text(), "/some/where", "demo")
    ledger = ledger_of("a")
    ledger.pending["10.0.0.0/27"] = Pending("gone", NOW, ["x"], False)
    with pytest.raises(ValidationError, match="is held by a and by pending of gone"):
        parse(ledger.text(), "/some/where", "demo")


@given(st.data())
@settings(max_examples=200)
def test_detects_every_changed_byte(data):
    text = ledger_of("a", "b").text()
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii"))
    edited = text[:place] + other + text[place + 1 :]
    try:
        assert parse(edited, "here", "demo").text() == text
    except ValidationError:
        assert edited != text


class History(RuleBasedStateMachine):
    """Any sequence of operations, each followed by a restart, keeps the guarantees and can be replayed."""

    names = st.sampled_from([f"n{number}" for number in range(12)])

    @initialize(prefix=st.one_of(st.integers(24, 28), st.integers(14, 28)), second=st.booleans())
    def begin(self, prefix, second):
        self.cidrs = [f"10.0.0.0/{prefix}"]  # from 2 node CIDRs to 65,534
        self.more = ["10.128.0.0/27"] if second else []
        self.ledger = Ledger("demo", Pool(self.cidrs, 4, 8))
        self.story = [(Ledger.adopt_pool, self.ledger.pool)]
        self.released = {}  # node CIDR -> the number of wraparounds when it was released
        self.rounds = 0

    def do(self, operation, *arguments):
        self.story.append((operation, *arguments))
        result = operation(self.ledger, *arguments)
        self.ledger = parse(self.ledger.text(), "here", "demo")
        return result

    @rule(name=names, number=st.one_of(st.integers(0, 70), st.integers(0, 1 << 16)), pin=st.booleans())
    def assign(self, name, number, pin):
        known = self.ledger.nodes.get(name)
        wanted = self.ledger.pool.node_cidr(number % self.ledger.pool.size) if pin else None
        cursor, waiting = self.ledger.cursor, set(self.ledger.awaited())
        fresh, quarantined = self.ahead()
        try:
            self.do(Ledger.assign, [Request(name, wanted)], NOW)
        except ValidationError:
            self.story.pop()
            return
        given = self.ledger.nodes[name].node_cidr
        assert known is None or known.node_cidr == given, "a node keeps its node CIDR"
        assert given not in waiting, "it is pending on a peer"
        if known is None and not pin:
            index = self.ledger.pool.number(given)
            if index in quarantined:
                assert not fresh, "the cursor has not wrapped around"
            if index < cursor or not fresh or self.ledger.cursor == 0:
                self.rounds += 1
        self.released.pop(given, None)

    def ahead(self):
        """Return how many numbers after the cursor are free in this round, and the quarantined ones."""
        held = {assigned.node_cidr for assigned in self.ledger.nodes.values()} | set(self.ledger.awaited())
        numbers = {number for number in map(self.ledger.pool.number, held) if number >= self.ledger.cursor}
        released = {self.ledger.pool.number(node_cidr) for node_cidr, at in self.released.items() if at == self.rounds}
        quarantined = {number for number in released if number >= self.ledger.cursor} - numbers
        return self.ledger.pool.size - self.ledger.cursor - len(numbers) - len(quarantined), quarantined

    @rule(name=names, on=st.lists(names, max_size=2))
    def release(self, name, on):
        for node_cidr in self.do(Ledger.release, [name], on, NOW).values():
            self.released[node_cidr] = self.rounds

    @rule(name=names)
    def forget(self, name):
        self.do(Ledger.acknowledge, [name])
        assert all(name not in waiting.on for waiting in self.ledger.pending.values())

    @rule()
    def grow(self):
        if self.more:
            self.cidrs.append(self.more.pop())
            self.do(Ledger.adopt_pool, Pool(self.cidrs, 4, 8))

    @invariant()
    def nobody_shares_an_address(self):
        networks = [held.node_cidr for held in self.ledger.nodes.values()]
        networks += [*self.ledger.pending, self.ledger.pool.service_cidr]
        spans = sorted((int(n[0]), int(n[-1])) for n in map(ipaddress.IPv4Network, networks))
        assert all(one[1] < other[0] for one, other in zip(spans, spans[1:], strict=False))

    @invariant()
    def the_counts_are_exact(self):
        capacity = self.ledger.capacity()
        assert capacity["used"] == len(self.ledger.nodes)
        assert capacity["free"] == capacity["max_nodes"] - len(self.ledger.nodes) - len(self.ledger.awaited())

    def teardown(self):
        if not hasattr(self, "ledger"):
            return
        again = Ledger("demo", self.story[0][1])
        for operation, *arguments in self.story[1:]:
            operation(again, *arguments)
            again = parse(again.text(), "here", "demo")
        assert again.text() == self.ledger.text(), "the same history gives the same ledger"


History.TestCase.settings = settings(max_examples=500, stateful_step_count=40)  # 20,000 operations
test_history = History.TestCase


def test_lists_of_pending_node_cidrs_are_separated():
    ledger = ledger_of("a", "b", "c", "d", cidrs=["10.0.0.0/24"])
    ledger.release(["a", "b"], ["c", "d"], NOW)
    with pytest.raises(ValidationError) as caught:
        ledger.assign([Request("e", node_cidr="10.0.0.0/27")], NOW)
    assert str(caught.value).endswith(
        "which was released by a and is pending on c, d: run tke.overlay.release -e overlay_release=a, which reaches "
        "these hosts and adds no node, and then this playbook again, or choose another one"
    )
    with pytest.raises(ValidationError) as caught:
        ledger.adopt_pool(Pool(["10.9.0.0/24"], 32, 32))
    assert "; released but pending: 10.0.0.0/27 of a, 10.0.0.32/27 of b" in str(caught.value)
    with pytest.raises(ValidationError) as caught:
        ledger_of("a").adopt_pool(Pool(["10.9.0.0/24"], 32, 32))
    assert "released but pending" not in str(caught.value)


def test_wraparound_ends_the_quarantine_of_pending_node_cidrs():
    ledger = ledger_of("a", "b", cidrs=["10.0.0.0/25"])
    ledger.cursor = 0
    ledger.release(["b"], ["a"], NOW)
    assert ledger.pending["10.0.0.32/27"].quarantined is True
    ledger.assign([Request("c")], NOW)
    assert ledger.pending["10.0.0.32/27"] == Pending("b", NOW, ["a"], False)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            lambda text: text.replace('"cursor": 1', '"cursor": 2'),
            "its checksum does not match, so it was edited or only ",
        ),
        (
            lambda text: text.replace("10.0.0.0/27", "10.0.0.1/27"),
            "its checksum does not match, so it was edited or only ",
        ),
    ],
)
def test_broken_ledger_names_path_and_reason(change, why):
    with pytest.raises(ValidationError) as caught:
        parse(change(ledger_of("a").text()), "/srv/ledger", "demo")
    assert str(caught.value).startswith(f"the ledger /srv/ledger cannot be trusted: {why}")


def test_contradictory_ledger_names_path_and_reason():
    ledger = ledger_of("a")
    ledger.nodes["b"] = ledger.nodes["a"]
    with pytest.raises(ValidationError) as caught:
        parse(ledger.text(), "/srv/ledger", "demo")
    said = "its content contradicts itself (10.0.0.0/27 is held by a and by b)"
    assert str(caught.value).startswith(f"the ledger /srv/ledger cannot be trusted: {said}")


def problems_of_call(work, *arguments, **options):
    with pytest.raises(ValidationError) as caught:
        work(*arguments, **options)
    return caught.value.problems


def test_rejected_pool_names_all_nodes_and_pending_ranges():
    ledger = Ledger("demo", Pool(["10.0.0.0/16", "10.1.0.0/16"], 256, 256), applied=True)
    ledger.assign([Request("b"), Request("a")], NOW)
    ledger.assign([Request("c")], NOW)
    ledger.release(["c"], ["a"], NOW)
    (found,) = problems_of_call(ledger.adopt_pool, Pool(["10.2.0.0/16"], 256, 256))
    assert "10.0.0.0/16, 10.1.0.0/16 with 256 addresses per node and 256 services" in found
    assert "In use: a 10.0.1.0/24, b 10.0.0.0/24; released but pending: 10.0.2.0/24 of c" in found
    ledger = Ledger("demo", Pool(["10.0.0.0/16"], 256, 256), applied=True)
    ledger.assign([Request("a")], NOW)
    assert "; released but pending" not in problems_of_call(ledger.adopt_pool, Pool(["10.2.0.0/16"], 256, 256))[0]
    assert (
        "container CIDR 10.0.0.0/16 10.1.0.0/16"
        in Ledger("demo", Pool(["10.0.0.0/16", "10.1.0.0/16"], 256, 256)).summary()
    )


def test_foreign_node_cidr_lists_all_container_cidrs():
    pool = Pool(["10.0.0.0/16", "10.1.0.0/16"], 256, 256)
    ledger = Ledger("demo", pool)
    (found,) = problems_of_call(ledger.assign, [Request("a", node_cidr="10.2.0.0/24")], NOW)
    assert "10.2.0.0/24 is not a node CIDR of the container CIDR 10.0.0.0/16, 10.1.0.0/16" in found


def test_pinned_is_set_only_for_chosen_node_cidrs():
    ledger = Ledger("demo", Pool(["10.0.0.0/16"], 256, 256))
    ledger.assign([Request("a", node_cidr="10.0.9.0/24"), Request("b")], NOW)
    assert (ledger.nodes["a"].pinned, ledger.nodes["b"].pinned) == (True, False)


def test_records_the_time_of_an_assignment():
    ledger = Ledger("demo", Pool(["10.244.0.0/22"], 256, 256))
    ledger.assign([Request("a", node_cidr="10.244.1.0/24"), Request("b")], NOW)
    assert [(held.pinned, held.since) for held in ledger.nodes.values()] == [(True, NOW), (False, NOW)]


def test_release_skips_unknown_names():
    ledger = Ledger("demo", Pool(["10.244.0.0/22"], 256, 256))
    ledger.assign([Request("a"), Request("b"), Request("c")], NOW)
    assert ledger.release(["a", "nobody", "b"], ["c"], "later") == {"a": "10.244.0.0/24", "b": "10.244.1.0/24"}
    assert {waiting.since for waiting in ledger.pending.values()} == {"later"}


def test_reserved_range_of_an_appended_cidr_is_skipped():
    pool = Pool(["10.244.0.0/22", "10.245.0.0/22"], 256, 256, ["10.245.1.0/24"])
    ledger = Ledger("demo", pool)
    ledger.assign([Request(name) for name in "abcdef"], NOW)
    assert [held.node_cidr for held in ledger.nodes.values()] == [
        *("10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"),
        *("10.245.0.0/24", "10.245.2.0/24", "10.245.3.0/24"),
    ]
    with pytest.raises(ValidationError) as caught:
        ledger.assign([Request("g")], NOW)
    (problem,) = caught.value.problems
    assert problem.startswith(
        "the pool is exhausted: container CIDR 10.244.0.0/22, 10.245.0.0/22 less the Service range "
    )


@pytest.mark.parametrize(
    ("count", "names"),
    [(10, "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9. "), (12, "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more. ")],
)
def test_exhaustion_lists_ten_names_and_counts_the_rest(count, names):
    full = Ledger("demo", Pool(["10.244.0.0/22"], 256, 256))
    full.assign([Request(name) for name in "abc"], NOW)
    with pytest.raises(ValidationError) as caught:
        full.assign([Request(name) for name in "abc"] + [Request(f"n{number}") for number in range(count)], NOW)
    (problem,) = caught.value.problems
    assert f" 3 used and 0 pending; without one: {names}" in problem


def ledger_with_a_pin():
    ledger = Ledger("demo", Pool(["10.0.0.0/24"], 32, 32))
    pinned = Request("b", node_cidr="10.0.0.96/27", underlay="10.9.0.2", underlay_mtu=1500)
    ledger.assign([Request("a", underlay="10.9.0.1", underlay_mtu=1450), pinned, Request("c")], NOW)
    return ledger


def test_summary_lists_nodes_and_pending_hosts():
    ledger = ledger_with_a_pin()
    ledger.release(["a"], ["b", "c"], NOW)
    assert ledger.summary().splitlines() == [
        "container CIDR 10.0.0.0/24",
        "Service range 10.0.0.224/27",
        f"next node CIDR {ledger.pool.node_cidr(ledger.cursor)} or the first free one after it",
        "node b 10.0.0.96/27 underlay 10.9.0.2 mtu 1500 pinned",
        f"node c {ledger.nodes['c'].node_cidr} underlay None mtu None",
        "released 10.0.0.0/27 of a, not free until dropped by b, c",
    ]
    assert NOW not in ledger.summary()


def test_summary_shows_quarantined_node_cidrs():
    ledger = ledger_with_a_pin()
    ledger.release(["b"], [], NOW)
    assert "released 10.0.0.96/27 of b, not free until the cursor wraps around\n" in ledger.summary()


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (ledger_with_a_pin().text(), False),
        (ledger_with_a_pin().text()[:-20], True),
        (ledger_with_a_pin().text().replace("10.0.0.96", "10.0.0.64"), True),
        ("", True),
        (Tombstone("/elsewhere", NOW).text(), False),
    ],
)
def test_truncated_or_edited_ledgers_are_broken(text, broken):
    assert is_broken(text) is broken


def test_remembers_who_released_a_node_cidr_until_it_is_allocated():
    ledger = ledger_of("a", "b", "c", cidrs=["10.0.0.0/25"])
    ledger.release(["a", "b"], [], NOW)
    ledger = parse(ledger.text(), "here", "demo")
    assert ledger.former == {"10.0.0.0/27": "a", "10.0.0.32/27": "b"}
    ledger.assign([Request("c"), Request("d")], NOW)
    assert ledger.former == {"10.0.0.32/27": "b"}
    ledger.assign([Request("e", "10.0.0.32/27")], NOW)
    assert ledger.former == {}


def test_releases_contain_those_that_are_pending():
    ledger = ledger_of("a", "b")
    ledger.release(["b"], ["a"], NOW)
    ledger.former = {"10.0.0.64/27": "x"}
    assert ledger.releases() == {"10.0.0.32/27": "b", "10.0.0.64/27": "x"}


def test_a_plan_is_applied_when_a_node_acknowledges():
    ledger = ledger_of("a", "b", applied=False)
    ledger.acknowledge(["stranger"])
    ledger.release(["b"], ["a"], NOW)
    assert ledger.applied is False
    assert parse(ledger.text(), "here", "demo").applied is False
    ledger.acknowledge(["a"])
    ledger.acknowledge([])
    assert parse(ledger.text(), "here", "demo").applied is True


def test_ledger_of_an_earlier_release_is_in_use():
    text = ledger_of("a", applied=False).text()
    body = text.replace(' "applied": false,\n', "").replace(' "former": {},\n', "").rpartition(' "checksum"')[0]
    old = f'{body} "checksum": "sha256:{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'
    ledger = parse(old, "here", "demo")
    assert (ledger.applied, ledger.former) == (True, {})
    assert node_cidrs(ledger) == {"a": "10.0.0.0/27"}


@pytest.mark.parametrize(
    "pool", [Pool(["10.9.0.0/26"], 32, 32), Pool(["10.0.0.0/24"], 32, 32, reserved=["10.0.0.0/27"])]
)
def test_pool_of_a_ledger_that_was_never_applied_is_renewed(pool):
    ledger = ledger_of("a", "b", applied=False)
    ledger.release(["b"], ["a"], NOW)
    with pytest.raises(ValidationError):
        ledger.adopt_pool(pool)
    assert node_cidrs(ledger) == {"a": "10.0.0.0/27"}
    ledger.adopt_pool(pool, renew=True)
    assert (ledger.nodes, ledger.pending, ledger.cursor, ledger.pool) == ({}, {}, 0, pool)
    used = ledger_of("a")
    with pytest.raises(ValidationError):
        used.adopt_pool(pool, renew=True)


def test_appended_cidr_renews_nothing():
    ledger = ledger_of("a", "b", applied=False)
    ledger.adopt_pool(Pool(["10.0.0.0/24", "10.9.0.0/24"], 32, 32), renew=True)
    assert node_cidrs(ledger) == {"a": "10.0.0.0/27", "b": "10.0.0.32/27"}


def test_rejected_pool_names_the_way_to_begin_anew():
    with pytest.raises(ValidationError, match=r"run tke\.overlay\.reset on all hosts, then delete the ledger"):
        ledger_of("a").adopt_pool(Pool(["10.9.0.0/26"], 32, 32))


@pytest.mark.parametrize("edit", [lambda text: text.replace("\n", "\r\n"), lambda text: "\ufeff" + text])
def test_accepts_what_editors_and_git_add(edit):
    text = ledger_of("a").text()
    assert parse(edit(text), "here", "demo").text() == text
    with pytest.raises(ValidationError, match="checksum"):
        parse(edit(text.replace("10.0.0.0/27", "10.0.0.64/27")), "here", "demo")


def test_keys_of_removed_nodes_are_forgotten():
    ledger = Ledger("demo", Pool(["10.244.0.0/20"], 256, 256), wireguard_generation=2)
    for number, name in enumerate("ab"):
        record = Assignment(ledger.pool.node_cidr(number), "10.0.0.1", 1500, NOW, False, "idc", "-", "KEY", "NEXT")
        ledger.nodes[name] = record
    ledger.forget_keys(["b", "unknown"])
    again = parse(ledger.text(), "/ledger", "demo")
    assert again.nodes == ledger.nodes
    assert again.text() == ledger.text()
    assert again.nodes["a"].wireguard_next_key == "NEXT"
    assert again.nodes["b"] == record._replace(wireguard_key=None, wireguard_next_key=None)
    lines = ledger.summary().splitlines()
    assert "node b 10.244.1.0/24 underlay 10.0.0.1 mtu 1500 site idc wireguard_endpoint -" in lines
    assert "WireGuard keys of generation 2" in lines


def test_a_container_cidr_that_no_node_is_in_can_be_removed_again():
    """As after a typing error, which a host finds only when the ledger has it."""
    ledger = ledger_of("a", "b", cidrs=["10.0.0.0/24"])
    ledger.adopt_pool(Pool(["10.0.0.0/24", "10.9.0.0/24"], 32, 32))
    ledger.former = {"10.9.0.0/27": "gone", "10.0.0.96/27": "old"}
    ledger.cursor = 9
    ledger.adopt_pool(Pool(["10.0.0.0/24", "10.8.0.0/24"], 32, 32))
    ledger.adopt_pool(Pool(["10.0.0.0/24"], 32, 32))
    assert node_cidrs(ledger) == {"a": "10.0.0.0/27", "b": "10.0.0.32/27"}
    assert (ledger.cursor, ledger.former) == (0, {"10.0.0.96/27": "old"})
    assert parse(ledger.text(), "/ledger", "demo").text() == ledger.text()


@pytest.mark.parametrize("holder", ["a node", "a release that a host has missed", "a node behind it"])
def test_a_container_cidr_in_use_cannot_be_removed(holder):
    present = Pool(["10.0.0.0/25", "10.8.0.0/25", "10.9.0.0/25"], 32, 32)
    ledger = Ledger("demo", present, applied=True)
    place = "10.9.0.0/27" if holder == "a node behind it" else "10.8.0.0/27"
    ledger.assign([Request("a"), Request("b", place)], NOW)
    if holder.startswith("a release"):
        ledger.release(["b"], ["a"], NOW)
    before = ledger.text()
    with pytest.raises(ValidationError, match="can only grow at its end, and lose there what none of them is in"):
        ledger.adopt_pool(Pool(["10.0.0.0/25", "10.9.0.0/25"], 32, 32))
    assert ledger.text() == before


def test_a_ledger_that_no_host_uses_may_be_deleted():
    for applied in (True, False):
        with pytest.raises(ValidationError) as caught:
            parse(ledger_of("a", applied=applied).text(), "/ledger", "other")
        assert ("delete it, because no host has applied a plan of it" in caught.value.problems[0]) is not applied

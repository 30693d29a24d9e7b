# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The podCIDRs of a running cluster become node CIDRs as they are, or are refused by name."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import ApiNode, Matches
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import assign, forecast, plan
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

NOW = "2026-01-02T03:04:05Z"
SETTINGS = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)
SMALL = ClusterSettings("demo", ["10.244.0.0/24", "10.9.0.0/25"], 16, 32)
"""A pool of 22 node CIDRs of 16 addresses in two ranges."""


def hosts(*names):
    return [InventoryNode(name, ["idc"], f"192.168.1.{number}", 1500) for number, name in enumerate(names, 1)]


def cluster(nodes, unknown=(), **addresses):
    """Return the Node objects of hosts, and of no host, from their podCIDRs by name."""
    found = {
        name: ApiNode(name, tuple(cidrs.split()), tuple(addresses.get(name, "").split()))
        for name, cidrs in nodes.items()
    }
    others = [ApiNode(name, tuple(cidrs.split())) for name, cidrs in dict(unknown).items()]
    return Matches(found, [], others)


def adopted(nodes, found, text=None, settings=SETTINGS):
    """Return the ledger after a run with an adoption."""
    return assign(settings._replace(adopted=found), nodes, text, "/ledger", NOW)


def used(ledger):
    """Return the text of a ledger that hosts have applied."""
    ledger.acknowledge(list(ledger.nodes))
    return ledger.text()


def refused(*arguments, **options):
    with pytest.raises(ValidationError) as caught:
        adopted(*arguments, **options)
    return caught.value.problems


def node_cidrs(ledger):
    return {name: held.node_cidr for name, held in ledger.nodes.items()}


def test_podcidrs_are_entered_as_pins_and_new_nodes_follow_them():
    found = cluster({"a": "10.244.3.0/24", "b": "10.244.1.0/24"})
    ledger = adopted(hosts("new", "a", "b"), found)
    assert node_cidrs(ledger) == {"a": "10.244.3.0/24", "b": "10.244.1.0/24", "new": "10.244.4.0/24"}
    assert {name: held.pinned for name, held in ledger.nodes.items()} == {"a": True, "b": True, "new": False}
    assert "node a 10.244.3.0/24 underlay 192.168.1.2 mtu 1500 pinned" in ledger.summary()


def test_a_node_without_podcidr_gets_the_next_one():
    ledger = adopted(hosts("a", "b"), cluster({"a": "10.244.7.0/24", "b": ""}))
    assert node_cidrs(ledger) == {"a": "10.244.7.0/24", "b": "10.244.8.0/24"}


def test_a_second_run_changes_nothing():
    found = cluster({"a": "10.244.3.0/24"}, {"other": "10.244.9.0/24"})
    text = used(adopted(hosts("a", "new"), found))
    assert parse(text, "", None).nodes["new"].node_cidr == "10.244.10.0/24"
    again = adopted(hosts("a", "new"), found, text)
    assert again.text() == text
    more = adopted(hosts("a", "new", "newer"), found, text)
    assert node_cidrs(more)["newer"] == "10.244.11.0/24"


def test_the_pool_after_the_last_podcidr_begins_again():
    ledger = adopted(hosts("new", "a"), cluster({"a": "10.244.254.0/24"}))
    assert node_cidrs(ledger)["new"] == "10.244.0.0/24"


def test_nodes_of_no_host_keep_their_podcidrs():
    wide = {"big": "10.244.0.0/22", "far": "10.99.0.0/24", "six": "fd00::/64"}
    found = cluster({"a": "10.244.5.0/24"}, wide)
    ledger = adopted(hosts("a", *(f"n{number}" for number in range(250))), found)
    assert not {f"10.244.{number}.0/24" for number in range(4)} & set(node_cidrs(ledger).values())
    made = plan(SETTINGS._replace(adopted=found), hosts("a"), ledger)
    (warning,) = [text for text in made.warnings if "no hosts of the inventory" in text]
    assert "big 10.244.0.0/22" in warning
    assert [name for name in ("far", "six") if name in warning] == []
    assert "overlay_adopt" in warning
    assert "room for 251 nodes" in forecast(ledger)
    with pytest.raises(ValidationError, match="pool is exhausted"):
        adopted(hosts("a", "last"), found, used(ledger))


def test_a_ledger_that_no_host_has_applied_is_replaced():
    text = adopted(hosts("a", "b"), None).text()
    ledger = adopted(hosts("a", "b"), cluster({"a": "10.244.1.0/24", "b": "10.244.0.0/24"}), text)
    assert node_cidrs(ledger) == {"a": "10.244.1.0/24", "b": "10.244.0.0/24"}


BAD_PLACES = [
    ("10.99.1.0/24", ["10.99.1.0/24", "not in the container CIDR 10.244.0.0/16", "add", "overlay_container_cidr"]),
    ("10.244.0.0/25", ["10.244.0.0/25", "128 addresses", "set overlay_max_pods_per_node to 128"]),
    ("10.244.255.0/24", ["10.244.255.0/24", "Service range 10.244.255.0/24", "in front of it"]),
    ("10.244.16.0/24", ["10.244.16.0/24", "reserved range 10.244.16.0/20 (overlay_reserved)"]),
    ("fd00:1::/64", ["fd00:1::/64", "one IPv4 network"]),
    ("10.244.1.0/24 fd00:1::/64", ["10.244.1.0/24", "fd00:1::/64", "IPv4 only", "set overlay_node_cidr of host a"]),
    ("10.244.1.0/24 10.244.2.0/24", ["10.244.1.0/24, 10.244.2.0/24", "one IPv4 network"]),
]


@pytest.mark.parametrize(("cidrs", "words"), BAD_PLACES, ids=[cidrs for cidrs, _words in BAD_PLACES])
def test_what_does_not_fit_is_refused_with_its_remedy(cidrs, words):
    settings = SETTINGS._replace(reserved=["10.244.16.0/20"])
    (problem,) = refused(hosts("a"), cluster({"a": cidrs}), settings=settings)
    assert [word for word in ["host a", "Node a", *words] if word not in problem] == []


def test_everything_is_refused_at_once():
    found = cluster({"a": "10.99.1.0/24", "b": "10.244.255.0/24", "c": "10.244.2.0/24", "d": "10.244.2.0/24"})
    problems = refused(hosts("a", "b", "c", "d"), found)
    assert len(problems) == 3
    assert ["host a" in problems[1], "host b" in problems[2]] == [True, True]
    for word in ("Node c (host c)", "Node d (host d)", "both 10.244.2.0/24", "kubectl delete node"):
        assert word in problems[0]


def test_a_podcidr_inside_that_of_another_node_is_refused():
    found = cluster({"a": "10.244.2.0/24"}, {"x": "10.244.0.0/22", "y": "10.244.1.0/24"})
    problems = refused(hosts("a"), found)
    assert ["Node x (no host of the inventory)" in problem for problem in problems] == [True, True]
    assert [name in problem for name, problem in zip(("Node y", "Node a (host a)"), problems, strict=True)] == [
        True
    ] * 2


def test_overlay_node_cidr_must_be_the_podcidr():
    pinned = hosts("a")[0]._replace(node_cidr="10.244.5.0/24")
    (problem,) = refused([pinned], cluster({"a": "10.244.4.0/24"}))
    for word in ("host a", "podCIDR 10.244.4.0/24", "overlay_node_cidr is '10.244.5.0/24'", "remove overlay_node_cidr"):
        assert word in problem
    found = cluster({"a": "10.244.5.0/24 fd00:5::/64"})
    assert node_cidrs(adopted([pinned], found)) == {"a": "10.244.5.0/24"}, "the user accepts the loss of IPv6"


def test_the_ledger_must_agree_with_the_podcidr():
    text = used(adopted(hosts("a", "b"), None))
    (problem,) = refused(hosts("a", "b"), cluster({"a": "10.244.4.0/24"}), text)
    for word in ("host a", "podCIDR 10.244.4.0/24", "10.244.0.0/24", "tke.overlay.release", "join again"):
        assert word in problem
    (problem,) = refused(hosts("a", "b", "c"), cluster({"c": "10.244.1.0/24"}), text)
    assert "host c" in problem
    assert "belongs to node b in the ledger" in problem
    ledger = parse(text, "", None)
    ledger.release(["b"], ["a"], NOW)
    (problem,) = refused(hosts("a", "c"), cluster({"c": "10.244.1.0/24"}), ledger.text())
    assert "b has released" in problem
    assert "pending on a" in problem


def test_a_node_of_no_host_must_not_have_the_node_cidr_of_a_host():
    text = used(adopted(hosts("a", "b"), None))
    (problem,) = refused(hosts("a"), cluster({}, {"x": "10.244.0.0/24", "b.example": "10.244.1.0/24"}), text)
    for word in ("Node x", "10.244.0.0/24", "the ledger", "host a", "overlay_kubernetes_node of a to x"):
        assert word in problem
    pinned = hosts("a")[0]._replace(node_cidr="10.244.5.0/24")
    problems = refused([pinned], cluster({}, {"x": "10.244.5.0/24"}))
    assert "overlay_node_cidr gives 10.244.5.0/24 to host a" in problems[0]


def test_another_internal_address_is_a_warning():
    found = cluster({"a": "10.244.1.0/24", "b": "10.244.2.0/24"}, a="10.0.0.9 fd00::9", b="192.168.1.2")
    nodes = hosts("a", "b")
    settings = SETTINGS._replace(adopted=found)
    made = plan(settings, nodes, adopted(nodes, found))
    (warning,) = [text for text in made.warnings if "InternalIP" in text]
    assert "a 192.168.1.1 (Node a: 10.0.0.9, fd00::9)" in warning
    assert "overlay_kubernetes_node" in warning
    assert "Node b" not in warning


def test_a_node_of_the_ledger_outside_the_inventory_is_no_warning():
    nodes = hosts("a", "b")
    text = used(adopted(nodes, None))
    joined = {ip: Matches({}, [], [ApiNode("b.example", ("10.244.1.0/24",), (ip,))]) for ip in ("192.168.1.2", "::9")}
    found = {}
    for ip, matches in joined.items():
        made = plan(SETTINGS._replace(adopted=matches), nodes[:1], adopted(nodes[:1], matches, text))
        found[ip] = [warning for warning in made.warnings if "b.example" in warning]
    assert not found["192.168.1.2"]
    assert "no other node can reach their Pods" in found["::9"][0]


# --- any cluster ---


def places():
    """Return podCIDRs inside and outside the pool SMALL, of the right size and of others."""
    octets = st.integers(0, 31).map(lambda number: number * 16)
    inside = st.builds(lambda octet: f"10.244.0.{octet % 256}/28", octets)
    second = st.builds(lambda octet: f"10.9.0.{octet % 128}/28", octets)
    other = st.sampled_from(["10.244.0.0/27", "10.244.0.128/26", "10.1.0.0/28", "fd00::/64", "", "10.9.0.8/29"])
    return st.one_of(inside, second, inside, other)


NAMES = [f"n{number}" for number in range(12)]
CLUSTERS = st.dictionaries(st.sampled_from(NAMES), places(), max_size=8)


@given(first=CLUSTERS, unknown=CLUSTERS, later=CLUSTERS, fresh=st.integers(0, 6))
def test_any_podcidrs_leave_each_node_cidr_with_one_holder(first, unknown, later, fresh):
    text, before = None, {}
    for joined in (first, {**later, **first}):
        names = [*joined, *(f"new{number}" for number in range(fresh))]
        others = {name: cidr for name, cidr in unknown.items() if name not in joined}
        found = cluster(joined, others)
        try:
            ledger = adopted(hosts(*names), found, text, SMALL)
        except ValidationError:
            continue  # nothing is written
        held = node_cidrs(ledger)
        networks = [ipaddress.ip_network(cidr) for cidr in held.values()]
        networks += [ipaddress.ip_network(cidr) for cidr in others.values() if cidr and ":" not in cidr]
        for number, network in enumerate(networks[: len(held)]):
            assert not any(network.overlaps(other) for other in networks[number + 1 :]), (held, others)
        assert {name: held[name] for name in before} == before, "a node CIDR never changes"
        assert {name: cidr for name, cidr in joined.items() if cidr and held[name] != cidr} == {}
        text, before = used(ledger), held
        assert adopted(hosts(*names), found, text, SMALL).text() == text


@given(first=CLUSTERS, fresh=st.integers(1, 4))
def test_new_node_cidrs_come_after_the_adopted_ones(first, fresh):
    valid = {name: cidr for name, cidr in first.items() if cidr.startswith("10.244.0.") and cidr.endswith("/28")}
    valid = {name: cidr for cidr, name in {cidr: name for name, cidr in valid.items()}.items()}
    valid = {name: cidr for name, cidr in valid.items() if int(cidr[9:-3]) < 224}
    new = [f"new{number}" for number in range(fresh)]
    ledger = adopted(hosts(*valid, *new), cluster(valid), None, SMALL)
    last = max((ledger.pool.number(cidr) for cidr in valid.values()), default=-1)
    assert [ledger.pool.number(node_cidrs(ledger)[name]) for name in new] == [last + 1 + step for step in range(fresh)]

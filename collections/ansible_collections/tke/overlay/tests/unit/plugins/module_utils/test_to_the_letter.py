# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users and hosts read, to the letter: documents, forecasts, limits, and what an error may not repeat."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    MIN_MTU,
    OVERHEAD,
    PLAN_SCHEMA,
    Peer,
    fleet_text,
    plan_id,
    vtep_address,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.etcd_url import parse_url
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import assign, plan
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
    problems_of_cluster,
    problems_of_nodes,
    problems_of_sites,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

NOW = "2026-01-02T03:04:05Z"
SETTINGS = ClusterSettings(
    "demo", ["10.244.0.0/22", "10.245.0.0/24"], 256, 256, vni=7, port=4789, device="ov0", bridge="pods"
)
NODES = [InventoryNode("a", ["cloud"], "10.0.1.1", 1500), InventoryNode("b", ["idc"], "192.168.1.1", 1450)]


def changed(**settings):
    return list(problems_of_cluster(SETTINGS._replace(**settings)))


def test_a_document_says_all_that_the_settings_and_the_ledger_say():
    made = plan(SETTINGS, NODES, assign(SETTINGS, NODES, None, "/ledger", NOW))
    assert made.document == {
        "schema": PLAN_SCHEMA,
        "cluster": "demo",
        "node": "",
        "device": "ov0",
        "vni": 7,
        "port": 4789,
        "mtu": 1400,
        "bridge": "pods",
        "container_cidr": ["10.244.0.0/22", "10.245.0.0/24"],
        "service_cidr": "10.244.3.0/24",
        "fleet": "a 10.244.0.0/24 10.0.1.1\nb 10.244.1.0/24 192.168.1.1\n",
    }
    assert len(plan_id(made.document)) == 12
    assert made.forecast == (
        "10.244.0.0/22, 10.245.0.0/24 has room for 4 nodes of 253 Pods: 2 used, 2 free; "
        "node 5 needs a further container CIDR. Services: 10.244.3.0/24, 251 usable."
    )


def test_a_forecast_says_what_is_released_and_awaited():
    ledger = assign(SETTINGS, NODES, None, "/ledger", NOW)
    ledger.release(["b"], ["a"], NOW)
    assert ": 1 used, 1 released and awaited, 2 free; " in plan(SETTINGS, NODES[:1], ledger).forecast


def test_the_fleet_is_in_the_order_of_node_cidrs_as_numbers():
    peers = [Peer("a", "10.10.0.0/24", "10.0.0.1"), Peer("b", "10.9.0.0/24", "10.0.0.2")]
    assert [line.split()[0] for line in fleet_text(peers).splitlines()] == ["b", "a"]
    assert vtep_address("10.9.0.0") == "10.9.0.0"


def test_a_ledger_that_is_refused_does_not_hide_other_problems():
    other = assign(SETTINGS, NODES, None, "/ledger", NOW).text()
    settings = SETTINGS._replace(cluster="mine", vni=0)
    with pytest.raises(ValidationError) as caught:
        assign(settings, [InventoryNode("a", ["cloud"], "nowhere", 1500)], other, "/ledger", NOW)
    vni, underlay, cluster = caught.value.problems
    assert vni == "overlay_vni is 0: a VNI lies between 1 and 16777215"
    assert underlay.startswith("node a: overlay_underlay_ip 'nowhere' is not a numeric address")
    assert "belongs to cluster 'demo', not to 'mine'" in cluster


def test_limits_are_inside():
    for good in ({"vni": 1}, {"vni": 16777215}, {"port": 1}, {"port": 65535}):
        assert changed(**good) == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"vni": 16777216}, "overlay_vni is 16777216: a VNI lies between 1 and 16777215"),
        ({"port": 0}, "overlay_port is 0: a UDP port lies between 1 and 65535"),
        ({"port": 65536}, "overlay_port is 65536: a UDP port lies between 1 and 65535"),
        ({"cluster": " "}, "overlay_cluster is empty: give the cluster a name, by which its ledger is known"),
        ({"device": "pods"}, "overlay_device and overlay_bridge are both 'pods': give them two names"),
    ],
)
def test_one_beyond_a_limit_is_one_problem(settings, problem):
    assert changed(**settings) == [problem]


@pytest.mark.parametrize(("variable", "field"), [("overlay_device", "device"), ("overlay_bridge", "bridge")])
def test_a_name_that_the_kernel_does_not_take_is_named(variable, field):
    (problem,) = changed(**{field: "a/b"})
    assert problem.startswith(f"{variable} is 'a/b': ")


def test_what_is_given_first_is_pinned_and_dated():
    ledger = Ledger("demo", Pool(["10.244.0.0/22"], 256, 256))
    ledger.assign([Request("a", node_cidr="10.244.1.0/24"), Request("b")], NOW)
    assert [(held.pinned, held.since) for held in ledger.nodes.values()] == [(True, NOW), (False, NOW)]


def test_an_error_about_a_place_repeats_it_without_the_password():
    with pytest.raises(ValidationError) as caught:
        parse_url("etcd://carol:a@b:s3cret@one:2379,two/demo", {})
    (problem,) = caught.value.problems
    assert problem.startswith("overlay_ledger is 'etcd://...@one:2379,two/demo': a user does not belong there")
    with pytest.raises(ValidationError) as caught:
        parse_url("etcd://one:0/team/demo?user=x://y", {})
    assert all(
        text.startswith("overlay_ledger is 'etcd://one:0/team/demo?user=x://y': ") for text in caught.value.problems
    )


def test_every_unknown_word_after_the_question_mark_is_named():
    with pytest.raises(
        ValidationError, match=r"after '[?]' there can be cacert, cert, key, user, password_file, and not ca, pw$"
    ):
        parse_url("etcds://one/demo?pw=1&ca=", {})


def test_a_name_without_a_node_cidr_does_not_end_a_release():
    ledger = Ledger("demo", Pool(["10.244.0.0/22"], 256, 256))
    ledger.assign([Request("a"), Request("b"), Request("c")], NOW)
    assert ledger.release(["a", "nobody", "b"], ["c"], "later") == {"a": "10.244.0.0/24", "b": "10.244.1.0/24"}
    assert {waiting.since for waiting in ledger.pending.values()} == {"later"}


def test_a_range_reserved_in_a_further_container_cidr_takes_its_own_node_cidrs_only():
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
    ("count", "said"),
    [(10, "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9. "), (12, "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more. ")],
)
def test_of_many_names_ten_are_said_and_the_rest_is_counted(count, said):
    full = Ledger("demo", Pool(["10.244.0.0/22"], 256, 256))
    full.assign([Request(name) for name in "abc"], NOW)
    with pytest.raises(ValidationError) as caught:
        full.assign([Request(name) for name in "abc"] + [Request(f"n{number}") for number in range(count)], NOW)
    (problem,) = caught.value.problems
    assert f" 3 used and 0 pending; without one: {said}" in problem


@pytest.mark.parametrize(
    ("sites", "lacking"), [([["cloud"], ["idc"]], False), ([["cloud"], ["cloud"]], True), ([], False)]
)
def test_a_fleet_that_must_have_idc_nodes_and_has_one_is_whole(sites, lacking):
    nodes = [InventoryNode(f"n{number}", site) for number, site in enumerate(sites)]
    assert bool(list(problems_of_sites(nodes, SETTINGS._replace(require_idc=True)))) is lacking


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.9", "169.254.1.1", "fe80::1", "0.0.0.0", "::"])
def test_an_underlay_address_that_reaches_nobody_is_refused(address):
    (problem,) = problems_of_nodes([InventoryNode("a", ["cloud"], address, 9000)], SETTINGS)
    assert problem.endswith(f"{address} is not an address that another host could reach")


@pytest.mark.parametrize(("address", "version"), [("10.0.1.1", 4), ("fd00::1", 6)])
def test_the_limits_of_an_underlay_mtu_are_inside(address, version):
    least = MIN_MTU[version] + OVERHEAD[version]
    counts = {
        mtu: len(list(problems_of_nodes([InventoryNode("a", ["cloud"], address, mtu)], SETTINGS)))
        for mtu in (least - 1, least, 65535, 65536)
    }
    assert counts == {least - 1: 1, least: 0, 65535: 0, 65536: 1}


def test_two_ip_versions_underneath_are_told_with_a_node_of_each():
    nodes = [InventoryNode("a", ["cloud"], "10.0.1.1", 1500), InventoryNode("b", ["cloud"], "fd00::1", 1500)]
    assert list(problems_of_nodes(nodes, SETTINGS)) == [
        "the underlay is of IPv4 (as a) and IPv6 (as b): one overlay needs one IP version underneath"
    ]


def test_two_nodes_of_the_inventory_with_one_address_are_told_without_a_word_about_releasing():
    nodes = [InventoryNode("a", ["cloud"], "10.0.1.1", 1500), InventoryNode("b", ["cloud"], "10.0.1.1", 1500)]
    assert list(problems_of_nodes(nodes, SETTINGS)) == [
        "nodes a, b all have the underlay address 10.0.1.1 (overlay_underlay_ip): each needs its own"
    ]

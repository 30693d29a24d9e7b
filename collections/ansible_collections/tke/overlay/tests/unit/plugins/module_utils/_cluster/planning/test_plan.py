# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    OVERHEAD,
    PLAN_SCHEMA,
    parse_fleet,
    plan_id,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.vips import (
    Claim,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import (
    assign,
    claims_of_ledger,
    notices,
    plan,
    ranges_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

NOW = "2026-01-02T03:04:05Z"

SETTINGS = ClusterSettings(
    cluster="demo",
    container_cidr=["10.244.0.0/16"],
    max_pods_per_node=256,
    max_services=256,
    networks={"vpc": ["10.0.0.0/16"], "idc": ["192.168.0.0/16"]},
)
CLOUD1 = InventoryNode("cloud1", ["cloud"], "10.0.1.11", 1500)
CLOUD2 = InventoryNode("cloud2", ["cloud"], "10.0.1.12", 1500)
IDC1 = InventoryNode("idc1", ["idc"], "192.168.1.11", 1450)


def planned(nodes, text=None, settings=SETTINGS):
    """Return the ledger and the plan, after the hosts have applied it."""
    ledger = assign(settings, nodes, text, "/ledger", NOW)
    ledger.acknowledge([node.name for node in nodes])
    return ledger, plan(settings, nodes, ledger)


def rejected(nodes, text=None, settings=SETTINGS):
    with pytest.raises(ValidationError) as caught:
        assign(settings, nodes, text, "/ledger", NOW)
    return caught.value.problems


def test_document_contains_all_hosts():
    _ledger, made = planned([CLOUD1, IDC1])
    fleet = parse_fleet(made.document["fleet"])
    assert {name: (peer.node_cidr, peer.underlay) for name, peer in fleet.items()} == {
        "cloud1": ("10.244.0.0/24", "10.0.1.11"),
        "idc1": ("10.244.1.0/24", "192.168.1.11"),
    }
    assert made.document["mtu"] == 1400, "the least underlay MTU less the overhead of VXLAN"
    assert made.document["service_cidr"] == "10.244.255.0/24"


def test_document_is_plain_data():
    _ledger, made = planned([CLOUD1, IDC1])
    assert json.loads(json.dumps(made.document)) == made.document


def test_orphan_stays_a_peer_and_is_reported():
    ledger, before = planned([CLOUD1, IDC1])
    again, after = planned([CLOUD1], ledger.text())
    assert again.text() == ledger.text()
    assert after.document == before.document
    assert after.orphans == ["idc1"]
    assert any("idc1" in warning for warning in after.warnings)


def test_node_with_new_underlay_keeps_its_node_cidr():
    ledger, _made = planned([CLOUD1, IDC1])
    again, made = planned([CLOUD1, IDC1._replace(underlay_ip="192.168.1.99")], ledger.text())
    assert again.nodes["idc1"].node_cidr == ledger.nodes["idc1"].node_cidr
    assert parse_fleet(made.document["fleet"])["idc1"].underlay == "192.168.1.99"


def test_pin_of_the_inventory_is_used():
    ledger, _made = planned([CLOUD1, IDC1._replace(node_cidr="10.244.0.0/24")])
    assert ledger.nodes["idc1"].node_cidr == "10.244.0.0/24"
    assert ledger.nodes["cloud1"].node_cidr == "10.244.1.0/24"


def test_accepts_mtu_as_a_string_of_digits():
    _ledger, made = planned([CLOUD1._replace(underlay_mtu="1400"), IDC1])
    assert made.document["mtu"] == 1350


def test_warns_when_all_nodes_are_cloud_nodes():
    _ledger, made = planned([CLOUD1])
    assert any("only cloud nodes" in warning for warning in made.warnings)


@pytest.mark.parametrize(
    ("nodes", "settings", "words"),
    [
        (
            [CLOUD1],
            {"networks": {"vpc": ["10.0.0.0/8"]}},
            ["10.244.0.0/16 (overlay_container_cidr)", "10.0.0.0/8 (vpc of overlay_networks)"],
        ),
        ([CLOUD1], {"networks": {"lan": ["10.244.7.0/24"]}}, ["10.244.7.0/24 (lan of overlay_networks)"]),
        (
            [CLOUD1],
            {"networks": {"lan": ["garbage", 7]}},
            ["lan of overlay_networks: 'garbage' is not a network", "lan of overlay_networks: 7 is not"],
        ),
        ([CLOUD1, CLOUD2._replace(underlay_ip="10.0.1.11")], {}, ["cloud1, cloud2", "10.0.1.11"]),
        ([CLOUD1._replace(underlay_ip=None)], {}, ["cloud1 has no underlay address"]),
        ([CLOUD1._replace(underlay_ip="cloud1.example")], {}, ["cloud1: overlay_underlay_ip 'cloud1.example' is not"]),
        ([CLOUD1._replace(underlay_ip=10)], {}, ["cloud1: overlay_underlay_ip 10 is not"]),
        ([CLOUD1._replace(underlay_ip="127.0.0.1")], {}, ["127.0.0.1 is not an address that another host could reach"]),
        ([CLOUD1._replace(underlay_ip="0.0.0.0")], {}, ["0.0.0.0 is not an address"]),
        ([CLOUD1._replace(underlay_ip="10.244.1.1")], {}, ["10.244.1.1 lies in the container CIDR 10.244.0.0/16"]),
        ([CLOUD1, IDC1._replace(underlay_ip="2001:db8::1")], {}, ["IPv4 (node cloud1)", "IPv6 (node idc1)"]),
        ([CLOUD1._replace(kinds=["cloud", "idc"])], {}, ["cloud1 is in cloud and idc"]),
        ([CLOUD1._replace(kinds=[])], {}, ["cloud1 is in none of cloud and idc"]),
        ([CLOUD1._replace(underlay_mtu=600)], {}, ["cloud1: overlay_underlay_mtu 600 leaves the overlay 550 bytes"]),
        ([CLOUD1._replace(underlay_mtu="big")], {}, ["cloud1: overlay_underlay_mtu 'big'"]),
        ([CLOUD1._replace(underlay_mtu=True)], {}, ["cloud1: overlay_underlay_mtu True"]),
        ([CLOUD1._replace(underlay_mtu=70000)], {}, ["cloud1: overlay_underlay_mtu 70000 is more"]),
        ([CLOUD1._replace(name="no name")], {}, ["node 'no name'"]),
        (
            [CLOUD1],
            {"device": "a-much-too-long-name", "vni": 0, "port": 70000},
            ["overlay_device", "overlay_vni", "70000"],
        ),
        ([CLOUD1], {"networks": {"lan": None}}, ["lan of overlay_networks: None is not a network"]),
        ([CLOUD1], {"clb_subnet": "10.244.2.0/24"}, ["10.244.2.0/24 (overlay_clb_subnet)"]),
        ([CLOUD1], {"clb_subnet": "here"}, ["overlay_clb_subnet: 'here' is not a network"]),
        ([CLOUD1], {"require_idc": True}, ["there are only cloud nodes", "overlay_require_idc"]),
        ([CLOUD1], {"cluster": " "}, ["overlay_cluster is empty"]),
        (
            [CLOUD1],
            {"reserved": ["10.9.0.0/24", "x"]},
            ["10.9.0.0/24 (overlay_reserved) is not part of the container CIDR", "'x'"],
        ),
        (
            [CLOUD1._replace(node_cidr="10.244.9.0/24")],
            {"reserved": ["10.244.8.0/22"]},
            ["cloud1 asks for 10.244.9.0/24", "reserved range 10.244.8.0/22"],
        ),
        ([CLOUD1], {"bridge": "tke0"}, ["overlay_device and overlay_bridge are both 'tke0'"]),
        ([CLOUD1], {"container_cidr": ["10.244.0.0/24"]}, ["10.244.0.0/24 has no room for one node"]),
        ([CLOUD1, IDC1], {"container_cidr": ["10.244.0.0/23"]}, ["the pool is exhausted", "without one: idc1"]),
        ([CLOUD1._replace(node_cidr="10.244.255.0/24")], {}, ["cloud1", "in the Service range"]),
        ([CLOUD1._replace(node_cidr=7)], {}, ["cloud1", "overlay_node_cidr 7"]),
    ],
)
def test_invalid_input_names_both_sides(nodes, settings, words):
    text = "\n".join(rejected(nodes, settings=SETTINGS._replace(**settings)))
    for word in words:
        assert word in text


def test_reports_inventory_and_ledger_conflicts_at_once():
    first, _made = planned([CLOUD1])
    problems = rejected(
        [CLOUD1._replace(node_cidr="10.244.9.0/24"), IDC1._replace(underlay_ip=None), CLOUD2._replace(underlay_mtu=1)],
        first.text(),
        SETTINGS._replace(networks={"vpc": ["10.244.0.0/20"]}),
    )
    assert len(problems) == 4


def test_renamed_node_must_release_its_old_name():
    first, _made = planned([CLOUD1, IDC1])
    (problem,) = rejected([CLOUD1, IDC1._replace(name="idc9")], first.text())
    for word in ("idc9", "192.168.1.11", "idc1", "release idc1 first"):
        assert word in problem


@pytest.mark.parametrize(
    ("orphan", "settings", "words"),
    [
        ("192.168.1.11", {"container_cidr": ["10.244.0.0/16", "192.168.0.0/20"]}, ["idc1", "192.168.0.0/20"]),
        ("2001:db8::11", {}, ["IPv4 (node cloud1)", "IPv6 (node idc1)"]),
    ],
)
def test_orphans_take_part_in_conflicts(orphan, settings, words):
    idc = IDC1._replace(underlay_ip=orphan)
    alone = SETTINGS._replace(networks={})
    first, _made = planned([idc], settings=alone)
    text = "\n".join(rejected([CLOUD1], first.text(), alone._replace(**settings)))
    for word in words:
        assert word in text


def test_warns_of_nodes_without_underlay_address():
    ledger = assign(SETTINGS, [InventoryNode("adopted", node_cidr="10.244.9.0/24")], None, "/ledger", NOW)
    _ledger, made = planned([CLOUD1, IDC1], ledger.text())
    assert "adopted" not in parse_fleet(made.document["fleet"])
    assert any("the underlay address of adopted is unknown" in warning for warning in made.warnings)


def test_rejects_a_broken_ledger():
    first, _made = planned([CLOUD1])
    (problem,) = rejected([CLOUD1], first.text()[:-20])
    assert "/ledger cannot be trusted" in problem


def test_rejects_a_ledger_of_another_cluster():
    first, _made = planned([CLOUD1])
    (problem,) = rejected([CLOUD1], first.text(), SETTINGS._replace(cluster="other"))
    assert "'demo', not to 'other'" in problem


def test_reserved_ranges_are_not_allocated_or_counted():
    settings = SETTINGS._replace(reserved=["10.244.0.0/25", "10.244.2.0/23"])
    ledger, _made = planned([CLOUD1, CLOUD2, IDC1], settings=settings)
    assert [held.node_cidr for held in ledger.nodes.values()] == ["10.244.1.0/24", "10.244.4.0/24", "10.244.5.0/24"]
    assert ledger.capacity()["max_nodes"] == 252
    assert ledger.capacity()["free"] == 249


def test_reserved_range_in_use_names_its_node():
    first, _made = planned([CLOUD1, IDC1])
    (problem,) = rejected([CLOUD1, IDC1], first.text(), SETTINGS._replace(reserved=["10.244.1.0/24"]))
    assert "node idc1 has 10.244.1.0/24, which lies in the reserved range 10.244.1.0/24" in problem


def test_exhausted_pool_names_orphans():
    small = SETTINGS._replace(container_cidr=["10.244.0.0/22"])
    first, _made = planned([CLOUD1, IDC1], settings=small)
    others = [InventoryNode(f"new{n}", ["idc"], f"192.168.2.{n}", 1450) for n in (1, 2)]
    (problem,) = rejected([CLOUD1, *others], first.text(), small)
    assert (
        "3 node CIDRs of 256 addresses, 2 used (1 of them by nodes that are not in this run: idc1) and 0 pending"
        in problem
    )
    assert "without one: new2" in problem


def test_node_with_the_address_of_a_vip_names_both():
    ledger, _made = planned([CLOUD1])
    ledger.vips = {"apiserver": "10.0.2.2", "services": "192.168.1.11"}
    text = ledger.text()
    assert planned([CLOUD1], text)[0].vips == ledger.vips, "the planner keeps the VIPs"
    (problem,) = rejected([CLOUD1, IDC1], text)
    assert "the VIP services 192.168.1.11 (in the ledger) is node idc1 (overlay_underlay_ip)" in problem
    (problem,) = rejected(
        [CLOUD1], text, SETTINGS._replace(container_cidr=["10.244.0.0/16", "10.0.2.0/23"], networks={})
    )
    assert "the VIP apiserver 10.0.2.2 (in the ledger) lies in 10.0.2.0/23 (overlay_container_cidr)" in problem


def test_summary_contains_the_vips():
    ledger, _made = planned([CLOUD1])
    ledger.vips = {"services": "10.0.2.3", "apiserver": "10.0.2.2"}
    assert ledger.summary().endswith("VIP apiserver 10.0.2.2\nVIP services 10.0.2.3\n")


def test_mtu_ignores_nodes_without_underlay_address():
    ledger = assign(SETTINGS, [CLOUD1, IDC1], None, "/ledger", NOW)
    ledger.nodes["idc1"] = ledger.nodes["idc1"]._replace(underlay=None, underlay_mtu=1200)
    assert plan(SETTINGS, [CLOUD1], ledger).document["mtu"] == 1450
    ledger.nodes["idc1"] = ledger.nodes["idc1"]._replace(underlay="192.168.1.11", underlay_mtu=None)
    assert plan(SETTINGS, [CLOUD1], ledger).document["mtu"] == 1450


def test_conflicting_orphans_are_named_with_the_remedy():
    ledger, _made = planned([CLOUD1, CLOUD2, IDC1])
    thief = InventoryNode("new", ["idc"], "10.0.1.11", 1500)
    ledger.nodes["cloud2"] = ledger.nodes["cloud2"]._replace(underlay="10.0.1.11")
    (problem,) = rejected([thief, IDC1], ledger.text())
    assert problem == (
        "nodes new, cloud1, cloud2 all have the underlay address 10.0.1.11 (overlay_underlay_ip): each needs its own "
        "(cloud1, cloud2 is in the ledger but not in the inventory: release cloud1, cloud2 first, "
        "or add it to the inventory)"
    )


@pytest.mark.parametrize("nothing", [None, ""])
def test_empty_underlay_address_is_a_missing_one(nothing):
    problem = "node idc1 has no underlay address: set overlay_underlay_ip, or a numeric ansible_host"
    assert rejected([CLOUD1, IDC1._replace(underlay_ip=nothing)]) == [problem]
    ledger, _made = planned([CLOUD1, IDC1._replace(node_cidr="")])
    assert ledger.nodes["idc1"].node_cidr == "10.244.1.0/24"


LATER = "2026-02-03T04:05:06Z"
PLAIN_SETTINGS = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)
SIX_NODES = [
    *(InventoryNode(f"cloud{number}", ["cloud"], f"10.0.1.{number}", 1500) for number in range(1, 4)),
    *(InventoryNode(f"idc{number}", ["idc"], f"192.168.1.{number}", 1450) for number in range(1, 4)),
]


def test_orphans_and_ranges_claim_addresses():
    ledger = assign(PLAIN_SETTINGS, SIX_NODES, None, "/ledger", NOW)
    ledger.assign([Request("silent")], NOW)
    claims = claims_of_ledger(ledger, [node.name for node in SIX_NODES[1:]])
    assert claims == [Claim("10.0.1.1", "node cloud1 (in the ledger but not in the inventory)")]
    assert ranges_of(ledger.pool) == [
        Claim("10.244.255.0/24", "the Service range, the end of overlay_container_cidr"),
        Claim("10.244.0.0/16", "overlay_container_cidr"),
    ]


def test_orphans_count_for_the_mtu_and_are_listed():
    ledger = assign(PLAIN_SETTINGS, SIX_NODES, None, "/ledger", NOW)
    made = plan(PLAIN_SETTINGS, SIX_NODES[:3], assign(PLAIN_SETTINGS, SIX_NODES[:3], ledger.text(), "/ledger", LATER))
    assert made.document["mtu"] == 1450 - OVERHEAD[4]
    assert made.orphans == ["idc1", "idc2", "idc3"]
    assert any(
        "not in the inventory, so they keep their node CIDRs: idc1, idc2, idc3 (release them to free" in text
        for text in made.warnings
    )
    ledger.assign([Request("b"), Request("a")], NOW)
    made = plan(PLAIN_SETTINGS, SIX_NODES, ledger)
    assert any("the underlay address of a, b is unknown, so no other" in text for text in made.warnings)
    assert made.document["mtu"] == 1450 - OVERHEAD[4]


OTHER_SETTINGS = ClusterSettings(
    "demo", ["10.244.0.0/22", "10.245.0.0/24"], 256, 256, vni=7, port=4789, device="ov0", bridge="pods"
)
OTHER_NODES = [InventoryNode("a", ["cloud"], "10.0.1.1", 1500), InventoryNode("b", ["idc"], "192.168.1.1", 1450)]


def test_document_and_forecast_are_complete():
    made = plan(OTHER_SETTINGS, OTHER_NODES, assign(OTHER_SETTINGS, OTHER_NODES, None, "/ledger", NOW))
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
        "former": "",
        "ledger_versions": "1-e347b8f0",
    }
    assert len(plan_id(made.document)) == 12
    assert made.forecast == (
        "10.244.0.0/22, 10.245.0.0/24 has room for 4 nodes of 253 Pods: 2 used, 2 free; "
        "node 5 needs another container CIDR. Services: 10.244.3.0/24, 251 usable."
    )


def test_forecast_counts_pending_node_cidrs():
    ledger = assign(OTHER_SETTINGS, OTHER_NODES, None, "/ledger", NOW)
    ledger.release(["b"], ["a"], NOW)
    assert ": 1 used, 1 pending, 2 free; " in plan(OTHER_SETTINGS, OTHER_NODES[:1], ledger).forecast


def test_rejected_ledger_does_not_hide_other_problems():
    other = assign(OTHER_SETTINGS, OTHER_NODES, None, "/ledger", NOW).text()
    settings = OTHER_SETTINGS._replace(cluster="mine", vni=0)
    with pytest.raises(ValidationError) as caught:
        assign(settings, [InventoryNode("a", ["cloud"], "nowhere", 1500)], other, "/ledger", NOW)
    vni, underlay, cluster = caught.value.problems
    assert vni == "overlay_vni 0 is not between 1 and 16777215"
    assert underlay.startswith("node a: overlay_underlay_ip 'nowhere' is not a numeric address")
    assert "belongs to cluster 'demo', not to 'mine'" in cluster


NEVER_APPLIED = assign(SETTINGS, [CLOUD1, IDC1], None, "/ledger", NOW).text()


@pytest.mark.parametrize(
    ("nodes", "settings", "expected"),
    [
        ([CLOUD1, IDC1], {"container_cidr": ["10.245.0.0/16"]}, {"cloud1": "10.245.0.0/24", "idc1": "10.245.1.0/24"}),
        ([CLOUD1, IDC1], {"max_pods_per_node": 64}, {"cloud1": "10.244.0.0/26", "idc1": "10.244.0.64/26"}),
        ([CLOUD1, IDC1], {"max_services": 512}, {"cloud1": "10.244.0.0/24", "idc1": "10.244.1.0/24"}),
        ([CLOUD1, IDC1], {"reserved": ["10.244.0.0/24"]}, {"cloud1": "10.244.1.0/24", "idc1": "10.244.2.0/24"}),
        (
            [CLOUD1, IDC1._replace(node_cidr="10.244.0.0/24")],
            {},
            {"cloud1": "10.244.1.0/24", "idc1": "10.244.0.0/24"},
        ),
        ([CLOUD1, IDC1._replace(name="idc9")], {}, {"cloud1": "10.244.0.0/24", "idc9": "10.244.1.0/24"}),
    ],
)
def test_what_no_host_has_applied_may_change(nodes, settings, expected):
    changed = SETTINGS._replace(**settings)
    ledger, _made = planned(nodes, NEVER_APPLIED, changed)
    assert {name: held.node_cidr for name, held in ledger.nodes.items()} == expected
    in_use = parse(NEVER_APPLIED, "/ledger", "demo")
    in_use.acknowledge(["cloud1"])
    assert rejected(nodes, in_use.text(), changed)


def test_a_valid_change_of_the_inventory_moves_no_node():
    ledger, _made = planned([CLOUD2, CLOUD1, IDC1], NEVER_APPLIED)
    assert [ledger.nodes[name].node_cidr for name in ("cloud1", "idc1", "cloud2")] == [
        "10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"
    ]  # fmt: skip


def test_conflicts_of_the_inventory_remain_conflicts():
    assert len(rejected([CLOUD1, IDC1._replace(underlay_ip="10.0.1.11")], NEVER_APPLIED)) == 1


def test_module_node_cidr_renews_nothing():
    nodes = [node._replace(kinds=None) for node in (CLOUD1, IDC1)]
    assert rejected(nodes, NEVER_APPLIED, SETTINGS._replace(container_cidr=["10.245.0.0/16"]))
    assert rejected([nodes[0]._replace(node_cidr="10.244.9.0/24")], NEVER_APPLIED)


def test_renewed_node_cidrs_are_announced_with_both_ranges():
    before = parse(NEVER_APPLIED, "/ledger", "demo")
    after = assign(SETTINGS._replace(container_cidr=["10.245.0.0/16"]), [CLOUD1, IDC1], NEVER_APPLIED, "/ledger", NOW)
    (notice,) = notices(before, after)
    for word in ("no host has applied", "from 10.245.0.0/16 (before: 10.244.0.0/16)", "cloud1 10.245.0.0/24, idc1"):
        assert word in notice
    assert notices(before, before) == []
    assert notices(None, after) == []
    before.applied = True
    assert notices(before, after) == []


def test_document_names_who_released_a_node_cidr():
    ledger, made = planned([CLOUD1, IDC1])
    ledger.release(["idc1"], ["cloud1"], NOW)
    document = plan(SETTINGS, [CLOUD1], ledger).document
    assert document["former"] == "10.244.1.0/24 idc1\n"
    assert plan_id(document) == plan_id({**document, "former": ""})
    assert made.document["former"] == ""

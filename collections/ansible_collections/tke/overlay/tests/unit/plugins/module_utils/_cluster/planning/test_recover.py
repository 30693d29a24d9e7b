# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recovery of a ledger: the old ledger when the saved states agree, an error with all names otherwise."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._addressing import OVERHEAD, Peer, fleet_text, parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import Tombstone
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import (
    assign,
    plan,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.recover import (
    HostRecord,
    SavedStates,
    keep,
    recover,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import newest

NOW = "2026-01-02T03:04:05Z"
SETTINGS = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)
NODES = (
    InventoryNode("cloud1", ["cloud"], "10.0.1.11", 1500),
    InventoryNode("cloud2", ["cloud"], "10.0.1.12", 1500, "10.244.7.0/24"),
    InventoryNode("idc1", ["idc"], "192.168.1.11", 1450),
    InventoryNode("idc2", ["idc"], "192.168.1.12", 1450),
)


def saved(nodes=NODES, settings=SETTINGS):
    """Return a lost ledger, and the saved states of the hosts that applied its plan."""
    ledger = assign(settings, nodes, None, "/ledger", NOW)
    document = plan(settings, nodes, ledger).document
    records = {
        peer.name: HostRecord(
            node=peer.name,
            cluster=ledger.cluster,
            node_cidr=peer.node_cidr,
            underlay=peer.underlay,
            container_cidr=document["container_cidr"],
            service_cidr=document["service_cidr"],
            mtu=document["mtu"],
            api="10.0.2.2",
            view="one",
            ledger_version=newest(document["ledger_versions"]),
            wireguard_port=document.get("wireguard_port"),
        )
        for peer in parse_fleet(document["fleet"]).values()
    }
    return ledger, SavedStates(records, {"one": document["fleet"]})


def rejected(found, settings=SETTINGS, nodes=NODES):
    with pytest.raises(ValidationError) as caught:
        recover(settings, nodes, found, NOW)
    return caught.value.problems


def changed(found, name, **what):
    return found._replace(records={**found.records, name: found.records[name]._replace(**what)})


def behind(found, name, fleet):
    """Give a host another saved fleet."""
    later = changed(found, name, view="another")
    return later._replace(fleets={**found.fleets, "another": fleet})


@given(unreached=st.sets(st.sampled_from([node.name for node in NODES]), max_size=3))
def test_recovers_the_same_plan_from_any_reachable_hosts(unreached):
    lost, found = saved()
    found = found._replace(records={name: own for name, own in found.records.items() if name not in unreached})
    ledger = recover(SETTINGS, NODES, found, NOW)
    assert ledger.nodes == lost.nodes
    assert plan(SETTINGS, NODES, ledger).document == plan(SETTINGS, NODES, lost).document
    assert assign(SETTINGS, NODES, ledger.text(), "/ledger", "later").text() == ledger.text()
    assert parse(ledger.text(), "/ledger", "demo").text() == ledger.text()


def test_a_ledger_that_agrees_with_the_hosts_is_kept():
    lost, found = saved()
    lost.cursor, lost.former = 40, {"10.244.30.0/24": "gone"}  # the hosts do not save it, so it makes no difference
    kept = keep(lost.text(), "/ledger", "demo", lambda: recover(SETTINGS, NODES, found, NOW))
    assert kept.text() == lost.text()


APPENDED = SETTINGS._replace(container_cidr=["10.244.0.0/16", "10.200.0.0/16"])


@pytest.mark.parametrize(
    ("settings", "nodes", "words"),
    [
        (SETTINGS, [*NODES, InventoryNode("idc3", ["idc"], "192.168.1.13", 1450)], "idc3 not at all, and"),
        (
            SETTINGS,
            [NODES[0]._replace(underlay_ip="10.0.1.99"), *NODES[1:]],
            "10.0.1.11, and not with",
        ),
        (
            SETTINGS._replace(container_cidr=["10.244.0.0/16", "10.200.0.0/16"]),
            NODES,
            "container CIDR 10.244.0.0/16, and",
        ),
    ],
)
def test_a_ledger_that_differs_from_the_hosts_is_an_error(settings, nodes, words):
    lost, found = saved()
    text = assign(settings, nodes, lost.text(), "/ledger", "later").text()
    (problem,) = problems_of_call(keep, text, "/ledger", "demo", lambda: recover(SETTINGS, NODES, found, NOW))
    assert "/ledger already has a ledger, which is not overwritten" in problem
    assert words in problem


def test_the_reason_why_a_ledger_cannot_be_compared_is_named():
    """A good ledger is not to be moved aside because no host was reached."""
    lost, _found = saved()
    reason, kept = problems_of_call(
        keep, lost.text(), "/ledger", "demo", lambda: recover(SETTINGS, NODES, SavedStates({}, {}), NOW)
    )
    assert "no reachable host has a saved state" in reason
    assert "/ledger already has a ledger, which is complete" in kept
    assert "aside" not in kept


@pytest.mark.parametrize(
    ("text", "cluster", "words"),
    [
        ("", "demo", "It is not overwritten: to rebuild it from the hosts"),
        (Tombstone("/there", NOW).text(), "demo", "was moved to /there"),
        (saved()[0].text(), "other", "belongs to cluster 'demo'"),
    ],
)
def test_what_a_ledger_is_comes_before_the_hosts(text, cluster, words):
    (problem,) = problems_of_call(keep, text, "/ledger", cluster, lambda: recover(SETTINGS, NODES, saved()[1], NOW))
    assert words in problem


def test_a_rebuilt_ledger_continues_after_the_newest_host():
    _lost, found = saved()
    for name, version in {"cloud1": "9-aaaaaaaa", "cloud2": "10-bbbbbbbb", "idc1": ""}.items():
        found = changed(found, name, ledger_version=version)
    ledger = recover(SETTINGS, NODES, found, NOW)
    assert parse(ledger.text(), "/ledger", "demo").versions == "10-bbbbbbbb"
    ledger.release(["idc2"], [], NOW)
    assert ledger.versions.split()[0].startswith("11-")


def test_cursor_is_after_the_highest_node_cidr_in_use():
    _lost, found = saved()
    assert recover(SETTINGS, NODES, found, NOW).cursor == 8
    small = SETTINGS._replace(container_cidr=["10.244.0.0/21"])
    _lost, found = saved([*NODES[:1], InventoryNode("last", ["idc"], "192.168.1.19", 1450, "10.244.6.0/24")], small)
    assert recover(small, NODES[:1], found, NOW).cursor == 0


def test_unreached_orphan_keeps_node_cidr_and_mtu():
    lost, found = saved([*NODES[:3], NODES[3]._replace(underlay_mtu=1300)])
    found = found._replace(records={name: own for name, own in found.records.items() if name != "idc2"})
    ledger = recover(SETTINGS, NODES[:3], found, NOW)
    assert ledger.nodes["idc2"] == lost.nodes["idc2"]._replace(pinned=False)
    assert plan(SETTINGS, NODES[:3], ledger).document["mtu"] == 1250


def test_two_hosts_with_one_node_cidr_are_both_named():
    _lost, found = saved()
    problems = rejected(changed(found, "idc2", node_cidr="10.244.0.0/24"))
    assert "hosts cloud1, idc2 all have the node CIDR 10.244.0.0/24: reset all but one" in problems


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"cluster": "other"}, "host idc1 belongs to cluster 'other', and overlay_cluster is 'demo'"),
        ({"container_cidr": ["10.9.0.0/16"]}, "host idc1 has the container CIDR 10.9.0.0/16"),
        ({"service_cidr": "10.244.254.0/23"}, "host idc1 has the Service range 10.244.254.0/23"),
        ({"node_cidr": "10.244.1.0/25"}, "host idc1: 10.244.1.0/25 is not of the node CIDR size /24"),
        ({"node": "idc7"}, "host idc1 of the inventory has the saved state of node idc7"),
    ],
)
def test_host_of_another_cluster_or_pool_is_named(what, words):
    _lost, found = saved()
    assert any(words in problem for problem in rejected(changed(found, "idc1", **what)))


def test_accepts_a_pool_with_appended_cidrs():
    _lost, found = saved()
    grown = SETTINGS._replace(container_cidr=["10.244.0.0/16", "10.245.0.0/16"])
    assert recover(grown, NODES, found, NOW).nodes.keys() == found.records.keys()


def test_outdated_fleet_is_named_with_the_remedy():
    _lost, found = saved()
    stale = behind(found, "idc1", found.fleets["one"].replace("cloud1 10.244.0.0/24", "cloud1 10.244.9.0/24"))
    (problem,) = rejected(stale)
    assert "node cloud1 has 10.244.0.0/24 at 10.0.1.11; idc1 has 10.244.9.0/24 at 10.0.1.11 for it" in problem
    assert "-e overlay_rebuild_without=idc1" in problem
    assert recover(SETTINGS, NODES, stale._replace(without=["idc1"]), NOW).pending.keys() == {"10.244.9.0/24"}


def test_node_of_one_fleet_is_named_or_pending_on_excluded_host():
    _lost, found = saved()
    stale = behind(found, "idc1", found.fleets["one"] + "gone 10.244.9.0/24 192.168.1.99\n")
    (problem,) = rejected(stale)
    assert "node gone did not report" in problem
    assert "idc1 has 10.244.9.0/24 at 192.168.1.99 for it" in problem
    assert "cloud1, cloud2, idc2 have nothing for it" in problem
    ledger = recover(SETTINGS, NODES, stale._replace(without=["idc1"]), NOW)
    assert "gone" not in ledger.nodes
    assert ledger.pending["10.244.9.0/24"]._asdict() == {
        "node": "gone",
        "since": NOW,
        "on": ["idc1"],
        "quarantined": False,
    }
    assert ledger.nodes["idc1"].node_cidr == found.records["idc1"].node_cidr
    assert parse(ledger.text(), "/ledger", "demo").text() == ledger.text()


def test_two_unreached_nodes_with_one_node_cidr_are_named():
    _lost, found = saved()
    one = found._replace(records={name: own for name, own in found.records.items() if name != "idc2"})
    problems = rejected(behind(one, "idc1", found.fleets["one"].replace("idc2 ", "idc9 ")))
    assert any("belongs to idc2 and to idc9" in problem for problem in problems)


def test_recovers_the_vip_of_the_api_servers():
    _lost, found = saved()
    assert recover(SETTINGS, NODES, changed(found, "idc1", api=""), NOW).vips == {"apiserver": "10.0.2.2"}
    (problem,) = rejected(changed(found, "idc1", api="10.0.2.9"))
    assert "10.0.2.2 for cloud2, 10.0.2.9 for idc1" in problem
    for name in found.records:
        outdated = changed(found, name, api="10.0.2.9")._replace(without=[name])
        assert recover(SETTINGS, NODES, outdated, NOW).vips == {"apiserver": "10.0.2.2"}, name
    assert "overlay_rebuild_without" in problem


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (SavedStates({}, {}), "no reachable host has a saved state"),
        (saved()[1]._replace(without=["idc9"]), "overlay_rebuild_without names idc9"),
        (saved()[1]._replace(without=[node.name for node in NODES]), "excludes every host"),
    ],
)
def test_rejects_a_selection_without_any_fleet(found, words):
    assert any(words in problem for problem in rejected(found))


def test_remedy_names_all_outdated_hosts():
    _lost, found = saved()
    fleet = found.fleets["one"]
    found = behind(found, "idc1", fleet.replace("cloud1 10.244.0.0/24", "cloud1 10.244.9.0/24"))
    found = changed(found, "idc2", view="third")
    found = found._replace(fleets={**found.fleets, "third": fleet.replace("10.0.1.11", "10.0.1.99")})
    (problem,) = rejected(found)
    assert problem.startswith(
        "node cloud1 has 10.244.0.0/24 at 10.0.1.11; idc1 has 10.244.9.0/24 at 10.0.1.11 for it; "
        "idc2 has 10.244.0.0/24 at 10.0.1.99 for it: "
    )
    assert problem.endswith("-e overlay_rebuild_without=idc1,idc2")


def test_rejects_all_excluded_and_duplicate_underlay_addresses():
    _lost, found = saved()
    everybody = found._replace(without=list(found.records))
    assert rejected(everybody) == ["overlay_rebuild_without excludes every host: keep at least one"]
    twice = changed(found, "idc2", underlay="192.168.1.11")
    assert "hosts idc1, idc2 all have the underlay address 192.168.1.11: reset all but one" in rejected(twice)


def test_pending_on_all_excluded_hosts_that_have_it():
    _lost, found = saved()
    gone = found.fleets["one"] + "gone 10.244.9.0/24 192.168.1.99\n"
    found = changed(behind(found, "idc1", gone), "idc2", view="third")
    later = found.fleets["one"] + "later 10.244.9.0/24 192.168.1.99\n"
    found = found._replace(fleets={**found.fleets, "third": later}, without=["idc2", "idc1"])
    waiting = recover(SETTINGS, NODES, found, NOW).pending
    assert {node_cidr: (each.node, each.on) for node_cidr, each in waiting.items()} == {
        "10.244.9.0/24": ("later", ["idc1", "idc2"])
    }


def test_recovered_ledger_has_the_reserved_ranges():
    _lost, found = saved()
    ledger = recover(SETTINGS._replace(reserved=["10.244.40.0/24"]), NODES, found, NOW)
    assert ledger.pool.reserved == {40: "the reserved range 10.244.40.0/24 (overlay_reserved)"}


def problems_of_call(work, *arguments, **options):
    with pytest.raises(ValidationError) as caught:
        work(*arguments, **options)
    return caught.value.problems


def saved_state(node, number, underlay, mtu=1400, cidrs=("10.244.0.0/16",)):
    return {
        "node": node,
        "cluster": "demo",
        "node_cidr": f"10.244.{number}.0/24",
        "underlay": underlay,
        "container_cidr": list(cidrs),
        "service_cidr": "10.244.255.0/24",
        "mtu": mtu,
        "api": "",
        "view": "v",
    }


def saved_states(rows, fleets):
    known = {
        name: HostRecord(**{key: row[key] for key in HostRecord._fields if key in row}) for name, row in rows.items()
    }
    return SavedStates(known, fleets)


@pytest.mark.parametrize(("underlay", "version"), [("10.0.1.1", 4), ("fd00::1", 6)])
def test_derives_underlay_mtu_of_hosts_outside_the_inventory(underlay, version):
    fleet = fleet_text([Peer("a", "10.244.0.0/24", underlay)])
    ledger = recover(SETTINGS, [], saved_states({"a": saved_state("a", 0, underlay)}, {"v": fleet}), NOW)
    assert ledger.nodes["a"].underlay_mtu == 1400 + OVERHEAD[version]


def test_rejects_a_fleet_without_any_saved_state():
    assert problems_of_call(recover, SETTINGS, [], SavedStates({}, {}), NOW) == [
        "no reachable host has a saved state of the overlay, so no ledger can be rebuilt: check the inventory"
    ]


def test_names_both_pools_of_a_host_with_another_pool():
    cidrs = ["10.1.0.0/16", "10.2.0.0/16"]
    settings = SETTINGS._replace(container_cidr=["10.244.0.0/16", "10.245.0.0/16"])
    fleet = fleet_text([Peer("a", "10.244.0.0/24", "10.0.1.1")])
    problems = problems_of_call(
        recover, settings, [], saved_states({"a": saved_state("a", 0, "10.0.1.1", cidrs=cidrs)}, {"v": fleet}), NOW
    )
    assert (
        "host a has the container CIDR 10.1.0.0/16, 10.2.0.0/16, and overlay_container_cidr is "
        "10.244.0.0/16, 10.245.0.0/16" in "\n".join(problems)
    )


def test_rebuilt_ledger_is_in_use():
    assert recover(SETTINGS, NODES, saved()[1], NOW).applied is True


def test_excluded_host_is_told_who_had_a_node_cidr_before():
    _ledger, found = saved()
    one = found.fleets["one"]
    records = {**found.records, "idc1": found.records["idc1"]._replace(view="old")}
    old = one.replace("idc2 10.244.2.0/24", "gone 10.244.2.0/24")
    assert old != one
    ledger = recover(SETTINGS, NODES, SavedStates(records, {"one": one, "old": old}, ["idc1"]), NOW)
    assert ledger.former == {"10.244.2.0/24": "gone"}
    assert ledger.pending == {}


# --- links ----------------------------------------------------------------------------------------


def keys(generation):
    return {
        node.name: base64.b64encode(f"{node.name} {generation}".encode().ljust(32, b"."))[:43].decode() + "="
        for node in NODES
    }


KEYS = keys(0)
LINKED = SETTINGS._replace(links=[{"sites": ["cloud", "idc"], "transport": "wireguard"}], wireguard_keys=KEYS)
BEHIND_NAT = (*NODES[:2], *(node._replace(wireguard_endpoint="none") for node in NODES[2:]))


@given(unreached=st.sets(st.sampled_from([node.name for node in NODES]), max_size=3))
def test_recovers_sites_endpoints_and_keys(unreached):
    lost, found = saved(BEHIND_NAT, LINKED)
    found = found._replace(records={name: own for name, own in found.records.items() if name not in unreached})
    ledger = recover(LINKED, BEHIND_NAT, found, NOW)
    assert ledger.nodes == lost.nodes
    assert plan(LINKED, BEHIND_NAT, ledger).document == plan(LINKED, BEHIND_NAT, lost).document


def test_recovers_the_port_that_the_hosts_have():
    """The inventory may have another one already, for the next keys."""
    lost, found = saved(BEHIND_NAT, LINKED)
    later = LINKED._replace(wireguard_port=51900)
    ledger = recover(later, BEHIND_NAT, found, NOW)
    assert ledger.nodes == lost.nodes
    assert plan(later, BEHIND_NAT, ledger).document == plan(later, BEHIND_NAT, lost).document
    moved = found.records["cloud1"]._replace(wireguard_generation=1, wireguard_port=51900)
    ledger = recover(LINKED, BEHIND_NAT, found._replace(records={**found.records, "cloud1": moved}), NOW)
    assert ledger.wireguard_port == 51900


def test_recovers_the_keys_of_the_newest_generation():
    """A host that missed the change of keys has the former ones."""
    _lost, found = saved(BEHIND_NAT, LINKED)
    former = rotated = found.fleets["one"]
    for name, key in keys(1).items():
        rotated = rotated.replace(KEYS[name], key)
    found = found._replace(
        records={
            name: own._replace(**({"view": "one"} if name == "idc2" else {"view": "new", "wireguard_generation": 1}))
            for name, own in found.records.items()
        },
        fleets={"one": former, "new": rotated},
    )
    ledger = recover(LINKED, BEHIND_NAT, found, NOW)
    assert ledger.wireguard_generation == 1
    assert {name: held.wireguard_key for name, held in ledger.nodes.items()} == keys(1)


def test_recovers_a_key_that_another_host_does_not_know():
    lost, found = saved(BEHIND_NAT, LINKED)
    lacking = found.fleets["one"].replace(KEYS["idc1"], "-")
    found = found._replace(
        records={name: own._replace(view="two" if name == "idc2" else "one") for name, own in found.records.items()},
        fleets={"one": lacking, "two": found.fleets["one"]},
    )
    assert recover(LINKED, BEHIND_NAT, found, NOW).nodes == lost.nodes

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which nodes can be released, and what happens to their node CIDRs."""

from __future__ import annotations

import types

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.file import FileStore
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import (
    assign,
    plan,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.release import ReleaseRequest, release
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

NOW = "2026-01-02T03:04:05Z"
SETTINGS = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)
FLEET = (
    *(InventoryNode(f"cloud{number}", ["cloud"], f"10.0.1.{10 + number}", 1500) for number in range(1, 6)),
    *(InventoryNode(f"idc{number}", ["idc"], f"192.168.1.{10 + number}", 1450) for number in range(1, 6)),
)
GROUPS = types.MappingProxyType(
    {
        "cloud": [node.name for node in FLEET[:5]],
        "idc": [node.name for node in FLEET[5:]],
        "clb": ["cloud1"],
        "apiserver": ["cloud2", "cloud3"],
    }
)


def text(nodes=FLEET):
    return assign(SETTINGS, nodes, None, "/ledger", NOW).text()


def released_from(names, nodes=FLEET, force=False, ledger=None, groups=GROUPS):
    return release(SETTINGS, nodes, ledger or text(), "/ledger", ReleaseRequest(names, groups, NOW, force))


def rejected(*arguments, **more):
    with pytest.raises(ValidationError) as caught:
        released_from(*arguments, **more)
    return caught.value.problems


def test_rejects_a_release_without_a_ledger():
    with pytest.raises(ValidationError) as caught:
        release(SETTINGS, FLEET, None, "/ledger", ReleaseRequest(["idc5"], GROUPS, NOW))
    (problem,) = caught.value.problems
    assert "there is no ledger at /ledger" in problem
    assert "overlay_ledger" in problem


def test_release_is_pending_on_remaining_nodes_and_adds_none():
    newcomer = InventoryNode("idc9", ["idc"], "192.168.1.19", 1450)
    ledger, released = released_from(["idc5"], [*FLEET, newcomer])
    assert released == {"idc5": "10.244.9.0/24"}
    assert ledger.pending["10.244.9.0/24"].on == sorted(node.name for node in FLEET if node.name != "idc5")
    assert "idc9" not in ledger.nodes
    assert "idc5 " not in plan(SETTINGS, FLEET[:-1], ledger).document["fleet"]


def test_releases_orphans_and_skips_released_nodes():
    ledger, released = released_from(["idc5"], FLEET[:-1])
    assert released == {"idc5": "10.244.9.0/24"}
    again, nothing = released_from(["idc5"], FLEET[:-1], ledger=ledger.text())
    assert nothing == {}
    assert again.text() == ledger.text()


def test_unknown_names_suggest_similar_ones():
    one, other = rejected(["idc55", "nobody", "idc5"])
    assert one.startswith("there is no node idc55 (overlay_release)")
    assert "did you mean idc5" in one
    assert "the ledger has cloud1, cloud2" in other


@pytest.mark.parametrize("names", [[], [""], ["idc5", ""]])
def test_rejects_empty_names(names):
    assert any("overlay_release" in problem for problem in rejected(names))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["cloud1"], "node cloud1 is in group clb"),
        (["cloud2", "cloud3"], "no API server would remain"),
        (["idc1", "idc2", "idc3"], "3 of 10 nodes are more than 20% of the fleet: idc1, idc2, idc3"),
        (GROUPS["idc"], "every host in group idc: that site would have no node"),
    ],
)
def test_dependencies_require_force(names, words):
    problems = rejected(names)
    assert any(words in problem and "-e overlay_release_force=true" in problem for problem in problems)
    _ledger, released = released_from(names, force=True)
    assert sorted(released) == sorted(names)


@pytest.mark.parametrize("names", [["cloud2"], ["idc1", "idc2"]])
def test_one_api_server_or_a_fifth_of_the_fleet_needs_no_force(names):
    assert sorted(released_from(names)[1]) == names


def test_one_node_of_a_small_fleet_needs_no_force():
    small = [FLEET[0], FLEET[1], FLEET[5], FLEET[6]]
    groups = {"cloud": ["cloud1", "cloud2"], "idc": ["idc1", "idc2"]}
    _ledger, released = released_from(["idc2"], small, ledger=text(small), groups=groups)
    assert list(released) == ["idc2"]


def test_all_nodes_cannot_be_released_even_with_force():
    (problem,) = rejected([node.name for node in FLEET], force=True)
    assert "run tke.overlay.reset" in problem


def test_rejected_release_does_not_change_the_ledger(tmp_path):
    store = FileStore(str(tmp_path / "ledger.json"))
    store.transact(lambda _none: text())
    request = ReleaseRequest(["cloud1", "idc1"], GROUPS, NOW)
    with pytest.raises(ValidationError, match="node cloud1 is in group clb"):
        store.transact(lambda present: release(SETTINGS, FLEET, present, store.where, request)[0].text())
    assert store.read() == text()
    assert store.previous() == []


def test_suggests_at_most_three_names():
    (problem,) = rejected(["cloud9"])
    assert problem.endswith("did you mean cloud5 or cloud4 or cloud3?")


def test_broken_ledger_is_named_by_its_path():
    (problem,) = rejected(["idc5"], ledger=text().replace("idc1", "idc7"))
    assert problem.startswith("the ledger /ledger cannot be trusted")


LATER = "2026-02-03T04:05:06Z"
SIX_NODES = [
    *(InventoryNode(f"cloud{number}", ["cloud"], f"10.0.1.{number}", 1500) for number in range(1, 4)),
    *(InventoryNode(f"idc{number}", ["idc"], f"192.168.1.{number}", 1450) for number in range(1, 4)),
]


def problems_of_call(work, *arguments, **options):
    with pytest.raises(ValidationError) as caught:
        work(*arguments, **options)
    return caught.value.problems


def leave(*names, nodes=SIX_NODES, groups=None, force=False, now=LATER, where="/ledger"):
    text = assign(SETTINGS, SIX_NODES, None, "/ledger", NOW).text()
    return release(SETTINGS, nodes, text, where, ReleaseRequest(names, groups or {}, now, force))


def test_rejects_missing_empty_and_unknown_names():
    assert problems_of_call(leave) == [
        (
            "overlay_release is empty: name the nodes to release with -e overlay_release=idc7, "
            "or a list: -e overlay_release=idc7,idc8"
        )
    ]
    assert problems_of_call(leave, "idc1", "") == [
        "overlay_release has an empty name: write a list without spaces, -e overlay_release=idc7,idc8"
    ]
    begin = "there is no node {} (overlay_release), neither in the ledger nor in the inventory: "
    assert problems_of_call(leave, "idc9", "zzz") == [
        begin.format("idc9") + "did you mean idc3 or idc2 or idc1?",
        begin.format("zzz") + "the ledger has cloud1, cloud2, cloud3, idc1, idc2, idc3",
    ]


def test_names_every_dependency_and_the_force_option():
    end = ": to release anyway, add -e overlay_release_force=true"
    groups = {"apiserver": ["idc2", "idc1"], "idc": ["idc1", "idc2", "idc3", "gone"], "clb": ["idc1"]}
    assert problems_of_call(leave, "idc2", "idc1", "idc3", groups=groups) == [
        f"node idc1 is in group clb: other nodes reach the API server through it{end}",
        f"idc1, idc2 is every host in group apiserver: no API server would remain{end}",
        f"idc1, idc2, idc3 is every host in group idc: that site would have no node{end}",
        f"3 of 6 nodes are more than 20% of the fleet: idc1, idc2, idc3{end}",
    ]


def test_two_of_six_nodes_need_force_and_one_does_not():
    assert len(problems_of_call(leave, "idc1", "idc2")) == 1
    assert leave("idc1")[1] == {"idc1": "10.244.3.0/24"}


def test_updates_remaining_nodes_without_checking_leaving_ones():
    nodes = [
        node._replace(underlay_ip="nowhere") if node.name == "idc1" else node._replace(underlay_mtu=1400)
        for node in SIX_NODES
    ]
    ledger, _released = leave("idc1", nodes=nodes)
    assert {held.underlay_mtu for held in ledger.nodes.values()} == {1400}
    assert ledger.pending["10.244.3.0/24"].since == LATER
    torn = SETTINGS, SIX_NODES, "torn", "/the/ledger", ReleaseRequest(["idc1"], {}, NOW)
    assert "/the/ledger" in problems_of_call(release, *torn)[0]


def test_node_that_limit_excludes_needs_force():
    request = ReleaseRequest(["idc1", "idc2"], {}, LATER, excluded=["idc2", "idc3"])
    ledger = assign(SETTINGS, FLEET, None, "/ledger", NOW).text()
    (problem,) = problems_of_call(release, SETTINGS, FLEET, ledger, "/ledger", request)
    for word in ("--limit excludes node idc2", "10.244.6.0/24", "-e overlay_release_force=true"):
        assert word in problem
    assert "idc1" not in problem
    forced = release(SETTINGS, FLEET, ledger, "/ledger", request._replace(force=True))[1]
    assert sorted(forced) == ["idc1", "idc2"]
    again = request._replace(names=["idc1", "idc7"], excluded=["idc7"])
    node = InventoryNode("idc7", ["idc"], "192.168.1.77", 1450)
    assert list(release(SETTINGS, [*FLEET, node], ledger, "/ledger", again)[1]) == ["idc1"], "idc7 has nothing"


def test_the_last_node_of_a_site_is_named_by_its_site():
    fleet = [node._replace(site="shanghai") if node.name == "idc2" else node for node in SIX_NODES]
    (text,) = problems_of_call(leave, "idc2", nodes=fleet)
    assert text.startswith("idc2 is every node of site shanghai (overlay_site): that site would have no node")
    assert "overlay_release_force" in text
    leave("idc2", nodes=fleet, force=True)


IDC2, IDC3 = FLEET[6], FLEET[7]
WITHOUT_IDC3 = [node for node in FLEET if node != IDC3]
LINKS = [{"sites": ["cloud", "idc"], "transport": "wireguard"}]


@pytest.mark.parametrize(
    ("settings", "nodes"),
    [
        (SETTINGS._replace(reserved=["10.244.7.0/24"]), FLEET),
        (SETTINGS, [*(n for n in WITHOUT_IDC3 if n != IDC2), IDC2._replace(underlay_ip=IDC3.underlay_ip)]),
        (SETTINGS._replace(links=LINKS), WITHOUT_IDC3),
        (SETTINGS, [node._replace(underlay_ip=f"2001:db8::{number}") for number, node in enumerate(WITHOUT_IDC3, 1)]),
    ],
    ids=["in a reserved range", "its address is another node's", "its site is unknown", "it has another IP version"],
)
def test_the_node_that_contradicts_the_inventory_can_be_released(settings, nodes):
    """The error of tke.overlay.site asks for that."""
    before = assign(SETTINGS, FLEET, None, "/ledger", NOW)
    before.acknowledge(["cloud1"])
    with pytest.raises(ValidationError, match="idc3"):
        assign(settings, nodes, before.text(), "/ledger", NOW)
    ledger, released = release(settings, nodes, before.text(), "/ledger", ReleaseRequest(["idc3"], GROUPS, NOW))
    assert released == {"idc3": "10.244.7.0/24"}
    staying = [node for node in nodes if node.name != "idc3"]
    after = assign(settings, staying, ledger.text(), "/ledger", NOW)
    assert after.nodes == ledger.nodes
    assert after.versions == ledger.versions, "a release is one change"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WireGuard keys of the ledger: recorded once, changed by a rotation of all nodes, never by one host alone."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._addressing import parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.keys import (
    CUTOVER,
    PREPARE,
    rotate,
    rotation_problems,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import assign, plan
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.release import ReleaseRequest, release
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

NOW = "2026-01-02T03:04:05Z"
NODES = [InventoryNode(f"n{number}", ["idc"], f"10.0.1.{number}", 1500) for number in range(1, 4)]
NODES.append(InventoryNode("plain", ["cloud"], "10.0.2.1", 1500))
NAMES = ("n1", "n2", "n3")


def keys(generation, names=NAMES):
    return {
        name: base64.b64encode(f"{name} {generation}".encode().ljust(32, b"."))[:43].decode() + "=" for name in names
    }


CLUSTER = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256, links=[{"sites": ["idc"], "transport": "wireguard"}])


def cluster(found):
    return CLUSTER._replace(wireguard_keys=found)


def ledger_with(found, nodes=NODES, text=None):
    ledger = assign(cluster(found), nodes, text, "/ledger", NOW)
    ledger.acknowledge([node.name for node in nodes])
    return ledger


def fleet_keys(ledger):
    document = plan(CLUSTER, NODES, ledger).document
    return document["wireguard_generation"], {
        name: peer.keys for name, peer in parse_fleet(document["fleet"]).items() if peer.keys
    }


def rejected(step, found, ledger, nodes=NODES):
    before = ledger.text()
    with pytest.raises(ValidationError) as caught:
        rotate(step, cluster(found), nodes, ledger)
    assert ledger.text() == before
    return " ".join(caught.value.problems)


@given(st.integers(1, 4))
def test_any_number_of_rotations_ends_with_the_last_keys(times):
    ledger = ledger_with(keys(0))
    for generation in range(1, times + 1):
        rotate(PREPARE, cluster(keys(generation)), NODES, ledger)
        present, following = keys(generation - 1), keys(generation)
        assert fleet_keys(ledger) == (generation - 1, {name: f"{present[name]},{following[name]}" for name in NAMES})
        ledger = parse(ledger.text(), "/ledger", "demo")
        rotate(CUTOVER, cluster({}), NODES, ledger)
        assert fleet_keys(ledger) == (generation, following)
    assert parse(ledger.text(), "/ledger", "demo").wireguard_generation == times


@given(st.lists(st.sampled_from([51820, 51900, 40000]), min_size=1, max_size=4))
def test_a_port_changes_only_with_the_keys(ports):
    ledger, present = ledger_with(keys(0)), CLUSTER.wireguard_port
    for generation, port in enumerate(ports, 1):
        settings = CLUSTER._replace(wireguard_port=port)
        ledger = assign(settings, NODES, ledger.text(), "/ledger", NOW)
        made = plan(settings, NODES, ledger)
        assert ports_of(made.document) == (present, None)
        assert {peer.endpoint for peer in parse_fleet(made.document["fleet"]).values() if peer.endpoint} == {
            f"10.0.1.{number}:{present}" for number in range(1, 4)
        }
        wanted = f"overlay_wireguard_port {port} is for the next WireGuard keys: the nodes use port {present} until"
        assert len([warning for warning in made.warnings if warning.startswith(wanted)]) == (port != present)
        rotate(PREPARE, settings._replace(wireguard_port=1024, wireguard_keys=keys(generation)), NODES, ledger)
        ledger = assign(settings, NODES, ledger.text(), "/ledger", NOW)  # begun again: the other port was taken
        assert ports_of(plan(settings, NODES, ledger).document) == (present, port if port != present else None)
        rotate(CUTOVER, settings, NODES, ledger)
        present = port
        assert ports_of(plan(settings, NODES, ledger).document) == (present, None)


def test_a_port_is_not_in_use_before_a_host_has_applied_a_plan():
    """A host on which another program has the port must not stop the first run for good."""
    ledger = assign(cluster(keys(0)), NODES, None, "/ledger", NOW)
    settings = cluster(keys(0))._replace(wireguard_port=51900)
    ledger = assign(settings, NODES, ledger.text(), "/ledger", NOW)
    assert ports_of(plan(settings, NODES, ledger).document) == (51900, None)


def test_a_release_of_the_last_next_key_forgets_its_port():
    settings = CLUSTER._replace(wireguard_port=51900)
    ledger = ledger_with(keys(0))
    rotate(PREPARE, settings._replace(wireguard_keys=keys(1)), NODES, ledger)
    ledger.forget_keys(["n1", "n2"])
    groups = {"overlay_nodes": [node.name for node in NODES]}
    request = ReleaseRequest(["n3"], groups, NOW, force=True)
    ledger, _released = release(settings, NODES, ledger.text(), "/ledger", request)
    assert ledger.wireguard_next_port is None


def ports_of(document):
    return document["wireguard_port"], document.get("wireguard_next_port")


def test_a_plan_in_the_middle_of_a_rotation_keeps_both_keys():
    ledger = ledger_with(keys(0))
    rotate(PREPARE, cluster(keys(1)), NODES, ledger)
    assert ledger_with(keys(0), NODES, ledger.text()).text() == ledger.text()
    rotate(PREPARE, cluster(keys(1)), NODES, ledger)  # begun again
    assert ledger.nodes["n1"].wireguard_next_key == keys(1)["n1"]


def test_a_rotation_needs_the_next_key_of_all_nodes():
    ledger = ledger_with(keys(0))
    assert "no next WireGuard key of n3" in rejected(PREPARE, keys(1, NAMES[:2]), ledger)
    assert "no next WireGuard key of n2" in rejected(PREPARE, {**keys(1), "n2": "-"}, ledger)
    assert "no next WireGuard key of n1, n2, n3" in rejected(CUTOVER, {}, ledger)


def test_a_rotation_needs_nodes_that_the_ledger_has_met():
    assert "no WireGuard key of n3: run tke.overlay.site" in rejected(PREPARE, keys(1), ledger_with(keys(0, NAMES[:2])))


def test_a_rotation_needs_nodes_of_the_inventory():
    assert "n1 is in the ledger but not in the inventory" in rejected(PREPARE, keys(1), ledger_with(keys(0)), NODES[1:])


def test_another_next_key_is_refused():
    ledger = ledger_with(keys(0))
    rotate(PREPARE, cluster(keys(1)), NODES, ledger)
    text = rejected(PREPARE, {**keys(1), "n2": keys(2)["n2"]}, ledger)
    assert "n2 has another next WireGuard key" in text


def test_a_cluster_without_wireguard_has_no_keys_to_change():
    plain = CLUSTER._replace(links=[])
    ledger = assign(plain, NODES, None, "/ledger", NOW)
    with pytest.raises(ValidationError, match="no link has the transport wireguard"):
        rotate(PREPARE, plain, NODES, ledger)


def test_copies_of_a_host_are_named():
    with pytest.raises(ValidationError) as caught:
        assign(cluster({**keys(0), "n2": keys(0)["n1"]}), NODES, None, "/ledger", NOW)
    (text,) = caught.value.problems
    assert "nodes n1, n2 have the same WireGuard key" in text
    assert "wireguard-*.key" in text


@pytest.mark.parametrize("found", ["", "x" * 44, "short", "A" * 43 + "=\n"])
def test_what_is_no_key_is_not_recorded(found):
    with pytest.raises(ValidationError) as caught:
        assign(cluster({"n1": found}), NODES, None, "/ledger", NOW)
    (text,) = caught.value.problems
    assert "node n1 returned" in text
    assert "not a public key" in text


def test_problems_before_a_rotation_are_reported_at_once():
    result = {"wireguard": {"recorded": "n1 n2"}}
    assert rotation_problems(["n1", "n2"], result, ["n1", "n2"], ["n1", "n2"]) == []
    assert rotation_problems([], {}, ["n1"], ["n1"]) != []
    found = rotation_problems(["n1", "n2", "n3", "gone"], result, ["n1", "n2", "n3"], ["n1", "n3"])
    assert [[name for name in ("n1", "n2", "n3", "gone") if name in text] for text in found] == [
        ["gone"],
        ["n3", "gone"],
        ["n2"],
    ]
    assert "--limit" in found[2]

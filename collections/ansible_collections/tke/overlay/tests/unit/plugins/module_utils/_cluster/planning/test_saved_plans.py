# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger is compared with what hosts have applied; a lost or outdated one is named, with nodes and node CIDRs."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import assign, plan
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.saved_plans import (
    MOST_HOSTS,
    MOST_NODES,
    ContradictedLedgerError,
    SavedPlans,
    accept_older,
    agrees,
    check,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import newest

NOW = "2026-01-02T03:04:05Z"
SETTINGS = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)
NODES = [InventoryNode(name, ["idc"], f"10.0.1.{number}", 1500) for number, name in enumerate("abcd", 1)]


def planned(nodes=NODES, text=None):
    """Return a ledger as the next run reads it, and its document."""
    ledger = parse(assign(SETTINGS, nodes, text, "/ledger", NOW).text(), "/ledger", "demo")
    return ledger, plan(SETTINGS, nodes, ledger).document


def applied(document, *names):
    """Return what these hosts have saved after they applied a plan."""
    return {
        peer.name: {
            "node": peer.name,
            "cluster": document["cluster"],
            "node_cidr": peer.node_cidr,
            "underlay": peer.underlay,
            "fleet": document["fleet"],
            "ledger_version": newest(document["ledger_versions"]),
        }
        for peer in parse_fleet(document["fleet"]).values()
        if not names or peer.name in names
    }


def problems(ledger, found, is_new=False):
    with pytest.raises(ValidationError) as caught:
        check(ledger, found, "/ledger", is_new=is_new)
    assert isinstance(caught.value, ContradictedLedgerError) == (not agrees(ledger, found))
    return caught.value.problems


LEDGER, DOCUMENT = planned()
LOST, _other = planned([*reversed(NODES)])


def test_the_same_and_a_later_ledger_are_accepted():
    found = SavedPlans(applied(DOCUMENT))
    check(LEDGER, found, "/ledger", is_new=False)
    later, _document = planned([*NODES, InventoryNode("e", ["idc"], "10.0.1.9", 1500)], LEDGER.text())
    check(later, found, "/ledger", is_new=False)
    assert agrees(later, found)


@pytest.mark.parametrize("is_new", [True, False])
def test_a_lost_ledger_names_every_node_and_the_ways_out(is_new):
    reason, *nodes, version, way_out = problems(LOST, SavedPlans(applied(DOCUMENT)), is_new)
    assert version.startswith("ledger version 1-")
    assert nodes == [
        f"node {name} has 10.244.{number}.0/24, and the plan gives it 10.244.{3 - number}.0/24 (known by a, b, c, d)"
        for number, name in enumerate("abcd")
    ]
    assert ("there is no ledger at /ledger" in reason) == is_new
    assert ("the ledger /ledger contradicts the hosts" in reason) == (not is_new)
    assert ("move it aside" in reason) == (not is_new)
    assert "tke.overlay.rebuild_ledger" in reason
    assert "-e overlay_renumber=a,b,c,d" in way_out


def test_one_host_knows_the_whole_fleet():
    assert len(problems(LOST, SavedPlans(applied(DOCUMENT, "c")))) == 7


def test_an_outdated_copy_lacks_a_node():
    older, _document = planned(NODES[:3])
    found = problems(older, SavedPlans(applied(DOCUMENT, "a")))
    assert found[1] == "node d has 10.244.3.0/24, and it is not in the ledger (known by a)"


def test_a_release_explains_what_a_host_has_missed():
    ledger = parse(LEDGER.text(), "/ledger", "demo")
    ledger.release(["d"], ["a"], NOW)
    check(ledger, SavedPlans(applied(DOCUMENT)), "/ledger", is_new=False)
    again, _document = planned(NODES, ledger.text())
    assert again.nodes["d"].node_cidr == "10.244.4.0/24"
    check(again, SavedPlans(applied(DOCUMENT)), "/ledger", is_new=False)


def test_accepted_hosts_are_not_compared():
    found = SavedPlans(applied(DOCUMENT, "a", "b"))
    assert "(known by b)" in problems(LOST, found._replace(renumber=["a"]))[1]
    check(LOST, found._replace(renumber=["a", "b"]), "/ledger", is_new=True)
    check(LOST, found._replace(renumber=["all"]), "/ledger", is_new=True)


def test_hosts_of_another_cluster_are_named_with_both_clusters():
    found = SavedPlans(applied({**DOCUMENT, "cluster": "lab"}, "a", "b"), pairs={"x": "lab", "y": "demo"})
    nodes, pair = problems(LEDGER, found)
    for word in ("'lab'", "'demo'", "a, b are nodes", "-e overlay_take_over=lab", "tke.overlay.reset"):
        assert word in nodes
    for word in ("'lab'", "x carry", "tke.overlay.clb_release"):
        assert word in pair
    check(LEDGER, found._replace(take_over=["lab"]), "/ledger", is_new=False)
    assert agrees(LEDGER, found), "their node CIDRs are those of the other cluster"


def test_strangers_and_contradictions_are_reported_together():
    records = {**applied(DOCUMENT, "a"), **applied({**DOCUMENT, "cluster": "lab"}, "b")}
    assert "of cluster 'lab', b are nodes" in problems(LOST, SavedPlans(records))[-1]


def test_an_edited_fleet_leaves_the_host_itself():
    record = {**applied(DOCUMENT, "a")["a"], "fleet": "edited\n"}
    assert [line for line in problems(LOST, SavedPlans({"a": record})) if line.startswith("node ")] == [
        "node a has 10.244.0.0/24, and the plan gives it 10.244.3.0/24 (known by a)"
    ]


def test_many_nodes_and_hosts_are_counted():
    nodes = [InventoryNode(f"n{number:02}", ["idc"], f"10.0.1.{number}", 1500) for number in range(1, MOST_NODES + 3)]
    _ledger, document = planned(nodes)
    lost, _document = planned([*reversed(nodes)])
    found = problems(lost, SavedPlans(applied(document)))
    assert len(found) == MOST_NODES + 4
    assert found[1].endswith(f"(known by n01, n02, n03, n04, n05 and {len(nodes) - MOST_HOSTS} more)")
    assert found[-3] == "and 2 more nodes"
    assert "-e overlay_renumber=all" in found[-1]


# --- versions -------------------------------------------------------------------------------------


def released(*names):
    """Return the ledger and the document after a release, as the next run reads and plans it."""
    ledger = parse(LEDGER.text(), "/ledger", "demo")
    ledger.release(names, [], NOW)
    ledger = parse(ledger.text(), "/ledger", "demo")
    return ledger, plan(SETTINGS, [node for node in NODES if node.name not in names], ledger).document


def test_a_ledger_that_has_forgotten_a_release_is_older():
    """It contradicts no host, and would give a node that is added again its former node CIDR."""
    _later, document = released("d")
    older = parse(LEDGER.text(), "/ledger", "demo")
    reason, line, way_out = problems(older, SavedPlans(applied(document, "a", "b", "c")))
    assert "the ledger /ledger is older than what hosts have applied" in reason
    for word in ("snapshot", "No host was changed", "tke.overlay.rebuild_ledger", "move it aside"):
        assert word in reason
    versions = newest(document["ledger_versions"]), newest(DOCUMENT["ledger_versions"])
    assert [each.partition("-")[0] for each in versions] == ["2", "1"]
    assert line == f"ledger version {versions[0]} was applied by a, b, c, and the ledger has {versions[1]}"
    assert f"-e overlay_older_ledger={versions[1]}" in way_out


def test_a_ledger_of_another_branch_is_named():
    one, document = released("d")
    other, _document = released("c")
    assert newest(one.recorded).partition("-")[0] == newest(other.recorded).partition("-")[0]
    found = SavedPlans(applied(document))
    check(one, found, "/ledger", is_new=False)
    assert "of another branch" in problems(other, found)[0]


def test_contradictions_and_versions_are_reported_together():
    later, document = planned([*NODES, InventoryNode("e", ["idc"], "10.0.1.9", 1500)], LEDGER.text())
    older = parse(LEDGER.text(), "/ledger", "demo")
    _reason, node, version, _way_out = problems(older, SavedPlans(applied(document, "a")))
    assert node == "node e has 10.244.4.0/24, and it is not in the ledger (known by a)"
    assert version.startswith(f"ledger version {newest(later.versions)} was applied by a")


def test_a_new_ledger_is_older_than_every_host():
    """Also if it gives every node the node CIDR that it has."""
    new = assign(SETTINGS, NODES, None, "/ledger", NOW)
    reason, line, way_out = problems(new, SavedPlans(applied(DOCUMENT, "a")), is_new=True)
    assert "there is no ledger at /ledger" in reason
    assert line.endswith("was applied by a, and the ledger has none")
    assert "-e overlay_older_ledger=none" in way_out


def test_hosts_of_an_earlier_release_have_no_version():
    new, _document = planned()
    records = {host: {**record, "ledger_version": ""} for host, record in applied(DOCUMENT).items()}
    check(new, SavedPlans(records), "/ledger", is_new=True)
    for record in records.values():
        del record["ledger_version"]
    check(new, SavedPlans(records), "/ledger", is_new=True)


def test_an_accepted_older_ledger_continues_after_the_hosts():
    _later, document = released("d")
    older = parse(LEDGER.text(), "/ledger", "demo")
    found = SavedPlans(applied(document, "a"), older_ledger=newest(older.recorded))
    check(older, found, "/ledger", is_new=False)
    accept_older(older, found)
    again = parse(older.text(), "/ledger", "demo")
    assert newest(again.recorded).startswith("3-")
    check(again, found._replace(older_ledger=""), "/ledger", is_new=False)
    accept_older(again, found)
    assert again.text() == older.text(), "a second run accepts nothing more"


def test_another_version_than_the_accepted_one_is_rejected():
    _later, document = released("d")
    older = parse(LEDGER.text(), "/ledger", "demo")
    found = SavedPlans(applied(document, "a"), older_ledger="7-00000000")
    assert len(problems(older, found)) == 3
    accept_older(older, found)
    assert older.text() == LEDGER.text()


def test_acknowledgements_are_no_new_version():
    """They follow after the hosts have the plan: otherwise, the next run would change every host."""
    ledger, _document = released("d")
    ledger.release(["c"], ["a"], NOW)
    before = ledger.versions
    ledger.acknowledge(["a"])
    assert ledger.pending != {} or ledger.former != {}
    assert ledger.versions == before

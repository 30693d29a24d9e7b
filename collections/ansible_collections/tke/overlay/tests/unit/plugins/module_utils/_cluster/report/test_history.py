# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes between two versions of a ledger, and their order."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import (
    Assignment,
    Ledger,
    Pending,
    Request,
    parse,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.history import history
from ansible_collections.tke.overlay.tests.unit.plugins.module_utils._cluster.report.examples import (
    NOW,
    THEN,
    ledger_of,
)

LATER = "2026-07-03T04:05:06Z"


def event(when, what, node, text, version):
    return {"when": when, "what": what, "node": node, "text": text, "version": version}


def test_every_kind_of_change():
    older, newer = ledger_of("a", "b", "c", "d", "e"), ledger_of("a", "b", "c", "d")
    older.pending = {
        "10.244.9.0/24": Pending("x", THEN, ["a"], True),
        "10.244.8.0/24": Pending("y", THEN, ["a"], True),
        "10.244.10.0/24": Pending("w", THEN, [], True),
    }
    newer.pending = {
        "10.244.4.0/24": Pending("e", NOW, ["a"], True),
        "10.244.9.0/24": Pending("x", THEN, [], True),
    }
    older.vips, newer.vips = {"apiserver": "10.0.2.2", "same": "10.0.2.9"}, {"services": "10.0.2.3", "same": "10.0.2.9"}
    newer.pool = Pool(["10.244.0.0/20", "10.9.0.0/24", "10.8.0.0/24"], 256, 256)
    newer.nodes["a"] = newer.nodes["a"]._replace(underlay="10.0.0.99")
    newer.nodes["b"] = newer.nodes["b"]._replace(underlay_mtu=None)
    newer.nodes["c"] = newer.nodes["c"]._replace(pinned=True)
    newer.nodes["d"] = newer.nodes["d"]._replace(since=NOW)
    newer.nodes["f"] = Assignment("10.244.12.0/24", None, None, NOW, True)
    events = history(newer, "now", [("v1", older)], 13)
    assert events == [
        event(NOW, "joined", "f", "node CIDR 10.244.12.0/24, pinned", "now"),
        event(NOW, "released", "e", "node CIDR 10.244.4.0/24", "now"),
        event(NOW, "joined", "d", "node CIDR 10.244.3.0/24", "now"),
        event(None, "removed", "y", "all hosts have removed node CIDR 10.244.8.0/24", "now"),
        event(None, "removed", "x", "all hosts have removed node CIDR 10.244.9.0/24", "now"),
        event(None, "released", "d", "node CIDR 10.244.3.0/24", "now"),
        event(None, "pinned", "c", "node CIDR 10.244.2.0/24", "now"),
        event(None, "moved", "b", "underlay MTU 1500 → unknown", "now"),
        event(None, "moved", "a", "underlay address 10.0.0.1 → 10.0.0.99", "now"),
        event(None, "grew", None, "container CIDR extended by 10.9.0.0/24, 10.8.0.0/24", "now"),
        event(None, "vip", None, "VIP apiserver: 10.0.2.2 → none", "now"),
        event(None, "vip", None, "VIP services: none → 10.0.2.3", "now"),
        event(THEN, "released", "y", "node CIDR 10.244.8.0/24", None),
    ]


def test_changes_of_a_node_and_of_pending_node_cidrs():
    older = Ledger("demo", Pool(["10.0.0.0/16"], 256, 256))
    older.assign([Request("a", underlay="10.0.1.1", underlay_mtu=1500), Request("b"), Request("c")], NOW)
    older.release(["c"], ["a"], NOW)
    newer = parse(older.text(), "/ledger", None)
    newer.assign([Request("a", node_cidr="10.0.0.0/24", underlay="10.0.1.9", underlay_mtu=1450)], LATER)
    newer.acknowledge(["a"])
    changes = [(event["what"], event["node"], event["text"]) for event in history(newer, "1", [("0", older)], 4)]
    assert changes == [
        ("removed", "c", "all hosts have removed node CIDR 10.0.2.0/24"),
        ("moved", "a", "underlay address 10.0.1.1 \u2192 10.0.1.9"),
        ("moved", "a", "underlay MTU 1500 \u2192 1450"),
        ("pinned", "a", "node CIDR 10.0.0.0/24"),
    ]


def test_the_oldest_version_yields_changes_by_its_dates():
    ledger = ledger_of("a", pending={"10.244.9.0/24": Pending("x", NOW, [], True)})
    assert history(ledger, "now", [], 5) == [
        event(NOW, "released", "x", "node CIDR 10.244.9.0/24", None),
        event(THEN, "joined", "a", "node CIDR 10.244.0.0/24", None),
    ]


def test_a_missing_address_or_mtu_is_unknown():
    older, newer = ledger_of("a"), ledger_of("a")
    older.nodes["a"] = older.nodes["a"]._replace(underlay=None, underlay_mtu=None)
    texts = [each["text"] for each in history(newer, "now", [("v1", older)], 2)]
    assert sorted(texts) == ["underlay MTU unknown → 1500", "underlay address unknown → 10.0.0.1"]
    texts = [each["text"] for each in history(older, "now", [("v1", newer)], 2)]
    assert sorted(texts) == ["underlay MTU 1500 → unknown", "underlay address 10.0.0.1 → unknown"]


def test_newest_change_first_and_at_most_so_many():
    first = ledger_of("cloud1", "idc1")
    second = parse(first.text(), "", None)
    second.nodes["idc1"] = second.nodes["idc1"]._replace(underlay="10.0.0.99")
    third = parse(second.text(), "", None)
    third.release(["idc1"], ["cloud1"], "2026-03-03T00:00:00Z")
    third.assign([Request("cloud1"), Request("idc3")], "2026-04-04T00:00:00Z")
    events = history(third, "current", [("v2", second), ("v1", first)], 10)
    assert [(event["what"], event["node"], event["version"]) for event in events] == [
        ("joined", "idc3", "current"),
        ("released", "idc1", "current"),
        ("moved", "idc1", "v2"),
        ("joined", "idc1", None),
        ("joined", "cloud1", None),
    ]
    assert [event["when"] for event in events[:3]] == ["2026-04-04T00:00:00Z", "2026-03-03T00:00:00Z", None]
    assert history(third, "current", [("v2", second), ("v1", first)], 2) == events[:2]


def test_a_longer_pool_and_a_vip_are_changes_of_the_cluster():
    before = ledger_of("cloud1")
    after = parse(before.text(), "", None)
    after.pool = Pool(["10.244.0.0/20", "10.250.0.0/20"], 256, 256)
    after.vips = {"apiserver": "10.0.2.2"}
    texts = [event["text"] for event in history(after, "current", [("v1", before)], 2)]
    assert sorted(texts) == ["VIP apiserver: none → 10.0.2.2", "container CIDR extended by 10.250.0.0/20"]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as data: nodes, sites and verdict, and the digest that names its content."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Pending
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import (
    LedgerVersions,
    ReportOptions,
    build,
    data_text,
    is_report,
    summary,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import forecast
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import ProbedHost
from ansible_collections.tke.overlay.tests.unit.plugins.module_utils._cluster.report.examples import (
    NOW,
    OLD_PLAN,
    SITES,
    THEN,
    VIPS,
    healthy,
    host,
    kinds,
    ledger_of,
    load_balancer,
    report_of,
)

THREE = ("cloud1", "cloud2", "idc1")
POD_FAULT = {"check": "bridge", "text": "tke-br0 is down", "remedy": "set it up"}
TWO = ledger_of("cloud1", "idc1")


MEASURED = "2 of 2 nodes observed; 2 of 2 probes answered."
NOT_MEASURED = "reachability not measured."

# The state, before a colon; then what was observed, the text and the detail of the verdict.
VERDICTS = {
    "healthy": (healthy("cloud1", "idc1"), "The network is healthy.", MEASURED),
    "warn": (
        [host("cloud1", {"idc1": 1}, plan=OLD_PLAN), host("idc1", {"cloud1": 1})],
        "The network is healthy, but 1 finding needs attention.",
        MEASURED,
    ),
    "warn: two findings": (
        [host("cloud1", {"idc1": 1}, plan=OLD_PLAN, drift=["a"]), host("idc1", {"cloud1": 1})],
        "The network is healthy, but 2 findings need attention.",
        MEASURED,
    ),
    "partial: one node not selected": (
        [host("cloud1", {"idc1": 1}), ProbedHost("idc1", "idc")],
        "The observed part of the network is healthy.",
        "1 of 2 nodes observed; 1 of 1 probe answered.",
    ),
    "partial: no node probed": (
        [host("cloud1", plan=OLD_PLAN), host("idc1")],
        "The observed part of the network is healthy, but 1 finding needs attention.",
        f"2 of 2 nodes observed; {NOT_MEASURED}",
    ),
    "unobserved": (
        [ProbedHost("cloud1", "cloud"), ProbedHost("idc1", "idc")],
        "No node was observed: the report shows only the ledger and the inventory.",
        f"0 of 2 nodes observed; {NOT_MEASURED}",
    ),
    "bad": (
        [host("cloud1", None, ["idc1"]), host("idc1", {"cloud1": 1})],
        "The network is not healthy: 1 problem to fix.",
        "2 of 2 nodes observed; 1 of 2 probes answered.",
    ),
    "bad: two problems": (
        [host("cloud1", None, ["idc1"]), host("idc1", node=None)],
        "The network is not healthy: 2 problems to fix.",
        "2 of 2 nodes observed; 0 of 1 probe answered.",
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_follows_from_findings_and_coverage(case):
    hosts, text, detail = VERDICTS[case]
    state = case.partition(":")[0]
    assert report_of(TWO, hosts)["verdict"] == {"state": state, "text": text, "detail": detail}


def test_a_healthy_network_has_no_findings():
    report = report_of(ledger_of("cloud1", "idc1"), healthy("cloud1", "idc1"))
    assert report["findings"] == []
    assert report["verdict"]["state"] == "healthy"
    assert {node["state"] for node in report["nodes"]} == {"ok"}


def test_a_dead_host_is_one_finding():
    hosts = [
        host("cloud1", {"cloud2": 0.1}, ["idc1"]),
        host("cloud2", {"cloud1": 0.1}, ["idc1"]),
        ProbedHost("idc1", "idc", selected=True, unreachable=True),
    ]
    report = report_of(ledger_of("cloud1", "cloud2", "idc1"), hosts)
    assert kinds(report) == ["unreachable"]
    assert "no node gets an answer" in report["findings"][0]["text"]
    assert report["verdict"]["state"] == "bad"
    assert [node["state"] for node in report["nodes"]] == ["ok", "ok", "unreachable"]


@pytest.mark.parametrize(
    ("observed", "wanted", "state"),
    [
        (host("idc1", {"cloud1": 1}, drift=["route: missing 10.244.3.0/24"]), "drift", "differs"),
        (host("idc1", {"cloud1": 1}, plan=OLD_PLAN), "plan", "differs"),
        (host("idc1", {"cloud1": 1}, node=None), "unconfigured", "unconfigured"),
        (host("idc1", {"cloud1": 1})._replace(overlay=None, failures=["no nft"]), "failed", "failed"),
    ],
)
def test_a_problem_of_one_host_is_a_finding_and_its_state(observed, wanted, state):
    report = report_of(ledger_of("cloud1", "idc1"), [host("cloud1", {"idc1": 1}), observed])
    assert kinds(report) == [wanted]
    assert report["findings"][0]["hosts"] == ["idc1"]
    assert report["nodes"][1]["state"] == state


def test_orphans_come_after_the_nodes_of_the_inventory():
    report = report_of(ledger_of("cloud1", "idc9"), [host("cloud1"), ProbedHost("idc1", "idc", selected=True)])
    assert kinds(report) == ["orphan", "missing"]
    assert [(node["name"], node["state"]) for node in report["nodes"]] == [
        ("cloud1", "ok"),
        ("idc1", "missing"),
        ("idc9", "orphan"),
    ]


def test_a_warning_comes_before_a_note():
    ledger = ledger_of(*(f"cloud{n}" for n in range(14)))
    ledger.pending[ledger.pool.node_cidr(14)] = Pending("idc7", NOW, ["cloud3"], True)
    report = report_of(ledger, healthy(*ledger.nodes))
    assert kinds(report) == ["pool", "pending"]
    assert report["findings"][1]["hosts"] == ["cloud3"]


def test_the_ledger_alone_is_enough_for_a_report():
    report = report_of(ledger_of("cloud1", "idc1"), [ProbedHost("cloud1", "cloud"), ProbedHost("idc1", "idc")])
    assert report["verdict"]["state"] == "unobserved"
    assert report["pool"]["capacity"]["used"] == 2
    assert report["reach"]["sites"] == []


def test_a_limited_run_is_partial():
    hosts = [host("cloud1", {"idc1": 1}), ProbedHost("idc1", "idc")]
    report = report_of(ledger_of("cloud1", "idc1"), hosts, limit="cloud1")
    assert report["verdict"]["state"] == "partial"
    assert kinds(report) == ["limit"]
    assert "limited to cloud1" in report["findings"][0]["text"]
    assert report["observed"]["limit"] == "cloud1"


def test_without_a_plan_the_rest_is_reported():
    report = report_of(ledger_of("cloud1"), [host("cloud1")], problem="the VPC overlaps")
    assert kinds(report) == ["conflict"]
    assert "the VPC overlaps" in report["findings"][0]["text"]


def test_reserved_ranges_are_on_the_map():
    report = report_of(ledger_of("cloud1"), [host("cloud1")], reserved=["10.244.8.0/23"])
    assert report["pool"]["counts"]["reserved"] == 2
    assert report["pool"]["capacity"]["max_nodes"] == 13
    report = report_of(ledger_of("cloud1"), [host("cloud1")], reserved=["10.9.0.0/24"])
    assert kinds(report) == ["reserved"]


def test_a_node_in_a_reserved_range_is_a_node_on_the_map():
    pool = report_of(ledger_of("a", "b"), [host("a"), host("b")], reserved=["10.244.1.0/24", "10.244.4.0/24"])["pool"]
    assert (pool["counts"]["used"], pool["counts"]["reserved"], pool["capacity"]["max_nodes"]) == (2, 1, 14)


def test_a_node_with_all_its_values():
    ledger = ledger_of("idc1")
    ledger.nodes["idc1"] = Assignment("10.244.3.0/24", "192.168.1.11", 9000, THEN, True)
    overlay = {
        "plan": {"applied": "p1", "wanted": "p2", "current": False},
        "drift": ["link: mtu is 1400, not 1450"],
        "counters": {"rx_packets": 7, "tx_dropped": 0, "rules": {"unrouted": 3}, "note": "no number"},
        "timer": "stopped",
        "mtu": 8950,
    }
    (node,) = report_of(ledger, [host("idc1", {"cloud9": 2}, **overlay)])["nodes"]
    assert node == {
        "name": "idc1",
        "site": "idc",
        "state": "differs",
        "observed": True,
        "node_cidr": "10.244.3.0/24",
        "number": 3,
        "underlay": "192.168.1.11",
        "underlay_mtu": 9000,
        "since": THEN,
        "pinned": True,
        "mtu": 8950,
        "plan": "p1",
        "current": False,
        "drift": ["link: mtu is 1400, not 1450"],
        "failures": [],
        "findings": ["drift", "plan"],
        "counters": {"rx_packets": 7, "tx_dropped": 0, "rule_unrouted": 3},
        "timer": "stopped",
        "has_pods": None,
        "reach": {"asked": 1, "answered": 1, "median_ms": None, "worst_ms": None},
    }


def test_a_node_without_any_values():
    report = report_of(ledger_of("idc9"), [ProbedHost("idc1", "idc", selected=True, failures=["no nft"])])
    missing, orphan = report["nodes"]
    nothing = {
        **dict.fromkeys(["node_cidr", "number", "underlay", "underlay_mtu", "since"]),
        **dict.fromkeys(["mtu", "plan", "current", "counters", "timer", "has_pods", "reach"]),
    }
    assert missing == {
        **nothing,
        "name": "idc1",
        "site": "idc",
        "state": "missing",
        "observed": False,
        "pinned": False,
        "drift": [],
        "failures": ["no nft"],
        "findings": ["failed", "missing"],
    }
    assert (orphan["name"], orphan["site"], orphan["state"], orphan["node_cidr"]) == (
        "idc9",
        "",
        "orphan",
        "10.244.0.0/24",
    )
    assert (orphan["number"], orphan["findings"], orphan["observed"]) == (0, ["orphan"], False)


@pytest.mark.parametrize("has_pods", [True, False, None])
def test_a_node_shows_whether_it_has_pods(has_pods):
    report = report_of(ledger_of("idc1"), [ProbedHost("idc1", "idc", selected=True, overlay={"has_pods": has_pods})])
    assert report["nodes"][0]["has_pods"] is has_pods


def test_a_plan_is_current_only_where_one_was_given():
    unknown = {"applied": "p1", "wanted": None, "current": True}
    first, second = report_of(TWO, [host("cloud1", {"idc1": 1}, plan=unknown), host("idc1", {"cloud1": 1})])["nodes"]
    assert (first["plan"], first["current"]) == ("p1", None)
    assert (second["plan"], second["current"]) == ("a", True)


@pytest.mark.parametrize(
    ("observed", "state"),
    [
        (host("idc1", {"cloud1": 1}), "ok"),
        (host("idc1", {"cloud1": 1}, drift=["a"]), "differs"),
        (host("idc1", {"cloud1": 1}, plan=OLD_PLAN), "differs"),
        (ProbedHost("idc1", "idc"), "unobserved"),
        (host("idc1", None, ["cloud1"], drift=["a"]), "loss"),
        (host("idc1", {"cloud1": 1}, drift=["a"], pods=[{**POD_FAULT, "severity": "bad"}]), "pods"),
        (host("idc1", {"cloud1": 1}, pods=[{**POD_FAULT, "severity": "note"}]), "ok"),
        (host("idc1", node=None, drift=["a"]), "unconfigured"),
        (ProbedHost("idc1", "idc", selected=True, failures=["a"]), "failed"),
        (ProbedHost("idc1", "idc", selected=True, unreachable=True, failures=["a"]), "unreachable"),
    ],
)
def test_the_state_of_a_node_is_its_most_severe_one(observed, state):
    hosts = [host("cloud1", {"idc1": 1}), observed]
    assert report_of(TWO, hosts)["nodes"][1]["state"] == state


def test_sites_outside_the_given_order_come_last():
    hosts = [
        host("idc1", {"idc2": 3.0, "cloud1": 9}),
        host("idc2", {"idc1": 5.0}, plan=OLD_PLAN),
        host("cloud1"),
        ProbedHost("cloud2", "cloud"),
        host("edge1"),
    ]
    ledger = ledger_of("idc1", "idc2", "cloud1", "cloud2", "edge1", "old")
    assert report_of(ledger, hosts, sites=("idc", "cloud", "none"))["sites"] == [
        {"name": "idc", "nodes": 2, "reached": 2, "findings": 1, "median_ms": 4.0},
        {"name": "cloud", "nodes": 2, "reached": 1, "findings": 0, "median_ms": None},
        {"name": "edge", "nodes": 1, "reached": 1, "findings": 0, "median_ms": None},
    ]


def test_the_report_records_what_the_run_observed():
    hosts = [host("cloud1", {"idc1": 1}), host("cloud2"), ProbedHost("idc1", "idc", selected=True, unreachable=True)]
    given = {"inventory": ["/srv/hosts.yml"], "limit": "cloud,idc1", "title": None}
    report = report_of(ledger_of(*THREE, "idc2"), [*hosts, ProbedHost("idc2", "idc"), load_balancer("clb1")], **given)
    assert report["observed"] == {
        "at": NOW,
        "inventory": ["/srv/hosts.yml"],
        "limit": "cloud,idc1",
        "ledger": "/srv/ledger.json",
        "nodes": 4,
        "selected": 3,
        "reached": 2,
        "probed": 1,
    }
    assert (report["title"], report["cluster"], report["schema"]) == ("Overlay of demo", "demo", 1)
    assert report_of(TWO, [], title="Production")["title"] == "Production"


def test_an_orphan_is_not_counted_in_any_site():
    hosts = [host("a")._replace(site=""), host("b")._replace(site="")]
    (site,) = report_of(ledger_of("a", "b", "old"), hosts)["sites"]
    assert (site["name"], site["nodes"]) == ("", 2)
    assert report_of(ledger_of("cloud1", "old"), [host("cloud1")])["sites"][0]["name"] == "cloud"
    assert len(report_of(ledger_of("cloud1", "old"), [host("cloud1")])["sites"]) == 1


def test_forecast_and_history_are_part_of_the_report():
    older = ledger_of("a")
    versions = LedgerVersions(ledger_of("a", "b"), "/srv/ledger.json", [("v1", older)])
    report = build(versions, [host("a"), host("b")], ReportOptions(NOW, sites=SITES, events=1))
    assert report["forecast"] == forecast(versions.ledger, [older], NOW)
    assert report["history"] == [
        {"when": THEN, "what": "joined", "node": "b", "text": "node CIDR 10.244.1.0/24", "version": "/srv/ledger.json"}
    ]


def test_pending_node_cidrs_are_in_their_order():
    ledger = ledger_of(
        "cloud1",
        pending={
            "10.244.9.0/24": Pending("far", THEN, [], True),
            "10.244.7.0/24": Pending("gone", NOW, ["cloud1"], False),
        },
    )
    assert report_of(ledger, [host("cloud1")])["pending"] == [
        {
            "node_cidr": "10.244.7.0/24",
            "number": 7,
            "node": "gone",
            "since": NOW,
            "on": ["cloud1"],
            "quarantined": False,
        },
        {"node_cidr": "10.244.9.0/24", "number": 9, "node": "far", "since": THEN, "on": [], "quarantined": True},
    ]


def test_vips_are_in_the_order_of_their_addresses():
    ledger = ledger_of("cloud1", vips={"apiserver": "10.0.2.30", "services": "10.0.2.4"})
    hosts = [host("cloud1"), load_balancer("clb1", "10.0.2.30"), load_balancer("clb2", "10.0.2.4")]
    assert report_of(ledger, hosts)["vips"] == [
        {"name": "services", "address": "10.0.2.4", "holders": ["clb2"], "observed": True},
        {"name": "apiserver", "address": "10.0.2.30", "holders": ["clb1"], "observed": True},
    ]
    alone = report_of(ledger, [host("cloud1"), load_balancer("clb1", overlay=None)])["vips"]
    assert [(vip["holders"], vip["observed"]) for vip in alone] == [([], False), ([], False)]


def test_the_summary_has_one_line_for_each_entry():
    ledger = ledger_of("cloud1", "idc1", vips=VIPS)
    hosts = [host("cloud1", {"idc1": 1}, plan=OLD_PLAN), host("idc1", {"cloud1": 1}), load_balancer("clb1", "10.0.2.2")]
    assert summary(report_of(ledger, [*hosts, load_balancer("clb2", "10.0.2.2"), ProbedHost("new")])).splitlines() == [
        "The network is not healthy: 2 problems to fix.",
        "2 of 3 nodes observed; 2 of 2 probes answered.",
        "node CIDRs: 2 of 15 used, 13 free",
        "bad: VIP apiserver 10.0.2.2 is on clb1 and clb2 at the same time.",
        "bad: VIP services 10.0.2.3 is on no host of the pair.",
        "warn: cloud1 has not applied the current plan.",
        "warn: new has no node CIDR yet.",
        "note: new was not observed: the run did not include it.",
        "VIP apiserver 10.0.2.2: clb1, clb2",
        "VIP services 10.0.2.3: none",
        "node cloud1 10.244.0.0/24 cloud differs",
        "node idc1 10.244.1.0/24 idc ok",
        "node new - - missing",
    ]


def digest_changes(change):
    """Whether this change of the ledger and the hosts changes the digest."""
    ledger, hosts = ledger_of("cloud1", "idc1"), healthy("cloud1", "idc1")
    before = report_of(ledger, hosts)["digest"]
    assert len(before) == 12
    change(ledger, hosts)
    return report_of(ledger, hosts)["digest"] != before


def test_content_changes_the_digest_and_times_do_not():
    def underlay(ledger, _hosts):
        ledger.nodes["idc1"] = ledger.nodes["idc1"]._replace(underlay="10.9.9.9")

    def asked(_ledger, hosts):
        hosts[0] = host("cloud1", {"idc1": 0.5})._replace(probe={**hosts[0].probe, "asked": 7, "answered": 7})

    def another_pair(_ledger, hosts):
        hosts[0] = hosts[0]._replace(probe={**hosts[0].probe, "rtt_ms": {}})

    def slower(_ledger, hosts):
        hosts[0] = host("cloud1", {"idc1": 70.0})

    def slowest(_ledger, hosts):
        hosts[:] = [hosts[0], host("idc1", {"cloud1": 90.0})]

    assert [digest_changes(change) for change in (underlay, asked, another_pair)] == [True, True, True]
    assert [digest_changes(change) for change in (slower, slowest)] == [False, False]


def test_measurements_of_sites_do_not_change_the_digest():
    names = ("cloud1", "cloud2", "cloud3")
    one = [host(name, {other: 1.0 for other in names if other != name}) for name in names]
    two = [host("cloud1", {"cloud2": 9.0, "cloud3": 8.0}), host("cloud2", {"cloud1": 7.0, "cloud3": 6.0}), one[2]]
    assert report_of(ledger_of(*names), one)["digest"] == report_of(ledger_of(*names), two)["digest"]


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"at": "2027-01-01T00:00:00Z"}, True),
        ({"limit": "cloud1"}, False),
        ({"title": "Another"}, False),
    ],
)
def test_the_time_of_the_run_does_not_change_the_digest(change, same):
    one = report_of(ledger_of("cloud1", "idc1"), healthy("cloud1", "idc1"))
    other = report_of(ledger_of("cloud1", "idc1"), healthy("cloud1", "idc1"), **change)
    assert (one["digest"] == other["digest"]) is same


def test_links_are_part_of_the_report_encrypted_ones_first():
    links = [
        {"sites": ["cloud", "cloud"], "nodes": [1, 1], "transport": "direct", "mtu": 1500},
        {"sites": ["cloud", "idc"], "nodes": [1, 1], "transport": "wireguard", "mtu": 1376},
    ]
    plain = report_of(ledger_of("cloud1", "idc1"), healthy("cloud1", "idc1"))
    linked = report_of(ledger_of("cloud1", "idc1"), healthy("cloud1", "idc1"), links=links)
    assert plain["links"] == []
    assert [(each["transport"], each["encrypted"]) for each in linked["links"]] == [
        ("wireguard", True),
        ("direct", False),
    ]
    assert linked["digest"] != plain["digest"]
    assert "link cloud - idc wireguard 1376\n" in summary(linked)
    former = json.loads(data_text(plain))
    del former["links"]
    assert is_report(former), "of a former version"
    assert summary(former) == summary(plain)


def test_a_lost_answer_changes_the_digest_and_counters_do_not():
    one = report_of(ledger_of("cloud1", "idc1"), healthy("cloud1", "idc1"))
    slower = [
        host(name, {other: 7.5}, counters={"rx_packets": 5, "rules": {"not_a_peer": 2}}, timer="active, 3 s ago")
        for name, other in (("cloud1", "idc1"), ("idc1", "cloud1"))
    ]
    other = report_of(ledger_of("cloud1", "idc1"), slower)
    assert other["nodes"][0]["counters"] == {"rx_packets": 5, "rule_not_a_peer": 2}
    assert other["digest"] == one["digest"]
    assert summary(other) == summary(one)
    lost = report_of(ledger_of("cloud1", "idc1"), [host("cloud1", {}, ["idc1"]), host("idc1", {"cloud1": 1})])
    assert lost["digest"] != one["digest"]


def test_the_document_is_json_and_is_recognized():
    report = report_of(ledger_of("cloud1", "idc1"), healthy("cloud1", "idc1"))
    assert json.loads(data_text(report)) == report
    assert is_report(json.loads(data_text(report)))
    assert not is_report({"schema": 1})
    assert not is_report({**report, "schema": 2})
    assert not is_report([])


@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.lists(st.text(max_size=9), max_size=3))
def test_any_text_of_a_host_is_data(name, site, drift):
    host = ProbedHost(name, site, selected=True, overlay={"node": name, "drift": drift})
    ledger = ledger_of(name)
    assert json.loads(data_text(report_of(ledger, [host])))["nodes"][0]["drift"] == drift

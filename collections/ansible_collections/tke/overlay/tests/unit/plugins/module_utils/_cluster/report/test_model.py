# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture as data: the map covers everything once, numbers add up, each fault is named once and with a remedy."""

from __future__ import annotations

import copy
import datetime
import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import (
    Assignment,
    Ledger,
    Pending,
    Request,
    parse,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.history import history
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import (
    PlanRecord,
    ReportOptions,
    build,
    data_text,
    is_report,
    summary,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import forecast, pool_map
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import MATRIX_LIMIT, ProbedHost

NOW = "2026-06-30T12:00:00Z"
SITES = ("cloud", "idc")
PLAN = {"applied": "a", "wanted": "a", "current": True}


def ledger_of(*names, cidr="10.244.0.0/20", since=NOW):
    ledger = Ledger("demo", Pool([cidr], 256, 256))
    for number, name in enumerate(names):
        ledger.nodes[name] = Assignment(ledger.pool.node_cidr(number), f"10.0.0.{number + 1}", 1500, since, False)
    ledger.cursor = len(names) % ledger.pool.size
    return ledger


def seen(name, rtt=(), findings=(), **overlay):
    """A host that was looked at, that asked the peers of ``rtt``, and those of ``findings`` (peer, kind) in vain."""
    asked = {*dict(rtt), *(peer for peer, _kind in findings)}
    silent = {peer for peer, kind in findings if kind == "silent"}
    return ProbedHost(
        name,
        "idc" if name.startswith("idc") else "cloud",
        asked=True,
        overlay={"node": name, "plan": PLAN, "drift": [], "vips": [], "mtu": 1400, "port": 8472, **overlay},
        probe={
            "asked": len(asked),
            "answered": len(asked - silent),
            "rtt_ms": dict(rtt),
            "findings": [{"peer": peer, "address": "", "kind": kind, "text": kind} for peer, kind in findings],
        },
    )


def fleet(*names):
    """Hosts that all reach each other."""
    return [seen(name, {other: 0.5 for other in names if other != name}) for name in names]


def drawn(ledger, hosts, **look):
    return build(PlanRecord(ledger, "/ledger"), hosts, ReportOptions(**{"at": NOW, "sites": SITES, **look}))


def kinds(picture):
    return [finding["kind"] for finding in picture["findings"]]


# --- the map ---


@st.composite
def ledgers(draw_):
    """Any state of a pool of one or two CIDRs: nodes, released node CIDRs, reserved ranges, a cursor somewhere."""
    pods, services = draw_(st.sampled_from([16, 64, 256])), draw_(st.sampled_from([32, 128, 512]))
    cidrs = ["10.1.0.0/22", "10.9.0.0/23"][: draw_(st.integers(1, 2))]
    reserved = draw_(st.lists(st.sampled_from(["10.1.0.0/26", "10.1.1.0/24", "10.1.0.64/28"]), max_size=2, unique=True))
    pool = Pool(cidrs, pods, services, reserved)
    ledger = Ledger("any", pool, cursor=draw_(st.integers(0, pool.size - 1)))
    fates = draw_(st.lists(st.sampled_from(["node", "pending", "quarantined", ""]), max_size=pool.size))
    for number, fate in enumerate(fates):
        node_cidr = pool.node_cidr(number)
        if fate == "node" and number not in pool.reserved:
            ledger.nodes[f"n{number}"] = Assignment(node_cidr, None, None, NOW, False)
        elif fate in ("pending", "quarantined"):
            ledger.pending[node_cidr] = Pending("gone", NOW, ["n0"] if fate == "pending" else [], fate == "quarantined")
    return ledger


@given(ledgers(), st.sets(st.integers(0, 63)))
def test_the_map_covers_the_container_cidr_exactly_once_and_adds_up_to_the_capacity(ledger, orphans):
    names = {f"n{number}" for number in orphans} & ledger.nodes.keys()
    picture = pool_map(ledger, names)
    for block in picture["blocks"]:
        network = ipaddress.IPv4Network(block["cidr"])
        at = int(network.network_address)
        for run in block["runs"]:
            assert int(ipaddress.IPv4Address(run["first"])) == at
            assert run["addresses"] > 0
            assert run["node_cidrs"] in (0, run["addresses"] // picture["node_cidr_size"])
            at += run["addresses"]
        assert at == int(network.broadcast_address) + 1
        assert sum(run["node_cidrs"] for run in block["runs"]) == block["node_cidrs"]
    in_runs = dict.fromkeys(picture["counts"], 0)
    for run in (run for block in picture["blocks"] for run in block["runs"] if run["node_cidrs"]):
        in_runs[run["state"]] += run["node_cidrs"]
    counts, capacity = picture["counts"], ledger.capacity()
    assert counts == in_runs
    assert counts["used"] + counts["orphan"] == capacity["used"]
    assert counts["free"] + counts["quarantined"] == capacity["free"]
    assert sum(counts.values()) - counts["reserved"] == capacity["max_nodes"]
    assert counts["orphan"] == len(names)
    service = [run for block in picture["blocks"] for run in block["runs"] if run["state"] == "service"]
    assert [run["addresses"] for run in service] == [ledger.pool.services]
    assert service[0]["first"] == ledger.pool.service_cidr.partition("/")[0]


@given(ledgers())
def test_the_next_node_cidr_of_the_map_is_the_one_that_the_ledger_hands_out(ledger):
    foretold = pool_map(ledger, ())["cursor"]["next"]
    allocator = ledger._allocator()
    if foretold is None:
        assert ledger.capacity()["free"] == 0
    else:
        assert ledger.pool.node_cidr(allocator.allocate_next()) == foretold


# --- how long it lasts ---


def days_ago(days):
    return (datetime.datetime(2026, 6, 30) - datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def grown(*ages, cidr="10.244.0.0/20"):
    ledger = ledger_of(*(f"n{number}" for number in range(len(ages))), cidr=cidr)
    for name, age in zip(ledger.nodes, ages, strict=True):
        ledger.nodes[name] = ledger.nodes[name]._replace(since=days_ago(age))
    return ledger


@pytest.mark.parametrize(
    ("ages", "words"),
    [
        ([], "there are no nodes yet"),
        ([3, 2, 1], "the record is 3 days old"),
        ([40, 10, 5], "2 nodes came and stayed"),
        (["?"] * 15, "no node CIDR is free"),
    ],
)
def test_without_a_basis_there_is_no_estimate_but_the_reason(ages, words):
    ledger = grown(*(1 if age == "?" else age for age in ages))
    made = forecast(ledger, [], NOW)
    assert made["exhausted_on"] is None
    assert made["per_day"] is None
    assert words in made["basis"]


def test_the_estimate_is_a_straight_line_through_the_nodes_that_came_after_the_first_day():
    made = forecast(grown(30, 30, 30, 20, 10, 5), [], NOW)  # 3 in 30 days; 9 of 15 are free
    assert made["per_day"] == pytest.approx(0.1)
    assert (made["days_left"], made["exhausted_on"]) == (90, "2026-09-28")


def test_only_the_last_days_count_for_a_trend():
    made = forecast(grown(400, 390, 380, 370, 30, 20, 10), [], NOW)
    assert made["per_day"] == pytest.approx(3 / 90)


def test_what_previous_versions_show_as_released_counts_against_the_growth():
    now = grown(60, 20, 15, 10, 5)
    before = copy.deepcopy(now)
    before.nodes["old"] = Assignment(now.pool.node_cidr(9), None, None, days_ago(80), False)
    before.nodes["young"] = Assignment(now.pool.node_cidr(8), None, None, days_ago(15), False)
    assert forecast(now, [], NOW)["per_day"] == pytest.approx(4 / 60)
    assert forecast(now, [before, before], NOW)["per_day"] == pytest.approx(3 / 60), "one old node, counted once"


def test_no_growth_has_no_end():
    made = forecast(grown(60, 60), [], NOW)
    assert (made["days_left"], made["text"]) == (None, "No end in sight: no growth.")


def test_a_time_that_is_none_does_not_stop_a_forecast():
    ledger = ledger_of("a", since="yesterday")
    assert forecast(ledger, [], NOW)["days_left"] is None


# --- findings ---


def test_a_whole_network_has_nothing_to_say():
    picture = drawn(ledger_of("cloud1", "idc1"), fleet("cloud1", "idc1"))
    assert picture["findings"] == []
    assert picture["verdict"]["state"] == "whole"
    assert {node["state"] for node in picture["nodes"]} == {"ok"}


def test_a_dead_host_is_one_finding_whoever_tells_of_it():
    hosts = [
        seen("cloud1", {"cloud2": 0.1}, [("idc1", "silent")]),
        seen("cloud2", {"cloud1": 0.1}, [("idc1", "silent")]),
        ProbedHost("idc1", "idc", asked=True, unreachable=True),
    ]
    picture = drawn(ledger_of("cloud1", "cloud2", "idc1"), hosts)
    assert kinds(picture) == ["unreachable"]
    assert "no node gets an answer" in picture["findings"][0]["text"]
    assert picture["verdict"]["state"] == "bad"
    assert [node["state"] for node in picture["nodes"]] == ["ok", "ok", "unreachable"]


def test_a_host_that_only_some_reach_is_told_pair_by_pair_though_ansible_does_not_reach_it():
    hosts = [
        seen("cloud1", {"cloud2": 0.1}, [("idc1", "silent")]),
        seen("cloud2", {"cloud1": 0.1, "idc1": 0.4}),
        ProbedHost("idc1", "idc", asked=True, unreachable=True),
    ]
    picture = drawn(ledger_of("cloud1", "cloud2", "idc1"), hosts)
    assert kinds(picture) == ["unreachable", "silent"]
    assert "no node gets an answer" not in picture["findings"][0]["text"]
    assert picture["findings"][1]["text"] == "Silent: cloud1 -> idc1."


PAIRS = [
    ([("idc1", "silent")], "silent", "Silent: idc1 with cloud1, cloud2: 2 of 4 pairs."),
    ([("idc1", "mtu")], "mtu", "MTU black hole: cloud1 -> idc1: 1400 bytes are lost, "),
    ([("idc1", "tcp")], "tcp", "TCP does not pass: cloud1 -> idc1, "),
    ([("idc1", "silent"), ("cloud2", "silent")], "silent", "Silent: cloud1 with cloud2, idc1: 2 of 4 pairs."),
]


@pytest.mark.parametrize(("found", "wanted", "words"), PAIRS)
def test_what_a_probe_finds_is_told_with_a_remedy(found, wanted, words):
    others = {"cloud2": 0.1, "idc1": 0.2}
    lost = {peer for peer, kind in found if kind == "silent"}
    hosts = [
        seen("cloud1", {peer: ms for peer, ms in others.items() if peer not in lost}, found),
        seen("cloud2", {"cloud1": 0.1}, [("idc1", "silent")] if found == PAIRS[0][0] else []),
        seen("idc1", {"cloud1": 0.1, "cloud2": 0.2}),
    ]
    picture = drawn(ledger_of("cloud1", "cloud2", "idc1"), hosts)
    assert kinds(picture) == [wanted]
    assert picture["findings"][0]["text"].startswith(words)
    assert picture["findings"][0]["remedy"]
    concerned = picture["findings"][0]["hosts"]
    assert [node["name"] for node in picture["nodes"] if node["state"] == "loss"] == concerned


def test_the_largest_packet_that_passes_is_told():
    host = seen("cloud1", {"idc1": 0.1})
    host.probe["findings"].append({"peer": "idc1", "kind": "mtu", "largest": 1350})
    picture = drawn(ledger_of("cloud1", "idc1"), [host, seen("idc1", {"cloud1": 0.1})])
    assert "1350 bytes is the largest that passes" in picture["findings"][0]["text"]
    assert picture["findings"][0]["remedy"].startswith("Set overlay_underlay_mtu to 1400 of cloud1 or idc1 and run ")


@pytest.mark.parametrize(
    ("host", "wanted", "state"),
    [
        (seen("idc1", {"cloud1": 1}, drift=["route: missing 10.244.3.0/24"]), "drift", "differs"),
        (seen("idc1", {"cloud1": 1}, plan={"applied": "a", "wanted": "b", "current": False}), "plan", "differs"),
        (seen("idc1", {"cloud1": 1}, node=None), "bare", "bare"),
        (seen("idc1", {"cloud1": 1})._replace(overlay=None, failures=["no nft"]), "failed", "failed"),
    ],
)
def test_what_is_otherwise_on_a_host_is_told(host, wanted, state):
    picture = drawn(ledger_of("cloud1", "idc1"), [seen("cloud1", {"idc1": 1}), host])
    assert kinds(picture) == [wanted]
    assert picture["findings"][0]["hosts"] == ["idc1"]
    assert picture["nodes"][1]["state"] == state


def test_a_plan_that_nobody_gave_is_not_called_old():
    overlay = {"plan": {"applied": "a", "wanted": None, "current": None}}
    hosts = [seen("cloud1", {"idc1": 1}, **overlay), seen("idc1", {"cloud1": 1}, **overlay)]
    picture = drawn(ledger_of("cloud1", "idc1"), hosts)
    assert picture["findings"] == []


def test_where_ledger_and_inventory_differ_both_sides_are_named():
    picture = drawn(ledger_of("cloud1", "idc9"), [seen("cloud1"), ProbedHost("idc1", "idc", asked=True)])
    assert kinds(picture) == ["orphan", "missing"]
    assert [(node["name"], node["state"]) for node in picture["nodes"]] == [
        ("cloud1", "ok"),
        ("idc1", "missing"),
        ("idc9", "orphan"),
    ]


def test_a_node_that_has_no_node_cidr_yet_is_not_called_silent():
    hosts = [seen("cloud1", {}, [("idc1", "silent")]), ProbedHost("idc1", "idc", asked=True)]
    assert kinds(drawn(ledger_of("cloud1"), hosts)) == ["missing"]


def test_node_cidrs_that_wait_and_a_pool_that_is_nearly_full_are_told():
    ledger = ledger_of(*(f"cloud{n}" for n in range(14)))
    ledger.pending[ledger.pool.node_cidr(14)] = Pending("idc7", NOW, ["cloud3"], True)
    picture = drawn(ledger, fleet(*ledger.nodes))
    assert kinds(picture) == ["pool", "pending"]
    assert picture["findings"][1]["hosts"] == ["cloud3"]


def clb(name, *vips):
    return ProbedHost(name, node=False, asked=True, overlay={"vips": list(vips)})


@pytest.mark.parametrize(
    ("pair", "wanted", "holders"),
    [
        ([clb("clb1", "10.0.2.2"), clb("clb2")], [], ["clb1"]),
        ([clb("clb1", "10.0.2.2"), clb("clb2", "10.0.2.2")], ["vip"], ["clb1", "clb2"]),
        ([clb("clb1"), clb("clb2")], ["vip"], []),
        ([ProbedHost("clb1", node=False), ProbedHost("clb2", node=False)], [], []),
    ],
)
def test_a_vip_is_held_by_one(pair, wanted, holders):
    ledger = ledger_of("cloud1", "idc1")
    ledger.vips = {"apiserver": "10.0.2.2"}
    picture = drawn(ledger, [*fleet("cloud1", "idc1"), *pair])
    assert kinds(picture) == wanted
    assert picture["vips"][0]["holders"] == holders


# --- how much was seen ---


def test_the_ledger_alone_is_a_picture():
    picture = drawn(ledger_of("cloud1", "idc1"), [ProbedHost("cloud1", "cloud"), ProbedHost("idc1", "idc")])
    assert picture["verdict"]["state"] == "unseen"
    assert picture["pool"]["capacity"]["used"] == 2
    assert picture["reach"]["sites"] == []


def test_a_limited_run_says_so_and_does_not_claim_that_all_is_whole():
    hosts = [seen("cloud1", {"idc1": 1}), ProbedHost("idc1", "idc")]
    picture = drawn(ledger_of("cloud1", "idc1"), hosts, limit="cloud1")
    assert picture["verdict"]["state"] == "partial"
    assert kinds(picture) == ["limit"]
    assert "limited to cloud1" in picture["findings"][0]["text"]
    assert picture["looked"]["limit"] == "cloud1"


def test_no_plan_is_told_and_the_rest_is_drawn():
    picture = drawn(ledger_of("cloud1"), [seen("cloud1")], problem="the VPC overlaps")
    assert kinds(picture) == ["conflict"]
    assert "the VPC overlaps" in picture["findings"][0]["text"]


def test_reserved_ranges_are_on_the_map_and_one_that_does_not_fit_is_told():
    picture = drawn(ledger_of("cloud1"), [seen("cloud1")], reserved=["10.244.8.0/23"])
    assert picture["pool"]["counts"]["reserved"] == 2
    assert picture["pool"]["capacity"]["max_nodes"] == 13
    picture = drawn(ledger_of("cloud1"), [seen("cloud1")], reserved=["10.9.0.0/24"])
    assert kinds(picture) == ["reserved"]


def test_reach_is_by_sites_and_by_nodes_only_where_they_are_few():
    names = [f"{site}{number}" for site in SITES for number in range(2)]
    picture = drawn(ledger_of(*names), fleet(*names))
    assert [(cell["source"], cell["target"], cell["pairs"]) for cell in picture["reach"]["sites"]] == [
        ("cloud", "cloud", 2),
        ("cloud", "idc", 4),
        ("idc", "cloud", 4),
        ("idc", "idc", 2),
    ]
    assert picture["reach"]["matrix"]["cloud0"]["idc1"]["ms"] == 0.5
    many = [f"cloud{number}" for number in range(MATRIX_LIMIT + 1)]
    assert drawn(ledger_of(*many, cidr="10.244.0.0/16"), [seen(name) for name in many])["reach"]["matrix"] is None


def test_a_pair_that_is_slow_is_found():
    hosts = [seen("cloud1", {"idc1": 80.0, "idc2": 2.0}), seen("idc1", {"cloud1": 1.0}), seen("idc2", {"cloud1": 3.0})]
    (cell,) = [
        cell
        for cell in drawn(ledger_of("cloud1", "idc1", "idc2"), hosts)["reach"]["sites"]
        if (cell["source"], cell["target"]) == ("cloud", "idc")
    ]
    assert (cell["median_ms"], cell["worst_ms"], cell["worst"]) == (41.0, 80.0, ["cloud1", "idc1"])


# --- history ---


def test_what_versions_show_comes_newest_first_then_what_dates_tell():
    first = ledger_of("cloud1", "idc1", since="2026-01-01T00:00:00Z")
    second = parse(first.text(), "", None)
    second.nodes["idc1"] = second.nodes["idc1"]._replace(underlay="10.0.0.99")
    third = parse(second.text(), "", None)
    third.release(["idc1"], ["cloud1"], "2026-03-03T00:00:00Z")
    third.assign([Request("cloud1"), Request("idc3")], "2026-04-04T00:00:00Z")
    events = history(third, "present", [("v2", second), ("v1", first)], 10)
    assert [(event["what"], event["node"], event["version"]) for event in events] == [
        ("joined", "idc3", "present"),
        ("released", "idc1", "present"),
        ("moved", "idc1", "v2"),
        ("joined", "idc1", None),
        ("joined", "cloud1", None),
    ]
    assert [event["when"] for event in events[:3]] == ["2026-04-04T00:00:00Z", "2026-03-03T00:00:00Z", None]
    assert history(third, "present", [("v2", second), ("v1", first)], 2) == events[:2]


def test_a_pool_that_grew_and_a_vip_are_changes_of_the_cluster():
    before = ledger_of("cloud1")
    after = parse(before.text(), "", None)
    after.pool = Pool(["10.244.0.0/20", "10.250.0.0/20"], 256, 256)
    after.vips = {"apiserver": "10.0.2.2"}
    texts = [event["text"] for event in history(after, "present", [("v1", before)], 2)]
    assert sorted(texts) == ["VIP apiserver: none → 10.0.2.2", "container CIDR 10.250.0.0/20 was appended"]


# --- the document ---


def test_the_document_is_plain_data_and_known_again():
    picture = drawn(ledger_of("cloud1", "idc1"), fleet("cloud1", "idc1"))
    assert json.loads(data_text(picture)) == picture
    assert is_report(json.loads(data_text(picture)))
    assert not is_report({"schema": 1})
    assert not is_report({**picture, "schema": 2})
    assert not is_report([])


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"at": "2027-01-01T00:00:00Z"}, True),
        ({"limit": "cloud1"}, False),
        ({"title": "Another"}, False),
    ],
)
def test_a_picture_is_named_by_what_it_shows_not_by_when(change, same):
    one = drawn(ledger_of("cloud1", "idc1"), fleet("cloud1", "idc1"))
    other = drawn(ledger_of("cloud1", "idc1"), fleet("cloud1", "idc1"), **change)
    assert (one["picture"] == other["picture"]) is same


def test_measurements_and_counters_make_no_other_picture_but_a_lost_answer_does():
    one = drawn(ledger_of("cloud1", "idc1"), fleet("cloud1", "idc1"))
    slower = [
        seen(name, {other: 7.5}, counters={"rx_packets": 5, "rules": {"not_a_peer": 2}}, timer="active, 3 s ago")
        for name, other in (("cloud1", "idc1"), ("idc1", "cloud1"))
    ]
    other = drawn(ledger_of("cloud1", "idc1"), slower)
    assert other["nodes"][0]["counters"] == {"rx_packets": 5, "rule_not_a_peer": 2}
    assert other["picture"] == one["picture"]
    assert summary(other) == summary(one)
    lost = drawn(ledger_of("cloud1", "idc1"), [seen("cloud1", {}, [("idc1", "silent")]), seen("idc1", {"cloud1": 1})])
    assert lost["picture"] != one["picture"]


@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.lists(st.text(max_size=9), max_size=3))
def test_any_text_of_a_host_is_drawn_as_data(name, site, drift):
    host = ProbedHost(name, site, asked=True, overlay={"node": name, "drift": drift})
    ledger = ledger_of(name)
    assert json.loads(data_text(drawn(ledger, [host])))["nodes"][0]["drift"] == drift

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The texts in the tables of the page."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.formats import NOTHING
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.tables import (
    event_rows,
    link_rows,
    matrix,
    node_row,
    pending_rows,
    site_rows,
    vip_rows,
)

NODE = {
    "name": "idc1",
    "site": "idc",
    "state": "ok",
    "node_cidr": "10.244.3.0/24",
    "number": 3,
    "underlay": "192.168.1.11",
    "since": "2026-01-02T03:04:05Z",
    "pinned": False,
    "drift": [],
    "findings": [],
    "counters": None,
    "has_pods": True,
    "reach": {"asked": 3, "answered": 2, "median_ms": 0.5, "worst_ms": 12.3},
}


def test_a_node_has_all_its_texts():
    row = node_row(NODE)
    assert row[:2] == (3, "idc1")
    assert (row.state, row.classes, row.notes, row.site, row.underlay) == ("✓ ok", "", "", "idc", "192.168.1.11")
    assert (row.answers, row.median, row.worst, row.since) == ("2/3", "0.50", "12", "2026-01-02")


def test_a_node_without_values_has_dashes():
    unknown = {**NODE, **dict.fromkeys(["site", "node_cidr", "number", "underlay", "since", "reach"])}
    row = node_row(unknown)
    assert {row.site, row.node_cidr, row.underlay, row.answers, row.median, row.worst, row.drops, row.since} == {
        NOTHING
    }


def test_drops_are_those_of_the_device_and_of_the_rules():
    counters = {"rx_dropped": 1, "tx_dropped": 20, "rx_errors": 300, "rule_unrouted": 4000, "rx_packets": 9}
    assert node_row({**NODE, "counters": counters}).drops == "4,021"
    assert node_row({**NODE, "counters": None}).drops == NOTHING


@pytest.mark.parametrize(("state", "classes"), [("differs", "t-warn"), ("orphan", "t-warn"), ("loss", "t-bad")])
def test_a_state_that_needs_attention_has_a_colour(state, classes):
    assert node_row({**NODE, "state": state}).classes == classes


def test_notes_name_what_the_state_does_not_show():
    row = node_row({**NODE, "drift": ["a", "b"], "findings": ["drift", "plan", "mtu"]})
    assert row.notes == "2 differences, old plan, full-size packets"


def test_notes_name_a_member_without_pods():
    assert node_row({**NODE, "has_pods": False, "findings": ["plan"]}).notes == "without Pods, old plan"
    assert node_row({**NODE, "has_pods": None}).notes == ""


def pair(ms, *kinds):
    return {"ms": ms, "kinds": list(kinds)}


def matrix_of(found, *names, missing=()):
    nodes = [{"name": name, "state": "missing" if name in missing else "ok"} for name in names]
    return matrix({"nodes": nodes, "reach": {"matrix": found}})


def test_the_matrix_has_a_cell_for_each_pair():
    made = matrix_of(
        {"a": {"b": pair(1.0), "c": pair(None, "silent")}, "b": {"c": pair(3.0, "mtu")}}, *"abcd", missing="d"
    )
    assert list(made.names) == ["a", "b", "c"]
    (_a, first), (_b, second), (_c, third) = made.rows
    assert [tuple(cell) for cell in first] == [
        ("", "self", ""),
        ("1.0", "q0", "a → b: 1.0 ms"),
        ("✕", "t-bad", "a → c: no answer"),
    ]
    assert second[2] == ("▽ 3.0", "t-bad", "b → c: full-size packets lost")
    assert third[0] == ("·", "soft", "")


def test_the_shade_of_a_pair_grows_with_the_logarithm():
    times = {"b": 1.0, "c": 10.0, "d": 100.0}
    (_a, cells), *_others = matrix_of({"a": {peer: pair(ms) for peer, ms in times.items()}}, *"abcd").rows
    assert [cell.classes for cell in cells] == ["self", "q0", "q2", "q4"]
    (_a, cells), *_others = matrix_of({"a": {"b": pair(1.0), "c": pair(2.0)}}, *"abc").rows
    assert [cell.classes for cell in cells] == ["self", "q0", "q0"], "twice as slow is about the same"


def test_names_above_many_columns_are_vertical():
    names = [f"n{number}" for number in range(17)]
    found = {"n0": {"n1": pair(1.0)}}
    assert not matrix_of(found, *names[:16]).dense
    assert matrix_of(found, *names).dense
    assert matrix_of(None, *names) is None


def cell(**changes):
    measured = {"source": "idc", "target": "idc", "pairs": 2, "answered": 2, "silent": 0, "mtu": 0, "tcp": 0}
    return {**measured, "median_ms": 0.5, "worst_ms": 2.0, "worst": ["a", "b"], **changes}


def sites_of(*cells, findings=0):
    sites = [{"name": name, "nodes": 2, "reached": 1, "findings": findings} for name in ("idc", "")]
    return site_rows({"sites": sites, "reach": {"sites": cells}})


def test_a_site_shows_its_pairs_and_their_times():
    first, second = sites_of(cell())
    assert first.cells[0][1:] == ("✓ 2 of 2", "median 0.50 ms", "slowest 2.0 a → b", [])
    assert first.cells[1].answers == "", "not measured"
    assert (second.name, second.findings) == ("no site", "")


def test_a_site_counts_what_is_lost():
    (first, _second) = sites_of(cell(answered=1, silent=1, tcp=2, worst=None), findings=2)
    assert first.cells[0][1:] == ("✕ 1 of 2", "", "", ["✕ no answer: 1 pair", "◇ TCP lost: 2 pairs"])
    assert first.findings == "2 nodes with findings"


@pytest.mark.parametrize(
    ("holders", "observed", "text", "bad"),
    [
        (["clb1"], True, "clb1", False),
        (["clb1", "clb2"], True, "✕ clb1, clb2", True),
        ([], True, "✕ none", True),
        ([], False, "not observed", False),
    ],
)
def test_a_vip_is_bad_unless_exactly_one_host_holds_it(holders, observed, text, bad):
    (row,) = vip_rows({"vips": [{"name": "services", "address": "10.0.2.3", "holders": holders, "observed": observed}]})
    assert row == ("services", "10.0.2.3", text, bad)


@pytest.mark.parametrize(
    ("on", "quarantined", "until"),
    [
        (["a", "b"], False, "removed by a, b"),
        ([], True, "the cursor has wrapped around"),
        (["a"], True, "removed by a, and the cursor has wrapped around"),
        (list("abcdefghij"), False, "removed by a, b, c, d, e, f, g, h and 2 more"),
    ],
)
def test_a_released_node_cidr_shows_when_it_is_free(on, quarantined, until):
    released = {"node_cidr": "10.244.7.0/24", "number": 7, "node": "idc7", "since": "2026-01-02T03:04:05Z"}
    (row,) = pending_rows({"pending": [{**released, "on": on, "quarantined": quarantined}]})
    assert row == (7, "10.244.7.0/24", "idc7", "2026-01-02 03:04 UTC", until)


def test_a_change_without_a_time_shows_that():
    event = {"when": None, "what": "grew", "node": None, "text": "container CIDR extended by 10.9.0.0/24"}
    (row,) = event_rows({"history": [event]})
    assert row == ("time not recorded", "cluster", "grew: container CIDR extended by 10.9.0.0/24")


def test_a_link_has_its_sites_transport_and_mtu():
    links = [
        {"sites": ["a", "a"], "nodes": [1200, 1200], "transport": "direct", "mtu": 8951, "encrypted": False},
        {"sites": ["a", "b"], "nodes": [1200, 4], "transport": "wireguard", "mtu": 1312, "encrypted": True},
    ]
    assert [tuple(row) for row in link_rows({"links": links})] == [
        ("inside a", "direct", "8,951", "1,200", "no"),
        ("a - b", "wireguard", "1,312", "1,200 - 4", "yes"),
    ]
    assert len(link_rows({"links": links * 100})) == 100

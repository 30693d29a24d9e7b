# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe results of each host by pair, by node and by site."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import MATRIX_LIMIT
from ansible_collections.tke.overlay.tests.unit.plugins.module_utils._cluster.report.examples import (
    SITES,
    healthy,
    host,
    ledger_of,
    report_of,
)

THREE = ("cloud1", "cloud2", "idc1")
TWO = ledger_of("cloud1", "idc1")


def test_pairs_add_up_to_sites_and_the_matrix():
    hosts = [
        host("cloud1", {"cloud2": 1.0, "idc1": 4.0}),
        host("cloud2", {"cloud1": 2.0}, ["idc1"]),
        host("idc1", {"cloud1": 6.0}, ["cloud2"]),
    ]
    hosts[0].probe["findings"].append({"peer": "idc1", "kind": "mtu", "largest": 1300, "text": ""})
    hosts[2].probe["findings"].append({"peer": "cloud1", "kind": "tcp", "text": ""})
    hosts[2].probe["findings"].append({"peer": "cloud1", "kind": "tcp", "text": ""})
    reach = report_of(ledger_of(*THREE), hosts, sites=("idc", "cloud"))["reach"]
    matrix = reach.pop("matrix")
    cells = reach.pop("sites")
    assert reach == {"sources": 3, "asked": 6, "answered": 4, "median_ms": 3.0, "worst_ms": 6.0}
    keys = ("source", "target", "pairs", "answered", "silent", "mtu", "tcp", "median_ms", "worst_ms", "worst")
    assert [tuple(cell[key] for key in keys) for cell in cells] == [
        ("idc", "cloud", 2, 1, 1, 0, 1, 6.0, 6.0, ["idc1", "cloud1"]),
        ("cloud", "idc", 2, 1, 1, 1, 0, 4.0, 4.0, ["cloud1", "idc1"]),
        ("cloud", "cloud", 2, 2, 0, 0, 0, 1.5, 2.0, ["cloud2", "cloud1"]),
    ]
    assert matrix["cloud1"]["idc1"] == {
        "source": "cloud1",
        "peer": "idc1",
        "ms": 4.0,
        "kinds": ["mtu"],
        "largest": 1300,
    }
    assert matrix["idc1"]["cloud1"]["kinds"] == ["tcp"]
    assert matrix["cloud2"]["idc1"] == {
        "source": "cloud2",
        "peer": "idc1",
        "ms": None,
        "kinds": ["silent"],
        "largest": None,
    }


def test_times_are_rounded_to_microseconds():
    hosts = [host("cloud1", {"idc1": 0.12345}), host("idc1", {"cloud1": 0.2})]
    report = report_of(TWO, hosts)
    assert report["nodes"][0]["reach"] == {"asked": 1, "answered": 1, "median_ms": 0.123, "worst_ms": 0.123}
    assert report["reach"]["median_ms"] == round((0.123 + 0.2) / 2, 3)


def test_sites_outside_the_given_order_come_last():
    hosts = [host("idc1", {"old": 1.0, "edge1": 1.0}), host("edge1", {"idc1": 1.0}), host("alps1", {"idc1": 1.0})]
    cells = report_of(ledger_of("idc1", "edge1", "alps1", "old"), hosts, sites=("idc",))["reach"]["sites"]
    assert [(cell["source"], cell["target"]) for cell in cells] == [
        ("idc", ""),
        ("idc", "edge"),
        ("alps", "idc"),
        ("edge", "idc"),
    ]


def test_up_to_sixty_four_nodes_there_is_a_matrix():
    names = [f"n{number}" for number in range(65)]
    ledger = ledger_of(cidr="10.244.0.0/16")
    assert report_of(ledger, [host(name) for name in names[:64]])["reach"]["matrix"] == {}
    assert report_of(ledger, [host(name) for name in names])["reach"]["matrix"] is None


def test_a_probe_without_counts_counts_as_zero():
    lone = host("cloud1", {"idc1": 1})
    lone.probe.pop("asked"), lone.probe.pop("answered")
    assert report_of(TWO, [lone])["nodes"][0]["reach"]["asked"] == 0


def test_sites_are_ordered_as_given():
    names = [f"{site}{number}" for site in SITES for number in range(2)]
    report = report_of(ledger_of(*names), healthy(*names))
    assert [(cell["source"], cell["target"], cell["pairs"]) for cell in report["reach"]["sites"]] == [
        ("cloud", "cloud", 2),
        ("cloud", "idc", 4),
        ("idc", "cloud", 4),
        ("idc", "idc", 2),
    ]
    assert report["reach"]["matrix"]["cloud0"]["idc1"]["ms"] == 0.5
    many = [f"cloud{number}" for number in range(MATRIX_LIMIT + 1)]
    assert report_of(ledger_of(*many, cidr="10.244.0.0/16"), [host(name) for name in many])["reach"]["matrix"] is None


def test_the_slowest_pair_of_a_site_is_named():
    hosts = [host("cloud1", {"idc1": 80.0, "idc2": 2.0}), host("idc1", {"cloud1": 1.0}), host("idc2", {"cloud1": 3.0})]
    (cell,) = [
        cell
        for cell in report_of(ledger_of("cloud1", "idc1", "idc2"), hosts)["reach"]["sites"]
        if (cell["source"], cell["target"]) == ("cloud", "idc")
    ]
    assert (cell["median_ms"], cell["worst_ms"], cell["worst"]) == (41.0, 80.0, ["cloud1", "idc1"])

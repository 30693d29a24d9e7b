# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ends of status, site and preflight, as an operator reads them."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster import overview
from ansible_collections.tke.overlay.plugins.module_utils._cluster.overview import Ledger, Seen
from ansible_collections.tke.overlay.plugins.module_utils._cluster.table import BAD, first_line, natural, some, table

LEDGER = Ledger(
    segments={"cloud1": "10.244.0.0/24", "idc1": "10.244.1.0/24", "idc2": "10.244.2.0/24", "idc10": "10.244.3.0/24"},
    fresh=[],
    orphans=[],
    forecast="10.244.0.0/16 has room for 255 nodes.",
)
COUNTERS = {f"{way}_{what}": 0 for way in ("rx", "tx") for what in ("packets", "bytes", "dropped", "errors")}


def overlay(name, current=True, drift=(), timer="active", vips=(), rules=None, **counters):
    return {
        "overlay": {
            "node": name,
            "segment": LEDGER.segments.get(name),
            "plan": {"applied": "1", "wanted": "1", "current": current},
            "drift": list(drift),
            "counters": {**COUNTERS, **counters, "rules": rules or {"astray": 0}},
            "timer": timer,
            "vips": list(vips),
        }
    }


def texts(lines):
    return [line.text for line in lines]


def test_columns_are_aligned_and_nothing_trails():
    lines = table(["A", "LONG"], [["wide cell", "x"], ["y", ""]])
    assert lines == ["A          LONG", "wide cell  x", "y"]


def test_numbers_in_names_are_numbers():
    assert sorted(["idc10", "idc2", "a", "idc"], key=natural) == ["a", "idc", "idc2", "idc10"]
    assert some(["idc10", "idc2", "idc1"], most=2) == "idc1, idc2 and 1 more"


def test_a_long_message_is_one_line():
    assert first_line("a\n  b") == "a b"
    assert len(first_line("word " * 100)) <= 118


class TestStatus:
    """The table of status."""

    def test_one_line_for_each_host_sorted_by_site_and_number(self):
        seen = {
            "idc10": Seen("idc", overlay("idc10")),
            "idc2": Seen("idc", overlay("idc2")),
            "cloud1": Seen("cloud", overlay("cloud1")),
        }
        lines = texts(overview.status(seen, LEDGER))
        assert [line.split()[0] for line in lines[:4]] == ["HOST", "cloud1", "idc2", "idc10"]
        assert "VIPS" not in lines[0]
        assert lines[-1].startswith("next: nothing; ansible-playbook tke.overlay.verify")

    @pytest.mark.parametrize(
        ("seen", "cells", "step"),
        [
            (Seen("idc", overlay("idc1", current=False)), ["old", "-", "-", "-", "active"], "site brings the current"),
            (
                Seen(
                    "idc", overlay("idc1", drift=["route: 4 missing"], tx_dropped=2, rules={"astray": 3}, rx_errors=7)
                ),
                ["ok", "1", "5", "7", "active"],
                "the timer mends most of that by itself",
            ),
            (Seen("idc", overlay("idc1", timer="stopped")), ["ok", "-", "-", "-", "stopped"], "--limit idc1 mends all"),
            (
                Seen("idc", overlay("idc1", timer="active, last run failed (exit-code 1): journalctl")),
                ["ok", "-", "-", "-", "failed"],
                "--limit idc1 mends all",
            ),
            (Seen("idc", reached=False), ["unreachable", "-", "-", "-", "-"], "look at idc1: power, network, SSH"),
            (Seen("idc", failure="no nft\nhere"), ["failed", "-", "-", "-", "-"], "mend what is said above of idc1"),
            (
                Seen("idc", overlay(None, current=False)),
                ["none", "-", "-", "-", "-"],
                "site brings the current plan to idc1",
            ),
        ],
    )
    def test_each_kind_of_trouble_has_its_word_and_its_step(self, seen, cells, step):
        shown = overview.status({"idc1": seen}, LEDGER)
        assert shown[1].text.split() == ["idc1", "idc", "10.244.1.0/24", *cells]
        assert shown[1].tone == BAD
        assert any(line.startswith("next: ") and step in line for line in texts(shown))

    def test_drift_and_dropped_packets_stand_below_in_words(self):
        seen = {"idc1": Seen("idc", overlay("idc1", drift=["route: 4 missing"], rules={"astray": 3, "to_pods": 0}))}
        lines = texts(overview.status(seen, LEDGER))
        assert "idc1: route: 4 missing" in lines
        assert "idc1: packets dropped by the rules: 3 astray" in lines

    def test_orphans_stand_at_the_end_with_a_way_out(self):
        lines = texts(overview.status({"cloud1": Seen("cloud", overlay("cloud1"))}, LEDGER._replace(orphans=["idc10"])))
        assert "in the ledger, and not in the inventory: idc10 10.244.3.0/24" in lines
        assert "tke.overlay.release -e overlay_release=idc10" in lines[-1]

    def test_who_holds_a_vip_is_shown(self):
        seen = {"clb1": Seen("", overlay(None, vips=["10.0.2.2"])), "cloud1": Seen("cloud", overlay("cloud1"))}
        lines = texts(overview.status(seen, LEDGER))
        assert lines[0].split()[-1] == "VIPS"
        assert lines[2].split() == ["clb1", "-", "-", "-", "-", "-", "-", "-", "10.0.2.2"]
        assert lines[-1].startswith("next: nothing")

    def test_two_hundred_hosts_have_two_hundred_lines_and_their_troubles_an_end(self):
        seen = {f"n{number}": Seen("idc", overlay(f"n{number}", drift=["rules: changed"])) for number in range(200)}
        lines = texts(overview.status(seen, LEDGER))
        assert len(lines) < 230
        assert "and 180 more lines like these" in lines


class TestSite:
    """The table of site."""

    def test_it_says_what_was_changed_where_and_who_was_not_reached(self):
        seen = {
            "cloud1": Seen("cloud", {"changed": True, "counts": {"route": 1, "fdb": 1}}),
            "idc1": Seen("idc", {"changed": False, "counts": {}}),
            "idc2": Seen("idc", reached=False),
            "idc10": Seen("idc", failure="UDP port 8472 is taken"),
        }
        lines = texts(overview.site(seen, LEDGER, check=False))
        assert lines[:5] == [
            "HOST    SITE   CHANGED",
            "cloud1  cloud  route 1, fdb 1",
            "idc1    idc    nothing",
            "idc2    idc    unreachable",
            "idc10   idc    failed: UDP port 8472 is taken",
        ]
        assert "4 hosts: 1 changed, 1 as they should be, 2 not done" in lines
        assert "next: mend what is said above of idc10, then the same again" in lines
        assert any("idc2: the next run that reaches it brings it up to date" in line for line in lines)

    def test_in_check_mode_nothing_was_changed(self):
        lines = texts(
            overview.site({"idc1": Seen("idc", {"changed": True, "counts": {"link": 1}})}, LEDGER, check=True)
        )
        assert lines[0].split() == ["HOST", "SITE", "WOULD", "CHANGE"]
        assert "1 host: 1 would change, 0 as they should be" in lines

    def test_many_hosts_that_say_the_same_share_a_line(self):
        seen = {f"n{number}": Seen("idc", {"changed": True, "counts": {"route": 1}}) for number in range(5000)}
        seen["n7"] = Seen("idc", reached=False)
        lines = texts(overview.site(seen, LEDGER, check=False))
        assert lines[1].split("  ")[0] == "n0, n1 and 4997 more"
        assert any(line.split() == ["n7", "idc", "unreachable"] for line in lines)
        assert len(lines) < 10


def test_preflight_says_who_would_get_which_segment():
    sites = {"cloud1": "cloud", "idc1": "idc", "idc2": "idc"}
    lines = texts(overview.preflight(sites, LEDGER._replace(fresh=["idc2"], orphans=["idc10"])))
    assert lines[1:4] == [
        "cloud1  cloud  keeps 10.244.0.0/24",
        "idc1    idc    keeps 10.244.1.0/24",
        "idc2    idc    gets 10.244.2.0/24",
    ]
    assert any("idc10" in line for line in lines)
    assert lines[-1].startswith("next: ansible-playbook tke.overlay.site gives 1 node a segment")

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The playbook report on real hosts: all well, in check mode, limited, and with one host cut off."""

from __future__ import annotations

import json
import tempfile

import pytest

from stories import LEDGER, NODES, joined, lab, play

testinfra_hosts = ["local://"]


@pytest.fixture(scope="module")
def dest(tmp_path_factory):
    return tmp_path_factory.mktemp("report") / "overlay.html"


def report(dest, *arguments):
    """The run, which must succeed, and the document it left."""
    done = play("tke.overlay.report", "-e", f"overlay_report_dest={dest}", *arguments)
    assert done.code == 0, done.text
    data = dest.with_suffix(".json")
    return done, json.loads(data.read_text()) if data.exists() else None


@pytest.mark.usefixtures("unchanged")
class TestPicture:
    """No run changes anything on a host or in the ledger."""

    def test_the_picture_of_a_whole_fleet(self, dest):
        forecast, nothing = report(dest, "--check", "--diff")
        assert nothing is None
        assert not dest.exists()
        assert "+The network is whole." in forecast.text
        done, picture = report(dest)
        assert "The network is whole." in joined(done.text)
        assert picture["verdict"]["state"] == "whole"
        assert picture["findings"] == []
        assert [node["name"] for node in picture["nodes"]] == list(NODES)
        assert {(node["state"], node["mtu"], node["timer"]) for node in picture["nodes"]} == {("ok", 1400, "active")}
        ledger = json.loads(LEDGER.read_text())
        assert {node["name"]: node["node_cidr"] for node in picture["nodes"]} == {
            name: held["node_cidr"] for name, held in ledger["nodes"].items()
        }
        pairs = [(cell["source"], cell["target"], cell["answered"]) for cell in picture["reach"]["sites"]]
        assert pairs == [("cloud", "cloud", 2), ("cloud", "idc", 4), ("idc", "cloud", 4), ("idc", "idc", 2)]
        assert all(pair["ms"] > 0 for row in picture["reach"]["matrix"].values() for pair in row.values())
        page = dest.read_text()
        assert all(f'<th scope="row">{name}</th>' in page for name in NODES)
        again, second = report(dest)
        assert again.changed() == set(), "only times and measurements differ"
        assert second["looked"]["at"] > picture["looked"]["at"]

    def test_a_host_that_is_cut_off_is_in_the_picture_and_stops_nobody(self, dest):
        # Connections of their own, so that none has to find out first that its host is gone.
        with tempfile.TemporaryDirectory(prefix="cp") as sockets:
            lab("cut", "idc2")
            try:
                done, picture = report(dest, "--timeout", "2", "-e", f"ansible_control_path_dir={sockets}")
            finally:
                lab("heal", "idc2")
        assert done.recap()["idc2"]["failed"] == 0
        assert [(finding["kind"], finding["hosts"]) for finding in picture["findings"]] == [("unreachable", ["idc2"])]
        assert "no node gets an answer from it" in picture["findings"][0]["text"]
        assert {node["name"]: node["state"] for node in picture["nodes"]} == {
            **dict.fromkeys(NODES, "ok"),
            "idc2": "unreachable",
        }
        assert "The network is not whole" in joined(done.text)

    def test_a_limited_run_says_how_little_it_saw_and_a_conflict_is_drawn(self, dest):
        done, picture = report(dest, "--limit", "cloud1", "-e", "overlay_vni=0")
        assert picture["looked"]["limit"] == "cloud1"
        assert [node["state"] for node in picture["nodes"]] == ["ok", "unseen", "unseen", "unseen"]
        assert [finding["kind"] for finding in picture["findings"]] == ["conflict", "limit"]
        assert "overlay_vni is 0" in picture["findings"][0]["text"]
        assert picture["pool"]["capacity"]["used"] == len(NODES)
        assert "Traceback" not in done.text

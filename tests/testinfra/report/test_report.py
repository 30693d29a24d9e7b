# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The playbook report on real hosts: healthy, in check mode, limited, and with one unreachable host."""

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
    """Run the playbook, which must succeed, and return the run and its document."""
    done = play("tke.overlay.report", "-e", f"overlay_report_dest={dest}", *arguments)
    assert done.code == 0, done.text
    data = dest.with_suffix(".json")
    return done, json.loads(data.read_text()) if data.exists() else None


@pytest.mark.usefixtures("unchanged")
class TestReport:
    """The report of the lab. No run changes a host or the ledger."""

    def test_a_healthy_fleet_and_a_second_run_without_a_change(self, dest):
        checked, nothing = report(dest, "--check", "--diff")
        assert nothing is None
        assert not dest.exists()
        assert "+The network is healthy." in checked.text
        done, document = report(dest)
        assert "The network is healthy." in joined(done.text)
        assert document["verdict"]["state"] == "healthy"
        assert document["findings"] == []
        assert [node["name"] for node in document["nodes"]] == list(NODES)
        assert {(node["state"], node["mtu"], node["timer"]) for node in document["nodes"]} == {("ok", 1400, "active")}
        ledger = json.loads(LEDGER.read_text())
        assert {node["name"]: node["node_cidr"] for node in document["nodes"]} == {
            name: held["node_cidr"] for name, held in ledger["nodes"].items()
        }
        pairs = [(cell["source"], cell["target"], cell["answered"]) for cell in document["reach"]["sites"]]
        assert pairs == [("cloud", "cloud", 2), ("cloud", "idc", 4), ("idc", "cloud", 4), ("idc", "idc", 2)]
        assert all(pair["ms"] > 0 for row in document["reach"]["matrix"].values() for pair in row.values())
        page = dest.read_text()
        assert all(f'<th scope="row">{name}</th>' in page for name in NODES)
        again, second = report(dest)
        assert again.changed() == set(), "only times and measurements differ"
        assert second["observed"]["at"] > document["observed"]["at"]

    def test_an_unreachable_host_is_a_finding_and_does_not_stop_the_run(self, dest):
        # Separate connections: an existing one would wait for the timeout of the host that is cut off.
        with tempfile.TemporaryDirectory(prefix="cp") as sockets:
            lab("cut", "idc2")
            try:
                done, document = report(dest, "--timeout", "2", "-e", f"ansible_control_path_dir={sockets}")
            finally:
                lab("heal", "idc2")
        assert done.recap()["idc2"]["failed"] == 0
        assert [(finding["kind"], finding["hosts"]) for finding in document["findings"]] == [("unreachable", ["idc2"])]
        assert "no node gets an answer from it" in document["findings"][0]["text"]
        assert {node["name"]: node["state"] for node in document["nodes"]} == {
            **dict.fromkeys(NODES, "ok"),
            "idc2": "unreachable",
        }
        assert "The network is not healthy" in joined(done.text)

    def test_a_limited_run_with_a_conflict_reports_both(self, dest):
        done, document = report(dest, "--limit", "cloud1", "-e", "overlay_vni=0")
        assert document["observed"]["limit"] == "cloud1"
        assert [node["state"] for node in document["nodes"]] == ["ok", "unobserved", "unobserved", "unobserved"]
        assert [finding["kind"] for finding in document["findings"]] == ["conflict", "limit"]
        assert "overlay_vni 0" in document["findings"][0]["text"]
        assert document["pool"]["capacity"]["used"] == len(NODES)
        assert "Traceback" not in done.text

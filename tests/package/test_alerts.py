# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The alert rules: their unit tests, and the check that keeps rules, dashboard and guide in step with the metrics."""

from __future__ import annotations

import json
import re
import subprocess

import dashboard
import faster_rules
import monitoring
import pytest
import yaml

from product import ROOT

TESTS = sorted((ROOT / "tests/prometheus").glob("*.test.yml"))
ALERTS = [rule["alert"] for rule in monitoring.rules() if "alert" in rule]


def test_the_unit_tests_of_the_rules_pass():
    done = subprocess.run(["promtool", "test", "rules", *TESTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_in_a_unit_test():
    text = "".join(path.read_text() for path in TESTS)
    firing = set(re.findall(r'ALERTS\{alertname="(\w+)"', text)) | set(re.findall(r"alertname: (\w+)", text))
    assert firing == set(ALERTS)
    assert len(ALERTS) == len(set(ALERTS))


def test_every_metric_is_used_and_every_used_metric_exists():
    assert list(monitoring.problems()) == []


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("expr: tke_overlay_findings", "expr: tke_overlay_finding", ["PodsObstructed", "no tke_overlay_finding"]),
        ("by (job, vip)", "by (job, vrid)", ["TkeOverlayVip", "no metric has the label vrid"]),
        ("#ping-works-and-tcp-hangs", "#ping-works", ["FullSize", "is no section"]),
        ("severity: info", "severity: low", ["critical, warning, info"]),
        ("remedy:", "remedies:", ["annotations must be"]),
        ('state=~"free', 'stage=~"free|x", states=~"', ["no metric has the label states"]),
    ],
)
def test_the_check_finds_what_does_not_exist(tmp_path, monkeypatch, before, after, words):
    text = monitoring.RULES.read_text()
    assert before in text
    (tmp_path / "rules.yml").write_text(text.replace(before, after))
    monkeypatch.setattr(monitoring, "RULES", tmp_path / "rules.yml")
    found = "\n".join(monitoring.problems())
    for word in words:
        assert word in found


def test_a_metric_that_nothing_uses_is_found(monkeypatch):
    monkeypatch.setattr(monitoring, "UNUSED", {})
    (problem,) = monitoring.problems()
    assert "tke_overlay_probe_peer_round_trip_seconds" in problem
    assert "UNUSED" in problem


def test_the_panels_of_the_dashboard_do_not_overlap():
    cells = set()
    for panel in json.loads(dashboard.text())["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= dashboard.WIDTH
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        cells |= taken


def test_faster_rules_have_every_time_divided():
    text = monitoring.RULES.read_text()
    fast = faster_rules.faster(text, 60)
    assert len(yaml.safe_load(fast)["groups"]) == len(yaml.safe_load(text)["groups"])
    for before, after in (
        ("for: 3m", "for: 3s"),
        ("for: 1d", "for: 1440s"),
        ("[5m]", "[5s]"),
        ("probe_last_run:age_seconds > 600", "probe_last_run:age_seconds > 10"),
        ("node_time_seconds - node_boot_time_seconds < 600", "node_time_seconds - node_boot_time_seconds < 10"),
        ("run_timestamp_seconds) > 604800", "run_timestamp_seconds) > 10080"),
    ):
        assert before in text
        assert before not in fast
        assert after in fast
    assert "for: 3m" not in fast
    assert "> 5\n" in fast, "numbers that are no times stay"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what a host reports about its timer and its plan."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import applied_plan, pods_drift, read_status
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import SERVICE, STATE, TIMER


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def host_with(unit, last_run):
    """A host without links whose systemd reports this timer and this last run of the service."""

    def run(command, text):
        line = " ".join(command)
        if line.startswith("systemctl show -p Id"):
            return 0, unit, ""
        if line.startswith("systemctl show -p Result"):
            return 0, last_run, ""
        if line.startswith("ip "):
            return 0, "[]", ""
        return 1, "", "no such file"

    return run


@pytest.mark.parametrize(
    ("load", "active", "result", "text"),
    [
        ("not-found", "inactive", "success", "not installed"),
        ("loaded", "inactive", "success", "stopped"),
        ("loaded", "active", "success", "active"),
        ("loaded", "active", "", "active"),
        ("loaded", "active", "exit-code", f"active, last run failed (exit-code 1): journalctl -u {SERVICE}"),
    ],
)
def test_reports_the_state_of_the_timer(root, load, active, result, text):
    (root / "run/systemd/system").mkdir(parents=True)
    unit = f"Id={TIMER}\nLoadState={load}\nUnitFileState=enabled\nActiveState={active}\n"
    last_run = f"Result={result}\nExecMainStatus=1\n" if result else ""
    assert read_status(host_with(unit, last_run), None, [])["timer"] == text


def test_reports_a_host_without_systemd():
    assert read_status(host_with("", ""), None, [])["timer"] == "no systemd"


def test_reads_the_applied_plan_from_the_summary(root):
    assert applied_plan() is None
    path = root / STATE[1:]
    path.mkdir(parents=True)
    (path / "summary").write_text("# a comment\nplan: 0123456789ab\n")
    assert applied_plan() == "0123456789ab"


@pytest.mark.parametrize(
    ("configured", "wanted", "words"),
    [
        (True, False, ["overlay_pods is false", "configured for Pods"]),
        (False, True, ["overlay_pods is true", "configured without Pods"]),
        (True, True, []),
        (False, False, []),
        (False, None, []),
        (None, False, []),
    ],
)
def test_another_value_in_the_inventory_is_drift(configured, wanted, words):
    found = " ".join(pods_drift(configured, wanted))
    assert bool(found) == bool(words)
    for word in words:
        assert word in found

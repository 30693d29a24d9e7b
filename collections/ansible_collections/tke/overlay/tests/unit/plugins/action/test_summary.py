# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action summary: when a playbook fails at its end, and which of two faults its message names."""

from __future__ import annotations

import types

import pytest

from ansible_collections.tke.overlay.plugins.action import summary

PLAN = {
    "sites": {"cloud": "a", "idc": "b"},
    "assignments": {"a": "10.244.0.0/24", "b": "10.244.1.0/24"},
    "fresh": [],
    "orphans": [],
    "forecast": "Room for 255 nodes.",
    "document": {
        "mtu": 1400,
        "port": 8472,
        "device": "tke0",
        "fleet": "a 10.244.0.0/24 10.0.1.11\nb 10.244.1.0/24 10.0.1.12\n",
    },
}
FINDING = {"peer": "b", "kind": "silent", "text": "b does not answer"}
REACHED = {"backups": [], "stages": {}}
NOT_REACHED = {"failed": True, "msg": "api (10.0.2.2:6443) does not answer", "stages": {}}


@pytest.fixture
def run(monkeypatch):
    """Run the action on registered results; return its result. The terminal shows nothing."""
    monkeypatch.setattr(summary.ActionBase, "run", lambda *_arguments: {})
    monkeypatch.setattr(summary.display, "display", lambda *_arguments, **_options: None)

    def result(of, results):
        action = summary.ActionModule.__new__(summary.ActionModule)
        action._task = types.SimpleNamespace(check_mode=False)
        names = {"results": "probe", "answering": "responder", "endpoint": "endpoint"}
        given = {**dict.fromkeys(action.options), "of": of, "plan": PLAN, **names}
        action.validate_argument_spec = lambda argument_spec, required_if: (None, given)
        return action.run(task_vars={"hostvars": results, "ansible_play_hosts_all": [*results]})

    return result


def probed(peer, endpoint, findings=()):
    """Return what the tasks of verify register on one host."""
    refused = {"refused": []}
    probe = {"rtt_ms": {} if findings else {peer: 0.5}, "findings": list(findings), "tcp": refused, "changes": {}}
    return {"probe": probe, "responder": {"tcp": refused}, "endpoint": endpoint}


@pytest.mark.parametrize("of", ["verify", "site"])
def test_succeeds_if_all_checks_passed(run, of):
    result = run(of, {"a": probed("b", REACHED), "b": probed("a", REACHED)})
    assert not result.get("failed")
    assert result["lines"]


@pytest.mark.parametrize("of", ["verify", "site"])
def test_a_failed_endpoint_is_not_an_unhealthy_overlay(run, of):
    result = run(of, {"a": probed("b", NOT_REACHED), "b": probed("a", REACHED)})
    assert result["failed"]
    assert "API server" in result["msg"]
    assert "unhealthy" not in result["msg"]


def test_an_unhealthy_overlay_is_named_first(run):
    result = run("verify", {"a": probed("b", NOT_REACHED, [FINDING]), "b": probed("a", REACHED)})
    assert result["failed"]
    assert "overlay is unhealthy" in result["msg"]

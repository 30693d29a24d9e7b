# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance test on the controller: who takes part, and the screen."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis import conformance
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.conformance import (
    HostConformance,
    PathOutcome,
    choose_nodes,
    judge,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.results import PATHS

SITES = {"cloud": ["cloud10", "cloud2", "cloud1"], "idc": ["idc1"]}
EVERY = [name for names in SITES.values() for name in names]
GOOD = HostConformance(paths=[PathOutcome("pod", 4, []), PathOutcome("dns", 0, [], "not set")])
FINDING = {"check": "forwarding", "text": "forwarding is 0", "remedy": "sysctl -w it=1", "severity": "bad"}


def failing(path, text, *targets):
    return PathOutcome(path, 4, [{"target": target, "text": text} for target in targets])


def texts(verdict):
    return [line.text for line in verdict.lines]


# --- who takes part ---


@pytest.mark.parametrize(
    ("playing", "named", "per_site", "chosen"),
    [
        (EVERY, [], 2, ["cloud1", "cloud2", "idc1"]),
        (EVERY, [], 1, ["cloud1", "idc1"]),
        (["cloud10", "idc1"], [], 1, ["cloud10", "idc1"]),
        (EVERY, ["idc1", "cloud2", "idc1"], 1, ["idc1", "cloud2"]),
        (["idc1"], ["idc1", "cloud2"], 1, ["idc1"]),
    ],
)
def test_the_choice_is_the_same_in_each_run(playing, named, per_site, chosen):
    assert choose_nodes(SITES, playing, named, per_site) == chosen
    assert choose_nodes({site: names[::-1] for site, names in SITES.items()}, playing[::-1], named, per_site) == chosen


@pytest.mark.parametrize(
    ("playing", "named", "words"),
    [
        (EVERY, ["cloud1", "clb1", "x"], ["overlay_conformance_nodes", "clb1, x", "overlay_nodes"]),
        (["idc1"], ["cloud1"], ["--limit", "overlay_conformance_nodes", "cloud1"]),
        (["clb1"], [], ["--limit"]),
    ],
)
def test_a_choice_of_nobody_is_an_error(playing, named, words):
    with pytest.raises(ValidationError) as error:
        choose_nodes(SITES, playing, named, 2)
    for word in words:
        assert word in str(error.value)
    assert "cloud1, clb1" not in str(error.value)


def test_without_any_node_there_is_nothing_to_choose():
    assert choose_nodes({"cloud": []}, ["a"], [], 2) == []


# --- the screen ---


def test_a_healthy_fleet_is_one_line_and_a_table():
    verdict = judge({"a": GOOD, "b": GOOD}, [], 2, check=False)
    assert verdict.healthy
    assert texts(verdict)[0] == "healthy: 8 of 8 tests on 2 hosts passed"
    assert [line.split(maxsplit=3) for line in texts(verdict)[1:]] == [
        ["PATH", "TESTS", "FAILED", "NOT ASKED"],
        ["pod", "8", "-", "-"],
        ["dns", "-", "-", "not set"],
    ]
    assert verdict.data["paths"]["dns"] == {"asked": 0, "failed": 0, "not_asked": {"not set": ["a", "b"]}}


def test_a_path_that_some_hosts_did_not_ask_names_them():
    other = HostConformance(paths=[PathOutcome("pod", 4, []), PathOutcome("dns", 1, [])])
    assert "not set (a)" in "\n".join(texts(judge({"a": GOOD, "b": other}, [], 2, check=False)))


def test_a_failure_names_path_host_targets_reason_and_next_step():
    verdict = judge({"a": GOOD, "b": HostConformance(paths=[failing("pod", "no answer", "c", "a")])}, [], 2, False)
    assert not verdict.healthy
    assert texts(verdict)[:2] == ["unhealthy: 6 of 8 tests on 2 hosts passed", "  pod: b -> a, c: no answer"]
    assert verdict.steps == [f"pod: {conformance.REMEDIES['pod']}"]
    assert (verdict.data["healthy"], verdict.data["failed"]) == (False, 2)


def test_what_a_host_found_by_itself_is_the_better_next_step():
    host = HostConformance(paths=[failing("pod", "no answer", "a")], pods=[FINDING])
    verdict = judge({"b": host}, [], 1, check=False)
    assert "  Pods: b: forwarding is 0" in texts(verdict)
    assert verdict.steps == ["on b: sysctl -w it=1"]


MAX_PODS = {"check": "max_pods", "text": "110 Pods", "remedy": "Set maxPods", "severity": "warn"}


def test_a_warning_does_not_hide_the_step_of_a_path():
    host = HostConformance(paths=[failing("mtu", "no answer", "a")], pods=[MAX_PODS])
    verdict = judge({"b": host}, [], 1, check=False)
    assert "Pods: b: 110 Pods" in texts(verdict)
    assert verdict.steps == [f"mtu: {conformance.REMEDIES['mtu']}", "on b: set maxPods"]


@pytest.mark.parametrize("check", [False, True])
def test_a_warning_has_a_step_and_the_result_is_healthy(check):
    verdict = judge({"b": GOOD._replace(pods=[MAX_PODS])}, [], 1, check)
    assert verdict.healthy
    assert "Pods: b: 110 Pods" in texts(verdict)
    assert verdict.steps == ["on b: set maxPods"]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (HostConformance(faults=["the Pod did not start: no plugin"]), "b: the Pod did not start: no plugin"),
        (HostConformance(errors=["could not remove the Pods: x"]), "b: could not remove the Pods: x"),
        (HostConformance(reached=False, connection="Connection refused"), "unreachable for Ansible: b"),
        (HostConformance(paths=GOOD.paths, pods=[FINDING]), "forwarding is 0"),
    ],
)
def test_every_fault_of_a_host_is_unhealthy(host, words):
    verdict = judge({"a": GOOD, "b": host}, [], 2, check=False)
    assert not verdict.healthy
    assert words in "\n".join(texts(verdict))


def test_a_node_without_a_cidr_is_unhealthy():
    verdict = judge({"a": GOOD}, ["new"], 2, check=False)
    assert "  no node CIDR yet: new" in texts(verdict)
    assert "tke.overlay.site" in verdict.steps[0]


def test_nothing_asked_is_not_healthy():
    skipped = HostConformance(reason="5 addresses are free", paths=[PathOutcome("pod", 0, [], "5 addresses are free")])
    verdict = judge({"a": skipped}, [], 1, check=False)
    assert not verdict.healthy
    assert "no Pods on a: 5 addresses are free" in texts(verdict)
    assert not judge({}, [], 0, check=False).healthy


def test_check_mode_says_what_a_run_would_start():
    verdict = judge({name: HostConformance(planned="two Pods by X") for name in "ab"}, [], 3, check=True)
    assert verdict.healthy
    assert texts(verdict)[:2] == [
        "check mode: nothing was started and nothing was asked",
        "a run would start on a, b: two Pods by X",
    ]
    assert "sample: 2 of 3 nodes: a, b" in texts(verdict)


def test_many_failures_are_counted():
    host = HostConformance(paths=[failing("pod", f"reason {number}", "a") for number in range(70)])
    lines = texts(judge({"b": host}, [], 1, check=False))
    assert f"  and {70 - conformance.MOST} more like these" in lines


def test_every_path_has_a_remedy():
    assert set(conformance.REMEDIES) == set(PATHS)

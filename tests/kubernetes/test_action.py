# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The action kubernetes: what it takes from the plan, from inventory variables and from the results of hosts."""

from __future__ import annotations

import types

import pytest
import yaml

from ansible_collections.tke.overlay.plugins.action import kubernetes
from ansible_collections.tke.overlay.plugins.modules import kubernetes as module

PLAN = {
    "sites": {"cloud": "a", "idc": "b c"},
    "assignments": {"a": "10.244.0.0/24", "b": "10.244.1.0/24", "c": "10.244.2.0/24", "left": "10.244.3.0/24"},
    "fresh": ["c"],
    "document": {"fleet": "a 10.244.0.0/24 192.0.2.1\nb 10.244.1.0/24 192.0.2.2\nc 10.244.2.0/24 192.0.2.3\n"},
}
API = {"name": "api.demo.internal", "vip": "192.0.2.100", "port": 6443}
STATUS = {"overlay": {"node": "a", "plan": {"current": True}, "drift": []}}


@pytest.fixture
def run(monkeypatch, api_server):
    """Run the action with options, and with the variables of hosts; return its result."""
    monkeypatch.setattr(kubernetes.ActionBase, "run", lambda *_arguments: {})

    def result(hosts=None, check=False, diff=False, **options):
        action = kubernetes.ActionModule.__new__(kubernetes.ActionModule)
        action._task = types.SimpleNamespace(check_mode=check, diff=diff)
        defaults = {name: option.get("default") for name, option in action.options.items()}
        given = {**defaults, "kubeconfig": api_server.kubeconfig, "plan": PLAN, "service_wait": 0, **options}
        action.validate_argument_spec = lambda argument_spec: (None, given)
        hostvars = {"a": {}, "b": {}, "c": {}, **(hosts or {})}
        return action.run(task_vars={"hostvars": hostvars, "ansible_play_hosts_all": ["a", "b", "c"]})

    return result


def test_the_options_are_those_of_the_documentation():
    documented = yaml.safe_load(module.DOCUMENTATION)["options"]
    assert documented.keys() == kubernetes.ActionModule.options.keys()
    for name, option in kubernetes.ActionModule.options.items():
        for key in ("type", "choices", "default", "required", "elements"):
            assert option.get(key) == documented[name].get(key), f"{name}: {key}"


def test_node_cidrs_are_published_for_hosts_of_the_inventory(run, api_server):
    api_server.add_node("a")
    api_server.add_node("node-b", internal_ip="10.9.9.9")
    api_server.add_node("other", internal_ip="192.0.2.3")
    result = run({"b": {"overlay_kubernetes_node": "node-b"}}, diff=True)
    assert result["changed"]
    assert [(row["host"], row["node"]) for row in result["nodes"]] == [("a", "a"), ("b", "node-b"), ("c", "other")]
    published = {name: api_server.get("nodes", name)["spec"]["podCIDR"] for name in ("a", "node-b", "other")}
    assert published == {"a": "10.244.0.0/24", "node-b": "10.244.1.0/24", "other": "10.244.2.0/24"}
    again = run({"b": {"overlay_kubernetes_node": "node-b"}}, diff=True)
    assert (again["changed"], "diff" in again) == (False, False)


def test_check_mode_has_the_diff_of_the_real_run(run, api_server):
    api_server.add_node("a", unavailable="True")
    options = {"diff": True, "results": "found", "api": API, "service": "vip", "hosts": {"a": {"found": STATUS}}}
    forecast = run(check=True, **options)
    assert forecast["changed"]
    assert api_server.get("nodes", "a")["spec"] == {}
    assert run(**options)["diff"] == forecast["diff"]
    assert run(**options)["changed"] is False


def test_compared_changes_nothing_and_has_no_diff(run, api_server):
    api_server.add_node("a")
    result = run(diff=True, state="compared")
    assert (result["changed"], "diff" in result) == (False, False)
    assert api_server.get("nodes", "a")["spec"] == {}


@pytest.mark.parametrize(
    ("found", "converged"),
    [
        (STATUS, True),
        ({"overlay": {**STATUS["overlay"], "drift": ["route: missing"]}}, False),
        ({"overlay": {**STATUS["overlay"], "plan": {"current": False}}}, False),
        ({"overlay": {**STATUS["overlay"], "node": None}}, False),
        ({"changes": {}, "changed": False}, True),
        ({"changes": {}, "failed": True}, False),
        ({"changes": {}, "unreachable": True}, False),
        # A cutover that fails leaves its failure instead.
        ({"changes": {}, "unfinished": True}, True),
        ({"changes": {}, "unfinished": True, "waits_for": ["b"]}, False),
        ({"skipped": True}, False),
        ({}, False),
    ],
)
def test_a_node_is_available_only_after_it_converged(run, api_server, found, converged):
    api_server.add_node("a", unavailable="True")
    run({"a": {"found": found}}, results="found")
    (condition,) = [
        each for each in api_server.get("nodes", "a")["status"]["conditions"] if each["type"] == "NetworkUnavailable"
    ]
    assert condition["status"] == ("False" if converged else "True")


def test_a_node_cidr_that_is_not_recorded_is_not_published(run, api_server):
    api_server.add_node("c", unavailable="True")
    result = run({"c": {"found": STATUS}}, recorded=False, results="found")
    assert (result["changed"], api_server.get("nodes", "c")["spec"]) == (False, {})


def test_all_wrong_variables_are_named_at_once(run, api_server):
    options = {"service": "vip", "update": ["kube-proxy"], "api": {"name": "x", "vip": "", "port": 6443}}
    result = run({"a": {"overlay_kubernetes_node": "A b"}}, **options)
    assert result["failed"]
    for text in (
        "3 problems",
        "'A b' of host a",
        "overlay_api_service is vip",
        "overlay_kubernetes_update is kube-proxy",
    ):
        assert text in result["msg"]
    assert api_server.requests("kubernetes-admin") == []


def test_settings_of_kube_proxy_are_compared_with_the_plan(run, api_server):
    api_server.add_config_map("kube-system", "kube-proxy", {"config.conf": "clusterCIDR: 10.42.0.0/16"})
    document = {**PLAN["document"], "container_cidr": ["10.244.0.0/16"], "bridge": "tke-br0"}
    found = run(plan={**PLAN, "document": document})["kube_proxy"]
    assert (found["mode"], found["value"]) == ("ClusterCIDR", "10.42.0.0/16")
    assert "overlay_container_cidr is 10.244.0.0/16" in found["fault"]


def test_a_node_of_the_plan_outside_the_inventory_is_known(run, api_server):
    api_server.add_node("left.example.net", internal_ip="192.0.2.4", pod_cidrs=["10.244.3.0/24"])
    fleet = f"{PLAN['document']['fleet']}left 10.244.3.0/24 192.0.2.4\n"
    assert "failed" not in run(plan={**PLAN, "document": {"fleet": fleet}})
    assert "overlay_release=left" in run()["msg"]


def test_a_contradiction_fails_before_anything_changed(run, api_server):
    api_server.add_node("a", pod_cidrs=["10.9.0.0/24"])
    api_server.add_node("b")
    result = run()
    assert result["failed"]
    assert "10.9.0.0/24" in result["msg"]
    assert api_server.get("nodes", "b")["spec"] == {}

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The planner adopts the podCIDRs of a cluster: from the API server to the ledger file."""

from __future__ import annotations

import types

import pytest

from ansible_collections.tke.overlay.plugins.action.plan import ActionModule
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import parse
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

GROUPS = {"overlay_nodes": ["a", "b"], "cloud": ["a"], "idc": ["b"], "all": ["a", "b"]}
HOSTS = {"a": {"overlay_underlay_ip": "192.0.2.1"}, "b": {"overlay_underlay_ip": "192.0.2.2"}}


@pytest.fixture
def plan(tmp_path, api_server):
    """Return a function that runs the task that plans, and returns its result."""

    def run(hosts=None, check=False, **given):
        hostvars = {name: {**own, **(hosts or {}).get(name, {})} for name, own in HOSTS.items()}
        options = {
            "ledger": str(tmp_path / "ledger.json"),
            "cluster": "demo",
            "container_cidr": "10.244.0.0/16",
            "adopt": "kubernetes",
            "kubeconfig": api_server.kubeconfig,
            "require_writable": True,
            **given,
        }
        plugin = ActionModule.__new__(ActionModule)
        plugin._task = types.SimpleNamespace(args=options, check_mode=check, diff=True)
        task_vars = {"groups": GROUPS, "hostvars": hostvars, "inventory_dir": str(tmp_path)}
        return plugin.work(plugin.arguments(task_vars), task_vars)

    return run


@pytest.fixture
def ledger(tmp_path):
    return lambda: parse((tmp_path / "ledger.json").read_text(), "", "demo")


def test_podcidrs_of_the_api_become_pins(plan, api_server, ledger):
    api_server.add_node("a", pod_cidrs=["10.244.5.0/24"])
    api_server.add_node("node-b", internal_ip="192.0.2.2", pod_cidrs=["10.244.3.0/24"])
    api_server.add_node("other", pod_cidrs=["10.244.6.0/24"])
    forecast = plan(check=True)
    assert "node a 10.244.5.0/24 underlay 192.0.2.1 mtu 1500 pinned" in forecast["diff"]["after"]
    with pytest.raises(FileNotFoundError):
        ledger()
    done = plan()
    assert done["diff"] == forecast["diff"]
    assert done["adopted"] == {"a": "10.244.5.0/24", "b": "10.244.3.0/24"}
    assert done["assignments"] == done["adopted"]
    assert ["other 10.244.6.0/24" in warning for warning in done["warnings"] if "overlay_adopt" in warning] == [True]
    assert ledger().pool.node_cidr(ledger().cursor) == "10.244.7.0/24"
    again = plan()
    assert (again["changed"], again["adopted"]) == (False, {})


def test_a_host_can_name_its_node_object(plan, api_server):
    api_server.add_node("node-a", pod_cidrs=["10.244.5.0/24"])
    api_server.add_node("1001", pod_cidrs=["10.244.6.0/24"])
    done = plan({"a": {"overlay_kubernetes_node": "node-a"}, "b": {"overlay_kubernetes_node": 1001}})
    assert done["adopted"] == {"a": "10.244.5.0/24", "b": "10.244.6.0/24"}


def test_a_refused_podcidr_writes_nothing(plan, api_server, ledger):
    api_server.add_node("a", pod_cidrs=["10.99.5.0/24"])
    with pytest.raises(ValidationError, match=r"host a: Node a has the podCIDR 10\.99\.5\.0/24"):
        plan()
    with pytest.raises(FileNotFoundError):
        ledger()


def test_without_a_kubeconfig_it_is_an_error(plan):
    with pytest.raises(ValidationError, match="overlay_kubeconfig is not"):
        plan(kubeconfig=None)


def test_an_unreachable_api_stops_only_what_writes(plan, api_server):
    api_server.stop()
    for options in ({}, {"check": True}):
        with pytest.raises(ValidationError, match="overlay_kubeconfig"):
            plan(**options)
    done = plan(check=True, require_writable=False)
    assert [warning for warning in done["warnings"] if "the podCIDRs were not read" in warning] != []


def test_a_release_adopts_nothing(plan, api_server):
    api_server.add_node("a", pod_cidrs=["10.244.5.0/24"])
    api_server.add_node("b", pod_cidrs=["10.244.6.0/24"])
    plan()
    api_server.stop()
    done = plan(release=["b"], release_force=True)
    assert done["assignments"] == {"a": "10.244.5.0/24"}

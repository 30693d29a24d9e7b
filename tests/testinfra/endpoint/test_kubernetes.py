# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Node CIDRs are published in Kubernetes: the playbooks beside a stand-in of the API server, on real hosts."""

from __future__ import annotations

import json

import pytest

from standin import ApiServer
from stories import LEDGER, joined, ledger, on, play, site

testinfra_hosts = ["local://"]

INFO = "clusters:\n- cluster:\n    server: https://10.0.1.21:6443\n  name: ''\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """Return the stand-in; it runs beside Ansible, in the namespace of the controller."""
    server = ApiServer(tmp_path_factory.mktemp("apiserver"))
    server.add_node("cloud1", internal_ip="10.0.1.11", unavailable="True")
    server.add_node("node-idc1", internal_ip="192.168.1.11", unavailable="True")
    server.add_config_map("kube-public", "cluster-info", {"kubeconfig": INFO})
    yield server
    server.stop()


def options(api):
    return ("-e", f"overlay_kubeconfig={api.kubeconfig}", "-e", "overlay_api_service=vip")


def node(api, name):
    """Return what kubectl shows of a Node: its Pod CIDR, and whether its network is unavailable."""
    found = json.loads(api.kubectl("get", "node", name, "-o", "json"))
    (condition,) = [each for each in found["status"]["conditions"] if each["type"] == "NetworkUnavailable"]
    return found["spec"].get("podCIDR"), condition["status"]


def test_another_pod_cidr_stops_site_before_the_ledger_is_written(api):
    api.add_node("idc2", pod_cidrs=["10.244.99.0/24"])
    before = LEDGER.read_bytes()
    done = play("tke.overlay.site", *options(api))
    assert done.code != 0
    for text in ("Node idc2", "10.244.99.0/24", ledger()["nodes"]["idc2"]["node_cidr"], "kubectl delete node idc2"):
        assert text in joined(done.text)
    assert done.changed() == set()
    assert LEDGER.read_bytes() == before
    assert node(api, "cloud1") == (None, "True")
    api.kubectl("delete", "node", "idc2")


def test_site_publishes_at_its_end(api):
    done = site(*options(api))
    assert "not joined yet" in done.text
    node_cidrs = {name: each["node_cidr"] for name, each in ledger()["nodes"].items()}
    assert node(api, "cloud1") == (node_cidrs["cloud1"], "False")
    assert node(api, "node-idc1") == (node_cidrs["idc1"], "False")
    vip = ledger()["vips"]["apiserver"]
    assert api.kubectl("get", "endpoints", "kubernetes", "-o", "jsonpath={.subsets[*].addresses[*].ip}") == vip
    assert "has https://10.0.1.21:6443, not the API endpoint https://api.lab.internal:6443" in joined(done.text)


def test_a_node_that_joins_later_is_available_once_it_has_converged(api):
    api.add_node("idc2", unavailable="True")
    route = on("idc2", "ip route show type blackhole proto 144").strip()
    assert route
    on("idc2", f"ip route del {route}")
    try:
        done = play("tke.overlay.kubernetes", *options(api), "-e", "overlay_kubernetes_update=cluster-info")
        assert done.code == 0, done.text
        assert node(api, "idc2") == (ledger()["nodes"]["idc2"]["node_cidr"], "True")
        assert (
            "server: https://api.lab.internal:6443"
            in api.get("configmaps", "cluster-info", "kube-public")["data"]["kubeconfig"]
        )
    finally:
        on("idc2", f"ip route add {route}")
    done = play("tke.overlay.kubernetes", *options(api))
    assert done.code == 0, done.text
    assert node(api, "idc2")[1] == "False"
    again = play("tke.overlay.kubernetes", *options(api), "--check")
    assert (again.code, again.changed()) == (0, set()), again.text

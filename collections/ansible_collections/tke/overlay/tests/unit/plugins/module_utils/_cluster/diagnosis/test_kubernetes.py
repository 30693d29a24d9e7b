# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The screen of playbook kubernetes, and its lines on the screens of others."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis import kubernetes


def row(host, node_cidr, node, **options):
    return {
        "host": host,
        "node_cidr": node_cidr,
        "node": node,
        "publish": False,
        "clear": False,
        "available": True,
        "recorded": True,
        **options,
    }


def config_map(source, where, server, **options):
    wanted = "https://api.demo.internal:6443"
    return {"source": source, "where": where, "servers": server, "wanted": wanted, **options}


RESULT = {
    "server": "https://10.0.1.3:6443",
    "nodes": [
        row("cloud1", "10.244.0.0/24", "cloud1"),
        row("cloud2", "10.244.1.0/24", "10.0.1.12", publish=True, clear=True, available=False),
        row("idc1", "10.244.2.0/24", "idc1.example.org", publish=True, available=False),
        row("idc2", "10.244.3.0/24", ""),
        row("idc10", "10.244.4.0/24", "idc10", recorded=False),
    ],
    "servers": [
        config_map("cluster-info", "kube-public/cluster-info", ["https://10.0.1.3:6443"], differs=True, update=False),
        config_map("kube-proxy", "kube-system/kube-proxy", ["https://10.0.1.3:6443"], differs=True, update=True),
    ],
    "kube_proxy": {
        "mode": "ClusterCIDR",
        "value": "10.42.0.0/16",
        "fault": "has clusterCIDR 10.42.0.0/16, and overlay_container_cidr is 10.244.0.0/16: kube-proxy replaces",
        "remedy": "kubectl -n kube-system edit configmap kube-proxy: set clusterCIDR: 10.244.0.0/16",
    },
    "service": "10.0.2.2:6443",
    "service_changed": True,
    "notes": ["ConfigMap kube-public/cluster-info has no new signature for the bootstrap tokens 'abcdef'"],
}
NOTHING = {
    **RESULT,
    "nodes": RESULT["nodes"][:1],
    "servers": [],
    "kube_proxy": {},
    "service": "",
    "service_changed": False,
    "notes": [],
}


def screen(lines):
    """Return the printed lines, each with the prefix of its tone: ! bad, + good, blank plain."""
    tones = {"bad": "!", "good": "+", "plain": " "}
    return [f"{tones[line.tone]}{line.text}" for line in lines]


def text(lines):
    return "\n".join(line.text for line in lines)


def test_the_screen_of_kubernetes(golden):
    assert screen(kubernetes.screen(RESULT, "", check=False)) == golden("kubernetes")


def test_a_forecast_claims_no_change():
    found = text(kubernetes.screen(RESULT, "", check=True))
    assert "would be published" in found
    assert "would be cleared" in found
    assert "without --check" in found
    assert "rollout restart" not in found


def test_nothing_to_do_is_said():
    found = text(kubernetes.screen(NOTHING, "", check=False))
    assert "nothing to do" in found
    assert "published" not in found


def test_without_a_result_other_screens_have_no_line():
    assert kubernetes.lines({}, "", check=False) == []


def test_a_failure_is_on_the_screen_in_full():
    failure = "2 problems, and nothing was changed:\n  1. one\n  2. two"
    found = screen(kubernetes.screen({}, failure, check=False))
    assert found == ["!Kubernetes: 2 problems, and nothing was changed:", "!  1. one", "!  2. two"]


def test_a_large_cluster_shows_first_what_is_new():
    many = [row(f"n{number}", "10.244.0.0/24", f"n{number}") for number in range(100)]
    many.append(row("z", "10.245.0.0/24", "z", publish=True))
    found = screen(kubernetes.screen({**NOTHING, "nodes": many}, "", check=False))
    assert found[1].split()[:2] == ["z", "10.245.0.0/24"]
    assert len(found) < 50
    assert any("61 more nodes" in line for line in found)


def test_a_fault_of_kube_proxy_has_its_remedy_on_each_screen():
    for lines in (kubernetes.screen(RESULT, "", check=True), kubernetes.lines(RESULT, "", check=True)):
        found = text(lines)
        assert found.count("has clusterCIDR 10.42.0.0/16") == 1
        assert found.count("set clusterCIDR: 10.244.0.0/16") == 1


def test_other_screens_have_the_steps_about_config_maps():
    found = text(kubernetes.lines(RESULT, "", check=False))
    assert "to do: kubectl -n kube-system rollout restart daemonset kube-proxy" in found
    assert "to do: set overlay_kubernetes_update: [cluster-info]" in found


def test_a_config_map_that_is_listed_and_missing_is_named():
    missing = config_map("cluster-info", "kube-public/cluster-info", [], differs=False, update=True)
    found = text(kubernetes.lines({**NOTHING, "servers": [missing]}, "", check=False))
    assert "kube-public/cluster-info does not exist" in found

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether kube-proxy recognises the traffic of Pods: which settings agree with the overlay, and what is said if not."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.proxy_settings import PodNetwork, row_of

UNDERLAYS = {"cloud1": "10.0.1.11", "idc1": "192.168.1.11", "six": "fd00::11"}
ONE = PodNetwork(["10.244.0.0/16"], "tke-br0", UNDERLAYS)
TWO = PodNetwork(["10.244.0.0/16", "10.250.0.0/16"], "tke-br0", UNDERLAYS)


@pytest.mark.parametrize(
    ("network", "settings"),
    [
        (ONE, {"clusterCIDR": "10.244.0.0/16"}),
        (ONE, {"clusterCIDR": "10.244.0.0/15", "detectLocalMode": ""}),
        (ONE, {"clusterCIDR": "fd01::/48, 10.244.0.0/16", "detectLocalMode": "ClusterCIDR"}),
        (TWO, {"clusterCIDR": "10.240.0.0/12"}),
        (TWO, {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "tke-br0"}}),
        (ONE, {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "tke"}}),
        (ONE, {"detectLocalMode": "NodeCIDR", "clusterCIDR": ""}),
    ],
)
def test_settings_that_recognise_pods_have_no_fault(network, settings):
    row = row_of(settings, network)
    assert (row.fault, row.remedy) == ("", "")


@pytest.mark.parametrize(
    ("network", "settings", "words"),
    [
        (ONE, {}, ["no clusterCIDR", "10.244.0.0/16", "inner_source"]),
        (ONE, {"clusterCIDR": None, "detectLocal": None}, ["no clusterCIDR"]),
        (ONE, {"clusterCIDR": "fd01::/48"}, ["clusterCIDR fd01::/48"]),
        (ONE, {"clusterCIDR": "fd01::/48,10.42.0.0/16"}, ["clusterCIDR fd01::/48,10.42.0.0/16"]),
        (ONE, {"clusterCIDR": "10.42.0.0/16"}, ["clusterCIDR 10.42.0.0/16", "overlay_container_cidr is 10.244.0.0/16"]),
        (ONE, {"clusterCIDR": "10.244.0.0/17"}, ["clusterCIDR 10.244.0.0/17"]),
        (TWO, {"clusterCIDR": "10.244.0.0/16"}, ["10.244.0.0/16, 10.250.0.0/16"]),
        (ONE, {"clusterCIDR": "10.0.0.0/8"}, ["10.0.1.11 (cloud1)", "inner_source"]),
        (ONE, {"clusterCIDR": "no\x1b[31m"}, ["clusterCIDR no"]),
        (
            ONE,
            {"detectLocalMode": "BridgeInterface", "detectLocal": {"bridgeInterface": "cni0"}},
            ["bridgeInterface cni0", "tke-br0 (overlay_bridge)"],
        ),
        (ONE, {"detectLocalMode": "BridgeInterface"}, ["no detectLocal.bridgeInterface"]),
        (
            ONE,
            {"detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "veth"}},
            ["interfaceNamePrefix veth"],
        ),
    ],
)
def test_both_values_and_the_remedy_are_named(network, settings, words):
    row = row_of(settings, network)
    assert [word for word in words if word not in row.fault] == []
    assert row.fault.isprintable()
    right = "clusterCIDR: 10.244.0.0/16" if network is ONE else "bridgeInterface: tke-br0"
    for word in (right, "kubectl -n kube-system edit configmap kube-proxy", "rollout restart daemonset kube-proxy"):
        assert word in row.remedy

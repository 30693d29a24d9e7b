# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the inventory: every invalid value is reported with its variable."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    MIN_MTU,
    OVERHEAD,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
    problems_of_cluster,
    problems_of_nodes,
    problems_of_sites,
)

SETTINGS = ClusterSettings(
    "demo", ["10.244.0.0/22", "10.245.0.0/24"], 256, 256, vni=7, port=4789, device="ov0", bridge="pods"
)


def changed(**settings):
    return list(problems_of_cluster(SETTINGS._replace(**settings)))


def test_accepts_the_limits_of_vni_and_port():
    for good in ({"vni": 1}, {"vni": 16777215}, {"port": 1}, {"port": 65535}):
        assert changed(**good) == []


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"vni": 16777216}, "overlay_vni 16777216 is not between 1 and 16777215"),
        ({"port": 0}, "overlay_port 0 is not between 1 and 65535"),
        ({"port": 65536}, "overlay_port 65536 is not between 1 and 65535"),
        ({"cluster": " "}, "overlay_cluster is empty: set the name of the cluster, which its ledger records"),
        ({"device": "pods"}, "overlay_device and overlay_bridge are both 'pods': set two different names"),
    ],
)
def test_rejects_values_beyond_a_limit(settings, problem):
    assert changed(**settings) == [problem]


@pytest.mark.parametrize(("variable", "field"), [("overlay_device", "device"), ("overlay_bridge", "bridge")])
def test_rejects_invalid_link_names(variable, field):
    (problem,) = changed(**{field: "a/b"})
    assert problem.startswith(f"{variable} is 'a/b': ")


@pytest.mark.parametrize(
    ("sites", "lacking"), [([["cloud"], ["idc"]], False), ([["cloud"], ["cloud"]], True), ([], False)]
)
def test_require_idc_needs_one_idc_node(sites, lacking):
    nodes = [InventoryNode(f"n{number}", site) for number, site in enumerate(sites)]
    assert bool(list(problems_of_sites(nodes, SETTINGS._replace(require_idc=True)))) is lacking


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.9", "169.254.1.1", "fe80::1", "0.0.0.0", "::"])
def test_rejects_underlay_addresses_that_are_not_reachable(address):
    (problem,) = problems_of_nodes([InventoryNode("a", ["cloud"], address, 9000)], SETTINGS)
    assert problem.endswith(f"{address} is not an address that another host could reach")


@pytest.mark.parametrize(("address", "version"), [("10.0.1.1", 4), ("fd00::1", 6)])
def test_accepts_the_limits_of_the_underlay_mtu(address, version):
    least = MIN_MTU[version] + OVERHEAD[version]
    counts = {
        mtu: len(list(problems_of_nodes([InventoryNode("a", ["cloud"], address, mtu)], SETTINGS)))
        for mtu in (least - 1, least, 65535, 65536)
    }
    assert counts == {least - 1: 1, least: 0, 65535: 0, 65536: 1}


def underlay(*nodes):
    return list(problems_of_nodes([InventoryNode(*node) for node in nodes], SETTINGS))


def test_nodes_of_which_only_a_name_is_known_are_one_problem():
    (problem,) = underlay(
        ("a", ["cloud"], "a.example", 1500, None, "ansible_host"),
        ("b", ["idc"], "b", 1500, None, "inventory_hostname"),
        ("c", ["idc"], "10.0.1.3", 1500, None, "ansible_host"),
    )
    assert problem == (
        "no numeric underlay address is known for a (ansible_host is 'a.example'), b (its name is 'b'): "
        "set overlay_underlay_ip of each host to the address at which the other nodes reach it"
    )
    nodes = [(f"n{number}", ["idc"], "x", 1500, None, "ansible_host") for number in range(10)]
    assert "n7 (ansible_host is 'x') and 2 more: set" in underlay(*nodes)[0]


def test_an_address_of_another_variable_is_named_with_the_remedy():
    (problem,) = underlay(("a", ["cloud"], "127.0.0.1", 1500, None, "ansible_host"))
    assert problem == (
        "node a: ansible_host 127.0.0.1 is not an address that another host could reach: set overlay_underlay_ip"
    )
    (problem,) = underlay(("a", ["cloud"], "10.244.0.9", 1500, None, "ansible_host"))
    assert problem.startswith("node a: ansible_host 10.244.0.9 lies in the container CIDR 10.244.0.0/22")


@pytest.mark.parametrize(
    ("address", "end"),
    [
        ("10.0.1.1/24", "'10.0.1.1/24' is not a numeric address: write 10.0.1.1, without a prefix length"),
        ("a/b", "'a/b' is not a numeric address"),
        ("fe80::1%eth0", "'fe80::1%eth0' is not a numeric address"),
        (7, "7 is not a numeric address"),
    ],
)
def test_an_address_with_a_prefix_length_has_its_own_remedy(address, end):
    assert underlay(("a", ["cloud"], address, 1500)) == [f"node a: overlay_underlay_ip {end}"]


def test_an_address_that_cannot_be_evaluated_is_reported_elsewhere():
    assert underlay(("a", ["cloud"], None, 1500, None, "")) == []
    (problem,) = underlay(("a", ["cloud"], None, 1500, None, "overlay_underlay_ip"))
    assert problem.startswith("node a has no underlay address: set overlay_underlay_ip")


@pytest.mark.parametrize("network", ["10.0.0.0", "10.9.9.9"])
def test_a_network_needs_a_prefix_length(network):
    (problem,) = changed(networks={"vpc": [network]})
    assert problem.startswith(
        f"vpc of overlay_networks: {network!r} has no prefix length: write it as in 10.0.0.0/16, or"
    )
    assert problem.endswith(f"{network}/32")


@pytest.mark.parametrize("name", ["a\nb", "a ", "a\u202eb"])
def test_the_name_of_the_cluster_is_one_line(name):
    (problem,) = changed(cluster=name)
    assert problem.startswith(f"overlay_cluster {name!r} is not one line of printable characters")


def test_rejects_two_ip_versions_and_names_a_node_of_each():
    nodes = [InventoryNode("a", ["cloud"], "10.0.1.1", 1500), InventoryNode("b", ["cloud"], "fd00::1", 1500)]
    assert list(problems_of_nodes(nodes, SETTINGS)) == [
        (
            "the underlay addresses are IPv4 (node a) and IPv6 (node b): "
            "use one IP version for all nodes (overlay_underlay_ip)"
        )
    ]


def test_rejects_duplicate_underlay_addresses():
    nodes = [InventoryNode("a", ["cloud"], "10.0.1.1", 1500), InventoryNode("b", ["cloud"], "10.0.1.1", 1500)]
    assert list(problems_of_nodes(nodes, SETTINGS)) == [
        "nodes a, b all have the underlay address 10.0.1.1 (overlay_underlay_ip): each needs its own"
    ]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Node object a host of the inventory has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import (
    ApiNode,
    NodeHost,
    match,
    node_of,
    problems_of_node_name,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

A, B = ApiNode("a", internal_ips=("192.0.2.1",)), ApiNode("b", internal_ips=("192.0.2.2", "2001:db8::2"))


@pytest.mark.parametrize(
    ("host", "node"),
    [
        (NodeHost("a"), "a"),
        (NodeHost("a", "192.0.2.9"), "a"),
        (NodeHost("x", "192.0.2.1"), "a"),
        (NodeHost("x", "2001:0db8:0::2"), "b"),
        (NodeHost("x", "192.0.2.9", node="b"), "b"),
        (NodeHost("a", "192.0.2.1", node="b"), "b"),
        (NodeHost("a", "192.0.2.1", node="c"), None),
        (NodeHost("x", "192.0.2.9"), None),
        (NodeHost("x"), None),
    ],
)
def test_a_host_is_the_node_of_its_variable_name_or_address(host, node):
    found = match([host], [A, B])
    assert {name: each.name for name, each in found.nodes.items()} == ({host.name: node} if node else {})
    assert found.not_joined == ([] if node else [host.name])
    assert [each.name for each in found.unknown] == [name for name in ("a", "b") if name != node]


def test_a_name_and_an_address_of_different_nodes_are_ambiguous():
    with pytest.raises(ValidationError) as refused:
        match([NodeHost("a", "192.0.2.2")], [A, B])
    for text in (
        "host a",
        "Node a has its name",
        "Node b has its underlay address 192.0.2.2",
        "overlay_kubernetes_node",
    ):
        assert text in str(refused.value)


def test_an_address_of_two_nodes_is_ambiguous():
    with pytest.raises(ValidationError, match=r"host x .*Node a .*Node c .*overlay_kubernetes_node"):
        match([NodeHost("x", "192.0.2.1")], [A, ApiNode("c", internal_ips=("192.0.2.1",))])


def test_the_name_decides_between_two_nodes_of_one_address():
    assert match([NodeHost("a", "192.0.2.1")], [A, ApiNode("c", internal_ips=("192.0.2.1",))]).nodes == {"a": A}


def test_two_hosts_of_one_node_and_other_errors_are_reported_at_once():
    hosts = [NodeHost("a"), NodeHost("x", "192.0.2.1"), NodeHost("y", node="Y!")]
    with pytest.raises(ValidationError) as refused:
        match(hosts, [A, B])
    assert len(refused.value.problems) == 2
    assert any("a and x would both be Node a" in problem for problem in refused.value.problems)
    assert any("'Y!' of host y" in problem for problem in refused.value.problems)


@pytest.mark.parametrize("name", ["node-1", "10.0.1.11", "a.example.org", "0"])
def test_names_of_nodes_are_accepted(name):
    assert problems_of_node_name(NodeHost("h", node=name)) == []


@pytest.mark.parametrize("name", ["", "Node", "a_b", "-a", "a-", "a..b", "a b", "a\n", "a" * 254, "\u00e9"])
def test_what_is_no_name_of_a_node_is_refused(name):
    (problem,) = problems_of_node_name(NodeHost("h", node=name))
    assert "overlay_kubernetes_node" in problem
    assert "host h" in problem


NAMES = st.sampled_from("abcde")
ADDRESSES = st.sampled_from([f"192.0.2.{number}" for number in range(4)])


@given(
    st.lists(st.builds(NodeHost, NAMES, ADDRESSES, st.none() | NAMES), unique_by=lambda each: each.name),
    st.lists(st.builds(ApiNode, NAMES, internal_ips=st.tuples(ADDRESSES)), unique_by=lambda each: each.name),
)
def test_every_host_and_every_node_has_one_place(hosts, nodes):
    try:
        found = match(hosts, nodes)
    except ValidationError:
        return
    assert sorted([*found.nodes, *found.not_joined]) == sorted(host.name for host in hosts)
    taken = [node.name for node in found.nodes.values()]
    assert sorted([*taken, *(node.name for node in found.unknown)]) == sorted(node.name for node in nodes)


def test_a_node_object_is_read_from_its_json():
    node = node_of(
        {
            "metadata": {"name": "a", "resourceVersion": "7"},
            "spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00::/64"]},
            "status": {
                "addresses": [{"type": "Hostname", "address": "a"}, {"type": "InternalIP", "address": "192.0.2.1"}],
                "conditions": [
                    {"type": "Ready", "status": "True"},
                    {"type": "NetworkUnavailable", "status": "True", "reason": "NoRouteCreated"},
                ],
            },
        }
    )
    assert node == ApiNode("a", ("10.244.0.0/24", "fd00::/64"), ("192.0.2.1",), "True", "NoRouteCreated", "7")


@pytest.mark.parametrize(
    ("spec", "pod_cidrs"), [({"podCIDR": "10.244.0.0/24"}, ("10.244.0.0/24",)), ({"podCIDR": ""}, ()), ({}, ())]
)
def test_a_node_object_may_lack_almost_everything(spec, pod_cidrs):
    assert node_of({"metadata": {"name": "a"}, "spec": spec}) == ApiNode("a", pod_cidrs)
    assert node_of({"metadata": {"name": "a"}, "status": {"conditions": None, "addresses": None}}) == ApiNode("a")

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The stand-in behaves as an API server does, where the collection depends on it; kubectl agrees."""

from __future__ import annotations

import json

import pytest

from standin import Rejected

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def patch(server, path, body, content_type=MERGE):
    return server.request("PATCH", f"/api/v1/nodes/{path}", body, content_type)


def pod_cidr(value):
    return {"spec": {"podCIDR": value, "podCIDRs": [value]}}


def test_pod_cidr_changes_once_from_empty_to_valid(api_server):
    api_server.add_node("a")
    with pytest.raises(Rejected, match=r"422: .*must be a valid CIDR"):
        patch(api_server, "a", pod_cidr("10.0.0.0/33"))
    patch(api_server, "a", pod_cidr("10.0.0.0/24"))
    patch(api_server, "a", pod_cidr("10.0.0.0/24"))
    for value in ("10.0.1.0/24", None):
        with pytest.raises(Rejected, match=r'422: .*may not change podCIDR except from "" to valid'):
            patch(api_server, "a", {"spec": {"podCIDR": value, "podCIDRs": value and [value]}})
    assert api_server.get("nodes", "a")["spec"] == pod_cidr("10.0.0.0/24")["spec"]


def test_status_and_spec_change_only_through_their_own_path(api_server):
    api_server.add_node("a", internal_ip="10.0.0.1")
    both = {**pod_cidr("10.0.0.0/24"), "status": {"phase": "Running"}}
    status = patch(api_server, "a/status", both)
    assert (status["spec"], status["status"]["phase"]) == ({}, "Running")
    spec = patch(api_server, "a", {**both, "status": {"phase": "Terminated"}})
    assert (spec["spec"]["podCIDR"], spec["status"]["phase"]) == ("10.0.0.0/24", "Running")


def test_strategic_patch_merges_conditions_and_a_merge_patch_replaces(api_server):
    api_server.add_node("a")
    body = {"status": {"conditions": [{"type": "NetworkUnavailable", "status": "False"}]}}
    merged = patch(api_server, "a/status", body, STRATEGIC)["status"]["conditions"]
    assert [each["type"] for each in merged] == ["Ready", "NetworkUnavailable"]
    replaced = patch(api_server, "a/status", body)["status"]["conditions"]
    assert [each["type"] for each in replaced] == ["NetworkUnavailable"]


def test_a_change_of_an_old_version_is_a_conflict(api_server):
    api_server.add_node("a")
    old = api_server.get("nodes", "a")["metadata"]["resourceVersion"]
    new = patch(api_server, "a", {"metadata": {"resourceVersion": old, "labels": {"x": "y"}}})["metadata"]
    assert new["resourceVersion"] != old
    with pytest.raises(Rejected, match=r"409: .*has been modified"):
        patch(api_server, "a", {"metadata": {"resourceVersion": old, "labels": {"x": "z"}}})
    same = patch(api_server, "a", {"metadata": {"labels": {"x": "y"}}})["metadata"]
    assert same["resourceVersion"] == new["resourceVersion"]
    with pytest.raises(Rejected, match=r"409: .*already exists"):
        api_server.add_node("a")


def test_address_type_of_an_endpoint_slice_is_immutable(api_server):
    body = {"metadata": {"name": "x"}, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}
    api_server.create("endpointslices", body)
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/x"
    with pytest.raises(Rejected, match=r"422: .*addressType.*immutable"):
        api_server.request("PATCH", path, {"addressType": "FQDN"}, MERGE)
    with pytest.raises(Rejected, match=r"422: .*must be a valid IPv4 address"):
        api_server.request("PATCH", path, {"endpoints": [{"addresses": ["x"]}]}, MERGE)


@pytest.mark.parametrize("path", ["/api/v1/nodes/none", "/api/v2/nodes", "/api/v1/pods", "/api/v1/configmaps/x", "/"])
def test_what_does_not_exist_is_404(api_server, path):
    with pytest.raises(Rejected, match=r"404"):
        api_server.request("GET", path)


def test_kubectl_reads_and_writes_what_others_wrote(api_server):
    api_server.add_node("a", internal_ip="10.0.0.1", pod_cidrs=["10.244.1.0/24"])
    api_server.add_config_map("kube-public", "cluster-info", {"kubeconfig": "x"})
    assert api_server.kubectl("get", "nodes", "-o", "jsonpath={.items[*].spec.podCIDRs[0]}") == "10.244.1.0/24"
    api_server.kubectl("label", "node", "a", "place=here")
    assert api_server.get("nodes", "a")["metadata"]["labels"] == {"place": "here"}
    found = json.loads(api_server.kubectl("-n", "kube-public", "get", "configmap", "cluster-info", "-o", "json"))
    assert found["data"] == {"kubeconfig": "x"}

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What the collection writes to an API server, and what it refuses."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes import record
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.api_service import Vip
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.changes import diffs
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import ApiError, connect
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.node_record import REASON, LedgerNodes
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import NodeHost
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.proxy_settings import PodNetwork
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.servers import Endpoint
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

RBAC = pathlib.Path(__file__).parents[2] / "collections/ansible_collections/tke/overlay/roles/kubernetes/files/rbac.yml"

HOSTS = [NodeHost("a", "192.0.2.1"), NodeHost("b", "192.0.2.2"), NodeHost("c", "192.0.2.3")]
NODE_CIDRS = {"a": "10.244.0.0/24", "b": "10.244.1.0/24", "c": "10.244.2.0/24"}
ENDPOINT = Endpoint("api.demo.internal", "192.0.2.100", 6443, wait=2)
VIP = Vip("192.0.2.100", 6443, wait=0)

KUBECONFIG = """apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo=
    server: https://192.0.2.9:6443 # of the first API server
  name: ""
kind: Config
"""


def ledger(converged=(), fresh=(), hosts=HOSTS, node_cidrs=NODE_CIDRS):
    underlays = {host.name: host.underlay_ip for host in HOSTS}
    return LedgerNodes(node_cidrs, hosts, converged, fresh, underlays=underlays)


def run(server, wanted, kubeconfig=None, check=False):
    """Compare and publish; return the comparison and the notes."""
    api = connect(kubeconfig or server.kubeconfig)
    found = record.compare(api, wanted)
    return found, [] if check else record.publish(api, found.changes)


def conditions(server, name):
    return {each["type"]: each for each in server.get("nodes", name)["status"]["conditions"]}


# --- Node objects ---------------------------------------------------------------------------------


def test_pod_cidrs_are_published_where_they_are_empty(api_server):
    api_server.add_node("a")
    api_server.add_node("node-b", internal_ip="192.0.2.2", pod_cidrs=["10.244.1.0/24", "fd00::/64"])
    found, _notes = run(api_server, record.Wanted(ledger()))
    assert [(row.host, row.node, row.publish) for row in found.rows] == [
        ("a", "a", True),
        ("b", "node-b", False),
        ("c", "", False),
    ]
    assert api_server.get("nodes", "a")["spec"] == {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24"]}
    assert api_server.kubectl("get", "node", "a", "-o", "jsonpath={.spec.podCIDRs[*]}") == "10.244.0.0/24"


def test_a_second_run_changes_nothing(api_server):
    api_server.add_node("a", unavailable="True")
    wanted = record.Wanted(ledger(converged=["a"]), ENDPOINT, VIP)
    run(api_server, wanted)
    before = api_server.get("nodes", "a")
    found, _notes = run(api_server, wanted)
    assert (found.changes, api_server.get("nodes", "a")) == ([], before)


def test_the_comparison_alone_sends_no_write(api_server):
    api_server.add_node("a", unavailable="True")
    found, _notes = run(api_server, record.Wanted(ledger(converged=["a"]), ENDPOINT, VIP), check=True)
    assert {change.part for change in found.changes} == {"nodes", "service"}
    assert {verb for verb, *_rest in api_server.requests("kubernetes-admin")} & {"patch", "update", "delete"} == set()
    nodes, service = diffs(found.changes)
    assert nodes["before"] == "a: podCIDRs none, NetworkUnavailable True (NoRouteCreated)\n"
    assert nodes["after"] == f"a: podCIDRs 10.244.0.0/24, NetworkUnavailable False ({REASON})\n"
    assert "192.0.2.100:6443" in service["after"]


def test_all_contradictions_are_refused_at_once(api_server):
    api_server.add_node("a", pod_cidrs=["10.9.0.0/24"])
    api_server.add_node("b", pod_cidrs=["10.9.1.0/24"])
    api_server.add_node("c")
    with pytest.raises(ValidationError) as refused:
        run(api_server, record.Wanted(ledger(fresh=["b"])))
    first, second = refused.value.problems
    assert "overlay_container_cidr" not in first
    for text in ("10.9.0.0/24", "10.244.0.0/24", "tke.overlay.release", "overlay_node_cidr: 10.9.0.0/24"):
        assert text in first
    assert "kubectl delete node a" in first
    assert "--allocate-node-cidrs=false" in first
    for text in ("10.9.1.0/24", "10.244.1.0/24", "overlay_node_cidr: 10.9.1.0/24 for b"):
        assert text in second
    assert "tke.overlay.release" not in second  # the ledger does not have it yet
    assert api_server.get("nodes", "c")["spec"] == {}


@pytest.mark.parametrize(("pod_cidr", "inside"), [("10.244.7.0/24", True), ("10.9.0.0/24", False)])
def test_a_pin_outside_the_container_cidr_is_no_way_out_alone(api_server, pod_cidr, inside):
    api_server.add_node("a", pod_cidrs=[pod_cidr])
    wanted = LedgerNodes(NODE_CIDRS, HOSTS, container_cidr=["10.244.0.0/16"])
    with pytest.raises(ValidationError, match=pod_cidr) as refused:
        run(api_server, record.Wanted(wanted))
    assert ("appended to overlay_container_cidr" in str(refused.value)) is not inside


@pytest.mark.parametrize("pod_cidrs", [["fd00::/64", "10.244.7.0/24"], ["fd00::/64"]])
def test_an_ipv6_pod_cidr_is_no_node_cidr(api_server, pod_cidrs):
    api_server.add_node("a", pod_cidrs=pod_cidrs)
    with pytest.raises(ValidationError, match=r"fd00::/64.*kubectl delete node a") as refused:
        run(api_server, record.Wanted(ledger()))
    pins = re.findall(r"overlay_node_cidr: (\S+)", str(refused.value))
    assert pins == [each for each in pod_cidrs if "." in each]


def test_a_stranger_with_the_node_cidr_of_a_host_is_refused(api_server):
    api_server.add_node("gone", pod_cidrs=["10.244.1.0/24"])
    api_server.add_node("wide", pod_cidrs=["10.244.2.0/23"])
    api_server.add_node("other", pod_cidrs=["10.99.0.0/24"])
    with pytest.raises(ValidationError) as refused:
        run(api_server, record.Wanted(ledger()))
    first, second = refused.value.problems
    assert re.search(r"Node gone, .*10\.244\.1\.0/24 to b: .*overlay_kubernetes_node: gone for b", first)
    assert "kubectl delete node gone" in first
    assert re.search(r"Node wide, .*10\.244\.2\.0/24 to c", second)


def test_a_node_of_the_ledger_that_left_the_inventory_is_no_stranger(api_server):
    api_server.add_node("a", pod_cidrs=["10.244.0.0/24"])
    api_server.add_node("b.example.net", internal_ip="192.0.2.2", pod_cidrs=["10.244.1.0/24"])
    found, _notes = run(api_server, record.Wanted(ledger(hosts=HOSTS[2:])))
    assert found.changes == []


def test_a_stranger_like_an_absent_host_has_three_ways_out(api_server):
    api_server.add_node("b.example.net", internal_ip="192.0.2.9", pod_cidrs=["10.244.1.0/24"])
    with pytest.raises(ValidationError) as refused:
        run(api_server, record.Wanted(ledger(hosts=HOSTS[2:])))
    (problem,) = refused.value.problems
    for text in ("overlay_kubernetes_node: b.example.net", "overlay_release=b", "kubectl delete node b.example.net"):
        assert text in problem


def test_a_host_that_was_not_matched_is_no_stranger(api_server):
    api_server.add_node("node-b", internal_ip="192.0.2.2", pod_cidrs=["10.244.1.0/24"])
    api_server.add_node("gone", pod_cidrs=["10.244.2.0/23"])
    with pytest.raises(ValidationError) as refused:
        run(api_server, record.Wanted(ledger(hosts=[NodeHost("a", node="A!"), *HOSTS[1:]])))
    first, second = refused.value.problems
    assert "'A!' of host a" in first
    assert "Node gone" in second


def test_a_fresh_node_is_compared_but_not_published(api_server):
    api_server.add_node("a")
    found, _notes = run(api_server, record.Wanted(ledger(converged=["a"], fresh=["a"])))
    assert (found.changes, api_server.get("nodes", "a")["spec"]) == ([], {})


def test_only_converged_nodes_become_available(api_server):
    for name in ("a", "b"):
        api_server.add_node(name, unavailable="True")
    run(api_server, record.Wanted(ledger(converged=["a"])))
    condition = conditions(api_server, "a")["NetworkUnavailable"]
    assert (condition["status"], condition["reason"]) == ("False", REASON)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", condition["lastTransitionTime"])
    assert conditions(api_server, "a")["Ready"]["reason"] == "KubeletNotReady"
    assert conditions(api_server, "b")["NetworkUnavailable"]["status"] == "True"
    assert api_server.get("nodes", "b")["spec"]["podCIDR"] == "10.244.1.0/24"


def test_an_available_node_keeps_the_reason_of_others(api_server):
    api_server.add_node("a", pod_cidrs=["10.244.0.0/24"], unavailable="False")
    found, _notes = run(api_server, record.Wanted(ledger(converged=["a"])))
    assert found.changes == []
    assert conditions(api_server, "a")["NetworkUnavailable"]["reason"] == "NoRouteCreated"


def test_conflicts_with_heartbeats_are_retried(api_server):
    api_server.add_node("a", unavailable="True")
    api_server.control("disturb", times=3)
    run(api_server, record.Wanted(ledger(converged=["a"])))
    assert api_server.get("nodes", "a")["spec"]["podCIDR"] == "10.244.0.0/24"
    assert conditions(api_server, "a")["NetworkUnavailable"]["status"] == "False"


def test_endless_conflicts_are_one_error(api_server):
    api_server.add_node("a")
    api_server.control("disturb", times=99)
    with pytest.raises(ApiError, match=r"Node a was changed by another program during each of 5 attempts"):
        run(api_server, record.Wanted(ledger()))


def test_a_pod_cidr_that_appears_meanwhile_is_not_overwritten(api_server):
    api_server.add_node("a")
    api = connect(api_server.kubeconfig)
    found = record.compare(api, record.Wanted(ledger()))
    api_server.request("PATCH", "/api/v1/nodes/a", {"spec": {"podCIDR": "10.9.0.0/24"}}, "application/merge-patch+json")
    with pytest.raises(ApiError, match=r"10\.9\.0\.0/24 of Node a.*10\.244\.0\.0/24.*--allocate-node-cidrs=false"):
        record.publish(api, found.changes)


def test_a_node_that_is_deleted_meanwhile_is_no_error(api_server):
    api_server.add_node("a", unavailable="True")
    api = connect(api_server.kubeconfig)
    found = record.compare(api, record.Wanted(ledger(converged=["a"])))
    api_server.request("DELETE", "/api/v1/nodes/a")
    assert record.publish(api, found.changes) == []


def test_a_list_of_many_nodes_is_read_page_by_page(api_server, monkeypatch):
    for number in range(7):
        api_server.add_node(f"n{number}")
    monkeypatch.setattr("ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client.PAGE", 3)
    assert [node.name for node in connect(api_server.kubeconfig).nodes()] == [f"n{number}" for number in range(7)]
    assert api_server.requests().count(("list", "nodes", "", "")) == 3


# --- Service kubernetes ---------------------------------------------------------------------------


def leads_to(server):
    endpoints = server.get("endpoints", "kubernetes")
    found = server.get("endpointslices", "kubernetes")
    return endpoints["subsets"][0]["addresses"], found["endpoints"][0]["addresses"], found["metadata"]["labels"]


def test_the_service_is_created_on_the_vip(api_server):
    run(api_server, record.Wanted(ledger(), ENDPOINT, VIP))
    addresses, of_slice, labels = leads_to(api_server)
    assert (addresses, of_slice) == ([{"ip": "192.0.2.100"}], ["192.0.2.100"])
    assert labels == {
        "kubernetes.io/service-name": "kubernetes",
        "endpointslice.kubernetes.io/managed-by": "tke-overlay",
    }
    skip = "jsonpath={.metadata.labels.endpointslice\\.kubernetes\\.io/skip-mirror} {.subsets[*].ports[*]}"
    shown = api_server.kubectl("get", "endpoints", "kubernetes", "-o", skip)
    assert shown.startswith("true ")
    assert '"name":"https"' in shown
    assert run(api_server, record.Wanted(ledger(), ENDPOINT, VIP))[0].changes == []


def test_the_service_is_taken_from_api_servers_that_stopped_reconciling(api_server):
    api_server.control("reconcile", addresses=["192.0.2.9", "192.0.2.10"])
    api_server.control("reconcile", addresses=[])
    found, _notes = run(api_server, record.Wanted(ledger(), ENDPOINT, VIP))
    (diff,) = diffs(found.changes)
    assert "192.0.2.9:6443 192.0.2.10:6443" in diff["before"]
    assert leads_to(api_server)[:2] == ([{"ip": "192.0.2.100"}], ["192.0.2.100"])


def test_an_api_server_that_still_reconciles_is_named(api_server):
    api_server.control("reconcile", addresses=["192.0.2.9"])
    with pytest.raises(
        ApiError, match=r"192\.0\.2\.100:6443 .*put back 192\.0\.2\.9:6443.*reconciler-type=none"
    ) as refused:
        run(api_server, record.Wanted(ledger(), ENDPOINT, VIP._replace(wait=10)))
    assert "overlay_api_service" in str(refused.value)


def test_an_object_that_appears_meanwhile_is_changed(api_server):
    api = connect(api_server.kubeconfig)
    found = record.compare(api, record.Wanted(ledger(), ENDPOINT, VIP))
    api_server.control("reconcile", addresses=["192.0.2.9"])
    api_server.control("reconcile", addresses=[])
    record.publish(api, found.changes)
    assert leads_to(api_server)[:2] == ([{"ip": "192.0.2.100"}], ["192.0.2.100"])


def test_another_slice_of_the_service_is_refused(api_server):
    for name, manager in (("kubernetes-x", "another"), ("kubernetes-y", "endpointslicemirroring-controller.k8s.io")):
        labels = {"kubernetes.io/service-name": "kubernetes", "endpointslice.kubernetes.io/managed-by": manager}
        content = {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.9"]}], "ports": [{"port": 6443}]}
        api_server.create("endpointslices", {"metadata": {"name": name, "labels": labels}, **content})
    with pytest.raises(ValidationError) as refused:
        run(api_server, record.Wanted(ledger(), ENDPOINT, VIP))
    assert re.fullmatch(
        r"EndpointSlice default/kubernetes-x .*192\.0\.2\.9:6443.*delete endpointslice kubernetes-x.*",
        str(refused.value),
    )


def test_a_slice_of_another_address_type_is_refused(api_server):
    labels = {"kubernetes.io/service-name": "kubernetes"}
    api_server.create("endpointslices", {"metadata": {"name": "kubernetes", "labels": labels}, "addressType": "IPv6"})
    with pytest.raises(ValidationError, match=r"addressType IPv6.*delete endpointslice kubernetes"):
        run(api_server, record.Wanted(ledger(), ENDPOINT, VIP))


# --- ConfigMaps -----------------------------------------------------------------------------------


def config_maps(server, text=KUBECONFIG, signed=("abcdef",)):
    signatures = {f"jws-kubeconfig-{token}": "old" for token in signed}
    server.add_config_map("kube-public", "cluster-info", {"kubeconfig": text, **signatures})
    server.add_config_map("kube-system", "kube-proxy", {"kubeconfig.conf": text, "config.conf": "mode: nftables"})


def test_other_servers_are_reported_and_not_changed(api_server):
    config_maps(api_server)
    found, _notes = run(api_server, record.Wanted(ledger(), ENDPOINT))
    assert [(row.where, row.servers, row.differs) for row in found.servers] == [
        ("kube-public/cluster-info", ["https://192.0.2.9:6443"], True),
        ("kube-system/kube-proxy", ["https://192.0.2.9:6443"], True),
    ]
    assert found.changes == []
    assert api_server.get("configmaps", "cluster-info", "kube-public")["data"]["kubeconfig"] == KUBECONFIG


@pytest.mark.parametrize(
    ("server", "port"),
    [("https://api.demo.internal:6443", 6443), ("https://192.0.2.100:6443", 6443), ("https://api.demo.internal", 443)],
)
def test_the_name_and_the_vip_are_the_endpoint(api_server, server, port):
    config_maps(api_server, KUBECONFIG.replace("https://192.0.2.9:6443", server))
    endpoint = ENDPOINT._replace(port=port)
    found, _notes = run(api_server, record.Wanted(ledger(), endpoint, update=["cluster-info", "kube-proxy"]))
    assert ([row.differs for row in found.servers], found.changes) == ([False, False], [])


def test_only_the_server_changes_in_a_listed_config_map(api_server):
    config_maps(api_server)
    api_server.control("sign", tokens=["abcdef"])
    found, notes = run(api_server, record.Wanted(ledger(), ENDPOINT, update=["cluster-info", "kube-proxy"]))
    expected = KUBECONFIG.replace("192.0.2.9", "api.demo.internal")
    info = api_server.get("configmaps", "cluster-info", "kube-public")["data"]
    assert info["kubeconfig"] == expected
    assert info["jws-kubeconfig-abcdef"] not in ("old", "")
    proxy = api_server.get("configmaps", "kube-proxy", "kube-system")["data"]
    assert proxy == {"kubeconfig.conf": expected, "config.conf": "mode: nftables"}
    assert notes == []
    (diff, _of_proxy) = diffs(found.changes)
    assert "QUJD" not in diff["after"]
    assert "https://api.demo.internal:6443" in diff["after"]


def test_a_missing_signer_is_reported_and_no_old_signature_stays(api_server):
    config_maps(api_server)
    _found, notes = run(api_server, record.Wanted(ledger(), ENDPOINT._replace(wait=0.2), update=["cluster-info"]))
    assert re.search(r"cluster-info .*'abcdef'.*kubeadm join.*bootstrapsigner", notes[0])
    assert list(api_server.get("configmaps", "cluster-info", "kube-public")["data"]) == ["kubeconfig"]


@pytest.mark.parametrize("text", ["[", "clusters: [{name: x}]", "clusters: [{cluster: {server: [1]}}]"])
def test_a_config_map_without_a_kubeconfig_is_refused_if_listed(api_server, text):
    config_maps(api_server, text)
    run(api_server, record.Wanted(ledger(), ENDPOINT))
    with pytest.raises(ValidationError, match=r"kube-public/cluster-info .*overlay_kubernetes_update"):
        run(api_server, record.Wanted(ledger(), ENDPOINT, update=["cluster-info"]))


def test_text_of_others_is_printed_without_control_characters(api_server):
    config_maps(api_server, 'clusters: [{cluster: {server: "https://x\\e[31m:1\\nsecond"}}]')
    api_server.add_node("a")
    path, conditions = "/api/v1/nodes/a/status", [{"type": "NetworkUnavailable", "status": "True", "reason": "\x1b[0m"}]
    api_server.request("PATCH", path, {"status": {"conditions": conditions}}, "application/merge-patch+json")
    found, _notes = run(api_server, record.Wanted(ledger(converged=["a"]), ENDPOINT), check=True)
    texts = [*found.servers[0].servers, *diffs(found.changes)[0]["before"].splitlines()]
    assert len(texts) == 2
    assert all(text.isprintable() for text in texts)


def test_config_maps_that_do_not_exist_are_no_error(api_server):
    found, _notes = run(api_server, record.Wanted(ledger(), ENDPOINT, update=["cluster-info", "kube-proxy"]))
    assert ([list(row.servers) for row in found.servers], found.changes) == ([[], []], [])


@pytest.mark.parametrize(
    ("text", "fault"), [("clusterCIDR: 10.42.0.0/16", "10.42.0.0/16"), ("clusterCIDR: 10.244.0.0/16", ""), ("[", None)]
)
def test_settings_of_kube_proxy_are_compared_and_not_changed(api_server, text, fault):
    api_server.add_config_map("kube-system", "kube-proxy", {"config.conf": text})
    network = PodNetwork(["10.244.0.0/16"], "tke-br0", {"a": "192.0.2.1"})
    found, _notes = run(api_server, record.Wanted(ledger(), network=network))
    assert found.changes == []
    if fault is None:
        assert found.proxy is None
    else:
        assert fault in found.proxy.fault
        assert bool(found.proxy.fault) == bool(fault)


def test_a_cluster_without_a_config_map_of_kube_proxy_has_no_row(api_server):
    found, _notes = run(api_server, record.Wanted(ledger(), network=PodNetwork(["10.244.0.0/16"], "tke-br0", {})))
    assert found.proxy is None


# --- users ----------------------------------------------------------------------------------------


def everything(server, kubeconfig):
    """Use every permission: publish, meet a conflict, create the Service and change it, change both ConfigMaps."""
    server.control("disturb", times=1)
    wanted = record.Wanted(ledger(converged=["a"]), ENDPOINT, VIP, ["cluster-info", "kube-proxy"])
    run(server, wanted, kubeconfig)
    moved = VIP._replace(address="192.0.2.101")
    run(server, record.Wanted(wanted.ledger, ENDPOINT, moved), kubeconfig)


def prepared(server, objects):
    server.add_node("a", unavailable="True")
    config_maps(server)
    server.control("sign", tokens=["abcdef"])
    server.control("rbac", objects=objects)
    return server.make_kubeconfig("overlay", {"token": "overlay-token"})


def documents():
    return yaml.safe_load(RBAC.read_text())["items"]


def permissions():
    """Yield every single permission of the file, as document, rule and verb."""
    for number, document in enumerate(documents()):
        for rule, content in enumerate(document.get("rules") or []):
            for verb in content["verbs"]:
                yield number, rule, verb


def test_the_shipped_roles_are_enough(api_server):
    everything(api_server, prepared(api_server, documents()))
    assert api_server.requests("tke-overlay")


@pytest.mark.parametrize(("number", "rule", "verb"), list(permissions()))
def test_the_shipped_roles_have_nothing_to_spare(api_server, number, rule, verb):
    objects = documents()
    objects[number]["rules"][rule]["verbs"].remove(verb)
    resource = objects[number]["rules"][rule]["resources"][0]
    with pytest.raises(ApiError) as refused:
        everything(api_server, prepared(api_server, objects))
    for text in (api_server.url, f"{verb} {resource}", "tke-overlay", "roles/kubernetes/files/rbac.yml"):
        assert text in str(refused.value)


def test_a_refusal_after_the_first_change_says_how_far_it_came(api_server):
    objects = documents()
    objects[0]["rules"][1]["verbs"] = ["get"]
    kubeconfig = prepared(api_server, objects)
    api_server.add_node("b")
    with pytest.raises(ApiError, match=r"1 of 2 changes of Kubernetes were made before"):
        run(api_server, record.Wanted(ledger(converged=["b"])), kubeconfig)

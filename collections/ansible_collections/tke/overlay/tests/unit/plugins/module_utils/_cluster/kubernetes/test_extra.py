# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields of a user are added beside those of the collection; what would replace one of these is refused."""

from __future__ import annotations

import pytest
import yaml

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.render import render
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError


def documents(values, members, extra, host="api1"):
    """Return the documents of a host by kind."""
    changed = [member._replace(extra=extra) for member in members]
    found = yaml.safe_load_all(render(values, changed)[host])
    return {each.get("kind", "config"): each for each in found}


def problems(values, members, extra):
    with pytest.raises(ValidationError) as caught:
        documents(values, members, extra)
    return caught.value.problems


def test_fields_are_added_beside_the_others(values, members):
    extra = {
        "ClusterConfiguration": {
            "kubernetesVersion": "v1.36.2",
            "networking": {"dnsDomain": "demo.example"},
            "apiServer": {"extraArgs": [{"name": "v", "value": 4}, {"name": "profiling", "value": False}]},
            "etcd": {"local": {"dataDir": "/srv/etcd"}},
        },
        "InitConfiguration": {"nodeRegistration": {"criSocket": "unix:///run/x.sock", "taints": []}},
    }
    found = documents(values(), members, extra)
    cluster, init = found["ClusterConfiguration"], found["InitConfiguration"]
    assert cluster["networking"] == {"serviceSubnet": "10.244.255.0/24", "dnsDomain": "demo.example"}
    assert cluster["apiServer"]["extraArgs"][-2:] == [
        {"name": "v", "value": "4"},
        {"name": "profiling", "value": "false"},
    ]
    assert cluster["etcd"] == {"local": {"dataDir": "/srv/etcd"}}
    assert cluster["kubernetesVersion"] == "v1.36.2"
    assert init["nodeRegistration"]["criSocket"] == "unix:///run/x.sock"
    assert init["nodeRegistration"]["taints"] == []
    assert "kubernetesVersion" not in yaml.safe_dump_all(documents(values(), members, extra, "idc1").values())


def test_flags_are_added_in_the_form_of_the_document(values, members):
    extra = {"ClusterConfiguration": {"controllerManager": {"extraArgs": {"v": 4}}}}
    cluster = documents(values(api_version="v1beta3"), members, extra)["ClusterConfiguration"]
    assert cluster["controllerManager"]["extraArgs"] == {"allocate-node-cidrs": "false", "v": "4"}
    extra = {"server": {"kube-apiserver-arg": ["v=4", "x=a=b"], "disable": ["traefik"]}}
    config = documents(values("k3s"), members, extra)["config"]
    assert config["kube-apiserver-arg"][-2:] == ["v=4", "x=a=b"]
    assert config["disable"] == ["traefik"]


def test_a_flag_can_be_given_several_times(values, members):
    issuers = [{"name": "service-account-issuer", "value": f"https://{name}"} for name in ("new", "old")]
    extra = {"ClusterConfiguration": {"apiServer": {"extraArgs": issuers}}}
    cluster = documents(values(), members, extra)["ClusterConfiguration"]
    assert cluster["apiServer"]["extraArgs"][-2:] == issuers
    texts = [f"{each['name']}={each['value']}" for each in issuers]
    config = documents(values("k3s"), members, {"server": {"kube-apiserver-arg": texts}})["config"]
    assert config["kube-apiserver-arg"][-2:] == texts
    extra = {"ClusterConfiguration": {"apiServer": {"extraArgs": issuers}}}
    for problem in problems(values(api_version="v1beta3"), members, extra):
        assert "set a dictionary" in problem


REFUSED = {
    "another value": (
        {"ClusterConfiguration": {"networking": {"serviceSubnet": "10.96.0.0/12"}}},
        ["ClusterConfiguration.networking.serviceSubnet '10.96.0.0/12'", "'10.244.255.0/24'", "the Service range"],
    ),
    "another flag": (
        {
            "ClusterConfiguration": {
                "controllerManager": {"extraArgs": [{"name": "allocate-node-cidrs", "value": True}]}
            }
        },
        ["controllerManager.extraArgs allocate-node-cidrs 'true' replaces", "'false'", "remove it"],
    ),
    "a value instead of fields": (
        {"ClusterConfiguration": {"networking": "none"}},
        ["ClusterConfiguration.networking 'none' replaces a value, but it has fields"],
    ),
    "podSubnet in the Service range": (
        {"ClusterConfiguration": {"networking": {"podSubnet": "10.244.0.0/16"}}},
        ["podSubnet '10.244.0.0/16' overlaps serviceSubnet 10.244.255.0/24", "kubeadm refuses"],
    ),
    "two families": (
        {"ClusterConfiguration": {"networking": {"podSubnet": "10.9.0.0/16,fd00::/56"}}},
        ["has an IPv6 network, and serviceSubnet 10.244.255.0/24 is IPv4 only"],
    ),
    "no network": (
        {"ClusterConfiguration": {"networking": {"podSubnet": "pods"}}},
        ["podSubnet 'pods' is not a network"],
    ),
    "an unknown document": ({"ClusterConfig": {}}, ["'ClusterConfig'", "ClusterConfiguration, JoinConfiguration"]),
    "the document of k3s": ({"server": {"disable": []}}, ["'server'", "the documents of kubeadm are"]),
    "no fields": ({"KubeletConfiguration": ["x"]}, ["KubeletConfiguration is ['x']: set a dictionary"]),
    "its kind": ({"KubeletConfiguration": {"kind": "x"}}, ["KubeletConfiguration.kind is 'x': remove it"]),
    "flags in the older form": (
        {"ClusterConfiguration": {"apiServer": {"extraArgs": {"v": "4"}}}},
        ["apiServer.extraArgs", "set a list of {name: ..., value: ...}"],
    ),
    "another direction of text": (
        {"KubeletConfiguration": {"x": ["a\u202eb"]}},
        ["KubeletConfiguration.x", "characters that cannot be printed"],
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_added_is_refused_once(values, members, kind):
    extra, words = REFUSED[kind]
    (problem,) = problems(values(), members, extra)
    assert problem.startswith("overlay_kubernetes_extra ")
    for word in words:
        assert word in problem


def test_flags_of_k3s_are_texts_with_a_value(values, members):
    (problem,) = problems(values("k3s"), members, {"agent": {"kubelet-arg": ["v"]}})
    assert "agent.kubelet-arg 'v': set a list of name=value" in problem


def test_a_pod_subnet_beside_the_service_range_is_accepted(values, members):
    extra = {"ClusterConfiguration": {"networking": {"podSubnet": "10.244.0.0/17"}}}
    cluster = documents(values(), members, extra)["ClusterConfiguration"]
    assert cluster["networking"]["podSubnet"] == "10.244.0.0/17"
    assert cluster["controllerManager"]["extraArgs"] == [{"name": "allocate-node-cidrs", "value": "false"}]

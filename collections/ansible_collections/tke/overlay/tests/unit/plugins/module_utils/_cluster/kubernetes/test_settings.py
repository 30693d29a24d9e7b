# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cannot work is refused by the variable that a user sets, with the values and the remedy."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.settings import (
    NODE,
    Endpoint,
    JoinSecrets,
    Member,
    default_cert_sans,
    default_dns,
    default_max_pods,
    problems_of,
    warnings_of,
)

NAME, VIP = "api.demo.internal", "10.0.2.8"


@pytest.mark.parametrize("distribution", ["kubeadm", "k3s", "rke2"])
def test_a_cluster_that_works_has_no_problem(values, members, distribution):
    assert problems_of(values(distribution), members) == []


def test_the_defaults_fit_any_node_cidr_and_service_range():
    assert [default_max_pods(usable) for usable in (13, 110, 253)] == [13, 110, 110]
    assert default_dns("10.99.28.0/22") == "10.99.28.10"
    assert default_cert_sans(Endpoint("a", 1)) == ["a"]
    assert default_cert_sans(Endpoint("a", 1, VIP)) == ["a", VIP]


WRONG = {
    "more Pods than addresses": (
        {"max_pods": 254},
        ["overlay_kubernetes_max_pods 254", "253 usable", "overlay_max_pods_per_node", "set 253 or less"],
    ),
    "no Pods": ({"max_pods": 0}, ["overlay_kubernetes_max_pods 0 is not between 1 and 253"]),
    "DNS outside the Service range": (
        {"dns": "10.96.0.10"},
        ["overlay_kubernetes_dns '10.96.0.10' is not in the Service range 10.244.255.0/24"],
    ),
    "DNS at the address of kubernetes": ({"dns": "10.244.255.1"}, ["Service kubernetes", "remove the line"]),
    "DNS elsewhere in the range": ({"dns": "10.244.255.53"}, ["differs from 10.244.255.10, which kubeadm always"]),
    "DNS that is no address": ({"dns": "dns"}, ["overlay_kubernetes_dns 'dns' is not an IPv4 address"]),
    "certificate without the name": (
        {"cert_sans": [VIP, "other.example.net"]},
        ["overlay_kubernetes_cert_sans 10.0.2.8, other.example.net lacks api.demo.internal", "refused"],
    ),
    "certificate without anything": ({"cert_sans": []}, ["[] lacks api.demo.internal and 10.0.2.8"]),
    "certificate for no name": (
        {"cert_sans": [NAME, VIP, "*.example.net", "a b"]},
        ["overlay_kubernetes_cert_sans: 'a b' is neither a host name nor an address"],
    ),
    "name in capitals": (
        {"endpoint": Endpoint("API.example.net", 6443, VIP), "cert_sans": ["API.example.net", VIP]},
        ["overlay_api_name 'API.example.net' is not a host name in lower case"],
    ),
    "two API servers without a name": (
        {"endpoint": Endpoint("", 6443), "own_service": False},
        ["api1, api2 have no common name", "overlay_clb_subnet", "overlay_api_name"],
    ),
    "the Service on a VIP without a VIP": (
        {"endpoint": Endpoint(NAME, 6443)},
        ["overlay_api_service is vip, and there is no VIP", "overlay_clb_subnet"],
    ),
    "a short token": ({"secrets": JoinSecrets("secret")}, ["overlay_kubernetes_token", "kubeadm token generate"]),
    "a hash of another kind": (
        {"secrets": JoinSecrets(ca_hashes=["md5:12"])},
        ["overlay_kubernetes_ca_hashes: 'md5:12' is not sha256: and 64"],
    ),
    "a short key": (
        {"secrets": JoinSecrets(certificate_key="secret")},
        ["overlay_kubernetes_certificate_key", "kubeadm certs certificate-key"],
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_cannot_work_is_one_problem_with_its_remedy(values, members, kind):
    changed, words = WRONG[kind]
    (problem,) = problems_of(values(**changed), members)
    for word in words:
        assert word in problem
    assert "'secret'" not in problem


def test_all_problems_are_found_at_once(values, members):
    changed = {"max_pods": 999, "dns": "10.96.0.10", "cert_sans": [NAME]}
    assert len(problems_of(values(**changed), members)) == 3


HOSTS = {
    "a name as address": (
        Member("x", "x", "x.example.net"),
        ["host x", "'x.example.net' is not numeric", "overlay_kubernetes_node_ip or overlay_underlay_ip"],
    ),
    "an IPv6 address": (Member("x", "x", "fd00::1"), ["'fd00::1' is IPv6", "overlay_kubernetes_node_ip"]),
    "a name that is no Node name": (Member("x_1", "x_1", "10.0.0.1"), ["'x_1'", "overlay_kubernetes_node"]),
    "the Node name of another": (Member("x", "api2", "10.0.0.1"), ["api2, x", "'api2'", "overlay_kubernetes_node"]),
    "the address of another": (Member("x", "x", "10.0.1.22"), ["api2, x", "10.0.1.22", "overlay_kubernetes_node_ip"]),
    "a path as name": (Member("../x", "x", "10.0.0.1"), ["'../x'", "letters, digits"]),
}


@pytest.mark.parametrize("kind", HOSTS)
def test_a_host_that_cannot_be_a_node_is_named(values, members, kind):
    member, words = HOSTS[kind]
    (problem,) = problems_of(values(), [*members, member])
    for word in words:
        assert word in problem


def test_nodes_need_an_api_server_to_join(values, members):
    (node,) = [member for member in members if member.role == NODE]
    (problem,) = problems_of(values(endpoint=Endpoint("", 6443), cert_sans=[], own_service=False), [node])
    assert "no host is in group apiserver" in problem


def test_rke2_needs_the_port_at_which_hosts_register(values, members):
    (problem,) = problems_of(values("rke2", endpoint=Endpoint(NAME, 6443, VIP, [443])), members)
    for word in (f"{NAME}:9345", "overlay_clb_listeners", '"10.0.1.21:9345", "10.0.1.22:9345"', "vip: apiserver"):
        assert word in problem
    assert problems_of(values("rke2", endpoint=Endpoint(NAME, 6443, VIP, None)), members) == []
    (problem,) = problems_of(values("rke2", endpoint=Endpoint(NAME, 443, VIP, [9345])), members)
    assert "overlay_api_port is 443" in problem


@pytest.mark.parametrize("distribution", ["k3s", "rke2"])
def test_secrets_of_kubeadm_are_refused_elsewhere(values, members, distribution):
    secrets = JoinSecrets("a\nb", ["sha256:" + "0" * 64], "0" * 64)
    found = problems_of(values(distribution, secrets=secrets), members)
    assert [problem.split()[0] for problem in found] == [
        *("overlay_kubernetes_token", "overlay_kubernetes_ca_hashes", "overlay_kubernetes_certificate_key")
    ]
    assert "a\nb" not in "".join(found)


def test_what_is_missing_is_a_warning_with_the_hosts(values, members):
    assert warnings_of(values(), members) == []
    token, certificates = warnings_of(values(secrets=JoinSecrets()), members)
    for word in ("2 joining hosts", "overlay_kubernetes_token and overlay_kubernetes_ca_hashes (or overlay_api_ca)"):
        assert word in token
    assert "api2" in certificates
    (token,) = warnings_of(values("k3s", secrets=JoinSecrets()), members)
    assert "ca_hashes" not in token
    assert warnings_of(values(secrets=JoinSecrets()), members[:1]) == []


def test_a_kubelet_without_a_network_is_a_warning(values, members):
    members[0] = members[0]._replace(has_pods=False)
    (warning,) = warnings_of(values(), members)
    for word in ("api1:", "NotReady", "overlay_pods"):
        assert word in warning

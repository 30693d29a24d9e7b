# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files: how they read, that YAML returns the values, and that programs know each field and flag in them."""

from __future__ import annotations

import pathlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.render import (
    HIDDEN,
    HIDDEN_NEW,
    MARK,
    render,
    without_secrets,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.settings import (
    ClusterValues,
    Endpoint,
    Member,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.tests.unit.plugins.module_utils._cluster.kubernetes.schemas import (
    FLAGS,
    KUBE_PROXY,
    KUBELET,
    RANCHER,
    kubeadm,
)

GOLDEN = pathlib.Path(__file__).parent / "golden"
FORMATS = [("kubeadm", "v1beta4"), ("kubeadm", "v1beta3"), ("k3s", "v1beta4"), ("rke2", "v1beta4")]
IDS = ["kubeadm-v1beta4", "kubeadm-v1beta3", "k3s", "rke2"]
TWO_CIDRS = {"container_cidrs": ["10.244.0.0/16", "10.9.0.0/16"], "proxy_mode": "nftables"}


def parsed(text):
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize(("distribution", "version"), FORMATS, ids=IDS)
def test_renders_the_golden_files(values, members, distribution, version, request):
    """Each golden file has the files of all hosts, one after the other."""
    texts = render(values(distribution, api_version=version), members)
    golden = GOLDEN / f"{request.node.callspec.id}.txt"
    assert "".join(f"=== {host}\n{text}" for host, text in texts.items()) == golden.read_text()


def unknown(found, known, path):
    """Yield the fields that a program does not know."""
    for item in found if isinstance(found, list) else [found]:
        for name, value in item.items():
            if name not in known:
                yield f"{path}.{name}"
            elif isinstance(known[name], dict):
                yield from unknown(value, known[name], f"{path}.{name}")


def flags(tree, part=""):
    """Yield the flags in a document, with the part that has them."""
    for name, value in tree.items():
        if name.lower().endswith("args"):
            items = value.items() if isinstance(value, dict) else [(each["name"], each["value"]) for each in value]
            yield from ((part, flag, each) for flag, each in items)
        elif name.endswith("-arg"):
            yield from ((name, *each.split("=", 1)) for each in value)
        elif isinstance(value, dict):
            yield from flags(value, name)


@pytest.mark.parametrize("changed", [{}, TWO_CIDRS], ids=["one CIDR", "two CIDRs"])
@pytest.mark.parametrize("version", ["v1beta4", "v1beta3"])
def test_kubeadm_knows_every_field_and_flag(values, members, version, changed):
    kinds = {**kubeadm(version), "KubeProxyConfiguration": KUBE_PROXY, "KubeletConfiguration": KUBELET}
    seen = set()
    for text in render(values(api_version=version, **changed), members).values():
        for document in parsed(text):
            kind, api = document.pop("kind"), document.pop("apiVersion")
            assert api.endswith(f"/{version}") == (kind in kubeadm(version))
            assert list(unknown(document, kinds[kind], kind)) == []
            for part, flag, value in flags(document):
                assert flag in FLAGS[part].split(), part
                assert isinstance(value, str), "kubeadm takes only texts"
            seen.add(kind)
    assert seen == set(kinds)


@pytest.mark.parametrize("changed", [{}, TWO_CIDRS], ids=["one CIDR", "two CIDRs"])
@pytest.mark.parametrize("distribution", ["k3s", "rke2"])
def test_k3s_and_rke2_know_every_key_and_flag(values, members, distribution, changed):
    for host, text in render(values(distribution, **changed), members).items():
        (document,) = parsed(text)
        known = RANCHER[distribution, "agent" if host == "idc1" else "server"]
        assert list(unknown(document, known, host)) == []
        for part, flag, _value in flags(document):
            assert flag in FLAGS[part].split(), part


@pytest.mark.parametrize(("distribution", "version"), FORMATS, ids=IDS)
def test_every_value_has_a_comment(values, members, distribution, version):
    """A line with a value follows a comment, or a line of the same list."""
    for text in render(values(distribution, api_version=version), members).values():
        lines = text.splitlines()
        for above, line in zip(lines, lines[1:]):
            name, _mark, value = line.strip().partition(": ")
            if value and name not in ("apiVersion", "kind", "value") and not line.strip().startswith(("#", "- {")):
                assert above.strip().startswith("#"), line


def test_what_differs_from_host_to_host_is_in_its_own_file(values, members):
    texts = {host: parsed(text) for host, text in render(values(), members).items()}
    init, cluster, proxy, kubelet = texts["api1"]
    assert cluster["networking"] == {"serviceSubnet": "10.244.255.0/24"}
    assert cluster["controlPlaneEndpoint"] == "api.demo.internal:6443"
    assert (proxy["clusterCIDR"], kubelet["maxPods"]) == ("10.244.0.0/16", 110)
    assert init["localAPIEndpoint"] == {"advertiseAddress": "10.0.1.21", "bindPort": 6443}
    (server,), (node,) = texts["api2"], texts["idc1"]
    assert server["controlPlane"]["localAPIEndpoint"]["advertiseAddress"] == "10.0.1.22"
    assert "controlPlane" not in node
    assert node["nodeRegistration"] == {
        "name": "idc1.example.net",
        "kubeletExtraArgs": [{"name": "node-ip", "value": "192.168.1.11"}],
    }


def test_the_endpoints_are_left_to_the_api_servers_by_default(values, members):
    texts = render(values(own_service=False), members)
    assert "endpoint-reconciler-type" not in "".join(texts.values())
    assert "enable-aggregator-routing" in texts["api1"]


def test_several_container_cidrs_need_the_bridge(values, members):
    _init, _cluster, proxy, _kubelet = parsed(render(values(**TWO_CIDRS), members)["api1"])
    assert proxy["detectLocalMode"] == "BridgeInterface"
    assert proxy["detectLocal"] == {"bridgeInterface": "tke-br0"}
    assert "clusterCIDR" not in proxy
    (agent,) = parsed(render(values("k3s", **TWO_CIDRS), members)["idc1"])
    assert agent["kube-proxy-arg"] == [
        *("proxy-mode=nftables", "detect-local-mode=BridgeInterface", "pod-bridge-interface=tke-br0")
    ]


def test_agents_of_k3s_keep_their_balancer_without_a_vip(values, members):
    endpoint = Endpoint("api.demo.internal", 7443)
    texts = render(values("k3s", endpoint=endpoint, cert_sans=["api.demo.internal"], own_service=False), members)
    (server,), (agent,) = parsed(texts["api1"]), parsed(texts["idc1"])
    assert "disable-apiserver-lb" not in agent
    assert agent["server"] == "https://api.demo.internal:7443"
    assert (server["https-listen-port"], server["cluster-init"]) == (7443, True)


@pytest.mark.parametrize("distribution", ["k3s", "rke2"])
def test_only_the_pair_needs_an_answer_to_anonymous_checks(values, members, distribution):
    assert '"anonymous-auth=true"' in render(values(distribution), members)["api2"]
    external = Endpoint("api.demo.internal", 6443, "10.0.2.8", None)
    assert "anonymous-auth" not in render(values(distribution, endpoint=external), members)["api2"]
    assert "anonymous-auth" not in render(values(), members)["api1"]


def test_a_comment_never_precedes_the_first_separator(values, members):
    """kubeadm takes it for a document without a kind."""
    for text in render(values(), members).values():
        assert text.startswith(MARK)
        assert not text.partition("\napiVersion:")[0].endswith("---")


def test_all_problems_of_all_hosts_are_in_one_error(values, members):
    members[0] = members[0]._replace(extra={"JoinConfig": {}})
    members[2] = members[2]._replace(address="db.example.net")
    with pytest.raises(ValidationError) as caught:
        render(values(max_pods=300), members)
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    for word in ("max_pods 300", "253 usable", "db.example.net", "overlay_kubernetes_node_ip", "'JoinConfig'"):
        assert word in text


PLAIN = st.text(max_size=20).filter(str.isprintable)
NAMES = st.sampled_from(["yes", "null", "a: b", "- x", "#", "é", "1e3", "x-y", "Name"]) | PLAIN.filter(bool)
TREES = st.recursive(
    PLAIN | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, min_size=1, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(NAMES.filter(lambda name: name not in ("apiVersion", "kind")), TREES, max_size=4))
def test_yaml_reads_the_fields_of_a_user_as_they_are(tree):
    endpoint = Endpoint("10.0.1.21", 6443)
    values = ClusterValues(
        *("kubeadm", endpoint, ["10.244.0.0/16"], "10.244.255.0/24", 253, 110, "10.244.255.10", ["10.0.1.21"])
    )
    member = Member("a", "a", "10.0.1.21", "first", extra={"KubeletConfiguration": {"x": tree} if tree else {}})
    *_others, kubelet = parsed(render(values, [member])["a"])
    assert kubelet.get("x", {}) == tree


def test_a_diff_shows_no_secret(values, members):
    old = render(values(), members)["api2"]
    secrets = values().secrets._replace(token="bbbbbb.0123456789abcdef")
    new = render(values(secrets=secrets), members)["api2"]
    before, after = without_secrets(old, new)
    for secret in (values().secrets.token, values().secrets.certificate_key, secrets.token):
        assert secret not in before + after
    assert after.count(HIDDEN_NEW) == 1
    assert before.count(HIDDEN) == 2
    assert "certSANs" not in before
    assert without_secrets(old, old)[0] == without_secrets(old, old)[1]


def test_secrets_of_every_form_are_hidden(values, members):
    first = render(values(), members)["api1"]
    k3s = render(values("k3s"), members)["idc1"]
    text = first + k3s + 'agent-token: "x\\"y"\nx: {"secret": "z z"}\n'
    for secret in ("abcdef.0123456789abcdef", "4e4e4e", "K10-secret", 'x\\"y', "z z"):
        assert secret in text
        assert secret not in without_secrets("", text)[1]

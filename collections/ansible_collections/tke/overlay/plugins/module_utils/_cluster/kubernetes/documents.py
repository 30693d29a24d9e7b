# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documents of each distribution, as trees of fields: kubeadm's kinds, and ``config.yaml`` of k3s and RKE2.

Every value has the key of its reason in :data:`reasons.REASONS`.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.settings import (
    FIRST,
    K3S,
    KUBEADM,
    NODE,
    RKE2,
    SUPERVISOR_PORT,
    ClusterValues,
    Member,
)


class Value(t.NamedTuple):
    """One value, and the key of its reason; without a key it is a value of the user."""

    value: t.Any
    about: str = ""


class Omitted(t.NamedTuple):
    """A field that is left out on purpose, and the key of the reason."""

    about: str


class Arguments(t.NamedTuple):
    """Flags of a program: names and values. ``style`` is how the document writes them: LIST, MAP or TEXTS.

    A name can occur several times, as ``service-account-issuer`` of kube-apiserver does.
    """

    style: str
    items: t.Sequence[tuple[str, Value]]


LIST, MAP, TEXTS = "list", "map", "texts"
"""Flags as a list of name and value (kubeadm v1beta4), as a map (v1beta3), as a list of name=value (k3s, RKE2)."""

Fields = t.Dict[str, t.Any]
"""Name -> Value, Omitted, Arguments or further Fields."""


class Document(t.NamedTuple):
    """One YAML document. ``name`` is kubeadm's kind, or ``server`` and ``agent`` of k3s and RKE2."""

    name: str
    fields: Fields
    api_version: str = ""


NAMES = {
    KUBEADM: (
        *("InitConfiguration", "ClusterConfiguration", "JoinConfiguration"),
        *("KubeProxyConfiguration", "KubeletConfiguration"),
    ),
    K3S: ("server", "agent"),
    RKE2: ("server", "agent"),
}
"""The documents of each distribution, to which a user can add fields."""


def documents_of(values: ClusterValues, member: Member) -> list[Document]:
    """Return the documents in the file of a host."""
    if values.distribution != KUBEADM:
        fields = _agent(values, member) if member.role == NODE else _server(values, member)
        return [Document("agent" if member.role == NODE else "server", _used(fields))]
    version = f"kubeadm.k8s.io/{values.api_version}"
    if member.role != FIRST:
        return [Document("JoinConfiguration", _used(_join(values, member)), version)]
    return [
        Document("InitConfiguration", _used(_init(values, member)), version),
        Document("ClusterConfiguration", _used(_cluster(values)), version),
        Document("KubeProxyConfiguration", _used(_proxy(values)), "kubeproxy.config.k8s.io/v1alpha1"),
        Document("KubeletConfiguration", _used(_kubelet(values)), "kubelet.config.k8s.io/v1beta1"),
    ]


def _used(fields: Fields) -> Fields:
    """Return the fields without those that have no value."""
    used = {name: _without_unset(field) for name, field in fields.items()}
    return {name: field for name, field in used.items() if _is_set(field)}


def _without_unset(field: t.Any) -> t.Any:
    if isinstance(field, dict):
        return _used(field)
    if isinstance(field, Arguments):
        return field._replace(items=[(name, each) for name, each in field.items if _is_set(each)])
    return field


def _is_set(field: t.Any) -> bool:
    if isinstance(field, Arguments):
        return bool(field.items)
    return field != {} and not (isinstance(field, Value) and field.value in (None, "", []))


# --- kubeadm --------------------------------------------------------------------------------------


def _style(values: ClusterValues) -> str:
    return LIST if values.api_version == "v1beta4" else MAP


def _registration(values: ClusterValues, member: Member) -> Fields:
    return {
        "name": Value(member.node, "node_name"),
        "kubeletExtraArgs": Arguments(_style(values), [("node-ip", Value(member.address, "node_ip"))]),
    }


def _local_endpoint(values: ClusterValues, member: Member) -> Fields:
    return {
        "advertiseAddress": Value(member.address, "advertise"),
        "bindPort": Value(values.endpoint.port, "bind_port"),
    }


def _init(values: ClusterValues, member: Member) -> Fields:
    token = values.secrets.token
    return {
        "bootstrapTokens": Value([{"token": token}] if token else [], "token"),
        "certificateKey": Value(values.secrets.certificate_key, "certificate_key"),
        "localAPIEndpoint": _local_endpoint(values, member),
        "nodeRegistration": _registration(values, member),
    }


def _cluster(values: ClusterValues) -> Fields:
    return {
        "controlPlaneEndpoint": Value(f"{values.endpoint.name}:{values.endpoint.port}", "endpoint"),
        "networking": {
            "serviceSubnet": Value(values.service_cidr, "service_range"),
            "podSubnet": Omitted("no_pod_subnet"),
        },
        "apiServer": {
            "certSANs": Value(list(values.cert_sans), "cert_sans"),
            "extraArgs": Arguments(_style(values), _api_server_flags(values)),
        },
        "controllerManager": {"extraArgs": Arguments(_style(values), _controller_flags())},
    }


def _join(values: ClusterValues, member: Member) -> Fields:
    token, hashes, key = values.secrets
    control_plane = {"certificateKey": Value(key, "certificate_key"), **_of_server(values, member)}
    return {
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": Value(f"{values.endpoint.name}:{values.endpoint.port}", "server"),
                "token": Value(token, "token"),
                "caCertHashes": Value(list(hashes), "ca_hashes"),
            }
        },
        "controlPlane": {} if member.role == NODE else control_plane,
        "nodeRegistration": _registration(values, member),
    }


def _of_server(values: ClusterValues, member: Member) -> Fields:
    return {"localAPIEndpoint": _local_endpoint(values, member)}


def _api_server_flags(values: ClusterValues) -> list[tuple[str, Value]]:
    # kubeadm leaves the default of Kubernetes, true.
    checked = values.distribution != KUBEADM and values.endpoint.has_pair
    return [
        ("anonymous-auth", Value("true" if checked else "", "anonymous")),
        ("enable-aggregator-routing", Value("true", "aggregator")),
        ("endpoint-reconciler-type", Value("none" if values.own_service else "", "reconciler")),
    ]


def _controller_flags() -> list[tuple[str, Value]]:
    return [("allocate-node-cidrs", Value("false", "allocate"))]


def _proxy(values: ClusterValues) -> Fields:
    one = len(values.container_cidrs) == 1
    return {
        "mode": Value(values.proxy_mode, "proxy_mode"),
        "detectLocalMode": Value("ClusterCIDR" if one else "BridgeInterface", "detect_mode"),
        "clusterCIDR": Value(values.container_cidrs[0] if one else "", "detect_cidr"),
        "detectLocal": {"bridgeInterface": Value("" if one else values.bridge, "detect_bridge")},
    }


def _kubelet(values: ClusterValues) -> Fields:
    return {"maxPods": Value(values.max_pods, "max_pods"), "clusterDNS": Value([values.dns], "dns")}


# --- k3s and RKE2 ---------------------------------------------------------------------------------


def _common(values: ClusterValues, member: Member) -> Fields:
    """Return the fields of a server and of an agent."""
    one = len(values.container_cidrs) == 1
    proxy = [
        ("proxy-mode", Value(values.proxy_mode, "proxy_mode")),
        ("detect-local-mode", Value("" if one else "BridgeInterface", "detect_mode")),
        ("pod-bridge-interface", Value("" if one else values.bridge, "detect_bridge")),
    ]
    return {
        "token": Value(values.secrets.token, "token"),
        "node-name": Value(member.node, "node_name"),
        "node-ip": Value(member.address, "node_ip"),
        "kubelet-arg": Arguments(TEXTS, [("max-pods", Value(str(values.max_pods), "max_pods"))]),
        "kube-proxy-arg": Arguments(TEXTS, proxy),
    }


def _register_at(values: ClusterValues) -> str:
    port = SUPERVISOR_PORT if values.distribution == RKE2 else values.endpoint.port
    return f"https://{values.endpoint.name}:{port}"


def _agent(values: ClusterValues, member: Member) -> Fields:
    # RKE2 has no such option: its agents follow the endpoints of the Service kubernetes.
    balanced = values.distribution == K3S and values.endpoint.vip
    return {
        "server": Value(_register_at(values), "server"),
        "disable-apiserver-lb": Value(True if balanced else None, "agent_lb"),
        **_common(values, member),
    }


def _server(values: ClusterValues, member: Member) -> Fields:
    first = member.role == FIRST
    if values.distribution == K3S:
        network: Fields = {
            "flannel-backend": Value("none", "no_cni"),
            "disable-network-policy": Value(True, "no_policy"),
            "https-listen-port": Value(values.endpoint.port if values.endpoint.port != 6443 else None, "bind_port"),
            "cluster-init": Value(True if first else None, "begin"),
        }
    else:
        network = {"cni": Value("none", "no_cni")}
    return {
        "server": Value("" if first else _register_at(values), "server"),
        "tls-san": Value(list(values.cert_sans), "cert_sans"),
        "cluster-cidr": Value(values.container_cidrs[0], "pod_range"),
        "service-cidr": Value(values.service_cidr, "service_range"),
        "cluster-dns": Value(values.dns, "dns"),
        **network,
        "egress-selector-mode": Value("disabled", "egress"),
        "kube-apiserver-arg": Arguments(TEXTS, _api_server_flags(values)),
        "kube-controller-manager-arg": Arguments(TEXTS, _controller_flags()),
        **_common(values, member),
    }

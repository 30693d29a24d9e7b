# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How kube-proxy recognises the traffic of Pods, as its ConfigMap says it, compared with the overlay.

A wrong setting is no error of the playbook: the cluster runs, and loses a part of its requests to Services.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import typing as t

try:
    import yaml
except ImportError:  # ansible-test imports every module_utils without it; client.connect() checks it
    HAS_YAML = False
else:
    HAS_YAML = True

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import CONFIG_MAPS, Api
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

NAMESPACE, NAME, KEY = "kube-system", "kube-proxy", "config.conf"

CLUSTER_CIDR, BRIDGE, PREFIX = "ClusterCIDR", "BridgeInterface", "InterfaceNamePrefix"
"""Values of detectLocalMode that this module knows; NodeCIDR reads the podCIDR that is published."""


@dataclasses.dataclass(frozen=True)
class PodNetwork:
    """What is a Pod's traffic on a node. ``underlays``: host -> its underlay address."""

    container_cidrs: t.Sequence[str]
    bridge: str
    underlays: t.Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class ProxyRow:
    """What kube-proxy reads, and the fault and its remedy; these are empty where it agrees with the overlay."""

    mode: str
    value: str
    fault: str = ""
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the row as data of a result."""
        return dataclasses.asdict(self)


def compare(api: Api, network: PodNetwork) -> ProxyRow | None:
    """Return what the ConfigMap says; ``None`` if there is none, or it is no KubeProxyConfiguration."""
    found = api.get(CONFIG_MAPS, NAME, NAMESPACE)
    text = str(((found or {}).get("data") or {}).get(KEY, ""))
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return row_of(document, network) if isinstance(document, dict) else None


def row_of(document: t.Mapping[str, t.Any], network: PodNetwork) -> ProxyRow:
    """Compare a KubeProxyConfiguration with the overlay."""
    mode = _text(document.get("detectLocalMode")) or CLUSTER_CIDR
    local = document.get("detectLocal")
    local = local if isinstance(local, dict) else {}
    if mode == CLUSTER_CIDR:
        value = _text(document.get("clusterCIDR"))
        fault = _fault_of_cidr(value, network)
    elif mode == BRIDGE:
        value = _text(local.get("bridgeInterface"))
        fault = _fault_of_link("bridgeInterface", value, network, value == network.bridge)
    elif mode == PREFIX:
        value = _text(local.get("interfaceNamePrefix"))
        fits = bool(value) and network.bridge.startswith(value)
        fault = _fault_of_link("interfaceNamePrefix", value, network, fits)
    else:
        return ProxyRow(mode, "")
    return ProxyRow(mode, value, fault, _remedy(network) if fault else "")


def _text(value: t.Any) -> str:
    """Return a value of the ConfigMap without control characters; empty for none."""
    return "" if value is None else shown(str(value))[1:-1]


def _fault_of_cidr(value: str, network: PodNetwork) -> str:
    cidrs = ", ".join(network.container_cidrs)
    if not value:
        return (
            f"has detectLocalMode {CLUSTER_CIDR} and no clusterCIDR, and overlay_container_cidr is {cidrs}: requests "
            f"of a node to a Service are lost where the Pod is on another node (counter inner_source)"
        )
    ours = [ipaddress.IPv4Network(cidr) for cidr in network.container_cidrs]
    given = [each for each in map(_network, value.split(",")) if each is not None]
    if any(not any(our.subnet_of(each) for each in given) for our in ours):
        return (
            f"has clusterCIDR {value}, and overlay_container_cidr is {cidrs}: kube-proxy takes Pods outside of its "
            f"clusterCIDR for clients from outside the cluster, and replaces their addresses"
        )
    inside = [
        f"{address} ({host})"
        for host, address in network.underlays.items()
        if any(ipaddress.ip_address(address) in each for each in given)
    ]
    if inside:
        return (
            f"has clusterCIDR {value}, which contains underlay addresses such as {inside[0]}, and "
            f"overlay_container_cidr is {cidrs}: kube-proxy takes these nodes for Pods, so their requests to a Service "
            f"are lost where the Pod is on another node (counter inner_source)"
        )
    return ""


def _network(text: str) -> ipaddress.IPv4Network | None:
    """Return an IPv4 network; ``None`` for another text, such as the IPv6 half of a dual-stack value."""
    try:
        return ipaddress.IPv4Network(text.strip(), strict=False)
    except ValueError:
        return None


def _fault_of_link(field: str, value: str, network: PodNetwork, fits: bool) -> str:
    if fits:
        return ""
    has = f"detectLocal.{field} {value}" if value else f"no detectLocal.{field}"
    return (
        f"has {has}, and the Pod bridge is {network.bridge} (overlay_bridge): kube-proxy takes Pods for clients from "
        f"outside the cluster, and replaces their addresses"
    )


def _remedy(network: PodNetwork) -> str:
    if len(network.container_cidrs) == 1:
        values = f"detectLocalMode: {CLUSTER_CIDR} and clusterCIDR: {network.container_cidrs[0]}"
    else:
        values = f"detectLocalMode: {BRIDGE} and detectLocal: {{bridgeInterface: {network.bridge}}}"
    return (
        f"kubectl -n {NAMESPACE} edit configmap {NAME}: set {values} in {KEY}; then kubectl -n {NAMESPACE} rollout "
        f"restart daemonset {NAME}"
    )

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node objects of Kubernetes, and which host of the inventory each of them is."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

NODE_VARIABLE = "overlay_kubernetes_node"
"""The variable of a host that names its Node object."""

NODE_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
"""The name of a Node object. It can be an IPv4 address, unlike a host name."""

NETWORK_UNAVAILABLE = "NetworkUnavailable"
"""The condition of a Node that the network of the cluster sets."""


@dataclasses.dataclass(frozen=True)
class ApiNode:
    """What this collection reads of a Node object.

    ``network_unavailable`` is the status of that condition (``True``, ``False``, ``Unknown``), empty without it.
    """

    name: str
    pod_cidrs: tuple[str, ...] = ()
    internal_ips: tuple[str, ...] = ()
    network_unavailable: str = ""
    network_reason: str = ""
    resource_version: str = ""


@dataclasses.dataclass(frozen=True)
class NodeHost:
    """A host of the inventory. ``node`` is its ``overlay_kubernetes_node``, ``None`` if that is not set."""

    name: str
    underlay_ip: str = ""
    node: str | None = None


@dataclasses.dataclass(frozen=True)
class Matches:
    """The Node object of each host that has joined, the hosts without one, and the Node objects of no host."""

    nodes: t.Mapping[str, ApiNode]
    not_joined: t.Sequence[str]
    unknown: t.Sequence[ApiNode]


def node_of(node: t.Mapping[str, t.Any]) -> ApiNode:
    """Return a Node object of the API, given as the dictionary of its JSON."""
    metadata, spec, status = (node.get(part) or {} for part in ("metadata", "spec", "status"))
    pod_cidrs = spec.get("podCIDRs") or [spec["podCIDR"]] if spec.get("podCIDR") else []
    conditions = [each for each in status.get("conditions") or [] if each.get("type") == NETWORK_UNAVAILABLE]
    condition = conditions[0] if conditions else {}
    return ApiNode(
        name=str(metadata.get("name", "")),
        pod_cidrs=tuple(map(str, pod_cidrs)),
        internal_ips=tuple(
            str(each.get("address")) for each in status.get("addresses") or [] if each.get("type") == "InternalIP"
        ),
        network_unavailable=str(condition.get("status", "")),
        network_reason=str(condition.get("reason", "")),
        resource_version=str(metadata.get("resourceVersion", "")),
    )


def match(hosts: t.Sequence[NodeHost], nodes: t.Sequence[ApiNode]) -> Matches:
    """Return which Node object each host has.

    A host's Node object is the one that its variable names; without the variable, the one with the name of the host,
    or else the only one with the underlay address of the host as an InternalIP.

    :raises ValidationError: names every host that could be several Node objects, and every Node object that several
        hosts would be.
    """
    by_name = {node.name: node for node in nodes}
    by_address: dict[str, list[ApiNode]] = {}
    for node in nodes:
        for address in dict.fromkeys(map(_canonical, node.internal_ips)):
            by_address.setdefault(address, []).append(node)
    found: dict[str, ApiNode] = {}
    problems: list[str] = []
    for host in hosts:
        candidates = _candidates(host, by_name, by_address)
        problems += problems_of_node_name(host) or _problems_of_candidates(host, candidates)
        if len(candidates) == 1:
            found[host.name] = candidates[0]
    problems += _problems_of_owners(found)
    if problems:
        raise ValidationError(*problems)
    taken = {node.name for node in found.values()}
    return Matches(
        nodes=found,
        not_joined=[host.name for host in hosts if host.name not in found],
        unknown=[node for node in nodes if node.name not in taken],
    )


def problems_of_node_name(host: NodeHost, what: str = "") -> list[str]:
    """Return one problem if a host's variable cannot be the name of a Node object, none otherwise.

    :param what: the variable in the message; by default with the name of the host.
    """
    if host.node is None or NODE_NAME.fullmatch(host.node):
        return []
    named = f"{what} {shown(host.node)}" if what else f"{NODE_VARIABLE} {shown(host.node)} of host {host.name}"
    return [f"{named} is not the name of a Node object: set what 'kubectl get nodes' prints, in lower case"]


def _candidates(
    host: NodeHost, by_name: t.Mapping[str, ApiNode], by_address: t.Mapping[str, list[ApiNode]]
) -> list[ApiNode]:
    if host.node is not None:
        return [by_name[host.node]] if host.node in by_name else []
    named = [by_name[host.name]] if host.name in by_name else []
    located = by_address.get(_canonical(host.underlay_ip), [])
    if named and any(node.name == host.name for node in located):
        return named
    return [*named, *located]


def _problems_of_candidates(host: NodeHost, candidates: t.Sequence[ApiNode]) -> t.Iterator[str]:
    if len(candidates) < 2:
        return
    reasons = [
        f"Node {node.name} has {'its name' if node.name == host.name else f'its underlay address {host.underlay_ip}'}"
        for node in candidates
    ]
    yield f"host {host.name} could be several Node objects: {', and '.join(reasons)}: set {NODE_VARIABLE} for it"


def _problems_of_owners(found: t.Mapping[str, ApiNode]) -> t.Iterator[str]:
    owners: dict[str, list[str]] = {}
    for host, node in found.items():
        owners.setdefault(node.name, []).append(host)
    for name, hosts in owners.items():
        if len(hosts) > 1:
            yield f"hosts {' and '.join(hosts)} would both be Node {name}: set {NODE_VARIABLE} for each of them"


def _canonical(address: str) -> str:
    """Return the usual notation of an address; a text that is none stays as it is."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address

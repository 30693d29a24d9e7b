# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Adopt the podCIDRs of a running Kubernetes cluster as node CIDRs, so that no Pod changes its address.

A podCIDR becomes the node CIDR of its host as it is, or it is refused: with the host,
the Node object, both values and the remedy. The podCIDR of a Node object that is no
host of the inventory is not allocated to another node. This module does no I/O.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import ApiNode, Matches
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    InventoryNode,
    numeric_address,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import some_of
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

KUBERNETES = "kubernetes"
"""The value of ``overlay_adopt``."""

MOST_NODES = 10
"""Nodes in one message; the others are counted."""

NOT_ADOPTED = (
    "A podCIDR cannot be changed: delete the Node object and let the machine join again, or leave the host out"
)
"""The end of a remedy for a podCIDR that the overlay can never use."""


class Adoption(t.NamedTuple):
    """What follows from the Node objects for a ledger.

    ``pins`` are the podCIDRs to enter, by host. ``kept_back`` are the numbers of node CIDRs that Node objects outside
    the inventory have, each with a description of its holder.
    """

    pins: t.Mapping[str, str]
    kept_back: t.Mapping[int, str]
    problems: t.Sequence[str]
    warnings: t.Sequence[str]


NOTHING = Adoption({}, {}, (), ())


class _Claim(t.NamedTuple):
    """A Node object with its IPv4 podCIDR; ``host`` is empty if no host of the inventory is this Node."""

    node: ApiNode
    network: ipaddress.IPv4Network
    host: str

    def __str__(self) -> str:
        return f"Node {self.node.name} ({f'host {self.host}' if self.host else 'no host of the inventory'})"


def adopt(ledger: Ledger, hosts: t.Sequence[InventoryNode], found: Matches | None) -> Adoption:
    """Return what the Node objects of a cluster add to a ledger; the ledger is not changed.

    :param hosts: all nodes of the inventory.
    :param found: the Node objects of the cluster; ``None`` without an adoption.
    """
    if found is None:
        return NOTHING
    problems: list[str] = []
    claims: list[_Claim] = []
    described = {host.name: host for host in hosts}
    for host, node in found.nodes.items():
        network, problem = _ipv4_of(node, described[host])
        problems += problem
        claims += [_Claim(node, network, host)] if network is not None else []
    strangers = list(_strangers(found.unknown, ledger.pool))
    doubled = _overlapping([*claims, *strangers])
    problems += [_doubled(pair) for pair in doubled]
    refused = {claim.host for pair in doubled for claim in pair}
    pins = {}
    for claim in claims:
        reasons = [*_problems_of(claim, described[claim.host], ledger)]
        problems += reasons
        if not reasons and claim.host not in refused and claim.host not in ledger.nodes:
            pins[claim.host] = str(claim.network)
    problems += [problem for claim in strangers for problem in _problems_of_stranger(claim, hosts, ledger)]
    kept_back = {
        number: f"the podCIDR {claim.network} of Node {claim.node.name}"
        for claim in strangers
        for number in ledger.pool.numbers_in(claim.network)
    }
    unreachable = [claim for claim in strangers if not _is_of_ledger(claim, ledger)]
    return Adoption(pins, kept_back, problems, [*_warnings_of_addresses(found, described), *_warning_of(unreachable)])


# --- one podCIDR ----------------------------------------------------------------------------------


def _ipv4_of(node: ApiNode, host: InventoryNode) -> tuple[ipaddress.IPv4Network | None, list[str]]:
    """Return the IPv4 podCIDR of a Node object, and why it cannot be adopted; nothing for a Node without one."""
    if not node.pod_cidrs:
        return None, []
    where = f"host {host.name}: Node {node.name}"
    networks = _ipv4_networks(node)
    others = [shown(cidr)[1:-1] for cidr in node.pod_cidrs if cidr not in map(str, networks)]
    if len(networks) != 1:
        given = ", ".join(shown(cidr)[1:-1] for cidr in node.pod_cidrs)
        return None, [f"{where} has the podCIDR {given}, and the overlay carries one IPv4 network. {NOT_ADOPTED}"]
    (network,) = networks
    if others and host.node_cidr != str(network):
        problem = (
            f"{where} has the podCIDRs {network} and {', '.join(others)}, and the overlay carries IPv4 only: nothing "
            f"would route {', '.join(others)}, and Pods that start later would have no address of it. To accept that, "
            f"set overlay_node_cidr of host {host.name} to {network}"
        )
        return network, [problem]
    return network, []


def _ipv4_networks(node: ApiNode) -> list[ipaddress.IPv4Network]:
    networks = []
    for cidr in node.pod_cidrs:
        try:
            networks.append(ipaddress.IPv4Network(cidr))
        except ValueError:
            continue  # of IPv6, or what no API server accepts
    return networks


def _problems_of(claim: _Claim, host: InventoryNode, ledger: Ledger) -> t.Iterator[str]:
    """Yield why the podCIDR of a host cannot be its node CIDR."""
    node_cidr, held = str(claim.network), ledger.nodes.get(host.name)
    where = f"host {host.name}: Node {claim.node.name} has the podCIDR {node_cidr}"
    if host.node_cidr not in (None, "", node_cidr):
        yield (
            f"{where}, and overlay_node_cidr is {shown(host.node_cidr)}: a podCIDR cannot be changed, so remove "
            f"overlay_node_cidr, or check overlay_kubernetes_node of the host"
        )
    elif held is not None and held.node_cidr != node_cidr:
        yield (
            f"{where}, and the ledger gives the host {held.node_cidr}: if its Pods have addresses of {node_cidr}, "
            f"release {host.name} (tke.overlay.release) and run this again; otherwise delete the Node object and let "
            f"the machine join again, and publish {held.node_cidr} (tke.overlay.kubernetes)"
        )
    elif held is None:
        yield from _problems_of_place(where, claim.network, ledger)


def _problems_of_place(where: str, network: ipaddress.IPv4Network, ledger: Ledger) -> t.Iterator[str]:
    """Yield why a podCIDR is not free in the ledger."""
    node_cidr, pool = str(network), ledger.pool
    try:
        number = pool.number(node_cidr)
    except ValueError:
        yield f"{where}, {_misfit(network, pool)}"
        return
    holders = [name for name, held in ledger.nodes.items() if held.node_cidr == node_cidr]
    waiting = ledger.pending.get(node_cidr)
    if number in pool.reserved:
        yield f"{where}, which lies in {pool.reserved[number]}: take it out of there"
    elif holders:
        yield f"{where}, which belongs to node {holders[0]} in the ledger: release {holders[0]} first if it is gone"
    elif waiting is not None and waiting.on:
        yield (
            f"{where}, which {waiting.node} has released and which is pending on {', '.join(waiting.on)}: first run "
            f"tke.overlay.release -e overlay_release={waiting.node}, which reaches these hosts and adds no node"
        )


def _misfit(network: ipaddress.IPv4Network, pool: Pool) -> str:
    """Return why a network is no node CIDR of a pool, with the remedy."""
    inside = [cidr for cidr in pool.cidrs if network.overlaps(ipaddress.IPv4Network(cidr))]
    if not inside:
        return (
            f"which is not in the container CIDR {', '.join(pool.cidrs)}: add the Pod network of the cluster (the "
            f"--cluster-cidr of its kube-controller-manager) to overlay_container_cidr"
        )
    if network.num_addresses != pool.node_cidr_size:
        return (
            f"of {network.num_addresses} addresses, and overlay_max_pods_per_node gives each node "
            f"{pool.node_cidr_size}: set overlay_max_pods_per_node to {network.num_addresses} if all nodes of the "
            f"cluster have that many. {NOT_ADOPTED}"
        )
    return (
        f"which shares addresses with the Service range {pool.service_cidr}, the end of the first "
        f"overlay_container_cidr: put another private network that no node uses in front of it (a list), or lower "
        f"overlay_max_services. {NOT_ADOPTED}"
    )


# --- between Node objects -------------------------------------------------------------------------


def _strangers(nodes: t.Sequence[ApiNode], pool: Pool) -> t.Iterator[_Claim]:
    """Yield the Node objects outside the inventory whose podCIDRs have addresses of node CIDRs."""
    for node in nodes:
        for network in _ipv4_networks(node):
            if any(True for _number in pool.numbers_in(network)):
                yield _Claim(node, network, "")


def _overlapping(claims: t.Sequence[_Claim]) -> list[tuple[_Claim, _Claim]]:
    """Return pairs of Node objects whose podCIDRs share addresses, each with the one before it."""
    pairs: list[tuple[_Claim, _Claim]] = []
    widest: _Claim | None = None
    for claim in sorted(claims, key=lambda each: (int(each.network[0]), -int(each.network[-1]), each.node.name)):
        if widest is not None and claim.network[0] <= widest.network[-1]:
            pairs.append((widest, claim))
        if widest is None or claim.network[-1] > widest.network[-1]:
            widest = claim
    return pairs


def _doubled(pair: tuple[_Claim, _Claim]) -> str:
    one, other = pair
    both = f"{one} and {other}"
    what = f"both {one.network}" if one.network == other.network else f"{one.network} and {other.network}"
    return (
        f"{both} have the podCIDRs {what}, which share addresses: delete the Node object of the machine that is gone "
        f"(kubectl delete node), or let one of them join again"
    )


def _problems_of_stranger(claim: _Claim, hosts: t.Sequence[InventoryNode], ledger: Ledger) -> t.Iterator[str]:
    """Yield the hosts of the inventory that have, or ask for, the podCIDR of a Node object that is no host."""
    taken = set(ledger.pool.numbers_in(claim.network))
    for host in hosts:
        held = ledger.nodes.get(host.name)
        wanted = held.node_cidr if held is not None else host.node_cidr
        try:
            number = ledger.pool.number(wanted) if isinstance(wanted, str) else None
        except ValueError:
            continue  # the planner reports it
        if number in taken:
            source = "the ledger" if held is not None else "overlay_node_cidr"
            yield (
                f"Node {claim.node.name}, which is no host of the inventory, has the podCIDR {claim.network}, and "
                f"{source} gives {wanted} to host {host.name}: if that is the same machine, set "
                f"overlay_kubernetes_node of {host.name} to {claim.node.name}; if the Node is gone, kubectl delete "
                f"node {claim.node.name}"
            )


# --- warnings -------------------------------------------------------------------------------------


def _warnings_of_addresses(found: Matches, hosts: t.Mapping[str, InventoryNode]) -> t.Iterator[str]:
    """Yield one warning about all hosts whose underlay address is none of the addresses of their Node objects.

    It is no error: a machine can have one address for Kubernetes and another for the tunnel. An address that belongs
    to the Node object of another host is an error of the matching.
    """
    differing = []
    for host, node in found.nodes.items():
        underlay = numeric_address(hosts[host].underlay_ip)
        addresses = [numeric_address(address) for address in node.internal_ips]
        if underlay is not None and addresses and underlay not in addresses:
            differing.append(f"{host} {underlay} (Node {node.name}: {', '.join(map(str, filter(None, addresses)))})")
    if differing:
        yield (
            f"the underlay address is no InternalIP of the Node object: {some_of(differing, MOST_NODES)}. The tunnel "
            f"uses the underlay address; if the host is another machine, correct overlay_underlay_ip or "
            f"overlay_kubernetes_node"
        )


def _is_of_ledger(claim: _Claim, ledger: Ledger) -> bool:
    """Whether a Node object is a node of the ledger that is not in the inventory: its peers reach it."""
    return any(
        held.node_cidr == str(claim.network)
        and (claim.node.name == name or numeric_address(held.underlay) in map(numeric_address, claim.node.internal_ips))
        for name, held in ledger.nodes.items()
    )


def _warning_of(strangers: t.Sequence[_Claim]) -> t.Iterator[str]:
    if strangers:
        named = some_of([f"{claim.node.name} {claim.network}" for claim in strangers], MOST_NODES)
        yield (
            f"Nodes of Kubernetes that are no hosts of the inventory: {named}. Their podCIDRs are not allocated as "
            f"long as overlay_adopt is set, and no other node can reach their Pods: add the hosts to the inventory, or "
            f"delete the Node objects of machines that are gone"
        )

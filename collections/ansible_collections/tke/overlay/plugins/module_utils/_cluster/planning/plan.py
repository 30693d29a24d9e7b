# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the plan of a cluster from its ledger and the variables of its inventory. This module does no I/O."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    PLAN_SCHEMA,
    NodeDocument,
    Peer,
    fleet_text,
    overlay_mtu,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam import vips
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import document as ledgers
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import validate as preflight
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

Ledger = ledgers.Ledger


class Plan(t.NamedTuple):
    """The result of the planner. ``document`` is the same for all hosts: its key ``node`` is empty."""

    document: NodeDocument
    forecast: str
    orphans: list[str]
    warnings: list[str]


def load_or_create(settings: ClusterSettings, text: str | None, where: str) -> Ledger:
    """Return the ledger in ``text`` with the pool of the settings; a new ledger when ``text`` is ``None``.

    :raises ValidationError: see :func:`ledger.parse`, :class:`Pool` and :meth:`Ledger.adopt_pool`.
    """
    pool = Pool(settings.container_cidr, settings.max_pods_per_node, settings.max_services, settings.reserved)
    if text is None:
        return Ledger(settings.cluster, pool)
    ledger = ledgers.parse(text, where, settings.cluster)
    ledger.adopt_pool(pool)
    return ledger


def assign(
    settings: ClusterSettings, nodes: t.Sequence[InventoryNode], ledger_text: str | None, where: str, now: str
) -> Ledger:
    """Return the ledger in which every node has its node CIDR.

    :param ledger_text: the present ledger, or ``None`` when there is none yet.
    :param where: names the ledger in errors.
    :param now: UTC, ISO 8601; recorded for new assignments.
    :raises ValidationError: one problem for each conflict.
    """
    problems = [*preflight.problems_of_cluster(settings), *preflight.problems_of_sites(nodes, settings)]
    try:
        ledger = load_or_create(settings, ledger_text, where)
    except ValidationError as error:
        raise ValidationError(*problems, *preflight.problems_of_nodes(nodes, settings), *error.problems) from None
    problems += preflight.problems_of_nodes(nodes, settings, _orphans(nodes, ledger))
    problems += vips.problems_of_held(ledger.vips, _claims_of(nodes, ledger), ranges_of(ledger.pool))
    try:
        ledger.assign([_request(node) for node in nodes], now)
    except ValidationError as error:
        problems += error.problems
    if problems:
        raise ValidationError(*problems)
    return ledger


def _orphans(nodes: t.Sequence[InventoryNode], ledger: Ledger) -> list[InventoryNode]:
    """Return the nodes that are in the ledger but not in the inventory, with their underlay addresses."""
    present = {node.name for node in nodes}
    return [
        InventoryNode(name, underlay_ip=held.underlay)
        for name, held in sorted(ledger.nodes.items())
        if name not in present
    ]


def _claims_of(nodes: t.Sequence[InventoryNode], ledger: Ledger) -> list[vips.Claim]:
    present = [
        vips.Claim(str(address), f"node {node.name} (overlay_underlay_ip)")
        for node in nodes
        for address in [preflight.numeric_address(node.underlay_ip)]
        if address is not None
    ]
    return [*present, *claims_of_ledger(ledger, besides=[node.name for node in nodes])]


def claims_of_ledger(ledger: Ledger, besides: t.Container[str]) -> list[vips.Claim]:
    """Return the underlay addresses of the nodes that are in the ledger but not in the inventory.

    :param besides: the hosts of the inventory.
    """
    return [
        vips.Claim(held.underlay, f"node {name} (in the ledger but not in the inventory)")
        for name, held in sorted(ledger.nodes.items())
        if held.underlay and name not in besides
    ]


def ranges_of(pool: Pool) -> list[vips.Claim]:
    """Return the ranges that must not contain an address outside the overlay, the narrowest first."""
    service = vips.Claim(pool.service_cidr, "the Service range, the end of overlay_container_cidr")
    return [service, *(vips.Claim(cidr, "overlay_container_cidr") for cidr in pool.cidrs)]


def plan(settings: ClusterSettings, nodes: t.Sequence[InventoryNode], ledger: Ledger) -> Plan:
    """Return the plan, from a ledger that :func:`assign` returned for the same nodes.

    All nodes of the ledger are peers and count for the MTU: removing a node from
    the inventory does not release it, so it keeps its node CIDR and stays a peer.
    """
    known = [(name, held) for name, held in ledger.nodes.items() if held.underlay]
    peers = [Peer(name, held.node_cidr, held.underlay) for name, held in known if held.underlay]
    mtus = [(held.underlay, held.underlay_mtu) for _name, held in known if held.underlay and held.underlay_mtu]
    orphans = [node.name for node in _orphans(nodes, ledger)]
    document = NodeDocument(
        schema=PLAN_SCHEMA,
        cluster=ledger.cluster,
        node="",
        device=settings.device,
        vni=settings.vni,
        port=settings.port,
        mtu=overlay_mtu(mtus),
        bridge=settings.bridge,
        container_cidr=ledger.pool.cidrs,
        service_cidr=ledger.pool.service_cidr,
        fleet=fleet_text(peers),
    )
    return Plan(document, forecast(ledger), orphans, _warnings(nodes, ledger, orphans))


def forecast(ledger: Ledger) -> str:
    """Describe the capacity of the pool and its use."""
    capacity, pending = ledger.capacity(), len(ledger.awaited())
    waiting = f", {pending} pending" if pending else ""
    return (
        f"{', '.join(ledger.pool.cidrs)} has room for {capacity['max_nodes']} nodes of "
        f"{capacity['usable_pods_per_node']} Pods: {capacity['used']} used{waiting}, {capacity['free']} free; "
        f"node {capacity['max_nodes'] + 1} needs another container CIDR. Services: {ledger.pool.service_cidr}, "
        f"{capacity['usable_services']} usable."
    )


def _request(node: InventoryNode) -> ledgers.Request:
    address = preflight.numeric_address(node.underlay_ip)
    return ledgers.Request(
        name=node.name,
        node_cidr=node.node_cidr if isinstance(node.node_cidr, str) and node.node_cidr else None,
        underlay=None if address is None else str(address),
        underlay_mtu=preflight.whole_number(node.underlay_mtu),
    )


def _warnings(nodes: t.Sequence[InventoryNode], ledger: Ledger, orphans: t.Sequence[str]) -> list[str]:
    warnings = list(ledger.pool.warnings)
    if orphans:
        warnings.append(
            f"in the ledger but not in the inventory, so they keep their node CIDRs: {', '.join(orphans)} "
            f"(release them to free the node CIDRs)"
        )
    unknown = [name for name, held in sorted(ledger.nodes.items()) if not held.underlay]
    if unknown:
        warnings.append(
            f"the underlay address of {', '.join(unknown)} is unknown, so no other node can reach their Pods: "
            f"add them to the inventory"
        )
    if preflight.lacks_idc(nodes):
        warnings.append(f"{preflight.ONLY_CLOUD} (overlay_require_idc makes this an error)")
    return warnings

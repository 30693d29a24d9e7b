# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the plan of a cluster from its ledger and the variables of its inventory. This module does no I/O."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    PLAN_SCHEMA,
    NodeDocument,
    fleet_text,
    former_text,
    overlay_mtu,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam import vips
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import document as ledgers
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import keys, links
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import validate as preflight
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.adopt import adopt
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, some_of

MOST_MOVED = 10
"""Nodes in one message; the others are counted."""

Ledger = ledgers.Ledger


class Plan(t.NamedTuple):
    """The result of the planner. ``document`` is the same for all hosts: its key ``node`` is empty."""

    document: NodeDocument
    forecast: str
    orphans: list[str]
    warnings: list[str]


def load_or_create(settings: ClusterSettings, text: str | None, where: str, *, renew: bool = False) -> Ledger:
    """Return the ledger in ``text`` with the pool of the settings; a new ledger when ``text`` is ``None``.

    :param renew: see :meth:`Ledger.adopt_pool`.
    :raises ValidationError: see :func:`ledger.parse`, :class:`Pool` and :meth:`Ledger.adopt_pool`.
    """
    pool = Pool(settings.container_cidr, settings.max_pods_per_node, settings.max_services, settings.reserved)
    if text is None:
        return Ledger(settings.cluster, pool)
    ledger = ledgers.parse(text, where, settings.cluster)
    ledger.adopt_pool(pool, renew=renew)
    return ledger


def assign(
    settings: ClusterSettings, nodes: t.Sequence[InventoryNode], ledger_text: str | None, where: str, now: str
) -> Ledger:
    """Return the ledger in which every node has its node CIDR.

    As long as no host has applied a plan, a contradiction between the ledger and the inventory is no error: all node
    CIDRs are allocated again. This does not concern the module node_cidr, whose nodes have no site: what has been done
    with its node CIDRs is not known.

    :param ledger_text: the present ledger, or ``None`` when there is none yet.
    :param where: names the ledger in errors.
    :param now: UTC, ISO 8601; recorded for new assignments.
    :raises ValidationError: one problem for each conflict.
    """
    problems = [*preflight.problems_of_cluster(settings), *preflight.problems_of_sites(nodes, settings)]
    renew = any(node.kinds is not None for node in nodes)
    try:
        ledger = load_or_create(settings, ledger_text, where, renew=renew)
    except ValidationError as error:
        raise ValidationError(*problems, *preflight.problems_of_nodes(nodes, settings), *error.problems) from None
    conflicts = _assign(ledger, nodes, settings, now)
    if conflicts and renew and ledger.nodes and not ledger.applied:
        ledger.forget_assignments()
        conflicts = _assign(ledger, nodes, settings, now)
    if problems or conflicts:
        raise ValidationError(*problems, *conflicts)
    return ledger


def _assign(ledger: Ledger, nodes: t.Sequence[InventoryNode], settings: ClusterSettings, now: str) -> list[str]:
    """Assign a node CIDR to every node, and return the conflicts among the nodes and with the ledger."""
    adoption = adopt(ledger, nodes, settings.adopted)
    ledger.keep_back(adoption.kept_back)
    if adoption.pins:
        ledger.pass_over([*adoption.kept_back, *map(ledger.pool.number, adoption.pins.values())])
    conflicts = [
        *adoption.problems,
        *preflight.problems_of_nodes(nodes, settings, _orphans(nodes, ledger)),
        *links.problems(settings, nodes, ledger),
        *vips.problems_of_held(ledger.vips, _claims_of(nodes, ledger), ranges_of(ledger.pool)),
    ]
    try:
        ledger.assign([_request(node, adoption.pins.get(node.name)) for node in nodes], now)
    except ValidationError as error:
        conflicts += error.problems
    links.record(settings, nodes, ledger)
    return [*conflicts, *keys.record_found(settings, ledger)]


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
    orphans = [node.name for node in _orphans(nodes, ledger)]
    mtus = [(held.underlay, held.underlay_mtu) for held in ledger.nodes.values() if held.underlay and held.underlay_mtu]
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
        fleet=fleet_text(links.peers_of(settings, ledger)),
        former=former_text(ledger.releases()),
    )
    versions = ledger.versions
    if versions:
        document["ledger_versions"] = versions
    document.update(links.part_of_document(settings, ledger))
    warnings = [*_warnings(nodes, ledger, orphans), *adopt(ledger, nodes, settings.adopted).warnings]
    warnings += links.warnings(settings, nodes, ledger)
    return Plan(document, forecast(ledger), orphans, warnings)


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


def _request(node: InventoryNode, adopted: str | None) -> ledgers.Request:
    """Return what a node asks for.

    :param adopted: its podCIDR, if that becomes its node CIDR in this run.
    """
    address = preflight.numeric_address(node.underlay_ip)
    return ledgers.Request(
        name=node.name,
        node_cidr=node.node_cidr if isinstance(node.node_cidr, str) and node.node_cidr else adopted,
        underlay=None if address is None else str(address),
        underlay_mtu=preflight.whole_number(node.underlay_mtu),
    )


def notices(before: Ledger | None, after: Ledger) -> list[str]:
    """Return what a user must know about a change of the ledger that is otherwise never made."""
    if before is None or before.applied:
        return []
    moved = [
        f"{name} {held.node_cidr}"
        for name, held in sorted(after.nodes.items())
        if name in before.nodes and before.nodes[name].node_cidr != held.node_cidr
    ]
    if not moved:
        return []
    ranges = f"from {', '.join(after.pool.cidrs)} (before: {', '.join(before.pool.cidrs)})"
    notice = f"no host has applied a plan of this ledger yet, so the node CIDRs are allocated again, {ranges}"
    return [f"{notice}: {some_of(moved, MOST_MOVED)}"]


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

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: ledger + inventory variables -> what each host must be. Pure: texts and values in, texts and values out."""

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
    """What one run of the planner found. ``document`` lacks only ``node``, by which a host finds itself."""

    document: NodeDocument
    forecast: str
    orphans: list[str]
    warnings: list[str]


def load_or_create(settings: ClusterSettings, text: str | None, where: str) -> Ledger:
    """The ledger of ``text`` brought to the pool the user asks for; a new one where there is none.

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
    """The ledger in which every node has its node CIDR.

    :param ledger_text: the ledger as it is, or ``None`` where there is none yet.
    :param where: names the ledger in errors.
    :param now: UTC, ISO 8601; noted beside what is new.
    :raises ValidationError: every conflict there is, all at once.
    """
    problems = [*preflight.problems_of_cluster(settings), *preflight.problems_of_sites(nodes, settings)]
    try:
        ledger = load_or_create(settings, ledger_text, where)
    except ValidationError as refusal:
        raise ValidationError(*problems, *preflight.problems_of_nodes(nodes, settings), *refusal.problems) from None
    problems += preflight.problems_of_nodes(nodes, settings, _orphans(nodes, ledger))
    problems += vips.problems_of_held(ledger.vips, _claims_of(nodes, ledger), ranges_of(ledger.pool))
    try:
        ledger.assign([_request(node) for node in nodes], now)
    except ValidationError as refusal:
        problems += refusal.problems
    if problems:
        raise ValidationError(*problems)
    return ledger


def _orphans(nodes: t.Sequence[InventoryNode], ledger: Ledger) -> list[InventoryNode]:
    """What the ledger knows and the inventory lacks, with what may be in the way of others."""
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
    """The underlay addresses that only the ledger knows: those of nodes that the inventory lacks.

    :param besides: the hosts of the inventory, which speak for themselves.
    """
    return [
        vips.Claim(held.underlay, f"node {name} (in the ledger but not in the inventory)")
        for name, held in sorted(ledger.nodes.items())
        if held.underlay and name not in besides
    ]


def ranges_of(pool: Pool) -> list[vips.Claim]:
    """What no address outside of the overlay may lie in, the narrowest first."""
    service = vips.Claim(pool.service_cidr, "the Service range, the end of overlay_container_cidr")
    return [service, *(vips.Claim(cidr, "overlay_container_cidr") for cidr in pool.cidrs)]


def plan(settings: ClusterSettings, nodes: t.Sequence[InventoryNode], ledger: Ledger) -> Plan:
    """What each host must be, from a ledger that :func:`assign` returned for the same nodes.

    Peers and MTU come from all that the ledger knows: a node that is missing
    from this inventory keeps its node CIDR and stays a peer, because absence is
    not release.
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
    """How long the pool will last, in one sentence."""
    capacity, pending = ledger.capacity(), len(ledger.awaited())
    waiting = f", {pending} released and awaited" if pending else ""
    return (
        f"{', '.join(ledger.pool.cidrs)} has room for {capacity['max_nodes']} nodes of "
        f"{capacity['usable_pods_per_node']} Pods: {capacity['used']} used{waiting}, {capacity['free']} free; "
        f"node {capacity['max_nodes'] + 1} needs a further container CIDR. Services: {ledger.pool.service_cidr}, "
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
            f"in the ledger but not in the inventory, so kept as they are: {', '.join(orphans)} "
            f"(to give their node CIDRs back, release them)"
        )
    unknown = [name for name, held in sorted(ledger.nodes.items()) if not held.underlay]
    if unknown:
        warnings.append(
            f"no underlay address is known of {', '.join(unknown)}, so no other node can reach their Pods: "
            f"put them into the inventory"
        )
    if preflight.lacks_idc(nodes):
        warnings.append(f"{preflight.ONLY_CLOUD} (overlay_require_idc makes this an error)")
    return warnings

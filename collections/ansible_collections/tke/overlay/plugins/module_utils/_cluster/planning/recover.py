# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: a lost ledger from what the hosts say of themselves and of each other.

Of itself a host is believed. Of a host that is silent the others are, as long as
they agree: it keeps its node CIDR and stays a peer. Whatever two hosts say
differently is a contradiction that a human must judge, because a wrong guess
could give one node CIDR to two nodes.

A host that was away while others changed knows the fleet as it was. Whoever
leaves its *view* out still believes what it says of itself; and a node CIDR that
it alone still knows is noted as released and pending on it, because it does have
the entries for it.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, overhead_on, parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Ledger, Pending
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import validate as preflight
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

WAY_OUT = "bring them to one plan, or leave out the views of those that are behind: -e overlay_rebuild_without="

UNKNOWN = (
    "No host knows, so the new ledger does not: which node CIDRs were released and still rest or are awaited by a host "
    "that was not reached; whether a node CIDR above the highest one in use was handed out before (the cursor stands "
    "right behind that one); since when a node has its node CIDR (it says now); and the load balancer's VIP for "
    "services, which is chosen anew"
)


class HostRecord(t.NamedTuple):
    """What one host says; ``view`` is the name of what it knows of all nodes."""

    node: str
    cluster: str
    node_cidr: str
    underlay: str
    container_cidr: t.Sequence[str]
    service_cidr: str
    mtu: int
    api: str
    view: str


class RecoveredLedger(t.NamedTuple):
    """All that the hosts have told: accounts by the inventory's name of the host, fleets by the name of the view."""

    accounts: t.Mapping[str, HostRecord]
    fleets: t.Mapping[str, str]
    without: t.Sequence[str] = ()  # hosts whose view does not count


def recover(settings: ClusterSettings, nodes: t.Sequence[InventoryNode], found: RecoveredLedger, now: str) -> Ledger:
    """The ledger that the hosts' accounts amount to.

    :param nodes: all of the inventory; it gives the underlay MTU and the pins.
    :raises ValidationError: every contradiction, with the names of those who differ.
    """
    pool = Pool(settings.container_cidr, settings.max_pods_per_node, settings.max_services, settings.reserved)
    problems = [*_problems_of_choice(found), *_problems_of_accounts(settings, pool, found.accounts)]
    if problems:
        raise ValidationError(*problems)
    views = _views(found)
    problems = [*_problems_between_accounts(found.accounts), *_problems_between_views(found.accounts, views)]
    if problems:
        raise ValidationError(*problems)
    ledger = Ledger(settings.cluster, pool)
    known = {name: peer for fleet in views.values() for name, peer in fleet.items()}
    known.update({name: Peer(name, each.node_cidr, each.underlay) for name, each in found.accounts.items()})
    described, mtu = {node.name: node for node in nodes}, min(each.mtu for each in found.accounts.values())
    for name, peer in known.items():
        ledger.nodes[name] = _assignment(peer, described.get(name), mtu, now)
    ledger.cursor = (max(pool.number(held.node_cidr) for held in ledger.nodes.values()) + 1) % pool.size
    for own in found.accounts.values():
        if own.api:
            ledger.vips["apiserver"] = own.api
    _note_what_only_the_left_out_know(ledger, found, now)
    return ledger


def _assignment(peer: Peer, node: InventoryNode | None, mtu: int, now: str) -> Assignment:
    """Of a node that no inventory describes: the largest underlay MTU that does not change that of the overlay."""
    own = preflight.whole_number(node.underlay_mtu) if node is not None else None
    overhead = overhead_on(peer.underlay)
    pinned = node is not None and node.node_cidr == peer.node_cidr
    return Assignment(peer.node_cidr, peer.underlay, own or mtu + overhead, now, pinned)


def _problems_of_choice(found: RecoveredLedger) -> t.Iterator[str]:
    if not found.accounts:
        yield "no host that was reached has a saved state of the overlay, so there is nothing to read a ledger from"
    for name in found.without:
        if name not in found.accounts:
            yield f"overlay_rebuild_without names {name}, and no host of that name has told anything"
    if found.accounts and not set(found.accounts) - set(found.without):
        yield "overlay_rebuild_without leaves out everybody: at least one view must count"


def _problems_of_accounts(
    settings: ClusterSettings, pool: Pool, accounts: t.Mapping[str, HostRecord]
) -> t.Iterator[str]:
    """What fits neither the inventory nor, therefore, the others."""
    for name, own in accounts.items():
        if own.node != name:
            yield f"host {name} of the inventory calls itself node {own.node}: is its ansible_host another machine's?"
        if own.cluster != settings.cluster:
            yield f"host {name} belongs to cluster {own.cluster!r}, and overlay_cluster is {settings.cluster!r}"
        if list(own.container_cidr) != pool.cidrs[: len(own.container_cidr)]:
            cidrs = ", ".join(own.container_cidr)
            yield f"host {name} has the container CIDR {cidrs}, and overlay_container_cidr is {', '.join(pool.cidrs)}"
        elif own.service_cidr != pool.service_cidr:
            yield (
                f"host {name} has the Service range {own.service_cidr}, and with overlay_max_services "
                f"{pool.services} it would be {pool.service_cidr}"
            )
        else:
            try:
                pool.number(own.node_cidr)
            except ValueError as error:
                yield f"host {name}: {error} (overlay_container_cidr, overlay_max_pods_per_node)"


def _problems_between_accounts(accounts: t.Mapping[str, HostRecord]) -> t.Iterator[str]:
    servers = {own.api: name for name, own in accounts.items() if own.api}
    if len(servers) > 1:
        each = ", ".join(f"{address} for {name}" for address, name in sorted(servers.items()))
        yield f"the VIP of the API servers is {each}: run tke.overlay.site on the hosts that are behind"
    for what, field in (("node CIDR", "node_cidr"), ("underlay address", "underlay")):
        holders: dict[str, list[str]] = {}
        for name, own in accounts.items():
            holders.setdefault(getattr(own, field), []).append(name)
        for value, names in holders.items():
            if len(names) > 1:
                yield f"hosts {', '.join(sorted(names))} all say that the {what} {value} is theirs: reset all but one"


def _views(found: RecoveredLedger) -> dict[str, dict[str, Peer]]:
    """What those who count know, by who knows it: one entry for all hosts of one view."""
    knowers: dict[str, list[str]] = {}
    for name, own in sorted(found.accounts.items()):
        if name not in found.without:
            knowers.setdefault(own.view, []).append(name)
    return {", ".join(names): parse_fleet(found.fleets[view]) for view, names in knowers.items()}


def _problems_between_views(
    accounts: t.Mapping[str, HostRecord], views: t.Mapping[str, t.Mapping[str, Peer]]
) -> t.Iterator[str]:
    """Who says what of a node otherwise than the node itself or, where it is silent, than the others."""
    for name in sorted({*accounts, *(name for fleet in views.values() for name in fleet)}):
        says = {who: _words(fleet.get(name)) for who, fleet in views.items()}
        own = accounts.get(name)
        if own is not None:
            itself = _words(Peer(name, own.node_cidr, own.underlay))
            wrong = {who: words for who, words in says.items() if words != itself}
            if wrong:
                yield f"node {name} says it has {itself}; {_told(wrong)}: {WAY_OUT}{','.join(wrong)}"
        elif len(set(says.values())) > 1:
            yield f"node {name} is silent, and {_told(says)}: {WAY_OUT}..."
    claims: dict[str, set[str]] = {}
    for fleet in views.values():
        for name, peer in fleet.items():
            claims.setdefault(peer.node_cidr, set()).add(name)
    for node_cidr, names in claims.items():
        if len(names) > 1:
            yield f"the node CIDR {node_cidr} belongs to {' and to '.join(sorted(names))}, as some see it: {WAY_OUT}..."


def _words(peer: Peer | None) -> str:
    return "nothing" if peer is None else f"{peer.node_cidr} at {peer.underlay}"


def _told(says: t.Mapping[str, str]) -> str:
    return "; ".join(f"{who} know{'' if ',' in who else 's'} {words} of it" for who, words in says.items())


def _note_what_only_the_left_out_know(ledger: Ledger, found: RecoveredLedger, now: str) -> None:
    held = {assignment.node_cidr for assignment in ledger.nodes.values()}
    for host in found.without:
        for name, peer in parse_fleet(found.fleets[found.accounts[host].view]).items():
            if peer.node_cidr not in held:
                former = ledger.pending.get(peer.node_cidr)
                on = sorted({host, *(former.on if former else ())})
                ledger.pending[peer.node_cidr] = Pending(former.node if former else name, now, on, quarantined=False)

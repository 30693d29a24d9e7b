# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recover a lost ledger from the states that the hosts have saved.

The saved state of a host is authoritative for its own node CIDR. For a host that
did not report, the other hosts are, as long as they agree: the host keeps its
node CIDR and stays a peer. Every difference between two hosts is an error that
the user must resolve, because a wrong guess could assign one node CIDR to two
nodes.

A host that missed a change has an outdated fleet. When the user excludes its
fleet, the host's own node CIDR still counts; a node CIDR that is only in an
excluded fleet is recorded as released and pending on that host, because the host
still has the kernel entries for it.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    NONE,
    Peer,
    overhead_on,
    parse_fleet,
    with_port,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import (
    Assignment,
    BrokenLedgerError,
    Ledger,
    Pending,
    parse,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import validate as preflight
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, some_of

REMEDY = "apply one plan to all hosts, or exclude the fleets of outdated hosts: -e overlay_rebuild_without="

NOT_RECOVERABLE = (
    "The hosts do not save, so the new ledger does not contain: released node CIDRs that are quarantined or pending on "
    "a host that was not reached; whether a node CIDR above the highest one in use was allocated before (the cursor is "
    "right after that one); since when a node has its node CIDR (the ledger has the present time); and the load "
    "balancer's VIP of the services, which is chosen again"
)


class HostRecord(t.NamedTuple):
    """The saved state of one host; ``view`` identifies the fleet that it has saved."""

    node: str
    cluster: str
    node_cidr: str
    underlay: str
    container_cidr: t.Sequence[str]
    service_cidr: str
    mtu: int
    api: str
    view: str
    wireguard_generation: int = 0
    wireguard_port: int | None = None
    ledger_version: str = ""


class SavedStates(t.NamedTuple):
    """The saved states of all hosts: records by host name in the inventory, fleets by their identifier (``view``)."""

    records: t.Mapping[str, HostRecord]
    fleets: t.Mapping[str, str]
    without: t.Sequence[str] = ()  # hosts whose fleet is excluded


def recover(settings: ClusterSettings, nodes: t.Sequence[InventoryNode], found: SavedStates, now: str) -> Ledger:
    """Return the ledger that follows from the saved states.

    :param nodes: all nodes of the inventory; they provide the underlay MTU and the pins.
    :raises ValidationError: one problem for each contradiction, with the names of the hosts that differ.
    """
    pool = Pool(settings.container_cidr, settings.max_pods_per_node, settings.max_services, settings.reserved)
    problems = [*_selection_problems(found), *_record_problems(settings, pool, found.records)]
    if problems:
        raise ValidationError(*problems)
    fleets = _fleets_by_hosts(found)
    problems = [
        *_conflicts_between_records(found.records, found.without),
        *_conflicts_between_fleets(found.records, fleets),
    ]
    if problems:
        raise ValidationError(*problems)
    ledger = Ledger(settings.cluster, pool, applied=True)
    known = {name: peer for fleet in fleets.values() for name, peer in fleet.items()}
    for name, each in found.records.items():
        known[name] = known.get(name, Peer(name, "", ""))._replace(node_cidr=each.node_cidr, underlay=each.underlay)
    described, mtu = {node.name: node for node in nodes}, min(each.mtu for each in found.records.values())
    ledger.wireguard_generation = max(each.wireguard_generation for each in found.records.values())
    ledger.wireguard_port = _port_of_generation(found, ledger.wireguard_generation)
    newest = _fleets_of_generation(found, fleets, ledger.wireguard_generation)
    for name, peer in known.items():
        held = _assignment(peer, described.get(name), mtu, now)
        entries = [fleet[name] for fleet in newest if name in fleet]
        ledger.nodes[name] = _with_links(held, entries, ledger.wireguard_port or settings.wireguard_port)
    ledger.cursor = (max(pool.number(held.node_cidr) for held in ledger.nodes.values()) + 1) % pool.size
    for host, own in found.records.items():
        if own.api and host not in found.without:
            ledger.vips["apiserver"] = own.api
    _add_pending_of_excluded(ledger, found, now)
    ledger.continue_after((each.ledger_version for each in found.records.values()), changed=False)
    return ledger


MOST_DIFFERENCES = 5
"""Differences that a message names."""


def keep(text: str, where: str, cluster: str, rebuild: t.Callable[[], Ledger]) -> Ledger:
    """Return the ledger that is there, if it agrees with the rebuilt one; it is never overwritten.

    :param rebuild: returns the rebuilt ledger, or raises why the hosts give none.
    :raises ValidationError: the ledger is broken or different, or cannot be compared; names the reason.
    """
    try:
        present = parse(text, where, cluster)
    except BrokenLedgerError as error:
        raise BrokenLedgerError(
            f"{error}. It is not overwritten: to rebuild it from the hosts, because no good copy is left, move it aside"
        ) from None
    try:
        differing = differences(present, rebuild())
    except ValidationError as error:
        kept = (
            f"{where} already has a ledger, which is complete. It was not compared with the hosts, and stays as it is"
        )
        raise ValidationError(*error.problems, kept) from None
    if differing:
        raise ValidationError(
            f"{where} already has a ledger, which is not overwritten, and the hosts have something else: "
            f"{some_of(differing, MOST_DIFFERENCES, '; ')}. If the hosts are right, restore a previous version that "
            f"has this (tke.overlay.site names one), or move the ledger aside and run the playbook again"
        )
    return present


def differences(present: Ledger, rebuilt: Ledger) -> list[str]:
    """Return the nodes, and the container CIDR, that a ledger does not have as the rebuilt one has them."""
    pools = [" ".join(ledger.pool.cidrs) for ledger in (present, rebuilt)]
    found = [] if pools[0] == pools[1] else [f"container CIDR {pools[1]}, and not {pools[0]}"]
    for name in sorted(present.nodes.keys() | rebuilt.nodes.keys()):
        there, here = _place(present, name), _place(rebuilt, name)
        if there != here:
            found.append(f"{name} {here}, and not {there}")
    return found


def _place(ledger: Ledger, name: str) -> str:
    held = ledger.nodes.get(name)
    return "not at all" if held is None else f"with {held.node_cidr} at {held.underlay}"


def _assignment(peer: Peer, node: InventoryNode | None, mtu: int, now: str) -> Assignment:
    """Return the assignment of a node.

    A node outside the inventory gets the least underlay MTU that does not lower the MTU of the overlay.
    """
    own = preflight.whole_number(node.underlay_mtu) if node is not None else None
    overhead = overhead_on(peer.underlay)
    pinned = node is not None and node.node_cidr == peer.node_cidr
    return Assignment(peer.node_cidr, peer.underlay, own or mtu + overhead, now, pinned)


def _fleets_of_generation(
    found: SavedStates, fleets: t.Mapping[str, t.Mapping[str, Peer]], generation: int
) -> list[t.Mapping[str, Peer]]:
    """Return the fleets with the WireGuard keys of a generation, that of most hosts last."""
    of_hosts = [(hosts.split(", "), fleet) for hosts, fleet in fleets.items()]
    newest = [
        (len(hosts), fleet)
        for hosts, fleet in of_hosts
        if any(found.records[host].wireguard_generation == generation for host in hosts)
    ]
    return [fleet for _number, fleet in sorted(newest, key=lambda each: each[0])]


def _port_of_generation(found: SavedStates, generation: int) -> int | None:
    """Return the port of WireGuard that hosts have saved with the keys of a generation; ``None`` if none has."""
    ports = [each.wireguard_port for each in found.records.values() if each.wireguard_generation == generation]
    return next(filter(None, ports), None)


def _with_links(held: Assignment, entries: t.Sequence[Peer], port: int) -> Assignment:
    """Return the assignment with the site, the endpoint and the keys that the fleets have.

    A key that is not known in a fleet (``-``) may be known in another one.

    :param port: that of the nodes, see :class:`Ledger`.
    """
    for peer in entries:
        key, _comma, following = peer.keys.partition(",")
        held = held._replace(
            site=peer.site or held.site,
            wireguard_endpoint=_recorded_endpoint(peer, port) or held.wireguard_endpoint,
            wireguard_key=key if key not in ("", NONE) else held.wireguard_key,
            wireguard_next_key=following or held.wireguard_next_key,
        )
    return held


def _recorded_endpoint(peer: Peer, port: int) -> str | None:
    """Return the endpoint as the ledger records it: nothing for the default one."""
    return peer.endpoint if peer.endpoint not in ("", with_port(peer.underlay, port)) else None


def _selection_problems(found: SavedStates) -> t.Iterator[str]:
    if not found.records:
        yield "no reachable host has a saved state of the overlay, so no ledger can be rebuilt: check the inventory"
    for name in found.without:
        if name not in found.records:
            yield f"overlay_rebuild_without names {name}, but no reachable host of that name has a saved state"
    if found.records and not set(found.records) - set(found.without):
        yield "overlay_rebuild_without excludes every host: keep at least one"


def _record_problems(settings: ClusterSettings, pool: Pool, records: t.Mapping[str, HostRecord]) -> t.Iterator[str]:
    """Yield what contradicts the inventory in each record."""
    for name, own in records.items():
        if own.node != name:
            yield f"host {name} of the inventory has the saved state of node {own.node}: check its ansible_host"
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


def _conflicts_between_records(records: t.Mapping[str, HostRecord], without: t.Container[str]) -> t.Iterator[str]:
    servers = {own.api: name for name, own in records.items() if own.api and name not in without}
    if len(servers) > 1:
        each = ", ".join(f"{address} for {name}" for address, name in sorted(servers.items()))
        yield f"hosts have different VIPs of the API servers: {each}; {REMEDY}HOST,..."
    for what, field in (("node CIDR", "node_cidr"), ("underlay address", "underlay")):
        holders: dict[str, list[str]] = {}
        for name, own in records.items():
            holders.setdefault(getattr(own, field), []).append(name)
        for value, names in holders.items():
            if len(names) > 1:
                yield f"hosts {', '.join(sorted(names))} all have the {what} {value}: reset all but one"


def _fleets_by_hosts(found: SavedStates) -> dict[str, dict[str, Peer]]:
    """Return the fleets that are not excluded, by the names of the hosts that saved them."""
    holders_of: dict[str, list[str]] = {}
    for name, own in sorted(found.records.items()):
        if name not in found.without:
            holders_of.setdefault(own.view, []).append(name)
    return {", ".join(names): parse_fleet(found.fleets[view]) for view, names in holders_of.items()}


def _conflicts_between_fleets(
    records: t.Mapping[str, HostRecord], fleets: t.Mapping[str, t.Mapping[str, Peer]]
) -> t.Iterator[str]:
    """Yield where a fleet differs from a node's own record or, without a record, from another fleet."""
    for name in sorted({*records, *(name for fleet in fleets.values() for name in fleet)}):
        recorded = {hosts: _described(fleet.get(name)) for hosts, fleet in fleets.items()}
        own = records.get(name)
        if own is not None:
            own_entry = _described(Peer(name, own.node_cidr, own.underlay))
            wrong = {hosts: entry for hosts, entry in recorded.items() if entry != own_entry}
            if wrong:
                yield f"node {name} has {own_entry}; {_differences(wrong)}: {REMEDY}{','.join(wrong)}"
        elif len(set(recorded.values())) > 1:
            yield f"node {name} did not report, and {_differences(recorded)}: {REMEDY}HOST,..."
    claims: dict[str, set[str]] = {}
    for fleet in fleets.values():
        for name, peer in fleet.items():
            claims.setdefault(peer.node_cidr, set()).add(name)
    for node_cidr, names in claims.items():
        if len(names) > 1:
            holders = " and to ".join(sorted(names))
            yield f"the node CIDR {node_cidr} belongs to {holders} in different fleets: {REMEDY}HOST,..."


def _described(peer: Peer | None) -> str:
    return "nothing" if peer is None else f"{peer.node_cidr} at {peer.underlay}"


def _differences(recorded: t.Mapping[str, str]) -> str:
    return "; ".join(f"{hosts} {'have' if ',' in hosts else 'has'} {entry} for it" for hosts, entry in recorded.items())


def _add_pending_of_excluded(ledger: Ledger, found: SavedStates, now: str) -> None:
    held = {assignment.node_cidr: name for name, assignment in ledger.nodes.items()}
    for host in found.without:
        for name, peer in parse_fleet(found.fleets[found.records[host].view]).items():
            if held.get(peer.node_cidr, name) != name:
                ledger.former[peer.node_cidr] = name  # another node has it now: the release that the host missed
            elif peer.node_cidr not in held:
                former = ledger.pending.get(peer.node_cidr)
                on = sorted({host, *(former.on if former else ())})
                ledger.pending[peer.node_cidr] = Pending(former.node if former else name, now, on, quarantined=False)

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How this host sends to each peer, by the link of their sites, and the kernel's entries for that.

==============  ===========================================================================
transport       entries of a peer
==============  ===========================================================================
``vxlan``       route by the VXLAN device, neighbour and FDB entry
``direct``      route by the link of the underlay to the peer's underlay address, blackhole
``wireguard``   route by the WireGuard device, blackhole
==============  ===========================================================================

The blackhole has a larger metric than the route: without its route, a packet would
leave by the default route. So a lost WireGuard device exposes nothing.

The route has the MTU of the link: always for direct links and WireGuard, whose devices
can carry more; for VXLAN if it is less than that of the device.

During a cutover, some peers are still reached as before, see :class:`FormerRoute`.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    NONE,
    NodeDocument,
    Peer,
    parse_fleet,
    vtep_address,
    vtep_mac,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable, fdb_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import VARIABLES, Row
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link_rules import WIREGUARD_DEVICES, LinkRules
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable, neighbor_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import (
    FormerRoute,
    RouteTable,
    blackhole_entry,
    device_entry,
    device_of,
    direct_entry,
    via_entry,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Desired, Job, Run
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.underlay import (
    MtuSpec,
    mtu_problems,
    neighbors_of,
    routes_job,
    underlay_routes,
)
from ansible_collections.tke.overlay.plugins.module_utils._links import (
    DIRECT,
    ENCAPSULATION,
    VXLAN,
    WIREGUARD,
    Link,
    LinkTable,
    links_of,
    wireguard_device,
    wireguard_ports,
)

MOST_PEERS = 5
"""Peers that an error names; the others are counted."""


class PeerLink(t.NamedTuple):
    """A peer and how this host sends to it."""

    peer: Peer
    link: Link
    device: str  # by which the route leads; empty: WireGuard without a known key, so there is no route

    @property
    def transport(self) -> str:
        """The transport of the link."""
        return self.link.transport


class HostLinks(t.NamedTuple):
    """The links of a host to all of its peers."""

    own: Peer
    table: LinkTable
    device: str  # the VXLAN link
    peers: t.Sequence[PeerLink]
    listed: bool  # whether the plan has links of its own; otherwise VXLAN connects all nodes, with one MTU
    wireguard_ports: t.Sequence[int]
    former: t.Mapping[str, FormerRoute]  # node CIDR -> what a cutover must keep
    kept: t.Collection[str]  # node CIDRs of peers to which this host must still send as before

    @property
    def pod_mtu(self) -> int:
        """The MTU of the Pods of this host: the largest of its links."""
        return self.table.mtu_of_pods(self.own.site)

    @property
    def vxlan_mtu(self) -> int:
        """The MTU of the VXLAN device. Without a VXLAN link it only has the address of the VTEP."""
        links = self.table.of_site(self.own.site)
        return max([link.mtu for link in links if link.transport == VXLAN] or [min(link.mtu for link in links)])

    def with_transport(self, transport: str) -> list[PeerLink]:
        """Return the peers that this host reaches by a transport."""
        return [each for each in self.peers if each.transport == transport]

    def transport_before(self, peer: Peer) -> str:
        """Return by which transport this host sent to a peer before the cutover; empty if that has not changed."""
        former = self.former.get(peer.node_cidr)
        return "" if former is None else transport_of(former.spec, self.device)


def transport_of(spec: str, device: str) -> str:
    """Return the transport of the specification of a route.

    :param device: the VXLAN link.
    """
    name = device_of(spec)
    return VXLAN if name == device else WIREGUARD if name in WIREGUARD_DEVICES else DIRECT


def host_links(
    document: NodeDocument,
    fleet: tuple[Peer, t.Sequence[Peer]],
    on_link: t.Mapping[str, str],
    former: t.Mapping[str, FormerRoute],
    kept: t.Collection[str] = (),
) -> HostLinks:
    """Return the links of a host.

    :param fleet: the host and all other nodes, from the document.
    :param on_link: underlay address -> link, see :func:`on_link_peers`.
    :param former: see :class:`HostLinks`, and so ``kept``.
    :raises ValidationError: a text of the document is invalid.
    """
    own, others = fleet
    table = links_of(document)
    listed = "links" in document
    if listed or former:
        _check_prefixes(own, others)
    between: dict[str, Link] = {}
    peers = []
    generation = document.get("wireguard_generation", 0)
    for peer in others:
        link = between.get(peer.site)
        if link is None:
            link = between[peer.site] = table.between(own.site, peer.site)
        if link.transport == VXLAN:
            device = document["device"]
        elif link.transport == DIRECT:
            device = on_link.get(peer.underlay, "")
        else:
            device = wireguard_device(generation) if peer.keys.partition(",")[0] not in ("", NONE) else ""
        peers.append(PeerLink(peer, link, device))
    return HostLinks(own, table, document["device"], peers, listed, wireguard_ports(document), former, kept)


def _check_prefixes(own: Peer, peers: t.Iterable[Peer]) -> None:
    """Make sure that all node CIDRs have the same size, as the rules need it."""
    suffix = own.node_cidr[own.node_cidr.index("/") :]
    others = [peer for peer in peers if not peer.node_cidr.endswith(suffix)]
    if others:
        named = some_of([f"{peer.name} has {peer.node_cidr}" for peer in others], MOST_PEERS)
        raise ValidationError(
            f"links (overlay_links) require node CIDRs of one size: {own.name} has {own.node_cidr}, {named}"
        )


# --- entries ---


def entries_of(links: HostLinks) -> dict[str, Desired]:
    """Return the desired routes, FDB entries and neighbours, by the name of their table."""
    routes = dict([blackhole_entry(links.own.node_cidr)])
    fdb: Desired = {}
    neighbors: Desired = {}
    device_mtu, source = links.vxlan_mtu, vtep_address(links.own.node_cidr)  # once, and not for each of 5,000 peers
    for each in links.peers:
        peer, transport = each.peer, each.link.transport
        former = links.former.get(peer.node_cidr) if links.former else None
        before = "" if former is None else links.transport_before(peer)
        if transport != VXLAN or before not in ("", VXLAN):
            routes.update([blackhole_entry(peer.node_cidr)])
        if former is not None and peer.node_cidr in links.kept:
            routes[peer.node_cidr] = former.spec
        elif each.device:
            key, spec = _route(each, source, device_mtu)
            routes[key] = spec
        if VXLAN in (transport, before):
            mac = vtep_mac(peer.node_cidr)
            sent_to = former.underlay if former is not None and transport != VXLAN else peer.underlay
            key, spec = fdb_entry(mac, sent_to)
            fdb[key] = spec
            key, spec = neighbor_entry(vtep_address(peer.node_cidr), mac)
            neighbors[key] = spec
    return {RouteTable.name: routes, FdbTable.name: fdb, NeighborTable.name: neighbors}


def _route(each: PeerLink, source: str, device_mtu: int) -> tuple[str, str]:
    """Return the route to a peer.

    :param source: the address of the own VTEP.
    :param device_mtu: the MTU of the VXLAN device.
    """
    node_cidr, (transport, mtu) = each.peer.node_cidr, each.link
    if transport == VXLAN:
        return via_entry(node_cidr, vtep_address(node_cidr), each.device, mtu=mtu if mtu < device_mtu else None)
    if transport == DIRECT:
        return direct_entry(node_cidr, each.peer.underlay, each.device, source, mtu)
    return device_entry(node_cidr, each.device, source, mtu)


def newly_encrypted(links: HostLinks) -> list[str]:
    """Return the node CIDRs of the peers to which this host sends by WireGuard from the phase *cutover* on."""
    changed = [each for each in links.with_transport(WIREGUARD) if each.peer.node_cidr in links.former and each.device]
    return [
        each.peer.node_cidr
        for each in changed
        if each.peer.node_cidr not in links.kept and links.transport_before(each.peer) != WIREGUARD
    ]


# --- rules ---


def link_rules(links: HostLinks, receives: bool = False) -> LinkRules | None:
    """Return what the rules need of the links; ``None`` where VXLAN connects all nodes, with one MTU.

    :param receives: whether peers may still send to WireGuard devices of a former plan.
    """
    if not (links.listed or links.former or receives):
        return None
    direct: list[Peer] = []
    encrypted: list[str] = []
    senders: list[Peer] = []
    by: set[str] = set()
    for each in links.peers:
        peer, transport = each.peer, each.link.transport
        before = links.transport_before(peer) if links.former else ""
        if transport == DIRECT and each.device:
            by.add(each.device)
        if before == DIRECT:
            by.add(device_of(links.former[peer.node_cidr].spec))
        if DIRECT in (transport, before):
            direct.append(peer)
        if transport == WIREGUARD and before in ("", WIREGUARD):
            encrypted.append(vtep_address(peer.node_cidr))
        if WIREGUARD in (transport, before):
            senders.append(peer)
    wireguard = receives or bool(senders)
    return LinkRules(
        prefix=int(links.own.node_cidr.rpartition("/")[2]),
        vtep=vtep_address(links.own.node_cidr),
        direct=[vtep_address(peer.node_cidr) for peer in direct],
        neighbors=[peer.underlay for peer in direct],
        direct_links=sorted(by),
        encrypted=encrypted,
        wireguard=wireguard,
        ports=links.wireguard_ports if wireguard else (),
        endpoints=_endpoints(senders),
    )


def _endpoints(senders: t.Iterable[Peer]) -> list[str] | None:
    """Return the addresses from which peers send by WireGuard; ``None``: any, because one of them is behind NAT.

    A peer sends from its endpoint, or from its underlay address where that is nearer.
    """
    endpoints: set[str] = set()
    for peer in senders:
        address = _endpoint_address(peer)
        if not address:
            return None
        endpoints.update((address, peer.underlay))
    return sorted(endpoints)


def _endpoint_address(peer: Peer) -> str:
    """Return the address of the endpoint of a peer; empty if it has none, or is behind NAT."""
    return peer.endpoint.rpartition(":")[0].strip("[]")


# --- underlay ---


def on_link_peers(document: NodeDocument, run: Run) -> dict[str, str]:
    """Return the links by which this host reaches the peers with a direct link.

    :raises ValidationError: a peer is behind a router, or unreachable: names both ends.
    """
    if "links" not in document:
        return {}
    fleet = parse_fleet(document["fleet"])
    own, table = fleet.pop(document["node"], None), links_of(document)
    if own is None:
        return {}
    names = {peer.site for peer in fleet.values()}
    sites = {name for name in names if table.between(own.site, name).transport == DIRECT}
    peers = {peer.underlay: peer for peer in fleet.values() if peer.site in sites}
    found, others = neighbors_of(own.underlay, peers, run)
    if others:
        named = [f"{peers[address].name} ({address}) {how}" for address, how in others.items()]
        raise ValidationError(
            f"a direct link (overlay_links) requires that both ends are on the same layer-2 network, but {own.name} "
            f"({own.underlay}) reaches {some_of(named, MOST_PEERS)}: correct overlay_underlay_ip or overlay_site, or "
            f"choose another transport for {_sites(own, [peers[address] for address in others])}"
        )
    return found


def _sites(own: Peer, peers: t.Iterable[Peer]) -> str:
    names = sorted({peer.site for peer in peers})
    return some_of([own.site if name == own.site else f"{own.site} and {name}" for name in names], MOST_PEERS)


def vxlan_underlays(links: HostLinks) -> list[str]:
    """Return the underlay addresses of the peers that need the full MTU of the VXLAN device."""
    mtu = links.vxlan_mtu
    return [each.peer.underlay for each in links.peers if each.transport == VXLAN and each.link.mtu == mtu]


def link_mtu_problems(links: HostLinks, rows: t.Sequence[Row], run: Run) -> list[str]:
    """Return a problem for each link of the host, and each route, with too small an MTU for a link of the plan.

    :param rows: all links of the host. VXLAN links with the MTU of the device are left out: see
        :func:`link.check_conflicts`.
    """
    version = 6 if ":" in links.own.underlay else 4
    problems: list[str] = []
    for link, addresses in _underlays_by_link(links).items():
        spec = MtuSpec(link.mtu, links.own.underlay, VARIABLES.mtu, ENCAPSULATION[link.transport][version])
        problems += mtu_problems(underlay_routes(links.own.underlay, addresses, run), rows, spec)
    return list(dict.fromkeys(problems))


def underlay_jobs(links: HostLinks) -> list[Job]:
    """Return the programs that look up the routes to all peers, for :func:`listed_together`."""
    groups = [vxlan_underlays(links), *_underlays_by_link(links).values()]
    return [routes_job(links.own.underlay, addresses) for addresses in groups if addresses]


def _underlays_by_link(links: HostLinks) -> dict[Link, list[str]]:
    """Return the addresses to which this host sends what it sends to the peers of each link, without
    :func:`vxlan_underlays`."""
    groups: dict[Link, list[str]] = {}
    mtu = links.vxlan_mtu
    for each in links.peers:
        if each.transport == VXLAN and each.link.mtu == mtu:
            continue
        address = each.peer.underlay
        if each.transport == WIREGUARD:
            address = _endpoint_address(each.peer)
        if address:
            groups.setdefault(each.link, []).append(address)
    return groups


def link_counts(links: HostLinks) -> str:
    """Return the links in a few words, such as ``direct with MTU 1500: 3 peers; vxlan with MTU 1450: 8 peers``."""
    counts: dict[Link, int] = {}
    for each in links.peers:
        counts[each.link] = counts.get(each.link, 0) + 1
    return "; ".join(f"{link.transport} with MTU {link.mtu}: {number} peers" for link, number in sorted(counts.items()))

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the links: what ``overlay_links`` lists, the default for all other pairs of sites, and the MTU of each.

The sites are those of all nodes, also of nodes that are only in the ledger. A plan with
links has one for every pair of sites, and for each site with itself. This module does
no I/O.
"""

from __future__ import annotations

import collections
import itertools
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    MIN_MTU,
    NONE,
    NodeDocument,
    Peer,
    with_port,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
    numeric_address,
    whole_number,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import some_of
from ansible_collections.tke.overlay.plugins.module_utils._links import (
    ENCAPSULATION,
    VXLAN,
    WIREGUARD,
    Link,
    LinkTable,
    mtu_of_packets,
    ports_of_generations,
)
from ansible_collections.tke.overlay.plugins.module_utils._names import LABEL

BEHIND_NAT = "none"
"""The value of ``overlay_wireguard_endpoint`` of a host that peers cannot reach: it sends first."""

MOST_NAMES = 8
"""Nodes or sites that one problem names."""

Pair = tuple[str, str]


class ListedLink(t.NamedTuple):
    """One item of ``overlay_links``. ``mtu`` is what the line carries; ``None``: as much as both ends."""

    transport: str = VXLAN
    mtu: int | None = None
    listed: bool = True


class Member(t.NamedTuple):
    """What the links need to know of a node. ``endpoint`` is empty for the default one, ``-`` behind NAT.

    ``versions`` are the IP versions of the addresses to which peers send packets.
    """

    name: str
    site: str
    underlay_mtu: int
    versions: t.Sequence[int]
    endpoint: str


def listed(settings: ClusterSettings) -> dict[Pair, ListedLink]:
    """Return the items of ``overlay_links``, whose form is checked already, by the two sites in their order."""
    return {
        pair_of(item["sites"]): ListedLink(item.get("transport") or VXLAN, whole_number(item.get("mtu")))
        for item in settings.links or ()
    }


def pair_of(sites: t.Sequence[t.Any]) -> Pair:
    """Return the two sites of a link in their order; one site twice if there is only one."""
    one, other = sorted(map(str, (sites[0], sites[-1])))
    return one, other


def all_links(settings: ClusterSettings, sites: t.Iterable[str]) -> dict[Pair, ListedLink]:
    """Return a link for every pair of sites, and for each site with itself: what is not listed is VXLAN."""
    known = listed(settings)
    pairs = itertools.combinations_with_replacement(sorted(set(sites)), 2)
    return {pair: known.get(pair, ListedLink(listed=False)) for pair in pairs}


# --- the plan -------------------------------------------------------------------------------------


def link_table(settings: ClusterSettings, ledger: Ledger) -> LinkTable:
    """Return the link of every pair of sites, from a ledger with the sites of all nodes."""
    members = [_of_ledger(name, held) for name, held in ledger.nodes.items() if held.underlay]
    by_site = _by_site(members)
    return LinkTable(
        {
            pair: Link(link.transport, _left_for_pods(link, pair, by_site))
            for pair, link in all_links(settings, by_site).items()
        }
    )


def part_of_document(settings: ClusterSettings, ledger: Ledger) -> NodeDocument:
    """Return the keys of a document that the links add or change; nothing without ``overlay_links``."""
    if settings.links is None:
        return t.cast(NodeDocument, {})
    table, sites = link_table(settings, ledger), {held.site or "" for held in ledger.nodes.values() if held.underlay}
    part: dict[str, t.Any] = {"links": table.text(), "mtu": max(table.mtu_of_pods(site) for site in sites)}
    if wireguard_sites(settings, sites):
        part.update(
            wireguard_port=ledger.wireguard_port,
            wireguard_generation=ledger.wireguard_generation,
            **({} if ledger.wireguard_next_port is None else {"wireguard_next_port": ledger.wireguard_next_port}),
        )
    return t.cast(NodeDocument, part)


def rows(settings: ClusterSettings, ledger: Ledger) -> list[dict[str, t.Any]]:
    """Return the links for a summary: the two sites with the number of their nodes, the transport and the MTU."""
    members = collections.Counter(held.site or "" for held in ledger.nodes.values() if held.underlay)
    return [
        {"sites": [one, other], "nodes": [members[one], members[other]], "transport": transport, "mtu": int(mtu)}
        for one, other, transport, mtu in map(str.split, link_table(settings, ledger).text().splitlines())
    ]


def peers_of(settings: ClusterSettings, ledger: Ledger) -> list[Peer]:
    """Return all nodes with a known underlay address; with their sites in a cluster with links."""
    known = [(name, held, held.underlay) for name, held in ledger.nodes.items() if held.underlay]
    if settings.links is None:
        return [Peer(name, held.node_cidr, underlay) for name, held, underlay in known]
    encrypted = wireguard_sites(settings, [held.site or "" for _name, held, _underlay in known])
    peers = []
    for name, held, underlay in known:
        peer = Peer(name, held.node_cidr, underlay, held.site or "")
        if peer.site in encrypted:
            endpoint = held.wireguard_endpoint or with_port(underlay, ledger.wireguard_port or settings.wireguard_port)
            keys = ",".join(filter(None, (held.wireguard_key or NONE, held.wireguard_next_key)))
            peer = peer._replace(endpoint=endpoint, keys=keys)
        peers.append(peer)
    return peers


def wireguard_sites(settings: ClusterSettings, sites: t.Iterable[str]) -> set[str]:
    """Return the sites that have a link with WireGuard, also with themselves."""
    links = all_links(settings, sites)
    return {site for pair, link in links.items() if link.transport == WIREGUARD for site in pair}


def record(settings: ClusterSettings, nodes: t.Sequence[InventoryNode], ledger: Ledger) -> None:
    """Enter the sites and endpoints of the nodes of the inventory into the ledger.

    The keys of a node that has no link with WireGuard any more are forgotten. Without ``overlay_links``, the ledger has
    none of this.

    Nodes with keys keep the port that they have: only their next keys get another one (:mod:`keys`), because a device
    that changes its port loses packets.
    """
    known = [node for node in nodes if node.kinds is not None and node.name in ledger.nodes]
    for node in known:
        held = ledger.nodes[node.name]
        if settings.links is None:
            ledger.nodes[node.name] = Assignment(held.node_cidr, *held[1:5])
        else:
            endpoint = _own_endpoint(node)
            usual = endpoint == with_port(held.underlay or "", settings.wireguard_port)
            ledger.nodes[node.name] = held._replace(site=node.place(), wireguard_endpoint=None if usual else endpoint)
    encrypted = wireguard_nodes(settings, ledger)
    for node in known:
        if node.name not in encrypted:
            ledger.forget_keys([node.name])
    if known:  # the module node_cidr has nodes of its own, and no links
        if _port_in_use(ledger) is None:
            ledger.wireguard_port = settings.wireguard_port if encrypted else None
        record_next_port(settings, ledger)


def record_next_port(settings: ClusterSettings, ledger: Ledger) -> None:
    """Enter the port of the next keys, while there are such keys.

    No node sends by them yet, so it may still change, for instance because another program has it.
    """
    changes = any(held.wireguard_next_key for held in ledger.nodes.values())
    wanted = settings.wireguard_port
    ledger.wireguard_next_port = wanted if changes and wanted != ledger.wireguard_port else None


def _port_in_use(ledger: Ledger) -> int | None:
    """Return the port that nodes with keys have; ``None`` if no node has a key, or none has applied a plan yet."""
    in_use = ledger.applied and any(held.wireguard_key for held in ledger.nodes.values())
    return ledger.wireguard_port if in_use else None


def wireguard_nodes(settings: ClusterSettings, ledger: Ledger) -> list[str]:
    """Return the nodes with a link that has the transport WireGuard, from a ledger with the sites of all nodes."""
    if settings.links is None:
        return []
    encrypted = wireguard_sites(settings, [held.site or "" for held in ledger.nodes.values() if held.underlay])
    return [name for name, held in sorted(ledger.nodes.items()) if held.site in encrypted]


# --- problems -------------------------------------------------------------------------------------


def problems(settings: ClusterSettings, nodes: t.Sequence[InventoryNode], ledger: Ledger) -> t.Iterator[str]:
    """Yield the conflicts of the links with the nodes of the inventory and of the ledger."""
    if settings.links is None or not all(LABEL.fullmatch(node.place()) for node in nodes):
        return
    present = {node.name for node in nodes}
    absent = {name: held for name, held in sorted(ledger.nodes.items()) if name not in present and held.underlay}
    yield from _problems_of_unknown_place([name for name, held in absent.items() if not held.site])
    members = [_of_inventory(node) for node in nodes]
    members += [_of_ledger(name, held) for name, held in absent.items() if held.site]
    by_site = _by_site(members)
    yield from _problems_of_sites(settings, by_site)
    for pair, link in all_links(settings, by_site).items():
        yield from _problems_of_mtu(pair, link, by_site)
        yield from _problems_of_nat(pair, link, by_site)
    if wireguard_sites(settings, by_site):
        yield from _problems_of_ports(settings, ledger)
    yield from _problems_of_endpoints(nodes, settings)


def _problems_of_unknown_place(names: t.Sequence[str]) -> t.Iterator[str]:
    if names:
        yield (
            f"the site of {some_of(names, MOST_NAMES)} is unknown, and overlay_links is set: the ledger has no site of "
            f"a node that was not in the inventory since then; add it to the inventory, or release it"
        )


def _problems_of_sites(settings: ClusterSettings, by_site: t.Mapping[str, t.Sequence[Member]]) -> t.Iterator[str]:
    for number, item in enumerate(settings.links or (), 1):
        for site in dict.fromkeys(map(str, item["sites"])):
            if site not in by_site:
                yield (
                    f"overlay_links: item {number} names the site {site!r}, in which no node is: the sites are "
                    f"{some_of(sorted(by_site), MOST_NAMES)} (overlay_site, by default the group cloud or idc)"
                )


def _problems_of_mtu(pair: Pair, link: ListedLink, by_site: t.Mapping[str, t.Sequence[Member]]) -> t.Iterator[str]:
    ends = {site: min(by_site[site], key=lambda member: member.underlay_mtu) for site in pair}
    where = f"overlay_links: the link {described(pair)}"
    each = ", ".join(f"{end.underlay_mtu} of node {end.name}" for end in ends.values())
    if link.mtu is not None and link.mtu > max(end.underlay_mtu for end in ends.values()):
        yield (
            f"{where} has mtu {link.mtu}, more than both ends carry (overlay_underlay_mtu: {each}): set what the line "
            f"carries, or remove mtu"
        )
        return
    carried, left = _carried(link, pair, by_site), _left_for_pods(link, pair, by_site)
    least = MIN_MTU[max(version for member in _members(pair, by_site) for version in member.versions)]
    if left < least:
        by = f"mtu {link.mtu}" if link.mtu == carried else f"overlay_underlay_mtu: {each}"
        yield (
            f"{where} carries packets of {carried} bytes ({by}), and {link.transport} leaves Pods {left} of them; they "
            f"need at least {least}: set at least {least + _encapsulation(link, pair, by_site)}"
        )


def _problems_of_nat(pair: Pair, link: ListedLink, by_site: t.Mapping[str, t.Sequence[Member]]) -> t.Iterator[str]:
    hidden = {site: [each.name for each in by_site[site] if each.endpoint == NONE] for site in pair}
    lists = {site: f"{some_of(names, MOST_NAMES)} (site {site})" for site, names in hidden.items() if names}
    one, other = pair
    if link.transport == WIREGUARD and (len(lists) == 2 or (len(hidden[one]) > 1 and one == other)):
        yield (
            f"overlay_links: the link {described(pair)} has both ends behind NAT, so that neither can reach the other: "
            f"{' and '.join(lists.values())} have overlay_wireguard_endpoint none; give the nodes of one end "
            f"ADDRESS:PORT, at which the others reach them{_or_other_transport(pair)}"
        )
    elif link.transport != WIREGUARD and lists and one != other:
        source = link.transport if link.listed else f"not in overlay_links, so it is {link.transport}"
        yield (
            f"the link {described(pair)} is {source}, which does not cross NAT, and behind NAT "
            f"(overlay_wireguard_endpoint none) is {' and '.join(lists.values())}: set "
            f"{{sites: [{one}, {other}], transport: wireguard}} in overlay_links"
        )


def _or_other_transport(pair: Pair) -> str:
    """Return the other way out: inside a site, nodes reach each other without NAT."""
    one, other = pair
    return ", or choose another transport inside the site" if one == other else ""


def _problems_of_ports(settings: ClusterSettings, ledger: Ledger) -> t.Iterator[str]:
    in_use = _port_in_use(ledger)
    if settings.port in ports_of_generations(settings.wireguard_port):
        yield (
            f"overlay_wireguard_port {settings.wireguard_port} (and the next one, while keys change) and overlay_port "
            f"{settings.port} are the same UDP port: change one of them"
        )
    elif in_use is not None and settings.port in ports_of_generations(in_use):
        yield (
            f"overlay_port {settings.port} is a UDP port that the nodes use for WireGuard ({in_use} and the next one) "
            f"until tke.overlay.rotate_keys has changed it: choose another one"
        )
    elif in_use is not None and abs(settings.wireguard_port - in_use) == 1:
        yield (
            f"overlay_wireguard_port {settings.wireguard_port} and the next one overlap with {in_use} and the next "
            f"one, which the nodes use until their keys have changed: choose a port that differs by at least 2"
        )


def _problems_of_endpoints(nodes: t.Sequence[InventoryNode], settings: ClusterSettings) -> t.Iterator[str]:
    """Yield the nodes of which one has an endpoint of another. Each needs its port and the next one."""
    holders: dict[str, list[tuple[int, str]]] = collections.defaultdict(list)
    for node in nodes:
        underlay = numeric_address(node.underlay_ip)
        usual = with_port(str(underlay), settings.wireguard_port) if underlay else NONE
        endpoint = _own_endpoint(node) or usual
        if endpoint != usual and endpoint.rpartition(":")[0] == usual.rpartition(":")[0]:
            yield (
                f"node {node.name}: overlay_wireguard_endpoint {endpoint} is the address of the host itself "
                f"(overlay_underlay_ip), and not at its port overlay_wireguard_port {settings.wireguard_port}: remove "
                f"it"
            )
        address, _colon, port = endpoint.rpartition(":")
        if endpoint != NONE and port.isdigit():
            holders[address].append((int(port), node.name))
    for address, claims in holders.items():
        for (lower, name), (upper, other) in itertools.pairwise(sorted(claims)):
            if upper - lower < 2:
                both = f"{address}:{lower} and {address}:{upper}"
                yield (
                    f"nodes {name} and {other} have the WireGuard endpoints {both} (overlay_wireguard_endpoint): each "
                    f"needs its port and the next one, for the time when keys change; set ports that differ by two"
                )


def warnings(settings: ClusterSettings, nodes: t.Sequence[InventoryNode], ledger: Ledger) -> list[str]:
    """Return a warning where variables of the links have no effect, or not yet."""
    if settings.links is not None:
        return _warnings_of_port(settings, ledger)
    names = [node.name for node in nodes if node.wireguard_endpoint is not None]
    if not names:
        return []
    where = f"overlay_wireguard_endpoint of {some_of(names, MOST_NAMES)}"
    return [f"{where} has no effect: VXLAN connects all nodes, because overlay_links is not set"]


def _warnings_of_port(settings: ClusterSettings, ledger: Ledger) -> list[str]:
    in_use = _port_in_use(ledger)
    if in_use in (None, settings.wireguard_port):
        return []
    wanted = f"overlay_wireguard_port {settings.wireguard_port} is for the next WireGuard keys"
    return [f"{wanted}: the nodes use port {in_use} until tke.overlay.rotate_keys has changed their keys"]


def described(pair: Pair) -> str:
    """Return the sites of a link as messages name them."""
    one, other = pair
    return f"inside {one}" if one == other else f"{one} - {other}"


# --- nodes ----------------------------------------------------------------------------------------


def _own_endpoint(node: InventoryNode) -> str | None:
    """Return the endpoint that a user has set, as the ledger records it."""
    given = node.wireguard_endpoint
    if given is None:
        return None
    return NONE if given == BEHIND_NAT else str(given)


def _of_inventory(node: InventoryNode) -> Member:
    endpoint, address = _own_endpoint(node) or "", numeric_address(node.underlay_ip)
    mtu = whole_number(node.underlay_mtu)
    return Member(node.name, node.place(), mtu or _UNKNOWN_MTU, _versions(str(address or ""), endpoint), endpoint)


def _of_ledger(name: str, held: Assignment) -> Member:
    endpoint = held.wireguard_endpoint or ""
    mtu = held.underlay_mtu or _UNKNOWN_MTU
    return Member(name, held.site or "", mtu, _versions(held.underlay or "", endpoint), endpoint)


_UNKNOWN_MTU = 65535
"""Of a node whose MTU is invalid, which is reported elsewhere: it limits nothing."""


def _versions(underlay: str, endpoint: str) -> list[int]:
    return [6 if ":" in underlay else 4, *([6] if endpoint.startswith("[") else [])]


def _by_site(members: t.Iterable[Member]) -> dict[str, list[Member]]:
    by_site: dict[str, list[Member]] = collections.defaultdict(list)
    for member in members:
        by_site[member.site].append(member)
    return dict(by_site)


def _members(pair: Pair, by_site: t.Mapping[str, t.Sequence[Member]]) -> list[Member]:
    return [member for site in pair for member in by_site[site]]


def _carried(link: ListedLink, pair: Pair, by_site: t.Mapping[str, t.Sequence[Member]]) -> int:
    """Return the largest packet of the underlay that a link carries, in bytes."""
    ends = min(member.underlay_mtu for member in _members(pair, by_site))
    return ends if link.mtu is None else min(ends, link.mtu)


def _left_for_pods(link: ListedLink, pair: Pair, by_site: t.Mapping[str, t.Sequence[Member]]) -> int:
    return mtu_of_packets(link.transport, _carried(link, pair, by_site), _encapsulation(link, pair, by_site))


def _encapsulation(link: ListedLink, pair: Pair, by_site: t.Mapping[str, t.Sequence[Member]]) -> int:
    """Return the bytes that a link adds to a packet. WireGuard sends to endpoints, the others to underlay addresses."""
    of_endpoints = link.transport == WIREGUARD
    versions = {
        version
        for member in _members(pair, by_site)
        for version in (member.versions if of_endpoints else member.versions[:1])
    }
    return max(ENCAPSULATION[link.transport][version] for version in versions)

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller and every host must compute alike: addresses, MACs, MTU, and the node document.

A *node CIDR* is the part of the container CIDR that one node owns, for instance
``10.244.3.0/24``. The node CIDR determines:

========================  ======================  =================================
address                   in the example          use
========================  ======================  =================================
first                     ``10.244.3.0``          VTEP: a /32 on the VXLAN device
second                    ``10.244.3.1``          gateway, on the Pod bridge
third to last but one      ``10.244.3.2 - .254``   Pods (node CIDR size - 3)
last                      ``10.244.3.255``        unused
========================  ======================  =================================

and the MAC of the VTEP, ``0a:58`` followed by the four bytes of its address.
So one line of the plan describes a peer completely: a host gathers nothing from
other hosts and exchanges nothing with them.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import json
import re
import socket
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import (
    INVENTORY_NAME,
    INVENTORY_NAME_RULE,
    LABEL,
    LABEL_RULE,
    MOST_SHOWN,
    is_host_name,
    shown,
)

Address = t.Union[ipaddress.IPv4Address, ipaddress.IPv6Address]
Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

PLAN_SCHEMA = 1
"""Version of the node document. A host rejects a document of another version."""

ROUTE_PROTOCOL = 144
"""Marks the routes that this collection manages.

No program is known to use it: neither those in iproute2's ``rt_protos`` (0 to 18, 42, 84 of OVN, 99, 186 to 192), nor
FRR (186 to 198), Calico (80), Cilium, systemd-networkd and NetworkManager (2 to 16), or Coil (30).
"""

ROUTE_PROTOCOL_NAME = "tke"
"""The name by which iproute2 prints that number on a node, and accepts it."""

VTEP_MAC_PREFIX = "0a:58:"
"""The first two bytes of the MAC of every VTEP, see :func:`vtep_mac`."""

DEVICE_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,14}")
"""The name of a link. The kernel allows more, but quotes and ``#`` have a meaning in an iproute2 batch, and a dash at
the start marks an option."""

DEVICE_NAME_RULE = "a device name has 1 to 15 letters, digits, '_', '-' and '.', and does not start with '-'"

WIREGUARD_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
"""A key of WireGuard: 32 bytes in base64, so the last digit has four bits."""

MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
"""A unicast MAC address, in lower case."""

OVERHEAD = {4: 50, 6: 70}
"""Bytes VXLAN adds on an underlay of this IP version: IP (20 or 40) + UDP 8 + VXLAN 8 + inner Ethernet 14."""

MIN_MTU = {4: 576, 6: 1280}
"""The smallest MTU that the overlay may have: RFC 791 for IPv4, RFC 8200 for IPv6."""

RESERVED_ADDRESSES_PER_NODE = 3
"""VTEP, gateway and the last address (in TKE: network, broadcast, gateway): not for Pods."""


class Peer(t.NamedTuple):
    """One node in the plan: one line of the fleet.

    ``site`` is empty in a plan without links. ``endpoint`` and ``keys`` belong to nodes that have a
    link with WireGuard, and are empty otherwise: the address and port at which peers reach its WireGuard, ``-`` if it
    is behind NAT; and its public key, ``-`` as long as it is not known. While keys change, ``keys`` is the present and
    the next one, with a comma.
    """

    name: str
    node_cidr: str
    underlay: str
    site: str = ""
    endpoint: str = ""
    keys: str = ""


NONE = "-"
"""In a line of the fleet: there is no such value."""


class _CommonDocument(t.TypedDict):
    """What every document has."""

    schema: int
    cluster: str
    node: str
    device: str
    vni: int
    port: int
    mtu: int
    bridge: str
    container_cidr: list[str]
    service_cidr: str
    fleet: str
    former: str | None  # released node CIDRs, see :func:`former_text`; ``None``: not known


class NodeDocument(_CommonDocument, total=False):
    """What the controller sends to the hosts.

    The document is the same for every host; the host adds ``node``, its own name. All peers
    travel in the one string ``fleet`` (one line each, see :func:`fleet_text`), because
    Ansible inspects and templates every leaf of a structure for every host and
    task: 5,000 peers as a list of dicts cost 0.3 s of controller CPU per host.

    ``mtu`` is the largest MTU of any link. Without ``links``, VXLAN connects all nodes,
    with this MTU, see :func:`_links.links_of`. ``wireguard_port`` and
    ``wireguard_generation`` exist if a link has the transport WireGuard, and ``wireguard_next_port`` while keys change
    together with the port. ``ledger_versions`` are those of
    :mod:`_ledger_version`, if the ledger has any.
    """

    ledger_versions: str
    links: str
    wireguard_port: int
    wireguard_generation: int
    wireguard_next_port: int


def plan_id(document: NodeDocument) -> str:
    """Return the ID of a plan: 12 hexadecimal digits, the same on the controller and on every host that applied it.

    The ID does not depend on ``node``, so one comparison shows whether a host has the current plan; nor on ``former``
    and ``ledger_versions``, from which nothing is configured.
    """
    words = {key: value for key, value in document.items() if key not in ("node", "former", "ledger_versions")}
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:12]


def vtep_address(node_cidr: str) -> str:
    """Return the VTEP address of a node CIDR: its first address, without a prefix length."""
    return node_cidr.partition("/")[0]


def vtep_mac(node_cidr: str) -> str:
    """Return the MAC of the VTEP of a node CIDR: ``0a:58`` and the four bytes of the VTEP address.

    This is the scheme of CNI's bridge plugin; 0a marks a locally administered unicast address.
    """
    return VTEP_MAC_PREFIX + socket.inet_aton(vtep_address(node_cidr)).hex(":")


def gateway_address(node_cidr: str) -> str:
    """Return the address of the Pod bridge: the second address of the node CIDR."""
    return str(ipaddress.IPv4Network(node_cidr)[1])


def pod_range(node_cidr: str) -> tuple[str, str]:
    """Return the first and the last address that a Pod of this node CIDR can have."""
    network = ipaddress.IPv4Network(node_cidr)
    return str(network[2]), str(network[-2])


def overhead_on(underlay: str) -> int:
    """Return the bytes that the tunnel adds to a packet, by the IP version of an underlay address."""
    return OVERHEAD[6 if ":" in underlay else 4]


def overlay_mtu(underlays: t.Iterable[tuple[str, int]]) -> int:
    """Return the MTU of the overlay in bytes: the largest that fits through the underlay of every node.

    :param underlays: pairs of underlay address and underlay MTU in bytes, one per node.
    """
    return min(mtu - overhead_on(address) for address, mtu in underlays)


def fleet_text(peers: t.Iterable[Peer]) -> str:
    """Return one line per node, ``NAME NODE-CIDR UNDERLAY [SITE [ENDPOINT KEYS]]``, ordered by node CIDR."""
    ordered = sorted(peers, key=lambda peer: socket.inet_aton(vtep_address(peer.node_cidr)))
    return "".join(" ".join(filter(None, peer)) + "\n" for peer in ordered)


def parse_fleet(text: str) -> dict[str, Peer]:
    """Return the peers of :func:`fleet_text` by node name: the inverse of that function.

    :raises ValidationError: a line is not what :func:`fleet_text` writes, or a name or a node CIDR appears twice.
    """
    return dict(_parsed_fleet(text))  # a caller may change its own


@functools.lru_cache(maxsize=2)  # a host reads the planned fleet several times, and the saved one
def _parsed_fleet(text: str) -> dict[str, Peer]:
    lines = _lines(text)
    peers = _usual_peers(text)
    if len(peers) != len(lines):
        usual = {" ".join(filter(None, peer)) for peer in peers}
        peers = [Peer(*line.split(" ")) for line in lines if line in usual or _is_peer(line.split(" "))]
    fleet = {peer.name: peer for peer in peers}
    if not len(fleet) == len(lines) == len({peer.node_cidr for peer in peers}):
        raise ValidationError(*_problems_of_fleet(text))
    return fleet


def _lines(text: str) -> list[str]:
    lines = text.split("\n")  # not splitlines(), which ends a line at U+2028 and others, too
    return lines[:-1] if lines[-1] == "" else lines


def _usual_peers(text: str) -> list[Peer]:
    """Return the peers of the lines that are right and have IPv4 addresses only, found by one expression.

    They are as many as the lines unless one is wrong or has something unusual: then the others are examined.
    """
    found = _USUAL_LINE.findall(text)
    return [
        Peer(name, f"{address}/{length}", underlay, site, endpoint, keys)
        for name, address, length, underlay, site, endpoint, keys in found
        if (length == "24" and address.endswith(".0")) or not _number(address) & _HOST_BITS[length]
    ]


_IPV4 = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])" + 3 * r"\.(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_SMALL_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}"  # one above 59999 is examined
_KEY = WIREGUARD_KEY.pattern
_NAME = INVENTORY_NAME.pattern.replace("(", "(?:")
_USUAL_LINE = re.compile(
    rf"^({_NAME}) ({_IPV4})/([1-9]|[12][0-9]|3[0-2]) ({_IPV4})"
    rf"(?: ({LABEL.pattern})(?: ({NONE}|{_IPV4}:(?:{_SMALL_PORT})) ({NONE}|{_KEY}(?:,{_KEY})?))?)?$",
    re.MULTILINE,
)


def _is_peer(words: list[str]) -> bool:
    """Whether the words of a line are right, as :func:`_problems_of_peer` finds out."""
    if len(words) not in (3, 4, 6):
        return False
    usual = INVENTORY_NAME.fullmatch(words[0]) and _is_node_cidr(words[1]) and _is_address(words[2])
    return bool(usual) and (len(words) == 3 or ("" not in words and not any(_problems_of_link(Peer(*words)))))


def _problems_of_fleet(text: str) -> list[str]:
    fleet: set[str] = set()
    owners: dict[str, str] = {}
    problems = []
    for number, line in enumerate(_lines(text), 1):
        words = line.split(" ")
        if len(words) not in (3, 4, 6) or "" in words:
            problems.append(
                f"line {number} of the fleet is not 'NAME NODE-CIDR UNDERLAY [SITE [ENDPOINT KEYS]]': {shown(line)}"
            )
        elif words[0] in fleet:
            problems.append(f"line {number} of the fleet repeats the node {words[0]!r}")
        else:
            fleet.add(words[0])
            peer = Peer(*words)
            owner = owners.setdefault(peer.node_cidr, peer.name)
            problems += [f"line {number} of the fleet: {problem}" for problem in _problems_of_peer(peer)]
            if owner != words[0]:
                problems.append(f"line {number} of the fleet gives {words[0]!r} the node CIDR of {owner!r}, {words[1]}")
    return problems


def former_text(former: t.Mapping[str, str]) -> str:
    """Return one line per released node CIDR, ``NODE-CIDR NAME``: the node that had it last."""
    return "".join(f"{node_cidr} {name}\n" for node_cidr, name in sorted(former.items()))


def parse_former(text: str) -> dict[str, str]:
    """Return node CIDR -> name: the inverse of :func:`former_text`.

    :raises ValidationError: a line is not node CIDR and name.
    """
    former: dict[str, str] = {}
    problems = []
    for number, line in enumerate(_lines(text), 1):
        node_cidr, _space, name = line.partition(" ")
        if not (_is_node_cidr(node_cidr) and INVENTORY_NAME.fullmatch(name)):
            problems.append(f"line {number} of the former node CIDRs is not 'NODE-CIDR NAME': {shown(line)}")
        former[node_cidr] = name
    if problems:
        raise ValidationError(*problems)
    return former


class Contradiction(t.NamedTuple):
    """A node that has another node CIDR in the plan that a host has saved than in the new plan, without a release.

    ``planned`` is empty if the node is not in the new plan.
    """

    name: str
    saved: str
    planned: str


class SavedPlan(t.NamedTuple):
    """The plan that a host has applied: its own node, and all nodes by name."""

    own: Peer
    fleet: t.Mapping[str, Peer]


def contradictions(
    host: str, saved: SavedPlan, planned: t.Mapping[str, Peer], former: t.Mapping[str, str]
) -> list[Contradiction]:
    """Return where a new plan contradicts the plan that a host has applied.

    A node CIDR changes only by a release, and the ledger records who released it. A plan without that record comes
    from another ledger than the saved plan: from a new one in the place of a lost one, or from an outdated copy.

    :param host: the name of the host in the new plan.
    :param planned: all nodes of the new plan, by name.
    :param former: node CIDR -> the node that released it last.
    """
    own, target = saved.own, planned.get(host)
    moved = target is None or target.node_cidr != own.node_cidr
    if moved and former.get(own.node_cidr) == own.name:
        return []  # released without being reached: the host has missed everything since then
    found = [Contradiction(own.name, own.node_cidr, target.node_cidr if target else "")] if moved else []
    for name, peer in sorted(saved.fleet.items()):
        node_cidr = planned[name].node_cidr if name in planned else ""
        if name != own.name and node_cidr != peer.node_cidr and former.get(peer.node_cidr) != name:
            found.append(Contradiction(name, peer.node_cidr, node_cidr))
    return found


def _problems_of_peer(peer: Peer) -> t.Iterator[str]:
    """Yield the problems of the words of one line. They become words of batches, so they must be nothing else."""
    if not INVENTORY_NAME.fullmatch(peer.name):
        yield f"the name {shown(peer.name)} is invalid: {INVENTORY_NAME_RULE}"
    if not _is_node_cidr(peer.node_cidr):
        yield f"{shown(peer.node_cidr)} is not a node CIDR such as 10.244.3.0/24"
    if not _is_address(peer.underlay):
        yield from address_problems("the underlay address", peer.underlay)
    yield from _problems_of_link(peer)


def _problems_of_link(peer: Peer) -> t.Iterator[str]:
    if peer.site and not LABEL.fullmatch(peer.site):
        yield f"the site {shown(peer.site)} is invalid: {LABEL_RULE}"
    if peer.endpoint not in ("", NONE) and not is_endpoint(peer.endpoint):
        yield f"the WireGuard endpoint {shown(peer.endpoint)} is not ADDRESS:PORT"
    keys = [] if peer.keys in ("", NONE) else peer.keys.split(",")
    if len(keys) > 2 or not all(map(WIREGUARD_KEY.fullmatch, keys)):
        yield f"{shown(peer.keys)} is not the public key of a WireGuard, or two of them with a comma"


def is_endpoint(text: str) -> bool:
    """Whether a text is ``ADDRESS:PORT``, an IPv6 address in brackets, both in their short form."""
    host, _colon, port = text.rpartition(":")
    address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not _is_address(address) or (":" in address) == (host == address):
        return False
    return _PORT.fullmatch(port) is not None and int(port) <= 65535


_HOST_BITS = {str(length): (1 << 32 - length) - 1 for length in range(1, 33)}
"""Length of a prefix as text -> the bits behind it."""


def _is_node_cidr(text: str) -> bool:
    """Whether a text is an IPv4 network in its short form; many times faster than :mod:`ipaddress`."""
    address, _slash, length = text.partition("/")
    bits = _HOST_BITS.get(length)
    return bits is not None and ":" not in address and _is_address(address) and not _number(address) & bits


def _number(address: str) -> int:
    return int.from_bytes(socket.inet_aton(address), "big")


def _is_address(text: str) -> bool:
    """Whether a text is an address in its short form; many times faster than :mod:`ipaddress`."""
    try:
        if ":" in text:
            return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text)) == text
        return socket.inet_ntoa(socket.inet_aton(text)) == text
    except (OSError, ValueError):  # a NUL is a ValueError
        return False


def with_port(address: str, port: int) -> str:
    """Return address and port as a URL writes them, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def is_ipv4_address(text: str) -> bool:
    """Whether a text is an IPv4 address in its usual form, without leading zeros."""
    try:
        return str(ipaddress.IPv4Address(text)) == text
    except ValueError:
        return False


def is_server(text: str) -> bool:
    """Whether a text is ``host:port``, where host is a name or an IPv4 address."""
    host, _colon, port = text.rpartition(":")
    return (is_ipv4_address(host) or is_host_name(host)) and _PORT.fullmatch(port) is not None and int(port) <= 65535


_PORT = re.compile(r"[1-9][0-9]{0,4}")


def strict_address(text: str) -> Address:
    """Return the address. A zone (``fe80::1%eth0``) is invalid: from Python 3.9 on it can be any text.

    :raises ValueError: the text is not an address.
    """
    if "%" in text:
        raise ValueError(f"{shown(text)} has a zone: write the address without it")
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{shown(text)} is not an IP address") from None


def strict_network(text: str) -> Network:
    """Return the network, see :func:`strict_address`.

    :raises ValueError: the text is not a network, or it has bits behind its prefix length.
    """
    if "%" in text:
        raise ValueError(f"{shown(text)} has a zone: write the network without it")
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(str(error)[:MOST_SHOWN]) from None


def address_problems(what: str, text: str) -> list[str]:
    """Return one problem if a text is not an IPv4 or IPv6 address in its short form, none otherwise.

    :param what: the variable or option, as the user wrote it.
    """
    try:
        short = str(strict_address(text))
    except ValueError:
        return [f"{what} {shown(text)} is not an IP address"]
    return [] if short == text else [f"{what} {shown(text)} must be written {short}"]


def network_problems(what: str, text: str) -> list[str]:
    """Return one problem if a text is not a network with a prefix length in its short form, none otherwise.

    :param what: the variable or option, as the user wrote it.
    """
    try:
        network = ipaddress.ip_network("" if "%" in text else text, strict=False)
    except ValueError:
        return [f"{what} {shown(text)} is not a network such as 10.244.0.0/16"]
    if "/" not in text:
        return [f"{what} {shown(text)} has no prefix length: write it as in 10.244.0.0/16"]
    return [] if str(network) == text else [f"{what} {shown(text)} must be written {network}"]


def device_problems(what: str, name: str) -> list[str]:
    """Return one problem if a text is not the name of a link, none otherwise.

    :param what: the variable or option, as the user wrote it.
    """
    return [] if DEVICE_NAME.fullmatch(name) else [f"{what} {shown(name)} is invalid: {DEVICE_NAME_RULE}"]

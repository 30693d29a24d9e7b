# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 1: what the controller and every host must compute alike.

A *node CIDR* is the part of the container CIDR that one node owns, for instance
``10.244.3.0/24``. From the node CIDR alone follow:

========================  ======================  =================================
address                   in the example          use
========================  ======================  =================================
first                     ``10.244.3.0``          VTEP: a /32 on the VXLAN device
second                    ``10.244.3.1``          gateway, on the Pod bridge
third to last but one      ``10.244.3.2 - .254``   Pods (node CIDR size - 3)
last                      ``10.244.3.255``        unused
========================  ======================  =================================

and the MAC of the VTEP, ``0a:58`` followed by the four bytes of its address.
So a host knows all that it must know of a peer from one line of the plan:
nothing is gathered from other hosts and nothing is exchanged between them.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import socket
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

PLAN_SCHEMA = 1
"""Version of the node document. A host refuses a document of another version."""

ROUTE_PROTOCOL = 84
"""Marks the routes that are ours; not in iproute2's ``rt_protos``, and not Calico's 80."""

DEVICE_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.-]{1,15}")
"""A link's name. The kernel allows more, but an iproute2 batch takes quotes and ``#`` for its own."""

DEVICE_NAME_RULE = "a device name has 1 to 15 letters, digits, '_', '-' and '.'"

MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
"""A unicast MAC address, in lower case."""

OVERHEAD = {4: 50, 6: 70}
"""Bytes VXLAN adds on an underlay of this IP version: IP (20 or 40) + UDP 8 + VXLAN 8 + inner Ethernet 14."""

MIN_MTU = {4: 576, 6: 1280}
"""The least MTU an overlay may be left with: RFC 791 for IPv4, RFC 8200 for IPv6."""

RESERVED_ADDRESSES_PER_NODE = 3
"""VTEP, gateway and the last address (in TKE: network, broadcast, gateway)."""


class Peer(t.NamedTuple):
    """One line of the fleet: what is known of a node wherever the plan goes."""

    name: str
    node_cidr: str
    underlay: str


class NodeDocument(t.TypedDict):
    """What passes from the controller's wing to the hosts' wing.

    The document is the same for every host; ``node`` is added on the host. All peers travel
    in the one string ``fleet`` (a line each, see :func:`fleet_text`), because
    Ansible inspects and templates every leaf of a structure for every host and
    task: 5,000 peers as a list of dicts cost 0.3 s of controller CPU a host.
    """

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


def plan_id(document: NodeDocument) -> str:
    """The name of a plan: 12 hexadecimal digits, the same on the controller and on every host that has applied it.

    Whose document it is does not count, so that one comparison tells whether a host has the plan it should have.
    """
    words = {key: value for key, value in document.items() if key != "node"}
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:12]


def vtep_address(node_cidr: str) -> str:
    """The VTEP address of a node CIDR: its first address, without a mask."""
    return node_cidr.partition("/")[0]


def vtep_mac(node_cidr: str) -> str:
    """The MAC of a node CIDR's VTEP: ``0a:58`` and the four bytes of the VTEP address.

    The scheme of CNI's bridge plugin; 0a is a locally administered unicast address.
    """
    return "0a:58:" + socket.inet_aton(vtep_address(node_cidr)).hex(":")


def gateway_address(node_cidr: str) -> str:
    """The address of the Pod bridge: the second of the node CIDR."""
    return str(ipaddress.IPv4Network(node_cidr)[1])


def pod_range(node_cidr: str) -> tuple[str, str]:
    """First and last address a Pod of this node CIDR can have."""
    network = ipaddress.IPv4Network(node_cidr)
    return str(network[2]), str(network[-2])


def overhead_on(underlay: str) -> int:
    """Bytes that the tunnel adds to a packet, by the IP version of an underlay address."""
    return OVERHEAD[6 if ":" in underlay else 4]


def overlay_mtu(underlays: t.Iterable[tuple[str, int]]) -> int:
    """The MTU of the whole overlay: the least that fits through every underlay.

    :param underlays: pairs of a node's underlay address and its underlay MTU in bytes.
    """
    return min(mtu - overhead_on(address) for address, mtu in underlays)


def fleet_text(peers: t.Iterable[Peer]) -> str:
    """One line per node, ``name node CIDR underlay``, ordered by node CIDR."""
    ordered = sorted(peers, key=lambda peer: socket.inet_aton(vtep_address(peer.node_cidr)))
    return "".join(f"{peer.name} {peer.node_cidr} {peer.underlay}\n" for peer in ordered)


def parse_fleet(text: str) -> dict[str, Peer]:
    """The inverse of :func:`fleet_text`, keyed by node name.

    :raises ValidationError: a line has not exactly three words, or a name or a node CIDR appears twice.
    """
    fleet: dict[str, Peer] = {}
    owners: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if len(words) != len(Peer._fields):
            problems.append(f"line {number} of the fleet is not 'name node CIDR underlay': {line!r}")
        elif words[0] in fleet:
            problems.append(f"line {number} of the fleet names {words[0]!r} a second time")
        else:
            fleet[words[0]] = Peer(*words)
            owner = owners.setdefault(words[1], words[0])
            if owner != words[0]:
                problems.append(f"line {number} of the fleet gives {words[0]!r} the node CIDR of {owner!r}, {words[1]}")
    if problems:
        raise ValidationError(*problems)
    return fleet


def with_port(address: str, port: int) -> str:
    """Address and port, as URLs write them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"

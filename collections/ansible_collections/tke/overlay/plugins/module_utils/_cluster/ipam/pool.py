# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 2: the pool of node CIDRs and who is next. No I/O, plain integers where it loops.

The arithmetic is that of TKE's ``ClusterCIDRSettings``: the Service range is
the end of the container CIDR, what lies before it is cut into node CIDRs, and

    max nodes = (addresses of the container CIDR - max services) / max Pods per node

rounded down: a block that belongs partly to the Service range is not handed out.
"""

from __future__ import annotations

import ipaddress
import socket
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import RESERVED_ADDRESSES_PER_NODE
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

PRIVATE_RANGES = tuple(ipaddress.IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
"""Where TKE lets a container CIDR lie (RFC 1918)."""

TKE_PODS_PER_NODE = (16, 256)
TKE_SERVICES = (32, 32768)
"""TKE's own limits; other values work here and are warned about."""

LEAST_PODS_PER_NODE = 4
"""VTEP, gateway and last address leave one Pod."""

SERVICES_NOT_USABLE = 5
"""Addresses of the Service range that TKE keeps: usable services = max services - 5."""


class PoolExhaustedError(Exception):
    """No node CIDR is free."""


class Capacity(t.TypedDict):
    """How much fits, in nodes, Pods and services."""

    max_nodes: int
    used: int
    free: int
    usable_pods_per_node: int
    usable_services: int


def round_up(number: int) -> int:
    """The least power of two that is not less than ``number``."""
    return 1 << (number - 1).bit_length()


class Pool:
    """The geometry of a container CIDR: which node CIDRs there are, and where the Services live.

    Node CIDRs are numbered from 0 through all CIDRs in the order given. The
    Service range is the end of the *first* CIDR, so that appending another one
    neither moves it nor renumbers a node CIDR.

    :param cidrs: IPv4 networks such as ``10.244.0.0/16``.
    :param pods_per_node: addresses of one node CIDR; rounded up to a power of two.
    :param services: addresses of the Service range; rounded up to a power of two.
    :param reserved: parts of the container CIDR from which no node CIDR is given to anybody.
    :raises ValidationError: naming every CIDR and number that cannot be used.
    """

    def __init__(
        self, cidrs: t.Sequence[str], pods_per_node: int, services: int, reserved: t.Sequence[str] = ()
    ) -> None:
        self.node_cidr_size = round_up(max(pods_per_node, 1))
        self.services = round_up(max(services, 1))
        self._networks = _networks(cidrs)
        kept_back, problems = _reserved(reserved, self._networks)
        problems += [
            *_problems_of_sizes(pods_per_node, services),
            *_problems_of_networks(self._networks),
            *_problems_of_fit(self._networks, self.node_cidr_size, self.services),
        ]
        if problems:
            raise ValidationError(*problems)
        self.cidrs = [str(network) for network in self._networks]
        self.warnings = _warnings(pods_per_node, services)
        self._prefix = 32 - (self.node_cidr_size.bit_length() - 1)
        self._ranges: list[tuple[int, int]] = []  # (first address, number of node CIDRs), a pair for each CIDR
        for position, network in enumerate(self._networks):
            addresses = network.num_addresses - (self.services if position == 0 else 0)
            self._ranges.append((int(network.network_address), addresses // self.node_cidr_size))
        self.size = sum(count for _first, count in self._ranges)
        self.reserved = {number: str(network) for network in kept_back for number in self._numbers_in(network)}

    def _numbers_in(self, network: ipaddress.IPv4Network) -> t.Iterator[int]:
        """The node CIDRs that share an address with the network."""
        begin, end = int(network.network_address), int(network.broadcast_address)
        before = 0
        for first, count in self._ranges:
            lowest = max((begin - first) // self.node_cidr_size, 0)
            highest = min((end - first) // self.node_cidr_size, count - 1)
            yield from range(before + lowest, before + highest + 1)
            before += count

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """For each CIDR its first address, as a number, and how many node CIDRs begin there."""
        return list(self._ranges)

    @property
    def service_cidr(self) -> str:
        """The last addresses of the first CIDR."""
        first = int(self._networks[0].broadcast_address) + 1 - self.services
        return f"{ipaddress.IPv4Address(first)}/{32 - (self.services.bit_length() - 1)}"

    def node_cidr(self, number: int) -> str:
        """The node CIDR of this number, as ``address/prefix``."""
        for first, count in self._ranges:
            if number < count:
                address = first + number * self.node_cidr_size
                return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}/{self._prefix}"
            number -= count
        raise IndexError(number)

    def number(self, node_cidr: str) -> int:
        """The number of a node CIDR; the inverse of :meth:`node_cidr`.

        :raises ValueError: saying why it is not exactly one node CIDR of this pool.
        """
        try:
            address = int.from_bytes(socket.inet_aton(node_cidr.partition("/")[0]), "big")
        except OSError:
            raise ValueError(f"{node_cidr!r} is not an IPv4 network") from None
        before = 0
        for first, count in self._ranges:
            number = before + (address - first) // self.node_cidr_size
            if before <= number < before + count and self.node_cidr(number) == node_cidr:
                return number
            before += count
        raise ValueError(self._why_not(node_cidr))

    def _why_not(self, node_cidr: str) -> str:
        try:
            network = ipaddress.IPv4Network(node_cidr)
        except ValueError as error:
            return f"{node_cidr!r} is not an IPv4 network: {error}"
        if network.prefixlen != self._prefix:
            return f"{node_cidr} is not of the node CIDR size /{self._prefix} ({self.node_cidr_size} addresses)"
        if network.overlaps(ipaddress.IPv4Network(self.service_cidr)):
            return f"{node_cidr} lies in the Service range {self.service_cidr}"
        return f"{node_cidr} is not a node CIDR of the container CIDR {', '.join(self.cidrs)}"

    def capacity(self, used: int, pending: int) -> Capacity:
        """The numbers an operator asks for, with ``used`` and ``pending`` node CIDRs not free."""
        return Capacity(
            max_nodes=self.size - len(self.reserved),
            used=used,
            free=self.size - len(self.reserved) - used - pending,
            usable_pods_per_node=self.node_cidr_size - RESERVED_ADDRESSES_PER_NODE,
            usable_services=self.services - SERVICES_NOT_USABLE,
        )


class CyclicAllocator:
    """Hands out numbers cyclically and sequentially, from a cursor that its user keeps.

    Kubernetes' cidrset, with two things it lacks: the cursor is part of the
    record, so a restart does not reuse a just-released number at once; and a
    number released *ahead* of the cursor rests until the cursor has gone round.
    """

    _FREE, _TAKEN, _RESTING = b"\0", b"\1", b"\2"
    _WAKE = bytes.maketrans(_RESTING, _FREE)

    def __init__(self, size: int, cursor: int = 0) -> None:
        self._marks = bytearray(size)
        self.cursor = cursor % size if size else 0
        self.rounds = 0  # how often the cursor has gone round since this object was made

    def occupy(self, number: int) -> None:
        """Takes this very number; the cursor stays where it is."""
        self._marks[number : number + 1] = self._TAKEN

    def rest(self, number: int) -> None:
        """Keeps a number back until the cursor has gone round."""
        self._marks[number : number + 1] = self._RESTING

    def is_ahead(self, number: int) -> bool:
        """Whether the cursor has yet to reach this number in its present round."""
        return number >= self.cursor

    def take(self) -> int:
        """The next free number, from the cursor on.

        :raises PoolExhaustedError: every number is taken.
        """
        number = self._marks.find(self._FREE, self.cursor)
        if number < 0:
            self._go_round()
            number = self._marks.find(self._FREE)
        if number < 0:
            raise PoolExhaustedError
        self.occupy(number)
        self.cursor = number + 1
        if self.cursor == len(self._marks):
            self._go_round()
        return number

    def _go_round(self) -> None:
        self.cursor = 0
        self.rounds += 1
        self._marks = self._marks.translate(self._WAKE)


def _networks(cidrs: t.Sequence[str]) -> list[ipaddress.IPv4Network]:
    if not cidrs:
        raise ValidationError("the container CIDR is empty: give one, for instance 10.244.0.0/16")
    networks, problems = [], []
    for cidr in cidrs:
        try:
            networks.append(ipaddress.IPv4Network(cidr))
        except ValueError as error:
            problems.append(f"container CIDR {cidr!r} is not an IPv4 network: {error}")
    if problems:
        raise ValidationError(*problems)
    return networks


def _reserved(
    cidrs: t.Sequence[str], container: t.Sequence[ipaddress.IPv4Network]
) -> tuple[list[ipaddress.IPv4Network], list[str]]:
    """The reserved networks, and what is wrong with the others."""
    networks, problems = [], []
    for cidr in cidrs:
        try:
            network = ipaddress.IPv4Network(cidr)
        except ValueError as error:
            problems.append(f"reserved range {cidr!r} is not an IPv4 network: {error}")
            continue
        networks.append(network)
        if not any(network.subnet_of(other) for other in container):
            problems.append(
                f"reserved range {network} is no part of the container CIDR {', '.join(map(str, container))}"
            )
    return networks, problems


def _problems_of_sizes(pods_per_node: int, services: int) -> t.Iterator[str]:
    if pods_per_node < LEAST_PODS_PER_NODE:
        yield (
            f"max Pods per node is {pods_per_node}: at least {LEAST_PODS_PER_NODE}, "
            f"as {RESERVED_ADDRESSES_PER_NODE} addresses of a node CIDR are not for Pods"
        )
    if services <= SERVICES_NOT_USABLE:
        yield f"max services is {services}: more than {SERVICES_NOT_USABLE}, as so many are not usable"


def _problems_of_networks(networks: t.Sequence[ipaddress.IPv4Network]) -> t.Iterator[str]:
    for position, network in enumerate(networks):
        if not any(network.subnet_of(private) for private in PRIVATE_RANGES):
            ranges = ", ".join(map(str, PRIVATE_RANGES))
            yield f"container CIDR {network} is not private: choose one inside {ranges}"
        for other in networks[:position]:
            if network.overlaps(other):
                yield f"container CIDR {network} overlaps container CIDR {other}"


def _problems_of_fit(networks: t.Sequence[ipaddress.IPv4Network], node_cidr: int, services: int) -> t.Iterator[str]:
    for position, network in enumerate(networks):
        reserved = services if position == 0 else 0
        left = network.num_addresses - reserved
        if left < node_cidr:
            minus = f" - {reserved} for services" if reserved else ""
            yield (
                f"container CIDR {network} has no room for one node: {network.num_addresses} addresses{minus} "
                f"leave {max(left, 0)}, and a node CIDR has {node_cidr}; "
                f"take a larger CIDR, fewer Pods per node or fewer services"
            )


def _warnings(pods_per_node: int, services: int) -> list[str]:
    warnings = []
    for what, asked, (least, most) in (
        ("max Pods per node", pods_per_node, TKE_PODS_PER_NODE),
        ("max services", services, TKE_SERVICES),
    ):
        given = round_up(asked)
        if given != asked:
            warnings.append(f"{what}: {asked} is not a power of two and was rounded up to {given}")
        if not least <= given <= most:
            warnings.append(f"{what}: {given} is outside TKE's own range of {least} to {most}; it works here")
    return warnings

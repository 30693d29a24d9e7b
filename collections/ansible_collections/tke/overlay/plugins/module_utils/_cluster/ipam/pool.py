# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool of node CIDRs of a cluster, and the allocator that picks the next one.

This module does no I/O; its loops use plain integers. The arithmetic is that of
TKE's ``ClusterCIDRSettings``: the Service range is the end of the container
CIDR, the addresses before it are divided into node CIDRs, and

    max nodes = (addresses of the container CIDR - max services) / max Pods per node

rounded down: a block that belongs partly to the Service range is never allocated.
"""

from __future__ import annotations

import ipaddress
import socket
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import RESERVED_ADDRESSES_PER_NODE
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

PRIVATE_RANGES = tuple(ipaddress.IPv4Network(cidr) for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
"""The ranges that TKE accepts for a container CIDR (RFC 1918)."""

TKE_PODS_PER_NODE = (16, 256)
TKE_SERVICES = (32, 32768)
"""TKE's own limits (least, most). Other values work here and cause a warning."""

LEAST_PODS_PER_NODE = 4
"""Of 4 addresses, the VTEP, the gateway and the last address leave one for a Pod."""

SERVICES_NOT_USABLE = 5
"""Addresses of the Service range that TKE reserves: usable services = max services - 5."""


class PoolExhaustedError(Exception):
    """No node CIDR is free."""


class Capacity(t.TypedDict):
    """The size of a pool and its use, in nodes, Pods and services."""

    max_nodes: int
    used: int
    free: int
    usable_pods_per_node: int
    usable_services: int


def round_up(number: int) -> int:
    """Return the least power of two that is not less than ``number``."""
    return 1 << (number - 1).bit_length()


class Pool:
    """The geometry of a container CIDR: its node CIDRs and its Service range.

    Node CIDRs are numbered from 0 across all CIDRs in the order given. The
    Service range is the end of the *first* CIDR, so appending a CIDR neither
    moves the Service range nor renumbers a node CIDR.

    :param cidrs: IPv4 networks such as ``10.244.0.0/16``.
    :param pods_per_node: addresses of one node CIDR; rounded up to a power of two.
    :param services: addresses of the Service range; rounded up to a power of two.
    :param reserved: parts of the container CIDR from which no node CIDR is allocated.
    :raises ValidationError: one problem for each invalid CIDR and number.
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
        self.reserved = {
            number: f"the reserved range {network} (overlay_reserved)"
            for network in kept_back
            for number in self.numbers_in(network)
        }

    def numbers_in(self, network: ipaddress.IPv4Network) -> t.Iterator[int]:
        """Yield the numbers of the node CIDRs that share an address with the network."""
        begin, end = int(network.network_address), int(network.broadcast_address)
        before = 0
        for first, count in self._ranges:
            lowest = max((begin - first) // self.node_cidr_size, 0)
            highest = min((end - first) // self.node_cidr_size, count - 1)
            yield from range(before + lowest, before + highest + 1)
            before += count

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """For each CIDR, its first address as an integer and the number of its node CIDRs."""
        return list(self._ranges)

    @property
    def service_cidr(self) -> str:
        """The Service range: the last addresses of the first CIDR."""
        first = int(self._networks[0].broadcast_address) + 1 - self.services
        return f"{ipaddress.IPv4Address(first)}/{32 - (self.services.bit_length() - 1)}"

    def node_cidr(self, number: int) -> str:
        """Return the node CIDR with this number, as ``address/prefix``.

        :raises IndexError: the pool has no such number.
        """
        for first, count in self._ranges:
            if number < count:
                address = first + number * self.node_cidr_size
                return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}/{self._prefix}"
            number -= count
        raise IndexError(number)

    def number(self, node_cidr: str) -> int:
        """Return the number of a node CIDR; the inverse of :meth:`node_cidr`.

        :raises ValueError: the text is not exactly one node CIDR of this pool; the message gives the reason.
        """
        try:
            address = int.from_bytes(socket.inet_aton(node_cidr.partition("/")[0]), "big")
        except OSError:
            raise ValueError(f"{shown(node_cidr)} is not an IPv4 network") from None
        before = 0
        for first, count in self._ranges:
            number = before + (address - first) // self.node_cidr_size
            if before <= number < before + count and self.node_cidr(number) == node_cidr:
                return number
            before += count
        raise ValueError(self._why_not(node_cidr))

    def has(self, node_cidr: str) -> bool:
        """Return whether a text is exactly one node CIDR of this pool."""
        try:
            self.number(node_cidr)
        except ValueError:
            return False
        return True

    def _why_not(self, node_cidr: str) -> str:
        try:
            network = ipaddress.IPv4Network(node_cidr)
        except ValueError as error:
            return f"{shown(node_cidr)} is not an IPv4 network: {_short(error)}"
        if network.prefixlen != self._prefix:
            return f"{node_cidr} is not of the node CIDR size /{self._prefix} ({self.node_cidr_size} addresses)"
        if network.overlaps(ipaddress.IPv4Network(self.service_cidr)):
            return f"{node_cidr} lies in the Service range {self.service_cidr}"
        return f"{node_cidr} is not a node CIDR of the container CIDR {', '.join(self.cidrs)}"

    def capacity(self, used: int, pending: int, excluded: int = 0) -> Capacity:
        """Return the capacity when ``used`` node CIDRs have a node and ``pending`` ones are not free yet.

        :param excluded: node CIDRs that are not allocated at all.
        """
        return Capacity(
            max_nodes=self.size - excluded,
            used=used,
            free=self.size - excluded - used - pending,
            usable_pods_per_node=self.node_cidr_size - RESERVED_ADDRESSES_PER_NODE,
            usable_services=self.services - SERVICES_NOT_USABLE,
        )


class CyclicAllocator:
    """Allocates numbers in ascending order, cyclically, from a cursor that the caller stores.

    The operations are named as in Kubernetes' cidrset. Two properties are added:
    the cursor is stored in the ledger, so a restart does not immediately reuse a
    released number; and a number that is released *ahead* of the cursor is
    quarantined until the cursor wraps around.
    """

    _FREE, _OCCUPIED, _QUARANTINED = b"\0", b"\1", b"\2"
    _END_QUARANTINE = bytes.maketrans(_QUARANTINED, _FREE)

    def __init__(self, size: int, cursor: int = 0) -> None:
        self._marks = bytearray(size)
        self.cursor = cursor % size if size else 0
        self.rounds = 0  # how often the cursor has wrapped around since this object was created

    def occupy(self, number: int) -> None:
        """Mark a number as used; the cursor does not move."""
        self._marks[number : number + 1] = self._OCCUPIED

    def quarantine(self, number: int) -> None:
        """Do not allocate a number until the cursor wraps around."""
        self._marks[number : number + 1] = self._QUARANTINED

    def is_ahead(self, number: int) -> bool:
        """Return whether the cursor has not yet passed this number in the current round."""
        return number >= self.cursor

    def allocate_next(self) -> int:
        """Occupy and return the next free number, starting at the cursor.

        :raises PoolExhaustedError: every number is occupied.
        """
        number = self._marks.find(self._FREE, self.cursor)
        if number < 0:
            self._wrap_around()
            number = self._marks.find(self._FREE)
        if number < 0:
            raise PoolExhaustedError
        self.occupy(number)
        self.cursor = number + 1
        if self.cursor == len(self._marks):
            self._wrap_around()
        return number

    def _wrap_around(self) -> None:
        self.cursor = 0
        self.rounds += 1
        self._marks = self._marks.translate(self._END_QUARANTINE)


def _networks(cidrs: t.Sequence[str]) -> list[ipaddress.IPv4Network]:
    if not cidrs:
        raise ValidationError("overlay_container_cidr is empty: set it to a network such as 10.244.0.0/16")
    networks, problems = [], []
    for cidr in cidrs:
        try:
            networks.append(ipaddress.IPv4Network(cidr))
        except ValueError as error:
            problems.append(f"overlay_container_cidr: {shown(cidr)} is not an IPv4 network: {_short(error)}")
        else:
            if "/" not in cidr:
                problems.append(
                    f"overlay_container_cidr: {cidr!r} has no prefix length: write it as in {cidr}/16, with the length "
                    f"that your container CIDR has"
                )
    if problems:
        raise ValidationError(*problems)
    return networks


def _short(error: ValueError) -> str:
    """Return the reason in an error of :mod:`ipaddress`, which repeats the value in front of it or behind it."""
    return shown(str(error))[1:-1]


def _reserved(
    cidrs: t.Sequence[str], container: t.Sequence[ipaddress.IPv4Network]
) -> tuple[list[ipaddress.IPv4Network], list[str]]:
    """Return the reserved networks, and a problem for each invalid one."""
    networks, problems = [], []
    for cidr in cidrs:
        try:
            network = ipaddress.IPv4Network(cidr)
        except ValueError as error:
            problems.append(f"overlay_reserved: {shown(cidr)} is not an IPv4 network: {_short(error)}")
            continue
        networks.append(network)
        if not any(network.subnet_of(other) for other in container):
            problems.append(
                f"reserved range {network} (overlay_reserved) is not part of the container CIDR "
                f"{', '.join(map(str, container))}"
            )
    return networks, problems


def _problems_of_sizes(pods_per_node: int, services: int) -> t.Iterator[str]:
    if pods_per_node < LEAST_PODS_PER_NODE:
        yield (
            f"overlay_max_pods_per_node is {pods_per_node}: set at least {LEAST_PODS_PER_NODE}, "
            f"because {RESERVED_ADDRESSES_PER_NODE} addresses of a node CIDR are not for Pods"
        )
    if services <= SERVICES_NOT_USABLE:
        yield f"overlay_max_services is {services}: set more than {SERVICES_NOT_USABLE}, because so many are not usable"


def _problems_of_networks(networks: t.Sequence[ipaddress.IPv4Network]) -> t.Iterator[str]:
    for position, network in enumerate(networks):
        if not any(network.subnet_of(private) for private in PRIVATE_RANGES):
            ranges = ", ".join(map(str, PRIVATE_RANGES))
            yield f"container CIDR {network} is not private: choose an overlay_container_cidr inside {ranges}"
        for other in networks[:position]:
            if network.overlaps(other):
                yield f"container CIDR {network} overlaps container CIDR {other}: change overlay_container_cidr"


def _problems_of_fit(networks: t.Sequence[ipaddress.IPv4Network], node_cidr: int, services: int) -> t.Iterator[str]:
    for position, network in enumerate(networks):
        reserved = services if position == 0 else 0
        left = network.num_addresses - reserved
        if left < node_cidr:
            minus = f" - {reserved} for services" if reserved else ""
            yield (
                f"container CIDR {network} has no room for one node: {network.num_addresses} addresses{minus} "
                f"leave {max(left, 0)}, and a node CIDR has {node_cidr}; "
                f"set a larger overlay_container_cidr, or a smaller overlay_max_pods_per_node or overlay_max_services"
            )


def _warnings(pods_per_node: int, services: int) -> list[str]:
    warnings = []
    for what, asked, (least, most) in (
        ("overlay_max_pods_per_node", pods_per_node, TKE_PODS_PER_NODE),
        ("overlay_max_services", services, TKE_SERVICES),
    ):
        given = round_up(asked)
        if given != asked:
            warnings.append(f"{what} {asked} is not a power of two and was rounded up to {given}")
        if not least <= given <= most:
            warnings.append(
                f"{what} {given} is outside TKE's own range of {least} to {most}; the overlay works with it"
            )
    return warnings

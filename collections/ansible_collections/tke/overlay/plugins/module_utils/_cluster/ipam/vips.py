# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose and check the two VIPs of the private load balancer.

This module does no I/O; the ledger stores the result. A VIP is written into the
kubeconfig and the ``/etc/hosts`` of every host, so it never changes on its own.
When a VIP conflicts with another address, the error names both and the user
decides which one changes.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, some_of

VIP_NAMES = ("apiserver", "services")
"""The VIP of the API servers, and the VIP of the services that are distinguished by host name."""

PAIR, EXTERNAL = "pair", "external"
PROVIDERS = (PAIR, EXTERNAL)

_HOW_TO_RELEASE = "release the VIPs first (playbook tke.overlay.clb_release)"


class Claim(t.NamedTuple):
    """An address or network that is in use (``what``), and its user as an error names it (``who``)."""

    what: str
    who: str


class VipSpec(t.NamedTuple):
    """The VIPs that the user asks for; nothing is checked yet.

    ``pins`` are the VIPs that the user chose, by name; an external load balancer
    needs all of them. ``addresses`` are the addresses of all hosts, ``ranges`` the
    networks that the subnet must not overlap, the narrowest first: an error names
    only the first one that overlaps.
    """

    provider: str
    subnet: str | None
    gateway: str | None = None
    reserved: t.Sequence[t.Any] = ()
    pins: t.Mapping[str, t.Any] = {}
    addresses: t.Sequence[Claim] = ()
    ranges: t.Sequence[Claim] = ()


def choose(spec: VipSpec, held: t.Mapping[str, str]) -> dict[str, str]:
    """Return the VIPs by name: held ones unchanged, then pinned ones, then the first free addresses.

    :param held: the VIPs that the ledger has from an earlier run.
    :raises ValidationError: one problem for each conflict, naming both sides.
    """
    problems = list(_problems_of_pins(spec.pins, held))
    subnet = _subnet(spec, problems)
    used = _UsedAddresses(spec, subnet, problems)
    fixed = {name: _address(text) for name, text in {**spec.pins, **held}.items() if name in VIP_NAMES}
    for name, address in fixed.items():
        if address is not None:
            problems += used.problems_of(name, address, held=name in held)
    given = [address for address in fixed.values() if address is not None]
    if len(set(given)) < len(given):
        problems.append(f"both VIPs are {given[0]} (overlay_clb_vips): set two different addresses")
    missing = [name for name in VIP_NAMES if name not in fixed]
    if spec.provider == EXTERNAL and missing:
        problems.append(
            f"overlay_clb_provider is external, and overlay_clb_vips lacks {' and '.join(missing)}: "
            f"set both addresses of the load balancer"
        )
    elif missing and subnet is not None:
        free = _first_free(subnet, used, set(given), len(missing))
        if len(free) < len(missing):
            problems.append(used.exhaustion(missing, free))
        fixed.update(zip(missing, free))
    if problems:
        raise ValidationError(*problems)
    return {name: str(fixed[name]) for name in VIP_NAMES}


def problems_of_held(
    held: t.Mapping[str, str], addresses: t.Iterable[Claim], ranges: t.Iterable[Claim]
) -> t.Iterator[str]:
    """Yield the conflicts of VIPs that the ledger has, for a run that does not choose VIPs."""
    used = _UsedAddresses(VipSpec(EXTERNAL, None, addresses=list(addresses), ranges=list(ranges)), None, [])
    for name, text in held.items():
        address = _address(text)
        if address is not None:
            yield from used.problems_of(name, address, held=True)


class _UsedAddresses:
    """The users of addresses. Each address has at most one user: the first one that claims it."""

    def __init__(self, spec: VipSpec, subnet: ipaddress.IPv4Network | None, problems: list[str]) -> None:
        self.subnet = subnet
        self.holders: dict[ipaddress.IPv4Address, str] = {}
        self.networks: list[tuple[ipaddress.IPv4Network, str]] = []
        for what, who in spec.addresses:
            address = _address(what)
            if address is not None:
                self.holders.setdefault(address, who)
        if subnet is not None:
            self._keep_ends(subnet, spec.gateway, problems)
            self._keep_reserved(subnet, spec.reserved, problems)
        self.ranges = [(network, who) for what, who in spec.ranges for network in [_network(what)] if network]

    def _keep_ends(self, subnet: ipaddress.IPv4Network, gateway: str | None, problems: list[str]) -> None:
        self.holders.setdefault(subnet[0], f"the network address of {subnet} (overlay_clb_subnet)")
        self.holders.setdefault(subnet[-1], f"the broadcast address of {subnet} (overlay_clb_subnet)")
        if gateway is None:
            self.holders.setdefault(subnet[1], f"the gateway of {subnet} (to change it: overlay_clb_gateway)")
            return
        address = _address(gateway)
        if address is None or address not in subnet:
            problems.append(f"overlay_clb_gateway {gateway!r} is not an address of {subnet} (overlay_clb_subnet)")
        else:
            self.holders.setdefault(address, "the gateway (overlay_clb_gateway)")

    def _keep_reserved(self, subnet: ipaddress.IPv4Network, reserved: t.Sequence[t.Any], problems: list[str]) -> None:
        for given in reserved:
            network = _network(given)
            if network is None:
                problems.append(f"overlay_clb_reserved: {given!r} is neither an address nor a network")
            elif not network.subnet_of(subnet):
                problems.append(f"overlay_clb_reserved: {given} is not part of {subnet} (overlay_clb_subnet)")
            else:
                self.networks.append((network, f"reserved by {given} (overlay_clb_reserved)"))

    def holder(self, address: ipaddress.IPv4Address) -> str | None:
        """Return the user of an address, or ``None``."""
        if address in self.holders:
            return self.holders[address]
        return next((who for network, who in self.networks if address in network), None)

    def problems_of(self, name: str, address: ipaddress.IPv4Address, held: bool) -> t.Iterator[str]:
        """Yield why this VIP is invalid; each problem names the source of the VIP."""
        source = "in the ledger" if held else "overlay_clb_vips"
        remedy = f"change that, or {_HOW_TO_RELEASE}" if held else "choose another one"
        holder = self.holder(address)
        if holder is not None:
            yield f"the VIP {name} {address} ({source}) is {holder}: {remedy}"
        if self.subnet is not None and address not in self.subnet:
            yield f"the VIP {name} {address} ({source}) is not in {self.subnet} (overlay_clb_subnet): {remedy}"
        if address.is_loopback or address.is_multicast or address.is_link_local or address.is_unspecified:
            yield f"the VIP {name} {address} ({source}) is not an address that another host could reach: {remedy}"
        if self.subnet is None:
            for network, who in [each for each in self.ranges if address in each[0]][:1]:
                yield f"the VIP {name} {address} ({source}) lies in {network} ({who}): {remedy}"

    def exhaustion(self, missing: t.Sequence[str], free: t.Sequence[ipaddress.IPv4Address]) -> str:
        """Return the problem of a subnet without enough free addresses, with the users of its addresses."""
        holders = [
            f"{address} is {holder}" for address, holder in sorted(self.holders.items()) if self._inside(address)
        ]
        holders += [f"{network} is {who}" for network, who in self.networks]
        return (
            f"{self.subnet} (overlay_clb_subnet) has {len(free) or 'no'} free address{'' if len(free) == 1 else 'es'}, "
            f"and {len(missing)} {'is' if len(missing) == 1 else 'are'} needed: {some_of(holders, 10, '; ')}. "
            f"Set a larger overlay_clb_subnet, or reserve less (overlay_clb_reserved)"
        )

    def _inside(self, address: ipaddress.IPv4Address) -> bool:
        return self.subnet is not None and address in self.subnet


def _problems_of_pins(pins: t.Mapping[str, t.Any], held: t.Mapping[str, str]) -> t.Iterator[str]:
    for name, text in pins.items():
        if name not in VIP_NAMES:
            yield f"overlay_clb_vips has {name!r}, but the only VIPs are {' and '.join(VIP_NAMES)}"
        elif _address(text) is None:
            yield f"overlay_clb_vips: {name} {text!r} is not a numeric IPv4 address"
        elif name in held and _address(text) != _address(held[name]):
            yield (
                f"the VIP {name} is {held[name]} (in the ledger), and {text} is asked for (overlay_clb_vips): a "
                f"VIP in use does not change, so {_HOW_TO_RELEASE}, or set {held[name]}"
            )


def _subnet(spec: VipSpec, problems: list[str]) -> ipaddress.IPv4Network | None:
    """Return the subnet to choose from; ``None`` when it is invalid or the load balancer is external."""
    if spec.provider == EXTERNAL:
        return None
    if spec.subnet is None:
        problems.append("overlay_clb_subnet is not set: set it to the subnet of the two VIPs of the pair")
        return None
    subnet = _network(spec.subnet)
    if subnet is None or "/" not in spec.subnet:
        problems.append(f"overlay_clb_subnet {spec.subnet!r} is not an IPv4 network such as 10.0.2.0/24")
        return None
    if subnet.num_addresses < 4:
        problems.append(f"overlay_clb_subnet {subnet} has no free addresses: two are needed, so set a /28 or larger")
        return None
    ranges = [(network, who) for what, who in spec.ranges for network in [_network(what)] if network is not None]
    for network, who in [each for each in ranges if each[0].overlaps(subnet)][:1]:
        problems.append(f"overlay_clb_subnet {subnet} overlaps {network} ({who}): change one of them")
    return subnet


def _first_free(
    subnet: ipaddress.IPv4Network, used: _UsedAddresses, besides: set[ipaddress.IPv4Address], count: int
) -> list[ipaddress.IPv4Address]:
    """Return at most ``count`` free addresses, the lowest first; reserved networks are skipped in one step."""
    free: list[ipaddress.IPv4Address] = []
    number, last = int(subnet[0]), int(subnet[-1])
    while number <= last and len(free) < count:
        address = ipaddress.IPv4Address(number)
        inside = [int(network[-1]) for network, _who in used.networks if address in network]
        if inside:
            number = max(inside)
        elif address not in besides and used.holder(address) is None:
            free.append(address)
        number += 1
    return free


def _address(given: t.Any) -> ipaddress.IPv4Address | None:
    try:
        return ipaddress.IPv4Address(given.strip()) if isinstance(given, str) else None
    except ValueError:
        return None


def _network(given: t.Any) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(given.strip(), strict=False) if isinstance(given, str) else None
    except ValueError:
        return None

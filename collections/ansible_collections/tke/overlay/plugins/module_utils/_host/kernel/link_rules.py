# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of links that are not VXLAN, which the nftables table of a node has in addition: see :mod:`nftables`.

===========  ==========================================================================================
chain        what it does
===========  ==========================================================================================
prerouting   Lets packets to and from Pod addresses in by the link of the underlay if a peer with a
             direct link has sent them: their source is in its node CIDR, or is its underlay address (a
             Service that this peer has translated). Layer 2 shows no more than that. Drops
             packets from the node CIDR of a peer with an encrypted link that did not come encrypted.
input        Drops packets to the port of WireGuard from other addresses than those of peers. If a peer
             is behind NAT, its address is not known, and WireGuard alone decides.
forward      Clamps TCP segments to the MTU of the route, because each link has its own.
postrouting  Drops packets to a peer with an encrypted link that would leave in clear: nothing else has
             to be right for that, neither keys nor routes nor the device.
vtep         Gives packets to a WireGuard device that kube-proxy would translate, or that do not have a Pod
             address, the address of the VTEP: the device has no address, so the kernel would choose that
             of another link, which WireGuard does not let pass.
===========  ==========================================================================================

The sets of node CIDRs hold their first addresses, and the rules compare the masked
address: all node CIDRs have the same size, and a set of single addresses can be
changed element by element in every version of nft and the kernel.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._links import wireguard_device

WIREGUARD_DEVICES = (wireguard_device(0), wireguard_device(1))
"""The devices of both generations: the rules do not depend on which of them exist."""

COUNTERS = ("in_clear", "from_clear")
"""The counters of packets that would have left in clear, and that came in clear."""

DIRECT, NEIGHBORS, ENCRYPTED, ENDPOINTS = "direct", "neighbors", "encrypted", "endpoints"
"""The sets, with the IP version at the end of the name."""

ADDRESS_SETS = (NEIGHBORS, ENDPOINTS)
"""Those with underlay addresses. An address can be in the set of VXLAN peers at the same time, during a cutover."""


class LinkRules(t.NamedTuple):
    """What determines these rules. A node CIDR is given by its first address."""

    prefix: int  # length of the prefix of all node CIDRs
    vtep: str = ""  # the address of the own VTEP
    direct: t.Sequence[str] = ()  # node CIDRs of the peers with direct links
    neighbors: t.Sequence[str] = ()  # underlay addresses of these peers
    direct_links: t.Sequence[str] = ()  # by which their packets come
    encrypted: t.Sequence[str] = ()  # node CIDRs from and to which nothing passes in clear
    wireguard: bool = False  # whether there is a WireGuard link
    ports: t.Sequence[int] = ()  # of WireGuard
    endpoints: t.Sequence[str] | None = None  # the addresses that may send to them; ``None``: any

    @property
    def tunnels(self) -> tuple[str, ...]:
        """The links, besides those of VXLAN, that deliver packets of Pods out of a tunnel."""
        return WIREGUARD_DEVICES if self.wireguard else ()

    @property
    def mask(self) -> str:
        """The mask of a node CIDR."""
        return str(ipaddress.ip_network(f"0.0.0.0/{self.prefix}").netmask)

    @property
    def passing(self) -> tuple[str, ...]:
        """The links by which packets of direct peers come and leave."""
        return tuple(self.direct_links) if self.direct else ()

    def sets(self) -> dict[str, tuple[int, t.Sequence[str]]]:
        """Return name -> IP version and elements of the sets of this host."""
        sets: dict[str, tuple[int, t.Sequence[str]]] = {}
        if self.direct:
            sets[f"{DIRECT}4"] = 4, sorted(self.direct)
            sets[f"{NEIGHBORS}4"] = 4, sorted(each for each in self.neighbors if ":" not in each)
        if self.encrypted:
            sets[f"{ENCRYPTED}4"] = 4, sorted(self.encrypted)
        if self.ports and self.endpoints is not None:
            for version, mark in ((4, False), (6, True)):
                addresses = sorted({each for each in self.endpoints if (":" in each) is mark})
                sets[f"{ENDPOINTS}{version}"] = version, addresses
        return sets

    def foreign(self, side: str) -> str:
        """Return the match of packets that no peer with a direct link sends (``saddr``) or gets (``daddr``)."""
        unlike = f"ip {side} & {self.mask} != @{DIRECT}4"
        return f"{unlike} ip saddr != @{NEIGHBORS}4" if side == "saddr" else unlike


def arriving(links: LinkRules) -> list[str]:
    """Return the rules of the chain prerouting."""
    rules = []
    if links.direct:
        came = f"iifname {_names(links.direct_links)} {links.foreign('saddr')}"
        rules += [f'ip daddr @pods4 {came} counter name "to_pods" drop']
        rules += [f'ip saddr @pods4 {came} counter name "from_pods" drop']
    if links.encrypted:
        sealed = f"ip saddr & {links.mask} @{ENCRYPTED}4 iifname != {_names(WIREGUARD_DEVICES)}"
        rules += [f'{sealed} counter name "from_clear" drop']
    return rules


def leaving(links: LinkRules) -> list[str]:
    """Return the rules of the chain postrouting."""
    rules = []
    if links.encrypted:
        clear = f"ip daddr & {links.mask} @{ENCRYPTED}4 oifname != {_names(WIREGUARD_DEVICES)}"
        rules += [f'{clear} counter name "in_clear" drop']
    if links.direct:
        left = f"oifname {_names(links.direct_links)} {links.foreign('daddr')}"
        rules += [f'ip daddr @pods4 {left} counter name "unrouted" drop']
    return rules


def received(links: LinkRules) -> list[str]:
    """Return the rules of the chain input."""
    if not links.ports or links.endpoints is None:
        return []
    port = links.ports[0] if len(links.ports) == 1 else f"{{ {', '.join(map(str, sorted(links.ports)))} }}"
    return [
        f'udp dport {port} {family} saddr != @{ENDPOINTS}{version} counter name "not_a_peer" drop'
        for version, family in ((4, "ip"), (6, "ip6"))
    ]


def translated(links: LinkRules, marked: str) -> list[str]:
    """Return the rules of the chain vtep; none without WireGuard.

    :param marked: the match of packets that kube-proxy would translate.
    """
    if not links.wireguard:
        return []
    leaving = f"oifname {_names(WIREGUARD_DEVICES)}"
    translation = f"snat ip to {links.vtep} fully-random"
    return [f"{leaving} ip saddr != @pods4 {translation}", f"{leaving} meta nfproto ipv4 {marked} {translation}"]


def clamped(links: LinkRules, devices: t.Sequence[str]) -> list[str]:
    """Return the rules that clamp TCP segments to the MTU of the route, of the smaller one of both directions.

    :param devices: the links of VXLAN.
    """
    clamp = "meta nfproto ipv4 tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu"
    tunnels = _names([*devices, *links.tunnels])
    rules = [f"{direction} {tunnels} {clamp}" for direction in ("oifname", "iifname")]
    if links.direct:
        rules += [f"ip {side} & {links.mask} @{DIRECT}4 {clamp}" for side in ("daddr", "saddr")]
    return rules


def _names(names: t.Sequence[str]) -> str:
    quoted = [f'"{name}"' for name in sorted(names)]
    return quoted[0] if len(quoted) == 1 else f"{{ {', '.join(quoted)} }}"

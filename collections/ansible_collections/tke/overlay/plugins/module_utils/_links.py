# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links: how the nodes of two sites, or of one, exchange the packets of Pods.

A *link* connects two sites, or the nodes of one site with each other. It has a
transport and an MTU:

=============  ==============================================================================
transport      what a packet of a Pod is on its way to the peer
=============  ==============================================================================
``vxlan``      the inner Ethernet frame in a VXLAN packet between the underlay addresses
``direct``     itself, routed to the underlay address of a peer on the same layer-2 network
``wireguard``  encrypted, in a WireGuard packet between the endpoints
=============  ==============================================================================

The MTU of a link is what a packet of a Pod may have: what the line and both ends
carry, less the encapsulation. A host reads the links from its document and finds
that to a peer by the two sites; it needs nothing else about a site.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import OVERHEAD, NodeDocument
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import LABEL, shown

VXLAN = "vxlan"
DIRECT = "direct"
WIREGUARD = "wireguard"

ENCAPSULATION: t.Mapping[str, t.Mapping[int, int]] = {
    VXLAN: OVERHEAD,
    DIRECT: {4: 0, 6: 0},
    WIREGUARD: {4: 60, 6: 80},
}
"""Transport -> bytes that it adds on an underlay of an IP version.

WireGuard: IP (20 or 40) + UDP 8 + header of a data message 16 + authentication tag 16 (its whitepaper, 5.4.6). The
padding comes on top, see :func:`mtu_of_packets`.
"""

WIREGUARD_PADDING = 16
"""WireGuard pads a packet to a multiple of so many bytes."""

ALL_SITES = "*"
"""In a document without links of its own: each site."""

WIREGUARD_PORT = 51820
"""Default UDP port of WireGuard. The next port is used as well while keys change, see :func:`wireguard_port`."""

_MTU = re.compile(r"[1-9][0-9]{2,4}")


class Link(t.NamedTuple):
    """How two sites exchange packets. ``mtu`` is the largest packet of a Pod, in bytes."""

    transport: str
    mtu: int


class LinkTable:
    """The links of a cluster, by their two sites."""

    def __init__(self, links: t.Mapping[tuple[str, str], Link]) -> None:
        """Take the link of each pair of sites, in either order."""
        self._links = {_pair(*sites): link for sites, link in links.items()}

    def between(self, site: str, other: str) -> Link:
        """Return the link of two sites, or of one site with itself.

        :raises ValidationError: there is none.
        """
        link = self.find(site, other)
        if link is None:
            raise ValidationError(f"the plan has no link between the sites {shown(site)} and {shown(other)}")
        return link

    def find(self, site: str, other: str) -> Link | None:
        """Return the link of two sites, ``None`` if there is none."""
        return self._links.get(_pair(site, other)) or self._links.get((ALL_SITES, ALL_SITES))

    def of_site(self, site: str) -> list[Link]:
        """Return all links that a site has.

        :raises ValidationError: it has none.
        """
        found = [link for pair, link in sorted(self._links.items()) if site in pair or ALL_SITES in pair]
        if not found:
            raise ValidationError(f"the plan has no link of the site {shown(site)}")
        return found

    def of_one_site(self, site: str) -> str:
        """Return the links of a site on one line, ``SITE TRANSPORT MTU, ...``, each with the other site."""
        others = {
            one if other == site else other: link for (one, other), link in self._links.items() if site in (one, other)
        }
        return ", ".join(f"{other} {link.transport} {link.mtu}" for other, link in sorted(others.items()))

    def mtu_of_pods(self, site: str) -> int:
        """Return the MTU of the Pods of a site: the largest of its links. Smaller ones are those of routes."""
        return max(link.mtu for link in self.of_site(site))

    def text(self) -> str:
        """Return one line per link, ``SITE SITE TRANSPORT MTU``, in the order of the sites."""
        return "".join(
            f"{one} {other} {link.transport} {link.mtu}\n" for (one, other), link in sorted(self._links.items())
        )


def _pair(site: str, other: str) -> tuple[str, str]:
    return (site, other) if site <= other else (other, site)


def parse_links(text: str) -> LinkTable:
    """Return the links of a text, see :meth:`LinkTable.text`.

    :raises ValidationError: a line is not two sites, a transport and an MTU, or names a pair of sites again.
    """
    links: dict[tuple[str, str], Link] = {}
    problems = []
    lines = text.split("\n")
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, 1):
        words = line.split(" ")
        if not _is_link(words):
            problems.append(f"line {number} of the links is not 'SITE SITE TRANSPORT MTU': {shown(line)}")
        elif _pair(*words[:2]) in links:
            problems.append(f"line {number} of the links repeats the sites {shown(' '.join(words[:2]))}")
        else:
            links[_pair(*words[:2])] = Link(words[2], int(words[3]))
    if problems:
        raise ValidationError(*problems)
    return LinkTable(links)


def _is_link(words: t.Sequence[str]) -> bool:
    if len(words) != 4 or words[2] not in ENCAPSULATION or not _MTU.fullmatch(words[3]):
        return False
    return all(site == ALL_SITES or LABEL.fullmatch(site) for site in words[:2])


def mtu_of_packets(transport: str, carried: int, encapsulation: int) -> int:
    """Return the largest packet of a Pod on a link, in bytes.

    :param carried: the largest packet of the underlay that the line and both ends carry.
    :param encapsulation: what the transport adds, see :data:`ENCAPSULATION`.

    For WireGuard a multiple of its padding: wireguard-go pads up to the MTU of the device, and not to that of the
    route, so a larger packet of a smaller link would grow beyond what the line carries.
    """
    largest = carried - encapsulation
    return largest - largest % WIREGUARD_PADDING if transport == WIREGUARD else largest


def links_of(document: NodeDocument) -> LinkTable:
    """Return the links of a document. Without links of its own, VXLAN connects all sites, with one MTU.

    :raises ValidationError: see :func:`parse_links`.
    """
    if "links" not in document:
        return LinkTable({(ALL_SITES, ALL_SITES): Link(VXLAN, document["mtu"])})
    return parse_links(document["links"])


def wireguard_device(generation: int) -> str:
    """Return the name of the WireGuard device of a generation of keys.

    A device has one private key. While keys change, a host therefore has the devices of two generations.
    """
    return f"tke-wg{generation % 2}"


def wireguard_ports(document: t.Mapping[str, t.Any]) -> list[int]:
    """Return all UDP ports that WireGuard uses according to a node document, also while keys change."""
    ports = [document[key] for key in ("wireguard_port", "wireguard_next_port") if key in document]
    return sorted(set().union(*map(ports_of_generations, ports)))


def ports_of_generations(port: int) -> set[int]:
    """Return both UDP ports that keys of any generation use, see :func:`wireguard_port`."""
    return {wireguard_port(port, generation) for generation in (0, 1)}


def wireguard_port(port: int, generation: int) -> int:
    """Return the UDP port of a generation of keys: two devices of one host cannot have the same.

    :param port: ``overlay_wireguard_port`` of that generation, the port of each even one.
    """
    return port + generation % 2

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The underlay: the address that a tunnel sends from, and the links and routes that its packets take.

The link with the underlay address need not be the one that carries the packets: in a routed data
centre the address is on ``lo``, whose MTU is 65536, and a host with two lines reaches some peers
over a smaller one. The kernel chooses by the route to each peer, so the MTU is compared with that
of the route and of its link.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import overhead_on
from ansible_collections.tke.overlay.plugins.module_utils._errors import some_of
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Job, Run

MAX_LOOKUPS = 256
"""With more peers than this, one peer of each /24 (IPv6: of each prefix up to the last group) is looked up."""

MOST_NAMED = 3
"""Peers that are named on a route; the others are counted."""

_DEVICE = re.compile(r" dev (\S+)")
_MTU = re.compile(r" mtu (?:lock )?(\d+)")

Row = t.Mapping[str, t.Any]


class UnderlayRoute(t.NamedTuple):
    """A way to peers: the link, the MTU that the route itself sets, and the peers that were looked up."""

    device: str
    mtu: int | None
    peers: tuple[str, ...]


class MtuSpec(t.NamedTuple):
    """The overlay's MTU, the underlay address, and the remedy for a too large MTU (see ``FieldLabels.mtu``).

    ``encapsulation`` is what a tunnel adds to a packet, in bytes; by default VXLAN.
    """

    overlay: int
    local: str
    remedy: str
    encapsulation: int | None = None

    @property
    def overhead(self) -> int:
        """The bytes that a packet has more on the underlay."""
        return overhead_on(self.local) if self.encapsulation is None else self.encapsulation

    @property
    def needed(self) -> int:
        """The MTU that the underlay must have, in bytes."""
        return self.overlay + self.overhead

    def problem(self, what: str, mtu: int) -> str:
        """Return the sentence about a link or a route with too small an MTU."""
        remedy = self.remedy.format(underlay=mtu, overlay=mtu - self.overhead)
        return f"{what} has MTU {mtu}, but an overlay MTU of {self.overlay} requires {self.needed}: {remedy}"


def find_owner(address: str, links: t.Sequence[Row]) -> Row | None:
    """Return the link that has an address."""
    owners = (link for link in links for info in link.get("addr_info", []) if info["local"] == address)
    return next(owners, None)


def routes_job(local: str, peers: t.Iterable[str]) -> Job:
    """Return the program that :func:`underlay_routes` runs, for :func:`listed_together`."""
    return _lookup(local, _one_per_prefix(list(peers)))


def _lookup(local: str, peers: t.Iterable[str]) -> Job:
    return ["ip", "-o", "-force", "-batch", "-"], "".join(f"route get {peer} from {local}\n" for peer in peers)


def underlay_routes(local: str, peers: t.Iterable[str], run: Run) -> list[UnderlayRoute]:
    """Return the routes from the underlay address to the peers, by link and MTU.

    A peer without a route is left out: it is unreachable, which is no conflict of this host. An MTU that the kernel
    has learned from a router is left out as well, because it expires.
    """
    command, lines = routes_job(local, peers)
    if not lines:
        return []
    _code, out, _errors = run(command, lines)
    found: dict[tuple[str, int | None], list[str]] = {}
    known: dict[str, tuple[str, int | None]] = {}  # thousands of lines differ in their first word only
    for line in out.splitlines():
        peer, _space, rest = line.partition(" ")
        if rest not in known:
            known[rest] = _device_and_mtu(rest)
        if known[rest][0]:
            found.setdefault(known[rest], []).append(peer)
    return [UnderlayRoute(device, mtu, tuple(reached)) for (device, mtu), reached in found.items()]


def neighbors_of(local: str, peers: t.Collection[str], run: Run) -> tuple[dict[str, str], dict[str, str]]:
    """Return the links by which this host reaches peers without a router, and how it would reach the others.

    :returns: underlay address -> link, and underlay address -> ``by 10.0.1.1 (dev eth0)`` or ``not at all``.
    """
    if not peers:
        return {}, {}
    _code, out, _errors = run(*_lookup(local, peers))
    links: dict[str, str] = {}
    others = dict.fromkeys(peers, "not at all")
    known: dict[str, tuple[str, str]] = {}  # as in underlay_routes
    for line in out.splitlines():
        peer, _space, rest = line.partition(" ")
        if rest not in known:
            known[rest] = _device_and_gateway(rest)
        device, gateway = known[rest]
        if peer not in others or device in ("", "lo"):
            continue
        if gateway:
            others[peer] = f"by {gateway} (dev {device})"
        else:
            links[peer] = device
            del others[peer]
    return links, others


_GATEWAY = re.compile(r" via (?:inet6? )?(\S+)")


def _device_and_gateway(text: str) -> tuple[str, str]:
    device, gateway = _DEVICE.search(f" {text}"), _GATEWAY.search(f" {text}")
    return device[1] if device else "", gateway[1] if gateway else ""


def _device_and_mtu(text: str) -> tuple[str, int | None]:
    device, mtu = _DEVICE.search(f" {text}"), _MTU.search(text)
    learned = " expires " in text
    return device[1] if device else "", int(mtu[1]) if mtu and not learned else None


def _one_per_prefix(peers: t.Sequence[str]) -> t.Collection[str]:
    if len(peers) <= MAX_LOOKUPS:
        return peers
    return {peer.rpartition(":" if ":" in peer else ".")[0]: peer for peer in peers}.values()


def mtu_problems(routes: t.Sequence[UnderlayRoute], links: t.Sequence[Row], spec: MtuSpec) -> t.Iterator[str]:
    """Yield a problem for each link and each route whose MTU is too small for the overlay's."""
    mtus = {link["ifname"]: link["mtu"] for link in links}
    for route in routes:
        link_mtu = mtus.get(route.device, spec.needed)
        if route.mtu is not None and route.mtu < min(spec.needed, link_mtu):
            what, least = f"the route to {some_of(route.peers, MOST_NAMED)} (dev {route.device})", route.mtu
        elif link_mtu < spec.needed:
            what, least = f"link {route.device}, on the route to {some_of(route.peers, MOST_NAMED)},", link_mtu
        else:
            continue
        yield spec.problem(what, least)

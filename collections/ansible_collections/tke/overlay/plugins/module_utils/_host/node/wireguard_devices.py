# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WireGuard devices that a host must have according to its document.

A host has one device for each generation of keys that the plan names for it: the
present one and, while keys change, the next. Its peers are the nodes whose link to
the host's own site is WireGuard, and whose key of that generation is known.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NONE, NodeDocument, Peer
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import (
    KEEPALIVE,
    WireguardPeer,
    WireguardSpec,
)
from ansible_collections.tke.overlay.plugins.module_utils._links import WIREGUARD, LinkTable, links_of, wireguard_port


def wireguard_specs(document: NodeDocument, own: Peer, peers: t.Iterable[Peer]) -> list[WireguardSpec]:
    """Return the devices of a host, that of the present generation first. Without WireGuard links there are none.

    A host whose own key is not known yet, as in check mode, has a device with the public key ``-``.
    """
    links = links_of(document)
    mtus = [link.mtu for link in links.of_site(own.site) if link.transport == WIREGUARD]
    if not mtus:
        return []
    linked = [peer for peer in peers if is_wireguard_peer(links, own, peer)]
    generation, port = document.get("wireguard_generation", 0), document["wireguard_port"]
    return [
        WireguardSpec(
            generation=generation + number,
            port=wireguard_port(port, generation + number),
            mtu=max(mtus),
            public_key=key,
            peers=_peers(linked, number, generation, own.endpoint == NONE),
        )
        for number, key in enumerate(own.keys.split(",") if own.keys else [NONE])
    ]


def is_wireguard_peer(links: LinkTable, own: Peer, peer: Peer) -> bool:
    """Whether packets to a peer are encrypted."""
    return links.between(own.site, peer.site).transport == WIREGUARD


def _peers(linked: t.Iterable[Peer], number: int, generation: int, behind_nat: bool) -> list[WireguardPeer]:
    """Return the peers of a device.

    :param number: 0: by the present keys; 1: by the next ones.
    """
    found = []
    for peer in linked:
        keys = [key for key in peer.keys.split(",") if key not in ("", NONE)]
        if number < len(keys):
            endpoint = _endpoint(peer.endpoint, generation + number)
            found.append(WireguardPeer(keys[number], endpoint, peer.node_cidr, KEEPALIVE if behind_nat else 0))
    return found


def _endpoint(endpoint: str, generation: int) -> str:
    """Return where a peer listens in a generation of keys; empty if it is behind NAT."""
    if endpoint in ("", NONE):
        return ""
    address, _colon, port = endpoint.rpartition(":")
    return f"{address}:{wireguard_port(int(port), generation)}"

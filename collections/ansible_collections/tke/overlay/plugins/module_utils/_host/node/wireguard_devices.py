# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WireGuard devices that a host must have according to its document.

A host has one device for each generation of keys that the plan names for it: the
present one and, while keys change, the next. Its peers are the nodes whose link to
the host's own site is WireGuard, and whose key of that generation is known.
"""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    NONE,
    NodeDocument,
    Peer,
    vtep_address,
    with_port,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    Texts,
    differing,
    read_files,
    read_sysctls,
    write_sysctl,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, compare
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import (
    DEVICES,
    KEEPALIVE,
    MOST_NAMED,
    WireguardPeer,
    WireguardSpec,
    WireguardTable,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import WIREGUARD_FILE
from ansible_collections.tke.overlay.plugins.module_utils._links import WIREGUARD, links_of, wireguard_port


def wireguard_specs(
    document: NodeDocument, own: Peer, peers: t.Iterable[Peer], shaking_hands: bool = False
) -> list[WireguardSpec]:
    """Return the devices of a host, that of the present generation first. Without WireGuard links there are none.

    A host whose own key is not known yet, as in check mode, has a device with the public key ``-``.

    A keepalive, by which both ends shake hands, has a host behind NAT for all of its peers. So have both ends of a
    device by which no host may send yet: before it does, it waits for the handshakes. While keys change, the present
    device has it, too: only a peer that lives by the present keys must answer by the next ones.

    :param shaking_hands: no host may send by any of these devices yet.
    """
    links = links_of(document)
    mtus = [link.mtu for link in links.of_site(own.site) if link.transport == WIREGUARD]
    if not mtus:
        return []
    everyone = list(peers)
    sites = {site for site in {peer.site for peer in everyone} if links.between(own.site, site).transport == WIREGUARD}
    linked = [peer for peer in everyone if peer.site in sites]
    generation, port = document.get("wireguard_generation", 0), document["wireguard_port"]
    keepalive = shaking_hands or "," in own.keys or own.endpoint == NONE
    following = document.get("wireguard_next_port", port)
    ports, peers_by_keys = (port, following), (linked, _at_port(following, linked, port))
    return [
        WireguardSpec(
            generation=generation + number,
            port=wireguard_port(ports[number], generation + number),
            mtu=max(mtus),
            address=f"{vtep_address(own.node_cidr)}/32",
            public_key=key,
            peers=_peers(peers_by_keys[number], number, generation, keepalive),
        )
        for number, key in enumerate(own.keys.split(",") if own.keys else [NONE])
    ]


def former_devices(wanted: WireguardTable) -> list[WireguardSpec]:
    """Return the saved devices that are not wanted any more: other hosts may still send to them.

    A device of the same name is not among them: it gets the new key at once. A damaged file has no devices.
    """
    text = read_files([WIREGUARD_FILE]).get(WIREGUARD_FILE, "")
    names = {spec.name for spec in wanted.specs}
    with contextlib.suppress(KernelError):
        return [spec for spec in WireguardTable.parse(text).specs if spec.name not in names]
    return []


def with_former_peers(specs: t.Sequence[WireguardSpec], node_cidrs: t.Container[str]) -> list[WireguardSpec]:
    """Return the devices with the saved peers of these node CIDRs, which may still send to them.

    Their peers of these node CIDRs get a keepalive, so that they shake hands before a packet has to wait for that.
    """
    text = read_files([WIREGUARD_FILE]).get(WIREGUARD_FILE, "")
    saved: dict[str, t.Sequence[WireguardPeer]] = {}
    with contextlib.suppress(KernelError):
        saved = {spec.name: spec.peers for spec in WireguardTable.parse(text).specs}
    found = []
    for spec in specs:
        present = {peer.node_cidr for peer in spec.peers}
        left = [
            peer for peer in saved.get(spec.name, ()) if peer.node_cidr in node_cidrs and peer.node_cidr not in present
        ]
        dialling = [peer._replace(keepalive=KEEPALIVE) if peer.node_cidr in node_cidrs else peer for peer in spec.peers]
        found.append(spec._replace(peers=[*dialling, *left]))
    return found


def await_next_keys(run: Run) -> None:
    """Wait until each peer that lives by the present keys has answered by the next ones. Nothing is changed.

    :raises KernelError: a peer has not answered in time, or the saved file is damaged.
    """
    text = read_files([WIREGUARD_FILE]).get(WIREGUARD_FILE, "")
    specs = sorted(WireguardTable.parse(text).specs, key=lambda spec: spec.generation)
    table = WireguardTable(specs[1:], former=specs[:1])
    silent = table.unanswered(run, NEXT_KEYS_SECONDS)
    if silent:
        raise KernelError(
            f"no node sends by the next keys, because nodes do not answer by them on UDP port {table.ports}: those "
            f"with the node CIDRs {some_of(silent, MOST_NAMED)}; let it pass (firewalls, security groups, NAT), or set "
            f"another overlay_wireguard_port, and run the playbook again"
        )


NEXT_KEYS_SECONDS = 45
"""Longer than a keepalive (25 s) with three handshakes of 5 s (REKEY_TIMEOUT): a device that had no answer for 90 s
(REKEY_ATTEMPT_TIME) calls again with its next keepalive."""


def create_devices(target: WireguardTable, sysctls: Texts, run: Run) -> None:
    """Create the devices that are missing, and set their sysctls. Nothing is sent by them yet.

    :raises KernelError: a device cannot be created.
    """
    links = read_links(run)
    delta = compare(target, target.read(links, run), target.wanted)
    target.apply(delta, run)
    own = tuple(f"net/ipv4/conf/{name}/" for name in DEVICES)
    wanted = {key: text for key, text in sysctls.items() if key.startswith(own)}
    for key, value in differing(read_sysctls(wanted), wanted).items():
        write_sysctl(key, value)


def _peers(linked: t.Iterable[Peer], number: int, generation: int, keepalive: bool) -> list[WireguardPeer]:
    """Return the peers of a device.

    :param number: 0: by the present keys; 1: by the next ones.
    """
    found = []
    for peer in linked:
        keys = [key for key in peer.keys.split(",") if key not in ("", NONE)]
        if number < len(keys):
            endpoint = _endpoint(peer.endpoint, generation + number)
            found.append(WireguardPeer(keys[number], endpoint, peer.node_cidr, KEEPALIVE if keepalive else 0))
    return found


def _at_port(following: int, peers: list[Peer], port: int) -> list[Peer]:
    """Return the peers at the port of the next keys, except those whose endpoint a user has given."""
    if following == port:
        return peers
    return [
        peer._replace(endpoint=with_port(peer.underlay, following))
        if peer.endpoint == with_port(peer.underlay, port)
        else peer
        for peer in peers
    ]


def _endpoint(endpoint: str, generation: int) -> str:
    """Return where a peer listens in a generation of keys; empty if it is behind NAT."""
    if endpoint in ("", NONE):
        return ""
    address, _colon, port = endpoint.rpartition(":")
    return f"{address}:{wireguard_port(int(port), generation)}"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One WireGuard device: what it must be, and its peers."""

from __future__ import annotations

import typing as t


class WireguardPeer(t.NamedTuple):
    """One peer of a device. ``endpoint`` is ``ADDRESS:PORT``, empty for a peer behind NAT, which dials."""

    key: str  # public, in base64
    endpoint: str
    node_cidr: str  # its AllowedIPs; the VTEP address is in it
    keepalive: int = 0  # seconds, 0: off


class WireguardSpec(t.NamedTuple):
    """The desired device of one generation of keys. Its private key is a file of the host, see the module."""

    name: str
    port: int
    mtu: int
    peers: t.Sequence[WireguardPeer]

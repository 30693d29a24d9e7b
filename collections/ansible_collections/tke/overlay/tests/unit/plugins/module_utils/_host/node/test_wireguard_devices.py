# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the WireGuard devices of a document. tests/kernel/test_links.py creates them."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._host.node.wireguard_devices import wireguard_specs

LINKS = "a a direct 1500\na b wireguard 1420\na c vxlan 1430\nb b vxlan 1430\nb c wireguard 1380\nc c vxlan 1430\n"
SITES = ["a", "b", "c", "b"]


def test_a_device_has_the_peers_of_its_links_only(fleet, document):
    """All nodes here have keys: those of site c for their link with site b."""
    own, *_others = fleet
    keys = [f"{letter * 42}A=" for letter in "BCDEF"]
    own, *peers = (
        own._replace(
            name=f"node{number}",
            node_cidr=f"10.244.{number}.0/24",
            underlay=f"10.0.1.{11 + number}",
            site=site,
            endpoint=f"10.0.1.{11 + number}:51820",
            keys=keys[number],
        )
        for number, site in enumerate(["a", *SITES])
    )
    plan = {**document, "links": LINKS, "wireguard_port": 51820, "wireguard_generation": 0}
    (device,) = wireguard_specs(plan, own, peers)
    assert device.mtu == 1420
    assert [peer.key for peer in device.peers] == [keys[2], keys[4]]

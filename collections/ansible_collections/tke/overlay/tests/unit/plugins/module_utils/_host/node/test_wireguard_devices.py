# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the WireGuard devices of a document. tests/kernel/test_links.py creates them."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._host.node.wireguard_devices import wireguard_specs
from ansible_collections.tke.overlay.plugins.module_utils._links import wireguard_ports

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


def test_the_next_device_has_the_next_port(fleet, document):
    """At the endpoint of a user, the port of the next generation follows that of the present one."""
    own, *_others = fleet
    own, *peers = (
        own._replace(
            name=f"node{number}",
            node_cidr=f"10.244.{number}.0/24",
            underlay=f"10.0.1.{11 + number}",
            site="b",
            endpoint=endpoint,
            keys=f"{'BCDE'[number] * 42}A=,{'FGHI'[number] * 42}A=",
        )
        for number, endpoint in enumerate(["10.0.1.11:51820", "10.0.1.12:51820", "203.0.113.7:443", "-"])
    )
    plan = {**document, "links": "b b wireguard 1420\n", "wireguard_port": 51820, "wireguard_next_port": 51900}
    for generation, ports, endpoints in (
        (0, [51820, 51901], [["10.0.1.12:51820", "203.0.113.7:443", ""], ["10.0.1.12:51901", "203.0.113.7:444", ""]]),
        (1, [51821, 51900], [["10.0.1.12:51821", "203.0.113.7:444", ""], ["10.0.1.12:51900", "203.0.113.7:443", ""]]),
    ):
        devices = wireguard_specs({**plan, "wireguard_generation": generation}, own, peers)
        assert [device.port for device in devices] == ports
        assert [[peer.endpoint for peer in device.peers] for device in devices] == endpoints
        assert {peer.keepalive for device in devices for peer in device.peers} == {25}, "idle ones shake hands, too"
    assert wireguard_ports(plan) == [51820, 51821, 51900, 51901]
    only = [peer._replace(keys=peer.keys[:44]) for peer in (own, *peers)]
    (device,) = wireguard_specs({**plan, "wireguard_generation": 0}, *only[:1], only[1:])
    assert {peer.keepalive for peer in device.peers} == {0}

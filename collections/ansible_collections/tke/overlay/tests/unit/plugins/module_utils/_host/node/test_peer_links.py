# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the entries of each link. tests/kernel/test_links.py applies them to the kernel."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import FormerRoute
from ansible_collections.tke.overlay.plugins.module_utils._host.node.peer_links import (
    entries_of,
    host_links,
    link_counts,
    link_rules,
    on_link_peers,
)

KEY = f"{'B' * 42}A="
LINKS = "a a direct 1500\na b wireguard 1420\na c vxlan 1430\na d vxlan 1380\n"
ON_LINK = {"10.0.1.12": "eth0"}


@pytest.fixture
def links(fleet, document):
    """Return a function that returns the links of the host to a peer in each of these sites."""
    own, *_others = fleet

    def build(*sites, former=None, kept=(), text=LINKS, **changes):
        peers = [
            own._replace(
                name=f"peer{number}", node_cidr=f"10.244.{number}.0/24", underlay=f"10.0.1.{11 + number}", site=site
            )._replace(**{"endpoint": f"10.0.1.{11 + number}:51820", "keys": KEY, **changes})
            for number, site in enumerate(sites, 1)
        ]
        plan = {**document, "links": text, "wireguard_port": 51820, "wireguard_generation": 1}
        return host_links(plan, (own._replace(site="a"), peers), ON_LINK, former or {}, kept)

    return build


@pytest.mark.parametrize(
    ("site", "routes", "others"),
    [
        ("a", {"10.244.1.0/24": "via 10.0.1.12 dev eth0 src 10.244.0.0 mtu 1500"}, 0),
        ("b", {"10.244.1.0/24": "dev tke-wg1 src 10.244.0.0 mtu 1420"}, 0),
        ("c", {"10.244.1.0/24": "via 10.244.1.0 dev tke0 onlink"}, 1),
        ("d", {"10.244.1.0/24": "via 10.244.1.0 dev tke0 onlink mtu 1380"}, 1),
    ],
)
def test_a_peer_has_the_entries_of_its_link(links, site, routes, others):
    found = entries_of(links(site))
    beneath = {} if others else {"10.244.1.0/24 metric 4096": "blackhole"}
    assert found["route"] == {"10.244.0.0/24 metric 4096": "blackhole", **routes, **beneath}
    assert (len(found["fdb"]), len(found["neighbor"])) == (others, others)


@pytest.mark.parametrize("keys", ["-", f"-,{KEY}"])
def test_without_a_key_there_is_only_the_blackhole(links, keys):
    found = links("b", keys=keys)
    assert set(entries_of(found)["route"]) == {"10.244.0.0/24 metric 4096", "10.244.1.0/24 metric 4096"}
    assert link_rules(found).encrypted == ["10.244.1.0"]


def test_pods_get_the_largest_mtu_and_the_device_that_of_vxlan(links):
    found = links("a", "c", "d")
    assert (found.pod_mtu, found.vxlan_mtu) == (1500, 1430)
    assert links("a", text="a a direct 1500\na b wireguard 1420\n").vxlan_mtu == 1420


@pytest.mark.parametrize(
    ("site", "former", "encrypted", "direct"),
    [
        ("b", FormerRoute("via 10.244.1.0 dev tke0 onlink", "10.0.1.12"), [], []),
        ("b", FormerRoute("dev tke-wg0 src 10.244.0.0 mtu 1420", ""), ["10.244.1.0"], []),
        ("b", FormerRoute("via 10.0.1.12 dev eth1 src 10.244.0.0 mtu 1500", ""), [], ["10.244.1.0"]),
        ("a", FormerRoute("dev tke-wg0 src 10.244.0.0 mtu 1420", ""), [], ["10.244.1.0"]),
    ],
    ids=["vxlan", "other keys", "direct", "wireguard"],
)
def test_both_transports_pass_during_a_cutover(links, site, former, encrypted, direct):
    found = link_rules(links(site, former={"10.244.1.0/24": former}))
    assert (list(found.encrypted), list(found.direct)) == (encrypted, direct)


def test_what_a_cutover_keeps(links):
    former = {"10.244.1.0/24": FormerRoute("via 10.244.1.0 dev tke0 onlink", "10.0.1.99")}
    for kept in ((), ("10.244.1.0/24",)):
        found = entries_of(links("b", former=former, kept=kept))
        assert found["fdb"] == {"0a:58:0a:f4:01:00": "dst 10.0.1.99"}
        assert ("tke0" in found["route"]["10.244.1.0/24"]) is bool(kept)


def test_endpoints_are_known_unless_a_peer_is_behind_nat(links):
    assert link_rules(links("b")).endpoints == ["10.0.1.12"]
    assert link_rules(links("b", endpoint="203.0.113.7:51820")).endpoints == ["10.0.1.12", "203.0.113.7"]
    assert link_rules(links("b", endpoint="-")).endpoints is None


def test_the_summary_counts_the_peers_of_each_link(links):
    assert link_counts(links("b", "c", "b")) == "vxlan with MTU 1430: 1 peers; wireguard with MTU 1420: 2 peers"


def test_names_both_ends_of_a_direct_link_behind_a_router(document):
    plan = {
        **document,
        "links": "a a direct 1500\na b vxlan 1450\n",
        "fleet": "me 10.244.0.0/24 10.0.1.11 a\none 10.244.1.0/24 10.0.2.12 a\ntwo 10.244.2.0/24 10.0.3.13 b\n",
    }
    asked = []

    def run(_command, text):
        asked.append(text)
        return 0, "10.0.2.12 from 10.0.1.11 via 10.0.1.1 dev eth0 uid 0 \\    cache \n", ""

    with pytest.raises(ValidationError) as caught:
        on_link_peers(plan, run)
    for words in ("me (10.0.1.11)", "one (10.0.2.12) by 10.0.1.1", "overlay_links", "overlay_site"):
        assert words in str(caught.value)
    assert asked == ["route get 10.0.2.12 from 10.0.1.11\n"], "no other peer is asked for"

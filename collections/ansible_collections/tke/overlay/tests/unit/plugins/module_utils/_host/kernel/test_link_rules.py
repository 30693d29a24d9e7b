# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the rules of links that are not VXLAN, as text. tests/kernel/test_links.py sends packets through them."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link_rules import COUNTERS, LinkRules
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import RulesSpec, RulesTable, rules_text

SPEC = RulesSpec("tke0", "tke-br0", 8472, 1450, "10.244.0.0/24", ["10.244.0.0/16"], ["10.0.1.12"])
LINKS = LinkRules(
    prefix=24,
    vtep="10.244.0.0",
    direct=["10.244.4.0"],
    neighbors=["10.0.1.14", "2001:db8::14"],
    direct_links=["eth0"],
    encrypted=["10.244.6.0"],
    wireguard=True,
    ports=[51820, 51821],
    endpoints=["10.0.2.5", "2001:db8::5"],
)


def text(**changes):
    return rules_text(SPEC._replace(links=LINKS._replace(**changes)))


def rules(chain, **changes):
    """Return the rules of a chain."""
    return text(**changes).partition(f"\tchain {chain} {{\n")[2].partition("\t}\n")[0].splitlines()[1:]


def test_without_links_the_rules_do_not_name_them():
    plain = rules_text(SPEC)
    assert not [word for word in ("rt mtu", "direct4", "encrypted4", "tke-wg", *COUNTERS) if word in plain]
    assert "maxseg size set 1410" in plain


def test_links_of_vxlan_alone_need_no_sets():
    found = rules_text(SPEC._replace(links=LinkRules(prefix=24)))
    assert not [word for word in ("direct4", "encrypted4", "tke-wg", "eth0", "chain vtep") if word in found]
    assert "maxseg size set rt mtu" in found


def test_what_leaves_for_an_encrypted_peer_is_judged_first():
    first, *_others = rules("postrouting")
    assert "@encrypted4" in first
    assert 'oifname != { "tke-wg0", "tke-wg1" }' in first
    assert first.endswith('counter name "in_clear" drop')


@pytest.mark.parametrize(("prefix", "mask"), [(24, "255.255.255.0"), (26, "255.255.255.192"), (16, "255.255.0.0")])
def test_the_mask_is_that_of_a_node_cidr(prefix, mask):
    found = text(prefix=prefix)
    assert found.count(f"& {mask} ") == found.count("ip saddr & 2") + found.count("ip daddr & 2") > 0


def test_a_peer_behind_nat_opens_the_port_to_all():
    assert len([rule for rule in rules("input") if "51820" in rule]) == 2
    assert not [rule for rule in rules("input", endpoints=None) if "51820" in rule]


def test_the_masquerade_avoids_the_ports_of_wireguard():
    (ends,) = [line.rpartition(":")[2].split()[0] for line in text().splitlines() if "masquerade to" in line]
    first, last = map(int, ends.split("-"))
    assert not [port for port in (8472, 51820, 51821) if first <= port <= last]


def test_an_address_can_be_in_two_sets():
    """During a cutover: a peer that may send by VXLAN and by WireGuard."""
    table = RulesTable(SPEC._replace(links=LINKS._replace(endpoints=["10.0.1.12"])))
    assert table.wanted["element 10.0.1.12"] == "of peers4"
    assert table.wanted["address 10.0.1.12"] == "of endpoints4"

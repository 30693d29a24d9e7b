# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Links between sites: which one connects two nodes, and the text in which they travel."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._links import (
    ENCAPSULATION,
    Link,
    LinkTable,
    links_of,
    mtu_of_packets,
    parse_links,
    wireguard_device,
    wireguard_port,
)

SITES = st.sampled_from(["cloud", "idc", "shanghai", "x-1", "B_2"])
LINKS = st.builds(Link, st.sampled_from(sorted(ENCAPSULATION)), st.integers(576, 65535))
TABLES = st.dictionaries(st.tuples(SITES, SITES).map(lambda pair: tuple(sorted(pair))), LINKS)


@given(TABLES)
def test_a_text_has_every_link_in_either_order(links):
    table = parse_links(LinkTable(links).text())
    for (one, other), link in links.items():
        assert table.between(one, other) == table.between(other, one) == link
    assert table.text() == LinkTable({(other, one): link for (one, other), link in links.items()}).text()


def test_a_document_without_links_connects_all_by_vxlan():
    table = links_of({"mtu": 1400})
    assert table.between("cloud", "idc") == table.between("", "") == Link("vxlan", 1400)
    assert table.mtu_of_pods("any") == 1400


def test_pods_get_the_largest_mtu_of_their_site():
    table = links_of({"mtu": 1500, "links": "a a direct 1500\na b wireguard 1340\nb b vxlan 1450\n"})
    assert (table.mtu_of_pods("a"), table.mtu_of_pods("b")) == (1500, 1450)
    assert table.between("b", "a") == Link("wireguard", 1340)
    with pytest.raises(ValidationError, match="no link between the sites 'a' and 'c'"):
        table.between("a", "c")


@pytest.mark.parametrize(
    "line",
    [
        *("", "a b vxlan", "a b vxlan 1400 x", "a b gre 1400", "a b vxlan 14", "a b vxlan -1400", "a  vxlan 1400"),
        *("a b vxlan 1400\tx", "a\u2028 b vxlan 1400", "-a b vxlan 1400", "a b vxlan 0x100", "a b;c vxlan 1400"),
    ],
)
def test_a_line_that_is_no_link_is_an_error(line):
    with pytest.raises(ValidationError, match="line 2 of the links is not"):
        parse_links(f"a a vxlan 1400\n{line}\n")


def test_a_pair_of_sites_that_appears_twice_is_an_error():
    with pytest.raises(ValidationError, match="line 2 of the links repeats the sites 'b a'"):
        parse_links("a b vxlan 1400\nb a direct 1500\n")


def test_two_generations_of_keys_have_two_devices_and_ports():
    assert wireguard_device(0) == wireguard_device(2) != wireguard_device(1)
    assert {wireguard_port(51820, generation) for generation in range(4)} == {51820, 51821}


@given(st.integers(1280, 65535), st.sampled_from([60, 80]))
def test_a_padded_packet_of_wireguard_fits_the_line(carried, encapsulation):
    largest = mtu_of_packets("wireguard", carried, encapsulation)
    padded = -(-largest // 16) * 16
    assert carried - 16 < padded + encapsulation <= carried


def test_other_transports_use_all_that_the_line_carries():
    assert mtu_of_packets("vxlan", 1405, 50) == 1355
    assert mtu_of_packets("direct", 1405, 0) == 1405
    assert mtu_of_packets("wireguard", 1500, 60) == 1440


def test_the_links_of_a_site_are_listed_with_the_other_sites():
    table = parse_links("a a direct 1500\na b vxlan 1450\nb b vxlan 1400\nb c wireguard 1408\n")
    assert table.of_one_site("b") == "a vxlan 1450, b vxlan 1400, c wireguard 1408"
    assert table.of_one_site("d") == ""

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Batch lines: what a table writes it reads back, and it reads nothing else."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable, fdb_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable, neighbor_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import BridgeTable, FormerBridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import (
    RouteTable,
    blackhole_entry,
    device_entry,
    direct_entry,
    via_entry,
)

VERSIONS = (4, 6)

MACS = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
ADDRESSES = st.ip_addresses().map(str)
METRICS = st.integers(0, 2**32 - 1)


MTUS = st.integers(576, 65535)


@st.composite
def networks(draw, version):
    """A network with prefix, in its short form."""
    address = draw(st.ip_addresses(v=version))
    return str(ipaddress.ip_network((address, draw(st.integers(0, address.max_prefixlen))), strict=False))


def routes(version):
    gateways = st.ip_addresses(v=version).map(str)
    return st.one_of(
        st.builds(via_entry, networks(version), gateways, st.just("tke0"), METRICS),
        st.builds(blackhole_entry, networks(version), METRICS),
        st.builds(via_entry, networks(version), gateways, st.just("tke0"), METRICS, MTUS),
        st.builds(direct_entry, networks(version), gateways, st.just("eth0"), st.just("10.244.0.0"), MTUS),
        st.builds(device_entry, networks(version), st.just("tke-wg0"), st.just("10.244.0.0"), MTUS),
        # As read_json finds those of other programs: without a gateway, and with a TOS.
        networks(version).map(lambda network: (f"{network} metric 7 tos 0x10", "dev tke0")),
    )


FDB_ENTRIES = st.one_of(
    st.builds(fdb_entry, MACS, ADDRESSES),
    st.builds(fdb_entry, MACS, ADDRESSES).map(lambda entry: (entry[0], f"{entry[1]} port 4789 vni 7 via eth0")),
)
TABLES = [
    (FdbTable("tke0"), FDB_ENTRIES),
    *((NeighborTable("tke0", v), st.builds(neighbor_entry, st.ip_addresses(v=v).map(str), MACS)) for v in VERSIONS),
    *((RouteTable("tke0", v), routes(v)) for v in VERSIONS),
    (
        BridgeTable("tke-br0", ["10.244.0.0/16"], "10.244.0.0/24"),
        st.one_of(
            st.ip_addresses().map(lambda address: (f"{address}/{address.max_prefixlen}", "dev tke-br0")),
            networks(4).map(lambda network: (f"route {network}", "dev tke-br0 src 10.244.0.1")),
            st.sampled_from(["up", "down"]).map(lambda spec: ("state", spec)),
            st.sampled_from(["on", "off"]).map(lambda spec: ("hairpin veth1", spec)),
            st.just(("port veth1", "master tke-br0")),
        ),
    ),
    (FormerBridgeTable("tke-br0", ["10.244.0.0/16"], "10.244.0.0/24"), st.just(("link tke-br0", "type bridge"))),
]
ENTRIES = st.one_of(*(st.tuples(st.just(table), entries) for table, entries in TABLES))


OF_OTHER_BRIDGES = [
    "address replace 10.244.0.1/24 brd + dev cni0",
    "link set cni0 up",
    "link set veth1 master cni0 up",
    "route replace 10.244.0.0/24 dev cni0 src 10.244.0.1 proto kernel scope link",
]


@given(ENTRIES)
def test_parse_is_the_inverse_of_put(given_entry):
    table, (key, spec) = given_entry
    assert table.parse(table.put(key, spec)) == (key, spec)


@given(ENTRIES, st.data())
def test_an_edited_line_never_passes_for_another(given_entry, data):
    """A line with a word removed, doubled or exchanged is rejected, or is what the table writes for that entry."""
    table, entry = given_entry
    words = table.put(*entry).split(" ")
    position = data.draw(st.integers(0, len(words) - 1))
    words[position : position + 1] = data.draw(
        st.sampled_from([[], ["x"], [words[position]] * 2, ["", words[position]]])
    )
    line = " ".join(words)
    parsed = table.parse(line)
    assert parsed is None or table.put(*parsed) == line


@given(ENTRIES)
def test_a_line_that_removes_an_entry_is_rejected(given_entry):
    table, entry = given_entry
    assert table.parse(table.drop(*entry)) is None


@pytest.mark.parametrize(
    ("table", "line"),
    [
        (FdbTable("tke0"), ""),
        (FdbTable("tke0"), "fdb replace everything"),
        (FdbTable("tke0"), "fdb replace 0a:58:0a:f4:01:00 dev tke1 dst 10.0.1.12 self permanent"),
        (FdbTable("tke0"), "fdb append 0a:58:0a:f4:01:00 dev tke0 dst 10.0.1.12 self permanent"),
        (FdbTable("tke0"), "fdb replace 0a:58:0a:f4:01:00 dev tke0 dst 10.0.1.12 self static"),
        (NeighborTable("tke0"), "neigh replace 10.244.1.0 lladdr 0a:58:0a:f4:01:00 dev tke1 nud permanent"),
        (NeighborTable("tke0"), "neigh replace 10.244.1.0 lladdr 0a:58:0a:f4:01:00 dev tke0 nud stale"),
        (RouteTable("tke0"), "route replace 10.244.1.0/24 via 10.244.1.0 dev tke0 onlink proto 80"),
        (RouteTable("tke0"), "route replace unreachable 10.244.1.0/24 proto 144"),
        (RouteTable("tke0"), "route replace 10.244.1.0/24 via 10.244.1.0 dev tke0 onlink proto 144\n"),
        *((BridgeTable("tke-br0", [], "10.244.0.0/24"), line) for line in OF_OTHER_BRIDGES),
        (FormerBridgeTable("tke-br0", [], "10.244.0.0/24"), "link add cni0 type bridge"),
        (FormerBridgeTable("tke-br0", [], "10.244.0.0/24"), "link set tke-br0 up"),
    ],
)
def test_a_foreign_line_is_rejected(table, line):
    assert table.parse(line) is None

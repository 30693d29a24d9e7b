# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorded listings of several versions of ip and bridge, and the entries and batches that follow from them.

tests/tools/record_iproute2.py makes the recordings, and defines the objects that existed.
"""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable, fdb_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkSpec, compare_link, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable, neighbor_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import BridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import (
    RouteTable,
    blackhole_entry,
    via_entry,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import apply, compare

DATA = pathlib.Path(__file__).parent / "data"
VERSIONS = sorted(path.stem.partition("-")[2] for path in DATA.glob("iproute2-*.txt"))
NEXTHOPS = [version for version in VERSIONS if version != "5.0"]
"""The versions that support next-hop groups, and print multipath routes as JSON."""

WITHIN = {4: ["10.244.0.0/16"], 6: ["2001:db8::/32"]}


def recorded(version):
    """Return a run that returns the recorded output of each command, and accepts every batch."""
    blocks = (DATA / f"iproute2-{version}.txt").read_text(encoding="utf-8").split("\n$ ")[1:]
    outputs = dict(block.strip().partition("\n")[::2] for block in blocks)
    return lambda command, text: (0, "" if "-batch" in command else outputs[" ".join(command)], "")


class Listed(BridgeTable):
    """The state and the addresses of the bridge, which are in the listing of the links."""

    def read(self, run):
        return {key: entry for key, entry in self.among(read_links(run)).items() if not key.startswith("hairpin ")}


MANAGED, FOREIGN = (True, True), (False, True)  # both on the device
BLACKHOLE, ELSEWHERE = (True, False), (False, False)

READ = {
    "fdb": (
        FdbTable("tke0"),
        {
            "00:00:00:00:00:00 10.0.1.50": ("dst 10.0.1.50", *MANAGED),
            "00:00:00:00:00:00 10.0.1.51": ("dst 10.0.1.51", *MANAGED),
            "0a:58:0a:f4:01:00": ("dst 10.0.1.12", *MANAGED),
            "0a:58:0a:f4:02:00": ("dst 10.0.1.13 static", *FOREIGN),
            "0a:58:0a:f4:03:00": ("dst 10.0.1.14 dynamic", *FOREIGN),
            "0a:58:0a:f4:04:00": ("dst 10.0.1.15 port 4789 vni 7 via eth0", *MANAGED),
        },
    ),
    "fdb over IPv6": (FdbTable("tke6"), {"0a:58:0a:f4:01:00": ("dst 2001:db8::12", *MANAGED)}),
    "neighbor": (
        NeighborTable("tke0"),
        {
            "10.244.1.0": ("lladdr 0a:58:0a:f4:01:00", *MANAGED),
            "10.244.2.0": ("lladdr 0a:58:0a:f4:02:00 stale", *FOREIGN),
            "10.244.3.0": ("lladdr unknown failed", *FOREIGN),
        },
    ),
    "neighbor of IPv6": (
        NeighborTable("tke0", 6),
        {
            "2001:db8:1::1": ("lladdr 0a:58:0a:f4:01:00", *MANAGED),
            "2001:db8:2::1": ("lladdr 0a:58:0a:f4:02:00 stale", *FOREIGN),
        },
    ),
    "bridge": (
        Listed("tke-br0", WITHIN[4], "10.244.0.0/24"),
        {
            "state": ("up", *MANAGED),
            "10.244.0.1/24": ("dev tke-br0", *MANAGED),
            "10.244.9.1/24": ("dev tke-br0", *MANAGED),
        },
    ),
    "route": (
        RouteTable("tke0", within=WITHIN[4], bridge="tke-br0"),
        {
            "10.244.0.0/24 metric 4096": ("blackhole", *BLACKHOLE),
            "10.244.1.0/24": ("via 10.244.1.0 dev tke0 onlink", *MANAGED),
            "10.244.2.0/24": ("via 10.244.9.0 dev tke0 onlink", *MANAGED),
            "10.244.2.0/24 #2": ("via 10.244.2.0 dev tke0 onlink", *MANAGED),
            "10.244.3.0/24 metric 7": ("dev tke0 proto static", *FOREIGN),
            "10.244.4.4/32 tos 0x10": ("via 10.0.1.1 dev eth0 proto static", *ELSEWHERE),
            "10.244.7.0/24": ("unreachable proto boot", *ELSEWHERE),
        },
    ),
    "route of IPv6": (
        RouteTable("tke0", 6, within=WITHIN[6]),
        {
            "2001:db8::/64 metric 256": ("dev eth0 proto kernel", *ELSEWHERE),
            "2001:db8:1::/64": ("via 2001:db8:1::1 dev tke0 onlink", *MANAGED),
            "2001:db8:2::2/128 metric 7": ("via 2001:db8::1 dev eth0 proto static", *ELSEWHERE),
            "2001:db8:3::/64 metric 4096": ("blackhole", *BLACKHOLE),
        },
    ),
}
PRINTED_DIFFERENTLY = "10.244.6.0/24"  # a route with metrics, which 5.0 prints in another form


@pytest.mark.parametrize("table", READ)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_listing_is_read(version, table):
    reader, expected = READ[table]
    found = {key: tuple(entry) for key, entry in reader.read(recorded(version)).items()}
    groups = {key for key in found if "nhid" in key}
    assert groups == ({"0a:58:0a:f4:05:00 nhid 11"} if table == "fdb" and version in NEXTHOPS else set())
    assert {key: entry for key, entry in found.items() if key not in groups and key != PRINTED_DIFFERENTLY} == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_without_container_cidrs_all_routes_are_read(version):
    table = RouteTable("tke0", bridge="tke-br0", claimed=["10.9.0.0/24"])
    if version not in NEXTHOPS:
        with pytest.raises(KernelError, match=r"printed no JSON .* 5\.5 or later on hosts with multipath routes"):
            table.read(recorded(version))
        return
    found = table.read(recorded(version))
    assert found["0.0.0.0/0"] == ("via 10.0.1.1 dev eth0 proto boot", *ELSEWHERE)
    assert found["10.7.0.0/16"].spec.startswith('nexthops [{"gateway": "10.0.1.1", "dev": "eth0", "weight": 1')
    assert found["10.9.0.0/24"] == ("blackhole", *BLACKHOLE)
    assert "10.8.0.0/24" in found, "a route of protocol 144 on another device: it can conflict with others"
    assert RouteTable("tke0", 6).read(recorded(version))["::/0"][0] == "via 2001:db8::1 dev eth0 proto boot"


BATCHES = {
    "fdb": (
        FdbTable("tke0"),
        [
            fdb_entry("0a:58:0a:f4:01:00", "10.0.1.99"),
            fdb_entry("0a:58:0a:f4:08:00", "10.0.1.18"),
            fdb_entry("00:00:00:00:00:00", "10.0.1.50"),
        ],
        [
            "fdb del 00:00:00:00:00:00 dev tke0 dst 10.0.1.51 self",
            "fdb del 0a:58:0a:f4:04:00 dev tke0 dst 10.0.1.15 port 4789 vni 7 via eth0 self",
            "fdb replace 0a:58:0a:f4:01:00 dev tke0 dst 10.0.1.99 self permanent",
            "fdb replace 0a:58:0a:f4:08:00 dev tke0 dst 10.0.1.18 self permanent",
        ],
    ),
    "fdb over IPv6": (
        FdbTable("tke6"),
        [fdb_entry("0a:58:0a:f4:01:00", "2001:db8::99")],
        ["fdb replace 0a:58:0a:f4:01:00 dev tke6 dst 2001:db8::99 self permanent"],
    ),
    "neighbor": (
        NeighborTable("tke0"),
        [neighbor_entry("10.244.2.0", "0a:58:0a:f4:02:00")],
        [
            "neigh del 10.244.1.0 dev tke0",
            "neigh replace 10.244.2.0 lladdr 0a:58:0a:f4:02:00 dev tke0 nud permanent",
        ],
    ),
    "neighbor of IPv6": (
        NeighborTable("tke0", 6),
        [neighbor_entry("2001:db8:1::1", "0a:58:0a:f4:07:00")],
        ["neigh replace 2001:db8:1::1 lladdr 0a:58:0a:f4:07:00 dev tke0 nud permanent"],
    ),
    "bridge": (
        Listed("tke-br0", WITHIN[4], "10.244.0.0/24"),
        [("10.244.0.1/24", "dev tke-br0"), ("state", "up")],
        ["address del 10.244.9.1/24 dev tke-br0"],
    ),
    "route": (
        RouteTable("tke0", within=WITHIN[4], bridge="tke-br0"),
        [
            via_entry("10.244.2.0/24", "10.244.2.0", "tke0"),
            via_entry("10.244.5.0/24", "10.244.5.0", "tke0"),
            blackhole_entry("10.244.0.0/24"),
        ],
        [
            "route del 10.244.1.0/24 via 10.244.1.0 dev tke0 onlink proto 144",
            "route del 10.244.2.0/24 via 10.244.2.0 dev tke0 onlink proto 144",
            "route replace 10.244.2.0/24 via 10.244.2.0 dev tke0 onlink proto 144",
            "route replace 10.244.5.0/24 via 10.244.5.0 dev tke0 onlink proto 144",
        ],
    ),
    "route of IPv6": (
        RouteTable("tke0", 6, within=WITHIN[6]),
        [via_entry("2001:db8:1::/64", "2001:db8:1::9", "tke0")],
        [
            "route del blackhole 2001:db8:3::/64 metric 4096 proto 144",
            "route replace 2001:db8:1::/64 via 2001:db8:1::9 dev tke0 onlink proto 144",
        ],
    ),
}


@pytest.mark.parametrize("table", BATCHES)
@pytest.mark.parametrize("version", VERSIONS)
def test_pending_changes_become_a_batch(version, table):
    writer, wanted, expected = BATCHES[table]
    answer, batches = recorded(version), []

    def noted(command, text):
        if "-batch" in command:
            assert tuple(command[: len(writer.program)]) == tuple(writer.program)
            batches.extend(text.splitlines())
        return answer(command, text)

    apply([(writer, compare(writer, writer.read(noted), dict(wanted)))], noted)
    assert sorted(line for line in batches if "nhid" not in line) == sorted(expected)
    verbs = [line.split()[1] for line in batches]
    assert verbs == sorted(verbs, key=["del", "replace"].index), "removals first"


TUNNEL = "type vxlan id 1 dstport 8472 local 10.0.1.11 nolearning"
LINK = LinkSpec("tke0", 1, 8472, "10.0.1.11", None, "0a:58:0a:f4:00:00", 1400, ["10.244.0.0/32"])
LINK6 = LinkSpec("tke6", 6, 8472, "2001:db8::11", mtu=1380)


@pytest.mark.parametrize(
    ("spec", "expected", "recreated"),
    [
        (LINK, [], None),
        (LINK._replace(mtu=1300), ["link set tke0 mtu 1300"], None),
        (
            LINK._replace(addresses=["10.244.5.0/32"]),
            ["address replace 10.244.5.0/32 dev tke0", "address del 10.244.0.0/32 dev tke0"],
            None,
        ),
        (
            LINK._replace(vni=2),
            [
                "link del tke0",
                f"link add tke0 address 0a:58:0a:f4:00:00 mtu 1400 {TUNNEL.replace('id 1', 'id 2')}",
                "link set tke0 addrgenmode none",
                "link set tke0 alias tke.overlay",
                "link set tke0 up",
                "address replace 10.244.0.0/32 dev tke0",
            ],
            "vni 1 -> 2",
        ),
        (LINK6, ["link set tke6 alias tke.overlay"], None),
        (LINK6._replace(local="10.0.1.11"), None, "local 2001:db8::11 -> 10.0.1.11 (another IP version)"),
        (LinkSpec("tke7", 7, 4789, "10.0.1.11"), None, "remote 239.1.1.1 -> none"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_recorded_link_is_compared_with_a_spec(version, spec, expected, recreated):
    change = compare_link(spec, read_links(recorded(version)))
    assert expected in (None, change.lines)
    assert (change.recreated or "").startswith(recreated or "")
    assert bool(change.recreated) == bool(recreated)

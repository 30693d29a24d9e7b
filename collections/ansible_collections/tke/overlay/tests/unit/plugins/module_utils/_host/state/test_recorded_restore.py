# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restore script against recorded listings of several versions of iproute2: every version gives the same result.

tests/tools/record_iproute2.py makes the recordings. The programs that the script runs here print them.
"""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.state.programs import RESTORE_SH

DATA = pathlib.Path(__file__).parents[1] / "kernel" / "data"
VERSIONS = sorted(path.stem.partition("-")[2] for path in DATA.glob("iproute2-*.txt"))
VERSIONS.remove("5.0")  # recorded before the script was

SETTINGS = """\
device=tke0 alias=tke.overlay vni=1 port=8472 local=10.0.1.11 mac=0a:58:0a:f4:00:00 mtu=1400
address=10.244.0.0/32 cidrs=10.244.0.0/16 bridge=tke-br0 node_cidr=10.244.0.0/24 gateway=10.244.0.1/24
"""
ROUTES = [
    "route replace 10.244.1.0/24 via 10.244.1.0 dev tke0 onlink proto 144",
    "route replace 10.244.2.0/24 via 10.244.2.0 dev tke0 onlink proto 144",
    "route replace 10.244.2.0/24 via 10.244.9.0 dev tke0 onlink proto 144",
    "route replace blackhole 10.244.0.0/24 metric 4096 proto 144",
]
NEIGHBORS = ["neigh replace 10.244.1.0 lladdr 0a:58:0a:f4:01:00 dev tke0 nud permanent"]
ENTRIES = [
    "fdb replace 00:00:00:00:00:00 dev tke0 dst 10.0.1.50 self permanent",
    "fdb replace 00:00:00:00:00:00 dev tke0 dst 10.0.1.51 self permanent",
    "fdb replace 0a:58:0a:f4:01:00 dev tke0 dst 10.0.1.12 self permanent",
    "fdb replace 0a:58:0a:f4:04:00 dev tke0 dst 10.0.1.15 port 4789 vni 7 via eth0 self permanent",
]
API_ROUTE = "route replace 10.8.0.0/24 via 10.0.1.1 dev eth0 proto 144"

PROGRAM = """\
#!/bin/sh
here=${0%/*}
case " $* " in *" -batch "*) for file; do :; done; cat "$file" >>"$here/changes"; exit ;; esac
cat "$here/$(echo "${0##*/} $*" | tr ' /' '_-')" 2>/dev/null && exit
echo "${0##*/} $*" >>"$here/changes" # a change, or a listing that was not recorded
"""


class Node:
    """A host whose programs print what a version has printed, and record what changes something."""

    def __init__(self, root, version):
        self.state, self.run, self.programs = root / "etc", root / "run", root / "programs"
        for directory in (self.state, self.run, self.programs):
            directory.mkdir()
        for name in ("ip", "bridge", "nft"):
            (self.programs / name).write_text(PROGRAM, encoding="utf-8")
            (self.programs / name).chmod(0o755)
        for block in (DATA / f"iproute2-{version}.txt").read_text(encoding="utf-8").split("\n$ ")[1:]:
            command, _newline, output = block.rstrip("\n").partition("\n")
            name = command.replace(" ", "_").replace("/", "-")
            (self.programs / name).write_text(f"{output}\n" if output else "", encoding="utf-8")
        (self.programs / "nft_-s_list_table_inet_tke_overlay").write_text("", encoding="utf-8")
        (self.run / "rules.listing").write_text("", encoding="utf-8")
        (self.run / "rules.nft").write_text("", encoding="utf-8")
        script = RESTORE_SH.replace("PATH=/usr/sbin", f"PATH={self.programs}:/usr/sbin", 1)
        assert script != RESTORE_SH
        self.sysctls = {link: root / f"proc/net/ipv4/conf/{link}/forwarding" for link in ("eth0", "lan1")}
        for path in self.sysctls.values():
            path.parent.mkdir(parents=True)
            path.write_text("1\n", encoding="ascii")
        script = script.replace("/proc/sys/", f"{root}/proc/")
        self.save(settings=SETTINGS.split(), sysctl=[], restore=script.splitlines())
        self.save(**{"rules.nft": [], "route.batch": ROUTES, "neighbor.batch": NEIGHBORS, "fdb.batch": ENTRIES})
        self.save(**{"endpoint.batch": [API_ROUTE]})

    def save(self, **texts):
        for name, lines in texts.items():
            (self.state / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def restore(self):
        """Return what the script prints, and the changes that it makes."""
        done = subprocess.run(
            ["/bin/sh", self.state / "restore"],
            env={"TKE_OVERLAY_RUN": str(self.run)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        changes = self.programs / "changes"
        return done.stdout, changes.read_text(encoding="utf-8").splitlines() if changes.exists() else []


@pytest.fixture(params=VERSIONS)
def node(request, tmp_path):
    return Node(tmp_path, request.param)


def test_a_host_without_difference_is_not_changed(node):
    assert node.restore() == ("", [])


def test_missing_and_surplus_entries_are_found(node):
    more = "neigh replace 10.244.8.0 lladdr 0a:58:0a:f4:08:00 dev tke0 nud permanent"
    node.save(**{"route.batch": ROUTES[1:], "neighbor.batch": [*NEIGHBORS, more], "fdb.batch": ENTRIES[:3]})
    printed, changes = node.restore()
    assert printed == (
        "tke-overlay: restored: route 10.244.1.0/24: surplus; fdb 0a:58:0a:f4:04:00: surplus; "
        "neighbor 10.244.8.0: missing\n"
    )
    assert changes == [
        "route del 10.244.1.0/24 via 10.244.1.0 dev tke0 onlink proto 144",
        "fdb del 0a:58:0a:f4:04:00 dev tke0 dst 10.0.1.15 port 4789 vni 7 via eth0 self",
        more,
    ]


def test_a_foreign_route_is_kept_and_reported(node):
    line = "route replace 10.244.6.0/24 via 10.244.6.0 dev tke0 onlink proto 144"
    node.save(**{"route.batch": sorted([*ROUTES, line])})
    printed, changes = node.restore()
    assert f"a foreign route has the destination of: {line};" in printed
    assert line not in changes


def on_bridge(bridge, number):
    """Return the settings of a node with another of the recorded bridges."""
    settings = SETTINGS.replace("tke-br0", bridge)
    return settings.replace("10.244.0.0/24", f"10.{number}.0.0/24").replace("10.244.0.1/24", f"10.{number}.0.1/24")


def test_pods_come_back_to_the_bridge_and_its_route_too(node):
    """A link between a host and itself, and that of another Pod with a route, are no ports of the bridge."""
    node.save(settings=on_bridge("tke-br1", 245).split())
    printed, changes = node.restore()
    assert printed == (
        "tke-overlay: restored: bridge tke-br1: missing route 10.245.0.0/24, missing ports: 1, such as vethbbbb0002, "
        "hairpin mode off: 1 ports, such as vethbbbb0001\n"
    )
    assert changes == [
        "route replace 10.245.0.0/24 dev tke-br1 src 10.245.0.1 proto kernel scope link",
        "link set vethbbbb0001 type bridge_slave hairpin on",
        "link set vethbbbb0002 master tke-br1 up",
        "link set vethbbbb0002 type bridge_slave hairpin on",
    ]


def test_a_bridge_comes_up_with_its_address(node):
    node.save(settings=on_bridge("tke-br2", 246).split())
    printed, changes = node.restore()
    assert printed == "tke-overlay: restored: bridge tke-br2: down, missing 10.246.0.1/24\n"
    assert changes == ["link set tke-br2 up", "address replace 10.246.0.1/24 brd + dev tke-br2"]


def test_links_with_the_address_or_a_default_route_forward(node):
    for path in node.sysctls.values():
        path.write_text("0\n", encoding="ascii")
    printed, changes = node.restore()
    keys = [f"sysctl net/ipv4/conf/{link}/forwarding: was 0" for link in node.sysctls]
    assert (printed, changes) == (f"tke-overlay: restored: {'; '.join(keys)}\n", [])
    assert {path.read_text(encoding="ascii") for path in node.sysctls.values()} == {"1\n"}


def test_the_route_to_the_load_balancer_is_compared_with_others(node):
    other = API_ROUTE.replace("10.0.1.1", "10.0.1.99")
    node.save(**{"endpoint.batch": [other]})
    assert node.restore() == ("tke-overlay: restored: route 10.8.0.0/24: missing\n", [f"ip {other}"])


def test_differences_of_the_link_are_found(node):
    node.save(settings=SETTINGS.replace("mtu=1400", "mtu=1350").replace("10.0.1.11", "10.0.1.99").split())
    printed, changes = node.restore()
    assert "device tke0: missing local 10.0.1.99, missing mtu 1350" in printed
    assert changes == ["link set tke0 type vxlan local 10.0.1.99", "link set tke0 mtu 1350"]

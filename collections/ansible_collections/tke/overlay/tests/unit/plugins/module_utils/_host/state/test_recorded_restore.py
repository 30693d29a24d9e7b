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
# The host of the recording has no Pod bridge and no default route.
case " $* " in *" show "*) exit 1 ;; esac
echo "${0##*/} $*" >>"$here/changes"
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
            (self.programs / name).write_text(f"{output}\n", encoding="utf-8")
        (self.programs / "nft_-s_list_table_inet_tke_overlay").write_text("", encoding="utf-8")
        (self.run / "rules.listing").write_text("", encoding="utf-8")
        (self.run / "rules.nft").write_text("", encoding="utf-8")
        script = RESTORE_SH.replace("PATH=/usr/sbin", f"PATH={self.programs}:/usr/sbin", 1)
        assert script != RESTORE_SH
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


def test_differences_of_the_link_are_found(node):
    node.save(settings=SETTINGS.replace("mtu=1400", "mtu=1350").replace("10.0.1.11", "10.0.1.99").split())
    printed, changes = node.restore()
    assert "device tke0: missing local 10.0.1.99, missing mtu 1350" in printed
    assert changes == ["link set tke0 type vxlan local 10.0.1.99", "link set tke0 mtu 1350"]

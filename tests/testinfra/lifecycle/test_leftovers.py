# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What flannel has left on one node; `make migration` moves a whole cluster, and counts the packets."""

from __future__ import annotations

import flannel
import pytest

from stories import joined, ledger, on, play, site

testinfra_hosts = ["local://"]

ONLY = ("--limit", "idc2")
REMOVE = ("-e", "overlay_remove_flannel=true")
LEFT = ("-flannel.9", "-chain FLANNEL-FWD", "-FLANNEL_MTU")
LIST = "ip -o link show type vxlan; ip route; nft -s list ruleset; ls /etc/cni/net.d /run/flannel 2>/dev/null; true"


@pytest.fixture
def idc1():
    """Put on idc2 a route of flannel to the node CIDR of idc1, which is returned, and the leftovers."""
    held = ledger()["nodes"]
    node_cidr, underlay = held["idc1"]["node_cidr"], held["idc1"]["underlay"]
    lines = (
        "set -e",
        f"ip link add flannel.9 type vxlan id 9 local {held['idc2']['underlay']} dstport 8472 nolearning",
        f"ip route del {node_cidr}; ip route add {node_cidr} via {underlay} dev eth0",
        "mkdir -p /run/flannel; echo FLANNEL_MTU=1400 > /run/flannel/subnet.env",
        flannel.rules(held["idc2"]["node_cidr"]),
    )
    on("idc2", "\n".join(lines))
    yield node_cidr
    flannel.remove("idc2")
    on("idc2", "ip link del flannel.9 2>/dev/null; sh /etc/tke-overlay/restore")


def test_leftovers_are_named_then_replaced_only_if_asked(idc1):
    before = on("idc2", LIST)
    refused = play("tke.overlay.site", *ONLY)
    assert refused.code != 0
    assert [part for part in (idc1, "overlay_remove_flannel=true") if part not in joined(refused.text)] == []
    diff = site(*ONLY, *REMOVE, "--check", "--diff").text
    assert [word for word in LEFT if word not in diff] == []
    assert on("idc2", LIST) == before
    assert site(*ONLY, *REMOVE).changed() == {"idc2"}
    after = on("idc2", LIST)
    assert f"{idc1} via {idc1.partition('/')[0]} dev tke0" in after
    assert [word for word in ("flannel", "FLANNEL") if word in after] == []
    assert site(*ONLY, *REMOVE).changed() == set()

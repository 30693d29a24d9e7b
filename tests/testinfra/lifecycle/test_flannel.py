# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Test of the adoption of a flannel fleet: the device keeps its name, VTEPs get new MACs, and no packet is lost."""

from __future__ import annotations

import json

import pytest

from day_two import forget_the_ledger, nothing_lost
from stories import INVENTORY, NODES, lab, ledger, play, site

testinfra_hosts = ["local://"]

MACS = {name: f"be:7c:1d:4{number}:5e:0{number}" for number, name in enumerate(NODES)}
"""MACs as the kernel chooses them for a device without a configured MAC, as flannel creates it."""
DEVICE = ("-e", "overlay_device=flannel.1")


def flannel_on(name, held):
    """Return a script that creates the objects of flannel: the device, and three objects for each peer."""
    own = held[name]
    address = own["node_cidr"].partition("/")[0]
    vxlan = f"type vxlan id 1 local {own['underlay']} dstport 8472 nolearning"
    lines = [
        f"link add flannel.1 address {MACS[name]} mtu 1400 {vxlan}",
        f"address add {address}/32 dev flannel.1",
        "link set flannel.1 up",
    ]
    fdb = []
    for peer in sorted(set(NODES) - {name}):
        node_cidr, underlay = held[peer]["node_cidr"], held[peer]["underlay"]
        lines += [
            f"neigh add {node_cidr.partition('/')[0]} lladdr {MACS[peer]} dev flannel.1 nud permanent",
            f"route add {node_cidr} via {node_cidr.partition('/')[0]} dev flannel.1 onlink",
        ]
        fdb.append(f"fdb add {MACS[peer]} dev flannel.1 dst {underlay} self permanent")
    return "\n".join([
        "systemctl disable --now --quiet tke-overlay.timer tke-overlay.service",
        "rm -rf /etc/tke-overlay /etc/systemd/system/tke-overlay.* /etc/systemd/network/10-tke-*",
        "systemctl daemon-reload",
        "nft delete table inet tke_overlay",
        "ip route show type blackhole | sed 's/.*/route del &/' | ip -batch -",
        "ip link del tke0",
        "ip -batch - <<END", *lines, "END",
        "bridge -batch - <<END", *fdb, "END",
    ])  # fmt: skip


@pytest.fixture
def fleet():
    """Replace the overlay below the running Pods by that of flannel; afterwards install it again."""
    held = ledger()["nodes"]
    forget_the_ledger()
    for name in NODES:
        lab("exec", name, "--", "sh", "-ec", flannel_on(name, held))
    yield held
    play("tke.overlay.reset", *DEVICE, "-e", "overlay_reset_confirmed=true")
    forget_the_ledger()
    site()


def link_of(name):
    (link,) = json.loads(lab("exec", name, "--", "ip", "-json", "link", "show", "flannel.1"))
    return link


def test_a_fleet_of_flannel_is_adopted_without_a_lost_packet(fleet, tmp_path):
    pins = {name: {"overlay_node_cidr": held["node_cidr"]} for name, held in fleet.items()}
    pinned = tmp_path / "pinned.yml"
    pinned.write_text(json.dumps({"all": {"hosts": pins}}))
    before = {name: link_of(name) for name in NODES}
    with nothing_lost():
        done = site(*DEVICE, inventories=(INVENTORY, pinned))
    assert done.changed() == set(NODES)
    for name in NODES:
        after = link_of(name)
        assert before[name]["address"] == MACS[name]
        assert after["address"].startswith("0a:58:0a:f4:")
        assert after["ifindex"] == before[name]["ifindex"], "the device was kept"
        listed = lab("exec", name, "--", "sh", "-c", "bridge fdb show dev flannel.1; ip neigh; nft list tables")
        assert "be:7c:1d" not in listed
        assert "tke_overlay_macs" not in listed
    assert site(*DEVICE, inventories=(INVENTORY, pinned)).changed() == set()

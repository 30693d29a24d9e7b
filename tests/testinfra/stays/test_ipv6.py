# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The fleet over an IPv6 underlay: the change to it, its operation, a reboot, and the change back."""

from __future__ import annotations

import concurrent.futures
import json
import re

import pytest

from stories import INVENTORY, LEDGER, NODES, ROOT, joined, lab, ledger, matrix, play, site, state

testinfra_hosts = ["local://"]

BOTH = (INVENTORY, ROOT / "inventories/lab_ipv6/hosts.yml")
MTU = 1450 - 70  # that of the connection to the data centre, less the overhead of VXLAN over IPv6
BURST = 1_000
SYNC = "lab-pod sync pod-1 pod-2"

FORGE = """
import socket, sys
target, packet, count = sys.argv[1], bytes.fromhex(sys.argv[2]), int(sys.argv[3])
sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for number in range(count):
    sender.sendto(packet, (target, 8472))
"""


def on(name, script):
    return lab("exec", name, "--", "sh", "-c", script)


def everywhere(script):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: on(name, script), NODES))


def restored(name):
    """Run the restore script and return its output."""
    return on(name, "sh /etc/tke-overlay/restore")


def kernel(name):
    """Return the part of a host's state that does not depend on the numbers of its links."""
    keep = ("ip -json neigh", "bridge -json fdb", "nft -j list ruleset")
    return {line for line in state(name) if line.startswith(keep)}


def dropped(name):
    text = on(name, "nft list counter inet tke_overlay not_a_peer")
    return int(re.search(r"packets (\d+)", text)[1])


def full(pairs):
    return [pair for pair in pairs if not (pair["small"] and pair["full"])] == []


@pytest.fixture(scope="module", autouse=True)
def over_ipv6():
    """Move all nodes to their IPv6 addresses in one run, and back after the tests."""
    assert site(inventories=BOTH).changed() == set(NODES)
    everywhere(SYNC)
    yield
    assert site().changed() == set(NODES)
    everywhere(SYNC)
    assert "[" not in on("cloud1", "ss -Hanu 'sport = :8472'"), "an IPv6 socket is left"


def test_pods_reach_each_other_with_full_packets():
    assert {held["underlay"] for held in ledger()["nodes"].values()} == {
        "fd00:10:0:1::11",
        "fd00:10:0:1::12",
        "fd00:192:168:1::11",
        "fd00:192:168:1::12",
    }
    pairs = matrix()
    assert len(pairs) == 64
    assert full(pairs)
    assert {pair["mtu"] for pair in pairs} == {MTU}, "matrix() sends packets of this size"
    # From the host, whose own link has a larger MTU: one more byte does not fit.
    pod = json.loads(on("cloud1", "lab-pod list"))["pod-1"]
    ping = "ping -c 1 -W 2 -M do -I tke0 -s {} {} 2>&1 || true"
    assert "1 received" in on("idc1", ping.format(MTU - 28, pod))
    assert "essage too long" in on("idc1", ping.format(MTU - 27, pod)), "in the words of every version of ping"
    assert site(inventories=BOTH).changed() == set()


def test_rejects_a_node_of_the_other_ip_version(tmp_path):
    more = tmp_path / "more.yml"
    more.write_text("cloud: {hosts: {cloud2: {overlay_underlay_ip: 10.0.1.12}}}\n")
    before = LEDGER.read_bytes()
    done = play("tke.overlay.site", inventories=(*BOTH, more))
    assert done.code != 0
    assert re.search(r"IPv4 \(node cloud2\) and IPv6 \(node \w+\)", joined(done.text))
    assert LEDGER.read_bytes() == before


def test_only_peers_may_send_to_the_tunnel():
    before = dropped("cloud1")
    lab("exec", "api1", "--", "python3", "-c", FORGE, "fd00:10:0:1::11", "08" + "00" * 60, str(BURST))
    assert dropped("cloud1") - before == BURST


BREAKAGES = {
    "ip link del tke0": "device tke0: missing",
    "ip link set tke0 type vxlan local fd00:192:168:1::99": "missing local fd00:192:168:1::11",
    "ip link set tke0 type vxlan remote fd00::77": "surplus default destination",
    "bridge fdb del 0a:58:0a:f4:00:00 dev tke0 self": "fdb 0a:58:0a:f4:00:00: missing",
    "bridge fdb replace 0a:58:0a:f4:00:00 dev tke0 dst fd00::66 self permanent": "fdb 0a:58:0a:f4:00:00: surplus",
    "nft delete element inet tke_overlay peers6 '{ fd00:10:0:1::11 }'": "rules: changed",
    "ip address add fd00:44::1/128 dev tke0": "surplus fd00:44::1/128",
}


def test_the_restore_script_repairs_ipv6_entries():
    before = kernel("idc1")
    assert restored("idc1") == ""
    for line, words in BREAKAGES.items():
        assert words in on("idc1", f"{line}; sh /etc/tke-overlay/restore"), line
        assert restored("idc1") == ""
        assert kernel("idc1") == before, line


def test_comes_back_after_a_reboot_of_all_nodes():
    lab("reboot", *NODES)
    everywhere(f"sh /etc/tke-overlay/restore; {SYNC}")  # the lock makes it wait for the service of the boot
    assert full(matrix())
    assert site(inventories=BOTH).changed() == set()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Forged packets from a host in the same L2 network that is not a peer, and from the router: all dropped and counted.

The packets stay in the lab's namespaces, and their number is limited.
"""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from stories import NODES, lab, ledger, matrix
from tkelab.model import ROUTER

testinfra_hosts = ["local://"]

BURST = 10_000

SEND = """
import socket, sys
target, port, packet, count = sys.argv[1], int(sys.argv[2]), bytes.fromhex(sys.argv[3]), int(sys.argv[4])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if len(sys.argv) > 5:
    sender.setsockopt(socket.SOL_IP, 19, 1)  # IP_TRANSPARENT: allows a foreign source address
    sender.bind((sys.argv[5], 0))
for number in range(count):
    sender.sendto(packet, (target, port))
"""


def from_neighbour(*arguments):
    """Send from api1, which is in the network of the cloud nodes but is not a node."""
    lab("exec", "api1", "--", "python3", "-c", SEND, *arguments)


def from_router(*arguments):
    subprocess.run(["ip", "netns", "exec", ROUTER, "python3", "-c", SEND, *arguments], check=True)


ATTACKERS = {
    "a neighbour in the L2": (from_neighbour, "cloud1"),
    "the router, to the data centre": (from_router, "idc1"),
    "the router, to the cloud": (from_router, "cloud1"),
}


@pytest.fixture(params=ATTACKERS)
def attack(request):
    """Give the attacker a route to a host; return the function that sends, the host, and its entry in the ledger."""
    send, name = ATTACKERS[request.param]
    held = ledger()["nodes"][name]
    add = ["ip", "route", "replace", held["node_cidr"], "via", held["underlay"]]
    delete = ["ip", "route", "del", held["node_cidr"]]
    there = (lab, "exec", "api1", "--") if send is from_neighbour else (None,)

    def run(command):
        if there[0]:
            lab(*there[1:], *command)
        else:
            subprocess.run(["ip", "netns", "exec", ROUTER, *command], check=True)

    run(add)
    yield send, name, held
    run(delete)


def counters(name):
    rows = json.loads(lab("exec", name, "--", "nft", "-j", "list", "counters", "table", "inet", "tke_overlay"))[
        "nftables"
    ]
    return {row["counter"]["name"]: row["counter"]["packets"] for row in rows if "counter" in row}


@pytest.fixture(scope="module", autouse=True)
def unrouted_before():
    """What the counters were before the attacks: another scenario can have removed routes."""
    return {name: counters(name)["unrouted"] for name in NODES}


def received(name, pod=""):
    """Return the number of packets that a host's VXLAN device has received, or of IPv4 packets of one of its Pods."""
    if not pod:
        text = lab("exec", name, "--", "cat", "/proc/net/dev")
        return int(re.search(r"^\s*tke0:\s*\d+\s+(\d+)", text, re.MULTILINE)[1])
    text = lab("exec", name, "--", "ip", "netns", "exec", pod, "cat", "/proc/net/snmp")
    names, values = (line.split() for line in text.splitlines() if line.startswith("Ip:"))
    return int(values[names.index("InReceives")])


def pod_address(name):
    return json.loads(lab("exec", name, "--", "lab-pod", "list"))["pod-1"]


def vxlan(mac):
    """Return a VXLAN packet with the correct VNI and the MAC of a VTEP, and with an incomplete IPv4 packet inside."""
    inner = bytes.fromhex(mac.replace(":", "")) + bytes.fromhex("0a580af4fe00") + b"\x08\0" + b"\x45" + b"\0" * 39
    return (b"\x08\0\0\0" + (1 << 8).to_bytes(4, "big") + inner).hex()


def mac_of(node_cidr):
    return "0a:58:" + ":".join(f"{int(byte):02x}" for byte in node_cidr.split("/")[0].split("."))


def difference(before, after):
    return {key: after[key] - before[key] for key in before if after[key] != before[key]}


def test_drops_and_counts_a_forged_tunnel_packet(attack):
    send, name, held = attack
    before, device, pod = counters(name), received(name), received(name, "pod-1")
    send(held["underlay"], "8472", vxlan(mac_of(held["node_cidr"])), str(BURST))
    assert difference(before, counters(name)) == {"not_a_peer": BURST}
    assert (received(name), received(name, "pod-1")) == (device, pod)


@pytest.mark.parametrize("which", ["Pod", "VTEP"])
def test_drops_and_counts_a_plain_packet_to_the_overlay(attack, which):
    send, name, held = attack
    target = pod_address(name) if which == "Pod" else held["node_cidr"].partition("/")[0]
    before, pod = counters(name), received(name, "pod-1")
    send(target, "53", b"plain".hex(), str(BURST))
    assert difference(before, counters(name)) == {"to_pods": BURST}
    assert received(name, "pod-1") == pod


def test_drops_and_counts_a_packet_with_a_pod_as_source(attack):
    send, name, held = attack
    before = counters(name)
    send(held["underlay"], "53", b"plain".hex(), str(BURST), "10.244.77.7")
    assert difference(before, counters(name)) == {"from_pods": BURST}


def test_drops_and_counts_tunnel_packets_from_a_pod():
    """A Pod must not send to the VTEP of another node with the address of its own host."""
    target = ledger()["nodes"]["cloud2"]
    here, there = counters("cloud1"), counters("cloud2")
    packet = vxlan(mac_of(target["node_cidr"]))
    pod = ("ip", "netns", "exec", "pod-1", "python3", "-c", SEND)
    lab("exec", "cloud1", "--", *pod, target["underlay"], "8472", packet, str(BURST))
    assert difference(here, counters("cloud1")) == {"forwarded_to_vtep": BURST}
    assert difference(there, counters("cloud2")) == {}


def test_pods_still_reach_each_other(unrouted_before):
    assert all(pair["small"] and pair["full"] for pair in matrix())
    assert {name: counters(name)["unrouted"] for name in NODES} == unrouted_before

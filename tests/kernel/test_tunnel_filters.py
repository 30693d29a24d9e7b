# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Foreign firewall rules that can drop the probes of other nodes, as nft and iptables list them on the real kernel."""

from __future__ import annotations

import shutil
import socket
import struct

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import RulesSpec, rules_text
from ansible_collections.tke.overlay.plugins.module_utils._host.node.tunnel_filters import (
    TunnelEnds,
    tunnel_filters,
    tunnels_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.evidence import read_counters
from foreign_rules import FIREWALLD

ENDS = TunnelEnds("tke0", 8472, 8471)
BASE = "type filter hook input priority filter; policy {};"
ACCEPTED = {
    "state": "ct state established,related accept",
    "ping": "icmp type echo-request accept",
    "tunnel": "udp dport 8472 accept",
    "ssh": "tcp dport 22 accept",
}


def load(run, text):
    code, _out, errors = run(["nft", "-f", "-"], text)
    assert code == 0, errors


def table(*rules, policy="drop", name="ip guard"):
    body = "\n".join(f"\t\t{rule}" for rule in rules)
    return f"table {name} {{\n\tchain INPUT {{\n\t\t{BASE.format(policy)}\n{body}\n\t}}\n}}\n"


CLOSED = "chain INPUT of the nftables table ip guard drops what it does not name, such as "

RULE = "a rule in chain INPUT of the nftables table ip guard: "
FORWARD = table('iifname "tke0" drop').replace("hook input", "hook forward")
UFW = table("jump ufw-before-input", name="ip filter").replace("\tchain", "\tchain ufw-before-input {\n\t}\n\tchain", 1)

CASES = {
    "as ufw": (table(*ACCEPTED.values()), [(("tcp",), f"{CLOSED}TCP port 8471 on tke0")]),
    "without ping": (
        table(ACCEPTED["state"], ACCEPTED["tunnel"]),
        [(("ping", "tcp"), f"{CLOSED}ICMP echo requests and TCP port 8471 on tke0")],
    ),
    "without the tunnel": (table(ACCEPTED["ping"]), [(("tunnel",), f"{CLOSED}UDP port 8472")]),
    "opened by device": (table(ACCEPTED["tunnel"], 'iifname "tke0" accept'), []),
    "opened by port": (table(ACCEPTED["tunnel"], ACCEPTED["ping"], "tcp dport 8471 accept"), []),
    "closed by its last rule": (
        table(ACCEPTED["tunnel"], ACCEPTED["ping"], "counter reject", policy="accept"),
        [(("tcp",), f"{CLOSED}TCP port 8471 on tke0")],
    ),
    "closed by its last rule, which logs": (
        table(ACCEPTED["tunnel"], ACCEPTED["ping"], 'log prefix "in: " counter drop comment "rest"', policy="accept"),
        [(("tcp",), f"{CLOSED}TCP port 8471 on tke0")],
    ),
    "closed by another chain": (
        table(ACCEPTED["tunnel"], ACCEPTED["ping"], "jump rest", policy="accept").replace(
            "\tchain INPUT", "\tchain rest {\n\t\tdrop\n\t}\n\tchain INPUT", 1
        ),
        [(("tcp",), f"{CLOSED}TCP port 8471 on tke0")],
    ),
    "a table that the kernel passes over": (table().replace("{\n", "{\n\tflags dormant;\n", 1), []),
    "open": (table(*ACCEPTED.values(), policy="accept"), []),
    "a drop of other packets": (table("tcp dport 23 drop", "udp dport 847 drop", policy="accept"), []),
    "a rule for the tunnel": (
        table("ip saddr 10.0.1.12 udp dport 8472 counter drop", policy="accept"),
        [(("tunnel",), f"{RULE}ip saddr 10.0.1.12 udp dport 8472 drop")],
    ),
    "a rule for several ports": (
        table("tcp dport { 22, 8471 } reject with tcp reset", policy="accept"),
        [
            (
                ("tcp",),
                "a rule in chain INPUT of the nftables table ip guard: tcp dport { 22, 8471 } reject with tcp reset",
            )
        ],
    ),
    "a rule for the device": (
        table('iifname "tke0" drop', 'iifname "tke0" ip protocol icmp drop', 'oifname "tke0" drop', policy="accept"),
        [
            (("ping", "tcp"), f'{RULE}iifname "tke0" drop'),
            (("ping",), f'{RULE}iifname "tke0" ip protocol icmp drop'),
        ],
    ),
    "rules for forwarded packets": (
        FORWARD,
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_filters_in_the_way_of_probes(run, case):
    text, expected = CASES[case]
    load(run, text)
    assert [(each.drops, each.text) for each in tunnel_filters(ENDS, run)] == expected


def test_without_foreign_rules_nothing_is_in_the_way(run):
    load(run, rules_text(RulesSpec("tke0", "tke-br0", 8472, 1450, "10.244.0.0/24", ["10.244.0.0/16"], ["10.0.1.12"])))
    assert tunnel_filters(ENDS, run) == []


WIREGUARD = TunnelEnds("tke-wg0", 51820, 8471, "wireguard")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["udp dport { 51820, 51821 } accept", 'iifname "tke-wg0" accept'], []),
        ([ACCEPTED["tunnel"], 'iifname "tke0" accept'], [(("tunnel",), f"{CLOSED}UDP port 51820", "wireguard")]),
        (
            ["udp dport 51820 accept", ACCEPTED["ping"], 'iifname "tke0" accept'],
            [(("tcp",), f"{CLOSED}TCP port 8471 on tke-wg0", "wireguard")],
        ),
    ],
)
def test_filters_in_the_way_of_wireguard(run, rules, expected):
    load(run, table(*rules))
    assert [(each.drops, each.text, each.transport) for each in tunnel_filters(WIREGUARD, run)] == expected


def document(links):
    fleet = "a 10.244.0.0/24 10.0.1.11 cloud\nb 10.244.1.0/24 10.0.2.11 idc\nc 10.244.2.0/24 10.0.3.11 shop\n"
    return {"node": "a", "device": "tke0", "port": 8472, "mtu": 1450, "fleet": fleet, **links}


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({}, [ENDS]),
        ({"links": "cloud cloud vxlan 1450\ncloud idc direct 1500\nidc shop wireguard 1440\n"}, [ENDS]),
        ({"links": "cloud cloud direct 1500\n"}, []),
        (
            {"links": "cloud cloud vxlan 1450\ncloud idc wireguard 1440\n", "wireguard_generation": 0},
            [ENDS, WIREGUARD],
        ),
        (
            {"links": "cloud idc wireguard 1440\n", "wireguard_generation": 3},
            [WIREGUARD._replace(device="tke-wg1", port=51821)],
        ),
    ],
)
def test_the_tunnels_of_a_host_are_those_of_its_links(links, expected):
    given = {**document(links), **({"wireguard_port": 51820} if "wireguard_generation" in links else {})}
    assert tunnels_of(given, 8471) == expected


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        (
            UFW,
            "ufw allow 8472/udp && ufw allow in on tke0",
        ),
        (
            table("accept", name="ip filter"),
            "iptables -I INPUT -p udp --dport 8472 -j ACCEPT && iptables -I INPUT -i tke0 -j ACCEPT",
        ),
        (table("accept", name="inet guard"), "let it accept UDP port 8472 from the peers, and packets from tke0"),
    ],
)
def test_the_remedy_is_that_of_the_program(run, text, remedy):
    load(run, text)
    (found,) = tunnel_filters(ENDS, run)
    assert found.remedy == remedy


def test_firewalld_is_opened_by_its_own_commands(run):
    closed = FIREWALLD.replace("tke0", "x0").replace("8472", "1")
    load(run, closed)
    found = tunnel_filters(ENDS, run)
    assert found
    assert "firewall-cmd --permanent --zone=trusted --add-interface=tke0" in found[0].remedy
    assert found[0].remedy.endswith("firewall-cmd --reload")


@pytest.mark.parametrize("ending", [["-P", "INPUT", "DROP"], ["-A", "INPUT", "-j", "REJECT"]])
def test_the_legacy_iptables_are_read(run, ending):
    program = shutil.which("iptables-legacy", path="/usr/sbin:/sbin") or pytest.fail("install iptables")
    for line in (["-A", "INPUT", "-p", "udp", "--dport", "8472", "-j", "ACCEPT"], ending):
        assert run([program, *line])[0] == 0
    (found,) = tunnel_filters(ENDS, run)
    assert found.drops == ("ping", "tcp")
    assert "iptables-legacy -I INPUT -i tke0 -j ACCEPT" in found.remedy


@pytest.mark.usefixtures("run")
def test_segments_with_wrong_checksums_are_counted(run):
    before = read_counters(run)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sender:
        segment = struct.pack("!HHIIBBHHH", 1000, 8471, 1, 0, 0x50, 2, 1000, 0x1234, 0)
        sender.sendto(segment, ("127.0.0.1", 0))
    after = read_counters(run)
    assert after["wrong_checksums"] == before["wrong_checksums"] + 1
    assert after["not_a_peer"] == before["not_a_peer"] == 0

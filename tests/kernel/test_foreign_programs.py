# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Foreign firewalls and kube-proxy on a node: their rules stay, the overlay works, closed firewalls are reported."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import foreign_firewalls
from ansible_collections.tke.overlay.plugins.module_utils._host.node.foreign_firewalls import blocking_firewalls
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import planned_network
from breakages import PEERS, document
from foreign_rules import DOCKER, FIREWALLD, FIREWALLD_AS_INSTALLED, KUBE_IPTABLES, KUBE_NFTABLES
from world import BURST, HOST, NEIGHBOUR, PEER, POD, burst, counted, frame, silent, vxlan

NETWORK = planned_network(document())


class ForeignRules(NamedTuple):
    """The rules, the program that loads them, and the commands by which an administrator lets Pods through."""

    program: str
    text: str
    opening: tuple[str, ...] = ()


def opening(program, chain):
    return tuple(f"{program} -w -I {chain} {option} tke-br0 -j ACCEPT" for option in ("-i", "-o"))


KUBE_PROXY = {
    "kube-proxy, iptables (nft)": ForeignRules("iptables-nft-restore --noflush", KUBE_IPTABLES),
    "kube-proxy, iptables (legacy)": ForeignRules("iptables-legacy-restore --noflush", KUBE_IPTABLES),
    "kube-proxy, nftables": ForeignRules("nft -f -", KUBE_NFTABLES),
}
ALL = {
    **KUBE_PROXY,
    "Docker, iptables (nft)": ForeignRules(
        "iptables-nft-restore --noflush", DOCKER, opening("iptables-nft", "DOCKER-USER")
    ),
    "Docker, iptables (legacy)": ForeignRules(
        "iptables-legacy-restore --noflush", DOCKER, opening("iptables-legacy", "DOCKER-USER")
    ),
    "firewalld": ForeignRules("nft -f -", FIREWALLD),
}


def load(run, foreign):
    assert run(foreign.program.split(), foreign.text)[0] == 0
    for line in foreign.opening:
        assert run(line.split())[0] == 0


@pytest.fixture(params=["before", "after"])
def load_foreign(world, request):
    """Return a function that loads foreign rules before or after the overlay's, and checks that they stay."""

    def listing():
        _code, out, _errors = world.run(["nft", "-s", "list", "ruleset"])
        foreign_tables = [text for text in re.split(r"^(?=table )", out, flags=re.M) if "tke_overlay" not in text]
        _code, legacy, _errors = world.run(["iptables-legacy-save"])
        return foreign_tables, re.sub(r"^#.*|\[\d+:\d+\]", "", legacy, flags=re.M)

    def load_and_converge(foreign):
        if request.param == "before":
            world.run(["nft", "delete", "table", "inet", "tke_overlay"])
        load(world.run, foreign)
        before = listing()
        node.converge(document(), world.run, check=False)
        node.converge(document(PEERS[:3]), world.run, check=False)
        assert listing() == before
        assert not node.converge(document(PEERS[:3]), world.run, check=False).changed
        return before, listing

    return load_and_converge


@pytest.mark.parametrize("foreign", ALL)
def test_pods_work_beside_foreign_rules_which_stay(world, load_foreign, foreign):
    before, listing = load_foreign(ALL[foreign])
    assert_pod_leaves_as_its_host(world)
    with world.socket("pod", POD, 53) as pod:
        with world.socket("neighbour", PEER) as peer:
            peer.sendto(vxlan(1, frame("10.244.1.7", POD)), (HOST, 8472))
            assert pod.recv(100) == b"evil", "out of the tunnel"
        with world.socket("neighbour", NEIGHBOUR) as attacker:
            burst(attacker, (HOST, 8472), vxlan(1, frame("10.244.1.7", POD)))
            burst(attacker, (POD, 53))
        assert silent(pod)
    assert counted(world.run)["not_a_peer"] == counted(world.run)["to_pods"] == BURST
    if foreign in KUBE_PROXY:
        assert_services_work_and_one_program_masquerades(world, foreign)
    assert listing() == before
    assert blocking_firewalls(NETWORK, world.run) == []


def assert_pod_leaves_as_its_host(world, target=NEIGHBOUR):
    with world.socket("neighbour", NEIGHBOUR, 53) as server, world.socket("pod", POD) as pod:
        pod.sendto(b"question", (target, 53))
        _data, source = server.recvfrom(100)
        assert source[0] == HOST
        server.sendto(b"answer", source)
        assert pod.recvfrom(100) == (b"answer", (target, 53))


def masqueraded(world, foreign):
    """Return the number of connections that kube-proxy has masqueraded."""
    commands = {
        "kube-proxy, iptables (nft)": "iptables-nft -w -t nat -vxnL KUBE-POSTROUTING",
        "kube-proxy, iptables (legacy)": "iptables-legacy -w -t nat -vxnL KUBE-POSTROUTING",
        "kube-proxy, nftables": "nft list chain ip kube-proxy masquerading",
    }
    _code, out, _errors = world.run(commands[foreign].split())
    (rule,) = [line for line in out.splitlines() if re.search("masquerade", line, re.I) and re.search(r"\d", line)]
    return int(re.search(r"packets (\d+)|^\s*(\d+)", rule)[0].split()[-1])


def assert_services_work_and_one_program_masquerades(world, foreign):
    def source_seen_by(server, where, address, target):
        """Return the source address that the server sees; the answer must return to the client."""
        with world.socket(where, address) as client:
            client.sendto(b"question", target)
            _data, source = server.recvfrom(100)
            server.sendto(b"answer", source)
            assert client.recvfrom(100) == (b"answer", target)
            return source[0]

    with world.socket("pod", POD, 53) as server:
        assert source_seen_by(server, "neighbour", NEIGHBOUR, (HOST, 30053)) == "10.244.0.1", "a NodePort from outside"
        assert masqueraded(world, foreign) == 1
        assert source_seen_by(server, "host", HOST, ("10.244.255.10", 53)) == "10.244.0.1", "a Service from the node"
        assert masqueraded(world, foreign) == 2
    assert_pod_leaves_as_its_host(world, target="10.244.255.11")
    assert masqueraded(world, foreign) == 2, "this collection masqueraded it"


def table(family, hook, *rules):
    return "\n".join([f"table {family} mine {{\n chain own_forward {{\n type filter {hook}", *rules, " }\n}\n"])


REST = "table inet mine {{\n chain rest {{\n {} \n}}\n}}\n"
LAST_RULES = {
    "a last rule that counts": 'counter drop comment "default deny"',
    "a last rule that logs": 'log prefix "drop: " level info drop',
    "a last rule that logs, counts and rejects": "log group 2 counter reject with icmpx admin-prohibited",
    "a last rule that leads to such a chain": "jump rest",
}

CLOSED = {
    **{
        case: (
            ForeignRules("nft -f -", REST.format("counter drop") + table("inet", "hook forward priority 5;", rule)),
            "chain own_forward of the nftables table inet mine",
            "Let it accept packets from the bridge and to the bridge",
        )
        for case, rule in LAST_RULES.items()
    },
    "a chain with a comment": (
        ForeignRules("nft -f -", table("inet", 'hook forward priority 5; policy drop; comment "closed";')),
        "chain own_forward of the nftables table inet mine",
        "Let it accept packets from the bridge and to the bridge",
    ),
    "a last rule with a comment, legacy": (
        ForeignRules(
            "iptables-legacy-restore --noflush",
            '*filter\n-A FORWARD -m comment --comment "no more" -j DROP\nCOMMIT\n',
        ),
        "chain FORWARD of iptables-legacy",
        "iptables-legacy -I FORWARD -o tke-br0 -j ACCEPT",
    ),
    "a rule about the bridge that logs": (
        ForeignRules("nft -f -", table("inet", "hook forward priority 5;", 'oifname "tke-br0" log prefix "x" drop')),
        "a rule of chain own_forward of the nftables table inet mine drops packets of Pods: oifname",
        "Remove or narrow this rule",
    ),
    "Docker": (
        ForeignRules("iptables-nft-restore --noflush", DOCKER),
        "chain FORWARD of the nftables table ip filter",
        "iptables -I DOCKER-USER -i tke-br0 -j ACCEPT && iptables -I DOCKER-USER -o tke-br0 -j ACCEPT",
    ),
    "Docker, legacy": (
        ForeignRules("iptables-legacy-restore --noflush", DOCKER),
        "chain FORWARD of iptables-legacy",
        "iptables-legacy -I DOCKER-USER -i tke-br0 -j ACCEPT",
    ),
    "iptables, a last rule": (
        ForeignRules("iptables-legacy-restore --noflush", "*filter\n-A FORWARD -j REJECT\nCOMMIT\n"),
        "chain FORWARD of iptables-legacy",
        "iptables-legacy -I FORWARD -o tke-br0 -j ACCEPT",
    ),
    "firewalld": (
        ForeignRules("nft -f -", FIREWALLD_AS_INSTALLED),
        "chain filter_FORWARD of the nftables table inet firewalld",
        " && ".join(
            [
                "firewall-cmd --permanent --zone=trusted --add-interface=tke-br0",
                "firewall-cmd --permanent --zone=trusted --add-interface=tke0",
                "firewall-cmd --permanent --add-port=8472/udp",
                "firewall-cmd --reload",
            ]
        ),
    ),
    "another program": (
        ForeignRules("nft -f -", table("inet", "hook forward priority 5; policy drop;")),
        "chain own_forward of the nftables table inet mine",
        "Let it accept packets from the bridge and to the bridge",
    ),
    "ufw": (
        ForeignRules(
            "iptables-nft-restore --noflush",
            "*filter\n:FORWARD DROP [0:0]\n:ufw-before-forward - [0:0]\n-A FORWARD -j ufw-before-forward\nCOMMIT\n",
        ),
        "chain FORWARD of the nftables table ip filter",
        "ufw route allow in on tke-br0 && ufw route allow out on tke-br0",
    ),
    "a rule about the bridge": (
        ForeignRules("nft -f -", table("inet", "hook forward priority 5;", 'oifname "tke-br0" counter drop')),
        "a rule of chain own_forward of the nftables table inet mine drops packets of Pods: oifname",
        "Remove or narrow this rule",
    ),
    "a rule about the bridge before routing": (
        ForeignRules("nft -f -", table("ip", "hook prerouting priority -300;", 'iifname "tke0" drop')),
        "a rule of chain own_forward of the nftables table ip mine drops packets of Pods: iifname",
        "Remove or narrow this rule",
    ),
    "a rule about the container CIDR, legacy": (
        ForeignRules("iptables-legacy-restore --noflush", "*filter\n-A FORWARD -d 10.244.0.0/16 -j DROP\nCOMMIT\n"),
        "a rule of chain FORWARD of iptables-legacy drops packets of Pods: -A FORWARD -d 10.244.0.0/16 -j DROP",
        "Remove or narrow this rule",
    ),
    "packets on a bridge": (
        ForeignRules("nft -f -", table("bridge", "hook output priority 5; policy drop;")),
        "chain own_forward of the nftables table bridge mine",
        "Let it accept packets from the bridge and to the bridge",
    ),
}


@pytest.mark.parametrize("case", CLOSED)
def test_reports_a_closed_firewall_and_how_to_open_it(world, case):
    foreign, what, advice = CLOSED[case]
    assert blocking_firewalls(NETWORK, world.run) == []
    load(world.run, foreign)
    (warning,) = blocking_firewalls(NETWORK, world.run)
    assert warning.text.startswith(what)
    assert advice in warning.remedy
    with world.socket("neighbour", PEER) as peer, world.socket("pod", POD, 53) as pod:
        peer.sendto(vxlan(1, frame("10.244.1.7", POD)), (HOST, 8472))
        assert silent(pod), "the firewall really drops the packet"


OPEN = {
    "a policy of accept": table("inet", "hook forward priority 5; policy accept;"),
    "another hook": table("inet", "hook input priority 5; policy drop;"),
    "a table of IPv6": table("ip6", "hook forward priority 5; policy drop;"),
    "the Pods by address": table("ip", "hook forward priority 5; policy drop;", "ip daddr 10.244.0.0/16 accept"),
    "a policy before routing": table("ip", "hook prerouting priority -300; policy drop;", "accept"),
    "a policy for Pods": table("ip", "hook forward priority 5;", "ip daddr 10.244.0.0/16 tcp dport 25 drop"),
    "a table that the kernel passes over": "table inet mine {\n flags dormant;\n chain x {\n"
    ' type filter hook forward priority 5; policy drop;\n iifname "tke0" drop\n}\n}\n',
    "a last rule that leads to an open chain": REST.format("accept")
    + table("inet", "hook forward priority 5;", "jump rest"),
    "a drop of some": table("ip", "hook forward priority 5;", "ip saddr 192.0.2.1 drop"),
}


@pytest.mark.parametrize("case", OPEN)
def test_does_not_report_an_open_firewall(run, case):
    load(run, ForeignRules("nft -f -", OPEN[case]))
    assert blocking_firewalls(NETWORK, run) == []


def test_does_not_run_iptables_legacy_unless_it_is_in_use(run, monkeypatch):
    """Running it loads its tables into the kernel."""
    monkeypatch.setattr(foreign_firewalls, "LEGACY_TABLES", "/nonexistent")

    def checked(command, text=None):
        assert command[0] != foreign_firewalls.LEGACY_PROGRAM
        return run(command, text)

    assert blocking_firewalls(NETWORK, checked) == []

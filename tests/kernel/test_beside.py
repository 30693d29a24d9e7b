# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Beside the rules of others: theirs stay as they are, ours do their work, and what cannot work is told."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import foreign_firewalls as forward
from ansible_collections.tke.overlay.plugins.module_utils._host.node.foreign_firewalls import blocking_firewalls
from breakages import PEERS, document
from foreign_rules import DOCKER, FIREWALLD, FIREWALLD_AS_INSTALLED, KUBE_IPTABLES, KUBE_NFTABLES
from world import BURST, HOST, NEIGHBOUR, PEER, POD, burst, counted, frame, silent, vxlan


class Theirs(NamedTuple):
    """What is loaded, by which program, and by which commands an administrator then lets Pods pass."""

    program: str
    text: str
    opening: tuple[str, ...] = ()


def opening(program, chain):
    return tuple(f"{program} -w -I {chain} {way} tke-br0 -j ACCEPT" for way in ("-i", "-o"))


KUBE_PROXY = {
    "kube-proxy, iptables (nft)": Theirs("iptables-nft-restore --noflush", KUBE_IPTABLES),
    "kube-proxy, iptables (legacy)": Theirs("iptables-legacy-restore --noflush", KUBE_IPTABLES),
    "kube-proxy, nftables": Theirs("nft -f -", KUBE_NFTABLES),
}
ALL = {
    **KUBE_PROXY,
    "Docker, iptables (nft)": Theirs("iptables-nft-restore --noflush", DOCKER, opening("iptables-nft", "DOCKER-USER")),
    "Docker, iptables (legacy)": Theirs(
        "iptables-legacy-restore --noflush", DOCKER, opening("iptables-legacy", "DOCKER-USER")
    ),
    "firewalld": Theirs("nft -f -", FIREWALLD),
}


def load(run, theirs):
    assert run(theirs.program.split(), theirs.text)[0] == 0
    for line in theirs.opening:
        assert run(line.split())[0] == 0


@pytest.fixture(params=["before", "after"])
def beside(world, request):
    """Loads the rules of somebody else before ours or after them; says how to see what of them is there."""

    def listing():
        _code, out, _errors = world.run(["nft", "-s", "list", "ruleset"])
        ours_left_out = [text for text in re.split(r"^(?=table )", out, flags=re.M) if "tke_overlay" not in text]
        _code, legacy, _errors = world.run(["iptables-legacy-save"])
        return ours_left_out, re.sub(r"^#.*|\[\d+:\d+\]", "", legacy, flags=re.M)

    def begin(theirs):
        if request.param == "before":
            world.run(["nft", "delete", "table", "inet", "tke_overlay"])
        load(world.run, theirs)
        before = listing()
        node.converge(document(), world.run, check=False)
        node.converge(document(PEERS[:3]), world.run, check=False)
        assert listing() == before
        assert not node.converge(document(PEERS[:3]), world.run, check=False).changed
        return before, listing

    return begin


@pytest.mark.parametrize("theirs", ALL)
def test_pods_work_beside_the_rules_of_others_which_stay_as_they_are(world, beside, theirs):
    before, listing = beside(ALL[theirs])
    leaves_as_its_host(world)
    with world.socket("pod", POD, 53) as pod:
        with world.socket("neighbour", PEER) as peer:
            peer.sendto(vxlan(1, frame("10.244.1.7", POD)), (HOST, 8472))
            assert pod.recv(100) == b"evil", "out of the tunnel"
        with world.socket("neighbour", NEIGHBOUR) as attacker:
            burst(attacker, (HOST, 8472), vxlan(1, frame("10.244.1.7", POD)))
            burst(attacker, (POD, 53))
        assert silent(pod)
    assert counted(world.run)["not_a_peer"] == counted(world.run)["to_pods"] == BURST
    if theirs in KUBE_PROXY:
        services_work_from_everywhere_and_one_of_both_masquerades(world, theirs)
    assert listing() == before
    assert blocking_firewalls("tke0", 8472, "tke-br0", ["10.244.0.0/16"], world.run) == []


def leaves_as_its_host(world, target=NEIGHBOUR):
    with world.socket("neighbour", NEIGHBOUR, 53) as server, world.socket("pod", POD) as pod:
        pod.sendto(b"question", (target, 53))
        _data, source = server.recvfrom(100)
        assert source[0] == HOST
        server.sendto(b"answer", source)
        assert pod.recvfrom(100) == (b"answer", (target, 53))


def masqueraded(world, theirs):
    """How many connections kube-proxy has masqueraded."""
    commands = {
        "kube-proxy, iptables (nft)": "iptables-nft -w -t nat -vxnL KUBE-POSTROUTING",
        "kube-proxy, iptables (legacy)": "iptables-legacy -w -t nat -vxnL KUBE-POSTROUTING",
        "kube-proxy, nftables": "nft list chain ip kube-proxy masquerading",
    }
    _code, out, _errors = world.run(commands[theirs].split())
    (rule,) = [line for line in out.splitlines() if re.search("masquerade", line, re.I) and re.search(r"\d", line)]
    return int(re.search(r"packets (\d+)|^\s*(\d+)", rule)[0].split()[-1])


def services_work_from_everywhere_and_one_of_both_masquerades(world, theirs):
    def asked(server, where, address, target):
        """From where the server sees the question come; the answer must find its way back."""
        with world.socket(where, address) as client:
            client.sendto(b"question", target)
            _data, source = server.recvfrom(100)
            server.sendto(b"answer", source)
            assert client.recvfrom(100) == (b"answer", target)
            return source[0]

    with world.socket("pod", POD, 53) as server:
        assert asked(server, "neighbour", NEIGHBOUR, (HOST, 30053)) == "10.244.0.1", "a NodePort from outside"
        assert masqueraded(world, theirs) == 1
        assert asked(server, "host", HOST, ("10.244.255.10", 53)) == "10.244.0.1", "a Service from the node"
        assert masqueraded(world, theirs) == 2
    leaves_as_its_host(world, target="10.244.255.11")
    assert masqueraded(world, theirs) == 2, "that was us"


def table(family, hook, *rules):
    return "\n".join([f"table {family} mine {{\n chain way {{\n type filter {hook}", *rules, " }\n}\n"])


CLOSED = {
    "Docker": (
        Theirs("iptables-nft-restore --noflush", DOCKER),
        "chain FORWARD of the nftables table ip filter",
        "iptables -I DOCKER-USER -i tke-br0 -j ACCEPT && iptables -I DOCKER-USER -o tke-br0 -j ACCEPT",
    ),
    "Docker, legacy": (
        Theirs("iptables-legacy-restore --noflush", DOCKER),
        "chain FORWARD of iptables-legacy",
        "iptables-legacy -I DOCKER-USER -i tke-br0 -j ACCEPT",
    ),
    "iptables, a last rule": (
        Theirs("iptables-legacy-restore --noflush", "*filter\n-A FORWARD -j REJECT\nCOMMIT\n"),
        "chain FORWARD of iptables-legacy",
        "iptables-legacy -I FORWARD -o tke-br0 -j ACCEPT",
    ),
    "firewalld": (
        Theirs("nft -f -", FIREWALLD_AS_INSTALLED),
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
    "a table of one's own": (
        Theirs("nft -f -", table("inet", "hook forward priority 5; policy drop;")),
        "chain way of the nftables table inet mine",
        "Let it accept what comes from the bridge and what goes to it.",
    ),
}


@pytest.mark.parametrize("case", CLOSED)
def test_a_firewall_that_forwards_nothing_for_pods_is_named_with_what_opens_it(world, case):
    theirs, what, advice = CLOSED[case]
    assert blocking_firewalls("tke0", 8472, "tke-br0", ["10.244.0.0/16"], world.run) == []
    load(world.run, theirs)
    (warning,) = blocking_firewalls("tke0", 8472, "tke-br0", ["10.244.0.0/16"], world.run)
    assert warning.startswith(what)
    assert advice in warning
    with world.socket("neighbour", PEER) as peer, world.socket("pod", POD, 53) as pod:
        peer.sendto(vxlan(1, frame("10.244.1.7", POD)), (HOST, 8472))
        assert silent(pod), "it is true"


OPEN = {
    "a policy of accept": table("inet", "hook forward priority 5; policy accept;"),
    "another hook": table("inet", "hook input priority 5; policy drop;"),
    "a table of IPv6": table("ip6", "hook forward priority 5; policy drop;"),
    "the Pods by address": table("ip", "hook forward priority 5; policy drop;", "ip daddr 10.244.0.0/16 accept"),
    "a drop of some": table("ip", "hook forward priority 5;", "ip saddr 192.0.2.1 drop"),
}


@pytest.mark.parametrize("case", OPEN)
def test_others_are_not_named(run, case):
    load(run, Theirs("nft -f -", OPEN[case]))
    assert blocking_firewalls("tke0", 8472, "tke-br0", ["10.244.0.0/16"], run) == []


def test_iptables_legacy_is_not_asked_where_it_is_not_in_use(run, monkeypatch):
    """It would load its tables into the kernel, only by being asked."""
    monkeypatch.setattr(forward, "LEGACY_TABLES", "/nonexistent")

    def told(command, text=None):
        assert command[0] != forward.LEGACY_PROGRAM
        return run(command, text)

    assert blocking_firewalls("tke0", 8472, "tke-br0", ["10.244.0.0/16"], told) == []

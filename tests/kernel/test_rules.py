# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The nftables table: which changes are detected, and which real packets it drops."""

from __future__ import annotations

import contextlib
import socket

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import vtep_mac
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    RulesSpec,
    RulesTable,
    rules_text,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import compare
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from breakages import OF_RULES, PEERS, broken, document
from world import BURST, HOST, NEIGHBOUR, PEER, POD, burst, counted, frame, silent, vxlan


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def spec(**changes):
    base = RulesSpec("tke0", "tke-br0", 8472, 1450, "10.244.0.0/24", ["10.244.0.0/16"], [p.underlay for p in PEERS[1:]])
    return base._replace(**changes)


def difference(run):
    """Return the pending changes of the table."""
    table = RulesTable(spec())
    return compare(table, table.read(run), table.wanted)


class TestComparison:
    """The comparison is exact, although nft prints rules in another form than it reads them."""

    def test_the_loaded_table_does_not_differ(self, run):
        table = RulesTable(spec())
        assert len(difference(run).added) == len(table.wanted)
        table.replace(run)
        assert not difference(run)

    @pytest.mark.parametrize("line", OF_RULES)
    def test_a_manual_change_is_a_difference(self, run, line):
        RulesTable(spec()).replace(run)
        broken(run, line)
        assert difference(run)
        RulesTable(spec()).replace(run)
        assert not difference(run)

    @pytest.mark.parametrize(
        ("chain", "words", "instead"),
        [
            ("input", "not_a_peer", None),
            ("nat", "return", None),
            ("input", "not_a_peer", 'udp dport 8473 ip saddr != @peers4 counter name "not_a_peer" drop'),
            ("nat", "return", "meta mark & 0x00008000 == 0x00008000 return"),
            ("forward", "oifname", 'oifname "tke0" tcp flags syn tcp option maxseg size set 9000'),
        ],
    )
    def test_a_missing_or_changed_rule_is_a_difference(self, run, chain, words, instead):
        RulesTable(spec()).replace(run)
        _code, out, _errors = run(["nft", "-a", "list", "chain", "inet", "tke_overlay", chain])
        handle = next(line.rpartition(" ")[2] for line in out.splitlines() if words in line)
        verb = "replace" if instead else "delete"
        text = f"{verb} rule inet tke_overlay {chain} handle {handle} {instead or ''}\n"
        assert run(["nft", "-f", "-"], text) == (0, "", "")
        assert difference(run)

    def test_another_order_of_rules_is_a_difference(self, run):
        RulesTable(spec()).replace(run)
        _code, out, _errors = run(["nft", "-a", "list", "chain", "inet", "tke_overlay", "nat"])
        line = next(line for line in out.splitlines() if "return" in line)
        rule, _mark, handle = line.strip().partition(" # handle ")
        text = f"add rule inet tke_overlay nat {rule}\ndelete rule inet tke_overlay nat handle {handle}\n"
        assert run(["nft", "-f", "-"], text) == (0, "", "")
        assert difference(run)

    def test_another_version_of_nft_needs_one_load_at_most(self, run, root):
        """The other version is simulated: it prints rules in another form."""

        def other_version(command, text=None):
            code, out, errors = run(command, text)
            return code, out.replace("priority raw", "priority -300").replace('iifname "tke0"', "iifname tke0"), errors

        RulesTable(spec()).replace(other_version)
        assert not difference(other_version)
        (root / "run/tke-overlay/rules.listing").unlink()
        assert difference(other_version)
        RulesTable(spec()).replace(other_version)
        assert not difference(other_version)

    def test_a_new_peer_is_one_line_of_the_difference(self, run):
        RulesTable(spec()).replace(run)
        table = RulesTable(spec(peers=[*spec().peers, "10.0.1.106"]))
        delta = compare(table, table.read(run), table.wanted)
        assert (delta.added, delta.changed, delta.removed) == ({"element 10.0.1.106": "of peers4"}, {}, {})

    def test_a_new_table_takes_over_the_counters(self, run):
        RulesTable(spec()).replace(run)
        text = rules_text(spec()).replace("counter unrouted {\n", "counter unrouted {\n packets 7 bytes 700\n")
        assert run(["nft", "-f", "-"], text)[0] == 0
        RulesTable(spec(mtu=1400)).replace(run)
        assert counted(run)["unrouted"] == 7

    @pytest.mark.parametrize(
        "changes",
        [
            {"peers": []},
            {"peers": ["2001:db8::1", "10.0.1.12"]},
            {"peers": ["2001:db8::1", "2001:db8::2"]},
            {"container_cidrs": ["10.244.0.0/16", "10.245.0.0/16"]},
            {"container_cidrs": ["2001:db8:1::/48"], "node_cidr": "2001:db8:1:1::/64"},
            {"port": 65535},
            {"port": 1},
            {"port": 40000},
        ],
    )
    def test_the_table_of_every_plan_loads_and_is_recognized(self, run, changes):
        table = RulesTable(spec(**changes))
        table.replace(run)
        assert not compare(table, table.read(run), table.wanted)

    @pytest.mark.parametrize(("family", "here"), [(socket.AF_INET, HOST), (socket.AF_INET6, "::1")])
    def test_a_node_without_peers_drops_all_tunnel_packets(self, run, family, here):
        RulesTable(spec(peers=[])).replace(run)
        with socket.socket(family, socket.SOCK_DGRAM) as receiver, socket.socket(family, socket.SOCK_DGRAM) as sender:
            receiver.bind((here, 8472))
            burst(sender, (here, 8472))
            assert silent(receiver)
        assert counted(run)["not_a_peer"] == BURST

    def test_check_mode_loads_nothing(self, run):
        node.converge(document(), run, check=True)
        assert run(["nft", "list", "tables"])[1] == ""


class TestTranslation:
    def test_a_pod_leaves_the_cluster_with_the_address_of_its_host(self, world):
        with world.socket("neighbour", NEIGHBOUR, 53) as server, world.socket("pod", POD) as pod:
            pod.sendto(b"question", (NEIGHBOUR, 53))
            _data, source = server.recvfrom(100)
            assert source[0] == HOST
            server.sendto(b"answer", source)
            assert pod.recv(100) == b"answer"

    def test_a_pod_never_gets_the_port_of_the_tunnel(self, world):
        with world.socket("neighbour", NEIGHBOUR, 53) as server, world.socket("pod", POD, 8472) as pod:
            pod.sendto(b"question", (NEIGHBOUR, 53))
            _data, source = server.recvfrom(100)
            assert source[1] > 8472
            server.sendto(b"answer", source)
            assert pod.recv(100) == b"answer"

    def test_packets_with_the_mark_of_kube_proxy_are_not_translated(self, world):
        """Its last chain is simulated; it selects another address than the collection would."""
        world.run(["ip", "address", "add", "10.0.1.12/24", "dev", "eth0"])
        text = (
            "table ip kube {\n chain early { type filter hook forward priority 0; udp dport 53 meta mark set 0x4000;}\n"
            " chain late { type nat hook postrouting priority 101; meta mark & 0x4000 == 0x4000 snat to 10.0.1.12; }\n}"
        )
        assert world.run(["nft", "-f", "-"], text)[0] == 0
        with world.socket("neighbour", NEIGHBOUR, 53) as server, world.socket("pod", POD) as pod:
            pod.sendto(b"question", (NEIGHBOUR, 53))
            assert server.recvfrom(100)[1][0] == "10.0.1.12"

    def test_packets_through_a_service_reach_the_pod(self, world):
        """From outside through a NodePort, and from a Pod through a Service address."""
        text = (
            "table ip kube {\n chain services { type nat hook prerouting priority dstnat;\n"
            f" ip daddr {HOST} udp dport 30053 dnat to {POD}:53\n"
            f" ip daddr 10.244.255.10 udp dport 53 dnat to {NEIGHBOUR}:53\n}}\n}}"
        )
        assert world.run(["nft", "-f", "-"], text)[0] == 0
        with world.socket("pod", POD, 53) as server, world.socket("neighbour", NEIGHBOUR) as client:
            client.sendto(b"question", (HOST, 30053))
            data, source = server.recvfrom(100)
            assert (data, source[0]) == (b"question", NEIGHBOUR)
            server.sendto(b"answer", source)
            assert client.recvfrom(100) == (b"answer", (HOST, 30053))
        with world.socket("neighbour", NEIGHBOUR, 53) as server, world.socket("pod", POD) as client:
            client.sendto(b"question", ("10.244.255.10", 53))
            _data, source = server.recvfrom(100)
            assert source[0] == HOST, "the endpoint is outside, so the packet leaves the cluster"
            server.sendto(b"answer", source)
            assert client.recvfrom(100) == (b"answer", ("10.244.255.10", 53))

    def test_without_a_route_packets_to_a_pod_are_dropped(self, world):
        world.run(["ip", "route", "del", "10.244.1.0/24"])
        world.ip("neighbour", "address add 10.244.1.7/32 dev lo")
        with world.socket("neighbour", "10.244.1.7", 53) as receiver, world.socket("pod", POD) as pod:
            burst(pod, ("10.244.1.7", 53))
            assert silent(receiver)
        assert counted(world.run)["unrouted"] == BURST

    def test_tcp_segments_fit_the_overlay(self, world):
        """The peer has a larger MTU, and the Pod was created with a larger MTU."""
        node.converge(document(mtu=1300), world.run, check=False)
        world.ip(
            "neighbour",
            f"link add tke0 address {vtep_mac(PEERS[1].node_cidr)}"
            f" type vxlan id 1 dstport 8472 local {PEER} nolearning",
            "link set tke0 up",
            "address add 10.244.1.0/32 dev tke0",
            "route del 10.244.0.0/16",
            "route add 10.244.0.0/24 via 10.244.0.0 dev tke0 onlink",
            f"neigh add 10.244.0.0 lladdr {vtep_mac(PEERS[0].node_cidr)} dev tke0 nud permanent",
        )
        fdb = f"bridge fdb add {vtep_mac(PEERS[0].node_cidr)} dev tke0 dst {HOST}"
        assert world.run(["nsenter", "-t", str(world.processes["neighbour"].pid), "-n", *fdb.split()])[0] == 0
        with (
            world.socket("neighbour", "10.244.1.0", 80, socket.SOCK_STREAM) as server,
            world.socket("pod", POD, 0, socket.SOCK_STREAM) as pod,
        ):
            server.listen()
            pod.connect(("10.244.1.0", 80))
            accepted, _source = server.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1260
                assert pod.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1260


class TestForgedPackets:
    """Packets from a neighbour in the same underlay are not delivered, and the counters count every packet."""

    @pytest.mark.parametrize("target", [POD, "10.244.0.0", "10.244.0.1", "10.244.1.7", "10.244.255.10"])
    def test_a_plain_packet_to_a_pod_address_is_dropped(self, world, target):
        where = {POD: "pod", "10.244.0.0": "host", "10.244.0.1": "host"}.get(target)
        with contextlib.ExitStack() as stack:
            receiver = stack.enter_context(world.socket(where, target, 53)) if where else None
            attacker = stack.enter_context(world.socket("neighbour", NEIGHBOUR))
            burst(attacker, (target, 53))
            assert receiver is None or silent(receiver)
        assert counted(world.run)["to_pods"] == BURST

    def test_a_plain_packet_from_a_pod_address_is_dropped(self, world):
        world.ip("neighbour", "address add 10.244.1.7/32 dev lo")
        with world.socket("neighbour", "10.244.1.7") as attacker, world.socket("host", HOST, 53) as receiver:
            burst(attacker, (HOST, 53))
            assert silent(receiver)
        assert counted(world.run)["from_pods"] == BURST

    def test_a_tunnel_packet_from_another_host_is_dropped(self, world):
        packet = vxlan(1, frame("10.244.1.7", POD))
        with world.socket("pod", POD, 53) as receiver:
            with world.socket("neighbour", PEER) as peer:
                peer.sendto(packet, (HOST, 8472))
                assert receiver.recv(100) == b"evil", "the same packet from a peer arrives, so it is valid"
            with world.socket("neighbour", NEIGHBOUR) as attacker:
                burst(attacker, (HOST, 8472), packet)
            assert silent(receiver)
        assert counted(world.run)["not_a_peer"] == BURST

    def test_a_tunnel_packet_without_a_pod_address_is_dropped(self, world):
        with world.socket("pod", POD, 53) as receiver, world.socket("neighbour", PEER) as peer:
            burst(peer, (HOST, 8472), vxlan(1, frame("192.0.2.7", POD)))
            assert silent(receiver)
        assert counted(world.run)["inner_source"] == BURST

    def test_a_pod_cannot_send_tunnel_packets_to_a_peer(self, world):
        with world.socket("neighbour", PEER, 8472) as receiver, world.socket("pod", POD) as pod:
            burst(pod, (PEER, 8472), vxlan(1, frame("10.244.1.7", POD)))
            assert silent(receiver)
        assert counted(world.run)["forwarded_to_vtep"] == BURST

    def test_without_the_table_these_packets_arrive(self, world):
        """The tests above depend on this."""
        world.run(["nft", "delete", "table", "inet", "tke_overlay"])
        with world.socket("pod", POD, 53) as receiver, world.socket("neighbour", NEIGHBOUR) as attacker:
            attacker.sendto(b"plain", (POD, 53))
            assert receiver.recv(100) == b"plain"
            attacker.sendto(vxlan(1, frame("10.244.1.7", POD)), (HOST, 8472))
            assert receiver.recv(100) == b"evil"


def test_tunnel_packets_create_no_conntrack_entries(world):
    count = "/proc/sys/net/netfilter/nf_conntrack_count"

    def entries():
        with world.inside("host"), open(count, encoding="ascii") as stream:
            return int(stream.read())

    before = entries()
    with world.socket("neighbour", PEER) as peer, world.socket("neighbour", PEER, 8472) as far_end:
        for port in range(20):
            with world.socket("neighbour", PEER, 20_000 + port) as sender:
                sender.sendto(vxlan(9, b"\0" * 60), (HOST, 8472))
        peer.sendto(vxlan(1, frame("10.244.1.7", "10.244.0.0")), (HOST, 8472))
        assert far_end.recv(200), "the answer (port unreachable), through the tunnel"
    # The inner flow has one entry; without notrack, each outer flow would have one.
    assert entries() - before <= 1

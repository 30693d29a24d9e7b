# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The nftables table: what of it is noticed when it is changed, and what real packets meet."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import vtep_mac
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    COUNTERS,
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
    """What the table lacks and has too much."""
    table = RulesTable(spec())
    return compare(table, table.read(run), table.wanted)


class TestComparison:
    """Exact, however nft words what it was given."""

    def test_the_table_as_loaded_is_no_difference(self, run):
        table = RulesTable(spec())
        assert len(difference(run).added) == len(table.wanted)
        table.replace(run)
        assert not difference(run)

    @pytest.mark.parametrize("line", OF_RULES)
    def test_whatever_is_changed_by_hand_is_one(self, run, line):
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
    def test_a_rule_that_is_missing_or_another_is_one(self, run, chain, words, instead):
        RulesTable(spec()).replace(run)
        _code, out, _errors = run(["nft", "-a", "list", "chain", "inet", "tke_overlay", chain])
        handle = next(line.rpartition(" ")[2] for line in out.splitlines() if words in line)
        verb = "replace" if instead else "delete"
        text = f"{verb} rule inet tke_overlay {chain} handle {handle} {instead or ''}\n"
        assert run(["nft", "-f", "-"], text) == (0, "", "")
        assert difference(run)

    def test_rules_in_another_order_are_one(self, run):
        RulesTable(spec()).replace(run)
        _code, out, _errors = run(["nft", "-a", "list", "chain", "inet", "tke_overlay", "nat"])
        line = next(line for line in out.splitlines() if "return" in line)
        rule, _mark, handle = line.strip().partition(" # handle ")
        text = f"add rule inet tke_overlay nat {rule}\ndelete rule inet tke_overlay nat handle {handle}\n"
        assert run(["nft", "-f", "-"], text) == (0, "", "")
        assert difference(run)

    def test_another_wording_is_none_as_long_as_the_record_is_there_and_one_load_without(self, run, root):
        """A stand-in for another version of nft, which words rules in its own way."""

        def other(command, text=None):
            code, out, errors = run(command, text)
            return code, out.replace("priority raw", "priority -300").replace('iifname "tke0"', "iifname tke0"), errors

        RulesTable(spec()).replace(other)
        assert not difference(other)
        (root / "run/tke-overlay/rules.listing").unlink()
        assert difference(other)
        RulesTable(spec()).replace(other)
        assert not difference(other)

    def test_a_new_peer_is_one_line_of_the_difference(self, run):
        RulesTable(spec()).replace(run)
        table = RulesTable(spec(peers=[*spec().peers, "10.0.1.106"]))
        delta = compare(table, table.read(run), table.wanted)
        assert (delta.added, delta.changed, delta.removed) == ({"element 10.0.1.106": "of peers4"}, {}, {})

    def test_what_was_counted_is_carried_over(self, run):
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
    def test_every_plan_loads_and_is_found_again(self, run, changes):
        table = RulesTable(spec(**changes))
        table.replace(run)
        assert not compare(table, table.read(run), table.wanted)

    @pytest.mark.parametrize(("port", "ports"), [(8472, "8473-65535"), (60000, "1024-59999"), (1023, "1024-65535")])
    def test_the_tunnels_port_is_in_no_range_of_source_ports(self, port, ports):
        assert re.findall(r"masquerade to :(\S+)", rules_text(spec(port=port))) == [ports]

    @pytest.mark.parametrize(("family", "here"), [(socket.AF_INET, HOST), (socket.AF_INET6, "::1")])
    def test_a_node_without_peers_hears_nobody_on_the_port(self, run, family, here):
        RulesTable(spec(peers=[])).replace(run)
        with socket.socket(family, socket.SOCK_DGRAM) as receiver, socket.socket(family, socket.SOCK_DGRAM) as sender:
            receiver.bind((here, 8472))
            burst(sender, (here, 8472))
            assert silent(receiver)
        assert counted(run)["not_a_peer"] == BURST

    def test_check_mode_loads_nothing(self, run):
        node.converge(document(), run, check=True)
        assert run(["nft", "list", "tables"])[1] == ""


class TestPodsAndTheRest:
    def test_a_pod_leaves_the_cluster_as_its_host(self, world):
        with world.socket("neighbour", NEIGHBOUR, 53) as server, world.socket("pod", POD) as pod:
            pod.sendto(b"question", (NEIGHBOUR, 53))
            _data, source = server.recvfrom(100)
            assert source[0] == HOST
            server.sendto(b"answer", source)
            assert pod.recv(100) == b"answer"

    def test_never_from_the_port_of_the_tunnel(self, world):
        with world.socket("neighbour", NEIGHBOUR, 53) as server, world.socket("pod", POD, 8472) as pod:
            pod.sendto(b"question", (NEIGHBOUR, 53))
            _data, source = server.recvfrom(100)
            assert source[1] > 8472
            server.sendto(b"answer", source)
            assert pod.recv(100) == b"answer"

    def test_not_where_kube_proxy_masquerades_itself(self, world):
        """A stand-in for its last chain, after ours: to see that ours let the packet pass, it takes another address."""
        world.run(["ip", "address", "add", "10.0.1.12/24", "dev", "eth0"])
        text = (
            "table ip kube {\n chain early { type filter hook forward priority 0; udp dport 53 meta mark set 0x4000;}\n"
            " chain late { type nat hook postrouting priority 101; meta mark & 0x4000 == 0x4000 snat to 10.0.1.12; }\n}"
        )
        assert world.run(["nft", "-f", "-"], text)[0] == 0
        with world.socket("neighbour", NEIGHBOUR, 53) as server, world.socket("pod", POD) as pod:
            pod.sendto(b"question", (NEIGHBOUR, 53))
            assert server.recvfrom(100)[1][0] == "10.0.1.12"

    def test_who_comes_by_way_of_a_service_reaches_the_pod(self, world):
        """A NodePort from outside, and a Service address from a Pod."""
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
            assert source[0] == HOST, "a Service with an endpoint outside: the Pod leaves the cluster"
            server.sendto(b"answer", source)
            assert client.recvfrom(100) == (b"answer", ("10.244.255.10", 53))

    def test_without_its_route_a_packet_for_a_pod_does_not_leave_in_clear(self, world):
        world.run(["ip", "route", "del", "10.244.1.0/24"])
        world.ip("neighbour", "address add 10.244.1.7/32 dev lo")
        with world.socket("neighbour", "10.244.1.7", 53) as receiver, world.socket("pod", POD) as pod:
            burst(pod, ("10.244.1.7", 53))
            assert silent(receiver)
        assert counted(world.run)["unrouted"] == BURST

    def test_no_tcp_segment_is_larger_than_the_overlay_carries(self, world):
        """To a peer with a larger MTU, from a Pod that was made under a larger MTU."""
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


class TestAttacks:
    """From a neighbour in the same underlay: nothing is delivered, and the counters show every packet."""

    @pytest.mark.parametrize("target", [POD, "10.244.0.0", "10.244.0.1", "10.244.1.7", "10.244.255.10"])
    def test_a_plain_packet_to_any_pod_address_goes_nowhere(self, world, target):
        where = {POD: "pod", "10.244.0.0": "host", "10.244.0.1": "host"}.get(target)
        with contextlib.ExitStack() as stack:
            receiver = stack.enter_context(world.socket(where, target, 53)) if where else None
            attacker = stack.enter_context(world.socket("neighbour", NEIGHBOUR))
            burst(attacker, (target, 53))
            assert receiver is None or silent(receiver)
        assert counted(world.run)["to_pods"] == BURST

    def test_a_plain_packet_that_claims_to_come_from_a_pod_goes_nowhere(self, world):
        world.ip("neighbour", "address add 10.244.1.7/32 dev lo")
        with world.socket("neighbour", "10.244.1.7") as attacker, world.socket("host", HOST, 53) as receiver:
            burst(attacker, (HOST, 53))
            assert silent(receiver)
        assert counted(world.run)["from_pods"] == BURST

    def test_a_tunnel_packet_from_somebody_who_is_no_peer_goes_nowhere(self, world):
        packet = vxlan(1, frame("10.244.1.7", POD))
        with world.socket("pod", POD, 53) as receiver:
            with world.socket("neighbour", PEER) as peer:
                peer.sendto(packet, (HOST, 8472))
                assert receiver.recv(100) == b"evil", "the same packet from a peer arrives, so it is a right one"
            with world.socket("neighbour", NEIGHBOUR) as attacker:
                burst(attacker, (HOST, 8472), packet)
            assert silent(receiver)
        assert counted(world.run)["not_a_peer"] == BURST

    def test_a_packet_from_a_peer_without_a_pod_address_inside_goes_nowhere(self, world):
        with world.socket("pod", POD, 53) as receiver, world.socket("neighbour", PEER) as peer:
            burst(peer, (HOST, 8472), vxlan(1, frame("192.0.2.7", POD)))
            assert silent(receiver)
        assert counted(world.run)["inner_source"] == BURST

    def test_a_pod_cannot_speak_to_a_peers_tunnel_under_its_hosts_address(self, world):
        with world.socket("neighbour", PEER, 8472) as receiver, world.socket("pod", POD) as pod:
            burst(pod, (PEER, 8472), vxlan(1, frame("10.244.1.7", POD)))
            assert silent(receiver)
        assert counted(world.run)["forwarded_to_vtep"] == BURST

    def test_without_the_table_all_of_this_would_arrive(self, world):
        """Otherwise the tests above would prove nothing."""
        world.run(["nft", "delete", "table", "inet", "tke_overlay"])
        with world.socket("pod", POD, 53) as receiver, world.socket("neighbour", NEIGHBOUR) as attacker:
            attacker.sendto(b"plain", (POD, 53))
            assert receiver.recv(100) == b"plain"
            attacker.sendto(vxlan(1, frame("10.244.1.7", POD)), (HOST, 8472))
            assert receiver.recv(100) == b"evil"


def test_the_tunnels_packets_make_no_conntrack_entries(world):
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
        assert far_end.recv(200), "the answer (port unreachable), by the tunnel"
    # The inner flow has one; without notrack each outer one would.
    assert entries() - before <= 1


def test_every_rule_that_drops_is_counted_by_name():
    text = rules_text(spec())
    drops = [line for line in text.splitlines() if line.endswith(" drop")]
    assert {re.search(r'counter name "(\w+)"', line)[1] for line in drops} == set(COUNTERS)

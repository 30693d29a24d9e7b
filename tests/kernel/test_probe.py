# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of the probe with real packets between two network namespaces, and rules that drop some of them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time

import pytest
from conftest import CLONE_NEWNET, LIBC

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.probe import run as module
from ansible_collections.tke.overlay.plugins.module_utils._host.probe import tcp_echo
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.echo_responder import keep_responding
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.run import ProbeTask, task_for_document
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import PORT, probe_tcp
from breakages import document

HERE = "10.244.0.0"
PEERS = {f"peer{number}": f"10.244.{number}.0" for number in (1, 2, 3)}
MTU = 1450


@pytest.fixture(autouse=True)
def root_directory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))


@contextlib.contextmanager
def inside(process):
    """Enter the network namespace of a process."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
    try:
        assert LIBC.setns(other, CLONE_NEWNET) == 0
        yield
    finally:
        assert LIBC.setns(own, CLONE_NEWNET) == 0
        os.close(own)
        os.close(other)


@pytest.fixture
def peer(run):
    """Another host at the end of the link, which has all addresses from 10.244.1.0 to 10.244.127.255."""
    own = os.readlink("/proc/self/ns/net")
    with subprocess.Popen(["unshare", "--net", "sleep", "120"]) as process:
        try:
            while os.readlink(f"/proc/{process.pid}/ns/net") == own:
                time.sleep(0.005)
            command(run, f"ip link set far netns {process.pid}")
            with inside(process):
                for line in (
                    "ip link set lo up",
                    "ip address add 10.0.1.12/24 dev far",
                    "ip link set far up",
                    "ip route add 10.244.0.0/32 via 10.0.1.11",
                    *(f"ip route add local 10.244.{net} dev lo" for net in ("1.0/24", "2.0/23", "64.0/18")),
                ):
                    command(run, line)
            command(run, f"ip address add {HERE}/32 dev eth0")
            command(run, f"ip route add 10.244.0.0/16 via 10.0.1.12 src {HERE}")
            yield process
        finally:
            process.kill()


def command(run, line):
    code, _out, errors = run(line.split())
    assert code == 0, errors


def dropping(run, peer, rule):
    """Let the peer drop the packets that match a rule."""
    with inside(peer):
        rules = f"table ip t {{ chain c {{ type filter hook prerouting priority raw; {rule} drop; }}; }}"
        code, _out, errors = run(["nft", rules])
        assert code == 0, errors


def probe(peers=PEERS, tcp=False, size=MTU, **options):
    return module.probe(ProbeTask(HERE, peers, size), tcp, seconds=0.2, **options)


def kinds(result):
    return {finding.peer: finding.kind for finding in result.findings}


@pytest.mark.usefixtures("peer")
def test_reports_the_round_trip_of_healthy_peers():
    result = probe()
    assert result.findings == []
    assert result.probed == 3
    assert set(result.rtt_ms) == set(PEERS)
    assert all(0 < ms < 200 for ms in result.rtt_ms.values())


@pytest.mark.usefixtures("peer")
def test_reports_a_missing_peer_as_silent():
    result = probe({**PEERS, "gone": "10.244.200.0"})
    assert kinds(result) == {"gone": "silent"}
    assert result.findings[0].text == "gone (10.244.200.0) does not answer"
    assert set(result.rtt_ms) == set(PEERS)


@pytest.mark.usefixtures("peer")
def test_reports_whether_the_underlay_of_a_silent_peer_answers():
    """One at the address of the other host, one at an address of nobody, one over IPv6, which is not probed."""
    gone = {name: f"10.244.20{number}.0" for number, name in enumerate(["near", "nowhere", "six"])}
    underlays = {"near": "10.0.1.12", "nowhere": "10.0.1.200", "six": "2001:db8::1", "peer1": "10.0.1.12"}
    task = ProbeTask(HERE, {**PEERS, **gone}, MTU, underlay="10.0.1.11", underlays=underlays)
    result = module.probe(task, tcp=False, seconds=0.2)
    assert {finding.peer: finding.underlay for finding in result.findings} == {
        "near": True,
        "nowhere": False,
        "six": None,
    }
    lost = module.probe(task._replace(underlay="10.0.1.99"), tcp=False, seconds=0.2)
    assert {finding.underlay for finding in lost.findings} == {None}, "that address is not on this host"


def test_a_lost_packet_does_not_make_a_peer_silent(run, peer):
    dropping(run, peer, "icmp type echo-request numgen inc mod 2 0")
    assert kinds(probe()) == {}
    assert kinds(probe(attempts=1)) != {}, "every second packet is lost, so one attempt does not reach three peers"


@pytest.mark.parametrize("largest", [64, 65, 1299, 1300, 1449])
def test_measures_the_largest_size_behind_a_black_hole(run, peer, largest):
    dropping(run, peer, f"ip daddr 10.244.2.0 ip length > {largest}")
    result = probe()
    assert kinds(result) == {"peer2": "mtu"}
    (finding,) = result.findings
    assert finding.largest == largest
    assert f"set overlay_underlay_mtu of the site to {largest + 50}" in finding.text
    assert "peer2" in result.rtt_ms


def test_measures_a_limited_number_of_black_holes(run, peer, monkeypatch):
    monkeypatch.setattr(module, "MAX_MEASURED", 0)
    dropping(run, peer, "ip daddr 10.244.2.0 ip length > 1300")
    (finding,) = probe().findings
    assert (finding.kind, finding.largest) == ("mtu", None)
    assert finding.text.endswith("the largest size that passes was not measured")


@pytest.mark.usefixtures("peer")
def test_a_device_mtu_below_the_plan_is_no_underlay_fault(run):
    command(run, "ip link set eth0 mtu 1300")
    result = probe()
    assert set(kinds(result).values()) == {"mtu"}
    assert {finding.largest for finding in result.findings} == {1300}
    assert all("the MTU of this host's device is smaller" in finding.text for finding in result.findings)


@pytest.mark.usefixtures("peer")
def test_reports_why_a_host_cannot_send(run):
    command(run, "ip route add prohibit 10.244.2.0/24")
    command(run, "ip route add blackhole 10.244.3.0/24")
    text = {finding.peer: finding.text for finding in probe().findings}
    assert text["peer2"].startswith("this host cannot send to peer2 (10.244.2.0): ")
    assert text["peer3"] == "this host cannot send to peer3 (10.244.3.0): a blackhole route drops the packet"


def test_a_learned_path_mtu_does_not_hide_a_black_hole(run, peer):
    """Otherwise the kernel would fragment the request, and the path would look healthy."""
    dropping(run, peer, "ip length > 1300")
    command(run, "ip route replace 10.244.1.0/24 via 10.0.1.12 mtu 1200")
    assert kinds(probe({"peer1": PEERS["peer1"]})) == {"peer1": "mtu"}


def test_a_source_that_is_not_on_this_host_is_an_error():
    with pytest.raises(ValidationError, match=r"10\.244\.0\.0, the VTEP's address, is not on this host"):
        probe()


@pytest.mark.usefixtures("peer")
def test_thousands_of_peers_take_seconds():
    peers = {f"n{number}": f"10.244.{64 + number // 256}.{number % 256}" for number in range(5000)}
    start = time.monotonic()
    result = probe(peers)
    assert len(result.rtt_ms) == 5000
    assert result.findings == []
    assert time.monotonic() - start < 15


def test_the_plan_determines_peers_and_size():
    task = task_for_document(document(), {}, 0)
    assert (task.source, task.size, task.overhead) == ("10.244.0.0", 1450, 50)
    assert task.peers == {f"peer{number}": f"10.244.{number}.0" for number in range(1, 6)}
    assert (task.underlay, task.underlays["peer2"], len(task.underlays)) == ("10.0.1.11", "10.0.1.102", 5)
    sites = {"cloud": ["me", "peer1"], "idc": ["peer2", "peer3", "stranger"]}
    assert set(task_for_document(document(), sites, 0, skip=["peer3"]).peers) == {"peer1", "peer2"}
    with pytest.raises(ValidationError, match="node stranger is not in the plan"):
        task_for_document(document(node="stranger"), sites, 0)
    with pytest.raises(ValidationError, match="is not in sites"):
        task_for_document(document(), {"idc": ["peer2"]}, 0)


def test_reports_all_invalid_addresses_at_once():
    with pytest.raises(ValidationError) as caught:
        ProbeTask("here", {"a": "10.244.1.0/24", "b": "10.244.2.0"}, 64).validated()
    assert len(caught.value.problems) == 3


class TestTcp:
    """Tests with real TCP connections and the echo responder."""

    @pytest.fixture
    def responding(self, peer):
        """The peer runs the echo responder on one of its addresses."""
        with inside(peer):
            keep_responding(PEERS["peer1"], 60)
        yield peer
        with inside(peer):
            keep_responding(PEERS["peer1"], 0)

    @pytest.mark.usefixtures("responding")
    def test_echoes_full_segments(self):
        result = probe(tcp=True)
        assert result.echoed == ["peer1"]
        assert result.refused == ["peer2", "peer3"]
        assert result.findings == []

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            ("ip protocol tcp", "no connection"),
            ("ip protocol tcp ip length > 200", "connected, then stalled after"),
        ],
    )
    def test_reports_a_path_that_loses_only_tcp(self, run, responding, monkeypatch, rule, words):
        monkeypatch.setattr(module, "TCP_SECONDS", 1.0)
        dropping(run, responding, rule)
        result = probe({"peer1": PEERS["peer1"]}, tcp=True)
        assert kinds(result) == {"peer1": "tcp"}
        assert words in result.findings[0].text
        assert "full-size echo requests pass" in result.findings[0].text

    @pytest.mark.usefixtures("responding")
    def test_serves_many_connections_at_once(self, monkeypatch):
        monkeypatch.setattr(tcp_echo, "MAX_CONNECTIONS", 200)
        assert set(probe_tcp(HERE, [PEERS["peer1"]], 5).values()) == {"echoed"}
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(socket.create_connection((PEERS["peer1"], PORT))) for _ in range(100)]
            assert probe_tcp(HERE, [PEERS["peer1"]], 5) == {PEERS["peer1"]: "echoed"}
            assert len(idle) == 100

    def listeners(self, run):
        _code, out, _errors = run(["ss", "-Hltn", f"sport = :{PORT}"])
        return [line.split()[3] for line in out.splitlines()]

    def await_listeners(self, run, wanted):
        deadline = time.monotonic() + 10
        while self.listeners(run) != wanted:
            assert time.monotonic() < deadline, self.listeners(run)
            time.sleep(0.02)

    def test_the_responder_ends_by_itself(self, run):
        keep_responding("127.0.0.1", 1)
        assert self.listeners(run) == [f"127.0.0.1:{PORT}"]
        self.await_listeners(run, [])

    def test_a_second_call_sets_the_end_of_the_responder(self, run):
        keep_responding("127.0.0.1", 60)
        keep_responding("127.0.0.1", 50)
        assert len(self.listeners(run)) == 1
        keep_responding("127.0.0.1", 0)
        self.await_listeners(run, [])
        keep_responding("127.0.0.1", 0)

    def test_a_call_with_another_address_replaces_it(self, run):
        keep_responding("127.0.0.1", 60)
        keep_responding("127.0.0.2", 60)
        assert self.listeners(run) == [f"127.0.0.2:{PORT}"]
        keep_responding("127.0.0.2", 0)

    @pytest.mark.usefixtures("run")
    def test_reports_a_used_port_and_a_foreign_address(self):
        with socket.create_server(("127.0.0.1", PORT)), pytest.raises(KernelError, match="already in use"):
            keep_responding("127.0.0.1", 5)
        with pytest.raises(KernelError, match="Cannot assign requested address"):
            keep_responding("192.0.2.1", 5)

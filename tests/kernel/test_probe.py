# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Asking peers: real packets between two network namespaces, and every way to lose only some of them."""

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
from ansible_collections.tke.overlay.plugins.module_utils._host.probe import run as probing
from ansible_collections.tke.overlay.plugins.module_utils._host.probe import tcp_echo as answering
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.run import ProbeTask, task_of
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import answer, converse
from breakages import document

HERE = "10.244.0.0"
PEERS = {f"peer{number}": f"10.244.{number}.0" for number in (1, 2, 3)}
MTU = 1450


@pytest.fixture(autouse=True)
def note_of_the_host(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))


@contextlib.contextmanager
def inside(process):
    """This process, in the network namespace of that one."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/proc/{process.pid}/ns/net", os.O_RDONLY)
    try:
        assert LIBC.setns(there, CLONE_NEWNET) == 0
        yield
    finally:
        assert LIBC.setns(home, CLONE_NEWNET) == 0
        os.close(home)
        os.close(there)


@pytest.fixture
def peer(run):
    """Another host at the end of the link, with all addresses of 10.244.1.0 to 10.244.127.255 for its own."""
    home = os.readlink("/proc/self/ns/net")
    with subprocess.Popen(["unshare", "--net", "sleep", "120"]) as process:
        try:
            while os.readlink(f"/proc/{process.pid}/ns/net") == home:
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
    """The peer drops some of what comes to it."""
    with inside(peer):
        rules = f"table ip t {{ chain c {{ type filter hook prerouting priority raw; {rule} drop; }}; }}"
        code, _out, errors = run(["nft", rules])
        assert code == 0, errors


def ask(peers=PEERS, tcp=False, size=MTU, **options):
    return probing.probe(ProbeTask(HERE, peers, size), tcp, seconds=0.2, **options)


def kinds(outcome):
    return {finding.peer: finding.kind for finding in outcome.findings}


@pytest.mark.usefixtures("peer")
def test_who_is_well_answers_and_has_a_round_trip():
    outcome = ask()
    assert outcome.findings == []
    assert outcome.asked == 3
    assert set(outcome.rtt_ms) == set(PEERS)
    assert all(0 < ms < 200 for ms in outcome.rtt_ms.values())


@pytest.mark.usefixtures("peer")
def test_who_is_not_there_is_silent_and_the_others_are_not():
    outcome = ask({**PEERS, "gone": "10.244.200.0"})
    assert kinds(outcome) == {"gone": "silent"}
    assert outcome.findings[0].text == "gone (10.244.200.0) does not answer"
    assert set(outcome.rtt_ms) == set(PEERS)


def test_a_lost_packet_is_no_silence(run, peer):
    dropping(run, peer, "icmp type echo-request numgen inc mod 2 0")
    assert kinds(ask()) == {}
    assert set(kinds(ask(attempts=1)).values()) <= {"silent", "mtu"}


@pytest.mark.parametrize("largest", [64, 65, 1299, 1300, 1449])
def test_a_black_hole_is_named_with_the_largest_size_that_passes(run, peer, largest):
    dropping(run, peer, f"ip daddr 10.244.2.0 ip length > {largest}")
    outcome = ask()
    assert kinds(outcome) == {"peer2": "mtu"}
    (finding,) = outcome.findings
    assert finding.largest == largest
    assert f"set overlay_underlay_mtu of the site to {largest + 50}" in finding.text
    assert "peer2" in outcome.rtt_ms


@pytest.mark.usefixtures("peer")
def test_a_device_that_is_smaller_than_the_plan_is_not_blamed_on_the_underlay(run):
    command(run, "ip link set eth0 mtu 1300")
    outcome = ask()
    assert set(kinds(outcome).values()) == {"mtu"}
    assert {finding.largest for finding in outcome.findings} == {1300}
    assert all("the device of this host is smaller" in finding.text for finding in outcome.findings)


@pytest.mark.usefixtures("peer")
def test_a_host_that_cannot_even_send_says_why(run):
    command(run, "ip route add prohibit 10.244.2.0/24")
    command(run, "ip route add blackhole 10.244.3.0/24")
    text = {finding.peer: finding.text for finding in ask().findings}
    assert text["peer2"].startswith("this host cannot send to peer2 (10.244.2.0): ")
    assert text["peer3"] == "this host cannot send to peer3 (10.244.3.0): the route drops that"


def test_a_path_mtu_that_the_kernel_has_learned_does_not_shrink_the_question(run, peer):
    """Otherwise a black hole would be asked by fragments, and called whole."""
    dropping(run, peer, "ip length > 1300")
    command(run, "ip route replace 10.244.1.0/24 via 10.0.1.12 mtu 1200")
    assert kinds(ask({"peer1": PEERS["peer1"]})) == {"peer1": "mtu"}


def test_without_its_own_address_a_host_is_no_node():
    with pytest.raises(ValidationError, match=r"10\.244\.0\.0, the VTEP's address, is not on this host"):
        ask()


@pytest.mark.usefixtures("peer")
def test_thousands_of_peers_take_seconds():
    peers = {f"n{number}": f"10.244.{64 + number // 256}.{number % 256}" for number in range(5000)}
    start = time.monotonic()
    outcome = ask(peers)
    assert len(outcome.rtt_ms) == 5000
    assert outcome.findings == []
    assert time.monotonic() - start < 15


def test_the_plan_says_whom_to_ask_and_how_large():
    task = task_of(document(), {}, 0)
    assert (task.source, task.size, task.overhead) == ("10.244.0.0", 1450, 50)
    assert task.peers == {f"peer{number}": f"10.244.{number}.0" for number in range(1, 6)}
    sites = {"cloud": ["me", "peer1"], "idc": ["peer2", "peer3", "stranger"]}
    assert set(task_of(document(), sites, 0, skip=["peer3"]).peers) == {"peer1", "peer2"}
    with pytest.raises(ValidationError, match="node stranger is not in the plan"):
        task_of(document(node="stranger"), sites, 0)
    with pytest.raises(ValidationError, match="not among those to choose from"):
        task_of(document(), {"idc": ["peer2"]}, 0)


def test_all_that_is_no_address_is_named_at_once():
    with pytest.raises(ValidationError) as caught:
        ProbeTask("here", {"a": "10.244.1.0/24", "b": "10.244.2.0"}, 64).checked()
    assert len(caught.value.problems) == 3


class TestTcp:
    """A real connection, and who answers it."""

    @pytest.fixture
    def answered(self, peer):
        """The peer answers, on one of its addresses."""
        with inside(peer):
            answer(PEERS["peer1"], 60)
        yield peer
        with inside(peer):
            answer(PEERS["peer1"], 0)

    @pytest.mark.usefixtures("answered")
    def test_whole_node_cidrs_go_there_and_come_back(self):
        outcome = ask(tcp=True)
        assert outcome.echoed == ["peer1"]
        assert outcome.refused == ["peer2", "peer3"]
        assert outcome.findings == []

    @pytest.mark.parametrize(
        ("rule", "words"),
        [
            ("ip protocol tcp", "no connection"),
            ("ip protocol tcp ip length > 200", "connected, and stuck after"),
        ],
    )
    def test_what_loses_tcp_alone_is_named(self, run, answered, monkeypatch, rule, words):
        monkeypatch.setattr(probing, "TCP_SECONDS", 1.0)
        dropping(run, answered, rule)
        outcome = ask({"peer1": PEERS["peer1"]}, tcp=True)
        assert kinds(outcome) == {"peer1": "tcp"}
        assert words in outcome.findings[0].text
        assert "echoes of full size pass" in outcome.findings[0].text

    @pytest.mark.usefixtures("answered")
    def test_many_at_once_are_all_answered(self, monkeypatch):
        monkeypatch.setattr(answering, "AT_ONCE", 200)
        assert set(converse(HERE, [PEERS["peer1"]], 5).values()) == {"echoed"}
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(socket.create_connection((PEERS["peer1"], answering.PORT))) for _ in range(100)]
            assert converse(HERE, [PEERS["peer1"]], 5) == {PEERS["peer1"]: "echoed"}
            assert len(idle) == 100

    def listeners(self, run):
        _code, out, _errors = run(["ss", "-Hltn", f"sport = :{answering.PORT}"])
        return [line.split()[3] for line in out.splitlines()]

    def until(self, run, wanted):
        deadline = time.monotonic() + 10
        while self.listeners(run) != wanted:
            assert time.monotonic() < deadline, self.listeners(run)
            time.sleep(0.02)

    def test_it_ends_by_itself(self, run):
        answer("127.0.0.1", 1)
        assert self.listeners(run) == [f"127.0.0.1:{answering.PORT}"]
        self.until(run, [])

    def test_a_second_call_sets_the_end_and_starts_no_second(self, run):
        answer("127.0.0.1", 60)
        answer("127.0.0.1", 50)
        assert len(self.listeners(run)) == 1
        answer("127.0.0.1", 0)
        self.until(run, [])
        answer("127.0.0.1", 0)

    def test_another_address_takes_the_place_of_the_former(self, run):
        answer("127.0.0.1", 60)
        answer("127.0.0.2", 60)
        assert self.listeners(run) == [f"127.0.0.2:{answering.PORT}"]
        answer("127.0.0.2", 0)

    @pytest.mark.usefixtures("run")
    def test_another_program_on_the_port_is_an_error_and_an_address_that_is_not_here_too(self):
        with socket.create_server(("127.0.0.1", answering.PORT)), pytest.raises(KernelError, match="already in use"):
            answer("127.0.0.1", 5)
        with pytest.raises(KernelError, match="Cannot assign requested address"):
            answer("192.0.2.1", 5)

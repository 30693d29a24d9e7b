# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Packets over WireGuard links: encrypted or not at all, to a peer behind NAT, and while keys change."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time

import pytest
from wireguard import FAR, FAR_POD, HOST, POD, Flow, Line, make_keys, own_sockets, pids_of, succeed

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node.converge import ConvergeOptions
from ansible_collections.tke.overlay.plugins.module_utils._host.node.phases import CUTOVER, FINALIZE, PREPARE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import read_status
from ansible_collections.tke.overlay.plugins.module_utils._host.node.wireguard_devices import await_next_keys
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.wireguard_key import ensure_key
from breakages import document

LINKS = "a a vxlan 1450\na b wireguard 1420\nb b vxlan 1450\n"
FOREIGN_KEY = f"{'B' * 42}A="
BURST = 1_000


@pytest.fixture
def line_to(run, tmp_path, monkeypatch):
    """Return a function that makes the line, with or without masquerading."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    with own_sockets(), contextlib.ExitStack() as stack:

        def made(masquerade):
            line = Line(run, tmp_path, masquerade)
            stack.callback(line.close)
            return line

        yield made


@pytest.fixture
def line(line_to):
    return line_to(masquerade=False)


def plan(own, far, *, endpoint=f"{FAR}:51820", generation=0):
    peers = [
        Peer("me", "10.244.0.0/24", HOST, "a", f"{HOST}:51820", own),
        Peer("far", "10.244.2.0/24", FAR, "b", endpoint, far),
    ]
    return document(peers, links=LINKS, wireguard_port=51820, wireguard_generation=generation)


def connected(line, run, **changes):
    """Converge the host and the far node until they have shaken hands; return the plan and both public keys."""
    own = ensure_key(0, run, check=False).public_key
    far = line.dial(0, own)
    wanted = plan(own, far, **changes)
    line.send_by(0)
    node.converge(wanted, run, check=False)
    while "\t0\n" in succeed(run, "wg show tke-wg0 latest-handshakes"):
        with line.socket("host", POD) as here, contextlib.suppress(OSError):
            here.sendto(b"wake", (FAR_POD, 9))
    return wanted, own, far


def burst(line):
    """Send packets both ways, and return how many the router has seen in clear. An error of the kernel is none."""
    before = line.in_clear()
    for here, address, to in (("host", POD, (FAR_POD, 9)), ("far", FAR_POD, (POD, 9))):
        with line.socket(here, address) as sender:
            for _number in range(BURST):
                with contextlib.suppress(OSError):
                    sender.sendto(b"secret", to)
    return line.in_clear() - before


def answers(line):
    """Whether a packet to the far node and its answer arrive."""
    with line.socket("host", POD) as here, line.socket("far", FAR_POD) as there:
        here.sendto(b"ask", there.getsockname())
        there.sendto(b"answer", there.recvfrom(100)[1])
        return here.recv(100) == b"answer"


def restored(tmp_path):
    """Run the script as the timer does, and return what it reports."""
    done = subprocess.run(
        ["sh", f"{tmp_path}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{tmp_path}/run/tke-overlay"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "tke-overlay" in done.stderr) == (0, False), done.stderr
    return done.stdout


def test_packets_are_encrypted_whatever_is_broken(run, line, tmp_path):
    wanted, *_keys = connected(line, run)
    assert answers(line)
    assert burst(line) == 0
    other = make_keys(run, tmp_path / "other")
    for break_it in (
        lambda: os.kill(pids_of("tke-wg0")[0], signal.SIGKILL),
        lambda: succeed(run, "ip link del tke-wg0"),
        lambda: succeed(run, "ip link set tke-wg0 down"),
        lambda: succeed(run, f"wg set tke-wg0 private-key {other.private}"),
        lambda: succeed(run, "wg set tke-wg0 private-key /dev/null"),
        lambda: succeed(run, "ip route flush proto 144"),
    ):
        break_it()
        assert burst(line) == 0
        assert restored(tmp_path)
        assert answers(line)
    assert read_status(run, wanted, [])["drift"] == []


def test_another_key_of_the_peer_lets_nothing_through(run, line):
    own = ensure_key(0, run, check=False).public_key
    line.dial(0, own)
    line.send_by(0)
    node.converge(plan(own, FOREIGN_KEY), run, check=False)
    with line.socket("far", FAR_POD, 9) as there:
        there.settimeout(0.5)
        assert burst(line) == 0
        with pytest.raises(TimeoutError):
            there.recv(100)


def test_a_peer_behind_nat_dials_and_is_no_drift(run, line_to, tmp_path):
    line = line_to(masquerade=True)
    wanted, *_keys = connected(line, run, endpoint="-")
    assert "\t10.0.1.21:" in succeed(run, "wg show tke-wg0 endpoints"), "the address of the router"
    assert answers(line)
    assert not node.converge(wanted, run, check=False).changed
    assert restored(tmp_path) == ""
    assert read_status(run, wanted, [])["drift"] == []


def test_the_endpoint_of_a_living_peer_is_no_drift(run, line, tmp_path):
    """The peer sends from another address than that of the plan, as one with two lines does."""
    wanted, own, far = connected(line, run)
    wanted = plan(own, far, endpoint="192.168.7.3:51820")
    node.converge(wanted, run, check=False)
    with line.socket("far", FAR_POD) as there, line.socket("host", POD) as here:
        there.sendto(b"hello", here.getsockname())
        assert here.recv(100) == b"hello"
    assert f"\t{FAR}:51820" in succeed(run, "wg show tke-wg0 endpoints")
    assert not node.converge(wanted, run, check=True).changed
    assert restored(tmp_path) == ""


def run_phase(wanted, run, phase):
    return node.converge(wanted, run, check=False, options=ConvergeOptions(phase=phase))


def devices(run):
    return sorted(name for name in succeed(run, "wg show interfaces").split() if name.startswith("tke-"))


def way(run):
    """Return the device by which the host sends to the far node."""
    return succeed(run, f"ip route get {FAR_POD}").split()[2]


@contextlib.contextmanager
def flows(line):
    """Send numbered packets in both directions, and return both flows."""
    with contextlib.ExitStack() as stack:
        made = []
        for here, there in ((("host", POD), ("far", FAR_POD)), (("far", FAR_POD), ("host", POD))):
            sender, receiver = line.socket(*here), line.socket(*there)
            made.append(stack.enter_context(Flow(stack.enter_context(sender), stack.enter_context(receiver))))
        yield made


@pytest.mark.parametrize("masquerade", [False, True])
def test_keys_change_without_losing_a_packet(run, line_to, tmp_path, masquerade):
    line, endpoint = line_to(masquerade), "-" if masquerade else f"{FAR}:51820"
    _plan, own, far = connected(line, run, endpoint=endpoint)
    new = ensure_key(1, run, check=False).public_key
    far_new = line.dial(1, new)
    both = plan(f"{own},{new}", f"{far},{far_new}", endpoint=endpoint)
    following = plan(new, far_new, endpoint=endpoint, generation=1)
    with flows(line) as made:
        assert run_phase(both, run, PREPARE).changed
        assert (way(run), devices(run)) == ("tke-wg0", ["tke-wg0", "tke-wg1"])
        assert run_phase(following, run, PREPARE).unfinished
        assert (way(run), restored(tmp_path)) == ("tke-wg0", "")
        assert run_phase(following, run, CUTOVER).changed
        assert (way(run), devices(run)) == ("tke-wg1", ["tke-wg0", "tke-wg1"])
        assert restored(tmp_path) == ""
        line.send_by(1)
        for flow in made:
            flow.settle()
        assert run_phase(following, run, FINALIZE).changed
        assert (way(run), devices(run)) == ("tke-wg1", ["tke-wg1"])
    assert [flow.lost for flow in made] == [0, 0]
    assert all(flow.sent > 0 for flow in made)
    assert not node.converge(following, run, check=False).changed
    assert restored(tmp_path) == ""


def test_a_peer_that_does_not_answer_by_the_next_key_stops_it(run, line, monkeypatch):
    connected(line, run)
    following = plan(ensure_key(1, run, check=False).public_key, FOREIGN_KEY, generation=1)
    assert run_phase(following, run, PREPARE).unfinished
    monkeypatch.setattr(time, "monotonic", itertools.count(step=20).__next__)
    with pytest.raises(KernelError, match=r"nothing was changed.* UDP port 51821: .*10\.244\.2\.0/24"):
        run_phase(following, run, CUTOVER)
    assert way(run) == "tke-wg0"


def test_next_keys_are_awaited_before_they_are_used(run, line, monkeypatch):
    """With the device of the next keys that the far node has, and without."""
    _plan, own, far = connected(line, run)
    await_next_keys(run)
    new = ensure_key(1, run, check=False).public_key
    assert run_phase(plan(f"{own},{new}", f"{far},{FOREIGN_KEY}"), run, PREPARE).changed
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", itertools.count(step=20).__next__)
        with pytest.raises(KernelError, match=r"UDP port 51821: .*10\.244\.2\.0/24; .*port"):
            await_next_keys(run)
    far_new = line.dial(1, new)
    assert run_phase(plan(f"{own},{new}", f"{far},{far_new}"), run, PREPARE).changed
    await_next_keys(run)
    assert way(run) == "tke-wg0"


def test_next_keys_that_answer_by_one_port_must_answer_by_another(run, line, monkeypatch):
    """As when the port changes again in the middle of a rotation: peers that live by the former one do not count."""
    _plan, own, far = connected(line, run)
    new = ensure_key(1, run, check=False).public_key
    both = plan(f"{own},{new}", f"{far},{line.dial(1, new)}")
    assert run_phase(both, run, PREPARE).changed
    await_next_keys(run)
    assert run_phase({**both, "wireguard_next_port": 51949}, run, PREPARE).changed
    assert f"\t{FAR}:51950" in succeed(run, "wg show tke-wg1 endpoints")
    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", itertools.count(step=20).__next__)
        with pytest.raises(KernelError, match=r"UDP port 51950: .*10\.244\.2\.0/24"):
            await_next_keys(run)
    line.within("far", f"wg set far1 listen-port 51950 peer {new} endpoint {HOST}:51950")
    await_next_keys(run)
    assert way(run) == "tke-wg0"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the health agent: it publishes a lower weight at once, a higher one only if it lasts."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import health_agent
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.health_agent import (
    DEGRADED,
    FAULTY,
    HEALTHY,
    MAX_TICKS,
    PING_SECONDS,
    RECOVERY_SECONDS,
    TICK,
    HealthAgent,
    PingMonitor,
    fetch_health,
    notify_systemd,
    open_ping_socket,
    read_weights,
    weights_of,
    write_weights,
)

WEIGHTS = st.sampled_from([HEALTHY, DEGRADED, FAULTY])
PAUSES = st.integers(4, 40).map(lambda number: number / 64)  # sums of these are exact


@given(WEIGHTS, st.lists(st.tuples(WEIGHTS, PAUSES), max_size=30))
def test_lower_at_once_and_higher_only_if_it_lasts(first, checks):
    agent, now, history = HealthAgent({"api": first}), 0.0, [(0.0, first)]
    for measured, pause in checks:
        now += pause
        before = agent.published["api"]
        after = agent.update({"api": measured}, now)["api"]
        history.append((now, measured))
        assert after <= max(before, measured)
        if measured <= before:
            assert after == measured
        if after > before:
            lately = [weight for moment, weight in history[1:] if moment >= now - RECOVERY_SECONDS]
            assert min(lately) >= after, "nothing lower was measured in the whole time"
            assert any(moment <= now - RECOVERY_SECONDS for moment, weight in history[1:] if weight >= after)


def test_publishes_a_higher_weight_in_the_end():
    agent = HealthAgent({"api": FAULTY})
    published = [agent.update({"api": HEALTHY}, now)["api"] for now in (0.0, RECOVERY_SECONDS / 2, RECOVERY_SECONDS)]
    assert published == [FAULTY, FAULTY, HEALTHY]


@pytest.mark.parametrize(
    ("health", "cut_off", "weights"),
    [
        ({}, False, {"apiserver": FAULTY, "services": FAULTY}),
        ({"apiserver": "2", "services": "1+0"}, False, {"apiserver": HEALTHY, "services": HEALTHY}),
        ({"apiserver": "0", "services": "0+0"}, False, {"apiserver": DEGRADED, "services": DEGRADED}),
        ({"apiserver": "2", "services": ""}, False, {"apiserver": HEALTHY, "services": HEALTHY}),
        ({"apiserver": "2", "services": "1"}, True, {"apiserver": DEGRADED, "services": DEGRADED}),
    ],
)
def test_weight_of_each_vip(health, cut_off, weights):
    assert weights_of(health, ["apiserver", "services"], cut_off) == weights


def test_keeps_weights_over_a_restart(tmp_path):
    directory = str(tmp_path)
    assert read_weights(directory, ["a", "b"]) == {"a": FAULTY, "b": FAULTY}
    write_weights(directory, {"a": HEALTHY, "b": DEGRADED})
    assert read_weights(directory, ["a", "b"]) == {"a": HEALTHY, "b": DEGRADED}
    inode = (tmp_path / "a").stat().st_ino
    write_weights(directory, {"a": HEALTHY, "b": FAULTY})
    assert (tmp_path / "a").stat().st_ino == inode, "an unchanged weight is not written again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


class Proxy:
    """A server on a Unix socket that answers, or hangs."""

    def __init__(self, path, answer, delay=0):
        self.delay = delay
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.answer = answer
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _address = self.socket.accept()
            except OSError:
                return
            with connection:
                connection.recv(1000)
                if self.answer is None:
                    time.sleep(2 * MAX_TICKS * TICK)
                else:
                    time.sleep(self.delay)
                    with contextlib.suppress(BrokenPipeError):
                        connection.sendall(self.answer)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


@pytest.fixture
def proxy(tmp_path):
    made = []

    def make(answer, delay=0):
        made.append(Proxy(tmp_path / f"socket{len(made)}", answer, delay))
        return str(tmp_path / f"socket{len(made) - 1}")

    yield make
    for each in made:
        each.close()


def test_fetches_what_the_proxy_reports(proxy):
    text = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nconfig=abc reach=10.0.0.1,10.0.0.2 apiserver=2"
    assert fetch_health(proxy(text)) == {"config": "abc", "reach": "10.0.0.1,10.0.0.2", "apiserver": "2"}


@pytest.mark.parametrize("answer", [b"HTTP/1.1 503 Sorry\r\n\r\napiserver=2", b"", None])
def test_detects_an_error_and_a_hanging_proxy_in_time(proxy, answer):
    path, start = proxy(answer), time.monotonic()
    with pytest.raises(OSError, match=r"not 200|in time"):
        fetch_health(path)
    assert time.monotonic() - start < MAX_TICKS * TICK + 0.5


def test_a_slow_host_does_not_make_the_proxy_hang(proxy, monkeypatch):
    """Each tick of the agent is so late that the proxy has answered before too many of them have passed."""
    select = health_agent.select.select

    def late(readers, writers, others, seconds):
        found = select(readers, writers, others, seconds)
        time.sleep(5 * seconds)
        return found

    text = b"HTTP/1.1 200 OK\r\n\r\napiserver=2"
    path = proxy(text, delay=1.5 * MAX_TICKS * TICK)
    monkeypatch.setattr(health_agent.select, "select", late)
    assert fetch_health(path) == {"apiserver": "2"}


def test_detects_a_missing_proxy_at_once(tmp_path):
    with pytest.raises(FileNotFoundError):
        fetch_health(str(tmp_path / "nothing"))


class PingSocket:
    """A raw socket on which one address answers pings."""

    def __init__(self, responder):
        self.responder, self.waiting = responder, []

    def sendto(self, packet, address):
        if address[0] == self.responder:
            header = b"\x45" + bytes(19)
            self.waiting.append((header + b"\0" + packet[1:], (self.responder, 0)))

    def recvfrom(self, _size):
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop()


def test_a_target_that_never_answered_does_not_count():
    connection = PingSocket("10.0.0.1")
    pings, both = PingMonitor(connection), ["10.0.0.1", "10.0.0.2"]
    assert not pings.is_cut_off(both, 0.0), "no target has answered yet"
    assert not pings.is_cut_off(both, 100.0), "one target has just answered"
    connection.responder, connection.waiting = "", []
    assert not pings.is_cut_off(both, 100.0 + PING_SECONDS)
    assert pings.is_cut_off(both, 100.1 + PING_SECONDS)
    assert not pings.is_cut_off(["10.0.0.2"], 200.0), "this target never answered"


def test_the_kernel_answers_a_ping():
    with contextlib.closing(open_ping_socket()) as connection:
        pings = PingMonitor(connection)
        deadline = time.monotonic() + 5
        while "127.0.0.1" not in pings.last_reply:
            assert time.monotonic() < deadline
            pings.is_cut_off(["127.0.0.1"], time.monotonic())
            time.sleep(0.01)


def test_without_a_ping_socket_a_host_is_never_cut_off(monkeypatch):
    def denied(*_arguments):
        raise PermissionError

    monkeypatch.setattr(health_agent.socket, "socket", denied)
    assert open_ping_socket() is None
    pings = PingMonitor(None)
    assert not pings.is_cut_off(["127.0.0.1"], 0.0)
    assert not pings.is_cut_off(["127.0.0.1"], 100.0)


class LoopEnded(Exception):
    """Ends the endless loop of the agent."""


class Clock:
    """Stands in for the module ``time``; time passes only in ``sleep``, and ends after ``seconds``."""

    def __init__(self, seconds):
        self.now, self.end = 1000.0, 1000.0 + seconds

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        if self.now > self.end:
            raise LoopEnded


def test_publishes_weights_and_feeds_the_watchdog(tmp_path, monkeypatch):
    clock, messages = Clock(20), []

    def health(_path):
        if clock.now <= 1001:
            raise ConnectionRefusedError
        return {"config": "abc", "reach": "", "apiserver": "1", "services": "0"}

    def notify(message):
        messages.append((message, read_weights(str(tmp_path), ["services"])))

    monkeypatch.setattr(health_agent, "fetch_health", health)
    monkeypatch.setattr(health_agent, "time", clock)
    monkeypatch.setattr(health_agent, "open_ping_socket", lambda: None)
    monkeypatch.setattr(health_agent, "notify_systemd", notify)
    with pytest.raises(LoopEnded):
        health_agent.main(["/socket", str(tmp_path), "apiserver", "services"])
    assert messages[0] == (b"READY=1", {"services": FAULTY})
    assert {message for message, _weights in messages[1:]} == {b"WATCHDOG=1"}
    assert read_weights(str(tmp_path), ["apiserver", "services"]) == {"apiserver": HEALTHY, "services": DEGRADED}


def test_notifies_systemd(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        assert notify_systemd(b"READY=1")
        assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["@tke-overlay-missing", ""])
def test_a_missing_systemd_is_no_error(monkeypatch, address):
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify_systemd(b"READY=1")


def test_runs_as_a_program_with_the_standard_library_alone(proxy, tmp_path):
    """``-I`` and ``-S`` leave out the paths of this environment, and so the collection and all packages."""
    path = proxy(b"HTTP/1.1 200 OK\r\n\r\nconfig=abc reach= apiserver=0 services=1")
    with subprocess.Popen(
        [sys.executable, "-I", "-S", health_agent.__file__, path, str(tmp_path), "apiserver", "services"]
    ) as agent:
        deadline = time.monotonic() + 10
        while read_weights(str(tmp_path), ["apiserver", "services"]) != {"apiserver": DEGRADED, "services": HEALTHY}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        agent.kill()

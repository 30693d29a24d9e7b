# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch over the proxy: worse at once, better only when it lasts, and never a file that reads as something else."""

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

from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import health_agent as clb_watch
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.health_agent import (
    ALONE,
    FAULT,
    FINE,
    PATIENCE,
    SILENCE,
    STEADY,
    TICK,
    HealthAgent,
    Pings,
    ask,
    judge,
    tell,
    told,
)

VALUES = st.sampled_from([FINE, ALONE, FAULT])
PAUSES = st.integers(4, 40).map(lambda number: number / 64)  # sums of these are exact


@given(VALUES, st.lists(st.tuples(VALUES, PAUSES), max_size=30))
def test_worse_is_told_at_once_and_better_only_after_it_has_lasted(first, looks):
    watch, now, history = HealthAgent({"api": first}), 0.0, [(0.0, first)]
    for seen, pause in looks:
        now += pause
        before = watch.told["api"]
        after = watch.step({"api": seen}, now)["api"]
        history.append((now, seen))
        assert after <= max(before, seen)
        if seen <= before:
            assert after == seen
        if after > before:
            lately = [value for moment, value in history[1:] if moment >= now - STEADY]
            assert min(lately) >= after, "nothing worse was seen for the whole time"
            assert any(moment <= now - STEADY for moment, value in history[1:] if value >= after)


def test_what_stays_better_is_told_in_the_end():
    watch = HealthAgent({"api": FAULT})
    assert [watch.step({"api": FINE}, now)["api"] for now in (0.0, STEADY / 2, STEADY)] == [FAULT, FAULT, FINE]


@pytest.mark.parametrize(
    ("answer", "cut_off", "values"),
    [
        ({}, False, {"apiserver": FAULT, "services": FAULT}),
        ({"apiserver": "2", "services": "1+0"}, False, {"apiserver": FINE, "services": FINE}),
        ({"apiserver": "0", "services": "0+0"}, False, {"apiserver": ALONE, "services": ALONE}),
        ({"apiserver": "2", "services": ""}, False, {"apiserver": FINE, "services": FINE}),
        ({"apiserver": "2", "services": "1"}, True, {"apiserver": ALONE, "services": ALONE}),
    ],
)
def test_what_a_vip_is_worth(answer, cut_off, values):
    assert judge(answer, ["apiserver", "services"], cut_off) == values


def test_files_are_kept_over_a_restart_and_what_never_was_told_is_a_fault(tmp_path):
    directory = str(tmp_path)
    assert told(directory, ["a", "b"]) == {"a": FAULT, "b": FAULT}
    tell(directory, {"a": FINE, "b": ALONE})
    assert told(directory, ["a", "b"]) == {"a": FINE, "b": ALONE}
    inode = (tmp_path / "a").stat().st_ino
    tell(directory, {"a": FINE, "b": FAULT})
    assert (tmp_path / "a").stat().st_ino == inode, "what is told already is not written again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


class Proxy:
    """Somebody behind a socket who answers, or hangs."""

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
                    time.sleep(2 * PATIENCE * TICK)
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


def test_an_answer_is_read(proxy):
    text = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nconfig=abc reach=10.0.0.1,10.0.0.2 apiserver=2"
    assert ask(proxy(text)) == {"config": "abc", "reach": "10.0.0.1,10.0.0.2", "apiserver": "2"}


@pytest.mark.parametrize("answer", [b"HTTP/1.1 503 Sorry\r\n\r\napiserver=2", b"", None])
def test_anything_else_is_none_and_a_proxy_that_hangs_is_known_in_time(proxy, answer):
    path, start = proxy(answer), time.monotonic()
    with pytest.raises(OSError):  # noqa: PT011 # whatever it says
        ask(path)
    assert time.monotonic() - start < PATIENCE * TICK + 0.5


def test_on_a_host_without_a_free_cpu_to_be_slow_is_not_to_hang(proxy, monkeypatch):
    """Each tick of this program comes so late that the proxy has answered before too many of them have passed."""
    waiting = clb_watch.select.select

    def late(readers, writers, others, seconds):
        found = waiting(readers, writers, others, seconds)
        time.sleep(5 * seconds)
        return found

    text = b"HTTP/1.1 200 OK\r\n\r\napiserver=2"
    path = proxy(text, delay=1.5 * PATIENCE * TICK)
    monkeypatch.setattr(clb_watch.select, "select", late)
    assert ask(path) == {"apiserver": "2"}


def test_nobody_there_is_known_at_once(tmp_path):
    with pytest.raises(OSError):  # noqa: PT011 # whatever it says
        ask(str(tmp_path / "nothing"))


class OneAnswers:
    """In place of a raw socket: of those who are pinged, one answers."""

    def __init__(self, who):
        self.who, self.waiting = who, []

    def sendto(self, packet, address):
        if address[0] == self.who:
            header = b"\x45" + bytes(19)
            self.waiting.append((header + b"\0" + packet[1:], (self.who, 0)))

    def recvfrom(self, _size):
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.pop()

    def close(self):
        pass


def test_only_who_once_answered_can_be_missed():
    with contextlib.closing(Pings()) as pings:
        pings._socket.close()
        pings._socket = one = OneAnswers("10.0.0.1")
        both = ["10.0.0.1", "10.0.0.2"]
        assert not pings.cut_off(both, 0.0), "nobody has answered yet"
        assert not pings.cut_off(both, 100.0), "one has just answered"
        one.who, one.waiting = "", []
        assert not pings.cut_off(both, 100.0 + SILENCE)
        assert pings.cut_off(both, 100.1 + SILENCE)
        assert not pings.cut_off(["10.0.0.2"], 200.0), "who never answered is not missed"


def test_the_kernel_answers_a_ping():
    with contextlib.closing(Pings()) as pings:
        deadline = time.monotonic() + 5
        while "127.0.0.1" not in pings._heard:
            assert time.monotonic() < deadline
            pings.cut_off(["127.0.0.1"], time.monotonic())
            time.sleep(0.01)


def test_it_runs_as_a_program_of_its_own(proxy, tmp_path):
    path = proxy(b"HTTP/1.1 200 OK\r\n\r\nconfig=abc reach= apiserver=0 services=1")
    with subprocess.Popen(
        [sys.executable, "-I", clb_watch.__file__, path, str(tmp_path), "apiserver", "services"]
    ) as it:
        deadline = time.monotonic() + 10
        while told(str(tmp_path), ["apiserver", "services"]) != {"apiserver": ALONE, "services": FINE}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        it.kill()

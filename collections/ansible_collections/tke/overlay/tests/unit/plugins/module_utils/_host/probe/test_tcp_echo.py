# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The echo of TCP: who answers, to whom, how much, and when it ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.probe import tcp_echo as answering
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import BYTES, ECHOED, REFUSED, converse

HERE = "127.0.0.1"


class Selector(selectors.DefaultSelector):
    """Closes what it knows with itself: the process that serves leaves that to its end."""

    def close(self):
        for key in list(self.get_map().values()):
            key.fileobj.close()
        super().close()


class Server:
    """The loop of who answers, in a thread; the note that ends it, and the port it listens on."""

    def __init__(self, path, listener):
        self.listener = listener
        self.port = listener.getsockname()[1]
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        self.note(HERE, time.monotonic() + 60)
        self.thread = threading.Thread(target=answering._serve, args=(listener, HERE, self.descriptor))
        self.thread.start()

    def note(self, address, until):
        os.pwrite(self.descriptor, f"{address} {until:.0f}".ljust(answering._NOTE_SIZE).encode(), 0)

    def end(self):
        self.note(HERE, 0)
        self.thread.join(10)
        assert not self.thread.is_alive()

    def call(self):
        connection = socket.create_connection((HERE, self.port))
        connection.settimeout(10)
        return connection


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr(answering, "PORT", 0)
    monkeypatch.setattr(answering.selectors, "DefaultSelector", Selector)
    made = Server(tmp_path / "note", answering._listening(HERE))
    monkeypatch.setattr(answering, "PORT", made.port)
    try:
        yield made
    finally:
        made.end()
        made.listener.close()
        os.close(made.descriptor)


def received(connection, size):
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            break
        found += part
    return found


def test_all_that_is_sent_comes_back_on_as_many_connections_as_there_are(server):
    assert converse(HERE, [HERE], 10) == {HERE: ECHOED}
    with contextlib.ExitStack() as stack:
        calls = [stack.enter_context(server.call()) for _number in range(20)]
        for number, call in enumerate(calls):
            call.sendall(b"%d" % number * 100)
        for number, call in reversed(list(enumerate(calls))):
            assert received(call, len(b"%d" % number) * 100) == b"%d" % number * 100


def test_nobody_gets_more_back_than_one_probe_sends(server):
    with server.call() as call:
        call.sendall(b"x" * BYTES)
        assert received(call, BYTES) == b"x" * BYTES
        call.sendall(b"y")
        assert call.recv(1) == b""


def test_who_hangs_up_in_the_middle_is_forgotten_and_the_others_are_answered(server):
    with server.call() as call:
        call.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # a reset, not an end
        call.sendall(b"x" * 1000)
    with server.call() as call:
        call.shutdown(socket.SHUT_WR)
        assert call.recv(1) == b""
    assert converse(HERE, [HERE], 10) == {HERE: ECHOED}


def test_who_stays_too_long_is_hung_up_on(server, monkeypatch):
    monkeypatch.setattr(answering, "_LONGEST", 0)
    with server.call() as call:
        assert call.recv(1) == b""


@pytest.mark.parametrize("note", [(HERE, 0), ("127.0.0.2", 1e9)])
def test_the_note_ends_it(server, note):
    server.note(*note)
    server.thread.join(10)
    assert not server.thread.is_alive()


def test_a_note_that_is_torn_ends_nothing(server):
    os.pwrite(server.descriptor, b"torn".ljust(answering._NOTE_SIZE), 0)
    assert converse(HERE, [HERE], 10) == {HERE: ECHOED}


def test_a_port_that_another_has_is_an_error_that_says_how_to_find_him(server):
    with pytest.raises(KernelError) as caught:
        answering._listening(HERE)
    assert str(caught.value) == (
        f"TCP port {server.port} of {HERE} cannot be listened on: Address already in use, "
        f"see: ss -ltnp sport = :{server.port}"
    )


def test_an_address_of_nobody_here_is_an_error_without_that(monkeypatch):
    monkeypatch.setattr(answering, "PORT", 0)
    with pytest.raises(KernelError, match=r"^TCP port 0 of 192.0.2.1 cannot be listened on: Cannot assign"):
        answering._listening("192.0.2.1")


def impostor(words):
    """Says these words to whoever calls, once it has heard something, and listens until he hangs up."""
    listener = socket.create_server((HERE, 0))

    def serve():
        with listener, listener.accept()[0] as connection:
            connection.recv(10)
            connection.sendall(words)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(BYTES):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    return thread, listener.getsockname()[1]


def test_what_comes_back_otherwise_is_told(monkeypatch):
    thread, port = impostor(b"HTTP/1.1 400 Bad Request")
    monkeypatch.setattr(answering, "PORT", port)
    assert converse(HERE, [HERE], 10) == {HERE: f"what came back is not what was sent, after 24 of {BYTES} bytes"}
    thread.join()


def test_nobody_there_is_refused_and_silence_is_not_waited_for(monkeypatch):
    with socket.create_server((HERE, 0)) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(answering, "PORT", port)
        assert converse(HERE, [HERE], 0.05)[HERE].startswith("connected, and stuck after ")
    assert converse(HERE, [HERE], 10) == {HERE: REFUSED}


def test_a_source_that_is_not_here_is_told_at_once():
    assert converse("192.0.2.1", [HERE], 10) == {HERE: "Cannot assign requested address"}

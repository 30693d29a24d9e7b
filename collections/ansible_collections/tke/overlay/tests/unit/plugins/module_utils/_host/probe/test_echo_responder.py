# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the echo responder: what it returns, to how many clients, and when it ends."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.probe import echo_responder, tcp_echo
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.echo_responder import (
    CONTROL_SIZE,
    listen,
    respond,
    write_control,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import BYTES, ECHOED, probe_tcp

HERE = "127.0.0.1"


class Selector(selectors.DefaultSelector):
    """Closes the sockets it knows when it is closed. The real responder leaves that to the end of its process."""

    def close(self):
        for key in list(self.get_map().values()):
            key.fileobj.close()
        super().close()


class Responder:
    """The loop of the responder in a thread, its control file, and its port."""

    def __init__(self, path, listener):
        self.listener = listener
        self.port = listener.getsockname()[1]
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        write_control(self.descriptor, HERE, time.monotonic() + 60)
        self.thread = threading.Thread(target=respond, args=(listener, HERE, self.descriptor))
        self.thread.start()

    def stop(self):
        write_control(self.descriptor, HERE, 0)
        self.join()

    def join(self):
        self.thread.join(10)
        assert not self.thread.is_alive()

    def connect(self):
        connection = socket.create_connection((HERE, self.port))
        connection.settimeout(10)
        return connection


@pytest.fixture
def responder(tmp_path, monkeypatch):
    monkeypatch.setattr(tcp_echo, "PORT", 0)
    monkeypatch.setattr(selectors, "DefaultSelector", Selector)
    made = Responder(tmp_path / "control", listen(HERE))
    monkeypatch.setattr(tcp_echo, "PORT", made.port)
    try:
        yield made
    finally:
        made.stop()
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


def test_echoes_on_many_connections(responder):
    assert probe_tcp(HERE, [HERE], 10, tcp_echo.PORT) == {HERE: ECHOED}
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(responder.connect()) for _number in range(20)]
        for number, connection in enumerate(connections):
            connection.sendall(b"%d" % number * 100)
        for number, connection in reversed(list(enumerate(connections))):
            assert received(connection, len(b"%d" % number) * 100) == b"%d" % number * 100


def test_returns_no_more_than_one_probe_sends(responder):
    with responder.connect() as connection:
        connection.sendall(b"x" * BYTES)
        assert received(connection, BYTES) == b"x" * BYTES
        connection.sendall(b"y")
        assert connection.recv(1) == b""


def test_an_aborted_connection_does_not_affect_others(responder):
    with responder.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # reset, no FIN
        connection.sendall(b"x" * 1000)
    with responder.connect() as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert probe_tcp(HERE, [HERE], 10, tcp_echo.PORT) == {HERE: ECHOED}


def test_closes_a_connection_after_a_while(responder, monkeypatch):
    monkeypatch.setattr(echo_responder, "CONNECTION_SECONDS", 0)
    with responder.connect() as connection:
        assert connection.recv(1) == b""


@pytest.mark.parametrize("control", [(HERE, 0), ("127.0.0.2", 1e9)])
def test_the_control_file_ends_the_responder(responder, control):
    write_control(responder.descriptor, *control)
    responder.join()


def test_a_damaged_control_file_does_not_end_the_responder(responder):
    os.pwrite(responder.descriptor, b"damaged".ljust(CONTROL_SIZE), 0)
    assert probe_tcp(HERE, [HERE], 10, tcp_echo.PORT) == {HERE: ECHOED}


def test_a_used_port_is_an_error_with_a_command(responder):
    with pytest.raises(KernelError) as caught:
        listen(HERE)
    for words in (HERE, str(responder.port), "Address already in use", f"ss -ltnp sport = :{responder.port}"):
        assert words in str(caught.value)


def test_a_foreign_address_is_an_error_without_a_command(monkeypatch):
    monkeypatch.setattr(tcp_echo, "PORT", 0)
    with pytest.raises(KernelError, match=r"192.0.2.1, TCP port 0: Cannot assign requested address$"):
        listen("192.0.2.1")

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the TCP probe against peers that do not echo. test_echo_responder tests it against the echo responder."""

from __future__ import annotations

import contextlib
import socket
import threading

from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import BYTES, REFUSED, probe_tcp

HERE = "127.0.0.1"


@contextlib.contextmanager
def other_server(answer):
    """Run a server that sends ``answer`` after the first bytes, and reads until the client closes the connection."""
    listener = socket.create_server((HERE, 0))
    listener.settimeout(30)  # a probe that never comes fails the test

    def serve():
        with listener, listener.accept()[0] as connection:
            connection.recv(10)
            connection.sendall(answer)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(BYTES):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    thread.join()


def test_reports_an_answer_that_is_no_echo():
    with other_server(b"HTTP/1.1 400 Bad Request") as port:
        results = probe_tcp(HERE, [HERE], 10, port)
    assert results == {HERE: f"the echo differs from what was sent, after 24 of {BYTES} bytes"}


def test_reports_a_stalled_and_a_refused_connection():
    with socket.create_server((HERE, 0)) as silent:
        port = silent.getsockname()[1]
        assert probe_tcp(HERE, [HERE], 0.05, port)[HERE].startswith("connected, then stalled after ")
    assert probe_tcp(HERE, [HERE], 10, port) == {HERE: REFUSED}


def test_reports_a_source_that_is_not_on_this_host():
    assert probe_tcp("192.0.2.1", [HERE], 10) == {HERE: "Cannot assign requested address"}

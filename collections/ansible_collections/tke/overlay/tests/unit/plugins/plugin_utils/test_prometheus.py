# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Prometheus that does not answer as it should does to the report: one line, and no failure."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import urllib.parse

import pytest

from ansible_collections.tke.overlay.plugins.plugin_utils._prometheus import past_day


@contextlib.contextmanager
def server(status, body):
    """Serve one answer for everything, and yield the address and the requests."""
    requests = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            requests.append((self.path, urllib.parse.parse_qs(text)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments):
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}/prefix/", requests
    finally:
        listener.shutdown()
        listener.server_close()


@pytest.fixture
def closed():
    """Return the address of a port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_each_measure_is_asked_for_one_day():
    with server(200, b'{"data": {"result": [{"values": [[1780000000, "100"]]}]}}') as (url, requests):
        found = past_day(url, "demo")
    assert found["problem"] is None
    assert [each["name"] for each in found["series"]] == ["reachability", "full_size", "repairs", "drops"]
    for path, fields in requests:
        assert path == "/prefix/api/v1/query_range"
        assert int(fields["end"][0]) - int(fields["start"][0]) == 86_400
        assert 'cluster="demo"' in fields["query"][0]


@pytest.mark.parametrize(
    ("status", "body", "word"),
    [
        (404, b"", "HTTP status 404"),
        (200, b"<html>", "none of Prometheus"),
        (200, b'{"data": []}', "none of Prometheus"),
        (200, b"\xff\xfe", "none of Prometheus"),
    ],
)
def test_an_answer_that_is_none_is_one_line(status, body, word):
    with server(status, body) as (url, _requests):
        problem = past_day(url, "demo")["problem"]
    assert word in problem
    assert url in problem
    assert "overlay_prometheus_url" in problem


def test_no_answer_is_one_line_with_the_reason(closed):
    found = past_day(closed, "demo")
    assert found["series"] == []
    assert "refused" in found["problem"].lower()
    assert "\n" not in found["problem"]

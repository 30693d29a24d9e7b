# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorded API endpoint, and waiting for it."""

from __future__ import annotations

import socket

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.api_endpoint import (
    ApiEndpoint,
    await_endpoint,
    connection_error,
    recorded_endpoint,
)


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Write the record of the API endpoint."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))

    def written(text):
        (tmp_path / "etc/tke-overlay").mkdir(parents=True)
        (tmp_path / "etc/tke-overlay/api-endpoint").write_text(text)

    return written


@pytest.fixture
def closed_port():
    """Return a TCP port of the loopback address on which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize(
    ("text", "endpoint", "shown"),
    [
        ("10.0.0.5:6443\n", ("10.0.0.5", 6443), "10.0.0.5:6443"),
        ("api.example.com:443\n", ("api.example.com", 443), "api.example.com:443"),
        ("[2001:db8::1]:6443\n", ("2001:db8::1", 6443), "[2001:db8::1]:6443"),
    ],
)
def test_reads_an_endpoint(record, text, endpoint, shown):
    record(text)
    assert recorded_endpoint() == endpoint
    assert str(recorded_endpoint()) == shown


@pytest.mark.parametrize("text", ["", "10.0.0.5:6443\nmore\n"])
def test_a_damaged_record_of_the_module_is_no_record(record, tmp_path, text):
    record(text)
    (tmp_path / "etc/tke-overlay/endpoint.checksums").write_text("")
    assert recorded_endpoint() is None


def test_no_record_is_no_endpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    assert recorded_endpoint() is None


@pytest.mark.parametrize("text", ["", "10.0.0.1", "10.0.0.1:x", "10.0.0.1:0", ":6443", "10.0.0.1:6443 10.0.0.2:6443"])
def test_rejects_a_malformed_record(record, text):
    record(text)
    with pytest.raises(ValidationError) as caught:
        recorded_endpoint()
    for part in ("/etc/tke-overlay/api-endpoint", repr(text), "host:port", "correct the file or remove it"):
        assert part in str(caught.value)


def test_connection_error_names_the_reason(closed_port):
    assert "refused" in connection_error(ApiEndpoint("127.0.0.1", closed_port))


def test_no_connection_error_while_a_server_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert connection_error(ApiEndpoint("127.0.0.1", server.getsockname()[1])) is None


def test_reports_an_endpoint_that_stays_unreachable(closed_port):
    with pytest.raises(KernelError) as caught:
        await_endpoint(ApiEndpoint("127.0.0.1", closed_port), 0.1)
    assert f"cut this host off from its API endpoint: 127.0.0.1:{closed_port}" in str(caught.value)

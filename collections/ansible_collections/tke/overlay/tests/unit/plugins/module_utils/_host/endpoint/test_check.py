# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the check of an endpoint: each stage fails on a real socket, and the error names it and what was seen."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import check
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import (
    STAGES,
    EndpointCheckError,
    EndpointTarget,
    TlsClient,
    memory_file,
    wait_for_endpoint,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import Credentials
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.x509 import describe

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.contextmanager
def listening(handle):
    """Run a server on a port of this host; ``handle`` gets each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _address = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    handle(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def tls_server(pki, answer=OK, server=None, client_ca=None):
    """Return a handler for :func:`listening` that completes the TLS handshake and sends an answer."""
    server = server or pki.server

    def handle(connection):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with memory_file(server.pem + pki.ca.pem) as certificate, memory_file(server.key_pem) as key:
            context.load_cert_chain(certificate, key)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=client_ca.pem.decode())
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
            try:
                tls.do_handshake()
            except ssl.SSLError:
                # A client of TLS 1.3 has sent its request by then. An unread request would end the connection with a
                # reset, after which the kernel of the client can drop the alert.
                while socket.socket.recv(tls, 4096):
                    pass
                raise
            if tls.recv(4096):
                tls.sendall(answer)

    return handle


def fake_iproute(command, _text):
    """Stand in for iproute2 on a host that has a route to every address."""
    if command[:5] != ["ip", "-4", "-json", "route", "get"]:
        return 0, "", ""
    return 0, json.dumps([{"dst": command[-1], "dev": "lo", "prefsrc": "127.0.0.1"}]), ""


def check_port(pki, port, run=fake_iproute, **options):
    """Check an endpoint on a port of this host; options: authority, credentials, name, address."""
    name, authority = options.get("name", "localhost"), options.get("authority", pki.ca)
    client = TlsClient("ca", authority.pem.decode(), name, options.get("credentials"))
    return wait_for_endpoint(EndpointTarget(name, options.get("address", "127.0.0.1"), port, [client]), run, 0)


def test_returns_what_each_stage_saw(pki):
    with listening(tls_server(pki)) as port:
        evidence = check_port(pki, port)
    assert list(evidence) == list(STAGES)
    assert evidence["route"] == "127.0.0.1 dev lo src 127.0.0.1"
    assert evidence["http"] == "GET /readyz: 200 OK: ok"
    assert "subject CN=server, for localhost, by CN=the-ca" in evidence["tls"]


NOT_READY = b"HTTP/1.1 500 Oops\r\n\r\n[-]etcd failed\nhealthz check failed"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
ANSWERS = {
    "500": (NOT_READY, "500 Oops: [-]etcd failed healthz"),
    "404": (NOT_FOUND, "GET /readyz: 404 Not Found"),
    "no answer": (b"", "no answer to GET /readyz"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", "no answer to GET /readyz"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_reports_an_answer_that_is_not_ready(pki, case):
    answer, words = ANSWERS[case]
    with listening(tls_server(pki, answer)) as port, pytest.raises(EndpointCheckError) as failed:
        check_port(pki, port)
    assert failed.value.stage == "http"
    assert words in str(failed.value)
    assert f"localhost (127.0.0.1:{port}) does not answer. http: " in str(failed.value)
    assert "stages that passed: name: localhost is 127.0.0.1; route: 127.0.0.1 dev lo" in str(failed.value)


CERTIFICATES = {
    "expired": (lambda pki: (pki.issue("old", pki.ca, expired=True), pki.ca), "certificate has expired"),
    "another name": (
        lambda pki: (pki.issue("server", pki.ca, names=["a.example", "10.0.0.9"]), pki.ca),
        "Hostname mismatch",
    ),
    "another CA": (
        lambda pki: (pki.server, pki.other_ca),
        "self-signed certificate in certificate chain, verified with ca",
    ),
    "only in the subject": (
        lambda pki: (pki.issue("localhost", pki.ca, names=["10.0.0.9"]), pki.ca),
        "Hostname mismatch",
    ),
}


@pytest.mark.parametrize("case", CERTIFICATES)
def test_shows_a_certificate_that_is_not_valid(pki, case):
    certificates, words = CERTIFICATES[case]
    server, authority = certificates(pki)
    with listening(tls_server(pki, server=server)) as port, pytest.raises(EndpointCheckError) as failed:
        check_port(pki, port, authority=authority)
    assert failed.value.stage == "tls"
    assert words in str(failed.value)
    assert f"the server presented {describe(server.der)}" in str(failed.value)


def test_recognises_a_load_balancer_without_servers(pki):
    with listening(lambda connection: None) as port, pytest.raises(
        EndpointCheckError, match="all servers behind it are down"
    ) as failed:
        check_port(pki, port)
    assert failed.value.stage == "tls"


def test_a_reset_before_the_handshake_is_a_failed_stage(pki, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = socket.create_connection(listener.getsockname())
        peer, _address = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(ConnectionResetError):
            plain.recv(1)
        monkeypatch.setattr(check.socket, "create_connection", lambda address, timeout: plain)
        with pytest.raises(EndpointCheckError, match="all servers behind it are down") as failed:
            check_port(pki, 1)
    assert failed.value.stage == "tls"
    assert set(failed.value.evidence) == {"name", "route", "tcp", "tls"}


def test_limits_the_time_of_a_stage(pki, monkeypatch):
    monkeypatch.setattr(check, "STAGE_SECONDS", 0.2)
    silent = listening(lambda connection: connection.recv(9999) and connection.recv(1))
    with silent as port, pytest.raises(EndpointCheckError, match="no answer within 0 s") as failed:
        check_port(pki, port)
    assert failed.value.stage == "tls"


def test_reports_a_closed_port(pki):
    with listening(lambda connection: None) as port:
        pass
    with pytest.raises(EndpointCheckError, match="tcp: Connection refused: no program listens there") as failed:
        check_port(pki, port)
    assert set(failed.value.evidence) == {"name", "route", "tcp"}


def test_reports_a_name_that_does_not_resolve_as_expected(pki):
    with pytest.raises(EndpointCheckError, match=r"name: no-such-name.invalid does not resolve") as failed:
        check_port(pki, 1, name="no-such-name.invalid")
    assert set(failed.value.evidence) == {"name"}
    with pytest.raises(EndpointCheckError, match=r"name: localhost resolves to .*, expected 127.9.9.9"):
        check_port(pki, 1, address="127.9.9.9")


ROUTES = {
    "none": ((2, "", "RTNETLINK answers: Network is unreachable\n"), "no route to 127.0.0.1: .*Network is unreachable"),
    "a blackhole": ((0, '[{"type": "blackhole", "dst": "127.0.0.1"}]', ""), "to 127.0.0.1 is of type blackhole"),
}


@pytest.mark.parametrize("case", ROUTES)
def test_reports_a_missing_route(pki, case):
    answer, words = ROUTES[case]
    with pytest.raises(EndpointCheckError, match=words) as failed:
        check_port(pki, 1, run=lambda command, text: answer)
    assert failed.value.stage == "route"


def test_presents_a_client_certificate_and_never_shows_its_key(pki):
    credentials = Credentials(pki.client.pem, pki.client.key_pem)
    with listening(tls_server(pki, client_ca=pki.ca)) as port:
        with pytest.raises(ValidationError, match="ca: the client certificate and its key cannot be read") as rejected:
            check_port(pki, port, credentials=Credentials(pki.client.pem, pki.server.key_pem))
        assert "200" in check_port(pki, port, credentials=credentials)["http"]
        with pytest.raises(EndpointCheckError, match="tls: the server ended the connection: ") as failed:
            check_port(pki, port)
    assert failed.value.stage == "tls"
    assert "PRIVATE" not in str(rejected.value) + repr(credentials)


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_server_that_denies_an_unknown_client_is_reachable(pki, status):
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with listening(tls_server(pki, answer)) as port:
        assert f"{status}: ; the server is reachable" in check_port(pki, port)["http"]


def test_a_server_must_accept_a_client_certificate(pki):
    credentials = Credentials(pki.client.pem, pki.client.key_pem)
    forbidden, unauthorized = (
        f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode() for status in ("403 Forbidden", "401 Unauthorized")
    )
    with listening(tls_server(pki, forbidden)) as port:
        assert "the server is reachable" in check_port(pki, port, credentials=credentials)["http"]
    with listening(tls_server(pki, unauthorized)) as port, pytest.raises(
        EndpointCheckError, match="does not accept the client certificate of ca"
    ):
        check_port(pki, port, credentials=credentials)


def test_waits_until_the_endpoint_answers(pki, monkeypatch):
    monkeypatch.setattr(check, "PAUSE", 0.01)
    answers = iter([NOT_READY, NOT_FOUND, OK])

    def handle(connection):
        tls_server(pki, next(answers))(connection)

    with listening(handle) as port:
        target = EndpointTarget("localhost", "127.0.0.1", port, [TlsClient("ca", pki.ca.pem.decode(), "localhost")])
        assert "200" in wait_for_endpoint(target, fake_iproute, 60)["http"]


def test_checks_only_the_requested_stages(pki):
    with listening(tls_server(pki)) as port:
        client = TlsClient("ca", pki.ca.pem.decode(), "localhost")
        target = EndpointTarget("localhost", "127.0.0.1", port, [client], path=None)
        assert set(wait_for_endpoint(target, fake_iproute, 0, stages=["name"])) == {"name"}
        assert set(wait_for_endpoint(target, fake_iproute, 0, stages=["route"])) == {"route"}
        assert set(wait_for_endpoint(target, fake_iproute, 0, stages=["tcp"])) == {"tcp", "tls"}, "no path, no request"


def test_a_client_key_that_cannot_be_read_is_an_error(pki):
    client = TlsClient("cluster a of /kubeconfig", pki.ca.pem.decode(), "localhost", Credentials(b"no", b"secret"))
    with pytest.raises(ValidationError, match="cluster a of /kubeconfig: the client certificate") as caught:
        check.tls_context(client)
    assert "secret" not in str(caught.value)

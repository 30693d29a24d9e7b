# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each stage of an endpoint fails on a real socket, and the error says which and what was seen."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import struct
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import check as asking
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import (
    Client,
    EndpointCheckError,
    EndpointQuestion,
    wait,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import Credentials
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.x509 import describe, refuse_no_ca

NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
DAY = datetime.timedelta(days=1)


class Issued:
    """A certificate and its key; signed by itself, or by another."""

    def __init__(self, name, issuer=None, ca=False, names=("localhost",), ends=NOW + DAY):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder(subject_name=self.subject)
            .issuer_name((issuer or self).subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - 9 * DAY)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            alternatives = [x509.DNSName(each) for each in names if ":" not in each and not each[0].isdigit()]
            alternatives += [
                x509.IPAddress(ipaddress.ip_address(each)) for each in names if each[0].isdigit() or ":" in each
            ]
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        self.certificate = builder.sign((issuer or self).key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(serialization.Encoding.PEM)
        self.der = self.certificate.public_bytes(serialization.Encoding.DER)
        self.key_pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


CA = Issued("the-ca", ca=True)
OTHER_CA = Issued("other-ca", ca=True)
SERVER = Issued("server", CA)
CLIENT = Issued("client", CA)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.contextmanager
def listening(handle):
    """A server on a port of this machine; ``handle`` gets each connection."""
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


def answering(answer, server=SERVER, clients=None):
    def handle(connection):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with asking._in_memory(server.pem + CA.pem) as certificate, asking._in_memory(server.key_pem) as key:
            context.load_cert_chain(certificate, key)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=clients.pem.decode())
        with context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
            try:
                tls.do_handshake()
            except ssl.SSLError:
                # A client of TLS 1.3 has sent its request by then. Unread, it would make the end of the connection a
                # reset, over which the client's kernel can forget the alert.
                while socket.socket.recv(tls, 4096):
                    pass
                raise
            if tls.recv(4096):
                tls.sendall(answer)

    return handle


def routed(command, _text):
    """Stands in for iproute2: a host with one way everywhere."""
    assert command[:2] == ["ip", "-4"]
    return 0, json.dumps([{"dst": command[-1], "dev": "lo", "prefsrc": "127.0.0.1"}]), ""


def ask(port, authority=CA, credentials=None, name="localhost", address="127.0.0.1", run=routed):
    client = Client("ca", authority and authority.pem.decode(), name, credentials)
    return wait(EndpointQuestion(name, address, port, [client]), run, 0)


def test_all_stages_say_what_they_saw():
    with listening(answering(OK)) as port:
        evidence = ask(port)
    assert list(evidence) == list(asking.STAGES)
    assert evidence["route"] == "127.0.0.1 dev lo src 127.0.0.1"
    assert evidence["http"] == "GET /readyz: 200 OK: ok"
    assert "subject CN=server, for localhost, by CN=the-ca" in evidence["tls"]


ANSWERS = {
    "500": (
        b"HTTP/1.1 500 Oops\r\n\r\n[-]etcd failed\nhealthz check failed",
        "http",
        "500 Oops: [-]etcd failed healthz",
    ),
    "404": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "http", "GET /readyz: 404 Not Found"),
    "no answer": (b"", "http", "no answer to GET /readyz"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", "http", "no answer to GET /readyz"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_that_is_none(case):
    answer, stage, words = ANSWERS[case]
    with listening(answering(answer)) as port, pytest.raises(EndpointCheckError) as failed:
        ask(port)
    assert failed.value.stage == stage
    assert words in str(failed.value)
    assert f"localhost (127.0.0.1:{port}) does not answer. http: " in str(failed.value)
    assert "what was well before: name: localhost is 127.0.0.1; route: 127.0.0.1 dev lo" in str(failed.value)


CERTIFICATES = {
    "expired": (Issued("old", CA, ends=NOW - DAY), CA, "certificate has expired"),
    "another name": (Issued("server", CA, names=["a.example", "10.0.0.9"]), CA, "Hostname mismatch"),
    "another CA": (SERVER, OTHER_CA, "self-signed certificate in certificate chain, judged by ca"),
    "only in the subject": (Issued("localhost", CA, names=["10.0.0.9"]), CA, "Hostname mismatch"),
}


@pytest.mark.parametrize("case", CERTIFICATES)
def test_a_certificate_that_does_not_hold_is_shown(case):
    server, authority, words = CERTIFICATES[case]
    with listening(answering(OK, server)) as port, pytest.raises(EndpointCheckError) as failed:
        ask(port, authority)
    assert failed.value.stage == "tls"
    assert words in str(failed.value)
    assert f"it showed {describe(server.der)}" in str(failed.value)


def test_a_load_balancer_without_servers_is_recognised():
    with listening(lambda connection: None) as port, pytest.raises(
        EndpointCheckError, match="no living server behind it"
    ) as failed:
        ask(port)
    assert failed.value.stage == "tls"


def test_a_connection_that_was_reset_before_the_greeting_is_no_crash():
    client = Client("ca", CA.pem.decode(), "localhost")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = socket.create_connection(listener.getsockname())
        peer, _address = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        with pytest.raises(ConnectionResetError):
            plain.recv(1)
        with contextlib.closing(plain), pytest.raises(asking._Failure, match="no living server") as failed:
            asking._handshake(plain, EndpointQuestion("localhost", "127.0.0.1", 1, [client]), client).__enter__()
    assert failed.value.stage == "tls"


def test_silence_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(asking, "STEP_SECONDS", 0.2)
    silent = listening(lambda connection: connection.recv(9999) and connection.recv(1))
    with silent as port, pytest.raises(EndpointCheckError, match="no answer within 0 s") as failed:
        ask(port)
    assert failed.value.stage == "tls"


def test_a_closed_port():
    with listening(lambda connection: None) as port:
        pass
    with pytest.raises(EndpointCheckError, match="tcp: Connection refused: nobody listens there") as failed:
        ask(port)
    assert set(failed.value.evidence) == {"name", "route", "tcp"}


def test_a_name_that_does_not_resolve_or_otherwise():
    with pytest.raises(EndpointCheckError, match=r"name: no-such-name.invalid does not resolve") as failed:
        ask(1, name="no-such-name.invalid")
    assert set(failed.value.evidence) == {"name"}
    with pytest.raises(EndpointCheckError, match=r"name: localhost resolves to .*, and should to 127.9.9.9"):
        ask(1, address="127.9.9.9")


ROUTES = {
    "none": ((2, "", "RTNETLINK answers: Network is unreachable\n"), "no way to 127.0.0.1: .*Network is unreachable"),
    "a blackhole": ((0, '[{"type": "blackhole", "dst": "127.0.0.1"}]', ""), "route to 127.0.0.1 is blackhole"),
}


@pytest.mark.parametrize("case", ROUTES)
def test_no_way(case):
    answer, words = ROUTES[case]
    with pytest.raises(EndpointCheckError, match=words) as failed:
        ask(1, run=lambda command, text: answer)
    assert failed.value.stage == "route"


def test_a_client_certificate_is_shown_and_its_key_never():
    credentials = Credentials(CLIENT.pem, CLIENT.key_pem)
    with listening(answering(OK, clients=CA)) as port:
        with pytest.raises(ValidationError, match="ca: client certificate and key cannot be used") as refused:
            ask(port, credentials=Credentials(CLIENT.pem, SERVER.key_pem))
        assert "200" in ask(port, credentials=credentials)["http"]
        with pytest.raises(EndpointCheckError, match="tls: the server ended it: ") as failed:
            ask(port)
    assert failed.value.stage == "tls"
    assert "PRIVATE" not in str(refused.value) + repr(credentials)


REASONS = ["401 Unauthorized", "403 Forbidden"]


@pytest.mark.parametrize("status", REASONS)
def test_a_server_that_does_not_say_is_there_but_must_know_its_own_client(status):
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
    with listening(answering(answer)) as port:
        assert f"{status}: ; so the server is there" in ask(port)["http"]
        credentials = Credentials(CLIENT.pem, CLIENT.key_pem)
        if status == REASONS[0]:
            with pytest.raises(EndpointCheckError, match="does not know the client certificate of ca"):
                ask(port, credentials=credentials)
        else:
            assert "so the server is there" in ask(port, credentials=credentials)["http"]


def test_it_waits_until_the_endpoint_answers(monkeypatch):
    monkeypatch.setattr(asking, "PAUSE", 0.01)
    answers = iter([ANSWERS["500"][0], ANSWERS["404"][0], OK])

    def handle(connection):
        answering(next(answers))(connection)

    with listening(handle) as port:
        client = Client("ca", CA.pem.decode(), "localhost")
        assert "200" in wait(EndpointQuestion("localhost", "127.0.0.1", port, [client]), routed, 60)["http"]


def test_a_certificate_in_words():
    issued = Issued("server", CA, names=["a.example", "10.0.0.9", "fd00::9"], ends=NOW)
    assert describe(issued.der) == (
        f"subject CN=server, for a.example, 10.0.0.9, fd00::9, by CN=the-ca, "
        f"valid from {NOW - 9 * DAY:%Y-%m-%d %H:%M:%S} UTC to {NOW:%Y-%m-%d %H:%M:%S} UTC"
    )
    for length in range(0, len(issued.der), 7):
        assert describe(issued.der[:length]) == "a certificate that cannot be read"


AUTHORITIES = {
    "nothing": ("", "ca holds no certificate in PEM form"),
    "a key": (CA.key_pem.decode(), "ca holds no certificate in PEM form"),
    "no CA": (SERVER.pem.decode(), "ca holds no certificate of a CA, but: subject CN=server"),
    "an old CA": (Issued("old", ca=True, ends=NOW - DAY).pem.decode(), "the CA of ca has expired: subject CN=old"),
}


@pytest.mark.parametrize("case", AUTHORITIES)
def test_what_is_no_ca_is_refused(case):
    text, words = AUTHORITIES[case]
    with pytest.raises(ValidationError, match=words):
        refuse_no_ca(text, "ca")
    refuse_no_ca(text.replace(CA.key_pem.decode(), "") + CA.pem.decode(), "ca")

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: whether an endpoint answers, asked step by step as a client meets it.

=====  =============================================================================
name   the host's own resolver gives the name this address, and no other
route  the kernel has a way there
tcp    a connection is accepted
tls    the certificate is of the CA that the client trusts, valid now, for this name
http   ``/readyz`` answers
=====  =============================================================================

Whichever step is the first that fails is named, with what was seen there.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import socket
import ssl
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig import Credentials
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.x509 import describe
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run, read_json

STAGES = ("name", "route", "tcp", "tls", "http")
STEP_SECONDS = 5.0
"""The most that one step may take: what answers later does not work."""

PAUSE = 0.5

Evidence = t.Dict[str, str]
"""Stage -> what was seen."""


class Client(t.NamedTuple):
    """What a program that asks trusts and shows. Without a CA it looks at no certificate."""

    origin: str
    authority: str | None
    name: str
    credentials: Credentials | None = None


class EndpointQuestion(t.NamedTuple):
    """One endpoint."""

    name: str
    address: str
    port: int
    clients: list[Client]
    path: str | None = "/readyz"


class EndpointCheckError(KernelError):
    """An endpoint does not answer: at which stage, and what was seen until then."""

    def __init__(self, question: EndpointQuestion, stage: str, words: str, evidence: Evidence) -> None:
        self.stage = stage
        self.evidence = {**evidence, stage: words}
        self.done: list[Diff] = []  # what was changed on the way
        where = f"{question.name} ({with_port(question.address, question.port)})"
        good = [f"{name}: {seen}" for name, seen in evidence.items()]
        super().__init__(
            f"{where} does not answer. {stage}: {words}"
            + (f" (what was well before: {'; '.join(good)})" if good else "")
        )


class _Failure(Exception):
    """A stage that failed."""

    def __init__(self, stage: str, words: str) -> None:
        self.stage, self.words = stage, words
        super().__init__(words)


def context_of(client: Client) -> ssl.SSLContext:
    """What a client trusts, and nothing that the system trusts beside it. As strict as Go, not as Python 3.13.

    :raises ValidationError: its certificate and key do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    if client.authority is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(cadata=client.authority)
    if client.credentials:
        try:
            with _in_memory(client.credentials.certificate) as certificate, _in_memory(client.credentials.key) as key:
                context.load_cert_chain(certificate, key, password=lambda: b"")  # without it, OpenSSL asks a terminal
        except (ssl.SSLError, OSError) as error:
            raise ValidationError(
                f"{client.origin}: client certificate and key cannot be used, or do not fit"
            ) from error
    return context


@contextlib.contextmanager
def _in_memory(content: bytes) -> t.Iterator[str]:
    """A file that is on no disk: the TLS library takes keys from files only."""
    descriptor = os.memfd_create("tke-overlay", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def wait(question: EndpointQuestion, run: Run, seconds: float, stages: t.Collection[str] = STAGES) -> Evidence:
    """Asks until the endpoint answers.

    :param stages: those to ask for.
    :raises EndpointCheckError: it has not within this time; what the last attempt saw.
    """
    deadline = time.monotonic() + seconds
    while True:
        evidence: Evidence = {}
        try:
            _ask(question, run, stages, evidence)
        except _Failure as failure:
            if time.monotonic() + PAUSE > deadline:
                raise EndpointCheckError(question, failure.stage, failure.words, evidence) from failure
            time.sleep(PAUSE)
        else:
            return evidence


def _ask(question: EndpointQuestion, run: Run, stages: t.Collection[str], evidence: Evidence) -> None:
    if "name" in stages:
        evidence["name"] = _name(question)
    if "route" in stages:
        evidence["route"] = _route(question.address, run)
    if "tcp" not in stages:
        return
    for client in question.clients:
        plain = _connect(question, evidence)
        with contextlib.closing(plain), _handshake(plain, question, client) as tls:
            evidence["tls"] = f"{tls.version()}, {describe(tls.getpeercert(binary_form=True) or b'')}"
            if question.path is not None:
                evidence["http"] = _get(tls, question, client)


def _name(question: EndpointQuestion) -> str:
    try:
        found = {row[4][0] for row in socket.getaddrinfo(question.name, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        words = f"{question.name} does not resolve ({error.strerror}), and should to {question.address}"
        raise _Failure("name", f"{words}; see /etc/hosts and the line 'hosts' of /etc/nsswitch.conf") from error
    if found != {question.address}:
        words = f"{question.name} resolves to {', '.join(sorted(map(str, found)))}, and should to {question.address}"
        raise _Failure("name", f"{words}; see /etc/hosts and the line 'hosts' of /etc/nsswitch.conf")
    return f"{question.name} is {question.address}"


def _route(address: str, run: Run) -> str:
    version = "-6" if ":" in address else "-4"
    try:
        (row,) = read_json(["ip", version, "-json", "route", "get", address], run)
    except KernelError as error:
        raise _Failure("route", f"the kernel has no way to {address}: {' '.join(str(error).split())}") from error
    words = [
        f"{word} {row[key]}" for key, word in (("gateway", "via"), ("dev", "dev"), ("prefsrc", "src")) if key in row
    ]
    if row.get("type", "unicast") not in ("unicast", "local"):
        raise _Failure("route", f"the kernel's route to {address} is {row['type']}")
    return " ".join([address, *words])


def _connect(question: EndpointQuestion, evidence: Evidence) -> socket.socket:
    try:
        plain = socket.create_connection((question.address, question.port), STEP_SECONDS)
    except socket.timeout as error:
        words = f"no answer within {STEP_SECONDS:.0f} s: a firewall drops it, or nobody has this address"
        raise _Failure("tcp", words) from error
    except OSError as error:
        hint = ": nobody listens there" if isinstance(error, ConnectionRefusedError) else ""
        raise _Failure("tcp", f"{error.strerror}{hint}") from error
    evidence["tcp"] = f"from {plain.getsockname()[0]}"
    return plain


@contextlib.contextmanager
def _greeted(plain: socket.socket, client: Client) -> t.Iterator[ssl.SSLSocket]:
    # The greeting apart: to a connection that was reset meanwhile, wrap_socket would not greet, and say nothing.
    context = context_of(client)
    with context.wrap_socket(plain, server_hostname=client.name, do_handshake_on_connect=False) as tls:
        tls.do_handshake()
        yield tls


@contextlib.contextmanager
def _handshake(plain: socket.socket, question: EndpointQuestion, client: Client) -> t.Iterator[ssl.SSLSocket]:
    with contextlib.ExitStack() as stack:
        try:
            tls = stack.enter_context(_greeted(plain, client))
        except ssl.SSLCertVerificationError as error:
            words = f"{error.verify_message}, judged by {client.origin}; it showed {_certificate(question, client)}"
            raise _Failure("tls", words) from error
        except OSError as error:
            raise _Failure("tls", _closed(error)) from error
        yield tls


def _certificate(question: EndpointQuestion, client: Client) -> str:
    """What the server shows to somebody who trusts nobody: the library keeps what it has refused to itself."""
    stranger = client._replace(authority=None, credentials=None)
    try:
        plain = socket.create_connection((question.address, question.port), STEP_SECONDS)
        with contextlib.closing(plain), _greeted(plain, stranger) as tls:
            return describe(tls.getpeercert(binary_form=True) or b"")
    except OSError as error:
        return f"nothing the next time ({error})"


def _closed(error: OSError) -> str:
    """What to say of a connection that ended before its time."""
    if isinstance(error, socket.timeout):
        return f"no answer within {STEP_SECONDS:.0f} s"
    ended = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError))
    if ended or error.errno == errno.ENOTCONN:
        return (
            "the connection was accepted and closed before a certificate was shown: so does a load balancer that has "
            "no living server behind it"
        )
    return str(getattr(error, "reason", None) or error.strerror or error)


def _get(tls: ssl.SSLSocket, question: EndpointQuestion, client: Client) -> str:
    connection = http.client.HTTPConnection(client.name, question.port, timeout=STEP_SECONDS)
    connection.sock = tls
    try:
        connection.request("GET", question.path or "/", headers={"User-Agent": "tke.overlay", "Connection": "close"})
        with contextlib.closing(connection.getresponse()) as response:
            body = response.read(400).decode("utf-8", "replace")
    except ssl.SSLError as error:  # with TLS 1.3 the server judges the client's certificate after the handshake
        raise _Failure("tls", f"the server ended it: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Failure("http", f"no answer to GET {question.path}: {error!r}") from error
    seen = f"GET {question.path}: {response.status} {response.reason}: {' '.join(body.split())[:200]}"
    return judged(response.status, client.credentials is not None, client.origin, seen)


def judged(status: int, known: bool, origin: str, seen: str) -> str:
    """What an answer means. A server that wants to know who asks is there, although it does not say if it is ready.

    :param known: whether the client has shown a certificate.
    :raises _Failure: the endpoint does not work for this client.
    """
    if status == 200:
        return seen
    if status == 401 and known:
        raise _Failure("http", f"{seen}; the server does not know the client certificate of {origin}: has it expired?")
    if status in (401, 403):
        return f"{seen}; so the server is there, and does not say whether it is ready"
    raise _Failure("http", seen)

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether an endpoint answers, stage by stage as a client meets it.

=====  =============================================================================
name   the host's resolver returns this address for the name, and no other
route  the kernel has a route to the address
tcp    a connection is accepted
tls    the certificate is signed by the CA that the client trusts, is valid now and
       for this name
http   ``/readyz`` answers
=====  =============================================================================

The error names the first stage that fails, and what was seen there.
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
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.obstacles import find_obstacles
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.x509 import describe
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run, read_json

STAGES = ("name", "route", "tcp", "tls", "http")
STAGE_SECONDS = 5.0
"""How long one stage may take. An endpoint that answers later does not work."""

PAUSE = 0.5
"""Seconds between two attempts."""

Evidence = t.Dict[str, str]
"""Stage -> what was seen."""


class TlsClient(t.NamedTuple):
    """What a client trusts and presents. Without a CA it does not verify the certificate.

    ``origin`` says where the CA comes from, for error messages. ``name`` is the name
    for which the certificate must be valid.
    """

    origin: str
    authority: str | None
    name: str
    credentials: Credentials | None = None


class EndpointTarget(t.NamedTuple):
    """One endpoint, and the clients that must reach it. Without ``path`` the check ends after TLS."""

    name: str
    address: str
    port: int
    clients: list[TlsClient]
    path: str | None = "/readyz"


class EndpointCheckError(KernelError):
    """An endpoint does not answer. ``stage`` failed; ``evidence`` is what was seen up to and including it.

    ``done`` has the changes that were made on the way.
    """

    def __init__(self, target: EndpointTarget, stage: str, reason: str, evidence: Evidence) -> None:
        self.stage = stage
        self.evidence = {**evidence, stage: reason}
        self.done: list[Diff] = []
        where = f"{target.name} ({with_port(target.address, target.port)})"
        passed = [f"{name}: {seen}" for name, seen in evidence.items()]
        super().__init__(
            f"{where} does not answer. {stage}: {reason}"
            + (f" (stages that passed: {'; '.join(passed)})" if passed else "")
        )


class _StageError(Exception):
    """A stage failed."""

    def __init__(self, stage: str, reason: str) -> None:
        self.stage, self.reason = stage, reason
        super().__init__(reason)


def tls_context(client: TlsClient) -> ssl.SSLContext:
    """Return a context that trusts only the client's CA, not those of the system. It is as strict as Go's TLS.

    Python 3.13 would be stricter by default.

    :raises ValidationError: the client's certificate and key cannot be used.
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
            with memory_file(client.credentials.certificate) as certificate, memory_file(client.credentials.key) as key:
                # Without a password function, OpenSSL would prompt on a terminal.
                context.load_cert_chain(certificate, key, password=lambda: b"")
        except (ssl.SSLError, OSError) as error:
            raise ValidationError(
                f"{client.origin}: the client certificate and its key cannot be read, or do not belong together"
            ) from error
    return context


@contextlib.contextmanager
def memory_file(content: bytes) -> t.Iterator[str]:
    """Return the path of a file that is on no disk: the TLS library reads keys only from files."""
    descriptor = os.memfd_create("tke-overlay", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def wait_for_endpoint(target: EndpointTarget, run: Run, seconds: float, stages: t.Collection[str] = STAGES) -> Evidence:
    """Check an endpoint until it answers.

    :param stages: the stages to check; ``tcp`` includes ``tls`` and ``http``.
    :raises EndpointCheckError: it does not answer within this time; from the last attempt.
    """
    deadline = time.monotonic() + seconds
    while True:
        evidence: Evidence = {}
        try:
            _check_stages(target, run, stages, evidence)
        except _StageError as failure:
            if time.monotonic() + PAUSE > deadline:
                obstacles = [] if failure.stage == "name" else find_obstacles(target.address, target.port, run)
                reason = "; ".join([failure.reason, *obstacles])
                raise EndpointCheckError(target, failure.stage, reason, evidence) from failure
            time.sleep(PAUSE)
        else:
            return evidence


def _check_stages(target: EndpointTarget, run: Run, stages: t.Collection[str], evidence: Evidence) -> None:
    if "name" in stages:
        evidence["name"] = _check_name(target)
    if "route" in stages:
        evidence["route"] = _check_route(target.address, run)
    if "tcp" not in stages:
        return
    for client in target.clients:
        plain = _connect(target, evidence)
        with contextlib.closing(plain), _handshake(plain, target, client) as tls:
            certificate = describe(tls.getpeercert(binary_form=True) or b"")
            unverified = "" if client.authority else ", not verified"
            evidence["tls"] = f"{tls.version()}, {certificate}{unverified}"
            if target.path is not None:
                evidence["http"] = _get(tls, target, client)


def _check_name(target: EndpointTarget) -> str:
    remedy = "check /etc/hosts and the line 'hosts' of /etc/nsswitch.conf"
    try:
        found = {row[4][0] for row in socket.getaddrinfo(target.name, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        reason = f"{target.name} does not resolve ({error.strerror}), expected {target.address}: {remedy}"
        raise _StageError("name", reason) from error
    if found != {target.address}:
        addresses = ", ".join(sorted(map(str, found)))
        raise _StageError("name", f"{target.name} resolves to {addresses}, expected {target.address}: {remedy}")
    return f"{target.name} is {target.address}"


def _check_route(address: str, run: Run) -> str:
    version = "-6" if ":" in address else "-4"
    try:
        (row,) = read_json(["ip", version, "-json", "route", "get", address], run)
    except KernelError as error:
        reason = f"the kernel has no route to {address}: {' '.join(str(error).split())}"
        raise _StageError("route", reason) from error
    words = [
        f"{word} {row[key]}" for key, word in (("gateway", "via"), ("dev", "dev"), ("prefsrc", "src")) if key in row
    ]
    if row.get("type", "unicast") not in ("unicast", "local"):
        raise _StageError("route", f"the kernel's route to {address} is of type {row['type']}")
    return " ".join([address, *words])


def _connect(target: EndpointTarget, evidence: Evidence) -> socket.socket:
    try:
        plain = socket.create_connection((target.address, target.port), STAGE_SECONDS)
    except socket.timeout as error:
        reason = f"no answer within {STAGE_SECONDS:.0f} s: a firewall drops the packets, or no host has this address"
        raise _StageError("tcp", reason) from error
    except OSError as error:
        hint = ": no program listens there" if isinstance(error, ConnectionRefusedError) else ""
        raise _StageError("tcp", f"{error.strerror}{hint}") from error
    evidence["tcp"] = f"from {plain.getsockname()[0]}"
    return plain


@contextlib.contextmanager
def _tls_connection(plain: socket.socket, client: TlsClient) -> t.Iterator[ssl.SSLSocket]:
    # The handshake is a step of its own: on a connection that was reset meanwhile, wrap_socket would skip it silently.
    context = tls_context(client)
    with context.wrap_socket(plain, server_hostname=client.name, do_handshake_on_connect=False) as tls:
        tls.do_handshake()
        yield tls


@contextlib.contextmanager
def _handshake(plain: socket.socket, target: EndpointTarget, client: TlsClient) -> t.Iterator[ssl.SSLSocket]:
    with contextlib.ExitStack() as stack:
        try:
            tls = stack.enter_context(_tls_connection(plain, client))
        except ssl.SSLCertVerificationError as error:
            shown = _presented_certificate(target, client)
            reason = f"{error.verify_message}, verified with {client.origin}; the server presented {shown}"
            raise _StageError("tls", reason) from error
        except OSError as error:
            raise _StageError("tls", _handshake_failure(error)) from error
        yield tls


def _presented_certificate(target: EndpointTarget, client: TlsClient) -> str:
    """Describe the certificate that the server presents, on a new connection that does not verify it.

    The TLS library does not return a certificate that it rejected.
    """
    unverified = client._replace(authority=None, credentials=None)
    try:
        plain = socket.create_connection((target.address, target.port), STAGE_SECONDS)
        with contextlib.closing(plain), _tls_connection(plain, unverified) as tls:
            return describe(tls.getpeercert(binary_form=True) or b"")
    except OSError as error:
        return f"no certificate on a second connection ({error})"


def _handshake_failure(error: OSError) -> str:
    """Describe why a connection ended during the handshake."""
    if isinstance(error, socket.timeout):
        return f"no answer within {STAGE_SECONDS:.0f} s"
    ended = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError))
    if ended or error.errno == errno.ENOTCONN:
        return (
            "the connection was accepted and closed before the server presented a certificate; a load balancer does so "
            "if all servers behind it are down"
        )
    return str(getattr(error, "reason", None) or error.strerror or error)


def _get(tls: ssl.SSLSocket, target: EndpointTarget, client: TlsClient) -> str:
    connection = http.client.HTTPConnection(client.name, target.port, timeout=STAGE_SECONDS)
    connection.sock = tls
    try:
        connection.request("GET", target.path or "/", headers={"User-Agent": "tke.overlay", "Connection": "close"})
        with contextlib.closing(connection.getresponse()) as response:
            body = response.read(400).decode("utf-8", "replace")
    except ssl.SSLError as error:  # with TLS 1.3, the server verifies the client certificate after the handshake
        raise _StageError("tls", f"the server ended the connection: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _StageError("http", f"no answer to GET {target.path}: {error!r}") from error
    seen = f"GET {target.path}: {response.status} {response.reason}: {' '.join(body.split())[:200]}"
    return _http_evidence(response.status, client, seen)


def _http_evidence(status: int, client: TlsClient, seen: str) -> str:
    """Return the evidence of an HTTP answer.

    A server that answers 401 or 403 is reachable; it does not report to this client whether it is ready.
    """
    if status == 200:
        return seen
    if status == 401 and client.credentials is not None:
        reason = f"{seen}; the server does not accept the client certificate of {client.origin}: has it expired?"
        raise _StageError("http", reason)
    if status in (401, 403):
        return f"{seen}; the server is reachable, but does not report to this client whether it is ready"
    raise _StageError("http", seen)

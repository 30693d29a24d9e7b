# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that a host still reaches its API endpoint after a change."""

from __future__ import annotations

import socket
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import ENDPOINT_CHECKSUMS, ENDPOINT_NOTE

_CONNECT_SECONDS = 2.0


class ApiEndpoint(t.NamedTuple):
    """The address and TCP port of the API server, as the host reaches it."""

    host: str
    port: int

    def __str__(self) -> str:
        return with_port(self.host, self.port)


def recorded_endpoint() -> ApiEndpoint | None:
    """Return the API endpoint that is recorded on this host, or ``None`` without a record.

    A damaged record of the module api_endpoint is no record: the same run of the playbook writes it again. One that an
    operator has written is an error.

    :raises ValidationError: the file does not hold one line ``host:port``.
    """
    found = read_files([ENDPOINT_NOTE, ENDPOINT_CHECKSUMS])
    text = found.get(ENDPOINT_NOTE)
    if text is None:
        return None
    host, _colon, port = text.strip().rpartition(":")
    damaged = not host or not port.isdigit() or not 0 < int(port) < 65536 or len(text.split()) != 1
    if damaged and ENDPOINT_CHECKSUMS in found:
        return None
    if damaged:
        raise ValidationError(
            f"{ENDPOINT_NOTE} holds {text.strip()!r} instead of one line host:port: correct the file or remove it"
        )
    return ApiEndpoint(host.strip("[]"), int(port))


def connection_error(endpoint: ApiEndpoint, seconds: float = _CONNECT_SECONDS) -> str | None:
    """Return why a TCP connection to the endpoint failed, or ``None`` if it succeeded."""
    try:
        socket.create_connection(endpoint, timeout=max(seconds, 0.1)).close()
    except OSError as error:
        return str(error)
    return None


def await_endpoint(endpoint: ApiEndpoint, seconds: float) -> None:
    """Wait until the endpoint accepts a TCP connection.

    :raises KernelError: it does not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while True:
        fault = connection_error(endpoint, min(_CONNECT_SECONDS, deadline - time.monotonic()))
        if fault is None:
            return
        if time.monotonic() + 0.2 > deadline:
            raise KernelError(
                f"the change cut this host off from its API endpoint: {endpoint} ({ENDPOINT_NOTE}) was reachable "
                f"before the change and has not been for {seconds:.0f} s after it ({fault})"
            )
        time.sleep(0.2)

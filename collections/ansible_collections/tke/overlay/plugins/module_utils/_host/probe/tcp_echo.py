# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe peers with one real TCP connection each, with full TCP segments in both directions.

An echo request does not show what TCP meets: a program computes its checksum, while
a network card often computes that of TCP and can do so wrongly inside a tunnel; and
some underlays drop TCP inside VXLAN only.

:mod:`echo_responder` answers at the peer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
import typing as t

PORT = 8471
"""The TCP port of the echo responder, inside the tunnel; next to the tunnel's usual UDP port."""

BYTES = 1 << 16
"""Sent in each direction: dozens of full TCP segments, and more than fits into the initial window."""

MAX_CONNECTIONS = 32
"""Connections at the same time: at most 2 MB in flight."""

ECHOED, REFUSED = "echoed", "refused"


class _Connection:
    """A connection to a peer, and its progress."""

    def __init__(self, address: str, port: int, payload: bytes, deadline: float) -> None:
        self.address, self.port, self.payload, self.deadline = address, port, payload, deadline
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.connected, self.sent, self.received = False, 0, bytearray()

    def start(self, source: str) -> str | None:
        """Start to connect; return the result if it is known already."""
        try:
            self.socket.bind((source, 0))
            code = self.socket.connect_ex((self.address, self.port))
        except OSError as error:
            return error.strerror or str(error)
        return None if code in (0, errno.EINPROGRESS) else _error_text(code)

    def advance(self, events: int) -> str | None:
        """Send and receive what is possible now; return the result, or ``None`` as long as there is none."""
        try:
            if events & selectors.EVENT_WRITE and self.sent < len(self.payload):
                code = 0 if self.connected else self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    return _error_text(code)
                self.connected = True
                self.sent += self.socket.send(self.payload[self.sent :])
            if events & selectors.EVENT_READ:
                part = self.socket.recv(BYTES)
                self.received += part
                if bytes(self.received) == self.payload:
                    return ECHOED
                if not part or not self.payload.startswith(bytes(self.received)):
                    return f"the echo differs from what was sent, after {len(self.received)} of {BYTES} bytes"
        except BlockingIOError:
            pass
        except OSError as error:
            return _error_text(error.errno or 0)
        return None

    def result_at_deadline(self) -> str:
        """Return the result of a connection that has not ended in time."""
        if not self.connected:
            return "no connection"
        return f"connected, then stalled after {self.sent} bytes sent and {len(self.received)} received of {BYTES}"

    def events(self) -> int:
        """Return the events that the connection waits for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.sent < len(self.payload) else 0)


def _error_text(code: int) -> str:
    return REFUSED if code == errno.ECONNREFUSED else os.strerror(code)


class _Prober:
    """The open connections of :func:`probe_tcp`, and the results so far."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.results: dict[str, str] = {}
        self.open: set[_Connection] = set()
        self._selector = selector

    def start(self, connection: _Connection, source: str) -> None:
        failure = connection.start(source)
        if failure:
            self._end(connection, failure)
        else:
            self.open.add(connection)
            self._selector.register(connection.socket, connection.events(), connection)

    def advance(self) -> None:
        """Wait for events until the next deadline; end the connections that have a result or are over time."""
        next_deadline = min((connection.deadline for connection in self.open), default=0.0)
        for key, events in self._selector.select(max(0.0, next_deadline - time.monotonic())):
            result = key.data.advance(events)
            if result:
                self._end(key.data, result)
            else:
                self._selector.modify(key.fileobj, key.data.events(), key.data)
        now = time.monotonic()
        for connection in [each for each in self.open if each.deadline <= now]:
            self._end(connection, connection.result_at_deadline())

    def _end(self, connection: _Connection, result: str) -> None:
        self.results[connection.address] = result
        self.open.discard(connection)
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection.socket)
        connection.socket.close()


def probe_tcp(source: str, addresses: t.Iterable[str], seconds: float, port: int = PORT) -> dict[str, str]:
    """Connect to each address and compare the echo with what was sent.

    :param source: the address to connect from; empty, where the kernel chooses it.
    :param seconds: how long one connection may take.
    :returns: address -> :data:`ECHOED`, :data:`REFUSED` (no echo responder runs there), or the failure.
    """
    waiting, payload = list(addresses)[::-1], os.urandom(BYTES)
    with selectors.DefaultSelector() as selector:
        prober = _Prober(selector)
        while waiting or prober.open:
            while waiting and len(prober.open) < MAX_CONNECTIONS:
                prober.start(_Connection(waiting.pop(), port, payload, time.monotonic() + seconds), source)
            prober.advance()
    return prober.results

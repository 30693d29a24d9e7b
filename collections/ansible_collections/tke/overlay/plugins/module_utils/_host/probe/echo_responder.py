# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The echo responder: the process on a node that answers the TCP probes of its peers for a while.

By default, no program listens on a node. A host starts the echo responder before its
peers probe it: a process of its own that listens on the VTEP's address only, returns
what it receives, and ends by itself. Its address and its end are in a control file
below ``/run``. A later call changes that file, so there is one responder at a time,
until the end that the latest call has set.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.probe import tcp_echo
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import BYTES
from ansible_collections.tke.overlay.plugins.module_utils._locking import lock_file

CONTROL_FILE = f"{files.RUN_DIRECTORY}/echo-responder"
CONTROL_SIZE = 64
"""Bytes of the control file, so that one write replaces all of it."""

CONNECTION_SECONDS = 10.0
"""How long the responder keeps a connection open."""


def keep_responding(address: str, seconds: int, control: str = CONTROL_FILE) -> None:
    """Let this host answer TCP probes on an address for so many seconds from now; 0 stops the responder.

    :param control: the control file; there is one responder for each.
    :raises KernelError: the address is not on this host, or another program uses the port.
    """
    path = files.ROOT + control
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        before = _read_control(descriptor)
        write_control(descriptor, address, time.monotonic() + seconds)
        deadline = time.monotonic() + 5
        while not lock_file(descriptor, 0):
            if seconds > 0 and before is not None and before[0] == address:
                return  # the running responder reads the new end from the control file
            if time.monotonic() > deadline:
                raise KernelError(
                    f"the echo responder on TCP port {tcp_echo.PORT} does not stop: end the process that locks {path}"
                )
            time.sleep(0.05)
        if seconds > 0:
            _start(listen(address), descriptor)
    finally:
        os.close(descriptor)


def write_control(descriptor: int, address: str, until: float) -> None:
    """Write the address and the end (monotonic clock) of the responder to its control file."""
    os.pwrite(descriptor, f"{address} {until:.0f}".ljust(CONTROL_SIZE).encode(), 0)


def _read_control(descriptor: int) -> tuple[str, float] | None:
    words = os.pread(descriptor, CONTROL_SIZE, 0).decode("ascii", "replace").split()
    try:
        return words[0], float(words[1])
    except (IndexError, ValueError):
        return None


def listen(address: str) -> socket.socket:
    """Return a socket that listens on the responder's port.

    :raises KernelError: the address is not on this host, or another program uses the port.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, tcp_echo.PORT))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        hint = f"; find the program: ss -ltnp sport = :{tcp_echo.PORT}" if error.errno == errno.EADDRINUSE else ""
        raise KernelError(
            f"the echo responder cannot listen on {address}, TCP port {tcp_echo.PORT}: {error.strerror}{hint}"
        ) from error
    listener.setblocking(False)
    return listener


def _start(listener: socket.socket, descriptor: int) -> None:
    """Start the responder as a daemon that keeps only the listener and the lock on the control file."""
    address = listener.getsockname()[0]
    child = os.fork()
    if child:
        listener.close()
        os.waitpid(child, 0)
        return
    try:
        _run_daemon(listener, address, descriptor)
    finally:
        os._exit(0)


def _run_daemon(listener: socket.socket, address: str, descriptor: int) -> None:
    """Detach from the module's session and files, and respond. Runs in a forked process only."""
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for number in range(3):
            os.dup2(null, number)
        keep = {listener.fileno(), descriptor}
        for number in range(3, 1024):
            if number not in keep:
                with contextlib.suppress(OSError):
                    os.close(number)
        with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as comm:
            comm.write("tke-echo")  # the name that ss and ps show
        respond(listener, address, descriptor)


class _Client(t.NamedTuple):
    """A connection of a peer: what is still to be returned, when it must end, and how many bytes it may still send."""

    buffer: bytearray
    deadline: float
    left: int


def respond(listener: socket.socket, address: str, descriptor: int) -> None:
    """Return to every client what it sends, until the control file ends the responder.

    :param descriptor: of the control file.
    """
    clients: dict[socket.socket, _Client] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)

        def drop(connection: socket.socket) -> None:
            selector.unregister(connection)
            connection.close()
            del clients[connection]

        while True:
            control, now = _read_control(descriptor), time.monotonic()
            if control is not None and (control[0] != address or control[1] <= now):
                return
            for connection in [each for each, client in clients.items() if client.deadline <= now]:
                drop(connection)
            for key, events in selector.select(0.5):
                if key.fileobj is listener:
                    with contextlib.suppress(OSError):
                        connection = listener.accept()[0]
                        connection.setblocking(False)
                        clients[connection] = _Client(bytearray(), now + CONNECTION_SECONDS, BYTES)
                        selector.register(connection, selectors.EVENT_READ)
                    continue
                connection = t.cast(socket.socket, key.fileobj)
                client = _echo(connection, events, clients[connection])
                if client is None:
                    drop(connection)
                else:
                    clients[connection] = client
                    writing = selectors.EVENT_WRITE if client.buffer else 0
                    selector.modify(connection, selectors.EVENT_READ | writing)


def _echo(connection: socket.socket, events: int, client: _Client) -> _Client | None:
    """Receive and send what is possible now; return ``None`` if the connection is over."""
    try:
        if events & selectors.EVENT_READ:
            part = connection.recv(min(BYTES, max(client.left, 1)))
            if not part or client.left <= 0:
                return None
            client.buffer.extend(part)
            client = client._replace(left=client.left - len(part))
        if client.buffer:
            del client.buffer[: connection.send(client.buffer)]
    except BlockingIOError:
        pass
    except OSError:
        return None
    return client

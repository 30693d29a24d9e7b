# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: one real TCP connection to a peer, with full segments both ways, and who answers it there.

An echo request cannot tell what TCP meets: its checksum is made by a program,
that of TCP often by a network card, which can be wrong about what is inside a
tunnel; and there are underlays that drop TCP inside VXLAN only.

Nothing listens on a node by itself. So a host is told beforehand to answer for a
while: a process of its own, on the VTEP's address only, that sends back what it is
sent and ends by itself. What it knows stands in a note below ``/run`` that a later
call changes: one process at a time, for as long as the latest call has said.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import selectors
import socket
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files

PORT = 8471
"""Where a node answers: beside the tunnel's usual port. It is TCP, inside the tunnel."""

BYTES = 1 << 16
"""There and back: dozens of full segments, and more than fits into the first window."""

NOTE = f"{files.RUN_DIRECTORY}/answer"

AT_ONCE = 32
"""Connections at a time: 2 MB on their way at the most."""

ECHOED, REFUSED = "echoed", "refused"

_LONGEST = 10.0  # seconds that a connection may last where it is answered
_NOTE_SIZE = 64


class _Call:
    """A connection to a peer, and how far it has come."""

    def __init__(self, address: str, words: bytes, until: float) -> None:
        self.address, self.words, self.until = address, words, until
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.connected, self.sent, self.heard = False, 0, bytearray()

    def dial(self, source: str) -> str | None:
        """Begins; what it came to, if that is clear at once."""
        try:
            self.socket.bind((source, 0))
            code = self.socket.connect_ex((self.address, PORT))
        except OSError as error:
            return error.strerror or str(error)
        return None if code in (0, errno.EINPROGRESS) else _words(code)

    def go_on(self, events: int) -> str | None:
        """What it came to, or nothing yet."""
        try:
            if events & selectors.EVENT_WRITE and self.sent < len(self.words):
                code = 0 if self.connected else self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    return _words(code)
                self.connected = True
                self.sent += self.socket.send(self.words[self.sent :])
            if events & selectors.EVENT_READ:
                part = self.socket.recv(BYTES)
                self.heard += part
                if bytes(self.heard) == self.words:
                    return ECHOED
                if not part or not self.words.startswith(bytes(self.heard)):
                    return f"what came back is not what was sent, after {len(self.heard)} of {BYTES} bytes"
        except BlockingIOError:
            pass
        except OSError as error:
            return _words(error.errno or 0)
        return None

    def verdict(self) -> str:
        """What to say of it when its time is over."""
        if not self.connected:
            return "no connection"
        return f"connected, and stuck after {self.sent} bytes sent and {len(self.heard)} received of {BYTES}"

    def wishes(self) -> int:
        """The events it waits for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.sent < len(self.words) else 0)


def _words(code: int) -> str:
    return REFUSED if code == errno.ECONNREFUSED else os.strerror(code)


def converse(source: str, addresses: t.Iterable[str], seconds: float) -> dict[str, str]:
    """What a connection to each address came to: :data:`ECHOED`, :data:`REFUSED` (nobody answers), or what went wrong.

    :param seconds: how long one connection may take.
    """
    waiting, outcome, words = list(addresses)[::-1], {}, os.urandom(BYTES)
    calls: set[_Call] = set()
    with selectors.DefaultSelector() as selector:

        def end(call: _Call, words: str) -> None:
            outcome[call.address] = words
            calls.discard(call)
            with contextlib.suppress(KeyError):
                selector.unregister(call.socket)
            call.socket.close()

        while waiting or calls:
            while waiting and len(calls) < AT_ONCE:
                call = _Call(waiting.pop(), words, time.monotonic() + seconds)
                failure = call.dial(source)
                if failure:
                    end(call, failure)
                else:
                    calls.add(call)
                    selector.register(call.socket, call.wishes(), call)
            soonest = min((call.until for call in calls), default=0.0)
            for key, events in selector.select(max(0.0, soonest - time.monotonic())):
                ended = key.data.go_on(events)
                if ended:
                    end(key.data, ended)
                else:
                    selector.modify(key.fileobj, key.data.wishes(), key.data)
            now = time.monotonic()
            for call in [each for each in calls if each.until <= now]:
                end(call, call.verdict())
    return outcome


def answer(address: str, seconds: int) -> None:
    """Has this host answer on that address for so many seconds from now on; 0 ends it.

    :raises KernelError: the address is not here, or another program has the port.
    """
    path = files.ROOT + NOTE
    os.makedirs(os.path.dirname(path), exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        before = _read(descriptor)
        os.pwrite(descriptor, f"{address} {time.monotonic() + seconds:.0f}".ljust(_NOTE_SIZE).encode(), 0)
        deadline = time.monotonic() + 5
        while not _locked(descriptor):
            if seconds > 0 and before is not None and before[0] == address:
                return  # who answers already has read the note, or will
            if time.monotonic() > deadline:
                raise KernelError(f"who answers on TCP port {PORT} does not end; {path} is locked by it")
            time.sleep(0.05)
        if seconds > 0:
            _start(_listening(address), descriptor)
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> tuple[str, float] | None:
    words = os.pread(descriptor, _NOTE_SIZE, 0).decode("ascii", "replace").split()
    try:
        return words[0], float(words[1])
    except (IndexError, ValueError):
        return None


def _locked(descriptor: int) -> bool:
    """Whether nobody answers, and the note is ours now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _listening(address: str) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, PORT))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        who = f", see: ss -ltnp sport = :{PORT}" if error.errno == errno.EADDRINUSE else ""
        raise KernelError(f"TCP port {PORT} of {address} cannot be listened on: {error.strerror}{who}") from error
    listener.setblocking(False)
    return listener


def _start(listener: socket.socket, descriptor: int) -> None:
    """A process that nobody waits for, with nothing of its parent but the listener and the lock on the note."""
    address = listener.getsockname()[0]
    child = os.fork()
    if child:
        listener.close()
        os.waitpid(child, 0)
        return
    try:
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
                comm.write("tke-answer")  # what ss and ps show
            _serve(listener, address, descriptor)
    finally:
        os._exit(0)


def _serve(listener: socket.socket, address: str, descriptor: int) -> None:
    """Sends everybody back what he sends, until the note says that it is over."""
    buffers: dict[socket.socket, bytearray] = {}
    ends: dict[socket.socket, tuple[float, int]] = {}  # when it must be over, bytes that may still come
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)

        def drop(connection: socket.socket) -> None:
            selector.unregister(connection)
            connection.close()
            del buffers[connection], ends[connection]

        while True:
            note, now = _read(descriptor), time.monotonic()
            if note is not None and (note[0] != address or note[1] <= now):
                return
            for connection in [each for each, (until, _left) in ends.items() if until <= now]:
                drop(connection)
            for key, events in selector.select(0.5):
                if key.fileobj is listener:
                    with contextlib.suppress(OSError):
                        connection = listener.accept()[0]
                        connection.setblocking(False)
                        buffers[connection], ends[connection] = bytearray(), (now + _LONGEST, BYTES)
                        selector.register(connection, selectors.EVENT_READ)
                elif not _echo(t.cast(socket.socket, key.fileobj), events, buffers, ends, selector):
                    drop(t.cast(socket.socket, key.fileobj))


def _echo(
    connection: socket.socket,
    events: int,
    buffers: t.Mapping[socket.socket, bytearray],
    ends: dict[socket.socket, tuple[float, int]],
    selector: selectors.BaseSelector,
) -> bool:
    """One step of a connection; false when it is over."""
    buffer, (until, left) = buffers[connection], ends[connection]
    try:
        if events & selectors.EVENT_READ:
            part = connection.recv(min(BYTES, max(left, 1)))
            if not part or left <= 0:
                return False
            buffer += part
            ends[connection] = (until, left - len(part))
        if buffer:
            del buffer[: connection.send(buffer)]
    except BlockingIOError:
        pass
    except OSError:
        return False
    selector.modify(connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if buffer else 0))
    return True

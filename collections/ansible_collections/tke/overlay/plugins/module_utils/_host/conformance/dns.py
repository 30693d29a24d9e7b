# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a name server for the address of a name, over UDP. The Pods of a test have no resolver of their own."""

from __future__ import annotations

import os
import socket
import struct
import typing as t

SECONDS, ATTEMPTS = 2.0, 3

_ERRORS = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_A, _INTERNET, _RECURSION = 1, 1, 0x0100


def ask(connection: socket.socket, server: str, name: str) -> str:
    """Return an empty text if the server returned an address of the name, otherwise the reason (RFC 1035, section 4).

    :param connection: a datagram socket of the namespace to ask from; it is closed.
    """
    mark = os.urandom(2)
    labels = b"".join(bytes([len(label)]) + label for label in name.rstrip(".").encode("ascii").split(b"."))
    question = labels + b"\0" + struct.pack("!HH", _A, _INTERNET)
    query = mark + struct.pack("!HHHHH", _RECURSION, 1, 0, 0, 0) + question
    with connection:
        connection.settimeout(SECONDS)
        reason = ""
        for _attempt in range(ATTEMPTS):
            try:
                connection.connect((server, 53))
                connection.send(query)
                answer = connection.recv(4096)
            except socket.timeout:
                reason = f"no answer within {ATTEMPTS * SECONDS:.0f} s"
            except OSError as error:
                reason = error.strerror or str(error)
            else:
                return _result_of(answer, mark, name)
    return reason


def _result_of(answer: bytes, mark: bytes, name: str) -> str:
    if len(answer) < 12 or answer[:2] != mark:
        return "the answer is not one to the question"
    flags, _questions, answers = t.cast("tuple[int, int, int]", struct.unpack("!HHH", answer[2:8]))
    code = flags & 15
    if code:
        return f"{name}: {_ERRORS.get(code, f'error {code}')}"
    return "" if answers else f"{name} has no address"

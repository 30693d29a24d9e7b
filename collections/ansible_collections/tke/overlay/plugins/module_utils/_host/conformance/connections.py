# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open many TCP connections at once, and see which of them are accepted."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
import typing as t

Address = t.Tuple[str, int]


def connect_all(source: str, targets: t.Sequence[Address], seconds: float) -> list[tuple[Address, str]]:
    """Connect to each target, at the same time; return target and fault (empty without one) of each connection.

    :param seconds: how long all of them may take.
    """
    results: list[tuple[Address, str]] = []
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for target in targets:
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.setblocking(False)
            connection.bind((source, 0))
            code = connection.connect_ex(target)
            if code in (0, errno.EINPROGRESS):
                selector.register(connection, selectors.EVENT_WRITE, target)
            else:
                connection.close()
                results.append((target, os.strerror(code)))
        while selector.get_map() and time.monotonic() < deadline:
            for key, _events in selector.select(max(0.0, deadline - time.monotonic())):
                connection = t.cast(socket.socket, key.fileobj)
                code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                results.append((key.data, os.strerror(code) if code else ""))
                selector.unregister(connection)
                connection.close()
        for key in list(selector.get_map().values()):
            results.append((key.data, f"no answer within {seconds:.0f} s"))
            t.cast(socket.socket, key.fileobj).close()
    return results

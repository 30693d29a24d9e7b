# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A service that reads its kubeconfig once and keeps a connection to the server in it, as kubelet does.

It needs some time to end and to connect, and writes to its first argument when: "stops T" and "connected T SERVER",
with T in nanoseconds since the boot of the machine. The second argument is the kubeconfig.
"""

from __future__ import annotations

import re
import signal
import socket
import sys
import time

LOG, KUBECONFIG = sys.argv[1:]
PAUSE = 0.3
"""Seconds. If two hosts restart at the same time, their times overlap."""


def note(*words: object) -> None:
    with open(LOG, "a", encoding="ascii") as stream:
        print(words[0], time.monotonic_ns(), *words[1:], file=stream)


def stop(*_signal: object) -> None:
    note("stops")
    time.sleep(PAUSE)
    sys.exit(0)


signal.signal(signal.SIGTERM, stop)
with open(KUBECONFIG, encoding="utf-8") as stream:
    found = re.search(r"server: \"?https://(?:[^@\s]+@)?([^:\s]+):(\d+)", stream.read())
assert found, "the kubeconfig has no server"
time.sleep(PAUSE)
connection = None
while connection is None:
    try:
        connection = socket.create_connection((found[1], int(found[2])), 2)
    except OSError:
        time.sleep(PAUSE)
note("connected", "{}:{}".format(*connection.getpeername()))
while True:
    signal.pause()

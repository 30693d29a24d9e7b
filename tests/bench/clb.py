# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The private load balancer compared with a direct connection to a server: new TLS connections, and payload."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.bench import inlab
from tests.bench.report import BenchError, Measure, Section
from tkelab import lab
from tkelab.system import STATE

ABOUT = "TLS connections and payload through the load balancer; needs the lab"

CLIENT, SERVER = "cloud1", "api1"  # the data centre cannot reach a server directly
API_PORT, PORT = 6443, 5201
RUNS, SECONDS = 5, 3
LISTENER = "bench"

SINK = f"""
import socket, threading
def take(link):
    buffer = bytearray(1 << 20)
    while link.recv_into(buffer):
        pass
    link.close()
listening = socket.create_server(("", {PORT}))
while True:
    threading.Thread(target=take, args=(listening.accept()[0],), daemon=True).start()
"""
SOURCE = f"""
import socket, sys, time
link, block, sent = socket.create_connection((sys.argv[1], {PORT})), bytes(1 << 20), 0
end = time.monotonic() + {SECONDS}
while time.monotonic() < end:
    sent += link.send(block)
link.shutdown(socket.SHUT_WR)
link.recv(1)
print(sent)
"""


def run() -> Section:
    """Measure in turns: directly, through the pair, directly, through the pair."""
    inlab.require_controller()
    prepare()
    vips = json.loads((STATE / "overlay-ledger.json").read_text())["vips"]
    server = str(lab.current().host(SERVER).address)
    sink = (*inlab.LAB, "exec", SERVER, "--", "timeout", "300", "python3", "-c", SINK)
    listener = {"name": LISTENER, "port": PORT, "backends": [f"{server}:{PORT}"]}
    with subprocess.Popen(sink, stdin=subprocess.DEVNULL) as process:
        try:
            pair_playbook("-e", json.dumps({"overlay_clb_listeners": [listener]}))
            connections = in_turns(handshakes, server, vips["apiserver"])
            payload = in_turns(megabits, server, vips["services"])
        finally:
            pair_playbook()
            process.kill()
    return section_of(connections, payload)


def prepare() -> None:
    """Set up the pair and the servers behind it."""
    # The overlay first, because the substitutes for the services run on nodes, and cluster.yml starts Pods there.
    inlab.playbook("tke.overlay.site", "clb,cloud")
    inlab.playbook(str(Path("tests/lab/cluster.yml")), "apiserver,cloud")


def pair_playbook(*words: str) -> None:
    """Run the site playbook for the pair, with additional arguments."""
    command = ("ansible-playbook", "-i", str(inlab.INVENTORY), "--limit", "clb", "tke.overlay.site")
    inlab.call(*command, *words, seconds=300)


def in_turns(measure: Callable[[str], float], direct: str, through: str) -> list[tuple[float, float]]:
    """Return pairs of figures, measured one after the other."""
    return [(measure(direct), measure(through)) for _number in range(RUNS)]


def handshakes(address: str) -> float:
    """Return the number of new TLS connections per second of one client, with one request on each."""
    command = ("openssl", "s_time", "-connect", f"{address}:{API_PORT}", "-new", "-www", "/readyz", "-time")
    output = inlab.on(CLIENT, *command, str(SECONDS))
    found = re.search(r"(\d+) connections in (\d+) real seconds", output)
    if not found:
        raise BenchError(f"unexpected output of openssl s_time: {output}")
    return int(found[1]) / int(found[2])


def megabits(address: str) -> float:
    """Return the payload of one TCP connection in Mbit/s."""
    return int(inlab.on(CLIENT, "timeout", "30", "python3", "-c", SOURCE, address)) * 8 / SECONDS / 1e6


def section_of(connections: list[tuple[float, float]], payload: list[tuple[float, float]]) -> Section:
    """Return the section with the figures of all runs."""
    direct, through = (statistics.median(runs) for runs in zip(*connections, strict=True))
    bare, proxied = (statistics.median(runs) for runs in zip(*payload, strict=True))
    return Section(
        [
            Measure("new TLS connections, direct", direct, "/s", 0),
            Measure("new TLS connections, through the pair", through, "/s", 0),
            Measure("connections, pair / direct", statistics.median(b / a for a, b in connections), digits=2),
            Measure("payload, direct", bare, "Mbit/s", 0),
            Measure("payload, through the pair", proxied, "Mbit/s", 0),
            Measure("payload, pair / direct", statistics.median(b / a for a, b in payload), digits=2),
        ],
        [
            f"{CLIENT} -> {SERVER}, one client, {RUNS} runs of {SECONDS} s in turns; median of the ratios",
            "connections: openssl s_time, a full handshake and GET /readyz on each; direct: one of the two servers",
            "payload: one TCP connection through a listener; links are not shaped, so the CPU is the limit:",
            "client, proxy and server share the CPUs of this machine; a proxy on its own machine costs less",
        ],
    )

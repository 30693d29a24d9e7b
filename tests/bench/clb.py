# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Through the private load balancer against straight to the server behind it: new TLS connections, and payload."""

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

CLIENT, SERVER = "cloud1", "api1"  # the data centre may not reach a server straight
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
    """Measures in turns: straight, through the pair, straight, through the pair."""
    inlab.insist_on_controller()
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
    """The pair, and what stands behind it."""
    # First, as the stand-ins stand on nodes, and these get Pods.
    inlab.playbook("tke.overlay.site", "clb,cloud")
    inlab.playbook(str(Path("tests/lab/cluster.yml")), "apiserver,cloud")


def pair_playbook(*words: str) -> None:
    """The site playbook for the pair, with other variables."""
    command = ("ansible-playbook", "-i", str(inlab.INVENTORY), "--limit", "clb", "tke.overlay.site")
    inlab.call(*command, *words, seconds=300)


def in_turns(measure: Callable[[str], float], straight: str, through: str) -> list[tuple[float, float]]:
    """Pairs of figures, each taken one right after the other."""
    return [(measure(straight), measure(through)) for _number in range(RUNS)]


def handshakes(address: str) -> float:
    """New TLS connections a second of one client, with an answer to a request on each."""
    command = ("openssl", "s_time", "-connect", f"{address}:{API_PORT}", "-new", "-www", "/readyz", "-time")
    said = inlab.on(CLIENT, *command, str(SECONDS))
    found = re.search(r"(\d+) connections in (\d+) real seconds", said)
    if not found:
        raise BenchError(f"openssl s_time said: {said}")
    return int(found[1]) / int(found[2])


def megabits(address: str) -> float:
    """Payload of one TCP connection."""
    return int(inlab.on(CLIENT, "timeout", "30", "python3", "-c", SOURCE, address)) * 8 / SECONDS / 1e6


def section_of(connections: list[tuple[float, float]], payload: list[tuple[float, float]]) -> Section:
    """The figures of all runs."""
    straight, through = (statistics.median(ways) for ways in zip(*connections, strict=True))
    bare, proxied = (statistics.median(ways) for ways in zip(*payload, strict=True))
    return Section(
        [
            Measure("new TLS connections, straight", straight, "/s", 0),
            Measure("new TLS connections, through the pair", through, "/s", 0),
            Measure("through / straight", statistics.median(b / a for a, b in connections), digits=2),
            Measure("payload, straight", bare, "Mbit/s", 0),
            Measure("payload, through the pair", proxied, "Mbit/s", 0),
            Measure("through / straight", statistics.median(b / a for a, b in payload), digits=2),
        ],
        [
            f"{CLIENT} -> {SERVER}, one client, {RUNS} runs of {SECONDS} s in turns; median of the ratios",
            "connections: openssl s_time, a full handshake and GET /readyz on each; straight goes to one server of two",
            "payload: one TCP connection through a listener; links are not shaped, so the CPUs are measured:",
            "client, proxy and server share those of this machine, and a proxy of its own machine costs less",
        ],
    )

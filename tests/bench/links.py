# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""TCP between Pods of one site on direct and WireGuard links, compared with the same without the overlay."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench import inlab
from tests.bench.report import Measure, Section
from tests.bench.throughput import RUNS, SECONDS, Ends, Flow, Route, between_pods, check_routes, in_turns, underlay
from tkelab import lab

ABOUT = "Pod-to-Pod TCP on direct and WireGuard links inside a site; needs the lab"

# wireguard-go on both ends needs more CPU than two cores have for a gigabit.
SLOWER = ("tbf", "rate", "100mbit", "burst", "64k", "latency", "200ms")
DIRECT = Ends("cloud1", "cloud2", "tke0")
WIREGUARD = Ends("cloud1", "cloud2", "tke-wg0", SLOWER)
BARE = "bench-wg"  # the WireGuard device without the overlay
BARE_PORT = 51900
BARE_MTU = 1440  # of a WireGuard link on an underlay of 1500
BARE_ADDRESSES = ("10.255.254.1", "10.255.254.2")

Pairs = list[tuple[Flow, Flow]]


def run() -> Section:
    """Measure a direct link, then a WireGuard link, and restore the VXLAN link."""
    inlab.require_controller()
    try:
        linked("direct")
        direct = in_turns(DIRECT, underlay(DIRECT), between_pods(DIRECT))
        check_routes(direct, tunnel=False)
        linked("wireguard")
        with bare_wireguard() as bare:
            wireguard = in_turns(WIREGUARD, bare, between_pods(WIREGUARD))
        check_routes(wireguard)
    finally:
        inlab.playbook("tke.overlay.site")
    return Section(
        [
            *measures("direct", "underlay, host to host", direct, at_least=0.98, wanted=0.99),
            *measures("WireGuard", "bare WireGuard, host to host", wireguard, at_least=0.95, wanted=0.97),
        ],
        [
            f"{DIRECT.sender} -> {DIRECT.receiver}, on one bridge; iperf3, one TCP stream, payload as received",
            f"{RUNS} runs of {SECONDS} s in turns; ratios of the medians",
            f"eth0 of both hosts shaped: direct {' '.join(DIRECT.shape)}; WireGuard {' '.join(SLOWER)}",
            f"bare WireGuard: a device of wireguard-go on each host with an MTU of {BARE_MTU}, and nothing else",
        ],
    )


def linked(transport: str) -> None:
    """Give the site of the two hosts a link with a transport, and start its Pods."""
    links = json.dumps({"overlay_links": [{"sites": ["cloud"], "transport": transport}]})
    inlab.playbook("tke.overlay.site", "all", "-e", links)
    inlab.playbook(str(Path(__file__).with_name("pods.yml")), ",".join(DIRECT.hosts))


def measures(name: str, other: str, pairs: Pairs, at_least: float, wanted: float) -> list[Measure]:
    """Return the figures of a transport."""
    under, over = (statistics.median(run.megabits for run in runs) for runs in zip(*pairs, strict=True))
    return [
        Measure(f"{name}: {other}", under, "Mbit/s", 1),
        Measure(f"{name}: Pod to Pod", over, "Mbit/s", 1),
        Measure(f"{name}: Pods / {other.partition(',')[0]}", over / under, digits=4, at_least=at_least, wanted=wanted),
    ]


@contextlib.contextmanager
def bare_wireguard() -> Iterator[Route]:
    """Connect the two hosts by a WireGuard device of its own; yield the path over it."""
    hosts = WIREGUARD.hosts
    try:
        keys = [started(host) for host in hosts]
        for number, host in enumerate(hosts):
            connected(host, BARE_ADDRESSES[number], hosts[1 - number], keys[1 - number])
        yield Route((), BARE_ADDRESSES[1])
    finally:
        for host in hosts:
            inlab.on(host, "sh", "-c", f"ip link del {BARE} 2>/dev/null; rm -f /run/{BARE}.key")


def started(host: str) -> str:
    """Start the device of a host with a new key, and return its public key."""
    script = (
        f"umask 077; wg genkey > /run/{BARE}.key; wireguard-go {BARE} >/dev/null 2>&1 && "
        f"wg set {BARE} private-key /run/{BARE}.key listen-port {BARE_PORT} && wg pubkey < /run/{BARE}.key"
    )
    return inlab.on(host, "sh", "-c", script).strip()


def connected(host: str, address: str, other: str, key: str) -> None:
    """Give the device of a host an address and its peer."""
    peer = str(lab.current().host(other).address)
    commands: Sequence[str] = (
        f"wg set {BARE} peer {key} endpoint {peer}:{BARE_PORT} allowed-ips 10.255.254.0/30",
        f"ip address add {address}/30 dev {BARE}",
        f"ip link set {BARE} mtu {BARE_MTU} up",
    )
    inlab.on(host, "sh", "-c", " && ".join(commands))

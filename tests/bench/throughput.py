# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""TCP between Pods of two sites compared with TCP between their nodes, over the same shaped link."""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import inlab
from tests.bench.report import BenchError, Measure, Section
from tkelab import lab

ABOUT = "Pod-to-Pod TCP between the sites, on a link of 1 Gbit/s; needs the lab"

POD = "pod-1"
PORT = 5201
RUNS = 5  # of each kind
SECONDS = 5
HEADERS = 20 + 20 + 12  # IPv4, TCP and TCP timestamps: the part of a packet that is not payload
# A large segment of veth must fit into the burst: tbf would split it, and reach neither the rate nor an even flow.
# The queue is larger than the maximum TCP window, so that no packet is lost.
GIGABIT = ("tbf", "rate", "1gbit", "burst", "256k", "latency", "100ms")
CHAIN = ("inet", "lab", "forward")
COMMENT = "tke-overlay-bench"


class Ends(NamedTuple):
    """The two hosts of a measurement, the device that only packets of Pods may pass, and the shaper of the links."""

    sender: str
    receiver: str
    device: str
    shape: tuple[str, ...] = GIGABIT

    @property
    def hosts(self) -> tuple[str, str]:
        """The names of both hosts."""
        return self.sender, self.receiver


SITES = Ends("cloud1", "idc1", "tke0")


class Route(NamedTuple):
    """One of the two paths: the prefix of the commands, and the target address."""

    prefix: tuple[str, ...]
    target: str


class Flow(NamedTuple):
    """One run: payload in Mbit/s, and bytes on the link and in the tunnel per byte of payload."""

    megabits: float
    on_link: float
    in_tunnel: float


def run() -> Section:
    """Measure in turns: underlay, overlay, underlay, overlay."""
    inlab.require_controller()
    limit = ",".join(SITES.hosts)
    inlab.playbook("tke.overlay.site", limit)
    inlab.playbook(str(Path(__file__).with_name("pods.yml")), limit)
    with opened_router(SITES):
        pairs = in_turns(SITES, underlay(SITES), between_pods(SITES))
    check_routes(pairs)
    return section_of(pairs, payload_ratio(SITES))


def underlay(ends: Ends) -> Route:
    """Return the path from host to host."""
    return Route((), str(lab.current().host(ends.receiver).address))


def between_pods(ends: Ends) -> Route:
    """Return the path from a Pod of the sender to one of the receiver."""
    pods = json.loads(inlab.on(ends.receiver, "lab-pod", "list"))
    return Route(("ip", "netns", "exec", POD), pods[POD])


def in_turns(ends: Ends, one: Route, other: Route) -> list[tuple[Flow, Flow]]:
    """Measure both paths in turns, on shaped links."""
    with contextlib.ExitStack() as stack:
        for host in ends.hosts:
            stack.enter_context(shaped(host, ends.shape))
        return [(flow(ends, one), flow(ends, other)) for _number in range(RUNS)]


def section_of(pairs: list[tuple[Flow, Flow]], arithmetic: float) -> Section:
    """Return the section with the figures of all runs."""
    under, over = (statistics.median(run.megabits for run in runs) for runs in zip(*pairs, strict=True))
    link_under, link_over = (statistics.median(run.on_link for run in runs) for runs in zip(*pairs, strict=True))
    ratios = sorted(pair[1].megabits / pair[0].megabits for pair in pairs)
    return Section(
        [
            Measure("underlay, host to host", under, "Mbit/s", 1),
            Measure("overlay, Pod to Pod", over, "Mbit/s", 1),
            Measure("overlay / underlay", over / under, digits=4, at_least=0.95),
            Measure("expected from the headers alone", arithmetic, digits=4),
            Measure("expected from the bytes on the link", link_under / link_over, digits=4),
        ],
        [
            f"{SITES.sender} -> {SITES.receiver}; iperf3, one TCP stream, payload as received",
            f"{RUNS} runs of {SECONDS} s in turns",
            f"ratio of the medians; the ratios of single pairs are between {ratios[0]:.4f} and {ratios[-1]:.4f}",
            f"eth0 of both hosts shaped: {' '.join(SITES.shape)}; TCP port {PORT} opened on the router meanwhile",
            "headers: (Pod MTU - 52) / (underlay MTU - 52): a full packet has the same size on the link in both cases",
        ],
    )


def flow(ends: Ends, route: Route) -> Flow:
    """Run iperf3 once from the sender to the receiver."""
    listen = ("timeout", "30", "iperf3", "-s", "-1", "-p", str(PORT))
    server = (*inlab.LAB, "exec", ends.receiver, "--", *route.prefix, *listen)
    client = ("iperf3", "-c", route.target, "-p", str(PORT), "-t", str(SECONDS), "--json")
    with subprocess.Popen(server, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        await_server(ends.receiver, route)
        link, tunnel = sent(ends)
        result = json.loads(inlab.on(ends.sender, *route.prefix, "timeout", "30", *client))
        link, tunnel = (after - before for before, after in zip((link, tunnel), sent(ends), strict=True))
        process.wait(timeout=30)
    received = result["end"]["sum_received"]
    return Flow(received["bits_per_second"] / 1e6, link / received["bytes"], tunnel / received["bytes"])


def await_server(host: str, route: Route) -> None:
    """Wait until iperf3 listens on its port."""
    deadline = time.monotonic() + 10
    while not inlab.on(host, *route.prefix, "ss", "-Hltn", "sport", "=", f":{PORT}").strip():
        if time.monotonic() > deadline:
            raise BenchError(f"iperf3 does not listen on {host}")
        time.sleep(0.1)


def sent(ends: Ends) -> tuple[int, int]:
    """Return the bytes that the sender has sent through the shaper, and through the tunnel."""
    (shaper,) = json.loads(inlab.on(ends.sender, "tc", "-s", "-json", "qdisc", "show", "dev", "eth0", "root"))
    (tunnel,) = json.loads(inlab.on(ends.sender, "ip", "-s", "-json", "link", "show", "dev", ends.device))
    return shaper["bytes"], tunnel["stats64"]["tx"]["bytes"]


def check_routes(pairs: list[tuple[Flow, Flow]], tunnel: bool = True) -> None:
    """Check that all payload has passed the shaper, and the tunnel only that of Pods on a link that has one."""
    for under, over in pairs:
        taken = over.in_tunnel >= 1 if tunnel else over.in_tunnel < 0.01
        if min(under.on_link, over.on_link) < 1 or under.in_tunnel > 0.01 or not taken:
            raise BenchError(f"the traffic took an unexpected path: underlay {under}, overlay {over}")


def payload_ratio(ends: Ends) -> float:
    """Return the ratio of the payloads of a full packet of a Pod and of the underlay."""
    pod = mtu(ends.sender, "ip", "-n", POD, "-json", "link", "show", "dev", "eth0")
    hosts = min(mtu(host, "ip", "-json", "link", "show", "dev", "eth0") for host in ends.hosts)
    return (pod - HEADERS) / (hosts - HEADERS)


def mtu(host: str, *command: str) -> int:
    """Return the MTU of a link from the output of a command on a host."""
    value: int = json.loads(inlab.on(host, *command))[0]["mtu"]
    return value


@contextlib.contextmanager
def shaped(host: str, shape: tuple[str, ...]) -> Iterator[None]:
    """Limit the rate of a host's link; a veth link alone passes large segments at the speed of the memory."""
    inlab.on(host, "tc", "qdisc", "replace", "dev", "eth0", "root", *shape)
    try:
        yield
    finally:
        inlab.on(host, "tc", "qdisc", "del", "dev", "eth0", "root")


@contextlib.contextmanager
def opened_router(ends: Ends) -> Iterator[None]:
    """Let the router forward the TCP port of the underlay, which it otherwise drops."""
    close_router()  # removes the rule of a killed run
    sites = [lab.current().host(host).network.bridge for host in ends.hosts]
    rule = f"iifname {sites[0]} oifname {sites[1]} tcp dport {PORT} accept comment {COMMENT}"
    inlab.on_router("nft", "insert", "rule", *CHAIN, *rule.split())
    try:
        yield
    finally:
        close_router()


def close_router() -> None:
    """Delete the rules of the benchmark, by their handles."""
    listing: dict[str, Any] = json.loads(inlab.on_router("nft", "-json", "list", "chain", *CHAIN))
    for entry in listing["nftables"]:
        rule = entry.get("rule", {})
        if rule.get("comment") == COMMENT:
            inlab.on_router("nft", "delete", "rule", *CHAIN, "handle", str(rule["handle"]))

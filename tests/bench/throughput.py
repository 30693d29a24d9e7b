# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""TCP from Pod to Pod across the sites against TCP between the two nodes, over the same shaped link."""

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

SENDER, RECEIVER = "cloud1", "idc1"
POD = "pod-1"
DEVICE = "tke0"
PORT = 5201
RUNS = 5  # of each kind
SECONDS = 5
HEADERS = 20 + 20 + 12  # IPv4, TCP, and TCP's timestamps: what of a packet is not payload
# As a whole, a large segment that veth hands on must fit into the burst: tbf would cut it up, and then reach neither
# the rate nor an even flow. The queue takes more than TCP's largest window, so that nothing is lost.
SHAPE = ("tbf", "rate", "1gbit", "burst", "256k", "latency", "100ms")
CHAIN = ("inet", "lab", "forward")
COMMENT = "tke-overlay-bench"


class Way(NamedTuple):
    """One of the two ways: in front of the commands, and the address that is sent to."""

    prefix: tuple[str, ...]
    target: str


class Flow(NamedTuple):
    """One run: payload per second, and bytes on the link and in the tunnel for each byte of payload."""

    megabits: float
    on_link: float
    in_tunnel: float


def run() -> Section:
    """Measures in turns: underlay, overlay, underlay, overlay."""
    inlab.insist_on_controller()
    limit = f"{SENDER},{RECEIVER}"
    inlab.playbook("tke.overlay.site", limit)
    inlab.playbook(str(Path(__file__).with_name("pods.yml")), limit)
    pods = json.loads(inlab.on(RECEIVER, "lab-pod", "list"))
    underlay = Way((), str(lab.current().host(RECEIVER).address))
    overlay = Way(("ip", "netns", "exec", POD), pods[POD])
    with contextlib.ExitStack() as stack:
        for host in (SENDER, RECEIVER):
            stack.enter_context(shaped(host))
        stack.enter_context(opened_router())
        pairs = [(flow(underlay), flow(overlay)) for _number in range(RUNS)]
    insist_on_ways(pairs)
    return section_of(pairs, payload_ratio())


def section_of(pairs: list[tuple[Flow, Flow]], arithmetic: float) -> Section:
    """The figures of all runs."""
    under, over = (statistics.median(way.megabits for way in ways) for ways in zip(*pairs, strict=True))
    link_under, link_over = (statistics.median(way.on_link for way in ways) for ways in zip(*pairs, strict=True))
    ratios = sorted(pair[1].megabits / pair[0].megabits for pair in pairs)
    return Section(
        [
            Measure("underlay, host to host", under, "Mbit/s", 1),
            Measure("overlay, Pod to Pod", over, "Mbit/s", 1),
            Measure("overlay / underlay", over / under, digits=4, at_least=0.95),
            Measure("what the headers alone leave", arithmetic, digits=4),
            Measure("by the bytes that passed the shaper", link_under / link_over, digits=4),
        ],
        [
            f"{SENDER} -> {RECEIVER}; iperf3, one TCP stream, payload as received; {RUNS} runs of {SECONDS} s in turns",
            f"ratio of the medians; the ratios of the single pairs lie between {ratios[0]:.4f} and {ratios[-1]:.4f}",
            f"eth0 of both hosts shaped: {' '.join(SHAPE)}; TCP port {PORT} opened on the router meanwhile",
            "headers: (Pod MTU - 52) / (underlay MTU - 52): a full packet has the same size on the link either way",
        ],
    )


def flow(way: Way) -> Flow:
    """One run of iperf3 from the sender to the receiver."""
    server = (*inlab.LAB, "exec", RECEIVER, "--", *way.prefix, "timeout", "30", "iperf3", "-s", "-1", "-p", str(PORT))
    client = ("iperf3", "-c", way.target, "-p", str(PORT), "-t", str(SECONDS), "--json")
    with subprocess.Popen(server, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        await_server(way)
        link, tunnel = sent()
        result = json.loads(inlab.on(SENDER, *way.prefix, "timeout", "30", *client))
        link, tunnel = (after - before for before, after in zip((link, tunnel), sent(), strict=True))
        process.wait(timeout=30)
    received = result["end"]["sum_received"]
    return Flow(received["bits_per_second"] / 1e6, link / received["bytes"], tunnel / received["bytes"])


def await_server(way: Way) -> None:
    """Until somebody listens on the port."""
    deadline = time.monotonic() + 10
    while not inlab.on(RECEIVER, *way.prefix, "ss", "-Hltn", "sport", "=", f":{PORT}").strip():
        if time.monotonic() > deadline:
            raise BenchError(f"iperf3 does not listen on {RECEIVER}")
        time.sleep(0.1)


def sent() -> tuple[int, int]:
    """Bytes that the sender has sent through the shaper, and through the tunnel."""
    (shaper,) = json.loads(inlab.on(SENDER, "tc", "-s", "-json", "qdisc", "show", "dev", "eth0", "root"))
    (tunnel,) = json.loads(inlab.on(SENDER, "ip", "-s", "-json", "link", "show", "dev", DEVICE))
    return shaper["bytes"], tunnel["stats64"]["tx"]["bytes"]


def insist_on_ways(pairs: list[tuple[Flow, Flow]]) -> None:
    """All payload must have passed the shaper, and the tunnel exactly where it should."""
    for under, over in pairs:
        if min(under.on_link, over.on_link) < 1 or under.in_tunnel > 0.01 or over.in_tunnel < 1:
            raise BenchError(f"the traffic did not go the way it should: underlay {under}, overlay {over}")


def payload_ratio() -> float:
    """Payload of a full packet of a Pod, against one of the underlay."""
    pod = mtu(SENDER, "ip", "-n", POD, "-json", "link", "show", "dev", "eth0")
    hosts = min(mtu(host, "ip", "-json", "link", "show", "dev", "eth0") for host in (SENDER, RECEIVER))
    return (pod - HEADERS) / (hosts - HEADERS)


def mtu(host: str, *command: str) -> int:
    """The MTU of a link, as a command on a host shows it."""
    value: int = json.loads(inlab.on(host, *command))[0]["mtu"]
    return value


@contextlib.contextmanager
def shaped(host: str) -> Iterator[None]:
    """A host whose link is a wire with a rate; veth alone would hand on large segments as fast as memory is."""
    inlab.on(host, "tc", "qdisc", "replace", "dev", "eth0", "root", *SHAPE)
    try:
        yield
    finally:
        inlab.on(host, "tc", "qdisc", "del", "dev", "eth0", "root")


@contextlib.contextmanager
def opened_router() -> Iterator[None]:
    """The router lets the underlay's TCP pass, which it otherwise drops."""
    close_router()  # of a run that was killed
    sites = [lab.current().host(host).network.bridge for host in (SENDER, RECEIVER)]
    rule = f"iifname {sites[0]} oifname {sites[1]} tcp dport {PORT} accept comment {COMMENT}"
    inlab.on_router("nft", "insert", "rule", *CHAIN, *rule.split())
    try:
        yield
    finally:
        close_router()


def close_router() -> None:
    """Takes out our rules, by their handles."""
    listing: dict[str, Any] = json.loads(inlab.on_router("nft", "-json", "list", "chain", *CHAIN))
    for entry in listing["nftables"]:
        rule = entry.get("rule", {})
        if rule.get("comment") == COMMENT:
            inlab.on_router("nft", "delete", "rule", *CHAIN, "handle", str(rule["handle"]))

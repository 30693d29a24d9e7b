# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Reports for the tests of the page, built from ledgers, inventories and module results as they may occur."""

from __future__ import annotations

import datetime
import functools
import random
from collections.abc import Callable
from typing import Any

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import (
    Assignment,
    Ledger,
    Pending,
    parse,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import (
    LedgerVersions,
    Report,
    ReportOptions,
    build,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.past_day import (
    MEASURES,
    SECONDS,
    STEP,
    PastDay,
    Series,
    series_of,
    timestamp,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import ProbedHost

AT = "2026-06-30T09:41:07Z"
END = 1_782_812_467
""":data:`AT` in seconds since 1970."""
SITES = ("cloud", "idc")
LINKS = (
    {"sites": ["cloud", "cloud"], "nodes": [5, 5], "transport": "vxlan", "mtu": 1400},
    {"sites": ["cloud", "edge"], "nodes": [5, 2], "transport": "wireguard", "mtu": 1312},
    {"sites": ["cloud", "idc"], "nodes": [5, 4], "transport": "vxlan", "mtu": 1400},
    {"sites": ["idc", "idc"], "nodes": [4, 4], "transport": "direct", "mtu": 1500},
)
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'


def when(days_before: int) -> str:
    """Return the time this number of days before :data:`AT`."""
    then = datetime.datetime(2026, 6, 30, 8, 15, 30) - datetime.timedelta(days=days_before)
    return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def overlay_info(drift: tuple[str, ...] = (), current: bool = True, vips: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the result of ``overlay_info`` on a host without problems."""
    return {
        "node": None if vips else "node1",
        "mtu": 1400,
        "plan": {
            "applied": "0123456789ab",
            "wanted": "0123456789ab" if current else "fedcba987654",
            "current": current,
        },
        "drift": list(drift),
        "counters": {
            "rx_packets": 90210,
            "tx_packets": 88112,
            "rx_bytes": 7 << 30,
            "tx_bytes": 5 << 30,
            "rx_dropped": 0,
        },
        "timer": "active",
        "vips": list(vips),
        "load_balancer": {"timer": "active"} if vips else None,
        "pods": [],
    }


def probe_result(rtt: dict[str, float], *findings: tuple[str, str]) -> dict[str, Any]:
    """Return the result of ``probe``: times in milliseconds, and findings as (peer, kind)."""
    silent = {peer for peer, kind in findings if kind == "silent"}
    return {
        "asked": len(rtt.keys() | silent),
        "answered": len(rtt.keys() - silent),
        "rtt_ms": {peer: ms for peer, ms in rtt.items() if peer not in silent},
        "findings": [{"peer": peer, "address": "10.0.0.1", "kind": kind, "text": kind} for peer, kind in findings],
    }


def healthy(past_day: PastDay | None = None) -> Report:
    """Return the report of the lab: four nodes in two sites, without problems."""
    names = ["cloud1", "cloud2", "idc1", "idc2"]
    ledger = Ledger("lab", Pool(["10.244.0.0/16"], 256, 256), cursor=4)
    ledger.vips = {"apiserver": "10.0.2.2", "services": "10.0.2.3"}
    for number, name in enumerate(names):
        underlay = f"10.0.1.{11 + number}" if "cloud" in name else f"192.168.1.{9 + number}"
        ledger.nodes[name] = Assignment(ledger.pool.node_cidr(number), underlay, 1500, when(number // 2), False)
    times = {(one, other): 0.08 if one[:3] == other[:3] else 0.31 for one in names for other in names if one != other}
    hosts = [
        ProbedHost(
            name,
            name.rstrip("12"),
            selected=True,
            overlay=overlay_info(),
            probe=probe_result({other: ms for (one, other), ms in times.items() if one == name}),
        )
        for name in names
    ]
    hosts += [
        ProbedHost("clb1", node=False, selected=True, overlay=overlay_info(vips=("10.0.2.2",))),
        ProbedHost("clb2", node=False, selected=True, overlay=overlay_info(vips=("10.0.2.3",))),
    ]
    return build(
        LedgerVersions(ledger, "/srv/overlay/overlay-ledger.json"),
        hosts,
        ReportOptions(AT, ["inventories/lab/hosts.yml"], sites=SITES, past_day=past_day),
    )


def watched() -> Report:
    """Return the same with a Prometheus that has recorded the past day, in which a site was cut off for an hour."""
    values: tuple[Callable[[int], str], ...] = (
        lambda at: "33.4" if END - 8 * STEP <= at < END - 6 * STEP else "100",
        lambda at: "NaN" if at < END - 40 * STEP else "100",
        lambda at: str(at // STEP % 7 // 6),
        lambda at: str(at // STEP % 11 * 1234.5),
    )
    times = [END - STEP * before for before in range(SECONDS // STEP, -1, -1)]
    series = [
        series_of(measure, {"data": {"result": [{"values": [(at, value(at)) for at in times]}]}})
        for measure, value in zip(MEASURES, values, strict=True)
    ]
    return healthy(_past_day(None, series))


def unwatched() -> Report:
    """Return the same with a Prometheus that does not answer."""
    return healthy(_past_day(f"http://192.0.2.20:9090 (overlay_prometheus_url): {HOSTILE}", []))


def _past_day(problem: str | None, series: list[Series]) -> PastDay:
    begin, end = timestamp(END - SECONDS), timestamp(END)
    return PastDay(source="http://192.0.2.20:9090", begin=begin, end=end, step=STEP, problem=problem, series=series)


def troubled(limit: str | None = None) -> Report:
    """Return a report of eleven nodes in three sites with every kind of problem, and with unusual names."""
    chance = random.Random(7)
    names = [
        *(f"cloud{n}" for n in range(1, 6)),
        *(f"idc{n}" for n in range(1, 5)),
        HOSTILE,
        "edge-gateway.branch-7.example",
    ]
    site_of = dict(zip(names, ["cloud"] * 5 + ["idc"] * 4 + ["edge"] * 2, strict=True))
    ledger = Ledger("production", Pool(["10.244.0.0/18", "10.250.0.0/20"], 256, 1024), cursor=14)
    ledger.vips = {"apiserver": "10.0.2.2", "services": "10.0.2.3"}
    for number, name in enumerate([*names, "old-idc9"]):
        ledger.nodes[name] = Assignment(
            ledger.pool.node_cidr(number), f"10.0.{number}.11", 1500, when(200 - 15 * number), number == 3
        )
    ledger.nodes["idc4"] = ledger.nodes["idc4"]._replace(underlay=None)
    before = parse(ledger.text(), "/ledger", None)
    before.nodes["idc7"] = Assignment(ledger.pool.node_cidr(20), "192.168.1.17", 1500, when(300), False)
    before.nodes["cloud2"] = before.nodes["cloud2"]._replace(underlay="10.0.9.9")
    del before.nodes["edge-gateway.branch-7.example"]
    ledger.pending[ledger.pool.node_cidr(20)] = Pending("idc7", when(2), ["cloud4", "idc3"], True)
    ledger.pending[ledger.pool.node_cidr(21)] = Pending("idc8", when(9), [], True)
    hosts = [_troubled_host(name, site_of, names, chance, limit) for name in names]
    hosts += [
        ProbedHost(
            "new1", "idc", selected=limit is None, overlay=None, failures=["this host has no nft: install nftables"]
        ),
        ProbedHost("clb1", node=False, selected=True, overlay=overlay_info(vips=("10.0.2.2",))),
        ProbedHost("clb2", node=False, selected=True, overlay=overlay_info(vips=("10.0.2.2",))),
    ]
    versions = LedgerVersions(
        ledger, "etcd://10.0.0.5:2379,10.0.0.6:2379/production", [("ledger.000000001523", before)]
    )
    options = ReportOptions(
        AT, ["inventories/production"], limit, ("cloud", "idc", "edge"), ["10.244.24.0/22"], events=12, links=LINKS
    )
    return build(versions, hosts, options)


def _troubled_host(
    name: str, site_of: dict[str, str], names: list[str], chance: random.Random, limit: str | None
) -> ProbedHost:
    selected = limit is None or name == limit
    if not selected or name == "idc2":
        return ProbedHost(name, site_of[name], selected=selected, unreachable=selected)
    found = [("idc2", "silent")]
    if site_of[name] == "cloud":
        found += [("edge-gateway.branch-7.example", "mtu")]
    if name == "cloud1":
        found += [("idc3", "tcp"), ("cloud5", "silent")]
    rtt = {
        other: round(chance.uniform(0.2, 0.9) if site_of[other] == site_of[name] else chance.uniform(11, 48), 3)
        for other in names
        if other != name
    }
    drift = ("route 10.244.3.0/24 is missing", "rules: counter of masquerade is missing") if name == "cloud3" else ()
    overlay = overlay_info(drift, current=name != "idc1")
    if name in ("cloud2", "idc4"):
        overlay["pods"] = [
            {
                "check": "forwarding",
                "text": "net.ipv4.conf.tke0.forwarding is 0: packets from other nodes do not reach Pods of this host",
                "remedy": "sysctl -w net.ipv4.conf.tke0.forwarding=1",
                "severity": "bad",
            }
        ]
    return ProbedHost(
        name,
        site_of[name],
        selected=True,
        overlay=overlay,
        probe=probe_result(rtt, *found),
    )


@functools.cache
def large() -> Report:
    """Return a report of 5,000 nodes, scattered over 65,535 node CIDRs, that probed eight peers each; some fail."""
    chance = random.Random(11)
    ledger = Ledger("large", Pool(["10.0.0.0/8"], 256, 256))
    names = [f"{SITES[number % 2]}-node-{number:05}" for number in range(5000)]
    numbers = sorted(chance.sample(range(ledger.pool.size), len(names)))
    for at, (name, number) in enumerate(zip(names, numbers, strict=True)):
        underlay = f"172.{16 + at // 65536}.{at // 256 % 256}.{at % 256}"
        ledger.nodes[name] = Assignment(
            ledger.pool.node_cidr(number), underlay, 1500, when(chance.randrange(400)), False
        )
    ledger.cursor = numbers[-1] // 2
    hosts = []
    for at, name in enumerate(names):
        peers = chance.sample(names, 8)
        rtt = {peer: round(chance.lognormvariate(0, 1), 3) for peer in peers if peer != name}
        found = [(peer, "silent") for peer in rtt if peer.endswith("77")]
        dead = name.endswith("77")
        hosts.append(
            ProbedHost(
                name,
                SITES[at % 2],
                selected=True,
                unreachable=dead,
                overlay=None if dead else overlay_info(("route is missing",) if at % 500 == 3 else ()),
                probe=None if dead else probe_result(rtt, *found),
            )
        )
    return build(
        LedgerVersions(ledger, "/srv/overlay-ledger.json"), hosts, ReportOptions(AT, ["/srv/hosts.yml"], sites=SITES)
    )


def alone() -> Report:
    """Return a report of the ledger alone: no host was observed."""
    ledger = Ledger("demo", Pool(["10.99.0.0/24"], 64, 32))
    return build(
        LedgerVersions(ledger, "/srv/overlay-ledger.json"),
        [ProbedHost("a", "cloud"), ProbedHost("b", "idc")],
        ReportOptions(AT, sites=SITES),
    )

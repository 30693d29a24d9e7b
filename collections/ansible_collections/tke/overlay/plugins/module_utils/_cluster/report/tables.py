# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rows of the page's tables as text: sites, links, node to node, VIPs, nodes, released node CIDRs, changes."""

from __future__ import annotations

import math
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.formats import (
    NOTHING,
    day,
    milliseconds,
    timestamp,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import Report, ReportNode
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import ProbedPair, SiteCell

STATE_LABELS = {
    "ok": ("✓", "ok"),
    "differs": ("≠", "differs"),
    "loss": ("✕", "packets lost"),
    "pods": ("✕", "Pods fail"),
    "unconfigured": ("✕", "not configured"),
    "unreachable": ("✕", "unreachable"),
    "failed": ("✕", "failed"),
    "unobserved": ("·", "not observed"),
    "orphan": ("○", "orphan"),
    "missing": ("○", "no node CIDR"),
}
"""Sign and label of the state of a node: colour is never the only difference."""

STATE_CLASSES = {"ok": "", "unobserved": "soft", "orphan": "t-warn", "missing": "t-warn", "differs": "t-warn"}
"""CSS class of the state of a node; of every other state ``t-bad``."""

PAIR_SIGNS = {"silent": ("✕", "no answer"), "mtu": ("▽", "full-size packets lost"), "tcp": ("◇", "TCP lost")}
"""Sign and label of what ``probe`` reports about a pair."""

FINDING_LABELS = {
    "silent": "no answer",
    "mtu": "full-size packets",
    "tcp": "TCP",
    "plan": "old plan",
    "underlay": "no underlay address",
    "pods": "Pods",
    "vip": "VIP",
}
"""Label of a finding in the row of its node, where the state of the node does not show it."""

SHADES = 5
"""Steps from the fastest to the slowest pair."""

MOST_LINKS = 100
"""Links in the table; the JSON document has all."""

MOST_WIDE = 16
"""Up to this number of nodes the names above the matrix are horizontal."""

COLUMNS = (
    ("Node", "t"),
    ("State", "t"),
    ("Site", "t"),
    ("Node CIDR", "a"),
    ("Underlay", "a"),
    ("Answers", "n"),
    ("Median ms", "n"),
    ("Worst ms", "n"),
    ("Drops", "n"),
    ("Since (UTC)", "t"),
)
"""Columns of the nodes, and how the page's script orders each: as text, address or number."""


class SiteCellText(t.NamedTuple):
    """One cell of the table of sites. ``answers`` is empty where nothing was measured."""

    target: str
    answers: str = ""
    median: str = ""
    slowest: str = ""
    lost: t.Sequence[str] = ()


class SiteRow(t.NamedTuple):
    """One row of the table of sites."""

    name: str
    observed: str
    findings: str
    cells: t.Sequence[SiteCellText]


class LinkRow(t.NamedTuple):
    """One link between two sites, or inside one."""

    sites: str
    transport: str
    mtu: str
    nodes: str
    encrypted: str


class MatrixCell(t.NamedTuple):
    """One cell of the matrix of nodes. Empty texts are left out of the page."""

    text: str
    classes: str = ""
    title: str = ""


class Matrix(t.NamedTuple):
    """Round trips from each node (rows) to each node (columns)."""

    names: t.Sequence[str]
    rows: t.Sequence[tuple[str, t.Sequence[MatrixCell]]]
    dense: bool


class VipRow(t.NamedTuple):
    """One VIP. ``bad``: not exactly one host holds it."""

    name: str
    address: str
    holders: str
    bad: bool


class NodeRow(t.NamedTuple):
    """One node. ``classes`` and ``notes`` may be empty; ``number`` is that of the node CIDR."""

    number: int | None
    name: str
    state: str
    classes: str
    notes: str
    site: str
    node_cidr: str
    pinned: bool
    underlay: str
    answers: str
    median: str
    worst: str
    drops: str
    since: str


class PendingRow(t.NamedTuple):
    """One released node CIDR."""

    number: int
    node_cidr: str
    node: str
    since: str
    until: str


class EventRow(t.NamedTuple):
    """One change of the ledger."""

    when: str
    subject: str
    text: str


def site_rows(report: Report) -> list[SiteRow]:
    """Return the measurements from each site to each site."""
    names = [site["name"] for site in report["sites"]]
    cells = {(cell["source"], cell["target"]): cell for cell in report["reach"]["sites"]}
    return [
        SiteRow(
            name=site["name"] or "no site",
            observed=f"{site['reached']:,} of {count(site['nodes'], 'node')} observed",
            findings=count(site["findings"], "node") + " with findings" if site["findings"] else "",
            cells=[_site_cell(cells.get((site["name"], name)), name) for name in names],
        )
        for site in report["sites"]
    ]


def _site_cell(cell: SiteCell | None, target: str) -> SiteCellText:
    if cell is None:
        return SiteCellText(target)
    numbers = {"silent": cell["silent"], "mtu": cell["mtu"], "tcp": cell["tcp"]}
    lost = [
        f"{PAIR_SIGNS[kind][0]} {PAIR_SIGNS[kind][1]}: {count(number, 'pair')}"
        for kind, number in numbers.items()
        if number
    ]
    healthy = cell["answered"] == cell["pairs"] and not lost
    answers = f"{'✓' if healthy else '✕'} {cell['answered']:,} of {cell['pairs']:,}"
    if not cell["worst"]:
        return SiteCellText(target, answers, lost=lost)
    median = f"median {milliseconds(cell['median_ms'])} ms"
    slowest = f"slowest {milliseconds(cell['worst_ms'])} {' → '.join(cell['worst'])}"
    return SiteCellText(target, answers, median, slowest, lost)


def link_rows(report: Report) -> list[LinkRow]:
    """Return the links; none in a cluster without ``overlay_links``."""
    rows = []
    for link in report["links"][:MOST_LINKS]:
        one, other = link["sites"]
        inside = one == other
        rows.append(
            LinkRow(
                sites=f"inside {one}" if inside else f"{one} - {other}",
                transport=link["transport"],
                mtu=f"{link['mtu']:,}",
                nodes=" - ".join(f"{number:,}" for number in link["nodes"][: 1 if inside else 2]),
                encrypted="yes" if link["encrypted"] else "no",
            )
        )
    return rows


def matrix(report: Report) -> Matrix | None:
    """Return the round trips from each node to each node, or ``None`` where there are too many nodes."""
    found = report["reach"]["matrix"]
    if not found:
        return None
    names = [node["name"] for node in report["nodes"] if node["state"] != "missing"]
    times = [pair["ms"] for row in found.values() for pair in row.values() if pair["ms"]]
    span = min(times, default=1.0), max(times, default=1.0)
    rows = [
        (name, [_matrix_cell(name, other, found.get(name, {}).get(other), span) for other in names]) for name in names
    ]
    return Matrix(names, rows, dense=len(names) > MOST_WIDE)


def _matrix_cell(source: str, peer: str, pair: ProbedPair | None, span: tuple[float, float]) -> MatrixCell:
    if source == peer:
        return MatrixCell("", "self")
    if pair is None:
        return MatrixCell("·", "soft")
    kinds = [kind for kind in pair["kinds"] if kind in PAIR_SIGNS]
    signs = "".join(PAIR_SIGNS[kind][0] for kind in kinds)
    labels = ", ".join(PAIR_SIGNS[kind][1] for kind in kinds)
    time = "" if pair["ms"] is None or "silent" in pair["kinds"] else milliseconds(pair["ms"])
    shade = f"q{_shade(pair['ms'], *span)}" if pair["ms"] else ""
    title = f"{source} → {peer}: {labels or f'{time} ms'}"
    return MatrixCell(f"{signs} {time}".strip(), "t-bad" if signs else shade, title)


def _shade(ms: float, least: float, most: float) -> int:
    """Return the step of a round trip on a logarithmic scale; 0 where all are about the same."""
    if most <= least * 2:
        return 0
    return min(SHADES - 1, int(SHADES * math.log(ms / least) / math.log(most / least)))


def vip_rows(report: Report) -> list[VipRow]:
    """Return the VIPs and the hosts that hold them."""
    rows = []
    for vip in report["vips"]:
        holders = ", ".join(vip["holders"]) or ("none" if vip["observed"] else "not observed")
        bad = vip["observed"] and len(vip["holders"]) != 1
        rows.append(VipRow(vip["name"], vip["address"], f"✕ {holders}" if bad else holders, bad))
    return rows


def state_options(report: Report) -> list[str]:
    """Return the labels of the states that occur, for the filter."""
    states = {node["state"] for node in report["nodes"]}
    return [label for state, (_sign, label) in STATE_LABELS.items() if state in states]


def node_row(node: ReportNode) -> NodeRow:
    """Return the row of one node."""
    sign, label = STATE_LABELS[node["state"]]
    reach = node["reach"]
    notes = [FINDING_LABELS[kind] for kind in node["findings"] if kind in FINDING_LABELS and kind != node["state"]]
    if node["has_pods"] is False:
        notes = ["without Pods", *notes]
    if node["drift"]:
        notes = [count(len(node["drift"]), "difference"), *notes]
    return NodeRow(
        number=node["number"],
        name=node["name"],
        state=f"{sign} {label}",
        classes=STATE_CLASSES.get(node["state"], "t-bad"),
        notes=", ".join(notes),
        site=node["site"] or NOTHING,
        node_cidr=node["node_cidr"] or NOTHING,
        pinned=node["pinned"],
        underlay=node["underlay"] or NOTHING,
        answers=f"{reach['answered']}/{reach['asked']}" if reach else NOTHING,
        median=milliseconds(reach["median_ms"]) if reach else NOTHING,
        worst=milliseconds(reach["worst_ms"]) if reach else NOTHING,
        drops=_drops(node),
        since=day(node["since"]),
    )


def _drops(node: ReportNode) -> str:
    """Return the packets that the device and the rules dropped, as in the column of the playbook status."""
    counters = node["counters"]
    if counters is None:
        return NOTHING
    rules = [packets for key, packets in counters.items() if key.startswith("rule_")]
    return f"{counters.get('rx_dropped', 0) + counters.get('tx_dropped', 0) + sum(rules):,}"


def pending_rows(report: Report) -> list[PendingRow]:
    """Return the released node CIDRs that are not free yet."""
    return [
        PendingRow(
            number=row["number"],
            node_cidr=row["node_cidr"],
            node=row["node"],
            since=timestamp(row["since"]),
            until=_until(row["on"], row["quarantined"]),
        )
        for row in report["pending"]
    ]


def _until(on: t.Sequence[str], quarantined: bool) -> str:
    """Return the conditions under which a released node CIDR becomes free."""
    parts = [f"removed by {', '.join(on[:8])}" + (f" and {len(on) - 8:,} more" if len(on) > 8 else "")] if on else []
    return ", and ".join([*parts, "the cursor has wrapped around"] if quarantined else parts)


def event_rows(report: Report) -> list[EventRow]:
    """Return the last changes of the ledger."""
    return [
        EventRow(
            when=timestamp(event["when"]) if event["when"] else "time not recorded",
            subject=event["node"] or "cluster",
            text=f"{event['what']}: {event['text']}",
        )
        for event in report["history"]
    ]

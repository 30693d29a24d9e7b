# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: sites, reachability, nodes and the rest of the picture as tables. Pure."""

from __future__ import annotations

import math
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import Report, ReportNode
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_html import (
    NOTHING,
    Html,
    day,
    join,
    milliseconds,
    moment,
    tag,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import FailedPair, SiteCell

STATE_WORDS = {
    "ok": ("✓", "ok"),
    "differs": ("≠", "differs"),
    "loss": ("✕", "packets lost"),
    "bare": ("✕", "not set up"),
    "unreachable": ("✕", "unreachable"),
    "failed": ("✕", "failed"),
    "unseen": ("·", "not looked at"),
    "orphan": ("○", "orphan"),
    "missing": ("○", "no node CIDR"),
}
"""A sign and a word for the state of a node: colour is never the only one."""

SIGNS = {"silent": ("✕", "no answer"), "mtu": ("▽", "full packets lost"), "tcp": ("◇", "TCP lost")}
"""What ``probe`` finds of a pair."""

KIND_WORDS = {
    "silent": "no answer",
    "mtu": "full packets",
    "tcp": "TCP",
    "plan": "old plan",
    "underlay": "no underlay address",
    "vip": "VIP",
}
"""What a row says of findings that its state does not."""

SHADES = 5
"""Steps from the fastest to the slowest pair."""


def sites(picture: Report) -> Html:
    """From each site to each site."""
    names = [site["name"] for site in picture["sites"]]
    cells = {(cell["source"], cell["target"]): cell for cell in picture["reach"]["sites"]}
    head = tag(
        "tr", tag("th", "from ↓ to →", scope="col"), *(tag("th", name or "no site", scope="col") for name in names)
    )
    rows = []
    for site in picture["sites"]:
        told = f"{site['reached']:,} of {count(site['nodes'], 'node')} seen"
        trouble = count(site["findings"], "node") + " with findings" if site["findings"] else None
        rows.append(
            tag(
                "tr",
                tag(
                    "th",
                    tag("b", site["name"] or "no site"),
                    tag("small", told),
                    tag("small", trouble, class_="t-warn") if trouble else None,
                    scope="row",
                ),
                *(_site_cell(cells.get((site["name"], name)), name) for name in names),
            )
        )
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows), class_="sites"), class_="scroll")


def _site_cell(cell: SiteCell | None, target: str) -> Html:
    if cell is None:
        return tag("td", tag("span", "not measured", class_="soft"), data_to=f"→ {target}")
    whole = cell["answered"] == cell["pairs"]
    lost = [
        f"{SIGNS[kind][0]} {SIGNS[kind][1]}: {count(cell[kind], 'pair')}"
        for kind in ("silent", "mtu", "tcp")
        if cell[kind]
    ]
    slowest = f"{milliseconds(cell['worst_ms'])} {' → '.join(cell['worst'])}" if cell["worst"] else None
    return tag(
        "td",
        tag("b", f"{'✓' if whole and not lost else '✕'} {cell['answered']:,} of {cell['pairs']:,}"),
        tag("small", f"median {milliseconds(cell['median_ms'])} ms") if cell["worst"] else None,
        tag("small", f"slowest {slowest}") if slowest else None,
        *(tag("small", text, class_="t-bad") for text in lost),
        data_to=f"→ {target}",
    )


def matrix(picture: Report) -> Html | None:
    """From each node to each node, where they are few."""
    found = picture["reach"]["matrix"]
    if not found:
        return None
    names = [node["name"] for node in picture["nodes"] if node["state"] != "missing"]
    times = [pair["ms"] for row in found.values() for pair in row.values() if pair["ms"]]
    least, most = min(times, default=1.0), max(times, default=1.0)
    head = tag(
        "tr",
        tag("th", "from ↓ to →", scope="col"),
        *(tag("th", tag("span", name), scope="col") for name in names),
    )
    rows = [
        tag(
            "tr",
            tag("th", tag("span", name), scope="row"),
            *(_matrix_cell(name, other, found.get(name, {}).get(other), least, most) for other in names),
        )
        for name in names
    ]
    body = tag(
        "table", tag("thead", head), tag("tbody", *rows), class_="matrix" + (" dense" if len(names) > 16 else "")
    )
    key = [tag("li", tag("b", sign), f" {word}") for sign, word in SIGNS.values()]
    key.append(tag("li", tag("b", "·"), " not asked"))
    return join(tag("div", body, class_="scroll"), tag("ul", *key, class_="legend"))


def _matrix_cell(asker: str, peer: str, pair: FailedPair | None, least: float, most: float) -> Html:
    if asker == peer:
        return tag("td", "", class_="self")
    if pair is None:
        return tag("td", "·", class_="soft")
    signs = "".join(SIGNS[kind][0] for kind in pair["kinds"] if kind in SIGNS)
    words = ", ".join(SIGNS[kind][1] for kind in pair["kinds"] if kind in SIGNS)
    time = "" if pair["ms"] is None or "silent" in pair["kinds"] else milliseconds(pair["ms"])
    shade = None if not pair["ms"] or signs else f"q{_shade(pair['ms'], least, most)}"
    title = f"{asker} → {peer}: {words or f'{time} ms'}"
    return tag("td", f"{signs} {time}".strip(), class_="t-bad" if signs else shade, title=title)


def _shade(ms: float, least: float, most: float) -> int:
    if most <= least * 2:  # all about the same: nothing to show
        return 0
    return min(SHADES - 1, int(SHADES * math.log(ms / least) / math.log(most / least)))


def vips(picture: Report) -> Html | None:
    """The VIPs and who holds them."""
    if not picture["vips"]:
        return None
    rows = []
    for vip in picture["vips"]:
        holders = ", ".join(vip["holders"])
        holder = holders or ("nobody" if vip["seen"] else "not looked at")
        bad = vip["seen"] and len(vip["holders"]) != 1
        rows.append(
            tag(
                "tr",
                tag("th", vip["name"], scope="row"),
                tag("td", tag("code", vip["address"])),
                tag("td", f"✕ {holder}" if bad else holder, class_="t-bad" if bad else None),
            )
        )
    head = tag("tr", *(tag("th", word, scope="col") for word in ("VIP", "Address", "Held by")))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll")


def nodes(picture: Report) -> Html:
    """All nodes; the page's script sorts and filters them."""
    columns = (
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
    head = tag(
        "tr",
        *(tag("th", word, scope="col", data_t=kind, class_="n" if kind == "n" else None) for word, kind in columns),
    )
    states = [state for state in STATE_WORDS if any(node["state"] == state for node in picture["nodes"])]
    options = [tag("option", "every state", value="")] + [tag("option", STATE_WORDS[state][1]) for state in states]
    tools = tag(
        "div",
        tag("label", "Filter ", tag("input", type="search", id="filter", placeholder="name, address, site …")),
        tag("label", "State ", tag("select", *options, id="state")),
        tag("output", "", id="shown", aria_live="polite"),
        class_="tools js",
    )
    body = tag("tbody", *(_node(node) for node in picture["nodes"]))
    return join(tools, tag("div", tag("table", tag("thead", head), body, id="nodes"), class_="scroll wide"))


def _node(node: ReportNode) -> Html:
    sign, word = STATE_WORDS[node["state"]]
    reach = node["reach"]
    also = [KIND_WORDS[kind] for kind in node["findings"] if kind in KIND_WORDS]
    if node["drift"]:
        also = [count(len(node["drift"]), "difference"), *also]
    tone = {"ok": None, "unseen": "soft", "orphan": "t-warn", "missing": "t-warn", "differs": "t-warn"}
    return tag(
        "tr",
        tag("th", node["name"], scope="row"),
        tag(
            "td",
            f"{sign} {word}",
            tag("small", ", ".join(also)) if also else None,
            class_=tone.get(node["state"], "t-bad"),
        ),
        tag("td", node["site"] or NOTHING),
        tag("td", node["node_cidr"] or NOTHING, tag("small", "chosen by hand") if node["pinned"] else None),
        tag("td", node["underlay"] or NOTHING),
        tag("td", f"{reach['answered']}/{reach['asked']}" if reach else NOTHING),
        tag("td", milliseconds(reach["median_ms"]) if reach else NOTHING),
        tag("td", milliseconds(reach["worst_ms"]) if reach else NOTHING),
        tag("td", _drops(node)),
        tag("td", day(node["since"])),
        data_n=node["number"],
    )


def _drops(node: ReportNode) -> str:
    """By the device and by the rules, as in the column of that name of the playbook status."""
    counters = node["counters"]
    if counters is None:
        return NOTHING
    rules = [packets for key, packets in counters.items() if key.startswith("rule_")]
    return f"{counters.get('rx_dropped', 0) + counters.get('tx_dropped', 0) + sum(rules):,}"


def pending(picture: Report) -> Html | None:
    """Released node CIDRs that may not be handed out yet."""
    if not picture["pending"]:
        return None
    rows = [
        tag(
            "tr",
            tag("td", tag("code", row["node_cidr"])),
            tag("td", row["node"]),
            tag("td", moment(row["since"])),
            tag("td", _until(row["on"], row["quarantined"])),
            data_n=row["number"],
        )
        for row in picture["pending"]
    ]
    head = tag("tr", *(tag("th", word, scope="col") for word in ("Node CIDR", "Released by", "At", "Free when")))
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows), id="pending"), class_="scroll")


def _until(on: t.Sequence[str], quarantined: bool) -> str:
    parts = [f"dropped by {', '.join(on[:8])}" + (f" and {len(on) - 8:,} more" if len(on) > 8 else "")] if on else []
    return ", and ".join([*parts, "the cursor has gone round"] if quarantined else parts)


def history(picture: Report) -> Html:
    """The last changes of the ledger."""
    if not picture["history"]:
        return tag("p", "Nothing has been recorded yet.", class_="soft")
    rows = [
        tag(
            "li",
            tag("span", moment(event["when"]) if event["when"] else "time not recorded", class_="when"),
            tag("span", tag("b", event["node"] or "cluster"), f" {event['what']}: {event['text']}"),
        )
        for event in picture["history"]
    ]
    return tag("ol", *rows, class_="events")

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: the container CIDR as a drawing: a cell for each node CIDR, in rows. Pure.

Cells of one state in a row are one stroke, so that 65,536 of them are a few
lines; the page's script finds the cell under the pointer by arithmetic.
"""

from __future__ import annotations

import itertools
import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import Report
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_html import NOTHING, Html, join, tag
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import (
    STATES,
    Block,
    PoolMap,
    dotted,
)

WORDS = {
    "used": "used",
    "orphan": "orphan",
    "pending": "pending",
    "quarantined": "quarantined",
    "free": "free",
    "reserved": "reserved",
    "service": "Services",
    "spare": "too small",
}
MEANINGS = {
    "used": "a node has it",
    "orphan": "a node has it that the inventory lacks",
    "pending": "released; some host has yet to drop it",
    "quarantined": "released; free once the cursor has gone round",
    "free": "nobody has it",
    "reserved": "kept back (overlay_reserved)",
    "service": "the Service range",
    "spare": "less than a node CIDR",
}
MARKS = {
    "orphan": ".3 .3h.4v.4h-.4z",
    "pending": ".15 .85l.7-.7",
    "quarantined": ".4 .5h.2",
    "reserved": ".2 .2l.6 .6m0-.6l-.6 .6",
    "service": ".2 .35h.6m-.6 .3h.6",
    "spare": ".2 .5h.6",
}
"""What is drawn into each cell of a state, so that colour is not the only sign. From the cell's corner on."""

HINT = "Point at a node CIDR, or tap it, to see whose it is; a click keeps it here. Arrow keys work too."

LARGEST_MARKED = 4096
"""Cells of a map; with more, a mark in a cell is not visible, and gaps between cells are not either."""

MOST_RUNS = 200
"""Rows of the table of runs."""


def map_of(picture: Report) -> Html:
    """The drawings, one for each CIDR, with a legend and the same as a table."""
    pool = picture["pool"]
    owners = {node["number"]: node["name"] for node in picture["nodes"] if node["number"] is not None}
    return join(
        _legend(pool),
        *(_block(block, pool) for block in pool["blocks"]),
        tag("p", HINT, id="seg", class_="seg soft js", aria_live="polite"),
        _runs(pool, owners),
    )


def _legend(pool: PoolMap) -> Html:
    addresses = {run["state"]: run["addresses"] for block in pool["blocks"] for run in block["runs"]}
    entries = []
    for state in STATES:
        if state in ("service", "spare"):
            amount = count(addresses.get(state, 0), "address", "addresses")
            there = state in addresses
        else:
            amount, there = f"{pool['counts'][state]:,}", bool(pool["counts"][state]) or state in ("used", "free")
        if there:
            entries.append(
                tag("li", _swatch(state), tag("b", WORDS[state]), f" {amount}", title=MEANINGS[state], class_="k")
            )
    following = pool["cursor"]["next"]
    ring = tag(
        "svg", tag("path", d="M.5 .5h1v1h-1z", class_="ring"), viewBox="0 0 2 2", class_="sw", aria_hidden="true"
    )
    entries.append(tag("li", ring, tag("b", "next"), f" {following or 'none is free'}", class_="k"))
    return tag("ul", *entries, class_="legend")


def _swatch(state: str) -> Html:
    mark = tag("path", d=f"M{MARKS[state]}", class_="x") if state in MARKS else None
    return tag(
        "svg",
        tag("path", d="M0 .5h1", class_=f"s m-{state}"),
        mark,
        viewBox="0 0 1 1",
        class_="sw",
        aria_hidden="true",
    )


def columns_of(cells: int) -> int:
    """How many cells stand in a row: a drawing about four times as wide as high."""
    columns = 8
    while columns * columns < 4 * cells:
        columns *= 2
    return min(columns, 512)


def _block(block: Block, pool: PoolMap) -> Html:
    size = pool["node_cidr_size"]
    cells = _cells(block, size)
    total = sum(length for _state, length in cells)
    columns = columns_of(total)
    rows = -(-total // columns)
    fine = total <= LARGEST_MARKED
    shown = sorted({state for state, _length in cells}, key=STATES.index)
    paths = [tag("path", d=_strokes(cells, state, columns), class_=f"s m-{state}") for state in shown]
    if fine:
        grid = "".join(f"M{x} 0v{rows}" for x in range(1, columns)) + "".join(
            f"M0 {y}h{columns}" for y in range(1, rows)
        )
        paths += [tag("path", d=grid, class_="grid")] if grid else []
        marks = "".join(_marks_of(cells, state, columns) for state in shown)
        paths += [tag("path", d=marks, class_="x")] if marks else []
    drawing = tag(
        "svg",
        *paths,
        _cursor(block, pool, columns),
        viewBox=f"0 0 {columns} {rows}",
        style=f"max-width:{columns * 36}px;min-width:{columns * 2}px",
        class_="map",
        role="img",
        tabindex="0",
        aria_label=_in_words(block),
        data_cells=json.dumps([[STATES.index(state), length] for state, length in cells], separators=(",", ":")),
        data_columns=columns,
        data_first=block["first_number"],
        data_address=block["runs"][0]["first"],
        data_size=size,
    )
    return tag(
        "figure",
        tag(
            "figcaption",
            tag("code", block["cidr"]),
            f" · {count(block['node_cidrs'], 'node CIDR')} of {size:,} addresses",
        ),
        tag("div", tag("div", _labels(block, size, columns, rows), drawing, class_="plot"), class_="scroll"),
    )


def _cells(block: Block, size: int) -> list[tuple[str, int]]:
    """State and number of neighbouring cells. A cell that is partly Services counts as Services."""
    cells: list[tuple[str, int]] = []
    left = 0  # addresses of a cell that was begun
    for run in block["runs"]:
        addresses = run["addresses"] + left
        whole, left = divmod(addresses, size)
        if whole:
            cells.append((run["state"], whole))
    return cells


def _strokes(cells: t.Sequence[tuple[str, int]], wanted: str, columns: int) -> str:
    """One stroke for each row's part of a run; the moves are relative, which makes them short."""
    words, at, pen = [], 0, (-1, 0)
    for state, length in cells:
        end = at + length
        while state == wanted and at < end:
            row, column = divmod(at, columns)
            part = min(end - at, columns - column)
            words.append(f"m{column - pen[1]} 0" if pen[0] == row else f"M{column} {row}.5")
            words.append(f"h{part}")
            pen, at = (row, column + part), at + part
        at = end
    return "".join(words)


def _marks_of(cells: t.Sequence[tuple[str, int]], wanted: str, columns: int) -> str:
    if wanted not in MARKS:
        return ""
    starts = itertools.accumulate((length for _state, length in cells), initial=0)
    numbers = (
        number
        for start, (state, length) in zip(starts, cells)
        if state == wanted
        for number in range(start, start + length)
    )
    return "".join(f"M{number % columns} {number // columns}m{MARKS[wanted]}" for number in numbers)


def _cursor(block: Block, pool: PoolMap, columns: int) -> Html | None:
    following = pool["cursor"]["next"]
    if following is None:
        return None
    place = _place(following, block, pool["node_cidr_size"])
    if place is None:
        return None
    row, column = divmod(place, columns)
    margin = max(0, columns // 64 - 1)  # a ring of two pixels would not be seen
    side = 1 + 2 * margin
    left = min(max(column - margin, 0), columns - side)
    return tag("path", d=f"M{left} {max(row - margin, 0)}h{side}v{side}h-{side}z", class_="ring")


def _place(node_cidr: str, block: Block, size: int) -> int | None:
    place = (_number(node_cidr) - _number(block["cidr"])) // size
    return place if 0 <= place < block["node_cidrs"] else None


def _number(network: str) -> int:
    one, two, three, four = (int(part) for part in network.partition("/")[0].split("."))
    return one << 24 | two << 16 | three << 8 | four


def _labels(block: Block, size: int, columns: int, rows: int) -> Html:
    """The first address of some rows."""
    step = max(1, rows // 8)
    first = _number(block["cidr"])
    labels = [
        tag("span", dotted(first + row * columns * size), style=f"top:{100 * (row + 0.5) / rows:.3g}%")
        for row in range(0, rows, step)
    ]
    return tag("div", *labels, class_="rows", aria_hidden="true")


def _in_words(block: Block) -> str:
    node_cidrs: dict[str, int] = {}
    for run in block["runs"]:
        if run["node_cidrs"]:
            node_cidrs[run["state"]] = node_cidrs.get(run["state"], 0) + run["node_cidrs"]
    parts = ", ".join(f"{number:,} {WORDS[state]}" for state, number in node_cidrs.items())
    return f"Map of {block['cidr']}: {parts}. Arrow keys go from node CIDR to node CIDR."


def _runs(pool: PoolMap, owners: t.Mapping[int, str]) -> Html:
    rows: list[Html] = []
    total = 0
    for block in pool["blocks"]:
        number = block["first_number"]
        for run in block["runs"]:
            total += 1
            if len(rows) < MOST_RUNS:
                rows.append(_run_row(run["first"], run["addresses"], run["node_cidrs"], run["state"], owners, number))
            number += run["node_cidrs"]
    head = tag("tr", *(tag("th", word, scope="col") for word in ("From", "To", "Node CIDRs", "State", "Nodes")))
    more = f"The first {MOST_RUNS} of {total:,}; all of them are in the JSON document." if total > MOST_RUNS else None
    return tag(
        "details",
        tag("summary", "The map as a table"),
        tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll"),
        tag("p", more, class_="soft") if more else None,
    )


def _run_row(first: str, addresses: int, node_cidrs: int, state: str, owners: t.Mapping[int, str], number: int) -> Html:
    names = [owners[each] for each in range(number, number + min(node_cidrs, 3)) if each in owners]
    more = f" and {node_cidrs - 3:,} more" if names and node_cidrs > 3 else ""
    return tag(
        "tr",
        tag("td", tag("code", first)),
        tag("td", tag("code", dotted(_number(first) + addresses - 1))),
        tag("td", f"{node_cidrs:,}" if node_cidrs else NOTHING, class_="n"),
        tag("td", WORDS[state]),
        tag("td", ", ".join(names) + more if names else NOTHING),
    )

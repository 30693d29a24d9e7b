# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The geometry of the map of the container CIDR: one cell for each node CIDR, in rows.

Neighbouring cells of one state in one row are one stroke, so 65,536 cells take
a few lines of SVG. The page's script computes the cell under the pointer.
"""

from __future__ import annotations

import itertools
import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.formats import NOTHING
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import Report
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import (
    STATES,
    Block,
    PoolMap,
    dotted,
)

STATE_LABELS = {
    "used": "used",
    "orphan": "orphan",
    "pending": "pending",
    "quarantined": "quarantined",
    "free": "free",
    "reserved": "reserved",
    "service": "Services",
    "spare": "too small",
}
STATE_MEANINGS = {
    "used": "assigned to a node",
    "orphan": "assigned to a node that is not in the inventory",
    "pending": "released; some hosts have not removed it yet",
    "quarantined": "released; free after the cursor wraps around",
    "free": "not assigned",
    "reserved": "excluded by overlay_reserved",
    "service": "the Service range",
    "spare": "too few addresses for a node CIDR",
}
MARKS = {
    "orphan": ".3 .3h.4v.4h-.4z",
    "pending": ".15 .85l.7-.7",
    "quarantined": ".4 .5h.2",
    "reserved": ".2 .2l.6 .6m0-.6l-.6 .6",
    "service": ".2 .35h.6m-.6 .3h.6",
    "spare": ".2 .5h.6",
}
"""The sign in each cell of a state, as an SVG path from the cell's corner: colour is never the only difference."""

LARGEST_MARKED = 4096
"""Up to this number of cells a map has signs and gaps; in a larger map they are too small to be seen."""

MOST_RUNS = 200
"""Rows of the table of runs."""

Cells = t.List[t.Tuple[str, int]]
"""State and number of neighbouring cells."""


class LegendEntry(t.NamedTuple):
    """One state of the legend. ``mark`` is an SVG path, or empty."""

    state: str
    label: str
    amount: str
    meaning: str
    mark: str


class MapPath(t.NamedTuple):
    """One SVG path and its CSS classes."""

    d: str
    classes: str


class RowLabel(t.NamedTuple):
    """The first address of a row. ``top``: the place of the row's middle, in per cent of the map's height."""

    address: str
    top: str


class BlockMap(t.NamedTuple):
    """The map of one CIDR. ``cells``: the JSON that the page's script reads."""

    cidr: str
    caption: str
    description: str
    columns: int
    rows: int
    paths: t.Sequence[MapPath]
    labels: t.Sequence[RowLabel]
    cells: str
    first_number: int
    first_address: str
    node_cidr_size: int


class RunRow(t.NamedTuple):
    """One row of the table that shows the same as the map."""

    first: str
    last: str
    node_cidrs: str
    state: str
    nodes: str


def legend(pool: PoolMap) -> list[LegendEntry]:
    """Return the states that occur on the map; ``used`` and ``free`` always."""
    addresses = {run["state"]: run["addresses"] for block in pool["blocks"] for run in block["runs"]}
    entries = []
    for state in STATES:
        if state in ("service", "spare"):
            amount = count(addresses.get(state, 0), "address", "addresses")
            occurs = state in addresses
        else:
            amount, occurs = f"{pool['counts'][state]:,}", bool(pool["counts"][state]) or state in ("used", "free")
        if occurs:
            mark = f"M{MARKS[state]}" if state in MARKS else ""
            entries.append(LegendEntry(state, STATE_LABELS[state], amount, STATE_MEANINGS[state], mark))
    return entries


def block_map(block: Block, pool: PoolMap) -> BlockMap:
    """Return the map of one CIDR of the container CIDR."""
    size = pool["node_cidr_size"]
    cells = cells_of(block, size)
    total = sum(length for _state, length in cells)
    columns = columns_of(total)
    rows = -(-total // columns)
    return BlockMap(
        cidr=block["cidr"],
        caption=f" · {count(block['node_cidrs'], 'node CIDR')} of {size:,} addresses",
        description=_description(block),
        columns=columns,
        rows=rows,
        paths=[*_cell_paths(cells, columns, rows), *_cursor(block, pool, columns)],
        labels=_row_labels(block, size, columns, rows),
        cells=json.dumps([[STATES.index(state), length] for state, length in cells], separators=(",", ":")),
        first_number=block["first_number"],
        first_address=block["runs"][0]["first"],
        node_cidr_size=size,
    )


def columns_of(cells: int) -> int:
    """Return the number of cells in a row: the map is about four times as wide as high."""
    columns = 8
    while columns * columns < 4 * cells:
        columns *= 2
    return min(columns, 512)


def cells_of(block: Block, size: int) -> Cells:
    """Return the cells of a CIDR. A cell that is partly in the Service range counts as Services.

    :param size: addresses of a node CIDR.
    """
    cells: Cells = []
    left = 0  # addresses of an incomplete cell
    for run in block["runs"]:
        addresses = run["addresses"] + left
        complete, left = divmod(addresses, size)
        if complete:
            cells.append((run["state"], complete))
    return cells


def strokes(cells: Cells, wanted: str, columns: int) -> str:
    """Return the SVG path of all cells of one state.

    Each part of a run in one row is one stroke. Moves within a row are relative, which makes the path short.
    """
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


def _cell_paths(cells: Cells, columns: int, rows: int) -> t.Iterator[MapPath]:
    """Yield the cells, and on a map that is small enough the gaps between them and the signs in them."""
    states = sorted({state for state, _length in cells}, key=STATES.index)
    for state in states:
        yield MapPath(strokes(cells, state, columns), f"s m-{state}")
    if sum(length for _state, length in cells) > LARGEST_MARKED:
        return
    grid = "".join(f"M{x} 0v{rows}" for x in range(1, columns)) + "".join(f"M0 {y}h{columns}" for y in range(1, rows))
    if grid:
        yield MapPath(grid, "grid")
    marks = "".join(_marks(cells, state, columns) for state in states)
    if marks:
        yield MapPath(marks, "x")


def _marks(cells: Cells, wanted: str, columns: int) -> str:
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


def _cursor(block: Block, pool: PoolMap, columns: int) -> t.Iterator[MapPath]:
    """Yield a ring around the next node CIDR, if it is in this CIDR."""
    following = pool["cursor"]["next"]
    if following is None:
        return
    place = (_number(following) - _number(block["cidr"])) // pool["node_cidr_size"]
    if not 0 <= place < block["node_cidrs"]:
        return
    row, column = divmod(place, columns)
    margin = max(0, columns // 64 - 1)  # a ring of two pixels is too small to be seen
    side = 1 + 2 * margin
    left = min(max(column - margin, 0), columns - side)
    yield MapPath(f"M{left} {max(row - margin, 0)}h{side}v{side}h-{side}z", "ring")


def _number(network: str) -> int:
    """Return the first address of a network as a number."""
    one, two, three, four = (int(part) for part in network.partition("/")[0].split("."))
    return one << 24 | two << 16 | three << 8 | four


def _row_labels(block: Block, size: int, columns: int, rows: int) -> list[RowLabel]:
    """Return the first address of eight to sixteen rows."""
    step = max(1, rows // 8)
    first = _number(block["cidr"])
    return [
        RowLabel(dotted(first + row * columns * size), f"{100 * (row + 0.5) / rows:.3g}")
        for row in range(0, rows, step)
    ]


def _description(block: Block) -> str:
    """Return the text for screen readers."""
    node_cidrs: dict[str, int] = {}
    for run in block["runs"]:
        if run["node_cidrs"]:
            node_cidrs[run["state"]] = node_cidrs.get(run["state"], 0) + run["node_cidrs"]
    parts = ", ".join(f"{number:,} {STATE_LABELS[state]}" for state, number in node_cidrs.items())
    return f"Map of {block['cidr']}: {parts}. Move between node CIDRs with the arrow keys."


def run_rows(report: Report) -> list[RunRow]:
    """Return the first :data:`MOST_RUNS` runs of the map with the names of their nodes."""
    owners = {node["number"]: node["name"] for node in report["nodes"] if node["number"] is not None}
    rows: list[RunRow] = []
    for block in report["pool"]["blocks"]:
        number = block["first_number"]
        for run in block["runs"]:
            if len(rows) == MOST_RUNS:
                return rows
            rows.append(
                RunRow(
                    first=run["first"],
                    last=dotted(_number(run["first"]) + run["addresses"] - 1),
                    node_cidrs=f"{run['node_cidrs']:,}" if run["node_cidrs"] else NOTHING,
                    state=STATE_LABELS[run["state"]],
                    nodes=_owners(owners, number, run["node_cidrs"]),
                )
            )
            number += run["node_cidrs"]
    return rows


def _owners(owners: t.Mapping[int, str], number: int, node_cidrs: int) -> str:
    """Return the names of the first three nodes of a run."""
    names = [owners[each] for each in range(number, number + min(node_cidrs, 3)) if each in owners]
    more = f" and {node_cidrs - 3:,} more" if names and node_cidrs > 3 else ""
    return ", ".join(names) + more if names else NOTHING

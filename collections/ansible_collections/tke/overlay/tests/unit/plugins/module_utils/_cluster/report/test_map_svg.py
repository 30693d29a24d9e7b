# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The geometry of the map: every cell is drawn once, and in the colour of its state."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.map_svg import (
    LARGEST_MARKED,
    MARKS,
    MOST_RUNS,
    STATE_LABELS,
    block_map,
    cells_of,
    columns_of,
    legend,
    run_rows,
    strokes,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import STATES, pool_map

NOW = "2026-06-30T12:00:00Z"


def pool_of(cidr="10.244.0.0/20", size=256, services=256, nodes=(), **changes):
    """The map of a pool with nodes at these numbers."""
    ledger = Ledger("demo", Pool([cidr], size, services))
    for number in nodes:
        ledger.nodes[f"n{number}"] = Assignment(ledger.pool.node_cidr(number), None, None, NOW, False)
    for key, value in changes.items():
        setattr(ledger, key, value)
    return pool_map(ledger, ())


@given(st.lists(st.tuples(st.sampled_from(["used", "free", "pending"]), st.integers(1, 40)), min_size=1, max_size=12))
def test_strokes_draw_each_cell_exactly_once(cells):
    total = sum(length for _state, length in cells)
    columns = columns_of(total)
    painted = {}
    for state in {state for state, _length in cells}:
        for cell in painted_by(strokes(cells, state, columns), columns):
            assert cell not in painted
            painted[cell] = state
    wanted = [state for state, length in cells for _each in range(length)]
    assert [painted.get(cell) for cell in range(total)] == wanted
    assert len(painted) == total


def painted_by(path, columns):
    """The cells that a path touches, followed as the browser follows it."""
    x = y = 0
    for kind, words in re.findall(r"([Mmh])([^Mmh]*)", path):
        numbers = [float(word) for word in words.split()]
        if kind == "M":
            x, y = int(numbers[0]), int(numbers[1])
        elif kind == "m":
            x += int(numbers[0])
        else:
            yield from (y * columns + each for each in range(x, x + int(numbers[0])))
            x += int(numbers[0])
            assert x <= columns


@pytest.mark.parametrize(("cells", "columns"), [(1, 8), (16, 8), (17, 16), (64, 16), (65_536, 512), (10**6, 512)])
def test_a_map_is_about_four_times_as_wide_as_high(cells, columns):
    assert columns_of(cells) == columns


def test_a_cell_partly_in_the_service_range_is_services():
    (block,) = pool_of("10.99.0.0/24", 64, 32)["blocks"]
    assert [run["state"] for run in block["runs"]] == ["free", "spare", "service"]
    assert cells_of(block, 64) == [("free", 3), ("service", 1)]


def test_a_block_has_cells_gaps_signs_and_the_cursor():
    pool = pool_of(nodes=[0, 1], cursor=2)
    made = block_map(pool["blocks"][0], pool)
    assert (made.columns, made.rows, made.cells) == (8, 2, "[[0,2],[4,13],[6,1]]")
    assert [path.classes for path in made.paths] == ["s m-used", "s m-free", "s m-service", "grid", "x", "ring"]
    assert made.paths[0].d == "M0 0.5h2"
    assert made.paths[-1].d == "M2 0h1v1h-1z"
    assert made.description == "Map of 10.244.0.0/20: 2 used, 13 free. Move between node CIDRs with the arrow keys."
    assert [(label.address, label.top) for label in made.labels] == [("10.244.0.0", "25"), ("10.244.8.0", "75")]


def test_a_large_map_has_no_gaps_and_no_signs():
    pool = pool_of("10.0.0.0/8", nodes=[7])
    made = block_map(pool["blocks"][0], pool)
    assert made.columns * made.rows > LARGEST_MARKED
    assert [path.classes for path in made.paths] == ["s m-used", "s m-free", "s m-service", "ring"]


def test_a_full_pool_has_no_cursor():
    pool = pool_of(nodes=range(15))
    assert "ring" not in [path.classes for path in block_map(pool["blocks"][0], pool).paths]


def test_the_legend_lists_the_states_that_occur():
    entries = {entry.state: entry for entry in legend(pool_of(nodes=[3]))}
    assert {state: entry.amount for state, entry in entries.items()} == {
        "used": "1",
        "free": "14",
        "service": "256 addresses",
    }
    assert entries["service"].mark == f"M{MARKS['service']}"
    assert entries["used"].mark == ""


def test_every_state_has_a_label_and_only_plain_ones_lack_a_sign():
    assert list(STATE_LABELS) == list(STATES)
    assert set(STATES) - MARKS.keys() == {"used", "free"}


def nodes_of(*numbers):
    return [{"number": number, "name": f"n{number}"} for number in numbers]


def test_the_table_of_runs_names_the_first_three_nodes():
    report = {"pool": pool_of(nodes=range(5)), "nodes": [*nodes_of(*range(5)), {"number": None, "name": "new"}]}
    first, second, services = run_rows(report)
    assert first == ("10.244.0.0", "10.244.4.255", "5", "used", "n0, n1, n2 and 2 more")
    assert (second.node_cidrs, second.nodes) == ("10", "\u2013")
    assert (services.state, services.node_cidrs) == ("Services", "\u2013")


def test_the_table_of_runs_ends_after_two_hundred():
    numbers = range(0, 2 * MOST_RUNS, 2)
    report = {"pool": pool_of("10.0.0.0/12", nodes=numbers), "nodes": nodes_of(*numbers)}
    assert len(run_rows(report)) == MOST_RUNS

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The geometry of the charts of the past day: one bar for each step, and a gap where nothing was recorded."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.formats import timestamp
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.metrics import seconds
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.past_day import PastDay, Series

PERCENT = "%"

GOOD, POOR, PLAIN = "good", "poor", "plain"
"""CSS classes of a bar: a share of 100 %, a smaller one, a number."""

LEAST_HEIGHT = 2.0
"""A bar of a smaller value would not be seen."""


class Bar(t.NamedTuple):
    """One bar; its height is in per cent of the chart's."""

    slot: int
    height: float
    tone: str
    text: str


class Chart(t.NamedTuple):
    """One chart. ``text`` says in words what it shows."""

    title: str
    text: str
    slots: int
    bars: list[Bar]


def charts(day: PastDay) -> list[Chart]:
    """Return a chart for each series."""
    slots = round((seconds(day["end"]) - seconds(day["begin"])) / day["step"]) + 1
    return [Chart(each["title"], _text(each), slots, _bars(each, day)) for each in day["series"]]


def _bars(series: Series, day: PastDay) -> list[Bar]:
    begin, unit = seconds(day["begin"]), series["unit"]
    top = 100.0 if unit == PERCENT else max([1.0, *(value for _at, value in series["points"])])
    bars = []
    for at, value in series["points"]:
        tone = PLAIN if unit != PERCENT else GOOD if _shown(value, unit) == _shown(100, unit) else POOR
        height = round(max(100 * value / top, LEAST_HEIGHT if value or unit == PERCENT else 0), 1)
        slot = round((seconds(at) - begin) / day["step"])
        bars.append(Bar(slot, min(height, 100.0), tone, f"{timestamp(at)}: {_shown(value, unit)}"))
    return bars


def _text(series: Series) -> str:
    """Return the last and the worst value of a share, or the sum and the largest of numbers."""
    unit, values = series["unit"], [value for _at, value in series["points"]]
    if not values:
        return "nothing was recorded"
    if unit == PERCENT:
        return f"now {_shown(values[-1], unit)}, at least {_shown(min(values), unit)}"
    return f"{_shown(sum(values), unit)}, at most {_shown(max(values), unit)} in one step"


def _shown(value: float, unit: str) -> str:
    if unit != PERCENT:
        return f"{value:,.0f}"
    # Only what is complete is written as 100 %.
    return "100 %" if value >= 100 else f"{min(value, 99.9):.1f} %"

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Draw the dashboard as Grafana would: each panel in its place, with unit, legend and thresholds.

Grafana itself is not here. What this page shows is whether a panel reads well: a unit that does not fit, a legend
without its labels, a wrong threshold, lines that hide each other. :func:`page` takes the JSON of the dashboard.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

COLUMN, LINE, GAP = 52, 34, 6
"""Width of a column and height of a line of Grafana's grid, in pixels, and the gap between two panels."""

COLORS = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300")
THRESHOLDS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
STYLE = Path(__file__).with_suffix(".css")

LABEL = re.compile(r"\{\{(\w+)\}\}")
SECONDS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3), ("µs", 1e-6))

RangeQuery = Callable[[str], list[dict[str, Any]]]
"""Query -> series, as the API of Prometheus returns them for a range: ``metric`` and ``values``."""


class Line(NamedTuple):
    """One series with its legend; a point is a time in seconds and a value."""

    legend: str
    points: list[tuple[float, float]]


def shown(value: float, unit: str) -> str:
    """Return a value as Grafana writes it in a unit."""
    if unit == "s" and value:
        name, size = next((each for each in SECONDS if abs(value) >= each[1]), SECONDS[-1])
        return f"{value / size:.3g} {name}"
    return f"{value:.3g}{ {'percent': '%', 'pps': ' p/s'}.get(unit, '') }"


def lines_of(panel: dict[str, Any], query: RangeQuery) -> list[Line]:
    """Return the series of a panel."""
    lines = []
    for target in panel["targets"]:
        for series in query(target["expr"]):
            labels = {name: text for name, text in series["metric"].items() if name != "__name__"}
            legend = target["legendFormat"]
            for name in LABEL.findall(legend):
                legend = legend.replace(f"{{{{{name}}}}}", labels.get(name, ""))
            if legend == "__auto":
                legend = ", ".join(f"{name}={text}" for name, text in labels.items()) or "value"
            points = [(float(at), float(value)) for at, value in series["values"]]
            lines.append(Line(legend, [point for point in points if math.isfinite(point[1])]))
    return [line for line in lines if line.points]


def page(dashboard: dict[str, Any], query: RangeQuery) -> tuple[str, dict[str, list[Line]]]:
    """Return the page, and the series of each panel by its title."""
    parts, found = [], {}
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        box = f"left:{place['x'] * COLUMN}px;top:{place['y'] * LINE}px;"
        if panel["type"] == "row":
            parts.append(f'<div class="row" style="{box}">{html.escape(panel["title"])}</div>')
            continue
        lines = found[panel["title"]] = lines_of(panel, query)
        width, height = place["w"] * COLUMN - GAP, place["h"] * LINE - GAP
        draw = _number if panel["type"] == "stat" else _chart
        body = (
            draw(panel["fieldConfig"]["defaults"], lines, width - 18, height)
            if lines
            else '<p class="none">No data</p>'
        )
        box += f"width:{width}px;height:{height}px"
        title = html.escape(panel["title"])
        parts.append(
            f'<div class="panel" style="{box}" title="{html.escape(panel["description"])}"><b>{title}</b>{body}</div>'
        )
    style = STYLE.read_text(encoding="utf-8")
    return f'<!DOCTYPE html><meta charset="utf-8"><style>{style}</style><body>{"".join(parts)}</body>', found


def _number(defaults: dict[str, Any], lines: list[Line], _width: int, _height: int) -> str:
    value = lines[0].points[-1][1]
    steps = defaults["thresholds"]["steps"]
    color = [step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]
    texts = {key: each["text"] for mapping in defaults.get("mappings", ()) for key, each in mapping["options"].items()}
    text = texts.get(f"{value:g}") or shown(value, defaults["unit"])
    return f'<p class="number" style="color:{THRESHOLDS[color]}">{text}</p>'


def _chart(defaults: dict[str, Any], lines: list[Line], width: int, height: int) -> str:
    legend_lines = 1 + sum(len(line.legend) * 7 + 24 for line in lines) // width
    height -= 32 + 16 * legend_lines
    times = [at for line in lines for at, _value in line.points]
    values = [value for line in lines for _at, value in line.points]
    begin, end = min(times), max(*times, min(times) + 1)
    low = min([*values, defaults["min"]] if "min" in defaults else values)
    high = max(*values, low + 1e-9) if max(values) > low else low + 1
    left = 48
    marks = []
    for part in range(4):
        y = height - 4 - (height - 12) * part / 3
        label = shown(low + (high - low) * part / 3, defaults["unit"])
        marks.append(f'<text x="0" y="{y + 3:.0f}">{label}</text><path d="M{left} {y:.0f}H{width}" stroke="#2c2f36"/>')
    legend = []
    for number, line in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        path = " ".join(
            f"{left + (width - left) * (at - begin) / (end - begin):.1f},"
            f"{height - 4 - (height - 12) * (value - low) / (high - low):.1f}"
            for at, value in line.points
        )
        marks.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        legend.append(f'<i><span style="color:{color}">&#9644;</span> {html.escape(line.legend)}</i>')
    return f'<svg width="{width}" height="{height}">{"".join(marks)}</svg>{" ".join(legend)}'

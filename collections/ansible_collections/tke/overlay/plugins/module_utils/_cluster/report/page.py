# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report as one HTML file that loads nothing, rendered from the files in ``templates/``.

The page is complete without its script, which only filters, sorts, and names
the node CIDR under the pointer. Jinja2 escapes every text.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report import map_svg, tables
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.colors import COLORS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.formats import (
    NOTHING,
    milliseconds,
    timestamp,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import Report
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.past_day_svg import charts

with contextlib.suppress(ImportError):  # ansible-test imports all module_utils without it; ansible-core requires it
    import jinja2

TEMPLATES = os.path.join(os.path.dirname(__file__), "templates")

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser itself refuses to load anything."""

VERDICT_SIGNS = {"healthy": "✓", "warn": "!", "partial": "?", "bad": "✕", "unobserved": "?"}
SEVERITIES = {"bad": ("✕", "Broken"), "warn": ("!", "Attention"), "note": ("i", "Note")}

COMMAND = re.compile(r"((?:ansible-playbook|ansible|systemctl) .+?(?=\. |$))")
"""A command in a remedy: up to the end of the sentence."""


class Figure(t.NamedTuple):
    """One of the large numbers below the verdict. ``part``: width of the meter in per cent, or empty."""

    name: str
    value: str
    of: str
    note: str
    part: str = ""


def page(report: Report, data: str) -> str:
    """Return the HTML file.

    :param data: the name of the JSON document beside it.
    """
    pool = report["pool"]
    template = _environment().get_template("page.html.j2")
    runs = sum(len(block["runs"]) for block in pool["blocks"])
    return template.render(
        report=report,
        data=data,
        policy=POLICY,
        colors=COLORS,
        style=stylesheet(),
        script=script(),
        verdict_sign=VERDICT_SIGNS[report["verdict"]["state"]],
        figures=_figures(report),
        severities=SEVERITIES,
        legend=map_svg.legend(pool),
        maps=[map_svg.block_map(block, pool) for block in pool["blocks"]],
        run_rows=map_svg.run_rows(report),
        run_limit=f"The first {map_svg.MOST_RUNS} of {runs:,}; the JSON document has all."
        if runs > map_svg.MOST_RUNS
        else "",
        pending_rows=tables.pending_rows(report),
        site_rows=tables.site_rows(report),
        link_rows=tables.link_rows(report),
        link_limit=f"The first {tables.MOST_LINKS} of {len(report['links']):,}; the JSON document has all."
        if len(report["links"]) > tables.MOST_LINKS
        else "",
        vip_rows=tables.vip_rows(report),
        matrix=tables.matrix(report),
        pair_signs=tables.PAIR_SIGNS.values(),
        event_rows=tables.event_rows(report),
        charts=charts(report["past_day"]) if report["past_day"] else (),
        columns=tables.COLUMNS,
        state_options=tables.state_options(report),
        node_rows=map(tables.node_row, report["nodes"]),
    )


def _figures(report: Report) -> list[Figure]:
    """Return how many nodes, node CIDRs and probes there are, and how many nodes differ."""
    capacity, reach, observed = report["pool"]["capacity"], report["reach"], report["observed"]
    part = 100 * (1 - max(capacity["free"], 0) / capacity["max_nodes"]) if capacity["max_nodes"] else 100
    left = observed["nodes"] - observed["reached"]
    differing = sum(node["state"] == "differs" for node in report["nodes"])
    measured = f"median {milliseconds(reach['median_ms'])} ms, slowest {milliseconds(reach['worst_ms'])} ms"
    return [
        Figure(
            name="Nodes observed",
            value=f"{observed['reached']:,}",
            of=f" of {observed['nodes']:,}",
            note=f"{count(left, 'node')} not observed" if left else "all nodes",
        ),
        Figure(
            name="Node CIDRs used",
            value=f"{capacity['used']:,}",
            of=f" of {capacity['max_nodes']:,}",
            note=f"{capacity['free']:,} free, {capacity['usable_pods_per_node']:,} Pods each",
            part=f"{part:.2f}",
        ),
        Figure("Probes answered", f"{reach['answered']:,}", f" of {reach['asked']:,}", measured)
        if reach["asked"]
        else Figure("Probes answered", NOTHING, "", "not measured"),
        Figure(
            name="Nodes that differ",
            value=f"{differing:,}" if observed["reached"] else NOTHING,
            of="",
            note="from their applied configuration or the plan",
        ),
    ]


def stylesheet() -> str:
    """Return ``page.css`` without comments and the white space that has no meaning."""
    text = re.sub(r"/\*.*?\*/", "", _read("page.css"), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text).replace(": ", ":")
    return re.sub(r" ?([{};,>]) ?", r"\1", text).replace(";}", "}").strip()


def script() -> str:
    """Return ``page.js`` without indentation and the lines that are comments."""
    return re.sub(r"^\s*(?://.*)?\n?", "", _read("page.js"), flags=re.MULTILINE)


@functools.lru_cache(maxsize=None)
def _environment() -> jinja2.Environment:
    """Return the environment of all templates, which compiles each of them once."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(timestamp=timestamp, counted=count, commands=COMMAND.split)
    return environment


def _template(name: str) -> str:
    """Return a template without line breaks and indentation.

    A line break next to a tag or an expression is removed; within a text it becomes a blank.
    """
    text = re.sub(r"(?<=[>}])\s*\n\s*|\s*\n\s*(?=[<{])", "", _read(name).strip())
    return re.sub(r"\s*\n\s*", " ", text)


def _read(name: str) -> str:
    with open(os.path.join(TEMPLATES, name), encoding="utf-8") as file:
        return file.read()

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: the picture as one HTML file that loads nothing. Pure.

It can be read without its script, which only filters, sorts, and names the
node CIDR under the pointer.
"""

from __future__ import annotations

import re

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report import page_tables as tables
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.findings import Finding
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import Report
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_html import (
    NOTHING,
    Html,
    join,
    milliseconds,
    moment,
    tag,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_map import map_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_script import SCRIPT
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_style import STYLE

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""The browser itself refuses to load anything from anywhere."""

VERDICTS = {"whole": "✓", "warn": "!", "partial": "?", "bad": "✕", "unseen": "?"}
SEVERITIES = {"bad": ("✕", "Broken"), "warn": ("!", "Attention"), "note": ("i", "Note")}

COMMAND = re.compile(r"(?:ansible-playbook|ansible|systemctl) .+?(?=\. |$)")
"""A command within a remedy: to the end of the sentence."""


def page(picture: Report, data: str) -> str:
    """The file.

    :param data: the name of the JSON document beside it.
    """
    sections = [
        _section("findings", "What to do", _findings(picture)),
        _section("map", "Container CIDR", join(map_of(picture), _forecast(picture))),
        _section("released", "Released node CIDRs", tables.pending(picture)),
        _section("sites", "Sites", tables.sites(picture)),
        _section("vips", "Virtual addresses", tables.vips(picture)),
        _section("reach", "Node to node, round trip in ms", tables.matrix(picture)),
        _section("changes", "Last changes", tables.history(picture)),
        _section("all-nodes", f"Nodes ({len(picture['nodes']):,})", tables.nodes(picture)),
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("meta", name_="tke-overlay-picture", content=picture["picture"]),
        tag("title", picture["title"]),
        tag("link", rel="icon", href="data:,"),
        tag("style", Html(STYLE)),
    )
    body = tag(
        "body",
        tag("a", "To the nodes", href="#all-nodes", class_="skip"),
        _header(picture),
        tag("main", *sections),
        _footer(picture, data),
        tag("div", "", id="tip", hidden=True),
        tag("script", Html(SCRIPT)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _section(name: str, title: str, content: Html | None) -> Html | None:
    """A section, unless there is nothing to show."""
    return None if content is None else tag("section", tag("h2", title), content, id=name)


def _header(picture: Report) -> Html:
    verdict, looked = picture["verdict"], picture["looked"]
    limit = f"limited to {looked['limit']}" if looked["limit"] else "the whole inventory"
    when = tag("time", moment(looked["at"]), datetime=looked["at"])
    return tag(
        "header",
        tag(
            "div",
            tag("h1", picture["title"]),
            tag("button", "Theme", id="theme", type="button", class_="js"),
            class_="bar",
        ),
        tag(
            "div",
            tag("span", VERDICTS[verdict["state"]], class_="sign", aria_hidden="true"),
            tag("div", tag("p", verdict["text"], class_="answer"), tag("p", verdict["detail"], class_="soft")),
            class_=f"verdict v-{verdict['state']}",
        ),
        _figures(picture),
        tag(
            "p",
            "Looked at ",
            when,
            f" · {limit} · inventory ",
            tag("code", ", ".join(looked["inventory"]) or "unknown"),
            " · ledger ",
            tag("code", looked["ledger"]),
            class_="soft seen",
        ),
    )


def _figures(picture: Report) -> Html:
    capacity, reach, looked = picture["pool"]["capacity"], picture["reach"], picture["looked"]
    part = 100 * (1 - max(capacity["free"], 0) / capacity["max_nodes"]) if capacity["max_nodes"] else 100
    meter = tag("span", tag("span", "", style=f"width:{part:.2f}%"), class_="meter", aria_hidden="true")
    measured = f"median {milliseconds(reach['median_ms'])} ms, slowest {milliseconds(reach['worst_ms'])} ms"
    differing = sum(node["state"] == "differs" for node in picture["nodes"])
    fit = f"{capacity['usable_pods_per_node']:,} Pods each"
    return tag(
        "dl",
        _figure(
            "Nodes seen",
            f"{looked['reached']:,}",
            f"of {looked['nodes']:,}",
            _left(looked["nodes"] - looked["reached"]),
        ),
        _figure(
            "Node CIDRs used",
            f"{capacity['used']:,}",
            f"of {capacity['max_nodes']:,}",
            f"{capacity['free']:,} free, {fit}",
            meter,
        ),
        _figure("Peers answer", f"{reach['answered']:,}", f"of {reach['asked']:,}", measured)
        if reach["asked"]
        else _figure("Peers answer", NOTHING, "", "not measured"),
        _figure(
            "Nodes that differ",
            f"{differing:,}" if looked["reached"] else NOTHING,
            "",
            "from what was applied, or from the plan",
        ),
        class_="figures",
    )


def _left(number: int) -> str:
    return f"{count(number, 'node')} not seen" if number else "all of them"


def _figure(name: str, value: str, of: str, below: str, meter: Html | None = None) -> Html:
    return tag(
        "div",
        tag("dt", name),
        tag("dd", tag("b", value), f" {of}" if of else None, meter, tag("small", below)),
    )


def _findings(picture: Report) -> Html:
    if not picture["findings"]:
        return tag("p", "Nothing.", class_="soft")
    return tag("ul", *(_finding(finding) for finding in picture["findings"]), class_="findings")


def _finding(finding: Finding) -> Html:
    sign, word = SEVERITIES[finding["severity"]]
    return tag(
        "li",
        tag("span", tag("span", sign, aria_hidden="true"), f" {word}", class_=f"severity t-{finding['severity']}"),
        tag("div", tag("p", finding["text"]), tag("p", _with_commands(finding["remedy"]), class_="remedy")),
    )


def _with_commands(remedy: str) -> Html:
    parts: list[str] = []
    at = 0
    for match in COMMAND.finditer(remedy):
        parts += [remedy[at : match.start()], _command(match[0])]
        at = match.end()
    return join(*parts, remedy[at:])


def _command(text: str) -> Html:
    """A line to copy, that breaks between its words only."""
    return tag("code", Html(" ".join(tag("span", word) for word in text.split(" "))))


def _forecast(picture: Report) -> Html:
    forecast = picture["forecast"]
    date = f" Around {forecast['exhausted_on']}." if forecast["exhausted_on"] else ""
    return tag(
        "div",
        tag("h3", "How long it lasts"),
        tag("p", tag("b", forecast["text"]), date),
        tag("p", f"{count(forecast['free'], 'node CIDR')} free. Basis: {forecast['basis']}.", class_="soft"),
        class_="forecast",
    )


def _footer(picture: Report, data: str) -> Html:
    return tag(
        "footer",
        "The same as data: ",
        tag("a", data, href=f"./{data}"),
        f" (schema {picture['schema']}). Picture ",
        tag("code", picture["picture"]),
        " of cluster ",
        tag("b", picture["cluster"]),
        ". All times are UTC.",
        class_="soft",
    )

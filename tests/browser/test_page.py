# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The page as a file: well-formed, self-contained, escaped, small, and how it reads."""

from __future__ import annotations

import html
import html.parser
import json
import pathlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import overlays
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.colors import COLORS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.map_svg import STATE_LABELS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page import page, script, stylesheet

VOID = ("meta", "link", "input", "br", "col")
"""Elements without an end tag."""

PAGES = {
    "healthy": overlays.healthy,
    "watched": overlays.watched,
    "unwatched": overlays.unwatched,
    "troubled": overlays.troubled,
    "limited": lambda: overlays.troubled("cloud1"),
    "alone": overlays.alone,
    "large": overlays.large,
}


@pytest.fixture(scope="module", params=PAGES)
def rendered(request):
    report = PAGES[request.param]()
    return report, page(report, "data.json")


class Reader(html.parser.HTMLParser):
    """Check that elements are nested and closed, and collect ids, addresses and texts."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.policy = ""
        self.open, self.ids, self.addresses, self.text, self.names = [], [], [], [], []

    def handle_starttag(self, name, attributes):
        keys = [key for key, _value in attributes]
        assert len(keys) == len(set(keys)), self.get_starttag_text()
        if name not in VOID:
            self.open.append(name)
        self.names.append(name)
        found = dict(attributes)
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policy = found["content"]
        self.ids += [found["id"]] if "id" in found else []
        self.addresses += [found[key] for key in ("href", "src", "srcset", "action", "data", "poster") if key in found]
        assert not any(key.startswith("on") for key in keys), self.get_starttag_text()

    def handle_endtag(self, name):
        assert self.open.pop() == name, self.getpos()

    def handle_data(self, text):
        self.text.append(text)


def read(text):
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_well_formed(rendered):
    _report, text = rendered
    assert text.startswith("<!DOCTYPE html><html lang=")
    reader = read(text)
    assert len(reader.ids) == len(set(reader.ids))
    titles = reader.names.count("title") - reader.names.count("rect")  # each bar of a chart has one, too
    assert reader.names.count("h1") == reader.names.count("main") == titles == 1


def test_the_page_loads_nothing(rendered):
    _report, text = rendered
    reader = read(text)
    assert set(reader.addresses) <= {"data:,", "./data.json", "#all-nodes"}
    assert not {"img", "iframe", "object", "embed", "base", "form"} & set(reader.names)
    code = stylesheet() + script()
    for word in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest", "WebSocket", "import(", "innerHTML"):
        assert word not in code, word
    assert "default-src 'none'" in reader.policy


def test_the_html_has_every_node_and_every_finding(rendered):
    report, text = rendered
    reader = read(text)
    words = set(reader.text)
    assert {node["name"] for node in report["nodes"]} <= words
    assert {finding["text"] for finding in report["findings"]} <= words
    assert report["verdict"]["text"] in words


def test_a_hostile_name_stays_text():
    text = page(overlays.troubled(), '"><script>x.json')
    assert text.count("<script>") == 1, "the script of the page"
    assert "<img" not in text
    assert overlays.HOSTILE in read(text).text


def test_the_past_day_has_a_bar_for_each_recorded_step():
    text = page(overlays.watched(), "data.json")
    assert text.count("<rect") == 3 * 49 + 41
    assert "Probes answered</b>: now 100 %, at least 33.4 %" in text
    assert "09:41 UTC: 100 %" in text
    assert 'id="past-day"' not in page(overlays.healthy(), "data.json")


def test_the_page_says_why_it_has_no_past_day():
    reader = read(page(overlays.unwatched(), "data.json"))
    assert any(overlays.HOSTILE in text and "overlay_prometheus_url" in text for text in reader.text)
    assert "rect" not in reader.names


@given(st.text(), st.text())
def test_any_text_stays_in_its_element_or_attribute(title, time):
    report = overlays.alone()
    plain = read(page(report, "data.json"))
    report["title"] = title
    report["observed"]["at"] = time  # also in an attribute
    assert read(page(report, "data.json")).names == plain.names


BREAKS = ("h1", "h2", "h3", "p", "li", "tr", "dt", "figcaption", "summary", "label", "footer", "title")
"""Elements that start a new line in the golden file."""


class Lines(Reader):
    """The visible text of the page: one line for each block, with ``|`` between the cells of a table."""

    def __init__(self):
        super().__init__()
        self.lines = [""]

    def handle_starttag(self, name, attributes):
        super().handle_starttag(name, attributes)
        if name in BREAKS:
            self.lines.append("# " if name in ("h1", "h2") else "")
        elif name in ("td", "th") and self.lines[-1]:
            self.lines[-1] += " | "
        elif name in ("a", "button", "dd", "option", "small", "span", "svg"):
            self.lines[-1] += " "

    def handle_data(self, text):
        if self.open and self.open[-1] not in ("style", "script"):
            self.lines[-1] += text


def test_the_page_reads_as_in_the_golden_file():
    """To accept a change, run this file with PYTHONPATH=collections and save its output as page_troubled.txt."""
    assert golden_text() == pathlib.Path(__file__).with_name("page_troubled.txt").read_text()


def golden_text():
    reader = Lines()
    reader.feed(page(overlays.troubled(), "data.json"))
    return "".join(f"{' '.join(line.split())}\n" for line in reader.lines if line.strip())


def test_commands_of_a_remedy_are_marked_up():
    report = overlays.alone()
    remedies = [
        "Put it back, or release it: ansible-playbook tke.overlay.release -e overlay_release=a",
        "Check the hosts.",
    ]
    remedies.append("Check them: ansible a,b -m ping. The others keep them: systemctl status 'tke-overlay-*'")
    report["findings"] = [
        {"severity": "bad", "kind": "any", "hosts": [], "text": "", "remedy": remedy} for remedy in remedies
    ]
    marked = re.findall(r"<code>(<span>.*?)</code>", page(report, "data.json"))
    assert [html.unescape(re.sub(r"</?span>", "", command)) for command in marked] == [
        "ansible-playbook tke.overlay.release -e overlay_release=a",
        "ansible a,b -m ping",
        "systemctl status 'tke-overlay-*'",
    ]


def test_five_thousand_nodes_fit_into_two_megabytes():
    size = len(page(overlays.large(), "data.json").encode())
    print(f"5,000 nodes: {size:,} bytes")
    assert size < 2_000_000


def test_the_stylesheet_uses_the_colours_and_no_others():
    assert set(re.findall(r"var\(--([a-z]+)\)", stylesheet())) <= {*COLORS, "tone"}
    assert "</" not in stylesheet()


def test_the_script_has_the_labels_of_the_map():
    labels = re.search(r"const labels = (\[.*?\]);", script())[1]
    assert json.loads(labels) == list(STATE_LABELS.values())


def test_the_script_cannot_end_its_element():
    assert "</" not in script()
    assert not re.search(r"^\s", script(), re.MULTILINE), "without indentation"


if __name__ == "__main__":
    print(golden_text(), end="")

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The page as a file: well-formed, closed to the outside, escaped, small, readable in both themes."""

from __future__ import annotations

import html.parser
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import overlays
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page import page
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_html import (
    VOID,
    Html,
    escaped,
    join,
    tag,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_map import _cells, _strokes, columns_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_script import SCRIPT
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_style import DARK, LIGHT, READABLE, STYLE
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_tables import NOTHING, _drops

PAGES = {
    "whole": overlays.whole,
    "troubled": overlays.troubled,
    "limited": lambda: overlays.troubled("cloud1"),
    "alone": overlays.alone,
    "large": overlays.large,
}


@pytest.fixture(scope="module", params=PAGES)
def drawn(request):
    picture = PAGES[request.param]()
    return picture, page(picture, "data.json")


class Reader(html.parser.HTMLParser):
    """Insists that elements are nested and closed, and that an id is there once."""

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


def test_the_page_is_well_formed(drawn):
    _picture, text = drawn
    assert text.startswith("<!DOCTYPE html>\n<html lang=")
    reader = read(text)
    assert len(reader.ids) == len(set(reader.ids))
    assert reader.names.count("h1") == reader.names.count("main") == reader.names.count("title") == 1


def test_the_page_loads_nothing(drawn):
    _picture, text = drawn
    reader = read(text)
    assert set(reader.addresses) <= {"data:,", "./data.json", "#all-nodes"}
    assert not {"img", "iframe", "object", "embed", "base", "form"} & set(reader.names)
    code = STYLE + SCRIPT
    for word in ("http:", "https:", "url(", "@import", "fetch(", "XMLHttpRequest", "WebSocket", "import(", "innerHTML"):
        assert word not in code, word
    assert "default-src 'none'" in reader.policy


def test_every_node_and_every_finding_is_there_without_a_script(drawn):
    picture, text = drawn
    reader = read(text)
    words = set(reader.text)
    assert {node["name"] for node in picture["nodes"]} <= words
    assert {finding["text"] for finding in picture["findings"]} <= words
    assert picture["verdict"]["text"] in words


def test_a_hostile_name_stays_text():
    text = page(overlays.troubled(), '"><script>x.json')
    assert text.count("<script>") == 1, "the page's own"
    assert "<img" not in text
    assert overlays.HOSTILE in read(text).text


@given(st.text(), st.text())
def test_whatever_the_text_it_cannot_leave_its_element_or_attribute(inside, attribute):
    reader = Reader()
    reader.feed(tag("p", inside, title=attribute))
    reader.close()
    assert reader.names == ["p"]
    assert reader.open == []
    assert join(escaped(inside)) == escaped(inside), "never escaped twice"
    assert isinstance(escaped(inside), Html)


def test_five_thousand_nodes_fit_into_two_megabytes():
    size = len(page(overlays.large(), "data.json").encode())
    print(f"5,000 nodes: {size:,} bytes")
    assert size < 2_000_000


# --- looks ---


def luminance(color):
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), READABLE)
def test_text_has_the_contrast_that_wcag_asks_for(theme, ink, ground):
    bright, dim = sorted((luminance(theme[ink]), luminance(theme[ground])), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= 4.5


def test_both_themes_know_the_same_colours_and_the_rules_use_no_other():
    assert LIGHT.keys() == DARK.keys()
    assert set(re.findall(r"var\(--([a-z]+)\)", STYLE)) <= {*LIGHT, "tone"}


# --- the drawing of the map ---


@given(st.lists(st.tuples(st.sampled_from(["used", "free", "pending"]), st.integers(1, 40)), min_size=1, max_size=12))
def test_the_strokes_draw_each_cell_exactly_once(cells):
    total = sum(length for _state, length in cells)
    columns = columns_of(total)
    painted = {}
    for state in {state for state, _length in cells}:
        for cell in painted_by(_strokes(cells, state, columns), columns):
            assert cell not in painted
            painted[cell] = state
    wanted = [state for state, length in cells for _each in range(length)]
    assert [painted.get(cell) for cell in range(total)] == wanted
    assert len(painted) == total


def painted_by(path, columns):
    """The cells that a pen touches which follows a path as the browser does."""
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


def test_a_cell_that_is_partly_services_is_drawn_as_services():
    block = overlays.alone()["pool"]["blocks"][0]
    assert [run["state"] for run in block["runs"]] == ["free", "spare", "service"]
    assert _cells(block, 64) == [("free", 3), ("service", 1)]


def test_drops_are_those_of_the_device_and_of_the_rules_as_in_status():
    node = dict(overlays.whole()["nodes"][0])
    node["counters"] = {"rx_dropped": 1, "tx_dropped": 20, "rx_errors": 300, "rule_unrouted": 4000, "rx_packets": 9}
    assert _drops(node) == "4,021"
    assert _drops({**node, "counters": None}) == NOTHING

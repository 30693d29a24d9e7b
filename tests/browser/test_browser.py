# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The page in a real browser: layout, no loads, filter, order, pointer, keys, theme, and print."""

from __future__ import annotations

import json

import pytest

import overlays
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page import page
from chromium import Chromium

PAGES = {"healthy": overlays.watched, "troubled": overlays.troubled, "alone": overlays.alone, "large": overlays.large}
WIDTHS = (390, 820, 1600)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, make in PAGES.items():
        (folder / f"{name}.html").write_text(page(make(), f"{name}.json"))
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Chromium(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def troubled(browser, files):
    browser.show_as(1200)
    browser.open(files["troubled"])
    return browser


# Elements that are wider than the window and not in a box that scrolls. Only the first rows of the nodes: reading the
# place of a row makes the browser lay it out.
TOO_WIDE = """
[...document.querySelectorAll("body *:not(#nodes tr:nth-child(n+30), #nodes tr:nth-child(n+30) *)")].filter((each) => {
  const box = each.getBoundingClientRect();
  return box.width && box.right > innerWidth + 1 && !each.closest(".scroll, .skip, thead");
}).map((each) => each.outerHTML.slice(0, 120))
"""


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_the_page_fits_the_window_and_loads_nothing(browser, files, name, width):
    browser.show_as(width, "dark" if width == 820 else "light")
    browser.open(files[name])
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate(TOO_WIDE) == []
    assert browser.console() == []
    assert browser.loads() == [files[name].as_uri()]


def test_five_thousand_nodes_open_in_less_than_a_second(browser, files):
    browser.show_as(1600)
    begin = browser.work()
    passed = browser.open(files["large"])
    worked = browser.work() - begin
    print(f"5,000 nodes: opened in {passed:.2f} s, of which {worked:.2f} s of processor time")
    assert worked < 1, "processor time, because other programs may use the machine"


def test_the_page_is_complete_without_its_script(browser, files):
    browser.without_script(True)
    try:
        browser.show_as(1200)
        browser.open(files["troubled"])
        shown = "[...document.querySelectorAll('.js')].filter((each) => each.checkVisibility()).length"
        assert browser.evaluate(shown) == 0, "controls that need the script are hidden"
        assert browser.evaluate("document.querySelectorAll('#nodes tbody tr').length") == 13
        assert overlays.HOSTILE in browser.evaluate("document.querySelector('#nodes').textContent")
    finally:
        browser.without_script(False)


ROWS = "[...document.querySelectorAll('#nodes tbody tr')]"
VISIBLE = f"{ROWS}.filter((row) => !row.hidden).map((row) => row.cells[0].textContent)"


def typed(text):
    return f"document.getElementById('filter').value = {json.dumps(text)};" + (
        "document.getElementById('filter').dispatchEvent(new Event('input'));" + VISIBLE
    )


def test_the_filter_finds_names_addresses_and_sites(troubled):
    assert troubled.evaluate(typed("idc 10.244.6.")) == ["idc2"]
    assert troubled.evaluate("document.getElementById('shown').textContent") == "1 of 13 shown"
    assert troubled.evaluate(typed("GATEWAY")) == ["edge-gateway.branch-7.example"]
    assert troubled.evaluate(typed("no such node")) == []
    assert len(troubled.evaluate(typed(""))) == 13
    chosen = "document.getElementById('state').value = 'unreachable';"
    event = "document.getElementById('state').dispatchEvent(new Event('change'));"
    assert troubled.evaluate(chosen + event + VISIBLE) == ["idc2"]


def test_a_column_is_ordered_by_its_type(troubled):
    def order(column, times=1):
        click = f"document.querySelectorAll('#nodes thead button')[{column}].click();"
        return troubled.evaluate(click * times + VISIBLE)

    by_node_cidr = order(3)
    assert by_node_cidr[:3] == ["new1", "cloud1", "cloud2"], "a node without a node CIDR comes first"
    assert (
        by_node_cidr.index("idc4")
        < by_node_cidr.index("edge-gateway.branch-7.example")
        < by_node_cidr.index("old-idc9")
    )
    assert order(3) == by_node_cidr[::-1]
    assert troubled.evaluate("document.querySelector('#nodes th[aria-sort]').getAttribute('aria-sort')") == "descending"
    assert troubled.evaluate("document.querySelectorAll('#nodes th[aria-sort]').length") == 1


def middle_of(browser, cell):
    """Return the middle of a cell of the first map, in pixels of the window."""
    browser.evaluate("document.querySelector('svg.map').scrollIntoView({block: 'center'})")
    box, columns, rows = browser.evaluate(
        "(() => { const map = document.querySelector('svg.map'), box = map.getBoundingClientRect();"
        "return [[box.left, box.top, box.width, box.height], +map.dataset.columns, map.viewBox.baseVal.height]; })()"
    )
    side = box[2] / columns
    assert box[3] / rows == pytest.approx(side, rel=0.02), "the cells are square and complete"
    return box[0] + (cell % columns + 0.5) * side, box[1] + (cell // columns + 0.5) * side


TIP = "document.getElementById('tip').hidden ? null : document.getElementById('tip').textContent"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (0, "10.244.0.0/24: used, cloud1 (cloud), since 2025-12-12; packets lost"),
        (11, "10.244.11.0/24: orphan, old-idc9, since 2026-05-26; orphan"),
        (13, "10.244.13.0/24: free"),
        (20, "10.244.20.0/24: pending, released by idc7; free when removed by cloud4, idc3, and the cursor"),
        (21, "10.244.21.0/24: quarantined, released by idc8; free when the cursor has wrapped around"),
        (24, "10.244.24.0/24: reserved"),
        (63, "10.244.63.0/24: Services"),
    ],
)
def test_the_pointer_shows_the_node_cidr_and_its_node(troubled, cell, text):
    troubled.point(*middle_of(troubled, cell))
    assert (troubled.evaluate(TIP) or "").startswith(text)
    troubled.point(1, 1)
    assert troubled.evaluate(TIP) is None


def test_the_pointer_is_exact_on_65536_node_cidrs(browser, files):
    browser.show_as(1600)
    browser.open(files["large"])
    node = overlays.large()["nodes"][4321]
    browser.point(*middle_of(browser, node["number"]))
    assert browser.evaluate(TIP).startswith(f"{node['node_cidr']}: used, {node['name']} ")


def test_the_keys_alone_can_read_the_map(troubled):
    troubled.evaluate("document.querySelector('svg.map').focus()")
    shown = "document.getElementById('node-cidr').textContent"
    for key, start in (
        ("Home", "10.244.0.0/24: used, cloud1"),
        ("ArrowRight", "10.244.1.0/24: used, cloud2"),
        ("ArrowDown", "10.244.17.0/24: free"),
        ("ArrowLeft", "10.244.16.0/24: free"),
        ("ArrowUp", "10.244.0.0/24: used, cloud1"),
        ("ArrowUp", "10.244.0.0/24: used, cloud1"),
        ("End", "10.244.63.0/24: Services"),
    ):
        troubled.key(key)
        assert troubled.evaluate(shown).startswith(start), key
    troubled.key("Home")
    troubled.key("Enter")
    assert troubled.evaluate("document.querySelector('tr.hit').cells[0].textContent") == "cloud1"
    assert troubled.evaluate("document.getElementById('node-cidr').getAttribute('aria-live')") == "polite"


GROUND = "getComputedStyle(document.body).backgroundColor"


def test_the_theme_follows_the_system_until_the_button(browser, files):
    light, dark = "rgb(250, 250, 249)", "rgb(16, 20, 24)"
    for theme, ground, other in (("light", light, dark), ("dark", dark, light)):
        browser.show_as(1200, theme)
        browser.open(files["healthy"])
        assert browser.evaluate(GROUND) == ground
        browser.evaluate("document.getElementById('theme').click()")
        assert browser.evaluate(GROUND) == other


def test_the_page_prints_in_the_light_theme(browser, files):
    browser.show_as(1200, "dark")
    browser.open(files["troubled"])
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF-")
    browser.send(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    try:
        assert browser.evaluate(GROUND) == "rgb(250, 250, 249)"
        assert browser.evaluate("document.querySelector('.tools').checkVisibility()") is False
    finally:
        browser.send("Emulation.setEmulatedMedia", media="")

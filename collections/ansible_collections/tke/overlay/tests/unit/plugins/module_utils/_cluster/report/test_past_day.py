# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The past day: its queries, its answers, and its charts."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.past_day import (
    MEASURES,
    SECONDS,
    STEP,
    PastDay,
    Series,
    query,
    series_of,
    timestamp,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.past_day_svg import charts
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

REACHABILITY = MEASURES[0]
END = 1_780_000_000


def answer(*values):
    return {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": [*values]}]}}


def day(unit, *points):
    series = Series(name="x", title="X", unit=unit, points=[(timestamp(at), value) for at, value in points])
    begin, end = timestamp(END - SECONDS), timestamp(END)
    return PastDay(source="http://x", begin=begin, end=end, step=STEP, problem=None, series=[series])


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_the_name_of_a_cluster_stays_inside_its_quotes(measure):
    text = query(measure, 'a"} or up{x="\\')
    assert text.count('{cluster="a\\"} or up{x=\\"\\\\"}') == text.count("tke_overlay_info")
    assert "OF_CLUSTER" not in text


def test_an_answer_becomes_points_without_what_is_no_number():
    found = series_of(REACHABILITY, answer([0, "100"], [1800, "NaN"], [3600.5, "+Inf"], [5400, "99.5"]))
    assert found["points"] == [("1970-01-01T00:00:00Z", 100.0), ("1970-01-01T01:30:00Z", 99.5)]
    assert series_of(REACHABILITY, {"data": {"result": []}})["points"] == []


@pytest.mark.parametrize(
    "wrong",
    [None, [], "x", {}, {"data": 1}, {"data": {"result": [{}]}}, answer([1]), answer(["x", "1"]), answer([1e300, "1"])],
    ids=repr,
)
def test_another_answer_is_one_clear_error(wrong):
    with pytest.raises(ValidationError, match="none of Prometheus"):
        series_of(REACHABILITY, wrong)


def test_a_share_below_all_is_marked_and_never_rounded_to_all():
    (chart,) = charts(day("%", (END - STEP, 99.999), (END, 100.0)))
    assert [(each.tone, each.slot) for each in chart.bars] == [("poor", 47), ("good", 48)]
    assert chart.slots == 49
    assert chart.text == "now 100 %, at least 99.9 %"


def test_numbers_are_added_and_the_largest_fills_the_chart():
    (chart,) = charts(day("", (END - 2 * STEP, 0.0), (END - STEP, 3.0), (END, 6.0)))
    assert [each.height for each in chart.bars] == [0, 50, 100]
    assert chart.text == "9, at most 6 in one step"


def test_a_chart_without_points_says_so():
    (chart,) = charts(day("%"))
    assert chart.text == "nothing was recorded"


@given(
    st.sampled_from(["%", ""]),
    st.lists(st.floats(0, 1e15).filter(math.isfinite), min_size=1, max_size=49),
)
def test_every_bar_lies_inside_its_chart(unit, values):
    (chart,) = charts(day(unit, *((END - SECONDS + STEP * at, value) for at, value in enumerate(values))))
    for each in chart.bars:
        assert 0 <= each.slot < chart.slots
        assert 0 <= each.height <= 100

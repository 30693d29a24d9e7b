# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The table of the bench: limits, aims, and the ratio to them or to another commit."""

from __future__ import annotations

import sys

import pytest

from product import ROOT

sys.path.insert(0, str(ROOT))

from tests.bench.report import Measure, as_data, from_data, table  # found by the line above

HERE = {
    "peers": [
        Measure("module / batches", 1.5, digits=2, at_most=1.4, wanted=1.2),
        Measure("empty module", 0.25, "s"),
    ]
}
OTHER = {"peers": [Measure("module / batches", 1.25, digits=2, at_most=1.4, wanted=1.2)]}


def rows(text):
    """Return the cells of the lines after the heading, which two spaces or more part."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_ratio_is_that_to_the_wanted_value():
    assert rows(table(HERE, "abc")) == [
        "measure limit wanted abc ratio",
        "peers: module / batches <= 1.4 1.2 1.50 1.25 MISSED",
        "peers: empty module 0.250 s",
    ]


def test_the_ratio_is_that_to_another_commit_beside():
    assert rows(table(HERE, "abc", OTHER, "def (v1)")) == [
        "measure limit wanted def (v1) abc ratio",
        "peers: module / batches <= 1.4 1.2 1.25 1.50 1.20 MISSED",
        "peers: empty module - 0.250 s",
    ]


@pytest.mark.parametrize(("value", "missed"), [(0.94, True), (0.95, False), (1.2, False)])
def test_a_value_below_its_least_is_missed(value, missed):
    measure = Measure("overlay / underlay", value, at_least=0.95)
    assert measure.missed == missed
    assert ("MISSED" in table({"throughput": [measure]}, "abc")) == missed


def test_values_are_the_same_after_a_file():
    assert from_data(as_data(HERE["peers"])) == HERE["peers"]

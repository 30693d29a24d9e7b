# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the page writes times and durations."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.formats import (
    NOTHING,
    day,
    milliseconds,
    timestamp,
)


@pytest.mark.parametrize(
    ("ms", "text"), [(None, NOTHING), (0.0412, "0.04"), (0.999, "1.00"), (1, "1.0"), (9.94, "9.9"), (10, "10")]
)
def test_milliseconds_keep_the_digits_that_matter(ms, text):
    assert milliseconds(ms) == text


@pytest.mark.parametrize(
    ("time", "text"),
    [(None, NOTHING), ("2026-01-02T03:04:05Z", "2026-01-02 03:04 UTC"), ("yesterday", "yesterday")],
)
def test_timestamp_keeps_a_time_in_another_format(time, text):
    assert timestamp(time) == text


@pytest.mark.parametrize(
    ("time", "text"), [(None, NOTHING), ("2026-01-02T03:04:05Z", "2026-01-02"), ("yesterday", "yesterday")]
)
def test_day_is_the_date_of_a_time(time, text):
    assert day(time) == text

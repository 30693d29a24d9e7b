# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors as a user reads them, and the phrases that they share."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, range_problems, some_of


def test_one_problem_is_a_sentence_and_several_are_a_list():
    assert str(ValidationError("vni 0 is invalid")) == "vni 0 is invalid"
    assert str(ValidationError("first", "second")) == "2 problems, and nothing was changed:\n  1. first\n  2. second"


@pytest.mark.parametrize(
    ("names", "text"),
    [([], ""), (["a"], "a"), (["a", "b"], "a, b"), (["a", "b", "c"], "a, b and 1 more"), ("abcdef", "a, b and 4 more")],
)
def test_a_long_list_is_cut_and_counted(names, text):
    assert some_of(list(names), 2) == text


def test_a_long_list_takes_another_separator():
    assert some_of(["a b", "c d", "e f"], 2, "; ") == "a b; c d and 1 more"


@pytest.mark.parametrize("number", [1, 2, 65535])
def test_a_number_in_its_range_is_no_problem(number):
    assert range_problems("overlay_port", number, 1, 65535) == []


@pytest.mark.parametrize("number", [0, -1, 65536])
def test_a_number_out_of_range_names_variable_and_range(number):
    assert range_problems("overlay_port", number, 1, 65535) == [f"overlay_port {number} is not between 1 and 65535"]


def test_a_range_can_have_a_unit():
    assert range_problems("timeout", 9, 0, 5, "seconds") == ["timeout 9 is not between 0 and 5 seconds"]

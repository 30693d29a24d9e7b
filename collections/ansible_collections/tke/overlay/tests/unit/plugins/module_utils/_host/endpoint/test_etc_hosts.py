# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the managed block in /etc/hosts: it is added, changed and removed; all other lines stay."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.etc_hosts import (
    BEGIN,
    END,
    find_block,
    with_block,
)

NAMES = {"api.x": "10.0.2.2", "b.x": "10.0.2.3", "a.x": "10.0.2.3"}
BLOCK = f"{BEGIN}\n10.0.2.2 api.x\n10.0.2.3 a.x\n10.0.2.3 b.x\n{END}\n"
OLD = f"{BEGIN}\n10.9.9.9 api.x\n{END}\n"

TABLE = {
    "an empty file": ("", BLOCK),
    "a foreign file": ("127.0.0.1 localhost\n", f"127.0.0.1 localhost\n{BLOCK}"),
    "no line break at the end": ("127.0.0.1 localhost", f"127.0.0.1 localhost\n{BLOCK}"),
    "an old block in the middle": (f"1.1.1.1 a\n{OLD}2.2.2.2 b\n", f"1.1.1.1 a\n{BLOCK}2.2.2.2 b\n"),
    "the block of another release": (f"{OLD.replace(BEGIN, '# BEGIN tke.overlay')}x", f"{BLOCK}x"),
    "the same already": (f"# x\n{BLOCK}", f"# x\n{BLOCK}"),
    "the same name and address elsewhere": ("10.0.2.2 api.x\n", f"10.0.2.2 api.x\n{BLOCK}"),
    "the name in a comment": ("# 1.1.1.1 api.x\n1.1.1.1 b # api.x\n", f"# 1.1.1.1 api.x\n1.1.1.1 b # api.x\n{BLOCK}"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_puts_the_block_in_its_place(case):
    before, after = TABLE[case]
    assert with_block("/f", before, NAMES) == after
    assert with_block("/f", after, NAMES) == after
    assert find_block("/f", after) == BLOCK


REJECTED = {
    "another address": ("::1 x\n1.1.1.1 y api.x\n", ["line 2 gives api.x the address 1.1.1.1, expected 10.0.2.2"]),
    "in upper case": ("1.1.1.1 API.X", ["/f, line 1 gives api.x"]),
    "two of them": ("1.1.1.1 api.x\n" + OLD + "1.1.1.2 a.x\n", ["/f, line 1 gives api.x", "/f, line 5 gives a.x"]),
    "of the other family": ("fd00::1 api.x\n", ["gives api.x the address fd00::1"]),
    "no end": (f"{BEGIN}\n1.1.1.1 x\n", ["managed block in line 1,"]),
    "no beginning": (f"1.1.1.1 x\n{END}\n", ["managed block in line 2,"]),
    "two blocks": (OLD + OLD, ["managed block in line 1, 3, 4, 6,"]),
    "the wrong order": (f"{END}\n{BEGIN}\n", ["managed block in line 1, 2,"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REJECTED)
def test_names_the_lines_of_a_conflict_or_damaged_block(case):
    text, words = REJECTED[case]
    with pytest.raises(ValidationError) as caught:
        with_block("/f", text, NAMES)
    assert len(caught.value.problems) == len(words)
    assert all(word in problem for word, problem in itertools.zip_longest(words, caught.value.problems))


LINES = st.lists(
    st.sampled_from(["127.0.0.1 localhost", "", "# a", "10.0.2.2 api.x", "\t1.1.1.1\tz", "é \r", "x"])
).map("\n".join)


@given(LINES, LINES, st.dictionaries(st.sampled_from(list(NAMES)), st.just("10.0.2.2"), max_size=3))
def test_keeps_foreign_lines_and_removes_the_block(before, after, names):
    text = f"{before}\n{OLD}{after}"
    new = with_block("/f", text, names)
    assert with_block("/f", new, {}) == f"{before}\n{after}"
    assert with_block("/f", with_block("/f", before + "\n", names), {}) == before + "\n"

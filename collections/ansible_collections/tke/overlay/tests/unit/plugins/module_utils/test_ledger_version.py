# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host knows whether a ledger has the version that it has applied, is older, or of another branch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import (
    KEPT,
    following,
    highest,
    is_unknown,
    is_version,
    newest,
)

DIGESTS = st.text("0123456789abcdef", min_size=8, max_size=8)
HISTORIES = st.lists(DIGESTS, min_size=1, max_size=3 * KEPT, unique=True)


def after(digests, versions=""):
    """Return the versions of a ledger after each of these changes."""
    found = []
    for digest in digests:
        versions = following(versions, digest)
        found.append(versions)
    return found


@given(HISTORIES)
def test_a_ledger_knows_all_its_versions(digests):
    states = after(digests)
    assert [newest(versions) for versions in states] == [f"{n}-{digest}" for n, digest in enumerate(digests, 1)]
    assert all(is_version(newest(versions)) for versions in states)
    assert len(states[-1].split()) == min(len(digests), KEPT)
    assert not any(is_unknown(newest(versions), states[-1]) for versions in states)


@given(HISTORIES, st.data())
def test_an_older_copy_does_not_know_a_later_version(digests, data):
    states = after(digests)
    older = data.draw(st.integers(0, len(states) - 1))
    assert [is_unknown(newest(versions), states[older]) for versions in states] == [
        number > older for number in range(len(states))
    ]
    assert is_unknown(newest(states[-1]), ""), "a ledger without a version is older than every other one"


@given(st.lists(DIGESTS, min_size=3, max_size=KEPT, unique=True), st.data())
def test_branches_do_not_know_each_other(digests, data):
    begin, end = sorted(data.draw(st.lists(st.integers(1, len(digests) - 1), min_size=2, max_size=2, unique=True)))
    base = after(digests[:begin])[-1]
    one, other = after(digests[begin:end], base)[-1], after(digests[end:], base)[-1]
    assert is_unknown(newest(one), other)
    assert is_unknown(newest(other), one)
    assert not is_unknown(newest(base), one)


@pytest.mark.parametrize("damaged", ["", "41", "41-", "41-3fa9c2d", "0-3fa9c2d1", "-3fa9c2d1", "41-3FA9C2D1", "x\n"])
def test_a_damaged_version_says_nothing(damaged):
    assert not is_version(damaged)
    assert not is_unknown(damaged, "3-00000000")
    assert highest([damaged, "2-00000000"]) == "2-00000000"


def test_the_highest_versions_of_hosts_that_disagree_are_kept():
    assert highest([]) == ""
    assert highest(["9-aaaaaaaa", "10-bbbbbbbb", "10-aaaaaaaa", "10-bbbbbbbb"]) == "10-aaaaaaaa 10-bbbbbbbb"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads of a ledger, and how one that is broken is told from one that is not."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import Ledger, Request, is_broken
from ansible_collections.tke.overlay.plugins.module_utils._cluster.mark import Mark, mark_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.pool import Pool

NOW = "2026-01-02T03:04:05Z"


def a_ledger():
    ledger = Ledger("demo", Pool(["10.0.0.0/24"], 32, 32))
    pinned = Request("b", pod_cidr="10.0.0.96/27", underlay="10.9.0.2", underlay_mtu=1500)
    ledger.assign([Request("a", underlay="10.9.0.1", underlay_mtu=1450), pinned, Request("c")], NOW)
    return ledger


def test_the_summary_has_a_line_for_every_node_and_says_who_is_waited_for():
    ledger = a_ledger()
    ledger.release(["a"], ["b", "c"], NOW)
    assert ledger.summary().splitlines() == [
        "container CIDR 10.0.0.0/24",
        "Service range 10.0.0.224/27",
        f"next segment {ledger.pool.segment(ledger.cursor)} or the first free one behind it",
        "node b 10.0.0.96/27 underlay 10.9.0.2 mtu 1500 pinned",
        f"node c {ledger.nodes['c'].segment} underlay None mtu None",
        "released 10.0.0.0/27 of a, not free until dropped by b, c",
    ]
    assert NOW not in ledger.summary()


def test_a_segment_ahead_of_the_cursor_waits_for_it_to_go_round():
    ledger = a_ledger()
    ledger.release(["b"], [], NOW)
    assert "released 10.0.0.96/27 of b, not free until the cursor has gone round\n" in ledger.summary()


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        (a_ledger().text(), False),
        (a_ledger().text()[:-20], True),
        (a_ledger().text().replace("10.0.0.96", "10.0.0.64"), True),
        ("", True),
        (Mark("/elsewhere", NOW).text(), False),
    ],
)
def test_torn_or_edited_is_broken_and_moved_is_not(text, broken):
    assert is_broken(text) is broken


def test_a_torn_mark_is_none():
    mark = Mark("/elsewhere", NOW)
    assert mark_of(mark.text()) == mark
    assert mark_of(mark.text()[:-4]) is None
    assert mark_of(mark.text().replace('"since"', '"sins"')) is None
    assert mark_of(None) is None
    assert mark_of(a_ledger().text()) is None

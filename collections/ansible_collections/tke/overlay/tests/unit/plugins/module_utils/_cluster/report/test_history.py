# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What two versions of a ledger say of what happened between them, and how its times are shown."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.history import _changes
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page_html import NOTHING, moment

NOW, LATER = "2026-01-02T03:04:05Z", "2026-02-03T04:05:06Z"


def test_what_changed_of_a_node_and_of_what_was_waited_for_is_told():
    older = Ledger("demo", Pool(["10.0.0.0/16"], 256, 256))
    older.assign([Request("a", underlay="10.0.1.1", underlay_mtu=1500), Request("b"), Request("c")], NOW)
    older.release(["c"], ["a"], NOW)
    newer = parse(older.text(), "/ledger", None)
    newer.assign([Request("a", node_cidr="10.0.0.0/24", underlay="10.0.1.9", underlay_mtu=1450)], LATER)
    newer.acknowledge(["a"])
    told = [(event["what"], event["node"], event["text"]) for event in _changes(older, newer, "1")]
    assert told == [
        ("moved", "a", "underlay address 10.0.1.1 \u2192 10.0.1.9"),
        ("moved", "a", "underlay MTU 1500 \u2192 1450"),
        ("pinned", "a", "10.0.0.0/24 is now chosen by hand"),
        ("dropped", "c", "10.0.2.0/24 has been dropped by all hosts"),
    ]


def test_a_time_of_another_kind_is_shown_as_it_is():
    assert [moment(time) for time in (None, NOW, "yesterday")] == [NOTHING, "2026-01-02 03:04 UTC", "yesterday"]

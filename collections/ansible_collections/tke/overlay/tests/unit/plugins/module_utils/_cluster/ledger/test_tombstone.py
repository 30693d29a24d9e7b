# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tombstone that a migrated ledger leaves in its old place."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import Tombstone, tombstone_of

NOW = "2026-01-02T03:04:05Z"


def ledger_with_a_pin():
    ledger = Ledger("demo", Pool(["10.0.0.0/24"], 32, 32))
    pinned = Request("b", node_cidr="10.0.0.96/27", underlay="10.9.0.2", underlay_mtu=1500)
    ledger.assign([Request("a", underlay="10.9.0.1", underlay_mtu=1450), pinned, Request("c")], NOW)
    return ledger


def test_truncated_or_edited_tombstones_are_not_recognized():
    mark = Tombstone("/elsewhere", NOW)
    assert tombstone_of(mark.text()) == mark
    assert tombstone_of(mark.text()[:-4]) is None
    assert tombstone_of(mark.text().replace('"since"', '"sins"')) is None
    assert tombstone_of(None) is None
    assert tombstone_of(ledger_with_a_pin().text()) is None

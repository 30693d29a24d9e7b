# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator reads of a ledger, and how one that is broken is told from one that is not."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request, is_broken
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.migrate import inspect, migrate
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import FileStore
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import Tombstone, tombstone_of
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

NOW = "2026-01-02T03:04:05Z"


def a_ledger():
    ledger = Ledger("demo", Pool(["10.0.0.0/24"], 32, 32))
    pinned = Request("b", node_cidr="10.0.0.96/27", underlay="10.9.0.2", underlay_mtu=1500)
    ledger.assign([Request("a", underlay="10.9.0.1", underlay_mtu=1450), pinned, Request("c")], NOW)
    return ledger


def test_the_summary_has_a_line_for_every_node_and_says_who_is_waited_for():
    ledger = a_ledger()
    ledger.release(["a"], ["b", "c"], NOW)
    assert ledger.summary().splitlines() == [
        "container CIDR 10.0.0.0/24",
        "Service range 10.0.0.224/27",
        f"next node CIDR {ledger.pool.node_cidr(ledger.cursor)} or the first free one behind it",
        "node b 10.0.0.96/27 underlay 10.9.0.2 mtu 1500 pinned",
        f"node c {ledger.nodes['c'].node_cidr} underlay None mtu None",
        "released 10.0.0.0/27 of a, not free until dropped by b, c",
    ]
    assert NOW not in ledger.summary()


def test_a_node_cidr_ahead_of_the_cursor_waits_for_it_to_go_round():
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
        (Tombstone("/elsewhere", NOW).text(), False),
    ],
)
def test_torn_or_edited_is_broken_and_moved_is_not(text, broken):
    assert is_broken(text) is broken


def test_a_torn_mark_is_none():
    mark = Tombstone("/elsewhere", NOW)
    assert tombstone_of(mark.text()) == mark
    assert tombstone_of(mark.text()[:-4]) is None
    assert tombstone_of(mark.text().replace('"since"', '"sins"')) is None
    assert tombstone_of(None) is None
    assert tombstone_of(a_ledger().text()) is None


class TestLook:
    """What a run of the move knows of the runs before."""

    TEXT = a_ledger().text()

    @pytest.fixture
    def places(self, tmp_path):
        return FileStore(str(tmp_path / "here.json")), FileStore(str(tmp_path / "there.json"))

    def put(self, store, text):
        store.transact(lambda _text: text)

    def seen(self, places, *, present, there, begun, copied, finished):
        move = inspect(*places, "demo")
        assert (move.source, move.target, move.text) == (*places, self.TEXT)
        assert (move.present, move.there) == (present, there)
        assert (move.begun, move.copied, move.finished) == (begun, copied, finished)
        assert move.ledger.text() == self.TEXT
        return move

    def test_nothing_is_done_yet(self, places):
        self.put(places[0], self.TEXT)
        self.seen(places, present=self.TEXT, there=None, begun=False, copied=False, finished=False)

    def test_somebody_has_copied_it_by_hand(self, places):
        self.put(places[0], self.TEXT)
        self.put(places[1], self.TEXT)
        self.seen(places, present=self.TEXT, there=self.TEXT, begun=False, copied=True, finished=False)

    @pytest.mark.parametrize("found", [None, Tombstone("/a/third/place", NOW).text()])
    def test_it_has_begun(self, places, found):
        mark = Tombstone(places[1].where, NOW, ledger=self.TEXT, found=found).text()
        self.put(places[0], mark)
        if found:
            self.put(places[1], found)
        self.seen(places, present=mark, there=found, begun=True, copied=False, finished=False)

    def test_it_is_copied_and_not_finished(self, places):
        mark = Tombstone(places[1].where, NOW, ledger=self.TEXT).text()
        self.put(places[0], mark)
        self.put(places[1], self.TEXT)
        self.seen(places, present=mark, there=self.TEXT, begun=True, copied=True, finished=False)

    def test_it_is_finished(self, places):
        self.put(places[0], self.TEXT)
        migrate(inspect(*places, "demo"), NOW)
        mark = Tombstone(places[1].where, NOW).text()
        self.seen(places, present=mark, there=self.TEXT, begun=True, copied=True, finished=True)

    def test_a_target_that_was_taken_meanwhile_is_left_alone(self, places):
        self.put(places[0], Tombstone(places[1].where, NOW, ledger=self.TEXT).text())
        self.put(places[1], self.TEXT.replace("demo", "emod"))
        with pytest.raises(
            ValidationError, match=f"^{places[1].where} has a different ledger, which is never overwritten"
        ):
            inspect(*places, "demo")

    def test_a_ledger_that_is_broken_is_named_by_its_place(self, places):
        self.put(places[0], self.TEXT[:-20])
        with pytest.raises(ValidationError, match=f"the ledger {places[0].where} cannot be trusted"):
            inspect(*places, "demo")
        self.put(places[0], Tombstone(places[1].where, NOW).text())
        self.put(places[1], self.TEXT[:-20])
        with pytest.raises(ValidationError, match=f"the ledger {places[1].where} cannot be trusted"):
            inspect(*places, "demo")

    def test_a_mark_that_is_broken_is_named_by_its_place(self, places):
        self.put(places[0], Tombstone(places[1].where, NOW, ledger=self.TEXT[:-20]).text())
        with pytest.raises(ValidationError, match=f"the ledger {places[0].where} cannot be trusted"):
            inspect(*places, "demo")

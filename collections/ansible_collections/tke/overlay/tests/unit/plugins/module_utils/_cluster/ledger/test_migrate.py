# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migration of a ledger: at most one usable copy at any time, and no loss when a step fails."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import (
    Ledger,
    Request,
    parse,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.migrate import (
    check_writable,
    inspect,
    migrate,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import (
    FileStore,
    IndeterminateWriteError,
    newest_good,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import Tombstone, tombstone_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import (
    assign,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

NOW = "2026-01-02T03:04:05Z"


def text_of(*names, cluster="demo"):
    ledger = Ledger(cluster, Pool(["10.0.0.0/16"], 256, 256))
    ledger.assign([Request(name) for name in names], NOW)
    return ledger.text()


@pytest.fixture
def places(tmp_path):
    here, there = FileStore(str(tmp_path / "here.json")), FileStore(str(tmp_path / "there.json"))
    here.transact(lambda _none: text_of("a"))
    here.transact(lambda _text: text_of("a", "b"))
    return here, there


def move(source, target, cluster="demo"):
    plan = inspect(source, target, cluster)
    migrate(plan, NOW)
    return plan


def usable(store):
    """Return the ledger that a run of the playbook would use, or None where it would fail."""
    text = store.read()
    with contextlib.suppress(ValidationError):
        return text if text is not None and parse(text, store.where, "demo") else None


def test_moves_byte_for_byte_and_leaves_a_tombstone(places):
    here, there = places
    text = here.read()
    move(here, there)
    assert there.read() == text
    with pytest.raises(ValidationError, match=rf"was moved to {there.where} .*set overlay_ledger to "):
        parse(here.read(), here.where, "demo")
    assert text in [version.text for version in here.previous()]
    assert newest_good(here).text == text


def test_moves_back_and_forth(places):
    here, there = places
    text = here.read()
    for source, target in [(here, there), (there, here), (here, there), (there, here)]:
        move(source, target)
        assert (usable(source), usable(target)) == (None, text)


def test_moving_again_changes_nothing(places):
    here, there = places
    move(here, there)
    there.transact(lambda _text: text_of("a", "b", "c"))
    before = here.read(), there.read(), here.previous(), there.previous()
    plan = move(here, there)
    assert plan.finished
    assert set(plan.ledger.nodes) == {"a", "b", "c"}
    assert (here.read(), there.read(), here.previous(), there.previous()) == before


def test_inspect_changes_nothing(places):
    here, there = places
    text = here.read()
    assert not inspect(here, there, None).finished
    assert (here.read(), there.read()) == (text, None)


def test_accepts_a_copy_made_by_hand(places):
    here, there = places
    text = here.read()
    there.transact(lambda _none: text)
    move(here, there)
    assert (usable(here), usable(there)) == (None, text)


@pytest.mark.parametrize("other", [text_of("x"), text_of("a", "b", cluster="other"), "something else"])
def test_never_overwrites_a_different_ledger(places, other):
    here, there = places
    text = here.read()
    there.transact(lambda _none: other)
    with pytest.raises(ValidationError, match="different ledger, which is never overwritten"):
        move(here, there)
    assert (here.read(), there.read()) == (text, other)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("torn", "cannot be trusted"),
        (text_of("a", cluster="other"), "belongs to cluster 'other'"),
    ],
)
def test_does_not_move_broken_or_foreign_ledgers(places, text, words):
    here, there = places
    here.transact(lambda _text: text)
    with pytest.raises(ValidationError, match=words):
        move(here, there)
    assert (here.read(), there.read()) == (text, None)


def test_rejects_a_missing_source_and_equal_places(places):
    here, there = places
    with pytest.raises(ValidationError, match="there is no ledger at"):
        move(there, here)
    with pytest.raises(ValidationError, match="to itself"):
        move(here, FileStore(here.where))


def test_does_not_move_from_a_tombstone(places, tmp_path):
    here, there = places
    third = FileStore(str(tmp_path / "third.json"))
    move(here, there)
    with pytest.raises(ValidationError, match=f"was moved to {there.where}"):
        move(here, third)
    assert third.read() is None
    move(there, third)
    move(third, here)
    assert usable(here)
    assert not usable(there)


def test_lost_target_is_an_error(places):
    here, there = places
    move(here, there)
    empty = FileStore(there.where + ".other")
    empty.where = there.where
    with pytest.raises(ValidationError, match="there is none now; restore a good copy there"):
        move(here, empty)


def versions_of(store):
    return [version.text for version in store.previous()]


@pytest.mark.parametrize("link", ["file", "directory"])
def test_another_name_of_the_same_place_is_rejected(places, tmp_path, link):
    here, _there = places
    text, versions = here.read(), versions_of(here)
    (tmp_path / "links").mkdir()
    name = tmp_path / "links" / link
    name.symlink_to(here.where if link == "file" else tmp_path)
    target = FileStore(str(name if link == "file" else name / "here.json"))
    with pytest.raises(ValidationError, match=f"{target.where} is the same place as {here.where}.*overlay_ledger"):
        inspect(here, target, "demo")
    assert (here.read(), versions_of(here)) == (text, versions)


class Alias:
    """A store of which only a write shows that it is the same place as another one."""

    def __init__(self, store):
        self.read, self.transact, self.previous = store.read, store.transact, store.previous
        self.where = "etcd://alias/demo"


@pytest.mark.parametrize("steps", [1, 2, 9], ids=["begun", "found", "put back"])
def test_a_hidden_alias_keeps_the_ledger(places, steps):
    """Also when the run that should put the ledger back is interrupted."""
    here, _there = places
    text, alias = here.read(), Alias(here)
    with contextlib.suppress(Power, ValidationError):
        move(Faulty(here, itertools.count(1 - steps), Power(), after=steps == 1), alias)
    assert text in [usable(here), tombstone_of(here.read()) and tombstone_of(here.read()).ledger]
    with pytest.raises(ValidationError, match=f"{alias.where} is the same place as {here.where}"):
        move(Faulty(here, itertools.count(1), Power(), after=False), alias)
    assert usable(here) == text


def test_the_attempt_to_write_comes_before_the_move(places, tmp_path):
    here, _there = places
    text, versions = here.read(), versions_of(here)
    target = FileStore(str(tmp_path / "none" / "there.json"))
    with pytest.raises(ValidationError, match=f"{target.where} cannot be written.*create its directory"):
        check_writable(inspect(here, target, "demo"))
    assert (here.read(), versions_of(here)) == (text, versions)


# --- what goes wrong on the way ---


class Power(Exception):
    """A power failure of the controller."""


class Faulty:
    """A store whose n-th write, counted over all stores, fails before or after it is carried out."""

    def __init__(self, store, count, fault, after):
        self.store, self.where, self.count, self.fault, self.after = store, store.where, count, fault, after
        self.previous = store.previous

    def read(self):
        return self.store.read()

    def is_same(self, other):
        return self.store.is_same(other.store if isinstance(other, Faulty) else other)

    def transact(self, change):
        hit = next(self.count) == 0
        if hit and not self.after:
            raise self.fault
        self.store.transact(change)
        if hit:
            raise self.fault


@pytest.mark.parametrize("back_again", [False, True], ids=["to an empty place", "to a place with a mark"])
@pytest.mark.parametrize("used_meanwhile", [False, True], ids=["", "used meanwhile"])
@pytest.mark.parametrize(
    ("fault", "after"),
    [
        pytest.param(Power(), False, id="power failure before"),
        pytest.param(Power(), True, id="power failure after"),
        pytest.param(ValidationError("no"), False, id="rejected before"),  # after a write there is no ValidationError
        pytest.param(IndeterminateWriteError("perhaps"), False, id="indeterminate before"),
        pytest.param(IndeterminateWriteError("perhaps"), True, id="indeterminate after"),
    ],
)
@pytest.mark.parametrize("step", range(4))
def test_fault_at_any_step_can_be_resumed(places, step, fault, after, used_meanwhile, back_again):
    source, target = places
    if back_again:
        move(source, target)
        source, target = target, source
    text = source.read()
    count = itertools.count(-step)
    with contextlib.suppress(Power, ValidationError):
        move(Faulty(source, count, fault, after), Faulty(target, count, fault, after))
    assert [usable(source), usable(target)] in ([text, None], [None, None], [None, text])
    assert text in [usable(source), usable(target), tombstone_of(source.read()) and tombstone_of(source.read()).ledger]

    if used_meanwhile and usable(target):
        text = text_of("a", "b", "c")
        target.transact(lambda _text: text)
    move(source, target)
    assert (usable(source), usable(target)) == (None, text)
    assert tombstone_of(source.read()).moved_to == target.where


def test_rejected_copy_keeps_the_source_usable(places):
    here, there = places
    text = here.read()
    with pytest.raises(ValidationError, match="no"):
        move(here, Faulty(there, itertools.count(), ValidationError("no"), after=False))
    assert (usable(here), there.read()) == (text, None)


def test_unfinished_migration_names_the_command_to_finish_it(places):
    here, there = places
    with pytest.raises(ValidationError, match="unfinished"):
        move(here, Faulty(there, itertools.count(), IndeterminateWriteError("perhaps"), after=True))
    with pytest.raises(ValidationError, match=f"overlay_ledger_from={here.where} -e overlay_ledger_to={there.where}"):
        parse(here.read(), here.where, "demo")


def test_concurrent_change_of_the_source_is_not_lost(places):
    here, there = places
    plan = inspect(here, there, "demo")
    here.transact(lambda _text: text_of("a", "b", "c"))
    with pytest.raises(ValidationError, match="changed by another program"):
        migrate(plan, NOW)
    assert (usable(here), there.read()) == (text_of("a", "b", "c"), None)


def test_ledger_that_appears_at_the_target_is_kept(places):
    here, there = places
    plan = inspect(here, there, "demo")
    there.transact(lambda _none: text_of("x"))
    with pytest.raises(ValidationError, match="changed by another program"):
        migrate(plan, NOW)
    assert usable(here) == text_of("a", "b")
    assert there.read() == text_of("x")


def test_newest_good_version_skips_broken_ones(places):
    here, _there = places
    good = here.read()
    here.transact(lambda _text: "broken")
    here.transact(lambda _text: "broken again")
    assert newest_good(here).text == good
    here.transact(lambda _text: "and again")
    here.transact(lambda _text: "and again and again")
    assert newest_good(here) is None


LATER = "2026-02-03T04:05:06Z"
SETTINGS = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)
NODES = [
    *(InventoryNode(f"cloud{number}", ["cloud"], f"10.0.1.{number}", 1500) for number in range(1, 4)),
    *(InventoryNode(f"idc{number}", ["idc"], f"192.168.1.{number}", 1450) for number in range(1, 4)),
]


def problems_of_call(work, *arguments, **options):
    with pytest.raises(ValidationError) as caught:
        work(*arguments, **options)
    return caught.value.problems


class BrokenStore(FileStore):
    """A store that fails at the step ``at``."""

    def __init__(self, path, at, words):
        super().__init__(path)
        self.at, self.words, self.written = at, words, False

    def read(self):
        if self.at == "read" and self.written:
            raise ValidationError(self.words)
        return "something else" if self.at == "other" and self.written else super().read()

    def transact(self, change):
        if self.at == "indeterminate":
            raise IndeterminateWriteError(self.words)
        super().transact(change)
        self.written = True


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("indeterminate", "the disk is gone"),
        ("read", "the disk is gone"),
        ("other", "what was written to {where} differs from what is read there"),
    ],
)
def test_unfinished_migration_names_both_stores_and_the_reason(tmp_path, at, why):
    here, there = FileStore(str(tmp_path / "here")), BrokenStore(str(tmp_path / "there"), at, "the disk is gone")
    here.transact(lambda _none: assign(SETTINGS, NODES, None, "/ledger", NOW).text())
    with pytest.raises(IndeterminateWriteError) as caught:
        migrate(inspect(here, there, "demo"), LATER)
    assert str(caught.value) == (
        f"the move of the ledger from {here.where} to {there.where} is unfinished, and the ledger cannot be "
        f"used until it is finished: run the same playbook again. Reason: {why.format(where=there.where)}"
    )
    assert tombstone_of(here.read()).since == LATER


@pytest.mark.parametrize("which", ["here", "there"])
def test_store_changed_during_migration_is_named(tmp_path, which):
    stores = {name: FileStore(str(tmp_path / name)) for name in ("here", "there")}
    text = assign(SETTINGS, NODES, None, "/ledger", NOW).text()
    stores["here"].transact(lambda _none: text)
    prepared = inspect(stores["here"], stores["there"], "demo")
    other = assign(SETTINGS, NODES[:2], None, "/ledger", NOW).text()
    stores[which].transact(lambda _text: other)
    (found,) = problems_of_call(migrate, prepared, LATER)
    assert found == f"the ledger {stores[which].where} was changed by another program; run the playbook again"
    found = stores["here"].read(), stores["there"].read()
    assert found == ((other, None) if which == "here" else (text, other))


def test_store_with_another_ledger_or_tombstone_is_named(tmp_path):
    here, there = FileStore(str(tmp_path / "here")), FileStore(str(tmp_path / "there"))
    text = assign(SETTINGS, NODES, None, "/ledger", NOW).text()
    here.transact(lambda _none: text)
    there.transact(lambda _none: "another")
    assert problems_of_call(inspect, here, there, "demo")[0].startswith(f"{there.where} has a different ledger")
    there.transact(lambda _text: Tombstone("/elsewhere", NOW, ledger=text, found=None).text())
    (found,) = problems_of_call(inspect, here, there, "demo")
    assert there.where in found
    assert "/elsewhere" in found
    here.transact(lambda _text: Tombstone("/elsewhere", NOW).text())
    (found,) = problems_of_call(inspect, here, FileStore(str(tmp_path / "empty")), "demo")
    assert here.where in found


@pytest.mark.parametrize("finished", [True, False])
def test_resumed_migration_checks_the_cluster(tmp_path, finished):
    here, there = FileStore(str(tmp_path / "here")), FileStore(str(tmp_path / "there"))
    text = assign(SETTINGS, NODES, None, "/ledger", NOW).text()
    if finished:
        there.transact(lambda _none: text)
    here.transact(lambda _none: Tombstone(there.where, NOW, ledger=None if finished else text, found=None).text())
    assert "belongs to cluster 'demo'" in problems_of_call(inspect, here, there, "other")[0]


def ledger_with_a_pin():
    ledger = Ledger("demo", Pool(["10.0.0.0/24"], 32, 32))
    pinned = Request("b", node_cidr="10.0.0.96/27", underlay="10.9.0.2", underlay_mtu=1500)
    ledger.assign([Request("a", underlay="10.9.0.1", underlay_mtu=1450), pinned, Request("c")], NOW)
    return ledger


class TestInspect:
    """The steps of earlier runs that inspect() finds."""

    TEXT = ledger_with_a_pin().text()

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

    def test_migration_not_started(self, places):
        self.put(places[0], self.TEXT)
        self.seen(places, present=self.TEXT, there=None, begun=False, copied=False, finished=False)

    def test_ledger_copied_by_hand(self, places):
        self.put(places[0], self.TEXT)
        self.put(places[1], self.TEXT)
        self.seen(places, present=self.TEXT, there=self.TEXT, begun=False, copied=True, finished=False)

    @pytest.mark.parametrize("found", [None, Tombstone("/a/third/place", NOW).text()])
    def test_migration_begun(self, places, found):
        mark = Tombstone(places[1].where, NOW, ledger=self.TEXT, found=found).text()
        self.put(places[0], mark)
        if found:
            self.put(places[1], found)
        self.seen(places, present=mark, there=found, begun=True, copied=False, finished=False)

    def test_migration_copied_but_not_finished(self, places):
        mark = Tombstone(places[1].where, NOW, ledger=self.TEXT).text()
        self.put(places[0], mark)
        self.put(places[1], self.TEXT)
        self.seen(places, present=mark, there=self.TEXT, begun=True, copied=True, finished=False)

    def test_migration_finished(self, places):
        self.put(places[0], self.TEXT)
        migrate(inspect(*places, "demo"), NOW)
        mark = Tombstone(places[1].where, NOW).text()
        self.seen(places, present=mark, there=self.TEXT, begun=True, copied=True, finished=True)

    def test_does_not_overwrite_a_target_with_a_new_ledger(self, places):
        self.put(places[0], Tombstone(places[1].where, NOW, ledger=self.TEXT).text())
        self.put(places[1], self.TEXT.replace("demo", "emod"))
        with pytest.raises(
            ValidationError, match=f"^{places[1].where} has a different ledger, which is never overwritten"
        ):
            inspect(*places, "demo")

    def test_broken_ledger_names_its_store(self, places):
        self.put(places[0], self.TEXT[:-20])
        with pytest.raises(ValidationError, match=f"the ledger {places[0].where} cannot be trusted"):
            inspect(*places, "demo")
        self.put(places[0], Tombstone(places[1].where, NOW).text())
        self.put(places[1], self.TEXT[:-20])
        with pytest.raises(ValidationError, match=f"the ledger {places[1].where} cannot be trusted"):
            inspect(*places, "demo")

    def test_broken_tombstone_names_its_store(self, places):
        self.put(places[0], Tombstone(places[1].where, NOW, ledger=self.TEXT[:-20]).text())
        with pytest.raises(ValidationError, match=f"the ledger {places[0].where} cannot be trusted"):
            inspect(*places, "demo")

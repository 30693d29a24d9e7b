# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger on its way to another place: never usable in two, never lost, whatever step goes wrong."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.migrate import inspect, migrate
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import (
    FileStore,
    IndeterminateWriteError,
    newest_good,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import tombstone_of
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
    """The ledger that a run of the playbook would work with, or None where it would stop."""
    text = store.read()
    with contextlib.suppress(ValidationError):
        return text if text is not None and parse(text, store.where, "demo") else None


def test_a_ledger_arrives_byte_for_byte_and_the_old_place_names_the_new(places):
    here, there = places
    text = here.read()
    move(here, there)
    assert there.read() == text
    with pytest.raises(ValidationError, match=rf"was moved to {there.where} .*set overlay_ledger to that place"):
        parse(here.read(), here.where, "demo")
    assert text in [version.text for version in here.previous()]
    assert newest_good(here).text == text


def test_there_and_back_and_there_again(places):
    here, there = places
    text = here.read()
    for source, target in [(here, there), (there, here), (here, there), (there, here)]:
        move(source, target)
        assert (usable(source), usable(target)) == (None, text)


def test_moving_it_once_more_changes_nothing(places):
    here, there = places
    move(here, there)
    there.transact(lambda _text: text_of("a", "b", "c"))
    before = here.read(), there.read(), here.previous(), there.previous()
    plan = move(here, there)
    assert plan.finished
    assert set(plan.ledger.nodes) == {"a", "b", "c"}
    assert (here.read(), there.read(), here.previous(), there.previous()) == before


def test_looking_changes_nothing(places):
    here, there = places
    text = here.read()
    assert not inspect(here, there, None).finished
    assert (here.read(), there.read()) == (text, None)


def test_a_copy_made_by_hand_is_taken_over(places):
    here, there = places
    text = here.read()
    there.transact(lambda _none: text)
    move(here, there)
    assert (usable(here), usable(there)) == (None, text)


@pytest.mark.parametrize("other", [text_of("x"), text_of("a", "b", cluster="other"), "something else"])
def test_a_different_ledger_is_never_overwritten(places, other):
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
def test_what_is_no_ledger_of_this_cluster_is_not_moved(places, text, words):
    here, there = places
    here.transact(lambda _text: text)
    with pytest.raises(ValidationError, match=words):
        move(here, there)
    assert (here.read(), there.read()) == (text, None)


def test_nothing_and_the_same_place_are_refused(places):
    here, there = places
    with pytest.raises(ValidationError, match="there is no ledger at"):
        move(there, here)
    with pytest.raises(ValidationError, match="to itself"):
        move(here, FileStore(here.where))


def test_it_is_not_moved_from_where_it_was_moved_away(places, tmp_path):
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


def test_a_lost_target_is_said_and_not_made_up(places):
    here, there = places
    move(here, there)
    empty = FileStore(there.where + ".other")
    empty.where = there.where
    with pytest.raises(ValidationError, match="there is none now; put a good copy back"):
        move(here, empty)


# --- what goes wrong on the way ---


class Power(Exception):
    """The controller's."""


class Faulty:
    """A store of which the n-th write, counted over all, ends in a fault before or after it was carried out."""

    def __init__(self, store, count, fault, after):
        self.store, self.where, self.count, self.fault, self.after = store, store.where, count, fault, after
        self.previous = store.previous

    def read(self):
        return self.store.read()

    def transact(self, change):
        hit = next(self.count) == 0
        if hit and not self.after:
            raise self.fault
        self.store.transact(change)
        if hit:
            raise self.fault


@pytest.mark.parametrize("back_again", [False, True], ids=["to an empty place", "to a place with a mark"])
@pytest.mark.parametrize("used_meanwhile", [False, True], ids=["", "used meanwhile"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "fault", [Power(), ValidationError("no"), IndeterminateWriteError("perhaps")], ids=["power", "refusal", "doubt"]
)
@pytest.mark.parametrize("step", range(4))
def test_a_fault_at_any_step_leaves_at_most_one_usable_and_the_next_run_finishes(
    places, step, fault, after, used_meanwhile, back_again
):
    source, target = places
    if back_again:
        move(source, target)
        source, target = target, source
    text = source.read()
    if after and not isinstance(fault, (Power, IndeterminateWriteError)):
        return  # a refusal says that nothing was written
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


def test_a_refused_copy_leaves_the_source_in_use(places):
    here, there = places
    text = here.read()
    with pytest.raises(ValidationError, match="no"):
        move(here, Faulty(there, itertools.count(), ValidationError("no"), after=False))
    assert (usable(here), there.read()) == (text, None)


def test_while_it_is_moved_nobody_can_use_it_and_the_error_says_how_to_go_on(places):
    here, there = places
    with pytest.raises(ValidationError, match="unfinished"):
        move(here, Faulty(there, itertools.count(), IndeterminateWriteError("perhaps"), after=True))
    with pytest.raises(ValidationError, match=f"overlay_ledger_from={here.where} -e overlay_ledger_to={there.where}"):
        parse(here.read(), here.where, "demo")


def test_a_change_that_comes_between_is_not_lost(places):
    here, there = places
    plan = inspect(here, there, "demo")
    here.transact(lambda _text: text_of("a", "b", "c"))
    with pytest.raises(ValidationError, match="changed by somebody else"):
        migrate(plan, NOW)
    assert (usable(here), there.read()) == (text_of("a", "b", "c"), None)


def test_a_ledger_that_appears_at_the_target_meanwhile_is_not_overwritten(places):
    here, there = places
    plan = inspect(here, there, "demo")
    there.transact(lambda _none: text_of("x"))
    with pytest.raises(ValidationError, match="changed by somebody else"):
        migrate(plan, NOW)
    assert usable(here) == text_of("a", "b")
    assert there.read() == text_of("x")


def test_the_newest_good_version_is_no_mark_and_not_broken(places):
    here, _there = places
    good = here.read()
    here.transact(lambda _text: "broken")
    here.transact(lambda _text: "broken again")
    assert newest_good(here).text == good
    here.transact(lambda _text: "and again")
    here.transact(lambda _text: "and again and again")
    assert newest_good(here) is None

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 3: a ledger goes from one place to another, in steps of which each leaves at most one that can be used.

=====================  ======================  ======================
after the step         at the source           at the target
=====================  ======================  ======================
(before)               the ledger              nothing
begin                  mark with the ledger    nothing
copy, and read back    mark with the ledger    the ledger
finish                 mark                    the ledger
=====================  ======================  ======================

A run that ends anywhere in between is finished by the next one with the same
two places.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.base import (
    Change,
    IndeterminateWriteError,
    Store,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import (
    Tombstone,
    refuse_tombstone,
    tombstone_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError


class Migration(t.NamedTuple):
    """What is to be done. ``present`` and ``there`` are what source and target hold, ``text`` is the ledger's.

    ``begun``, ``copied`` and ``finished`` tell what a run before has done.
    """

    source: Store
    target: Store
    present: str
    there: str | None
    text: str
    ledger: Ledger
    begun: bool = False
    copied: bool = False
    finished: bool = False


def inspect(source: Store, target: Store, cluster: str | None) -> Migration:
    """What a move would have to do; changes nothing.

    :param cluster: the cluster the ledger must belong to; ``None``: any.
    :raises ValidationError: there is no ledger, it is broken or of another cluster, or the target has a different one.
    """
    if source.where == target.where:
        raise ValidationError(f"the ledger is to be moved from {source.where} to itself: give two places")
    present, there = source.read(), target.read()
    if present is None:
        raise ValidationError(f"there is no ledger at {source.where}, so none was moved")
    mark = tombstone_of(present)
    if mark is None:
        ledger = parse(present, source.where, cluster)
        if there != present:
            _insist_on_room(there, target.where)
        return Migration(source, target, present, there, present, ledger, copied=there == present)
    if mark.moved_to != target.where:
        refuse_tombstone(present, source.where)
    if mark.ledger is None:
        if there is None:
            raise ValidationError(
                f"the ledger {source.where} was moved to {target.where} ({mark.since}), but there is none now; "
                f"put a good copy back there (a previous version, or a backup)"
            )
        ledger = parse(there, target.where, cluster)
        return Migration(source, target, present, there, there, ledger, begun=True, copied=True, finished=True)
    ledger = parse(mark.ledger, source.where, cluster)
    copied = there != mark.found and _has_been_there(mark.ledger, target)
    if not copied and there != mark.found:
        _insist_on_room(there, target.where)
    return Migration(source, target, present, there, mark.ledger, ledger, begun=True, copied=copied)


def migrate(move: Migration, now: str) -> None:
    """Begins, copies and finishes, as far as that is not done.

    :param now: UTC, ISO 8601.
    :raises ValidationError: all is as it was.
    :raises IndeterminateWriteError: nobody can use the ledger until a run with the same places finishes the move.
    """
    if move.finished:
        return
    source, target = move.source, move.target
    under_way = move.present
    if not move.begun:
        found = None if move.copied else move.there
        under_way = Tombstone(target.where, now, ledger=move.text, found=found).text()
        source.transact(_exactly(move.present, under_way, source.where))
    if not move.copied:
        _copy(move, under_way)
    source.transact(_exactly(under_way, Tombstone(target.where, now).text(), source.where))


def _copy(move: Migration, under_way: str) -> None:
    try:
        move.target.transact(_exactly(move.there, move.text, move.target.where))
    except IndeterminateWriteError as doubt:
        raise _unfinished(move, str(doubt)) from doubt
    except ValidationError:
        # It is certain that nothing was written: the source can be used again.
        move.source.transact(_exactly(under_way, move.text, move.source.where))
        raise
    try:
        there = move.target.read()
    except ValidationError as refusal:
        raise _unfinished(move, str(refusal)) from refusal
    if there != move.text:
        raise _unfinished(move, f"what was written to {move.target.where} is not what is read there")


def _has_been_there(text: str, target: Store) -> bool:
    """Whether an unfinished run copied it already; somebody may have changed it there since."""
    return target.read() == text or text in [version.text for version in target.previous()]


def _insist_on_room(there: str | None, where: str) -> None:
    """A target may be empty, or have the mark of a ledger that was moved away from it."""
    if there is None:
        return
    mark = tombstone_of(there)
    if mark is None:
        raise ValidationError(
            f"{where} has a different ledger, which is never overwritten: give another place, or move that one away"
        )
    if mark.ledger is not None:
        refuse_tombstone(there, where)


def _exactly(expected: str | None, wanted: str, where: str) -> Change:
    def change(present: str | None) -> str:
        if present != expected:
            raise ValidationError(f"the ledger {where} was changed by somebody else during the move; run again")
        return wanted

    return change


def _unfinished(move: Migration, why: str) -> IndeterminateWriteError:
    return IndeterminateWriteError(
        f"the move of the ledger from {move.source.where} to {move.target.where} is unfinished, and nobody can use it "
        f"until it is: run the same again. The reason: {why}"
    )

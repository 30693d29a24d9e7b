# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Migrate a ledger to another store, in steps that each leave at most one usable ledger.

=====================  ======================  ======================
after the step         at the source           at the target
=====================  ======================  ======================
(before)               the ledger              nothing
begin                  tombstone with ledger   nothing
copy, and read back    tombstone with ledger   the ledger
finish                 tombstone               the ledger
=====================  ======================  ======================

A run that is interrupted is finished by the next run with the same source and
target.
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
    reject_tombstone,
    tombstone_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError


class Migration(t.NamedTuple):
    """The state of a migration: ``present`` is the text at the source, ``there`` at the target, ``text`` the ledger.

    ``begun``, ``copied`` and ``finished`` are the steps that an earlier run has done.
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
    """Return the state of a migration, without changing anything.

    :param cluster: the cluster the ledger must belong to; ``None``: any.
    :raises ValidationError: there is no ledger, it is broken or of another cluster, the target has a different one, or
        is the same place.
    """
    if source.where == target.where:
        raise ValidationError(
            f"the ledger cannot be moved from {source.where} to itself: set another overlay_ledger_to"
        )
    if source.is_same(target):
        raise _same_place(source, target)
    present, there = source.read(), target.read()
    if present is None:
        raise ValidationError(f"there is no ledger at {source.where}, so nothing was moved: check overlay_ledger_from")
    tombstone = tombstone_of(present)
    if tombstone is None:
        ledger = parse(present, source.where, cluster)
        if there != present:
            _require_free_target(there, target.where)
        return Migration(source, target, present, there, present, ledger, copied=there == present)
    if tombstone.moved_to != target.where:
        reject_tombstone(present, source.where)
    if tombstone.ledger is None:
        if there is None:
            raise ValidationError(
                f"the ledger {source.where} was moved to {target.where} ({tombstone.since}), but there is none now; "
                f"restore a good copy there (a previous version, or a backup)"
            )
        ledger = parse(there, target.where, cluster)
        return Migration(source, target, present, there, there, ledger, begun=True, copied=True, finished=True)
    ledger = parse(tombstone.ledger, source.where, cluster)
    if there == present:  # an earlier run was interrupted before it found that this is the same place
        return Migration(source, target, present, there, tombstone.ledger, ledger, begun=True)
    copied = there != tombstone.found and _was_copied(tombstone.ledger, target)
    if not copied and there != tombstone.found:
        _require_free_target(there, target.where)
    return Migration(source, target, present, there, tombstone.ledger, ledger, begun=True, copied=copied)


def check_writable(move: Migration) -> None:
    """Try whether both stores can be written: a move that fails half-way replaces previous versions.

    :raises ValidationError: names the reason and the remedy.
    """
    if not move.finished:
        move.source.check_writable()
        move.target.check_writable()


def migrate(move: Migration, now: str) -> None:
    """Carry out the steps that are not done yet.

    :param now: UTC, ISO 8601.
    :raises ValidationError: nothing was changed.
    :raises IndeterminateWriteError: the ledger is not usable until a run with the same source and target finishes.
    """
    if move.finished:
        return
    source, target = move.source, move.target
    under_way = move.present
    if not move.begun:
        found = None if move.copied else move.there
        under_way = Tombstone(target.where, now, ledger=move.text, found=found).text()
        source.transact(_exactly(move.present, under_way, source.where))
    _reject_same_place(move, under_way)
    if not move.copied:
        _copy(move, under_way)
    source.transact(_exactly(under_way, Tombstone(target.where, now).text(), source.where))


def _reject_same_place(move: Migration, under_way: str) -> None:
    """Raise an error if the target is the source by another name: the last tombstone would overwrite the only copy.

    Names do not show this: a mount, another member of the same etcd, an alias of a host. So the tombstone that was
    written to the source is looked for at the target.
    """
    try:
        there = move.target.read()
    except ValidationError as error:
        raise _unfinished(move, str(error)) from error
    if there == under_way:
        move.source.transact(_exactly(under_way, move.text, move.source.where))
        raise _same_place(move.source, move.target)


def _same_place(source: Store, target: Store) -> ValidationError:
    return ValidationError(
        f"{target.where} is the same place as {source.where}, so the ledger was not moved: only set overlay_ledger to "
        f"{target.where}, or set another overlay_ledger_to"
    )


def _copy(move: Migration, under_way: str) -> None:
    try:
        move.target.transact(_exactly(move.there, move.text, move.target.where))
    except IndeterminateWriteError as error:
        raise _unfinished(move, str(error)) from error
    except ValidationError:
        # Nothing was written, so the source can be used again.
        move.source.transact(_exactly(under_way, move.text, move.source.where))
        raise
    try:
        there = move.target.read()
    except ValidationError as error:
        raise _unfinished(move, str(error)) from error
    if there != move.text:
        raise _unfinished(move, f"what was written to {move.target.where} differs from what is read there")


def _was_copied(text: str, target: Store) -> bool:
    """Return whether an unfinished run copied the ledger; it may have been changed at the target since."""
    return target.read() == text or text in [version.text for version in target.previous()]


def _require_free_target(there: str | None, where: str) -> None:
    """Raise an error unless the target is empty or has the tombstone of a ledger that was moved away from it."""
    if there is None:
        return
    tombstone = tombstone_of(there)
    if tombstone is None:
        raise ValidationError(
            f"{where} has a different ledger, which is never overwritten: "
            f"set another overlay_ledger_to, or move that ledger away"
        )
    if tombstone.ledger is not None:
        reject_tombstone(there, where)


def _exactly(expected: str | None, wanted: str, where: str) -> Change:
    def change(present: str | None) -> str:
        if present != expected:
            raise ValidationError(f"the ledger {where} was changed by another program; run the playbook again")
        return wanted

    return change


def _unfinished(move: Migration, why: str) -> IndeterminateWriteError:
    return IndeterminateWriteError(
        f"the move of the ledger from {move.source.where} to {move.target.where} is unfinished, and the ledger cannot "
        f"be used until it is finished: run the same playbook again. Reason: {why}"
    )

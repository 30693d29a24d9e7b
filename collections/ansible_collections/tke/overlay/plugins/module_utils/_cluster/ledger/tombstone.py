# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tombstone that replaces a ledger in its old place during and after a migration.

Loading a tombstone is an error, so a ledger is never in use in two places. Until
the migration is finished the tombstone contains the ledger itself, so nothing is
lost when the migration is interrupted.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.damage import normalized
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

_BEGIN = '{\n "moved_to": '


class Tombstone(t.NamedTuple):
    """The new place of the ledger, and when it moved (UTC, ISO 8601).

    Until the migration is finished, ``ledger`` is the text of the ledger and
    ``found`` what the target contained before (nothing, or an older tombstone).
    """

    moved_to: str
    since: str
    ledger: str | None = None
    found: str | None = None

    def text(self) -> str:
        """Return the document that replaces the ledger."""
        return json.dumps(self._asdict(), indent=1) + "\n"


def tombstone_of(text: str | None) -> Tombstone | None:
    """Return the tombstone in a text, or ``None`` when the text is something else, such as a ledger."""
    if text is None:
        return None
    text = normalized(text)
    if not text.startswith(_BEGIN):
        return None
    try:
        return Tombstone(**json.loads(text))
    except (ValueError, TypeError):
        return None


def is_overwritten(text: str, where: str) -> bool:
    """Return whether the text is a tombstone that names its own place: there, it has replaced the only ledger."""
    tombstone = tombstone_of(text)
    return tombstone is not None and tombstone.ledger is None and tombstone.moved_to == where


def reject_tombstone(text: str, where: str) -> None:
    """Raise an error when the text is a tombstone.

    :raises ValidationError: the text is a tombstone; the message names the new place of the ledger.
    """
    tombstone = tombstone_of(text)
    if tombstone is None:
        return
    if is_overwritten(text, where):
        raise ValidationError(
            f"there is no ledger at {where}: it was moved there from another name of the same place "
            f"({tombstone.since}), and the tombstone has replaced it"
        )
    if tombstone.ledger is None:
        raise ValidationError(
            f"the ledger {where} was moved to {tombstone.moved_to} ({tombstone.since}): "
            f"set overlay_ledger to {tombstone.moved_to}"
        )
    raise ValidationError(
        f"the ledger {where} is being moved to {tombstone.moved_to} (since {tombstone.since}), and cannot be used "
        f"until that is finished; if no such run is active, finish it: ansible-playbook tke.overlay.ledger "
        f"-e overlay_ledger_from={where} -e overlay_ledger_to={tombstone.moved_to}"
    )

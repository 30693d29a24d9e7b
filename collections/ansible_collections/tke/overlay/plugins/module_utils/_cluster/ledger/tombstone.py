# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 3: what stands in the place of a ledger that is being moved, or was.

Every load refuses it, so a ledger is never in use in two places. While the move
is under way the mark holds the ledger itself: nothing is lost if it ends there.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

_BEGIN = '{\n "moved_to": '


class Tombstone(t.NamedTuple):
    """Where the ledger went, and since when (UTC, ISO 8601).

    While the move is under way ``ledger`` is its text, and ``found`` what the
    target had before (nothing, or an older mark).
    """

    moved_to: str
    since: str
    ledger: str | None = None
    found: str | None = None

    def text(self) -> str:
        """What is kept in the ledger's place."""
        return json.dumps(self._asdict(), indent=1) + "\n"


def tombstone_of(text: str | None) -> Tombstone | None:
    """The mark that a text is, or ``None`` where it is something else, such as a ledger."""
    if text is None or not text.startswith(_BEGIN):
        return None
    try:
        return Tombstone(**json.loads(text))
    except (ValueError, TypeError):
        return None


def refuse_tombstone(text: str, where: str) -> None:
    """Passes over anything but a mark.

    :raises ValidationError: with the place to which the ledger was moved, or is being moved.
    """
    mark = tombstone_of(text)
    if mark is None:
        return
    if mark.ledger is None:
        raise ValidationError(
            f"the ledger {where} was moved to {mark.moved_to} ({mark.since}): set overlay_ledger to that place"
        )
    raise ValidationError(
        f"the ledger {where} is being moved to {mark.moved_to} (since {mark.since}), and nobody may use it until that "
        f"is done; if no such run is under way any more, finish it: ansible-playbook tke.overlay.ledger "
        f"-e overlay_ledger_from={where} -e overlay_ledger_to={mark.moved_to}"
    )

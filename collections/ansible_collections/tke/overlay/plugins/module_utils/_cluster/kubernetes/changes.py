# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of one object of the API: its texts for a diff, and what carries it out."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import Api, ApiError, ConflictError

T = t.TypeVar("T")

ATTEMPTS = 5
"""How often a change is tried when other programs change the same object."""


@dataclasses.dataclass(frozen=True)
class Change:
    """``apply`` returns notes for the user. Changes with the same header share one diff."""

    part: str
    header: str
    before: str
    after: str
    apply: t.Callable[[Api], list[str]]


def diffs(changes: t.Sequence[Change]) -> list[dict[str, str]]:
    """Return the diffs of changes, as a task returns them."""
    found = []
    for header in dict.fromkeys(change.header for change in changes):
        here = [change for change in changes if change.header == header]
        found.append(
            {
                "before_header": header,
                "after_header": header,
                "before": "".join(change.before for change in here),
                "after": "".join(change.after for change in here),
            }
        )
    return found


def retried(what: str, attempt: t.Callable[[], T]) -> T:
    """Return the result of an attempt, which reads the object again and changes it.

    :raises ApiError: other programs have changed the object during each attempt.
    """
    reason = ""
    for _attempt in range(ATTEMPTS):
        try:
            return attempt()
        except ConflictError as error:
            reason = str(error)
    raise ApiError(f"{what} was changed by another program during each of {ATTEMPTS} attempts ({reason}): run it again")

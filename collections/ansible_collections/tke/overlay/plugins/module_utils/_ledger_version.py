# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version of a ledger, by which a host notices an older ledger, and one of another branch.

A version is ``NUMBER-DIGEST``, for instance ``41-3fa9c2d1``: how often the assignments
have changed, and a digest of them. A ledger records its last versions, newest first,
with spaces in between. Each host saves the version of the plan that it has applied.

A ledger goes back when a backup or a snapshot of its store is restored, and it
branches when two copies of it are changed: both copies then have the same numbers
with other digests.
"""

from __future__ import annotations

import re
import typing as t

KEPT = 16
"""How many versions a ledger records."""

LEDGER_LINE = "ledger version"
"""The line with the version in the file ``summary`` of a host."""

_VERSION = re.compile(r"([1-9][0-9]{0,8})-([0-9a-f]{8})")


def is_version(text: str) -> bool:
    """Return whether a text is one version."""
    return _VERSION.fullmatch(text) is not None


def newest(versions: str) -> str:
    """Return the present version of a ledger; empty if it has none."""
    return versions.partition(" ")[0]


def following(versions: str, digest: str) -> str:
    """Return the versions of a ledger after a change.

    :param digest: eight hexadecimal digits, of the assignments after the change.
    """
    return " ".join([f"{number_of(newest(versions)) + 1}-{digest}", *versions.split()][:KEPT])


def highest(applied: t.Iterable[str]) -> str:
    """Return the versions with the highest number among those that hosts have applied; several if hosts disagree.

    What is no version is ignored.
    """
    known = sorted({version for version in applied if is_version(version)})
    most = max(map(number_of, known), default=0)
    return " ".join(version for version in known if number_of(version) == most)


def is_unknown(applied: str, versions: str) -> bool:
    """Return whether a ledger with these versions is older than the version that a host has applied, or branched off.

    A version that is older than the recorded ones is not known to be of another branch.

    :param applied: the version of a host; if it is empty or damaged, it says nothing.
    """
    recorded = versions.split()
    if not is_version(applied) or applied in recorded:
        return False
    return not recorded or number_of(applied) >= number_of(recorded[-1])


def number_of(version: str) -> int:
    """Return the number of a version; 0 if there is none."""
    found = _VERSION.fullmatch(version)
    return int(found[1]) if found else 0

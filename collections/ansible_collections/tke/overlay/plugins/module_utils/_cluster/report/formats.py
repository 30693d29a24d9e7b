# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the page writes times, durations and missing values."""

from __future__ import annotations

NOTHING = "\u2013"
"""Stands where there is no value: a dash."""


def milliseconds(ms: float | None) -> str:
    """Return a duration with two significant digits or more.

    :param ms: milliseconds, or ``None`` where nothing was measured.
    """
    if ms is None:
        return NOTHING
    if ms < 1:
        return f"{ms:.2f}"
    return f"{ms:.1f}" if ms < 10 else f"{ms:.0f}"


def timestamp(time: str | None) -> str:
    """Return a time of the ledger as ``2026-01-02 03:04 UTC``; a time in another format is returned as it is."""
    if time is None:
        return NOTHING
    if len(time) == len("2026-01-02T03:04:05Z") and time[10] == "T" and time[-1] == "Z":
        return f"{time[:10]} {time[11:16]} UTC"
    return time


def day(time: str | None) -> str:
    """Return the date of a time of the ledger."""
    return NOTHING if time is None else time.partition("T")[0]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The colours of the page, each with its value in the light and in the dark theme."""

from __future__ import annotations

import typing as t


class Color(t.NamedTuple):
    """One colour of the page in both themes."""

    light: str
    dark: str


COLORS: t.Mapping[str, Color] = {
    "ground": Color("#fafaf9", "#101418"),
    "card": Color("#ffffff", "#171c21"),
    "ink": Color("#1b2026", "#e7eaed"),
    "soft": Color("#57606a", "#9ea8b3"),
    "line": Color("#e1e4e8", "#2b323a"),
    "accent": Color("#1b62ab", "#79b4f2"),
    "ok": Color("#1a7432", "#62c47b"),
    "bad": Color("#b91f2b", "#ff8a82"),
    "warn": Color("#8a5300", "#e6b450"),
    "used": Color("#4a86c5", "#4587c9"),
    "orphan": Color("#c67a2b", "#c7782c"),
    "pending": Color("#d9b13c", "#c29a27"),
    "quarantined": Color("#b9d0e8", "#2f4a66"),
    "free": Color("#e6eaee", "#242b32"),
    "reserved": Color("#c3c9d0", "#3d4650"),
    "service": Color("#7b8591", "#76818d"),
    "spare": Color("#d7dbe0", "#2e363e"),
    "mark": Color("#1b2026", "#f4f6f8"),
    "shade": Color("27 98 171", "121 180 242"),
}
"""By the name of the CSS variable. ``shade`` is red, green and blue, because the rules add the opacity."""

READABLE = [(ink, ground) for ink in ("ink", "soft", "accent", "ok", "bad", "warn") for ground in ("ground", "card")]
"""Each colour of text with each colour that it stands on. The tests compute the contrast."""

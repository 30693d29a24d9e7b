# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: HTML that cannot be broken by what stands in it, and how numbers and times are written. Pure.

Text is escaped by :func:`tag`, in one place: only what is :class:`Html` already
goes through as it is.
"""

from __future__ import annotations

import html
import typing as t


class Html(str):
    """Markup that was made here; everything else is text."""

    __slots__ = ()


Attribute = t.Union[str, int, bool, None]

VOID = frozenset(("meta", "link", "input", "br", "col"))
"""Elements without an end tag."""


def escaped(text: str) -> Html:
    """Text as it may stand in an element or an attribute."""
    return text if isinstance(text, Html) else Html(html.escape(text))


def join(*parts: str | None) -> Html:
    """One after the other; ``None`` is nothing."""
    return Html("".join(escaped(part) for part in parts if part is not None))


def tag(name: str, /, *parts: str | None, **attributes: Attribute) -> Html:
    """An element. ``class_`` is the attribute ``class``, ``data_n`` is ``data-n``; one that is ``None`` is left out."""
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        attribute = key.rstrip("_").replace("_", "-")
        words.append(attribute if value is True else f'{attribute}="{escaped(str(value))}"')
    start = f"<{' '.join(words)}>"
    return Html(start) if name in VOID else Html(f"{start}{join(*parts)}</{name}>")


NOTHING = "\u2013"
"""What stands where there is no value: a dash."""


def milliseconds(ms: float | None) -> str:
    """As many digits as mean something."""
    if ms is None:
        return NOTHING
    if ms < 1:
        return f"{ms:.2f}"
    return f"{ms:.1f}" if ms < 10 else f"{ms:.0f}"


def moment(time: str | None) -> str:
    """A time of the ledger for readers: ``2026-01-02 03:04 UTC``."""
    if time is None:
        return NOTHING
    if len(time) == len("2026-01-02T03:04:05Z") and time[10] == "T" and time[-1] == "Z":
        return f"{time[:10]} {time[11:16]} UTC"
    return time


def day(time: str | None) -> str:
    """The date of a time of the ledger."""
    return NOTHING if time is None else time.partition("T")[0]

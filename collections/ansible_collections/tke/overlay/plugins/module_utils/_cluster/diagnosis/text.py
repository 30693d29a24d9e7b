# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain text for the last screen of a playbook: aligned columns, shortened lists, counted nouns."""

from __future__ import annotations

import difflib
import textwrap
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import some_of

WIDTH = 118
"""Columns of a line of prose. A row of a table may be longer, because a pager does not wrap it."""

MOST_IN_COMMAND = 8
"""Hosts that a command of a next step names."""

GOOD, BAD, PLAIN = "good", "bad", "plain"


class Line(t.NamedTuple):
    """One line of a screen. ``tone`` (GOOD, BAD or PLAIN) selects its colour on a terminal that has colours."""

    text: str
    tone: str = PLAIN


def table(head: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Return the lines of a table; a column is as wide as its widest cell, with two blanks between columns."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]


def some(names: t.Iterable[str], most: int = 6) -> str:
    """Return the first ``most`` names in natural order and the number of the others."""
    return some_of(sorted(names, key=natural), most)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Return a sort key by which ``idc2`` comes before ``idc10``."""
    parts: list[tuple[int, str]] = []
    word = ""
    for letter in name:
        if word and word[-1].isdigit() != letter.isdigit():
            parts.append(_part(word))
            word = ""
        word += letter
    return (*parts, _part(word))


def _part(word: str) -> tuple[int, str]:
    return (int(word), "") if word.isascii() and word.isdigit() else (-1, word)


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: ``1 host``, ``2 hosts``, ``4,998 hosts``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def limit(names: t.Sequence[str]) -> str:
    """Return the option of a playbook that has to run on these hosts; nothing for many: it does no harm on others."""
    return f" --limit {','.join(names)}" if len(names) <= MOST_IN_COMMAND else ""


def release(names: t.Sequence[str]) -> str:
    """Return the command that releases nodes, with the number of those that it does not name."""
    more = f" (then the other {len(names) - MOST_IN_COMMAND:,})" if len(names) > MOST_IN_COMMAND else ""
    return f"ansible-playbook tke.overlay.release -e overlay_release={','.join(names[:MOST_IN_COMMAND])}{more}"


def them(things: t.Sized) -> str:
    """Return ``it`` for one thing, else ``them``."""
    return "it" if len(things) == 1 else "them"


def first_line(text: str, most: int = WIDTH) -> str:
    """Return a message as one line of at most ``most`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def prose(text: str) -> list[Line]:
    """Return the text with each sentence on a line of its own, wrapped at :data:`WIDTH`."""
    sentences = text.replace(". ", ".\n").splitlines()
    return [Line(part) for sentence in sentences for part in textwrap.wrap(sentence, WIDTH, break_on_hyphens=False)]


def steps(sentences: t.Iterable[str]) -> list[Line]:
    """Return the next steps, one line each, without duplicates."""
    return [
        Line(f"{'next:' if number == 0 else '     '} {text}") for number, text in enumerate(dict.fromkeys(sentences))
    ]


def unified(before: str, after: str, name: str) -> str:
    """Return the differences of two texts, as ``--diff`` prints them."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"before: {name}", f"after: {name}", lineterm="", n=3
    )
    return "".join(f"{line}\n" for line in lines)

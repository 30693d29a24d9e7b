# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: text for the end of a playbook: aligned columns, lists that end, numbers of things. Without colour."""

from __future__ import annotations

import textwrap
import typing as t

WIDTH = 118
"""Of a line of prose. A row of a table may be longer: a terminal breaks it, and a pager does not."""

GOOD, BAD, PLAIN = "good", "bad", "plain"


class Line(t.NamedTuple):
    """A line, and what it tells: good news, bad news, or neither. Where there are colours, they follow from that."""

    text: str
    tone: str = PLAIN


def table(head: t.Sequence[str], rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Columns as wide as their widest cell, two blanks between; a last cell of any length is not padded."""
    cells = [list(head), *map(list, rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*cells)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]


def some(names: t.Iterable[str], most: int = 6) -> str:
    """The first names in their natural order, and how many more there are."""
    ordered = sorted(names, key=natural)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key by which ``idc2`` comes before ``idc10``."""
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
    """``1 host``, ``2 hosts``, ``4,998 hosts``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def them(things: t.Sized) -> str:
    """``it`` or ``them``."""
    return "it" if len(things) == 1 else "them"


def first_line(text: str, most: int = WIDTH) -> str:
    """A message as one line that is not too long."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


def prose(text: str) -> list[Line]:
    """A line for each sentence, or as many as it takes."""
    sentences = text.replace(". ", ".\n").splitlines()
    return [Line(part) for sentence in sentences for part in textwrap.wrap(sentence, WIDTH, break_on_hyphens=False)]


def steps(sentences: t.Iterable[str]) -> list[Line]:
    """What to do next, a line for each; nothing twice."""
    return [
        Line(f"{'next:' if number == 0 else '     '} {text}") for number, text in enumerate(dict.fromkeys(sentences))
    ]

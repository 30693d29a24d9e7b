# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The results of the sections of the bench, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class BenchError(Exception):
    """A measurement failed, or the measured program did not work. The message names the cause."""


class Measure(NamedTuple):
    """One measured value. Without a limit it is informative only. ``wanted`` is an aim, not a limit."""

    name: str
    value: float
    unit: str = ""
    digits: int = 3
    at_least: float | None = None
    at_most: float | None = None
    wanted: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the value misses its limit."""
        too_little = self.at_least is not None and self.value < self.at_least
        return too_little or (self.at_most is not None and self.value > self.at_most)

    @property
    def limit(self) -> str:
        """The limit with its sign, empty without one."""
        limit = self.at_least if self.at_least is not None else self.at_most
        return "" if limit is None else f"{'>=' if self.at_least is not None else '<='} {limit:g} {self.unit}".rstrip()

    @property
    def figure(self) -> str:
        """The value with its unit."""
        return f"{self.value:,.{self.digits}f} {self.unit}".rstrip()


class Section(NamedTuple):
    """All values of one section, and one line for each note about how they were measured."""

    measures: list[Measure]
    notes: list[str]


Results = Mapping[str, Sequence[Measure]]
"""Section -> its values."""


def as_data(measures: Sequence[Measure]) -> list[dict[str, Any]]:
    """Return values for a JSON file; :func:`from_data` is the inverse."""
    return [measure._asdict() for measure in measures]


def from_data(rows: Sequence[Mapping[str, Any]]) -> list[Measure]:
    """Return the values that :func:`as_data` has written."""
    return [Measure(**row) for row in rows]


def table(results: Results, commit: str, others: Results | None = None, reference: str = "") -> str:
    """Return the table of all values, whose columns are as wide as their widest cell.

    :param commit: the commit that was measured.
    :param others: the values of another commit, ``reference``, in the same run.
    :returns: measure, limit, wanted, the other commit if there is one, this one, the ratio to the other commit or else
        to the wanted value, and whether the limit is missed.
    """
    head = ["measure", "limit", "wanted", *([reference] if others is not None else []), commit, "ratio", ""]
    rows = [head]
    for section, measures in results.items():
        found = {each.name: each for each in (others or {}).get(section, [])}
        rows += [_cells(section, measure, found.get(measure.name), others is not None) for measure in measures]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(_line(row, widths) for row in rows)


def _cells(section: str, measure: Measure, other: Measure | None, beside: bool) -> list[str]:
    base = (other.value if other else None) if beside else measure.wanted
    return [
        f"{section}: {measure.name}",
        measure.limit,
        "" if measure.wanted is None else f"{measure.wanted:g}",
        *([other.figure if other else "-"] if beside else []),
        measure.figure,
        f"{measure.value / base:.2f}" if base else "",
        "MISSED" if measure.missed else "",
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return a row with its texts aligned to the left and its figures to the right."""
    cells = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The result of one section of the bench, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

HEADER = ("measure", "value", "limit", "verdict")


class BenchError(Exception):
    """A measurement failed, or the measured program did not work. The message names the cause."""


class Measure(NamedTuple):
    """One measured value. Without a limit it is informative only."""

    name: str
    value: float
    unit: str = ""
    digits: int = 3
    at_least: float | None = None
    at_most: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the value misses its limit."""
        too_little = self.at_least is not None and self.value < self.at_least
        return too_little or (self.at_most is not None and self.value > self.at_most)

    def cells(self) -> tuple[str, str, str, str]:
        """Return the row of the table."""
        limit = self.at_least if self.at_least is not None else self.at_most
        if limit is None:
            return self.name, self._figure(self.value), "", ""
        sign = ">=" if self.at_least is not None else "<="
        return self.name, self._figure(self.value), f"{sign} {limit:g} {self.unit}", "MISSED" if self.missed else "ok"

    def _figure(self, value: float) -> str:
        return f"{value:,.{self.digits}f} {self.unit}".rstrip()


class Section(NamedTuple):
    """All values of one section, and one line for each note about how they were measured."""

    measures: list[Measure]
    notes: list[str]


def table(measures: Iterable[Measure]) -> str:
    """Return a table whose columns are as wide as their widest cell, with the values aligned to the right."""
    rows = [HEADER, *(measure.cells() for measure in measures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = []
    for name, value, limit, verdict in rows:
        cells = (name.ljust(widths[0]), value.rjust(widths[1]), limit.strip().ljust(widths[2]), verdict)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)

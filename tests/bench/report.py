# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What a section of the bench gives back, and how that is printed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

HEADER = ("measure", "value", "limit", "verdict")


class BenchError(Exception):
    """Something could not be measured, or what was measured did not do its work; says what."""


class Measure(NamedTuple):
    """One figure. Without a limit it is there to be read beside the others."""

    name: str
    value: float
    unit: str = ""
    digits: int = 3
    at_least: float | None = None
    at_most: float | None = None

    @property
    def missed(self) -> bool:
        """Whether the figure is on the wrong side of its limit."""
        too_little = self.at_least is not None and self.value < self.at_least
        return too_little or (self.at_most is not None and self.value > self.at_most)

    def cells(self) -> tuple[str, str, str, str]:
        """The row of the table."""
        limit = self.at_least if self.at_least is not None else self.at_most
        if limit is None:
            return self.name, self._figure(self.value), "", ""
        sign = ">=" if self.at_least is not None else "<="
        return self.name, self._figure(self.value), f"{sign} {limit:g} {self.unit}", "MISSED" if self.missed else "ok"

    def _figure(self, value: float) -> str:
        return f"{value:,.{self.digits}f} {self.unit}".rstrip()


class Section(NamedTuple):
    """All figures of one section, and how they were taken, a line each."""

    measures: list[Measure]
    notes: list[str]


def table(measures: Iterable[Measure]) -> str:
    """Columns as wide as their widest cell; figures to the right."""
    rows = [HEADER, *(measure.cells() for measure in measures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = []
    for name, value, limit, verdict in rows:
        cells = (name.ljust(widths[0]), value.rjust(widths[1]), limit.strip().ljust(widths[2]), verdict)
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)

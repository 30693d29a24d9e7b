# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two errors that modules and actions report to the user, and the phrases that their messages share.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import typing as t


class ValidationError(ValueError):
    """Invalid input; nothing has been changed.

    ``problems`` holds one sentence per offending value. Each sentence names the
    value, its source and the remedy, so that a user can fix all of them at once.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = list(problems)
        super().__init__(self._text())

    def _text(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(self.problems, 1))
        return f"{len(self.problems)} problems, and nothing was changed:\n{lines}"


class KernelError(Exception):
    """The kernel, or a program of the host, rejected a change; the message names the change and the reason."""


def some_of(names: t.Sequence[str], most: int, separator: str = ", ") -> str:
    """Return the first names of a long list and the number of the others, such as ``a, b and 7 more``.

    :param most: the number of names.
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return separator.join(names[:most]) + more


def range_problems(what: str, number: float, least: int, most: int, unit: str = "") -> list[str]:
    """Return one problem if a number is out of its range, none otherwise.

    :param what: the variable or option, as the user wrote it.
    :param unit: follows the range, such as ``seconds``.
    """
    if least <= number <= most:
        return []
    return [f"{what} {number} is not between {least} and {most}{unit and f' {unit}'}"]

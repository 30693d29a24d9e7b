# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two errors that modules and actions report to the user: wrong input, and a kernel or tool that refuses.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations


class ValidationError(ValueError):
    """Input that cannot be carried out; nothing has been changed.

    ``problems`` holds one sentence per offending value, each saying where the
    value comes from and what to do, so that a user mends all of them at once.
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
    """The kernel, or a tool in front of it, refused; says what and about which entry."""

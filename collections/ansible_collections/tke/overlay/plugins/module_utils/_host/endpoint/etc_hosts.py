# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: our block of lines in /etc/hosts, and nothing else of it."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

BEGIN = "# BEGIN tke.overlay: changes between these two lines are lost with its next run"
END = "# END tke.overlay"
_BEGIN_WORDS = "# BEGIN tke.overlay"


def block(names: t.Mapping[str, str]) -> str:
    """The block that gives each name its address; empty for no names."""
    if not names:
        return ""
    lines = [f"{address} {name}" for name, address in sorted(names.items(), key=lambda pair: (pair[1], pair[0]))]
    return "".join(f"{line}\n" for line in [BEGIN, *lines, END])


def with_block(path: str, text: str, names: t.Mapping[str, str]) -> str:
    """The text with our block for these names in it, where the old one is, or at the end.

    :param path: for errors.
    :raises ValidationError: the marks are damaged, or a line of somebody else gives a name another address.
    """
    lines = text.splitlines(keepends=True)
    begin, end = _place(path, lines)
    others = [(number, line) for number, line in enumerate(lines, 1) if not begin < number <= end]
    conflicts = [
        f"{path}, line {number} gives {name} the address {address}, and it should have {names[name]}: "
        f"remove the name from that line"
        for number, line in others
        for address, name in _entries(line)
        if names.get(name, address) != address
    ]
    if conflicts:
        raise ValidationError(*conflicts)
    before, after = "".join(lines[:begin]), "".join(lines[end:])
    wanted = block(names)
    if wanted and before and not before.endswith("\n"):
        before += "\n"
    return before + wanted + after


def our_lines(path: str, text: str) -> str:
    """Our block as it is there.

    :raises ValidationError: its marks are damaged.
    """
    lines = text.splitlines(keepends=True)
    begin, end = _place(path, lines)
    return "".join(lines[begin:end])


def _place(path: str, lines: t.Sequence[str]) -> tuple[int, int]:
    """The lines of our block as a slice; an empty one at the end where there is none."""
    begins = [number for number, line in enumerate(lines) if line.startswith(_BEGIN_WORDS)]
    ends = [number for number, line in enumerate(lines) if line.rstrip() == END]
    if not begins and not ends:
        return len(lines), len(lines)
    if len(begins) != 1 or len(ends) != 1 or begins > ends:
        numbers = ", ".join(str(number + 1) for number in sorted(begins + ends))
        raise ValidationError(
            f"{path} must have one line '{_BEGIN_WORDS}...' and after it one '{END}', and has them as line {numbers}: "
            f"remove what is left of the block, and run again"
        )
    return begins[0], ends[0] + 1


def _entries(line: str) -> t.Iterator[tuple[str, str]]:
    address, *names = line.partition("#")[0].split() or [""]
    for name in names:
        yield address, name.lower()

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The managed block of lines in /etc/hosts. All other lines stay unchanged."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

BEGIN = "# BEGIN tke.overlay: managed by Ansible, the next run overwrites changes up to the END line"
END = "# END tke.overlay"
_BEGIN_PREFIX = "# BEGIN tke.overlay"


def render_block(names: t.Mapping[str, str]) -> str:
    """Return the block that gives each name its address; empty without names."""
    if not names:
        return ""
    lines = [f"{address} {name}" for name, address in sorted(names.items(), key=lambda pair: (pair[1], pair[0]))]
    return "".join(f"{line}\n" for line in [BEGIN, *lines, END])


def with_block(path: str, text: str, names: t.Mapping[str, str]) -> str:
    """Return the text with a block for these names, in the place of the present block or at the end.

    :param path: for error messages.
    :raises ValidationError: the marker lines are damaged, or a foreign line gives a name another address.
    """
    lines = text.splitlines(keepends=True)
    begin, end = _block_range(path, lines)
    foreign = [(number, line) for number, line in enumerate(lines, 1) if not begin < number <= end]
    conflicts = [
        f"{path}, line {number} gives {name} the address {address}, expected {names[name]}: "
        f"remove the name from that line"
        for number, line in foreign
        for address, name in _entries(line)
        if names.get(name, address) != address
    ]
    if conflicts:
        raise ValidationError(*conflicts)
    before, after = "".join(lines[:begin]), "".join(lines[end:])
    block = render_block(names)
    if block and before and not before.endswith("\n"):
        before += "\n"
    return before + block + after


def saved_text(path: str, block: str) -> str:
    """Return the content of the file from which a lost block is put back; empty without a block."""
    return f"{path}\n{block}" if block else ""


def find_block(path: str, text: str) -> str:
    """Return the present block; empty without one.

    :raises ValidationError: its marker lines are damaged.
    """
    lines = text.splitlines(keepends=True)
    begin, end = _block_range(path, lines)
    return "".join(lines[begin:end])


def names_in(text: str) -> set[str]:
    """Return all names in a text of this form, in lower case."""
    return {name for line in text.splitlines() for _address, name in _entries(line)}


def _block_range(path: str, lines: t.Sequence[str]) -> tuple[int, int]:
    """Return start and end of the block as of a slice; an empty slice at the end without a block."""
    begins = [number for number, line in enumerate(lines) if line.startswith(_BEGIN_PREFIX)]
    ends = [number for number, line in enumerate(lines) if line.rstrip() == END]
    if not begins and not ends:
        return len(lines), len(lines)
    if len(begins) != 1 or len(ends) != 1 or begins > ends:
        numbers = ", ".join(str(number + 1) for number in sorted(begins + ends))
        raise ValidationError(
            f"{path} has the markers of a managed block in line {numbers}, expected one '{_BEGIN_PREFIX}...' followed "
            f"by one '{END}': remove what is left of the block and run the playbook again"
        )
    return begins[0], ends[0] + 1


def _entries(line: str) -> t.Iterator[tuple[str, str]]:
    address, *names = line.partition("#")[0].split() or [""]
    for name in names:
        yield address, name.lower()

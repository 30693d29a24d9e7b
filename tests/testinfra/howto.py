# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The inventories and commands in the collection's docs/day-two.md, which the scenarios use."""

from __future__ import annotations

import pathlib
import re
import shlex

DAY_TWO = pathlib.Path(__file__).parents[2] / "collections/ansible_collections/tke/overlay/docs/day-two.md"


def section(title: str) -> tuple[list[str], list[list[str]]]:
    """Return the inventories of a section, and the arguments of its ``ansible-playbook`` commands, in their order."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DAY_TWO.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{DAY_TWO} has no section {title!r}"
    inventories = re.findall(r"^```yaml\n(.*?)^```$", found[1], re.MULTILINE | re.DOTALL)
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```$", found[1], re.M | re.S) for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines]
    assert all(command[0] == "ansible-playbook" for command in commands)
    return inventories, [command[1:] for command in commands]


def titles() -> list[str]:
    """Return the titles of the sections of the page."""
    return re.findall(r"^## (.*)$", DAY_TWO.read_text(), re.MULTILINE)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Write the table of variables in docs/variables.md anew, from the argument_specs of the roles.

With ``--check`` nothing is written, and a table that would change is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

COLLECTION = Path(__file__).resolve().parents[2] / "collections/ansible_collections/tke/overlay"
PAGE = COLLECTION / "docs/variables.md"
BEGIN, END = "<!-- begin roles -->\n", "<!-- end roles -->"


def plain(description: str | list[str]) -> str:
    """Ansible's markup as Markdown, in one cell."""
    text = " ".join(description if isinstance(description, list) else [description])
    text = re.sub(r"\bP\(([\w.]+)#\w+\)", r"`\1`", text)
    text = re.sub(r"\bL\(([^,]+), *([^)]+)\)", r"[\1](\2)", text)
    text = re.sub(r"\b(?:C|V|O|M|RV|E)\((?:[\w.]+#\w+:)?([^)]*)\)", r"`\1`", text)
    return " ".join(text.split()).replace("|", "\\|")


def default_of(option: dict[str, Any]) -> str:
    """The default as one would write it in YAML."""
    if option.get("required"):
        return "required"
    if option.get("default") is None:
        return ""
    value = option["default"]
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]
    return f"`{text}`"


def tables() -> str:
    """A table for each role that has variables."""
    parts = []
    for path in sorted(COLLECTION.glob("roles/*/meta/argument_specs.yml")):
        specs = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
        options = {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}
        rows = [
            f"| `{name}` | {default_of(option)} | {plain(option['description'])} |"
            for name, option in options.items()
            if name.startswith("overlay_")
        ]
        if rows:
            header = f"## Of role `{path.parents[1].name}`\n\n| variable | default | meaning |\n|---|---|---|\n"
            parts.append("\n" + header + "\n".join(rows) + "\n")
    return "".join(parts) + "\n"


def main() -> None:
    """Bring the page up to date, or say that it is not."""
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    wanted = head + BEGIN + tables() + END + rest.partition(END)[2]
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted, encoding="utf-8")
    elif wanted != text:
        sys.exit("docs/variables.md is not what the roles' argument_specs say: run 'make tables'")


if __name__ == "__main__":
    main()

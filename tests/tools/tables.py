# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Write the table of variables in docs/variables.md from the argument_specs of the roles, and that of the values in
docs/kubernetes.md from the code that writes them.

With ``--check`` it writes nothing, and fails if the table would change.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import kubernetes_values
import yaml

COLLECTION = Path(__file__).resolve().parents[2] / "collections/ansible_collections/tke/overlay"
PAGE = COLLECTION / "docs/variables.md"
ORDER = ("plan", "node", "clb_vips", "clb", "endpoint")
"""The order of the roles on the page; other roles follow."""
BEGIN, END = "<!-- begin roles -->\n", "<!-- end roles -->"


def plain(description: str | list[str]) -> str:
    """Convert Ansible's markup to Markdown, in one cell."""
    text = " ".join(description if isinstance(description, list) else [description])
    text = re.sub(r"\bP\(([\w.]+)#\w+\)", r"`\1`", text)
    text = re.sub(r"\bL\(([^,]+), *([^)]+)\)", r"[\1](\2)", text)
    text = re.sub(r"\b(?:C|V|O|M|RV|E)\((?:[\w.]+#\w+:)?([^)]*)\)", r"`\1`", text)
    return " ".join(text.split()).replace("|", "\\|")


def default_of(option: dict[str, Any]) -> str:
    """Return the default as YAML."""
    if option.get("required"):
        return "required"
    if option.get("default") is None:
        return ""
    value = option["default"]
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).split("\n")[0]
    return f"`{text}`"


def options_of(path: Path) -> dict[str, dict[str, Any]]:
    """Return the user variables of all entry points of a role; the first description of each counts."""
    found: dict[str, dict[str, Any]] = {}
    for spec in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
        for name, option in spec.get("options", {}).items():
            if name.startswith("overlay_"):
                found.setdefault(name, option)
    return found


def tables() -> str:
    """Return a table for each role. A variable is listed once, with the first role that uses it."""
    paths = COLLECTION.glob("roles/*/meta/argument_specs.yml")
    options = {path.parents[1].name: options_of(path) for path in paths}
    roles = sorted(options, key=lambda role: (ORDER.index(role) if role in ORDER else len(ORDER), role))
    parts, seen = [], set[str]()
    for number, role in enumerate(roles):
        rows = []
        for name, option in options[role].items():
            if name not in seen:
                others = ", ".join(f"`{other}`" for other in roles[number + 1 :] if name in options[other])
                also = f" Also of {others}." if others else ""
                rows.append(f"| `{name}` | {default_of(option)} | {plain(option['description'])}{also} |")
        seen |= set(options[role])
        if rows:
            header = f"## Of role `{role}`\n\n| variable | default | meaning |\n|---|---|---|\n"
            parts.append("\n" + header + "\n".join(rows) + "\n")
    return "".join(parts) + "\n"


def wanted(text: str) -> str:
    """Return the text of the page of variables with the present tables."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + tables() + END + rest.partition(END)[2]


def main() -> None:
    """Update the pages, or fail if one is out of date."""
    for page, make, source in (
        (PAGE, wanted, "the argument_specs of the roles"),
        (kubernetes_values.PAGE, kubernetes_values.wanted, "the configuration of Kubernetes in the collection"),
    ):
        text = page.read_text(encoding="utf-8")
        if "--check" not in sys.argv[1:]:
            page.write_text(make(text), encoding="utf-8")
        elif make(text) != text:
            sys.exit(f"docs/{page.name} differs from {source}: run 'make tables'")


if __name__ == "__main__":
    main()

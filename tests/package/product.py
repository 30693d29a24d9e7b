# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The contents of the collection, read from its files, so that a new plugin needs no entry here."""

from __future__ import annotations

import ast
import functools
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

import yaml

ROOT = pathlib.Path(__file__).parents[2]
COLLECTION = ROOT / "collections/ansible_collections/tke/overlay"
PREFIX = "tke.overlay."

MODULES = sorted(path.stem for path in (COLLECTION / "plugins/modules").glob("*.py"))
ACTIONS = sorted(path.stem for path in (COLLECTION / "plugins/action").glob("*.py"))
LOOKUPS = sorted(path.stem for path in (COLLECTION / "plugins/lookup").glob("*.py"))
FILTERS = sorted(path.stem for path in (COLLECTION / "plugins/filter").glob("*.py"))
ROLES = sorted(path.name for path in (COLLECTION / "roles").iterdir())
PLAYBOOKS = sorted(path.stem for path in (COLLECTION / "playbooks").glob("*.yml"))
GUIDES = sorted((COLLECTION / "docs").glob("*.md"))
PAGES = [
    *GUIDES,
    COLLECTION / "README.md",
    *sorted((COLLECTION / "roles").glob("*/README.md")),
    *(path for path in ROOT.glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def constant(path: pathlib.Path, name: str) -> str:
    """Return the string that a plugin assigns to a name, such as ``EXAMPLES``, without importing the plugin."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", None) == name for target in node.targets):
            text: str = ast.literal_eval(node.value)
            return text
    raise AssertionError(f"{path.name} has no {name}")


def fences(path: pathlib.Path, language: str) -> list[tuple[int, str]]:
    """Return the fenced blocks of a language in a page, each with the number of its first line."""
    text = path.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start()].count("\n") + 1, match[1]) for match in found]


def documented(role: str) -> dict[str, dict[str, Any]]:
    """Return the options of all entry points of a role, by name."""
    specs = yaml.safe_load((COLLECTION / f"roles/{role}/meta/argument_specs.yml").read_text())["argument_specs"]
    return {name: option for spec in specs.values() for name, option in spec.get("options", {}).items()}


@functools.cache
def module_documentation() -> dict[str, dict[str, Any]]:
    """Return the documentation of every module from ansible-doc, including fragments."""
    names = [f"{PREFIX}{module}" for module in MODULES]
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "doc", "--json", "--type", "module", *names],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return {name.removeprefix(PREFIX): page["doc"] for name, page in json.loads(done.stdout).items()}

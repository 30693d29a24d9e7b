# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Reject words that the project does not use in documentation, messages and comments; print the word to use instead.

The words are in ``words.txt``. Without arguments it checks the files of this repository, otherwise the files given.

Checked are: Markdown pages, page templates, string literals and comments of Python, comments of shell scripts and of
templates of configuration files, and of YAML the comments and the values of the keys that a reader sees, such as
``name`` and ``description``. Code spans and URLs are skipped.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = "collections/ansible_collections/tke/overlay"
CHECKED = (
    "*.md",
    "docs/*.md",
    f"{COLLECTION}/README.md",
    f"{COLLECTION}/docs/*.md",
    f"{COLLECTION}/roles/*/README.md",
    f"{COLLECTION}/changelogs/fragments/*.yml",
    f"{COLLECTION}/plugins/**/*.py",
    f"{COLLECTION}/plugins/**/*.sh",
    f"{COLLECTION}/plugins/**/*.template",
    f"{COLLECTION}/plugins/**/*.j2",
    f"{COLLECTION}/playbooks/**/*.yml",
    f"{COLLECTION}/roles/**/*.yml",
    "inventories/example/**/*.yml",
)
GENERATED = "programs.py"
"""Holds copies of the shell scripts, which are checked themselves."""

PROSE_KEYS = {
    "name", "description", "short_description", "msg", "fail_msg", "success_msg", "prompt", "notes",
    "release_summary", "major_changes", "minor_changes", "bugfixes", "known_issues",
    "deprecated_features", "removed_features", "security_fixes", "trivial",
}  # fmt: skip
"""Keys of YAML whose values a reader sees; not ``breaking_changes``, which name what was renamed."""

CODE = r"(?:[^`\n]|\n(?!\s*\n))+"
"""Text of a code span: it ends in its paragraph, so that one stray backquote does not hide the rest of a page."""

SKIPPED = re.compile(rf"``{CODE}``|`{CODE}`|\b[CVOMEP]\([^)]*\)|\w+://\S+|\]\([^)\s]*\)")
"""Code spans of Markdown, reStructuredText and Ansible's markup, URLs, and the targets of links."""

FENCE = re.compile(r"^[ \t]*```.*$", re.MULTILINE)


class Word(NamedTuple):
    """A word to reject. A name is rejected inside code, too."""

    pattern: re.Pattern[str]
    instead: str
    is_name: bool


class Finding(NamedTuple):
    """A rejected word in a line of a file, counted from 1."""

    line: int
    found: str
    instead: str


def read_words(text: str) -> list[Word]:
    """Read the table: ``prose`` or ``name``, a regular expression, and what to write instead, separated by `` | ``."""
    words = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            kind, pattern, instead = (cell.strip() for cell in line.split(" | "))
            if kind not in ("prose", "name"):
                raise ValueError(f"words.txt: {kind!r} is neither prose nor name")
            pattern = pattern.replace(" ", r"\s+")  # finds words across a line break, too
            words.append(Word(re.compile(rf"(?<![\w-]){pattern}(?![\w])", re.IGNORECASE), instead, kind == "name"))
    return words


WORDS = read_words(Path(__file__).with_name("words.txt").read_text(encoding="utf-8"))


def findings_in(path: Path, text: str) -> list[Finding]:
    """Return all rejected words of a file, by line. The name of the file decides how it is read."""
    readers = {".md": _markdown, ".py": _python, ".yml": _yaml, ".yaml": _yaml, ".sh": _comments}
    readers |= {".template": _comments, ".j2": _markdown}
    found = {
        Finding(line + before.count("\n"), match[0], word.instead)
        for line, part in readers[path.suffix](text)
        for word in WORDS
        for shown in [part if word.is_name else SKIPPED.sub(_blank, part)]
        for match in word.pattern.finditer(shown)
        for before in [shown[: match.start()]]
    }
    if path.name == "glossary.md":  # the one place that explains TKE's own word
        found = {each for each in found if each.found.lower() != "segment"}
    return sorted(found)


def _blank(match: re.Match[str]) -> str:
    """Return text of the same number of lines, without a word."""
    return "\n" * match[0].count("\n") or " "


def _markdown(text: str) -> Iterator[tuple[int, str]]:
    """The whole page without the fences of its code blocks: screens in it are messages."""
    yield 1, FENCE.sub("", text)


def _python(text: str) -> Iterator[tuple[int, str]]:
    """String literals, f-strings and comments."""
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            yield token.start[0], token.string


def _comments(text: str) -> Iterator[tuple[int, str]]:
    """Comments of YAML and of shell scripts; ``#`` begins one at the start of a word only."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := re.search(r"(?:^|\s)#(.*)", line):
            yield number, match[1]


def _yaml(text: str) -> Iterator[tuple[int, str]]:
    """Comments, and the values of :data:`PROSE_KEYS`."""
    yield from _comments(text)
    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        yield from _values(document, shown=False)


def _values(node: yaml.Node | None, *, shown: bool) -> Iterator[tuple[int, str]]:
    """The scalars below a node: all, or those below a key that a reader sees."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            visible = key.value in PROSE_KEYS and not isinstance(value, yaml.MappingNode)
            yield from _values(value, shown=visible)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _values(value, shown=shown)
    elif isinstance(node, yaml.ScalarNode) and shown:
        first = node.start_mark.line + 1
        # The text of a block begins in the line after its mark; folded lines are one paragraph.
        yield first + (node.style in ("|", ">")), node.value


def files() -> list[Path]:
    """The files of this repository that are checked."""
    found = {path for pattern in CHECKED for path in ROOT.glob(pattern)}
    return sorted(path for path in found if path.name not in (GENERATED, "CHANGELOG.md"))


def main(arguments: list[str]) -> int:
    """Print a line for each rejected word; return 1 if there is one."""
    failed = False
    for path in [Path(name).resolve() for name in arguments] or files():
        shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        for line, found, instead in findings_in(path, path.read_text(encoding="utf-8")):
            print(f"{shown}:{line}: '{found}': use {instead}")
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

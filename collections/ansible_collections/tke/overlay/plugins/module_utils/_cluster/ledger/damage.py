# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has happened to a text that should be a ledger, and the cure: git, editors and encryption leave their marks."""

from __future__ import annotations

import codecs
import json
import re
import typing as t

_CONFLICT = re.compile(r"^<{7}( |$)", re.MULTILINE)
"""The line that git writes where two versions begin to contradict each other."""

_BINARY = (
    (codecs.BOM_UTF16_LE, "it is UTF-16, as some editors and PowerShell write it: convert it to UTF-8"),
    (codecs.BOM_UTF16_BE, "it is UTF-16, as some editors and PowerShell write it: convert it to UTF-8"),
    (b"\0GITCRYPT", "it is encrypted by git-crypt: run 'git-crypt unlock'"),
    (b"\x1f\x8b", "it is compressed by gzip: unpack it"),
)

_TEXTS = (
    (
        "$ANSIBLE_VAULT",
        "it is encrypted by ansible-vault: run 'ansible-vault decrypt {where}' and keep it so; it has no secrets",
    ),
    ("version https://git-lfs", "it is a pointer of Git LFS: run 'git lfs pull', and exclude the ledger from LFS"),
    ("<", "it is HTML or XML, such as the page of a web server instead of the file"),
    ("---", "it is YAML, such as an inventory: check overlay_ledger"),
)


def normalized(text: str) -> str:
    """Return a text without what editors and git add and what changes no meaning: a BOM, and CR before LF.

    A ledger has neither, and its checksum shows that nothing else was changed.
    """
    return text.removeprefix("\ufeff").replace("\r\n", "\n")


def has_conflict(text: str) -> bool:
    """Return whether the text has conflict markers of git."""
    return _CONFLICT.search(normalized(text)) is not None


def reason_of(text: str, where: str) -> str:
    """Return why a text is not the JSON document of a ledger, with the cure if there is one."""
    if not text.strip():
        return "it is empty"
    if has_conflict(text):
        return "it has conflict markers of git: two people have changed it at the same time"
    for start, reason in _TEXTS:
        if text.lstrip().startswith(start):
            return reason.format(where=where)
    try:
        document = json.loads(text)
    except ValueError as error:
        end = getattr(error, "pos", 0) >= len(text.rstrip()) - 1 or "Unterminated" in str(error)
        return f"it is truncated ({error})" if end else f"it is not the JSON document that was written ({error})"
    if isinstance(document, dict) and "sops" in document:
        return f"it is encrypted by sops: run 'sops decrypt -i {where}' and keep it so, because it has no secrets"
    return f"it is another JSON document, not a ledger{_keys(document)}: check overlay_ledger"


def reason_of_binary(content: bytes) -> str:
    """Return why a file is no text."""
    for start, reason in _BINARY:
        if content.startswith(start):
            return reason
    return "it is binary: encrypted, compressed or damaged"


def _keys(document: t.Any) -> str:
    return f" (its keys: {', '.join(sorted(document)[:5])})" if isinstance(document, dict) and document else ""

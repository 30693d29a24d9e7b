# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checksums of the files that were applied: from them a host finds changed files without a plan.

There is one such file for each part of the collection on a host (node, API endpoint,
load balancer). It has the format of sha256sum(1), with paths relative to its own
directory, so that the restore scripts can check what they are about to load.
"""

from __future__ import annotations

import hashlib
import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.files import Reader, Texts, read_files, wrong_rights


def checksums_text(path: str, texts: t.Mapping[str, str | None]) -> str:
    """Return the content of the checksum file ``path`` for these files; ``None`` is a file that must not exist."""
    directory = os.path.dirname(path)
    return _text(directory, {name: _digest(text) for name, text in texts.items() if text is not None})


def with_checksum(path: str, name: str, text: str) -> str:
    """Return the content of the checksum file ``path`` with the checksum of one file replaced or added."""
    applied = _parse(path, read_files([path]).get(path, ""))
    return _text(os.path.dirname(path), {**applied, name: _digest(text)})


def file_drift(path: str, names: t.Collection[str]) -> t.Iterator[str]:
    """Yield a sentence for each file that differs from what was applied.

    :param path: the checksum file.
    :param names: every file that its part of the collection can have on a host; with or without ``path``.
    :raises KernelError: a file cannot be read.
    """
    found = read_files(dict.fromkeys([*names, path]))
    applied = _parse(path, found.get(path, ""))
    if path not in found:
        yield f"file {path}: missing"
    elif found[path] != _text(os.path.dirname(path), applied) or not (found.keys() - {path}) <= applied.keys():
        yield f"file {path}: changed"
    for name, digest in applied.items():
        if name not in found:
            yield f"file {name}: missing"
        elif _digest(found[name]) != digest:
            yield f"file {name}: changed"
    for name, rights in wrong_rights(found).items():
        yield f"file {name}: {rights}"


def is_as_applied(path: str, name: str, read: Reader = read_files) -> bool:
    """Return whether a file has the content that was applied, by the checksum file ``path``."""
    found = read([path, name])
    return name in found and _parse(path, found.get(path, "")).get(name) == _digest(found[name])


def _text(directory: str, digests: Texts) -> str:
    return "".join(f"{digests[name]}  {os.path.relpath(name, directory)}\n" for name in sorted(digests))


def _parse(path: str, text: str) -> Texts:
    directory = os.path.dirname(path)
    pairs = [line.partition("  ") for line in text.splitlines()]
    return {os.path.normpath(os.path.join(directory, name)): digest for digest, mark, name in pairs if mark}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

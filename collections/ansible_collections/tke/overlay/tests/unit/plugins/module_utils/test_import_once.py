# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Importing from an archive as a module does on a host."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import zipfile

from ansible_collections.tke.overlay.plugins.module_utils import _import_once

PROGRAM = """
import builtins, collections, json, sys
compiled, compile_ = collections.Counter(), compile
def counting(source, path, *arguments, **options):
    compiled[str(path)] += 1
    return compile_(source, path, *arguments, **options)
builtins.compile = counting
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    __import__(name)
import pack.deep.leaf, pack.other
found = {name: module.__file__ for name, module in sys.modules.items() if name.startswith("pack")}
print(json.dumps([{path: number for path, number in compiled.items() if path.startswith(sys.argv[1])}, found]))
"""


def imported(archive, *first):
    """Return how often each file of an archive is compiled, and the path of each module."""
    command = [sys.executable, "-c", PROGRAM, str(archive), *first]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_each_file_of_an_archive_is_compiled_once(tmp_path):
    archive = tmp_path / "payload.zip"
    with zipfile.ZipFile(archive, "w") as payload:
        payload.writestr("import_once.py", pathlib.Path(_import_once.__file__).read_text())
        for name in ("pack/__init__.py", "pack/other.py", "pack/deep/__init__.py", "pack/deep/leaf.py"):
            payload.writestr(name, "VALUE = 1\n")
    before, paths_before = imported(archive)
    compiled, paths = imported(archive, "import_once")
    del compiled[f"{archive}/import_once.py"]
    assert set(compiled.values()) == {1}
    assert paths == paths_before, "tracebacks name the same files"
    assert compiled.keys() == before.keys()


def test_outside_of_an_archive_nothing_changes():
    assert _import_once.ZipImporter not in sys.path_hooks

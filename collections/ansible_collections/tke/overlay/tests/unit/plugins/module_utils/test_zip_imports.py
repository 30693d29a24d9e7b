# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from zipimport import zipimporter

import pytest

from ansible_collections.tke.overlay.plugins.module_utils import _zip_imports

PROGRAM = """
import json, sys

compiled = []
sys.addaudithook(lambda event, args: compiled.append(str(args[1])) if event == "compile" else None)
sys.path[:0] = sys.argv[1:]
from payload._zip_imports import compile_once

compile_once()
import other
import payload.part.inner

files = {name: module.__file__ for name, module in sys.modules.items() if name.startswith(("payload", "other"))}
print(json.dumps({"compiled": compiled, "files": files, "value": payload.part.inner.VALUE + other.VALUE}))
"""


@pytest.fixture
def imported(tmp_path):
    """Import from an archive like Ansible's, and from another one; return the record of that program."""
    own, foreign = tmp_path / "own.zip", tmp_path / "foreign.zip"
    with zipfile.ZipFile(own, "w") as archive:
        archive.writestr("payload/__init__.py", "")
        archive.writestr("payload/part/__init__.py", "")
        archive.writestr("payload/part/inner.py", "VALUE = 40")
        archive.write(_zip_imports.__file__, "payload/_zip_imports.py")
    with zipfile.ZipFile(foreign, "w") as archive:
        archive.writestr("other.py", "VALUE = 2")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(own), str(foreign)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_each_file_of_the_archive_is_compiled_once(imported):
    later = [Path(name).name for name in imported["compiled"] if "own.zip/payload/part" in name]
    assert sorted(later) == ["__init__.py", "inner.py"]
    assert imported["value"] == 42


def test_modules_keep_the_names_of_their_files(imported):
    names = {name: file.rpartition(".zip/")[2] for name, file in imported["files"].items()}
    assert names == {
        "payload": "payload/__init__.py",
        "payload._zip_imports": "payload/_zip_imports.py",
        "payload.part": "payload/part/__init__.py",
        "payload.part.inner": "payload/part/inner.py",
        "other": "other.py",
    }


def test_without_an_archive_nothing_changes():
    before = zipimporter.get_filename
    _zip_imports.compile_once()
    assert zipimporter.get_filename is before

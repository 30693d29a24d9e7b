# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Importing from an archive as a module does on a host."""

from __future__ import annotations

import json
import marshal
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

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


FILES = ("pack/__init__.py", "pack/other.py", "pack/deep/__init__.py", "pack/deep/leaf.py")


def imported(archive, *first):
    """Return how often each file of an archive is compiled, and the path of each module."""
    command = [sys.executable, "-c", PROGRAM, str(archive), *first]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def packed(directory, files=None, cache=None):
    """Return an archive with some files and the importer, whose cache is the given path."""
    archive = directory / "payload.zip"
    importer = pathlib.Path(_import_once.__file__).read_text()
    with zipfile.ZipFile(archive, "w") as payload:
        payload.writestr("import_once.py", importer.replace(_import_once.CACHE, str(cache or directory / "none/cache")))
        for name in FILES:
            payload.writestr(name, (files or {}).get(name, "VALUE = 1\n"))
    return archive


def compiled(archive):
    """Return the names of the files that are compiled, without the importer itself."""
    found, _paths = imported(archive, "import_once")
    return {str(pathlib.Path(path).relative_to(archive)) for path in found} - {"import_once.py"}


def test_each_file_of_an_archive_is_compiled_once(tmp_path):
    archive = packed(tmp_path)
    before, paths_before = imported(archive)
    numbers, paths = imported(archive, "import_once")
    del numbers[f"{archive}/import_once.py"]
    assert set(numbers.values()) == {1}
    assert paths == paths_before, "tracebacks name the same files"
    assert numbers.keys() == before.keys()


def test_a_second_run_compiles_only_what_has_changed(tmp_path):
    cache = tmp_path / "cache"
    assert compiled(packed(tmp_path, cache=cache)) == set(FILES)
    assert compiled(packed(tmp_path, cache=cache)) == set()
    changed = {"pack/other.py": "VALUE = 2\n"}
    assert compiled(packed(tmp_path, changed, cache)) == {"pack/other.py"}
    assert compiled(packed(tmp_path, changed, cache)) == set()
    assert cache.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["cache", "payload.zip"], "no temporary file"


def test_without_the_directory_of_the_cache_there_is_none(tmp_path):
    assert compiled(packed(tmp_path)) == set(FILES)
    assert compiled(packed(tmp_path)) == set(FILES)
    assert os.listdir(tmp_path) == ["payload.zip"]


UNUSABLE = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "another value": lambda path: path.write_bytes(marshal.dumps([1, 2])),
    "of another program": lambda path: path.write_text("no code at all"),
    "writable by others": lambda path: path.chmod(0o666),
    "of another user": lambda path: os.chown(path, 65534, 65534),
    "a symbolic link": lambda path: (path.rename(path.with_name("target")), path.symlink_to("target")),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_cache_is_replaced(tmp_path, kind):
    cache = tmp_path / "cache"
    assert compiled(packed(tmp_path, cache=cache)) == set(FILES)
    UNUSABLE[kind](cache)
    assert compiled(packed(tmp_path, cache=cache)) == set(FILES)
    assert compiled(packed(tmp_path, cache=cache)) == set()


def test_a_killed_run_keeps_no_later_one_from_writing(tmp_path):
    cache = tmp_path / "cache"
    (tmp_path / "cache.new").write_text("half of it")
    for expected in (set(FILES), set(FILES), set()):
        assert compiled(packed(tmp_path, cache=cache)) == expected
    assert sorted(os.listdir(tmp_path)) == ["cache", "payload.zip"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    archive = packed(tmp_path, cache="/dev/full/cache")
    assert compiled(archive) == set(FILES)


def test_a_directory_in_the_place_of_the_cache_is_left(tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    for _number in range(2):
        assert compiled(packed(tmp_path, cache=cache)) == set(FILES)
    assert sorted(os.listdir(tmp_path)) == ["cache", "payload.zip"], "no temporary file"


def test_outside_of_an_archive_nothing_changes():
    assert _import_once.ZipImporter not in sys.path_hooks


def test_a_removed_cache_is_not_written_again(tmp_path):
    cache = tmp_path / "cache"
    files = {"pack/other.py": "import import_once\nimport_once.ZipImporter.cache.remove()\n"}
    compiled(packed(tmp_path, cache=cache))
    compiled(packed(tmp_path, files, cache))
    assert os.listdir(tmp_path) == ["payload.zip"]

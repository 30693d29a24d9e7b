# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our block in /etc/hosts: put, changed and taken away, and nothing else of the file moved."""

from __future__ import annotations

import errno
import itertools
import os
import pathlib
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.etc_hosts import (
    BEGIN,
    END,
    our_lines,
    with_block,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_foreign, rewrite_foreign

NAMES = {"api.x": "10.0.2.2", "b.x": "10.0.2.3", "a.x": "10.0.2.3"}
BLOCK = f"{BEGIN}\n10.0.2.2 api.x\n10.0.2.3 a.x\n10.0.2.3 b.x\n{END}\n"
OLD = f"{BEGIN}\n10.9.9.9 api.x\n{END}\n"

TABLE = {
    "an empty file": ("", BLOCK),
    "a file of others": ("127.0.0.1 localhost\n", f"127.0.0.1 localhost\n{BLOCK}"),
    "no line break at the end": ("127.0.0.1 localhost", f"127.0.0.1 localhost\n{BLOCK}"),
    "another block in the middle": (f"1.1.1.1 a\n{OLD}2.2.2.2 b\n", f"1.1.1.1 a\n{BLOCK}2.2.2.2 b\n"),
    "the block of another release": (f"{OLD.replace(BEGIN, '# BEGIN tke.overlay')}x", f"{BLOCK}x"),
    "the same already": (f"# x\n{BLOCK}", f"# x\n{BLOCK}"),
    "the same name and address elsewhere": ("10.0.2.2 api.x\n", f"10.0.2.2 api.x\n{BLOCK}"),
    "the name in a comment": ("# 1.1.1.1 api.x\n1.1.1.1 b # api.x\n", f"# 1.1.1.1 api.x\n1.1.1.1 b # api.x\n{BLOCK}"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_the_block_is_put_where_it_belongs(case):
    before, after = TABLE[case]
    assert with_block("/f", before, NAMES) == after
    assert with_block("/f", after, NAMES) == after
    assert our_lines("/f", after) == BLOCK


REFUSED = {
    "another address": ("::1 x\n1.1.1.1 y api.x\n", ["line 2 gives api.x the address 1.1.1.1, and it should have"]),
    "in other letters": ("1.1.1.1 API.X", ["/f, line 1 gives api.x"]),
    "two of them": ("1.1.1.1 api.x\n" + OLD + "1.1.1.2 a.x\n", ["/f, line 1 gives api.x", "/f, line 5 gives a.x"]),
    "of the other family": ("fd00::1 api.x\n", ["gives api.x the address fd00::1"]),
    "no end": (f"{BEGIN}\n1.1.1.1 x\n", ["has them as line 1:"]),
    "no beginning": (f"1.1.1.1 x\n{END}\n", ["has them as line 2:"]),
    "two blocks": (OLD + OLD, ["has them as line 1, 3, 4, 6:"]),
    "the wrong way round": (f"{END}\n{BEGIN}\n", ["has them as line 1, 2:"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_conflict_or_a_damaged_block_is_refused_by_its_lines(case):
    text, words = REFUSED[case]
    with pytest.raises(ValidationError) as refused:
        with_block("/f", text, NAMES)
    assert len(refused.value.problems) == len(words)
    assert all(word in problem for word, problem in itertools.zip_longest(words, refused.value.problems))


LINES = st.lists(
    st.sampled_from(["127.0.0.1 localhost", "", "# a", "10.0.2.2 api.x", "\t1.1.1.1\tz", "é \r", "x"])
).map("\n".join)


@given(LINES, LINES, st.dictionaries(st.sampled_from(list(NAMES)), st.just("10.0.2.2"), max_size=3))
def test_everything_else_stays_and_without_names_the_file_is_as_it_was(before, after, names):
    text = f"{before}\n{OLD}{after}"
    new = with_block("/f", text, names)
    assert with_block("/f", new, {}) == f"{before}\n{after}"
    assert with_block("/f", with_block("/f", before + "\n", names), {}) == before + "\n"


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "hosts"
    file.write_bytes(b"caf\xe9\n")
    file.chmod(0o640)
    return str(file)


def test_a_file_of_others_is_replaced_with_mode_and_owner_and_strange_bytes(path):
    os.chown(path, 12, 34)
    before = os.stat(path)
    kept = rewrite_foreign(path, read_foreign(path), read_foreign(path) + "x", backup=True)
    after = os.stat(path)
    assert pathlib.Path(path).read_bytes() == b"caf\xe9\nx"
    assert pathlib.Path(kept).read_bytes() == b"caf\xe9\n"
    for status in (after, os.stat(kept)):
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (0o640, 12, 34)
    assert after.st_ino != before.st_ino, "as a whole or not at all"
    assert len(os.listdir(os.path.dirname(path))) == 2


def test_a_link_is_followed(path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("hosts")
    rewrite_foreign(str(link), read_foreign(path), "new")
    assert link.is_symlink()
    assert read_foreign(path) == "new"


def test_a_mounted_file_is_written_in_place(path, monkeypatch):
    def busy(_source, _target):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(files.os, "rename", busy)
    before = os.stat(path).st_ino
    rewrite_foreign(path, read_foreign(path), "a")
    assert (read_foreign(path), os.stat(path).st_ino) == ("a", before)
    assert os.listdir(os.path.dirname(path)) == ["hosts"]


def test_what_somebody_else_has_changed_meanwhile_is_left_alone(path):
    with pytest.raises(KernelError, match="another program has just changed"):
        rewrite_foreign(path, "as it was", "as it should be")
    assert pathlib.Path(path).read_bytes() == b"caf\xe9\n"

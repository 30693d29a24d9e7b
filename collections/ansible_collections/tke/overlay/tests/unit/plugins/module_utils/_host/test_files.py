# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files and sysctls of a host: atomic writes, and errors that name the path."""

from __future__ import annotations

import os

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def test_written_files_are_read_and_missing_ones_omitted(root):
    files.write_file("/etc/tke-overlay/summary", "one\n", durable=False)
    files.write_file("/etc/tke-overlay/summary", "two\n")
    there = files.read_files(["/etc/tke-overlay/summary", "/etc/nothing", "/etc/tke-overlay/summary/below"])
    assert there == {"/etc/tke-overlay/summary": "two\n"}
    assert os.listdir(root / "etc/tke-overlay") == ["summary"]
    assert (root / "etc/tke-overlay/summary").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"\xff"), lambda path: path.mkdir()])
def test_a_path_that_is_not_a_text_file_is_named(root, spoil):
    spoil(root / "odd")
    with pytest.raises(KernelError, match=r"^/odd cannot be read: "):
        files.read_files(["/odd"])


def test_a_failed_write_names_the_file_and_leaves_no_other(root):
    (root / "taken").mkdir()
    (root / "taken/by").write_text("text")
    for path in ("/taken/by/name", "/taken"):
        with pytest.raises(KernelError, match=f"^{path} cannot be written: "):
            files.write_file(path, "text")
    assert sorted(path.name for path in root.rglob("*")) == ["by", "taken"]


def test_an_interrupted_write_keeps_the_former_content(root, monkeypatch):
    files.write_file("/file", "old")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KernelError, match="No space left"):
        files.write_file("/file", "new")
    assert files.read_files(["/file"]) == {"/file": "old"}
    assert os.listdir(root) == ["file"]


def test_removing_a_missing_file_does_nothing(root):
    files.write_file("/file", "text")
    files.remove_file("/file")
    files.remove_file("/file")
    assert os.listdir(root) == []
    (root / "directory").mkdir()
    with pytest.raises(KernelError, match=r"^/directory cannot be removed: "):
        files.remove_file("/directory")


def test_a_missing_sysctl_is_not_read_and_is_an_error_to_write(tmp_path, monkeypatch):
    (tmp_path / "net/ipv4").mkdir(parents=True)
    (tmp_path / "net/ipv4/ip_forward").write_text("0\n")
    monkeypatch.setattr(files, "PROC_SYS", str(tmp_path))
    files.write_sysctl("net.ipv4.ip_forward", "1")
    assert files.read_sysctls(["net.ipv4.ip_forward", "net.none.such"]) == {"net.ipv4.ip_forward": "1"}
    with pytest.raises(KernelError, match=r"^sysctl net\.none\.such cannot be set to 1: No such file"):
        files.write_sysctl("net.none.such", "1")

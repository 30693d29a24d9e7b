# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files and sysctls of a host: atomic writes, and errors that name the path."""

from __future__ import annotations

import errno
import os
import pathlib
import re
import signal
import stat

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


def test_killed_writes_leave_one_file_that_the_next_removes(root, monkeypatch):
    for _kill in range(3):
        child = os.fork()
        if child == 0:
            monkeypatch.setattr(os, "rename", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            try:
                files.write_file("/etc/tke-overlay/summary", "one\n")
            finally:
                os._exit(0)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert os.listdir(root / "etc/tke-overlay") == [".summary.tke-overlay"]
    files.write_file("/etc/tke-overlay/summary", "two\n")
    assert os.listdir(root / "etc/tke-overlay") == ["summary"]


def test_a_file_that_is_not_text_differs_from_any_text(root):
    (root / "odd").write_bytes(b"a\xff\n")
    assert files.differing(files.read_files(["/odd"]), {"/odd": "a\n"}) == {"/odd": "a\n"}


def test_finds_files_with_another_mode_than_written(root):
    for name in ("/good", "/open", "/secret"):
        files.write_file(name, "text")
    (root / "open").chmod(0o666)
    (root / "secret").chmod(0o600)
    (root / "link").symlink_to("/dev/null")
    found = files.wrong_rights(["/good", "/open", "/secret", "/missing", "/link"])
    assert found == {"/open": f"mode 0666, owner {os.geteuid()}", "/secret": f"mode 0600, owner {os.geteuid()}"}
    files.write_file("/open", "text")
    assert "/open" not in files.wrong_rights(["/open"])


def link_to_itself(path):
    path.symlink_to(path)


@pytest.mark.parametrize("spoil", [pathlib.Path.mkdir, link_to_itself])
def test_a_path_that_cannot_be_read_is_named(root, spoil):
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


@pytest.fixture
def foreign_file(tmp_path):
    file = tmp_path / "hosts"
    file.write_bytes(b"caf\xe9\n")
    file.chmod(0o640)
    return str(file)


def test_keeps_mode_owner_and_bytes_of_a_foreign_file(foreign_file):
    os.chown(foreign_file, 12, 34)
    before = os.stat(foreign_file)
    kept = files.rewrite_foreign(
        foreign_file, files.read_foreign(foreign_file), files.read_foreign(foreign_file) + "x", backup=True
    )
    after = os.stat(foreign_file)
    assert pathlib.Path(foreign_file).read_bytes() == b"caf\xe9\nx"
    assert pathlib.Path(kept).read_bytes() == b"caf\xe9\n"
    for status, mode in ((after, 0o640), (os.stat(kept), 0o600)):
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) == (mode, 12, 34)
    assert after.st_ino != before.st_ino, "the file is replaced, not rewritten in place"
    assert len(os.listdir(os.path.dirname(foreign_file))) == 2


def test_follows_a_link_to_a_foreign_file(foreign_file, tmp_path):
    link = tmp_path / "link"
    link.symlink_to("hosts")
    files.rewrite_foreign(str(link), files.read_foreign(foreign_file), "new")
    assert link.is_symlink()
    assert files.read_foreign(foreign_file) == "new"


def test_writes_a_mounted_file_in_place(foreign_file, monkeypatch):
    def busy(_source, _target):
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(files.os, "rename", busy)
    before = os.stat(foreign_file).st_ino
    files.rewrite_foreign(foreign_file, files.read_foreign(foreign_file), "a")
    assert (files.read_foreign(foreign_file), os.stat(foreign_file).st_ino) == ("a", before)
    assert os.listdir(os.path.dirname(foreign_file)) == ["hosts"]


def test_keeps_a_foreign_file_that_changed_meanwhile(foreign_file):
    with pytest.raises(KernelError, match=re.escape(foreign_file)):
        files.rewrite_foreign(foreign_file, "another text", "new")
    assert pathlib.Path(foreign_file).read_bytes() == b"caf\xe9\n"


def test_a_full_disk_keeps_a_foreign_file_and_leaves_nothing_beside(foreign_file, monkeypatch):
    def full(_source, _target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "rename", full)
    with pytest.raises(KernelError, match=f"{re.escape(foreign_file)} cannot be changed: .*No space left on device"):
        files.rewrite_foreign(foreign_file, files.read_foreign(foreign_file), "new")
    assert pathlib.Path(foreign_file).read_bytes() == b"caf\xe9\n"
    assert os.listdir(os.path.dirname(foreign_file)) == ["hosts"]


def failing(error):
    def fail(*_arguments, **_options):
        raise error

    return fail


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["rename", "fsync"])
def test_a_failed_change_leaves_no_copy_with_secrets(foreign_file, monkeypatch, call, error):
    before = files.read_foreign(foreign_file)
    monkeypatch.setattr(files.os, call, failing(error))
    with pytest.raises((KernelError, KeyboardInterrupt)):
        files.rewrite_foreign(foreign_file, before, "new", backup=True)
    assert os.listdir(os.path.dirname(foreign_file)) == ["hosts"]
    assert files.read_foreign(foreign_file) == before


def test_a_failed_change_keeps_the_copy_of_an_earlier_one(foreign_file, monkeypatch):
    monkeypatch.setattr(files.time, "strftime", lambda _form: "now")
    files.rewrite_foreign(foreign_file, files.read_foreign(foreign_file), "new", backup=True)
    with pytest.raises(KernelError, match="File exists"):
        files.rewrite_foreign(foreign_file, "new", "newer", backup=True)
    assert sorted(os.listdir(os.path.dirname(foreign_file))) == ["hosts", "hosts.now~"]
    assert pathlib.Path(f"{foreign_file}.now~").read_bytes() == b"caf\xe9\n"


def test_a_full_disk_does_not_truncate_a_mounted_file(foreign_file, monkeypatch):
    monkeypatch.setattr(files.os, "rename", failing(OSError(errno.EBUSY, "Device or resource busy")))
    errors = [None, OSError(errno.ENOSPC, "No space left on device"), None]

    def full(_descriptor):
        error = errors.pop(0)
        if error:
            raise error

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(KernelError, match="No space left on device"):
        files.rewrite_foreign(foreign_file, files.read_foreign(foreign_file), "a longer text")
    assert errors == []
    assert pathlib.Path(foreign_file).read_bytes() == b"caf\xe9\n"


def test_the_next_change_removes_what_a_killed_one_left(foreign_file):
    beside = pathlib.Path(os.path.dirname(foreign_file)) / ".hosts.tke-overlay"
    for change in (
        lambda: files.rewrite_foreign(foreign_file, files.read_foreign(foreign_file), "new"),
        lambda: files.remove_unfinished(foreign_file),
    ):
        beside.write_text("verysecret")
        change()
        assert os.listdir(os.path.dirname(foreign_file)) == ["hosts"]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock on a file: between processes, for a limited time; and the file that replaces another one."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._locking import beside, lock_file, open_beside


@pytest.fixture
def lock(tmp_path):
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def holder(tmp_path, lock):
    """Another process that holds the lock until it is killed."""
    program = (
        "import fcntl, sys, time; held = open(sys.argv[1]); fcntl.flock(held, 2); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path / "lock"], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_free_lock_is_taken_at_once(lock):
    assert lock_file(lock, 0) is True
    assert lock_file(lock, 0) is True, "this process holds it already"


def test_a_held_lock_is_not_taken_in_time(lock, holder):
    start = time.monotonic()
    assert lock_file(lock, 0) is False
    assert lock_file(lock, 0.1) is False
    assert time.monotonic() - start >= 0.1


def test_a_lock_is_taken_when_its_holder_ends(lock, holder):
    assert lock_file(lock, 0) is False
    holder.kill()
    assert lock_file(lock, 10) is True


def test_a_descriptor_that_cannot_be_locked_is_an_error():
    with pytest.raises(OSError, match="Bad file descriptor"):
        lock_file(2**20, 0)


def test_what_a_killed_writer_has_left_is_used_again(tmp_path):
    path = str(tmp_path / "name")
    for left in (b"half of a tex", None):
        if left:
            (tmp_path / ".name.tke-overlay").write_bytes(left)
            (tmp_path / ".name.tke-overlay").chmod(0o644)
        descriptor, new = open_beside(path)
        assert new == beside(path)
        assert os.fstat(descriptor).st_size == 0
        assert os.fstat(descriptor).st_mode & 0o777 == 0o600
        os.write(descriptor, b"text")
        os.rename(new, path)
        os.close(descriptor)
        assert os.listdir(tmp_path) == ["name"]


def as_hard_link(name, victim):
    os.link(victim, name)


def as_symbolic_link(name, victim):
    os.symlink(victim, name)


def as_pipe(name, _victim):
    os.mkfifo(name)


def as_file_of_another_user(name, _victim):
    with open(name, "wb"):
        os.chown(name, 65534, 65534)


@pytest.mark.parametrize("planted", [as_hard_link, as_symbolic_link, as_pipe, as_file_of_another_user])
def test_what_another_user_has_planted_gets_no_content(tmp_path, planted):
    path, victim = str(tmp_path / "name"), tmp_path / "victim"
    victim.write_text("kept")
    planted(beside(path), victim)
    descriptor, new = open_beside(path)
    os.write(descriptor, b"secret")
    os.rename(new, path)
    status = os.fstat(descriptor)
    os.close(descriptor)
    assert (status.st_uid, status.st_nlink, status.st_mode & 0o777) == (os.geteuid(), 1, 0o600)
    assert victim.read_text() == "kept"
    with open(path, encoding="ascii") as stream:
        assert stream.read() == "secret"


@pytest.mark.parametrize("left", [False, True])
def test_a_file_system_may_give_files_another_owner(tmp_path, monkeypatch, left):
    """As NFS does with all_squash: a file of this process looks like one of another user."""
    path = str(tmp_path / "name")
    if left:
        (tmp_path / ".name.tke-overlay").write_bytes(b"left")
    monkeypatch.setattr(os, "geteuid", lambda: 65533)
    remove, removed = os.unlink, []

    def unlink(name):
        removed.append(name)
        assert len(removed) < 5, "it tries for ever"
        remove(name)

    monkeypatch.setattr(os, "unlink", unlink)
    for _time in range(2):
        descriptor, new = open_beside(path)
        assert os.fstat(descriptor).st_size == 0
        os.rename(new, path)
        os.close(descriptor)
    assert os.listdir(tmp_path) == ["name"]


def test_a_file_that_cannot_be_created_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        open_beside(str(tmp_path / "missing" / "name"))


def replace_often(path, text):
    for _time in range(20):
        descriptor, new = open_beside(path)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
            stream.flush()
            os.rename(new, path)


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path, texts = str(tmp_path / "name"), [letter * 100_000 for letter in "abcd"]
    children = []
    for text in texts:
        children.append(os.fork())
        if children[-1] == 0:
            try:
                replace_often(path, text)
                os._exit((tmp_path / "name").read_text() not in texts)
            finally:
                os._exit(2)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(texts)
    assert os.listdir(tmp_path) == ["name"]

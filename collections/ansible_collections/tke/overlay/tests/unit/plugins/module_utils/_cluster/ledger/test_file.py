# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file store with crashes, full disks and locks. tests/stores has the tests of all stores."""

from __future__ import annotations

import ast
import contextlib
import ctypes
import errno
import fcntl
import inspect
import itertools
import multiprocessing
import os
import resource
import stat
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import file as store_file
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.base import NotTextError
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import (
    FileStore,
    IndeterminateWriteError,
    open_store,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._locking import lock_file

NOW = "2026-01-02T03:04:05Z"
FORK = multiprocessing.get_context("fork")


def text_of(*names):
    ledger = Ledger("demo", Pool(["10.0.0.0/12"], 256, 256))
    ledger.assign([Request(name) for name in names], NOW)
    return ledger.text()


def nodes_of(text):
    return set(parse(text, "here", "demo").nodes)


def history(path, count):
    """Write ``count`` versions of a ledger; the last one has the nodes 1 to ``count``."""
    for number in range(1, count + 1):
        FileStore(path).transact(lambda _text, number=number: text_of(*map(str, range(1, number + 1))))


def complete_copies(path):
    """Return the number of different ledgers: the present one and the previous versions."""
    texts = {FileStore(path).read(), *(version.text for version in FileStore(path).previous())} - {None}
    return len([text for text in texts if nodes_of(text)])


# --- a crash, or an error, at every call to the operating system ---


def calls_of_the_store():
    """Return every function of ``os`` and ``fcntl`` in the code of the store; it must not use other file functions."""
    tree = ast.parse(inspect.getsource(store_file) + inspect.getsource(lock_file))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not imported & {"io", "shutil", "tempfile", "pathlib", "mmap", "subprocess"}
    assert "open" not in {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    named = {
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("os", "fcntl")
    }
    functions = [
        (module, name) for module, name in sorted(named) if callable(getattr({"os": os, "fcntl": fcntl}[module], name))
    ]
    harmless = {("os", "getpid"), ("os", "stat_result")}
    # os.path.realpath, exists and similar functions call these two.
    return [call for call in functions if call not in harmless] + [("os", "lstat"), ("os", "readlink")]


def before_call(step, act):
    """Run ``act`` before the step-th system call of the store; return the counter of the remaining steps."""
    left = [step]

    def wrapped(call, name):
        def wrapper(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                act(name)
            return call(*arguments, **options)

        return wrapper

    for module, name in calls_of_the_store():
        owner = {"os": os, "fcntl": fcntl}[module]
        setattr(owner, name, wrapped(getattr(owner, name), name))
    return left


def in_child(work, *arguments):
    child = FORK.Process(target=work, args=arguments)
    child.start()
    child.join()
    return child.exitcode


def _crash_at(step, path):
    leave = os._exit
    before_call(step, lambda _name: leave(9))
    FileStore(path).transact(lambda text: text_of("new"))
    leave(0)


def test_crash_tests_cover_the_calls_of_a_write():
    names = {name for _module, name in calls_of_the_store()}
    assert names > {
        "open",
        "write",
        "fsync",
        "link",
        "rename",
        "unlink",
        "close",
        "flock",
        "fstat",
        "fchmod",
        "listdir",
    }


@pytest.mark.parametrize("versions", [0, 1, 2, 4, 6])
def test_crash_at_any_call_leaves_old_or_new_ledger(tmp_path, versions):
    outcomes = []
    for step in itertools.count(1):
        directory = tmp_path / str(step)
        directory.mkdir()
        path = str(directory / "ledger.json")
        history(path, versions)
        old, copies = FileStore(path).read(), complete_copies(path)
        code = in_child(_crash_at, step, path)
        new = FileStore(path).read()
        assert new in (old, text_of("new"))
        assert complete_copies(path) >= copies
        outcomes.append((code, new != old))

        FileStore(path).transact(lambda text: text_of("after"))  # leftover files do not prevent the next write
        assert nodes_of(FileStore(path).read()) == {"after"}
        kept = [version.text for version in FileStore(path).previous()]
        assert len(kept) == len(set(kept)) <= 3
        assert kept[:1] == ([] if new is None else [new])
        assert {other.name for other in directory.iterdir()} == {
            "ledger.json",
            ".ledger.json.lock",
            *(os.path.basename(version.name) for version in FileStore(path).previous()),
        }
        if code == 0:
            break
        assert code == 9
    assert outcomes[-1] == (0, True), "the last child completes the write"
    assert (9, False) in outcomes
    assert (9, True) in outcomes
    assert len(outcomes) > 20


def _fail_at(step, path, code, results):
    def fail(name):
        if name != "close":  # a file is closed even when close() fails
            raise OSError(code, os.strerror(code))

    left = before_call(step, fail)
    try:
        FileStore(path).transact(lambda text: text_of("new"))
    except ValidationError as error:
        results.send(("rejected", str(error), left[0]))
    else:
        results.send(("done", "", left[0]))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES])
def test_error_of_any_call_is_reported_or_harmless(tmp_path, code):
    seen = set()
    for step in itertools.count(1):
        directory = tmp_path / str(step)
        directory.mkdir()
        path = str(directory / "ledger.json")
        history(path, 5)
        old = FileStore(path).read()
        receiver, sender = FORK.Pipe(duplex=False)
        assert in_child(_fail_at, step, path, code, sender) == 0
        outcome, message, left = receiver.recv()
        seen.add(outcome)
        new = FileStore(path).read()
        if outcome == "done":
            assert new == text_of("new")
        elif "nothing was changed" in message or "cannot be read" in message:
            assert new == old
        else:
            assert "was written, but" in message
            assert new == text_of("new")
        assert FileStore(path).previous()[0].text in (old, text_of(*"1234"))
        assert len(FileStore(path).previous()) >= 3
        if left > 0:
            break
    assert seen == {"rejected", "done"}


# --- disks ---


@contextlib.contextmanager
def mounted(directory, options):
    """Mount a file system on the directory."""
    directory.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture
def private_mounts():
    """Run the test in its own mount namespace."""
    home = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    here = os.getcwd()
    _call("unshare", 0x00020000 | 0x00000200)  # CLONE_NEWNS, and CLONE_FS, which it needs
    try:
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        yield
    finally:
        _call("setns", home, 0x00020000)
        os.close(home)
        os.chdir(here)


def _call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def test_full_disk_is_an_error_and_keeps_the_old_ledger(tmp_path, private_mounts):
    disk = tmp_path / "disk"
    with mounted(disk, "size=128k"):
        path = str(disk / "ledger.json")
        FileStore(path).transact(lambda text: text_of("old"))
        before = sorted(os.listdir(disk))
        with pytest.raises(ValidationError, match="No space left on device; nothing was changed; free some disk space"):
            FileStore(path).transact(lambda text: text + " " * 150_000)
        assert FileStore(path).read() == text_of("old")
        assert sorted(os.listdir(disk)) == before
        FileStore(path).transact(lambda text: text_of("new"))


def test_no_change_needs_no_space(tmp_path, private_mounts):
    disk = tmp_path / "disk"
    with mounted(disk, "size=64k"):
        store = FileStore(str(disk / "ledger.json"))
        store.transact(lambda text: text_of("old"))
        with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as stream:
            while stream.write(b"x" * 4096):
                pass
        store.transact(lambda text: text)
        assert store.read() == text_of("old")
        assert store.previous() == []
        with pytest.raises(ValidationError, match="No space left on device"):
            store.transact(lambda text: text_of("new"))


def test_read_only_file_system_is_an_error_of_writes_only(tmp_path, private_mounts):
    disk = tmp_path / "disk"
    with mounted(disk, "size=128k"):
        path = str(disk / "ledger.json")
        FileStore(path).transact(lambda text: text_of("old"))
        before = sorted(os.listdir(disk))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(ValidationError, match="the file system is read-only; set overlay_ledger to another path"):
            FileStore(path).transact(lambda text: text_of("new"))
        assert FileStore(path).read() == text_of("old")
        assert sorted(os.listdir(disk)) == before


def _limited(path, results):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    with pytest.raises(ValidationError) as caught:
        FileStore(path).transact(lambda text: text_of("new") + " " * 5000)
    results.send(str(caught.value))


def test_file_size_limit_is_an_error(tmp_path):
    path = str(tmp_path / "ledger.json")
    FileStore(path).transact(lambda text: text_of("old"))
    receiver, sender = FORK.Pipe(duplex=False)
    assert in_child(_limited, path, sender) == 0
    assert "File too large; nothing was changed; raise the limit" in receiver.recv()
    assert FileStore(path).read() == text_of("old")
    assert not (tmp_path / ".ledger.json.new").exists()


def test_copies_previous_versions_without_hard_links(tmp_path, monkeypatch):
    def no_links(*arguments):
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "link", no_links)
    path = str(tmp_path / "ledger.json")
    history(path, 6)
    assert [nodes_of(version.text) for version in FileStore(path).previous()] == [set("12345"), set("1234"), set("123")]
    assert not (tmp_path / ".ledger.json.copy").exists()


# --- what lies beside it ---


def test_previous_versions_are_hidden_and_numbered(tmp_path):
    path = str(tmp_path / "ledger.json")
    history(path, 5)
    names = {other.name for other in tmp_path.iterdir()}
    assert names == {
        "ledger.json",
        ".ledger.json.lock",
        *(f".ledger.json.{number:06}" for number in (2, 3, 4)),
    }
    newest = FileStore(path).previous()[0]
    assert newest.name == str(tmp_path / ".ledger.json.000004")
    assert nodes_of(newest.text) == set("1234")
    subprocess.run(["sh", "-c", newest.restore], check=True)
    assert nodes_of(FileStore(path).read()) == set("1234")


def test_symbolic_link_stays_and_shares_the_lock(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "inventory").mkdir()
    link, real = tmp_path / "inventory" / "ledger.json", tmp_path / "kept" / "real.json"
    link.symlink_to("../kept/real.json")
    FileStore(str(link)).transact(lambda text: "one")
    FileStore(str(link)).transact(lambda text: f"{text} two")
    assert link.is_symlink()
    assert real.read_text() == "one two"
    assert [other.name for other in (tmp_path / "inventory").iterdir()] == ["ledger.json"]
    assert [version.text for version in FileStore(str(link)).previous()] == ["one"]
    store = FileStore(str(real), patience=0.1)

    def meanwhile(text):
        with pytest.raises(ValidationError, match="has been locked for more than"):
            store.transact(lambda text: "three")
        return text

    FileStore(str(link)).transact(meanwhile)


def test_keeps_mode_and_owner_of_the_ledger(tmp_path):
    path = tmp_path / "ledger.json"
    FileStore(str(path)).transact(lambda text: "one")
    path.chmod(0o640)
    os.chown(path, 12345, 23456)
    FileStore(str(path)).transact(lambda text: "two")
    present = path.stat()
    assert (present.st_mode & 0o7777, present.st_uid, present.st_gid) == (0o640, 12345, 23456)


def _as_user(path, results):
    os.setgroups([4242])
    os.setgid(4242)
    os.setuid(4242)
    FileStore(path).transact(lambda text: f"{text} two")
    results.send(FileStore(path).read())


def test_second_user_of_a_shared_directory_can_write(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 0, 4242)
    shared.chmod(0o2775)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    path = str(shared / "ledger.json")
    FileStore(path).transact(lambda text: "one")
    (shared / ".ledger.json.new").write_text("left by a crash of the first user")
    receiver, sender = FORK.Pipe(duplex=False)
    assert in_child(_as_user, path, sender) == 0
    assert receiver.recv() == "one two"


# --- the lock ---


def test_lock_timeout_names_the_holder(tmp_path):
    path = str(tmp_path / "ledger.json")
    receiver, sender = FORK.Pipe()

    def hold():
        FileStore(path).transact(lambda text: sender.send(os.getpid()) or sender.recv())

    holder = FORK.Process(target=hold)
    holder.start()
    pid = receiver.recv()
    with pytest.raises(ValidationError, match=rf"locked for more than 0.2 s by process {pid} on .*nothing was changed"):
        FileStore(path, patience=0.2).transact(lambda text: "mine")
    receiver.send("sender")
    holder.join()
    assert FileStore(path).read() == "sender"
    assert (tmp_path / ".ledger.json.lock").read_text() == ""


def test_killed_holder_releases_the_lock(tmp_path):
    path = str(tmp_path / "ledger.json")
    receiver, sender = FORK.Pipe()
    holder = FORK.Process(target=lambda: FileStore(path).transact(lambda text: sender.send("held") or sender.recv()))
    holder.start()
    receiver.recv()
    holder.kill()
    holder.join()
    FileStore(path, patience=5).transact(lambda text: "mine")
    assert FileStore(path).read() == "mine"


def test_deleted_lock_file_stops_the_write(tmp_path):
    path = str(tmp_path / "ledger.json")
    FileStore(path).transact(lambda text: "one")

    def meanwhile(text):
        (tmp_path / ".ledger.json.lock").unlink()
        return "two"

    with pytest.raises(ValidationError, match="was deleted during the run; nothing was changed"):
        FileStore(path).transact(meanwhile)
    assert FileStore(path).read() == "one"
    assert not (tmp_path / ".ledger.json.new").exists()


def test_lock_file_deleted_while_waiting_is_not_the_lock(tmp_path, monkeypatch):
    path, lock = str(tmp_path / "ledger.json"), tmp_path / ".ledger.json.lock"
    flock, times = fcntl.flock, []

    def flock_and_lose_the_file(descriptor, operation):
        flock(descriptor, operation)
        times.append(1)
        if len(times) == 1:
            lock.unlink()

    def change(text):
        with pytest.raises(ValidationError, match="has been locked"):
            FileStore(path, patience=0.1).transact(lambda text: "two at once")
        return "one"

    monkeypatch.setattr(fcntl, "flock", flock_and_lose_the_file)
    FileStore(path).transact(change)
    assert FileStore(path).read() == "one"


# --- places ---


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("missing/ledger.json", "create its directory"),
        ("", "cannot be"),
    ],
)
def test_unusable_path_is_an_error(tmp_path, place, words):
    with pytest.raises(ValidationError, match=words):
        FileStore(str(tmp_path / place)).transact(lambda text: "one")


def test_binary_file_is_an_error(tmp_path):
    path = tmp_path / "ledger.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValidationError, match="cannot be read"):
        FileStore(str(path)).transact(lambda text: "one")
    assert path.read_bytes() == b"\xff\xfe\x00"


def test_unknown_scheme_names_the_supported_stores():
    with pytest.raises(ValidationError, match="etcds:// for TLS"):
        open_store("consul://host:8500/prefix")


def test_keeps_the_group_when_the_owner_cannot_be_kept(tmp_path, monkeypatch):
    """A user other than root writes a ledger of one of the user's groups."""
    path = tmp_path / "ledger.json"
    history(path, 1)
    given = []

    def fchown(descriptor, user, group):
        given.append((os.fstat(descriptor).st_ino > 0, user, group))
        if user != -1:
            raise PermissionError

    path.chmod(0o640)
    os.chown(path, 4711, 4712)
    monkeypatch.setattr(os, "fchown", fchown)
    FileStore(path).transact(lambda _text: text_of("1", "2"))
    assert given == [(True, 4711, 4712), (True, -1, 4712)]
    assert path.stat().st_mode & 0o777 == 0o640


def test_lock_without_a_holder_name_is_of_another_process(tmp_path):
    path = tmp_path / "ledger.json"
    lock = os.open(tmp_path / ".ledger.json.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(
        ValidationError, match=r"has been locked for more than 0 s by another process; nothing was changed; wait"
    ):
        FileStore(path, patience=0).transact(lambda _text: text_of("1"))
    os.pwrite(lock, b"\xff process", 0)
    with pytest.raises(ValidationError, match=r"for more than 0 s by \ufffd process; nothing"):
        FileStore(path, patience=0).transact(lambda _text: text_of("1"))
    os.close(lock)


def test_deleted_lock_file_is_named(tmp_path):
    path = tmp_path / "ledger.json"

    def change(_text):
        os.unlink(tmp_path / ".ledger.json.lock")
        return text_of("1")

    with pytest.raises(
        ValidationError, match=rf"the lock file {tmp_path}/\.ledger\.json\.lock was deleted during the run"
    ):
        FileStore(path).transact(change)
    assert not path.exists()


def test_unsynced_directory_is_an_indeterminate_write(tmp_path, monkeypatch):
    fsync = os.fsync

    def broken(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    path = tmp_path / "ledger.json"
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(
        IndeterminateWriteError,
        match=r"was written, but its directory could not be synced \(Input/output error\): the ",
    ):
        FileStore(path).transact(lambda _text: text_of("1"))
    assert nodes_of(path.read_text()) == {"1"}


def test_lock_file_names_the_holder_during_a_write(tmp_path):
    lock = tmp_path / ".ledger.json.lock"
    seen = []

    def change(_text):
        seen.append(lock.read_text())
        return text_of("1")

    FileStore(tmp_path / "ledger.json").transact(change)
    assert seen[0].startswith(f"process {os.getpid()} on ")
    assert lock.read_text() == ""


def test_removes_a_copy_that_cannot_become_a_version(tmp_path, monkeypatch):
    """On a file system without hard links."""
    path = tmp_path / "ledger.json"
    history(path, 1)
    rename = os.rename

    def no_link(_old, _new):
        raise OSError(errno.EPERM, "Operation not permitted")

    def fail(old, new):
        if new.endswith(".000001"):
            raise OSError(errno.ENOSPC, "No space left on device")
        rename(old, new)

    monkeypatch.setattr(os, "link", no_link)
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(ValidationError, match="No space left on device"):
        FileStore(path).transact(lambda _text: text_of("1", "2"))
    assert sorted(os.listdir(tmp_path)) == [".ledger.json.lock", "ledger.json"]


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError(errno.EIO, "Input/output error"), "Input/output error"), (OSError("torn"), "torn")]
)
def test_unknown_write_errors_have_a_reason_and_a_remedy(tmp_path, monkeypatch, error, reason):
    def fail(*_arguments):
        raise error

    where = str(tmp_path / "ledger")
    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(ValidationError) as caught:
        FileStore(where).transact(lambda _text: "new")
    assert str(caught.value) == (
        f"the ledger {where} cannot be written: {reason}; nothing was changed; fix this and run the playbook again"
    )


@pytest.mark.parametrize("torn", ["missing", "binary"])
def test_skips_previous_versions_that_cannot_be_read(tmp_path, torn):
    store = FileStore(str(tmp_path / "ledger"))
    for names in ("a", "ab", "abc"):
        store.transact(lambda _text, names=names: names)
    oldest = sorted(tmp_path.glob(".ledger.0*"))[0]
    if torn == "binary":
        oldest.write_bytes(b"\xff\xfe")
    else:
        oldest.unlink()
        oldest.mkdir()
    assert [version.text for version in store.previous()] == ["ab"]


def test_directory_and_loop_of_links_name_the_remedy(tmp_path):
    with pytest.raises(ValidationError, match=rf"Is a directory.*such as {tmp_path}/overlay-ledger\.json"):
        FileStore(str(tmp_path)).read()
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValidationError, match="Not a directory; nothing was changed; set overlay_ledger"):
        FileStore(str(tmp_path / "file" / "ledger.json")).read()


def test_binary_ledger_names_what_it_is(tmp_path):
    path = tmp_path / "ledger.json"
    path.write_bytes("{}".encode("utf-16"))
    with pytest.raises(NotTextError, match="UTF-16") as caught:
        FileStore(str(path)).read()
    assert str(path) in str(caught.value)


def test_a_mount_of_the_directory_is_the_same_place(tmp_path, private_mounts):
    store, other = FileStore(str(tmp_path / "a" / "ledger.json")), FileStore(str(tmp_path / "b" / "ledger.json"))
    assert not store.is_same(other)
    for name in "ab":
        (tmp_path / name).mkdir()
    assert not store.is_same(other)
    subprocess.run(["mount", "--bind", str(tmp_path / "a"), str(tmp_path / "b")], check=True)
    assert store.is_same(other)
    assert not store.is_same(FileStore(str(tmp_path / "b" / "other.json")))


# --- an attempt to write ---


def listing(directory):
    """Return the names and times of a directory and its files."""
    paths = [directory, *directory.iterdir()]
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}


@pytest.mark.parametrize("versions", [0, 2])
def test_an_attempt_to_write_leaves_no_trace(tmp_path, versions):
    history(str(tmp_path / "ledger.json"), versions)
    before = listing(tmp_path)
    FileStore(str(tmp_path / "ledger.json")).check_writable()
    assert listing(tmp_path) == before


def test_an_attempt_needs_the_directory(tmp_path):
    with pytest.raises(ValidationError, match=r"cannot be written.*create its directory"):
        FileStore(str(tmp_path / "none/ledger.json")).check_writable()
    with pytest.raises(ValidationError, match="set overlay_ledger to the path of a file"):
        FileStore(str(tmp_path)).check_writable()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOLCK, errno.EACCES])
@pytest.mark.parametrize("call", ["open", "write", "lock"])
def test_an_attempt_reports_every_error(tmp_path, monkeypatch, code, call):
    def fail(*_arguments, **_options):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*((store_file, "lock_file") if call == "lock" else (store_file.os, call)), fail)
    with pytest.raises(ValidationError, match=f"cannot be written: {os.strerror(code)}; nothing was changed"):
        FileStore(str(tmp_path / "ledger.json")).check_writable()


def test_an_attempt_without_unnamed_files(tmp_path, monkeypatch):
    """Some file systems have no O_TMPFILE; the permissions of the directory are read instead."""
    real = os.open

    def without(path, flags, mode=0o777):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no")
        return real(path, flags, mode)

    monkeypatch.setattr(store_file.os, "open", without)
    FileStore(str(tmp_path / "ledger.json")).check_writable()
    monkeypatch.setattr(store_file.os, "access", lambda *_arguments: False)
    with pytest.raises(ValidationError, match="Permission denied"):
        FileStore(str(tmp_path / "ledger.json")).check_writable()


def test_an_attempt_needs_the_lock_file(tmp_path, monkeypatch):
    real, lock = os.open, tmp_path / ".ledger.json.lock"
    lock.touch()

    def refuse(path, flags, mode=0o777):
        if path == str(lock):
            raise PermissionError(errno.EACCES, "no")
        return real(path, flags, mode)

    monkeypatch.setattr(store_file.os, "open", refuse)
    with pytest.raises(ValidationError, match="run the playbook as a user who may write there"):
        FileStore(str(tmp_path / "ledger.json")).check_writable()


def test_an_attempt_finds_a_mount_of_a_single_file(tmp_path, private_mounts):
    """A container often has the ledger as such a mount; a file cannot be renamed over it."""
    store = FileStore(str(tmp_path / "ledger.json"))
    store.transact(lambda _none: text_of("old"))
    (tmp_path / "mounted.json").touch()
    subprocess.run(["mount", "--bind", store.where, str(tmp_path / "mounted.json")], check=True)
    mounted_store = FileStore(str(tmp_path / "mounted.json"))
    for attempt in (mounted_store.check_writable, lambda: mounted_store.transact(lambda _text: text_of("new"))):
        with pytest.raises(ValidationError, match=r"busy; nothing was changed; .*mount its directory instead"):
            attempt()
    store.check_writable()
    assert nodes_of(mounted_store.read()) == {"old"}


def _attempt_as_user(path, results):
    os.setgroups([])
    os.setgid(4242)
    os.setuid(4242)
    for attempt in (FileStore(path).check_writable, lambda: FileStore(path).transact(lambda _text: text_of("new"))):
        with pytest.raises(ValidationError) as caught:
            attempt()
        results.send(str(caught.value))


def test_an_attempt_finds_a_ledger_of_another_user(tmp_path):
    """In a directory with the sticky bit, everybody can create files, and only the owner can replace them."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    path = str(shared / "ledger.json")
    FileStore(path).transact(lambda _none: text_of("old"))
    (shared / ".ledger.json.lock").chmod(0o666)
    receiver, sender = FORK.Pipe(duplex=False)
    assert in_child(_attempt_as_user, path, sender) == 0
    for _attempt in range(2):
        assert "Operation not permitted; nothing was changed; run the playbook as a user" in receiver.recv()
    FileStore(path).check_writable()
    assert nodes_of(FileStore(path).read()) == {"old"}

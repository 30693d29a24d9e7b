# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import multiprocessing
import os

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Refusal
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import Ledger, Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.store import FileStore, open_store

NOW = "2026-01-02T03:04:05Z"
FORK = multiprocessing.get_context("fork")


def with_one_more(name):
    """A change that gives one node more a segment."""

    def change(text):
        ledger = parse(text, "here", "demo") if text else Ledger("demo", Pool(["10.0.0.0/12"], 256, 256))
        ledger.assign([Request(name)], NOW)
        return ledger.text()

    return change


def test_there_is_nothing_before_the_first_run(tmp_path):
    assert open_store(str(tmp_path / "ledger.json")).read() is None


def test_what_was_written_is_read(tmp_path):
    store = FileStore(str(tmp_path / "ledger.json"))
    store.transact(lambda text: "one")
    store.transact(lambda text: text + " two")
    assert store.read() == "one two"


def test_a_change_that_fails_leaves_the_file_as_it_was(tmp_path):
    store = FileStore(str(tmp_path / "ledger.json"))
    store.transact(lambda text: "one")

    def fail(text):
        raise Refusal("no")

    with pytest.raises(Refusal, match="no"):
        store.transact(fail)
    assert store.read() == "one"


def test_no_change_writes_nothing(tmp_path):
    path = tmp_path / "ledger.json"
    store = FileStore(str(path))
    store.transact(lambda text: "one")
    before = path.stat()
    store.transact(lambda text: text)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def _work(path, worker):
    for number in range(10):
        FileStore(path).transact(with_one_more(f"node-{worker}-{number}"))


def test_many_writers_at_once_lose_and_double_nothing(tmp_path):
    path = str(tmp_path / "ledger.json")
    workers = [FORK.Process(target=_work, args=(path, worker)) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    nodes = parse(FileStore(path).read(), path, "demo").nodes
    assert len(nodes) == 80
    assert len({held.segment for held in nodes.values()}) == 80


CALLS = ("open", "fsync", "rename", "close")


def _crash_at(step, path):
    """Runs a write in which the process vanishes just before its step-th call to the operating system."""
    left = [step]

    def dying(call):
        def wrapper(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os._exit(9)
            return call(*arguments, **options)

        return wrapper

    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))
    FileStore(path).transact(with_one_more("new"))
    os._exit(0)


def test_a_crash_at_any_call_leaves_the_old_ledger_or_the_new_one(tmp_path):
    path = str(tmp_path / "ledger.json")
    outcomes = []
    for step in range(1, 30):
        FileStore(path).transact(lambda text: with_one_more("old")(None))
        child = FORK.Process(target=_crash_at, args=(step, path))
        child.start()
        child.join()
        nodes = set(parse(FileStore(path).read(), path, "demo").nodes)
        assert nodes in ({"old"}, {"old", "new"})
        outcomes.append((child.exitcode, "new" in nodes))
        if child.exitcode == 0:
            break
    assert outcomes[-1] == (0, True), "the last child lives through the whole write"
    assert (9, False) in outcomes
    assert (9, True) in outcomes
    FileStore(path).transact(with_one_more("after"))  # nothing is left that is in the way of the next writer


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("missing/ledger.json", "create its directory"),
        ("", "cannot be"),
    ],
)
def test_a_place_that_cannot_be_is_one_clear_error(tmp_path, place, words):
    with pytest.raises(Refusal, match=words):
        FileStore(str(tmp_path / place)).transact(lambda text: "one")


def test_a_file_that_is_no_text_is_one_clear_error(tmp_path):
    path = tmp_path / "ledger.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refusal, match="cannot be read"):
        FileStore(str(path)).transact(lambda text: "one")
    assert path.read_bytes() == b"\xff\xfe\x00"


def test_a_url_is_refused():
    with pytest.raises(Refusal, match="etcd://host:2379/prefix"):
        open_store("etcd://host:2379/prefix")

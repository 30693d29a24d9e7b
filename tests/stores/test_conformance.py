# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The guarantees of a store, tested with each store; etcd is a real cluster of three members."""

from __future__ import annotations

import multiprocessing
import threading

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import open_store
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

FORK = multiprocessing.get_context("fork")

ODD_TEXTS = [
    "",
    "{}",
    "\r\n a\r b\n\n",
    "no newline at the end",
    "Gr\u00fc\u00dfe \U0001f600 \u2028 \x00\x1b",
    "H4sI, which is what a compressed value begins with",
    "{" + "0123456789abcdef" * 40_000 + "}\n",  # etcd stores it compressed
]


@pytest.fixture(params=["file", "etcd"])
def place(request, tmp_path):
    """A place without a ledger."""
    if request.param == "file":
        return str(tmp_path / "ledger.json")
    return request.getfixturevalue("etcd").url()


def test_new_store_is_empty(place):
    store = open_store(place)
    assert store.read() is None
    assert store.previous() == []


def test_other_writers_read_what_was_written(place):
    open_store(place).transact(lambda text: f"{text} one")
    open_store(place).transact(lambda text: f"{text} two")
    assert open_store(place).read() == "None one two"


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_returns_a_text_byte_for_byte(place, text):
    open_store(place).transact(lambda _none: text)
    open_store(place).transact(lambda present: present)
    assert open_store(place).read() == text
    open_store(place).transact(lambda _text: "next")
    assert [version.text for version in open_store(place).previous()] == [text]


def test_change_that_raises_changes_nothing(place):
    store = open_store(place)
    for text in "one", "two":
        store.transact(lambda _text, text=text: text)
    before = store.previous()

    def fail(text):
        raise ValidationError(f"no, not {text}")

    with pytest.raises(ValidationError, match="no, not two"):
        store.transact(fail)
    assert store.read() == "two"
    assert store.previous() == before
    store.transact(lambda text: "three")


def test_passes_on_errors_of_the_change(place):
    with pytest.raises(FileNotFoundError, match="the change's own"):
        open_store(place).transact(lambda text: (_ for _ in ()).throw(FileNotFoundError("the change's own")))
    assert open_store(place).read() is None


def test_equal_text_writes_nothing(place):
    store = open_store(place)
    for text in "one", "two":
        store.transact(lambda _text, text=text: text)
    before = store.previous()
    store.transact(lambda text: text)
    assert store.read() == "two"
    assert store.previous() == before


def test_keeps_three_previous_versions_newest_first(place):
    store = open_store(place)
    for number in range(12):
        store.transact(lambda text, number=number: str(number))
        kept = [version.text for version in open_store(place).previous()]
        assert kept == [str(other) for other in range(number - 1, max(-1, number - 4), -1)]


def test_where_is_the_place_of_the_store(place):
    assert open_store(place).where == place


def _append(place, worker, count):
    for number in range(count):
        open_store(place).transact(lambda text, number=number: f"{text or ''}{worker}.{number}\n")


def test_concurrent_writers_lose_nothing(place):
    workers = [FORK.Process(target=_append, args=(place, worker, 12)) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    lines = open_store(place).read().splitlines()
    assert sorted(lines) == sorted(f"{worker}.{number}" for worker in range(8) for number in range(12))
    for worker in range(8):
        assert [line for line in lines if line.startswith(f"{worker}.")] == [f"{worker}.{n}" for n in range(12)]


def test_write_during_a_change_is_not_overwritten(place):
    """Another writer writes, or tries to, while a change runs."""
    other = threading.Thread(target=lambda: open_store(place).transact(lambda text: f"{text or ''} other"))
    calls = []

    def change(text):
        calls.append(text)
        if len(calls) == 1:
            other.start()
            other.join(
                timeout=0.5
            )  # a store with a lock makes it wait, a store that compares revisions lets it write first
        return f"{text or ''} one"

    open_store(place).transact(change)
    other.join()
    assert sorted(open_store(place).read().split()) == ["one", "other"]


def test_an_attempt_to_write_changes_nothing(place):
    store = open_store(place)
    store.check_writable()
    assert store.read() is None
    for text in "one", "two":
        store.transact(lambda _text, text=text: text)
    kept = store.previous()
    store.check_writable()
    assert (store.read(), store.previous()) == ("two", kept)

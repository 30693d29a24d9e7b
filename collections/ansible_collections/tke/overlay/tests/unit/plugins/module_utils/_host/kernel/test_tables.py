# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listings, batches and pending changes of a table, with simulated programs."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    AsWanted,
    compare,
    listed_together,
    read_json,
    run_batch,
)


def test_empty_rows_of_an_old_iproute2_are_ignored():
    assert read_json(["ip"], lambda command, text: (0, '[{},{"dst":"10.244.1.0"},{}]', "")) == [{"dst": "10.244.1.0"}]


def test_a_batch_continues_when_a_neighbour_succeeds_later():
    calls = []

    def once(command, text):
        calls.append((command[1], (text or "").splitlines()))
        return (2, "", "RTNETLINK answers: whatever\n") if len(calls) == 1 else (0, "", "")

    lines = ["link add a", "neigh replace b", "neigh replace c", "route replace d", "route replace e"]
    run_batch(["ip"], lines, once)
    assert calls == [("-batch", lines), ("neigh", []), ("neigh", []), ("-batch", lines[3:])]


@pytest.mark.parametrize(
    ("errors", "words"), [("Command failed -:1", "exit code 2"), ("", "exit code 2"), ("Killed", "Killed")]
)
def test_a_batch_that_fails_without_an_error_is_a_failure(errors, words):
    with pytest.raises(KernelError, match=rf"^{words} \(at: ip link add a\)"):
        run_batch(["ip"], ["link add a", "link set a up"], lambda *_: (2, "", errors))


def test_a_shortage_without_a_line_number_is_retried(monkeypatch):
    calls = []
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    def short(command, text):
        calls.append((command[1], (text or "").splitlines()))
        fails = (command[1] == "-batch" and len(calls) == 1) or command[1] == "two"
        return (2, "", "RTNETLINK answers: No buffer space available\n") if fails else (0, "", "")

    run_batch(["ip"], ["one", "two", "three"], short)
    assert [name for name, _lines in calls] == ["-batch", "one", "two", "-batch"]
    assert calls[-1][1] == ["two", "three"]


@pytest.mark.parametrize("words", ["No buffer space available", "Device or resource busy"])
def test_a_shortage_is_retried_from_the_failed_line(monkeypatch, words):
    """A shortage of the kernel cannot be caused on demand, so the program is simulated."""
    calls, pauses = [], []
    monkeypatch.setattr("time.sleep", pauses.append)

    def short_once(command, text):
        calls.append(text.splitlines())
        if len(calls) == 1:
            return 1, "", f"RTNETLINK answers: {words}\nCommand failed -:2\n"
        return 0, "", ""

    run_batch(["ip"], ["one", "two", "three"], short_once)
    assert calls == [["one", "two", "three"], ["two", "three"]]
    assert pauses == [0.05]


@pytest.mark.parametrize("words", ["File exists", "Invalid argument", "Operation not permitted"])
def test_other_errors_are_not_retried(monkeypatch, words):
    monkeypatch.setattr("time.sleep", pytest.fail)
    calls = []

    def refused(command, text):
        calls.append(text)
        return 2, "", f"RTNETLINK answers: {words}\nCommand failed -:1\n"

    with pytest.raises(KernelError, match=rf"{words} \(at: ip one\)"):
        run_batch(["ip"], ["one", "two"], refused)
    assert calls == ["one\ntwo\n"]


def test_a_lasting_shortage_fails_after_four_pauses(monkeypatch):
    pauses = []
    monkeypatch.setattr("time.sleep", pauses.append)
    with pytest.raises(KernelError, match=r"Device or resource busy \(at: ip one\)"):
        run_batch(
            ["ip"],
            ["one"],
            lambda command, text: (2, "", "RTNETLINK answers: Device or resource busy\nCommand failed -:1"),
        )
    assert pauses == [0.05, 0.2, 0.8, 2.0]


def test_the_diff_of_a_table_has_every_changed_entry():
    """Foreign entries stay, so they are in the result and not in the diff."""
    present = {
        "a": ActualEntry("same", managed=True),
        "c": ActualEntry("old", managed=True),
        "d": ActualEntry("gone", managed=True),
        "e": ActualEntry("foreign", managed=False),
    }
    delta = compare(NeighborTable("tke0"), present, {"a": "same", "b": "new", "c": "newer"})
    assert (delta.before(), delta.after()) == ("c old\nd gone\n", "b new\nc newer\n")
    assert delta.lines() == {
        "added": ["b new"],
        "changed": ["c old -> newer"],
        "removed": ["d gone"],
        "foreign": ["e foreign"],
    }
    kept = compare(NeighborTable("tke0"), present, {"a": "same", "c": "old"}, purge=False)
    assert (bool(kept), kept.before(), kept.foreign) == (False, "", {"e": "foreign"})


def test_a_table_as_wanted_is_compared_if_something_else_is_desired():
    found = AsWanted({"a": "same", "c": "old", "d": "gone"})
    assert not compare(NeighborTable("tke0"), found, dict(found.entries))
    delta = compare(NeighborTable("tke0"), found, {"a": "same", "b": "new", "c": "newer"})
    assert (delta.before(), delta.after()) == ("c old\nd gone\n", "b new\nc newer\n")


def test_foreign_entry_on_another_device_conflicts():
    actual = {"a": ActualEntry("via eth0", managed=False, on_device=False)}
    with pytest.raises(ValidationError) as caught:
        compare(NeighborTable("tke0"), actual, {"a": "new", "b": "new"})
    (problem,) = caught.value.problems
    for words in ("neighbor a is required", "via eth0", "remove it"):
        assert words in problem
    assert not compare(NeighborTable("tke0"), actual, {})


def test_listings_run_together_and_each_result_is_used_once():
    calls = []

    def run(command, text):
        calls.append(command)
        return 0, "alone", ""

    run.together = lambda jobs: [(0, f"together {command[-1]}", "") for command, _text in jobs]
    listed = listed_together([["ip", "a"], ["ip", "b"]], run)
    assert [listed(["ip", name], None)[1] for name in "bac"] == ["together b", "together a", "alone"]
    assert listed(["ip", "a"], None)[1] == "alone", "the table can have changed since"
    assert calls == [["ip", "c"], ["ip", "a"]]


def test_a_result_is_recalled_for_the_same_text_and_kept_if_wanted():
    def run(command, text):
        return 0, "alone", ""

    run.together = lambda jobs: [(0, f"together {text}", "") for _command, text in jobs]
    listed = listed_together([["ip"]], run, [(["ip"], "a\n"), (["ip"], "b\n")], keep=True)
    assert [listed(["ip"], text)[1] for text in ("b\n", "a\n", "c\n", None, "a\n")] == [
        "together b\n",
        "together a\n",
        "alone",
        "together None",
        "together a\n",
    ]


def test_without_support_for_it_listings_run_one_by_one():
    def run(command, text):
        return 0, "", ""

    assert listed_together([["ip", "a"]], run) is run

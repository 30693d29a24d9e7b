# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors about a ledger that is missing, damaged or outdated name the previous version that helps, and its command."""

from __future__ import annotations

import types

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.file import FileStore
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.tombstone import Tombstone
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.saved_plans import SavedPlans, check
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import (
    NO_SAVED_PLANS,
    LedgerAction,
    good_text,
    notice_of_new,
)

NOW = "2026-01-02T03:04:05Z"


class Action(LedgerAction):
    """An action that is run by hand."""

    def __init__(self, check_mode):
        self._task = types.SimpleNamespace(check_mode=check_mode, diff=False)

    def work(self, given, task_vars):
        """Do nothing."""
        return {}


@pytest.fixture
def place(tmp_path):
    """Return the path of a ledger with one previous version: first with the node ``a``, then also with ``b``."""
    store = FileStore(str(tmp_path / "ledger.json"))

    def add(name):
        def change(text):
            ledger = parse(text, "", None) if text else Ledger("demo", Pool(["10.0.0.0/24"], 32, 32), applied=True)
            ledger.assign([Request(name)], NOW)
            return ledger.text()

        return change

    for name in "ab":
        store.transact(add(name))
    return tmp_path / "ledger.json"


def changed(place, change, check_mode=True, found=NO_SAVED_PLANS):
    with pytest.raises(ValidationError) as caught:
        Action(check_mode).change_ledger(str(place), change, found)
    return str(caught.value)


def reread(text, where, _now):
    return parse(text, where, "demo")


@pytest.mark.parametrize("check_mode", [True, False])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n61\n", "ansible-vault decrypt"),
        ('{"schema": 1}'.encode("utf-16"), "UTF-16"),
        (b"\x80", "it is binary"),
    ],
)
def test_damage_names_the_newest_good_version(place, content, words, check_mode):
    place.write_bytes(content)
    for text in (changed(place, reread, check_mode), problem_of(good_text, FileStore(str(place)), "demo")):
        assert words in text
        assert f"restore it with: cp {place.parent}/.ledger.json.000001 {place}" in text
    assert place.read_bytes() == content


def problem_of(work, *arguments):
    with pytest.raises(ValidationError) as caught:
        work(*arguments)
    return str(caught.value)


def test_conflict_names_the_side_to_take(place):
    older = (place.parent / ".ledger.json.000001").read_text()
    place.write_text(f"<<<<<<< HEAD\n{older}=======\n{place.read_text()}>>>>>>> other\n")
    text = changed(place, reread)
    assert "conflict markers of git" in text
    assert f"git checkout --theirs -- {place}" in text
    assert "restore it with" not in text


def test_contradiction_names_the_previous_version_that_agrees(place):
    record = {"node": "a", "cluster": "demo", "node_cidr": "10.0.0.0/27", "underlay": "1", "fleet": ""}
    found = SavedPlans({"a": record})

    def renumber(text, where, _now):
        ledger = parse(text, where, "demo") if text else Ledger("demo", Pool(["10.0.0.0/24"], 32, 32))
        ledger.nodes = {"a": ledger.nodes["b"]} if text else {}
        check(ledger, found, where, is_new=text is None)
        return ledger

    text = changed(place, renumber, found=found)
    assert f"000001 agrees with these hosts; restore it with: cp {place.parent}/.ledger.json.000001 {place}" in text
    place.unlink()
    assert "000001 agrees with these hosts" in changed(place, renumber, found=found)
    elsewhere = SavedPlans({"a": {**record, "node_cidr": "10.0.0.64/27"}})
    found = elsewhere
    assert "agrees" not in changed(place, renumber, found=elsewhere)


def test_missing_ledger_names_what_a_lost_one_has_left(place, tmp_path):
    assert notice_of_new(FileStore(str(tmp_path / "none.json")), "demo").endswith("and the inventory (-i)")
    place.unlink()
    for text in (notice_of_new(FileStore(str(place)), "demo"), problem_of(good_text, FileStore(str(place)), "demo")):
        assert f"there is no ledger at {place}" in text
        assert text.endswith(f"restore it with: cp {place.parent}/.ledger.json.000001 {place}")


def test_a_tombstone_that_names_itself_names_the_lost_ledger(place):
    """An alias of the place had been given as the new place."""
    place.write_text(Tombstone(str(place), NOW).text())
    for text in (changed(place, reread), problem_of(good_text, FileStore(str(place)), "demo")):
        assert f"there is no ledger at {place}" in text
        assert f"restore it with: cp {place.parent}/.ledger.json.000001 {place}" in text
        assert "set overlay_ledger" not in text

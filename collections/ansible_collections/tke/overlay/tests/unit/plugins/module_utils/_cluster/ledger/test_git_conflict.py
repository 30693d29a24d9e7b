# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two clones have changed the ledger: which side to take, and what it lacks."""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.git_conflict import cure, sides

NOW = "2026-01-02T03:04:05Z"
BASE = Ledger("demo", Pool(["10.0.0.0/24"], 32, 32), applied=True)
BASE.assign([Request("a"), Request("b")], NOW)


def after(*changes, base=BASE):
    ledger = parse(base.text(), "here", "demo")
    for change in changes:
        change(ledger)
    return ledger


def added(*names):
    return lambda ledger: ledger.assign([Request(name) for name in names], NOW)


def released(*names):
    return lambda ledger: ledger.release(names, [], NOW)


def merged(first, second, tmp_path, *options):
    """Return what git leaves of two versions."""
    paths = []
    for name, ledger in (("ours", first), ("base", BASE), ("theirs", second)):
        (tmp_path / name).write_text(ledger.text())
        paths.append(str(tmp_path / name))
    done = subprocess.run(["git", "merge-file", "-p", *options, *paths], capture_output=True, text=True, check=False)
    assert done.returncode > 0, done
    return done.stdout


@pytest.mark.parametrize("options", [(), ("--diff3",)])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_both_sides_are_read_from_what_git_leaves(tmp_path, options, newline):
    first, second = after(added("c")), after(added("d", "e"))
    text = merged(first, second, tmp_path, *options).replace("\n", newline)
    assert sides(text) == (first.text(), second.text())


@pytest.mark.parametrize(
    ("first", "second", "option"),
    [
        (after(added("c", "d")), after(added("c")), "--ours"),
        (after(added("c")), after(added("c", "d")), "--theirs"),
        (after(released("b")), after(), "--ours"),
        (after(), after(released("b")), "--theirs"),
        (after(added("c")), after(added("c"), released("c")), "--theirs"),
    ],
)
def test_the_side_that_has_all_of_the_other_is_named(first, second, option):
    text = f"<<<<<<< HEAD\n{first.text()}=======\n{second.text()}>>>>>>> other\n"
    assert f"git checkout {option} -- '/my inventory/ledger'" in cure(text, "/my inventory/ledger")
    assert "overlay_node_cidr" not in cure(text, "/my inventory/ledger")


def test_two_allocations_of_one_node_cidr_are_named(tmp_path):
    text = cure(merged(after(added("c", "d")), after(added("e")), tmp_path), "/ledger")
    assert "never merge lines" in text
    assert "git checkout --ours -- /ledger" in text
    assert "set overlay_node_cidr of e to 10.0.0.64/27" in text
    assert "10.0.0.64/27 to c and e" in text
    assert "tke.overlay.reset" in text


def test_nodes_of_the_other_side_are_to_be_pinned():
    first, second = after(added("c", "d"), released("c")), after(added("x", "e"), released("x"))
    second.nodes["e"] = second.nodes["e"]._replace(node_cidr="10.0.0.128/27")
    text = cure(f"<<<<<<< HEAD\n{first.text()}=======\n{second.text()}>>>>>>> other\n", "/ledger")
    assert "only the other side has: set overlay_node_cidr of e to 10.0.0.128/27" in text
    assert "Both sides" not in text


@pytest.fixture
def conflict(tmp_path):
    """Return the path of a ledger that git could not merge, made of two versions."""
    where = tmp_path / "my inventory" / "ledger.json"
    where.parent.mkdir()

    def git(*arguments, check=True):
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "core.hooksPath=/dev/null")
        command = ["git", *identity, *arguments]
        subprocess.run(command, cwd=tmp_path, check=check, capture_output=True, env={"PATH": os.environ["PATH"]})

    def commit(text):
        where.write_text(text)
        git("add", "-A")
        git("commit", "-qm", "text")

    def make(first, second):
        git("init", "-q", "-b", "main")
        commit(BASE.text())
        git("checkout", "-qb", "other")
        commit(second)
        git("checkout", "-q", "main")
        commit(first)
        git("merge", "other", check=False)
        assert "<<<<<<<" in where.read_text()
        return str(where)

    return make


def test_sides_that_git_has_partly_merged_are_read_from_git(conflict):
    """Git takes the release of ``a`` into both sides, so the first one is complete only in the index."""
    first, second = after(added("c")), after(released("a"))
    where = conflict(first.text(), second.text())
    with open(where, encoding="utf-8") as stream:
        text = stream.read()
    assert sides(text) != (first.text(), second.text())
    assert f"git checkout --ours -- '{where}'" in cure(text, where)
    assert "only the other side has: release a" in cure(text, where)


def test_the_only_complete_side_is_named(conflict):
    good = after().text()
    where = conflict(good[:-9], after(added("c")).text())
    with open(where, encoding="utf-8") as stream:
        assert cure(stream.read(), where) == f"only one side is a complete ledger: git checkout --theirs -- '{where}'"


@pytest.mark.parametrize("torn", ["first", "both"])
def test_without_git_a_partly_merged_side_is_not_taken(torn):
    """That the other side is complete says nothing about the first one, which git has in full."""
    second = "[\n" if torn == "both" else after().text()
    text = cure(f"<<<<<<< HEAD\n{{\n=======\n{second}>>>>>>> other\n", "/ledger")
    assert "git checkout --ours -- /ledger, or --theirs" in text
    assert "overlay_node_cidr" in text


def keyed(*, generation=0, **keys):
    def change(ledger):
        ledger.wireguard_generation = generation
        for name, key in keys.items():
            ledger.nodes[name] = ledger.nodes[name]._replace(wireguard_key=key)

    return change


def conflicting(first, second):
    return cure(f"<<<<<<< HEAD\n{first.text()}=======\n{second.text()}>>>>>>> other\n", "/ledger")


def test_keys_of_the_other_side_are_named():
    old, new = keyed(a="old"), keyed(a="new")
    text = conflicting(after(old, added("c")), after(new))
    assert "git checkout --ours" in text
    assert "reset a (tke.overlay.reset), of which it has another WireGuard key" in text
    assert "has all" in conflicting(after(added("c")), after(new))  # the next run records the key


def test_the_side_with_the_last_change_of_keys_is_taken():
    text = conflicting(after(keyed(a="old"), added("c")), after(keyed(a="new", generation=1)))
    assert "git checkout --theirs" in text
    assert "only the other side has: set overlay_node_cidr of c to" in text
    assert "git checkout --theirs" in conflicting(after(keyed(a="old")), after(keyed(a="new", generation=1)))


def test_a_begun_change_of_keys_is_named():
    def begun(ledger):
        ledger.nodes["a"] = ledger.nodes["a"]._replace(wireguard_next_key="next")

    assert "run tke.overlay.rotate_keys, which has begun" in conflicting(after(added("c")), after(begun))


def test_a_node_that_only_the_other_side_released_is_named():
    def added_and_released(ledger):
        added("c")(ledger)
        ledger.release(["c"], ["a"], NOW)

    assert "add no node until tke.overlay.site has reached all hosts, which may still have c as a peer" in conflicting(
        after(released("b")), after(added_and_released)
    )


def test_releases_and_vips_of_the_other_side_are_named():
    first, second = after(added("c")), after(released("b"), lambda ledger: ledger.vips.update(apiserver="10.0.2.2"))
    text = cure(f"<<<<<<< HEAD\n{first.text()}=======\n{second.text()}>>>>>>> other\n", "/ledger")
    assert text.endswith("only the other side has: release b; set overlay_clb_vips.apiserver to 10.0.2.2")

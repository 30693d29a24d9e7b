# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two clones have changed the ledger: which side to take, and what it lacks."""

from __future__ import annotations

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


def test_the_only_complete_side_is_named():
    good = after().text()
    text = f"<<<<<<< HEAD\n{good[:-9]}\n=======\n{good}>>>>>>> other\n"
    assert cure(text, "/ledger") == "only one side is a complete ledger: git checkout --theirs -- /ledger"


def test_partly_merged_sides_are_to_be_taken_from_git():
    text = cure("<<<<<<< HEAD\n{\n=======\n[\n>>>>>>> other\n", "/ledger")
    assert "git checkout --ours -- /ledger, or --theirs" in text
    assert "overlay_node_cidr" in text


def test_releases_and_vips_of_the_other_side_are_named():
    first, second = after(added("c")), after(released("b"), lambda ledger: ledger.vips.update(apiserver="10.0.2.2"))
    text = cure(f"<<<<<<< HEAD\n{first.text()}=======\n{second.text()}>>>>>>> other\n", "/ledger")
    assert text.endswith("only the other side has: release b; set overlay_clb_vips.apiserver to 10.0.2.2")

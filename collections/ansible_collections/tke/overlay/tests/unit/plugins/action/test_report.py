# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action report: whose files it overwrites, when it reports a change, and what it makes of registered results."""

from __future__ import annotations

import os
import types

import pytest

from ansible_collections.tke.overlay.plugins.action import report
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import data_text
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._report_files import ReportFiles

OVERLAY = {"node": "a", "plan": {"applied": "x", "wanted": "x", "current": True}, "drift": [], "vips": []}


@pytest.fixture
def place(tmp_path):
    """A ledger with nodes a and b, and where its report goes."""
    ledger = Ledger("demo", Pool(["10.244.0.0/20"], 256, 256))
    for number, name in enumerate("ab"):
        ledger.nodes[name] = Assignment(
            ledger.pool.node_cidr(number), f"10.0.0.{number}", 1500, "2026-01-01T00:00:00Z", False
        )
    (tmp_path / "ledger.json").write_text(ledger.text())
    return tmp_path


def variables(**results):
    """What Ansible knows: nodes a (cloud) and b (idc), and what was registered of each."""
    return {
        "groups": {"overlay_nodes": ["a", "b"], "cloud": ["a"], "idc": ["b"], "clb": ["c"]},
        "hostvars": {name: results.get(name, {}) for name in "abc"},
        "ansible_play_hosts_all": [*results],
        "ansible_inventory_sources": ["/hosts.yml"],
    }


def run(place, task_vars, check=False, diff=False, **given):
    action = report.ActionModule.__new__(report.ActionModule)
    action._task = types.SimpleNamespace(check_mode=check, diff=diff)
    defaults = {name: option.get("default") for name, option in action.options.items()}
    ledger, dest = str(place / "ledger.json"), str(place / "page.html")
    return action.work({**defaults, "ledger": ledger, "dest": dest, **given}, task_vars)


def answered(name, other):
    return {
        "overlay_report_info": {"overlay": {**OVERLAY, "node": name}},
        "overlay_report_probe": {"asked": 1, "answered": 1, "rtt_ms": {other: 0.5}, "findings": []},
    }


WHOLE = {"a": answered("a", "b"), "b": answered("b", "a")}


def test_a_report_is_changed_when_what_it_shows_is(place):
    first = run(place, variables(**WHOLE))
    assert first["changed"]
    assert first["verdict"]["state"] == "whole"
    assert not run(place, variables(**WHOLE))["changed"]
    slower = {
        **WHOLE,
        "a": {**WHOLE["a"], "overlay_report_probe": {**WHOLE["a"]["overlay_report_probe"], "rtt_ms": {"b": 9}}},
    }
    again = run(place, variables(**slower))
    assert not again["changed"]
    assert "9.0 ms" in (place / "page.html").read_text(), "measurements are written all the same"
    assert run(place, variables(a=WHOLE["a"]))["changed"]


@pytest.mark.parametrize("name", ["page.html", "page.json"])
def test_a_file_that_is_missing_or_cut_is_a_change(place, name):
    run(place, variables(**WHOLE))
    (place / name).unlink()
    assert run(place, variables(**WHOLE))["changed"]
    assert not run(place, variables(**WHOLE))["changed"]


def test_check_mode_writes_nothing_and_its_diff_is_that_of_the_real_run(place):
    forecast = run(place, variables(**WHOLE), check=True, diff=True)
    assert sorted(path.name for path in place.iterdir()) == ["ledger.json"]
    deed = run(place, variables(**WHOLE), diff=True)
    assert forecast["changed"]
    assert forecast["diff"] == deed["diff"]
    assert "The network is whole" in deed["diff"]["after"]
    assert "diff" not in run(place, variables(**WHOLE), diff=True)


def test_what_happened_to_each_host_is_understood(place):
    results = {
        "a": {"overlay_report_info": {"failed": True, "msg": "this host has no nft: install nftables"}},
        "b": {
            "overlay_report_info": {"unreachable": True, "msg": "timed out"},
            "overlay_report_probe": {"skipped": True},
        },
        "c": {"overlay_report_info": {"skipped": True}},
    }
    made = run(place, variables(**results))
    assert [(finding["kind"], finding["hosts"]) for finding in made["findings"]] == [
        ("unreachable", ["b"]),
        ("failed", ["a"]),
    ]
    assert "install nftables" in made["findings"][1]["text"]


def test_the_ledger_alone_makes_a_report(place):
    assert run(place, variables())["verdict"]["state"] == "unseen"


def test_sites_are_the_groups_right_below_the_group(place):
    children = [types.SimpleNamespace(name="north"), types.SimpleNamespace(name="south")]
    group = types.SimpleNamespace(child_groups=children)

    class Hosts(dict):
        _inventory = types.SimpleNamespace(groups={"overlay_nodes": group})

    task_vars = {**variables(**WHOLE), "hostvars": Hosts({name: {} for name in "abc"})}
    assert report._children("overlay_nodes", task_vars) == ["north", "south"]
    assert report._children("overlay_nodes", variables()) == ["cloud", "idc"]


# --- whose files ---


@pytest.mark.parametrize(
    ("dest", "words"),
    [
        ("page.txt", ["ends in .html"]),
        ("nowhere/page.html", ["no directory", "nowhere"]),
        ("ledger.html", ["is the ledger"]),
        ("nowhere/page.json", ["ends in .html", "no directory"]),
    ],
)
def test_a_bad_place_is_one_clear_error(place, dest, words):
    with pytest.raises(ValidationError) as caught:
        run(place, variables(**WHOLE), dest=str(place / dest))
    for word in words:
        assert word in str(caught.value)
    assert sorted(path.name for path in place.iterdir()) == ["ledger.json"]


@pytest.mark.parametrize(
    ("name", "text"), [("page.html", "<html>mine</html>"), ("page.json", '{"mine": 1}'), ("page.json", "")]
)
def test_a_file_of_somebody_else_is_never_overwritten(place, name, text):
    (place / name).write_text(text)
    with pytest.raises(ValidationError, match="is there and is no"):
        run(place, variables(**WHOLE))
    assert (place / name).read_text() == text
    assert len(list(place.iterdir())) == 2


def test_no_ledger_is_told(place):
    (place / "ledger.json").unlink()
    with pytest.raises(ValidationError, match=r"there is no ledger at .* yet"):
        run(place, variables(**WHOLE))


def test_files_keep_their_mode_and_no_litter_is_left(place):
    run(place, variables(**WHOLE))
    (place / "page.html").chmod(0o640)
    run(place, variables(a=WHOLE["a"]))
    assert (place / "page.html").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in place.iterdir()) == ["ledger.json", "page.html", "page.json"]


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(place, monkeypatch):
    made = run(place, variables(**WHOLE))
    before = (place / "page.json").read_text()
    files = ReportFiles(made["dest"], str(place / "ledger.json"))

    def full(*_paths):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValidationError, match="No space left on device"):
        files.write("page", data_text(files.picture()))
    assert (place / "page.json").read_text() == before
    assert len(list(place.iterdir())) == 3

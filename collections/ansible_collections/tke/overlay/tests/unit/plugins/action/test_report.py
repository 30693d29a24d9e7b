# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action report: which files it overwrites, when it reports a change, and how it reads registered results."""

from __future__ import annotations

import json
import os
import pathlib
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
def directory(tmp_path):
    """Return a directory with a ledger of the nodes a and b; the report is written there too."""
    ledger = Ledger("demo", Pool(["10.244.0.0/20"], 256, 256))
    for number, name in enumerate("ab"):
        ledger.nodes[name] = Assignment(
            ledger.pool.node_cidr(number), f"10.0.0.{number}", 1500, "2026-01-01T00:00:00Z", False
        )
    (tmp_path / "ledger.json").write_text(ledger.text())
    return tmp_path


def variables(**results):
    """Return the task variables: nodes a (cloud) and b (idc), and the results that were registered for each."""
    return {
        "groups": {"overlay_nodes": ["a", "b"], "cloud": ["a"], "idc": ["b"], "clb": ["c"]},
        "hostvars": {name: results.get(name, {}) for name in "abc"},
        "ansible_play_hosts_all": [*results],
        "ansible_inventory_sources": ["/hosts.yml"],
    }


def run(directory, task_vars, check=False, diff=False, **given):
    action = report.ActionModule.__new__(report.ActionModule)
    action._task = types.SimpleNamespace(check_mode=check, diff=diff)
    defaults = {name: option.get("default") for name, option in action.options.items()}
    ledger, dest = str(directory / "ledger.json"), str(directory / "page.html")
    return action.work({**defaults, "ledger": ledger, "dest": dest, **given}, task_vars)


def registered(name, peer):
    return {
        "overlay_report_info": {"overlay": {**OVERLAY, "node": name}},
        "overlay_report_probe": {"asked": 1, "answered": 1, "rtt_ms": {peer: 0.5}, "findings": []},
    }


HEALTHY = {"a": registered("a", "b"), "b": registered("b", "a")}


def test_only_new_content_is_a_change(directory):
    first = run(directory, variables(**HEALTHY))
    assert first["changed"]
    assert first["verdict"]["state"] == "healthy"
    assert not run(directory, variables(**HEALTHY))["changed"]
    slower = {
        **HEALTHY,
        "a": {**HEALTHY["a"], "overlay_report_probe": {**HEALTHY["a"]["overlay_report_probe"], "rtt_ms": {"b": 9}}},
    }
    again = run(directory, variables(**slower))
    assert not again["changed"]
    assert "9.0 ms" in (directory / "page.html").read_text(), "measurements are written nevertheless"
    assert run(directory, variables(a=HEALTHY["a"]))["changed"]


@pytest.mark.parametrize("name", ["page.html", "page.json"])
def test_a_missing_file_is_a_change(directory, name):
    run(directory, variables(**HEALTHY))
    (directory / name).unlink()
    assert run(directory, variables(**HEALTHY))["changed"]
    assert not run(directory, variables(**HEALTHY))["changed"]


def test_check_mode_shows_the_diff_and_writes_nothing(directory):
    checked = run(directory, variables(**HEALTHY), check=True, diff=True)
    assert sorted(path.name for path in directory.iterdir()) == ["ledger.json"]
    real = run(directory, variables(**HEALTHY), diff=True)
    assert checked["changed"]
    assert checked["diff"] == real["diff"]
    assert "The network is healthy" in real["diff"]["after"]
    assert "diff" not in run(directory, variables(**HEALTHY), diff=True)


def test_failed_and_unreachable_hosts_become_findings(directory):
    results = {
        "a": {"overlay_report_info": {"failed": True, "msg": "this host has no nft: install nftables"}},
        "b": {
            "overlay_report_info": {"unreachable": True, "msg": "timed out"},
            "overlay_report_probe": {"skipped": True},
        },
        "c": {"overlay_report_info": {"skipped": True}},
    }
    result = run(directory, variables(**results))
    assert [(finding["kind"], finding["hosts"]) for finding in result["findings"]] == [
        ("unreachable", ["b"]),
        ("failed", ["a"]),
    ]
    assert "install nftables" in result["findings"][1]["text"]


def test_the_ledger_alone_is_enough_for_a_report(directory):
    assert run(directory, variables())["verdict"]["state"] == "unobserved"


def test_a_prometheus_that_does_not_answer_is_a_warning(directory):
    without = run(directory, variables(**HEALTHY))
    result = run(directory, variables(**HEALTHY), prometheus="http://127.0.0.1:1")
    (warning,) = result["warnings"]
    assert "http://127.0.0.1:1 (overlay_prometheus_url)" in warning
    assert "Prometheus has not answered: http://127.0.0.1:1" in (directory / "page.html").read_text()
    assert result["digest"] == without["digest"], "a measurement is no change"
    assert not result["changed"]


def sites_of(result):
    return [site["name"] for site in json.loads(pathlib.Path(result["data"]).read_text())["sites"]]


def test_sites_are_the_child_groups_of_the_group(directory):
    children = [types.SimpleNamespace(name="north"), types.SimpleNamespace(name="south")]
    group = types.SimpleNamespace(child_groups=children)

    class Hosts(dict):
        _inventory = types.SimpleNamespace(groups={"overlay_nodes": group})

    task_vars = variables(**HEALTHY)
    task_vars["groups"].update(north=["b"], south=["a"])
    assert sites_of(run(directory, task_vars)) == ["cloud", "idc"], "without the inventory object"
    task_vars["hostvars"] = Hosts(task_vars["hostvars"])
    assert sites_of(run(directory, task_vars)) == ["north", "south"]


# --- the files ---


@pytest.mark.parametrize(
    ("dest", "words"),
    [
        ("page.txt", ["must end in .html"]),
        ("nowhere/page.html", ["does not exist", "nowhere"]),
        ("ledger.html", ["is the ledger"]),
        ("nowhere/page.json", ["must end in .html", "does not exist"]),
    ],
)
def test_an_invalid_dest_names_every_problem(directory, dest, words):
    with pytest.raises(ValidationError) as caught:
        run(directory, variables(**HEALTHY), dest=str(directory / dest))
    for word in words:
        assert word in str(caught.value)
    assert sorted(path.name for path in directory.iterdir()) == ["ledger.json"]


@pytest.mark.parametrize(
    ("name", "text"), [("page.html", "<html>another page</html>"), ("page.json", '{"another": 1}'), ("page.json", "")]
)
def test_a_foreign_file_is_not_overwritten(directory, name, text):
    (directory / name).write_text(text)
    with pytest.raises(ValidationError, match="exists and is not"):
        run(directory, variables(**HEALTHY))
    assert (directory / name).read_text() == text
    assert len(list(directory.iterdir())) == 2


def test_a_missing_ledger_is_an_error(directory):
    (directory / "ledger.json").unlink()
    with pytest.raises(ValidationError, match=r"there is no ledger at .* yet"):
        run(directory, variables(**HEALTHY))


def test_files_keep_their_mode_and_no_temporary_file_remains(directory):
    run(directory, variables(**HEALTHY))
    (directory / "page.html").chmod(0o640)
    run(directory, variables(a=HEALTHY["a"]))
    assert (directory / "page.html").stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in directory.iterdir()) == ["ledger.json", "page.html", "page.json"]


def test_a_failed_write_keeps_the_old_file(directory, monkeypatch):
    result = run(directory, variables(**HEALTHY))
    before = (directory / "page.json").read_text()
    files = ReportFiles(result["dest"], str(directory / "ledger.json"))

    def full(*_paths):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ValidationError, match="No space left on device"):
        files.write("page", data_text(files.current()))
    assert (directory / "page.json").read_text() == before
    assert len(list(directory.iterdir())) == 3


def test_hosts_are_grouped_by_the_site_that_they_have(directory):
    named = {name: {**HEALTHY[name], "overlay_site": site} for name, site in (("a", "shanghai"), ("b", None))}
    run(directory, variables(**named))
    document = json.loads((directory / "page.json").read_text())
    assert {site["name"]: site["nodes"] for site in document["sites"]} == {"idc": 1, "shanghai": 1}

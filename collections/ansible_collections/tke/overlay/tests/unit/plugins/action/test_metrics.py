# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action metrics: what it writes, for which cluster, and that it never breaks the run that it measures."""

from __future__ import annotations

import os
import pathlib
import stat
import types

import pytest

from ansible_collections.tke.overlay.plugins.action import metrics
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Ledger, Pending


@pytest.fixture
def directory(tmp_path):
    """Return a directory with a ledger of three nodes, one of which is an orphan, and a directory for metrics."""
    ledger = Ledger("demo", Pool(["10.244.0.0/20"], 256, 256))
    for number, name in enumerate(("a", "b", "gone")):
        ledger.nodes[name] = Assignment(
            ledger.pool.node_cidr(number), f"10.0.0.{number}", 1500, "2026-01-01T00:00:00Z", False
        )
    ledger.pending[ledger.pool.node_cidr(5)] = Pending("old", "2026-02-01T00:00:00Z", ["b"], True)
    ledger.cursor = 6
    (tmp_path / "ledger.json").write_text(ledger.text())
    (tmp_path / "metrics").mkdir()
    return tmp_path


VARIABLES = {
    "groups": {"overlay_nodes": ["a", "b"], "clb": ["c"]},
    "hostvars": {
        "a": {"one": {"changed": False}},
        "b": {"one": {"unreachable": True, "msg": "timed out"}, "two": {"unreachable": True}},
        "c": {"two": {"unreachable": True}},
    },
    "ansible_play_hosts_all": ["a", "b", "c"],
}


def run(directory, check=False, **given):
    action = metrics.ActionModule.__new__(metrics.ActionModule)
    action._task = types.SimpleNamespace(check_mode=check)
    defaults = {name: option.get("default") for name, option in action.options.items()}
    places = {"ledger": str(directory / "ledger.json"), "dest": str(directory / "metrics")}
    return action.work({**defaults, **places, "playbook": "status", "results": ["one", "two"], **given}, VARIABLES)


def values(result):
    lines = [
        line
        for path in result["files"]
        for line in pathlib.Path(path).read_text().splitlines()
        if not line.startswith("#")
    ]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_the_files_have_the_ledger_and_the_run(directory):
    found = values(run(directory))
    assert found.pop('tke_overlay_controller_last_run_timestamp_seconds{cluster="demo",playbook="status"}') > 1.7e9
    assert found == {
        'tke_overlay_ledger_node_cidrs{cluster="demo",state="assigned"}': 3,
        'tke_overlay_ledger_node_cidrs{cluster="demo",state="free"}': 11,
        'tke_overlay_ledger_node_cidrs{cluster="demo",state="pending"}': 1,
        'tke_overlay_ledger_node_cidrs{cluster="demo",state="quarantined"}': 0,
        'tke_overlay_ledger_capacity_node_cidrs{cluster="demo"}': 15,
        'tke_overlay_ledger_pending{cluster="demo"}': 1,
        'tke_overlay_ledger_orphans{cluster="demo"}': 1,
        'tke_overlay_hosts_not_reached{cluster="demo",playbook="status"}': 2,
    }


def test_reserved_node_cidrs_are_not_free(directory):
    found = values(run(directory, reserved=["10.244.8.0/24"]))
    assert found['tke_overlay_ledger_node_cidrs{cluster="demo",state="free"}'] == 10
    assert found['tke_overlay_ledger_capacity_node_cidrs{cluster="demo"}'] == 14


def test_playbooks_do_not_overwrite_each_others_files(directory):
    files = {*run(directory)["files"], *run(directory, playbook="site", results=[])["files"]}
    assert {os.path.basename(path) for path in files} == {
        "tke_overlay_controller_demo.prom",
        "tke_overlay_controller_demo_status.prom",
        "tke_overlay_controller_demo_site.prom",
    }


def test_everybody_may_read_the_files_under_any_umask(directory):
    former = os.umask(0o077)
    try:
        files = run(directory)["files"]
    finally:
        os.umask(former)
    assert {stat.S_IMODE(os.stat(path).st_mode) for path in files} == {0o644}
    assert sorted(os.listdir(directory / "metrics")) == sorted(map(os.path.basename, files)), "no temporary file"


def test_check_mode_writes_nothing(directory):
    result = run(directory, check=True)
    assert os.listdir(directory / "metrics") == []
    assert result["files"] == run(directory)["files"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dest": "/nowhere"}, ["overlay_controller_metrics_dir", "'/nowhere'", "create it"]),
        ({"ledger": "/nowhere/ledger.json"}, ["no ledger at /nowhere/ledger.json"]),
        ({"cluster": "other"}, ["'demo'", "other"]),
        ({"reserved": ["192.0.2.0/24"]}, ["192.0.2.0/24"]),
    ],
)
def test_what_prevents_it_is_a_warning_and_no_failure(directory, given, words):
    result = run(directory, **given)
    (warning,) = result["warnings"]
    for word in ("the metrics of the controller were not written", *words):
        assert word in warning
    assert not result.get("failed")
    assert result["files"] == os.listdir(directory / "metrics") == []


def test_a_file_that_cannot_be_replaced_is_a_warning(directory):
    (directory / "metrics/tke_overlay_controller_demo.prom").mkdir()
    (warning,) = run(directory)["warnings"]
    assert "tke_overlay_controller_demo.prom cannot be written" in warning
    assert "overlay_controller_metrics_dir" in warning
    assert os.listdir(directory / "metrics") == ["tke_overlay_controller_demo.prom"], "no temporary file"


def test_the_name_of_a_cluster_is_no_path(directory):
    ledger = Ledger("../x y/\u00e9", Pool(["10.244.0.0/20"], 256, 256))
    (directory / "ledger.json").write_text(ledger.text())
    for path in run(directory)["files"]:
        assert os.path.dirname(path) == str(directory / "metrics")
        assert 'cluster="../x y/\u00e9"' in pathlib.Path(path).read_text()

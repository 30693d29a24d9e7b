# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Upgrades: the present code reads the state that a release has saved on a host and in a ledger.

tests/fixtures/state-VERSION holds the directory /etc/tke-overlay of `cloud1` in the lab after a run of that release and
the ledger of that run. It is recorded once, when the release is made (docs/testing.md), and never changed. The present
code counts as a release too, so that the test of the next release works before that release is made.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import assign, plan
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.recover import (
    HostRecord,
    SavedStates,
    recover,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.state.fleet import read_saved
from breakages import everything

RELEASES = [*sorted((pathlib.Path(__file__).parents[1] / "fixtures").glob("state-*")), pathlib.Path("present")]
SETTINGS = ClusterSettings("lab", ["10.244.0.0/16"], 256, 256)
NODES = [
    InventoryNode("cloud1", ["cloud"], "10.0.1.11", 1500),
    InventoryNode("cloud2", ["cloud"], "10.0.1.12", 1500),
    InventoryNode("idc1", ["idc"], "192.168.1.11", 1450),
    InventoryNode("idc2", ["idc"], "192.168.1.12", 1450),
]
NOW = "2026-01-02T03:04:05Z"


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def release(request, run, tmp_path, monkeypatch):
    """Return the directory with a release's ledger; the host has the release's files and has not booted yet."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    if request.param.name == "present":
        return saved_by_present_code(run, tmp_path)
    shutil.copytree(request.param / "tke-overlay", tmp_path / "etc/tke-overlay")
    return request.param


def saved_by_present_code(run, tmp_path):
    """Return what a release of the present code would record."""
    ledger = assign(SETTINGS, NODES, None, "the ledger", NOW)
    (tmp_path / "overlay-ledger.json").write_text(ledger.text())
    node.converge({**plan(SETTINGS, NODES, ledger).document, "node": "cloud1"}, run, check=False)
    for command in (["ip", "link", "del", "tke0"], ["nft", "delete", "table", "inet", "tke_overlay"]):
        assert run(command, None)[0] == 0
    shutil.rmtree(tmp_path / "run")
    return tmp_path


@pytest.fixture
def kernel(release, run, tmp_path):
    """Run the restore script of the release, as the host does at boot."""
    environment = {**os.environ, "TKE_OVERLAY_RUN": f"{tmp_path}/run/tke-overlay"}
    done = subprocess.run(
        ["sh", f"{tmp_path}/etc/tke-overlay/restore"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return run


def planned(release):
    text = (release / "overlay-ledger.json").read_text()
    ledger = assign(SETTINGS, NODES, text, "the ledger", NOW)
    assert ledger.text() == text, "the ledger does not change"
    return {**plan(SETTINGS, NODES, ledger).document, "node": "cloud1"}


def test_keeps_the_ledger_and_the_kernel_tables(release, kernel):
    before = everything(kernel)
    outcome = node.converge(planned(release), kernel, check=False, options=node.ConvergeOptions(phase="prepare"))
    assert not outcome.link
    assert not any(outcome.tables.values())
    assert not outcome.unfinished
    assert everything(kernel) == before
    assert not node.converge(planned(release), kernel, check=False).changed


def test_removes_a_host_of_the_release(release, kernel):
    reset.remove("tke0", "tke-br0", kernel, check=False)
    assert not any("tke0" in row or "tke_overlay" in row for rows in everything(kernel).values() for row in rows)


def test_rebuilds_the_ledger_from_the_saved_state(release):
    saved = read_saved()
    record = HostRecord(**{field: saved[field] for field in HostRecord._fields if field in saved})
    found = SavedStates({"cloud1": record}, {saved["view"]: saved["fleet"]})
    document = {**plan(SETTINGS, NODES, recover(SETTINGS, NODES, found, NOW)).document, "node": "cloud1"}
    assert document == planned(release)
    assert len(parse_fleet(document["fleet"])) == len(NODES)

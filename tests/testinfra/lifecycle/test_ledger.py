# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Hosts know better than a ledger that was lost, left behind or belongs to another cluster: no host is changed."""

from __future__ import annotations

import dataclasses
import re
import shlex
import shutil
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import parse
from stories import INVENTORY, LEDGER, NODES, PAIR, at_once, joined, ledger, play, site, states

testinfra_hosts = ["local://"]


@pytest.fixture
def inventory_in_another_order(tmp_path):
    """Return a copy of the inventory with two nodes swapped, so that a new ledger gives them other node CIDRs."""
    shutil.copytree(INVENTORY.parent, tmp_path / "inventory")
    path = tmp_path / "inventory" / INVENTORY.name
    lines = path.read_text().splitlines(keepends=True)
    first, second = (next(number for number, line in enumerate(lines) if f" {name}:" in line) for name in NODES[:2])
    lines[first], lines[second] = lines[second], lines[first]
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module", autouse=True)
def unchanged_hosts():
    """Check that no test of this module has changed a host."""
    before = states(NODES + PAIR)
    yield
    assert states(NODES + PAIR) == before


def test_a_lost_ledger_renumbers_nobody(inventory_in_another_order, tmp_path):
    kept = tmp_path / "kept"
    held = {name: each["node_cidr"] for name, each in ledger()["nodes"].items()}
    LEDGER.rename(kept)
    forecast = play("tke.overlay.preflight", inventories=(inventory_in_another_order,))
    screen = forecast.text.partition("TASK [Print the summary]")[2].strip().splitlines()
    assert screen[1].startswith(f"there is no ledger at {LEDGER}"), forecast.text
    refused = play("tke.overlay.site", inventories=(inventory_in_another_order,))
    assert refused.code != 0
    assert refused.changed() == set()
    assert not LEDGER.exists()
    text = joined(refused.text)
    for name, other in zip(NODES[:2], reversed(NODES[:2]), strict=True):
        assert f"node {name} has {held[name]}, and the plan gives it {held[other]}" in text
    assert "tke.overlay.rebuild_ledger" in text
    assert "-e overlay_renumber=" in text
    assert play("tke.overlay.verify").code != 0
    (restore,) = set(re.findall(rf"restore it with: (cp \S+ {re.escape(str(LEDGER))})", text))
    subprocess.run(shlex.split(restore), check=True)
    assert site().changed() <= {"cloud1"}, "the ledger alone"
    assert ledger()["nodes"].keys() == held.keys()
    kept.rename(LEDGER)


def test_hosts_of_another_cluster_are_not_taken_over(tmp_path):
    other = ("-e", "overlay_cluster=other", "-e", f"overlay_ledger={tmp_path}/ledger.json")
    reset = ("tke.overlay.reset", *other, "-e", "overlay_reset_confirmed=true")
    refused, without_effect = at_once(("tke.overlay.site", *other), reset)
    text = joined(refused.text)
    assert refused.code != 0
    assert "of cluster 'lab', cloud1, cloud2, idc1, idc2 are nodes, and overlay_cluster is 'other'" in text
    assert "of cluster 'lab', clb1, clb2 carry the load balancer" in text
    assert "-e overlay_take_over=lab" in text
    assert not (tmp_path / "ledger.json").exists()
    assert without_effect.changed() == set()


def test_one_host_knows_the_nodes_that_limit_excludes(tmp_path):
    inventory = tmp_path / "hosts.yml"
    lines = INVENTORY.read_text().splitlines(keepends=True)
    inventory.write_text("".join(line for line in lines if "idc2:" not in line))
    (tmp_path / "group_vars").symlink_to(INVENTORY.parent / "group_vars")
    place = ("-e", f"overlay_ledger={tmp_path}/ledger.json")
    refused = play("tke.overlay.site", "--limit", "idc1", *place, inventories=(inventory,))
    assert refused.code != 0
    assert f"node idc2 has {ledger()['nodes']['idc2']['node_cidr']}, and it is not in the ledger" in joined(
        refused.text
    )
    assert not (tmp_path / "ledger.json").exists()


def test_a_node_that_limit_excludes_is_not_released():
    record = LEDGER.read_bytes()
    sure = ("-e", "overlay_release_confirmed=true", "-e", "overlay_clb_release_confirmed=true")
    node, pair = at_once(
        ("tke.overlay.release", "-e", "overlay_release=idc2", "--limit", "!idc2", *sure),
        ("tke.overlay.clb_release", "--limit", "clb1", *sure),
    )
    assert node.code != 0
    assert "--limit excludes node idc2" in joined(node.text)
    assert pair.code != 0
    assert "clb2 is left out by --limit" in joined(pair.text)
    assert LEDGER.read_bytes() == record


def test_an_older_ledger_that_contradicts_no_host_is_refused():
    record = LEDGER.read_text()
    present = parse(record, str(LEDGER), None)
    applied, *before = present.recorded.split()
    older = dataclasses.replace(present, recorded=" ".join(before) or "1-00000000")
    LEDGER.write_text(older.text())
    try:
        refused = play("tke.overlay.site")
        text = joined(refused.text)
        assert LEDGER.read_text() == older.text()
    finally:
        LEDGER.write_text(record)
    assert refused.code != 0
    assert refused.changed() == set()
    hosts = "cloud1, cloud2, idc1, idc2"
    (named,) = set(re.findall(rf"ledger version (\S+) was applied by {hosts}, and the ledger has (\S+?)[.\"\s]", text))
    assert named[0] == applied
    assert f"-e overlay_older_ledger={named[1]}" in text
    assert "tke.overlay.rebuild_ledger" in text

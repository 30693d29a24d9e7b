# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Test of a node that moves to the other site: group, subnet and router port change, its name does not."""

from __future__ import annotations

import json

import pytest

from day_two import nothing_lost, of_page
from stories import INVENTORY, LAB_STATE, lab, ledger, play, site, states

testinfra_hosts = ["local://"]

OTHERS = ("cloud1", "idc1", "idc2")


@pytest.fixture
def without_cloud2():
    """Return the inventory of the lab without cloud2; afterwards move cloud2 back and start its Pods."""
    directory = LAB_STATE / "without-cloud2"
    directory.mkdir(exist_ok=True)
    lines = INVENTORY.read_text().splitlines(keepends=True)
    (directory / "hosts.yml").write_text("".join(line for line in lines if "cloud2:" not in line))
    for name in ("group_vars", "host_vars"):
        if not (directory / name).exists():
            (directory / name).symlink_to(INVENTORY.parent / name)
    yield directory / "hosts.yml"
    lab("-i", str(INVENTORY), "up")
    site()
    done = play("tests/lab/pods.yml", "--limit", "cloud2")
    assert done.code == 0, done.text


@of_page("Move a node to the other site")
def test_a_node_that_changes_its_site_keeps_its_node_cidr(story, without_cloud2):
    (there,), commands = story
    node_cidr = ledger()["nodes"]["cloud2"]["node_cidr"]
    before = states(OTHERS)
    lab("-i", str(without_cloud2), "-i", str(there), "up")
    (network,) = [each["network"] for each in json.loads(lab("status", "--json")) if each["host"] == "cloud2"]
    assert network == "idc"
    with nothing_lost(OTHERS):
        for command in commands:
            done = play(*command, inventories=(without_cloud2, there))
            assert done.code == 0, done.text
    assert "healthy: 12 of 12 pairs" in done.text
    assert ledger()["nodes"]["cloud2"] | {"since": ""} == {
        "node_cidr": node_cidr, "underlay": "192.168.1.32", "underlay_mtu": 1450, "since": "", "pinned": False
    }  # fmt: skip
    after = states(OTHERS)
    for name in OTHERS:
        assert len(before[name] - after[name]) == 2, "an FDB entry and the address that may send to the tunnel port"
        assert len(after[name] - before[name]) == 2
    on = json.loads(lab("exec", "cloud2", "--", "ip", "-json", "-details", "link", "show", "tke0"))
    assert on[0]["linkinfo"]["info_data"]["local"] == "192.168.1.32"

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of the site playbook after a third IDC host was added to the inventory."""

from __future__ import annotations

import pytest

from stories import INVENTORY, LEDGER, NODES, ROOT, joined, lab, ledger, matrix, on, play, site, states

testinfra_hosts = ["local://"]

THIRD = ROOT / "inventories/lab_third_idc/hosts.yml"
BOTH = (INVENTORY, THIRD)


@pytest.fixture
def third_host():
    """Start a third machine in the IDC; afterwards release its node CIDR and remove it."""
    lab("-i", str(INVENTORY), "-i", str(THIRD), "up")
    yield
    released = play("molecule/add_node/release.yml")
    lab("-i", str(INVENTORY), "up")
    assert released.code == 0, released.text
    site()


@pytest.mark.usefixtures("third_host")
def test_a_new_node_adds_three_objects_per_peer_twice():
    before, record = states(), ledger()
    done = site("--diff", inventories=BOTH)
    assert done.changed() == {*NODES, "idc3"}

    after = states()
    for name in NODES:
        assert before[name] - after[name] == set(), f"{name} lost something"
        new = after[name] - before[name]
        assert len(new) == 4, f"three kernel objects, and the address that may send to the tunnel port: {new}"
    for name in set(before) - set(NODES):
        assert after[name] == before[name]

    assert {name: held for name, held in ledger()["nodes"].items() if name != "idc3"} == record["nodes"]
    assert ledger()["nodes"]["idc3"]["node_cidr"] == f"10.244.{record['cursor']}.0/24"

    assert site(inventories=BOTH).changed() == set()
    assert_all_pods_reach_each_other()

    # The machine has left the inventory, and runs on. The ledger explains to it why it gets another node CIDR.
    gone = play("tke.overlay.release", "-e", "overlay_release=idc3", "-e", "overlay_release_confirmed=true")
    assert gone.code == 0, gone.text
    assert "The overlay was not removed from idc3" in joined(gone.text)
    assert f"node_cidr: 10.244.{record['cursor']}.0/24" in on("idc3", "cat /etc/tke-overlay/summary")
    following = f"10.244.{ledger()['cursor']}.0/24"
    assert site(inventories=BOTH).changed() == {*NODES, "idc3"}
    assert ledger()["nodes"]["idc3"]["node_cidr"] == following != f"10.244.{record['cursor']}.0/24"
    assert_all_pods_reach_each_other()
    assert site(inventories=BOTH).changed() == set()


def assert_all_pods_reach_each_other():
    """Start Pods on the third host, with addresses of its current node CIDR, and probe all pairs of Pods."""
    started = play("tests/lab/pods.yml", "--limit", "idc3", inventories=BOTH)
    assert started.code == 0, started.text
    pairs = matrix(inventories=BOTH)
    assert len(pairs) == 100
    assert all(pair["small"] and pair["full"] for pair in pairs)


@pytest.mark.usefixtures("third_host")
def test_a_node_is_added_with_limit_before_its_peers():
    done = site("--limit", "idc3", inventories=BOTH)
    assert done.changed() == {"idc3"}
    record = LEDGER.read_bytes()
    assert site(inventories=BOTH).changed() == set(NODES)
    assert LEDGER.read_bytes() == record

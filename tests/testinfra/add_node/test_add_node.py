# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A third IDC host is added to the inventory, and the site playbook run again."""

from __future__ import annotations

import pytest

from stories import INVENTORY, LEDGER, NODES, ROOT, lab, ledger, matrix, play, site, states

testinfra_hosts = ["local://"]

THIRD = ROOT / "inventories/lab_third_idc/hosts.yml"
BOTH = (INVENTORY, THIRD)


@pytest.fixture
def third_host():
    """A machine more, which Ansible has not met yet; gone again afterwards, its node CIDR given back."""
    lab("-i", str(INVENTORY), "-i", str(THIRD), "up")
    yield
    released = play("molecule/add_node/release.yml")
    lab("-i", str(INVENTORY), "up")
    assert released.code == 0, released.text
    site()


@pytest.mark.usefixtures("third_host")
def test_it_gets_the_next_node_cidr_and_each_old_host_gains_three_kernel_objects_and_so_it_does_when_it_comes_again():
    before, record = states(), ledger()
    done = site("--diff", inventories=BOTH)
    assert done.changed() == {*NODES, "idc3"}

    after = states()
    for name in NODES:
        assert before[name] - after[name] == set(), f"{name} lost something"
        new = after[name] - before[name]
        assert len(new) == 4, f"three kernel objects, and one more who may send to the tunnel's port: {new}"
    for name in set(before) - set(NODES):
        assert after[name] == before[name]

    assert {name: held for name, held in ledger()["nodes"].items() if name != "idc3"} == record["nodes"]
    assert ledger()["nodes"]["idc3"]["node_cidr"] == f"10.244.{record['cursor']}.0/24"

    assert site(inventories=BOTH).changed() == set()
    all_pods_reach_each_other()

    assert play("molecule/add_node/release.yml").code == 0
    following = f"10.244.{ledger()['cursor']}.0/24"
    assert site(inventories=BOTH).changed() == {*NODES, "idc3"}
    assert ledger()["nodes"]["idc3"]["node_cidr"] == following != f"10.244.{record['cursor']}.0/24"
    all_pods_reach_each_other()
    assert site(inventories=BOTH).changed() == set()


def all_pods_reach_each_other():
    """Once those of the third host are there, of the node CIDR that it has now."""
    started = play("tests/lab/pods.yml", "--limit", "idc3", inventories=BOTH)
    assert started.code == 0, started.text
    pairs = matrix(inventories=BOTH)
    assert len(pairs) == 100
    assert all(pair["small"] and pair["full"] for pair in pairs)


@pytest.mark.usefixtures("third_host")
def test_added_alone_by_limit_and_by_the_others_later():
    done = site("--limit", "idc3", inventories=BOTH)
    assert done.changed() == {"idc3"}
    record = LEDGER.read_bytes()
    assert site(inventories=BOTH).changed() == set(NODES)
    assert LEDGER.read_bytes() == record

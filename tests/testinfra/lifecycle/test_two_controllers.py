# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Beyond one controller: two run at once, each on the nodes of its site, with one ledger in etcd."""

from __future__ import annotations

import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import open_store
from members import Etcd, until
from stories import INVENTORY, LEDGER, NODES, begin, ended, on, play, site, states

testinfra_hosts = ["local://"]

FURTHER = {"cloud": {"cloud9": "10.0.1.99"}, "idc": {"idc9": "192.168.1.99"}}
"""A further node of each site, which both controllers find in their inventories at the same time."""


@pytest.fixture
def url(tmp_path):
    """Return the place of a copy of the ledger in a real etcd; afterwards the copy, which is newer, is the ledger."""
    etcd = Etcd(tmp_path, names=("single",))
    etcd.start("single")
    try:
        until(lambda: etcd.status("single"))
        open_store(etcd.url()).transact(lambda _text: LEDGER.read_text())
        yield etcd.url()
        LEDGER.write_text(open_store(etcd.url()).read() or "")
    finally:
        etcd.stop()


@pytest.fixture
def inventories(tmp_path):
    """Return the inventory of the lab with the further nodes."""
    more = tmp_path / "more.json"
    groups = {
        group: {"hosts": {name: {"ansible_host": address} for name, address in hosts.items()}}
        for group, hosts in FURTHER.items()
    }
    more.write_text(json.dumps(groups))
    return (INVENTORY, more)


def test_two_controllers_at_once_share_a_ledger_in_etcd(url, inventories):
    site()
    before, recorded = states(NODES), json.loads(LEDGER.read_text())["nodes"]
    place = ("-e", f"overlay_ledger={url}")
    limits = [f"{group}:!{name}" for group, hosts in FURTHER.items() for name in hosts]
    runs = [begin("tke.overlay.site", "--limit", limit, *place, inventories=inventories) for limit in limits]
    for done in map(ended, runs):
        assert done.code == 0, done.text
    held = json.loads(open_store(url).read() or "")["nodes"]
    assert {name: held[name]["node_cidr"] for name in NODES} == {
        name: each["node_cidr"] for name, each in recorded.items()
    }
    assert held.keys() == {*NODES, "cloud9", "idc9"}
    assert len({each["node_cidr"] for each in held.values()}) == len(held)
    fleets = {on(name, "cat /etc/tke-overlay/fleet") for name in NODES}
    assert len(fleets) == 1, "all hosts have one plan, whichever controller has configured them"
    assert f"idc9 {held['idc9']['node_cidr']} 192.168.1.99" in fleets.pop()

    leaving = ("-e", "overlay_release=cloud9,idc9", "-e", "overlay_release_confirmed=true")
    done = play("tke.overlay.release", *leaving, *place, "-e", "overlay_release_force=true")
    assert done.code == 0, done.text
    assert states(NODES) == before

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What a host says of itself: whatever was broken is told, with a plan and without, and looking changes nothing."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import plan_id
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import status as info
from breakages import BREAKAGES, PEERS, broken, document, everything


@pytest.fixture(autouse=True)
def files_of_the_host(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(files.os, "fsync", lambda _descriptor: None)  # most of the time that these tests would take
    return tmp_path


def overview(run, wanted=None, vips=()):
    return info.read_status(run, wanted, vips)


def test_a_node_that_is_well_says_all_of_itself(run):
    node.converge(document(), run, check=False)
    seen = overview(run, document(), ["10.0.1.11", "10.0.1.99"])
    assert seen["node"] == "me"
    assert seen["node_cidr"] == "10.244.0.0/24"
    assert seen["vtep"] == {"address": "10.244.0.0", "mac": "0a:58:0a:f4:00:00", "device": "tke0", "state": "up"}
    assert (seen["underlay"], seen["port"], seen["vni"], seen["mtu"], seen["peers"]) == ("10.0.1.11", 8472, 1, 1450, 5)
    assert seen["plan"] == {"applied": plan_id(document()), "wanted": plan_id(document()), "current": True}
    assert seen["drift"] == []
    assert seen["counters"]["rules"]["unrouted"] == 0
    assert seen["timer"] == "no systemd"
    assert seen["vips"] == ["10.0.1.11"]
    assert overview(run)["drift"] == []
    assert overview(run)["plan"]["current"] is None


def test_a_host_that_is_no_node_says_so(run):
    seen = overview(run, document())
    assert seen["node"] is None
    assert seen["vtep"] is None
    assert seen["plan"] == {"applied": None, "wanted": plan_id(document()), "current": False}
    assert seen["drift"] == []
    assert overview(run, document(node="stranger"))["plan"]["current"] is True


@pytest.mark.parametrize("line", BREAKAGES)
def test_whatever_a_run_would_mend_is_drift_with_a_plan_and_without_and_looking_changes_nothing(run, line):
    node.converge(document(), run, check=False)
    broken(run, line)
    before = everything(run)
    outcome = node.converge(document(), run, check=True)
    assert bool(overview(run, document())["drift"]) is outcome.changed
    assert bool(overview(run)["drift"]) is outcome.changed
    assert everything(run) == before


def test_drift_is_in_words_and_many_entries_are_a_number(run):
    node.converge(document(), run, check=False)
    broken(run, "ip neigh del 10.244.1.0 dev tke0")
    broken(run, "ip route flush proto 84")
    assert overview(run, document())["drift"] == overview(run)["drift"]
    assert overview(run)["drift"] == [
        "route: 6 missing",
        "neighbor: missing 10.244.1.0 lladdr 0a:58:0a:f4:01:00",
    ]
    broken(run, "ip link del tke0")
    assert "link tke0: missing" in overview(run)["drift"]
    assert overview(run)["vtep"]["state"] == "missing"


def test_an_old_plan_is_old_and_no_drift(run):
    node.converge(document(PEERS[:3]), run, check=False)
    seen = overview(run, document())
    assert seen["plan"]["current"] is False
    assert seen["plan"]["applied"] == plan_id(document(PEERS[:3]))
    assert seen["drift"] == []
    broken(run, "ip neigh del 10.244.1.0 dev tke0")
    assert overview(run, document())["drift"] == ["neighbor: missing 10.244.1.0 lladdr 0a:58:0a:f4:01:00"]


def test_a_file_that_was_changed_is_drift(run, files_of_the_host):
    node.converge(document(), run, check=False)
    (files_of_the_host / "etc/tke-overlay/restore").write_text("exit 0\n")
    (files_of_the_host / "etc/cni/net.d/10-tke-overlay.conflist").unlink()
    assert overview(run, document())["drift"] == [
        "file /etc/tke-overlay/restore: changed",
        "file /etc/cni/net.d/10-tke-overlay.conflist: missing",
    ]


def test_a_saved_batch_that_is_missing_or_edited_is_told(run, files_of_the_host):
    node.converge(document(), run, check=False)
    batch = files_of_the_host / "etc/tke-overlay/fdb.batch"
    batch.write_text("fdb replace everything\n")
    with pytest.raises(KernelError, match="a line that this collection does not write"):
        overview(run)
    batch.unlink()
    assert overview(run)["drift"] == ["file /etc/tke-overlay/fdb.batch: missing"]


def test_what_else_may_be_wrong_of_the_saved_state_is_told(run, files_of_the_host):
    node.converge(document(), run, check=False)
    state = files_of_the_host / "etc/tke-overlay"
    (state / "rules.nft").unlink()
    assert overview(run)["drift"] == ["file /etc/tke-overlay/rules.nft: missing"]
    settings = (state / "settings").read_text()
    (state / "settings").write_text(settings.replace("vni=", "vni=x"))
    (told,) = overview(run)["drift"]
    assert told.startswith("file /etc/tke-overlay/settings: damaged (invalid literal")


def test_a_device_that_somebody_else_made_in_the_place_of_ours_is_told_with_what_is_lost(run, files_of_the_host):
    node.converge(document(), run, check=False)
    for line in ("ip link del tke0", "ip link add tke0 type bridge"):
        broken(run, line)
    drift = overview(run)["drift"]
    assert drift[0] == "link tke0: no VXLAN link, somebody else has made it"
    assert {"route", "fdb", "neighbor"} <= {text.split()[0].rstrip(":") for text in drift[1:]}
    refused = overview(run, document())["drift"]
    assert len(refused) == 1
    assert "tke0" in refused[0]


def test_a_route_of_somebody_else_in_the_place_of_one_of_ours_is_told(run):
    node.converge(document(), run, check=False)
    for line in ("ip route del 10.244.1.0/24", "ip route add 10.244.1.0/24 via 10.0.1.1 dev eth0 proto static"):
        broken(run, line)
    (told,) = overview(run)["drift"]
    assert "10.244.1.0/24" in told
    assert "10.0.1.1" in told

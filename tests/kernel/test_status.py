# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The status of a host: it reports all drift, with and without a plan, and reading it changes nothing."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import plan_id
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset, status
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import NO_METRICS, MetricsSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import METRICS_FILES, STATE
from breakages import BREAKAGES, PEERS, broken, document, everything


@pytest.fixture(autouse=True)
def files_of_the_host(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(files.os, "fsync", lambda _descriptor: None)  # most of the time that these tests would take
    return tmp_path


def status_of(run, wanted=None, vips=()):
    return status.read_status(run, wanted, vips)


def test_status_of_a_node_without_drift(run):
    node.converge(document(), run, check=False)
    shown = status_of(run, document(), ["10.0.1.11", "10.0.1.99"])
    assert shown["node"] == "me"
    assert shown["node_cidr"] == "10.244.0.0/24"
    assert shown["vtep"] == {"address": "10.244.0.0", "mac": "0a:58:0a:f4:00:00", "device": "tke0", "state": "up"}
    assert (shown["underlay"], shown["port"], shown["vni"], shown["mtu"], shown["peers"]) == (
        "10.0.1.11",
        8472,
        1,
        1450,
        5,
    )
    assert shown["plan"] == {"applied": plan_id(document()), "wanted": plan_id(document()), "current": True}
    assert shown["drift"] == []
    assert shown["counters"]["rules"]["unrouted"] == 0
    assert shown["timer"] == "no systemd"
    assert shown["vips"] == ["10.0.1.11"]
    assert status_of(run)["drift"] == []
    assert status_of(run)["plan"]["current"] is None


def test_status_of_a_host_that_is_no_node(run):
    shown = status_of(run, document())
    assert shown["node"] is None
    assert shown["vtep"] is None
    assert shown["plan"] == {"applied": None, "wanted": plan_id(document()), "current": False}
    assert shown["drift"] == []
    assert status_of(run, document(node="stranger"))["plan"]["current"] is True


@pytest.mark.parametrize("line", BREAKAGES)
def test_reports_as_drift_what_a_run_would_change(run, line):
    node.converge(document(), run, check=False)
    broken(run, line)
    before = everything(run)
    outcome = node.converge(document(), run, check=True)
    assert bool(status_of(run, document())["drift"]) is outcome.changed
    assert bool(status_of(run)["drift"]) is outcome.changed
    assert everything(run) == before


def test_names_few_entries_and_counts_many(run):
    node.converge(document(), run, check=False)
    broken(run, "ip neigh del 10.244.1.0 dev tke0")
    broken(run, "ip route flush proto 144")
    assert status_of(run, document())["drift"] == status_of(run)["drift"]
    assert status_of(run)["drift"] == [
        "route: 6 missing",
        "neighbor: missing 10.244.1.0 lladdr 0a:58:0a:f4:01:00",
    ]
    broken(run, "ip link del tke0")
    assert "link tke0: missing" in status_of(run)["drift"]
    assert status_of(run)["vtep"]["state"] == "missing"


def test_outdated_plan_is_no_drift(run):
    node.converge(document(PEERS[:3]), run, check=False)
    shown = status_of(run, document())
    assert shown["plan"]["current"] is False
    assert shown["plan"]["applied"] == plan_id(document(PEERS[:3]))
    assert shown["drift"] == []
    broken(run, "ip neigh del 10.244.1.0 dev tke0")
    assert status_of(run, document())["drift"] == ["neighbor: missing 10.244.1.0 lladdr 0a:58:0a:f4:01:00"]


def test_reports_changed_and_missing_files(run, files_of_the_host):
    node.converge(document(), run, check=False)
    (files_of_the_host / "etc/tke-overlay/restore").write_text("exit 0\n")
    (files_of_the_host / "etc/cni/net.d/10-tke-overlay.conflist").unlink()
    assert status_of(run, document())["drift"] == [
        "file /etc/tke-overlay/restore: changed",
        "file /etc/cni/net.d/10-tke-overlay.conflist: missing",
    ]


def test_reports_a_missing_and_an_edited_batch(run, files_of_the_host):
    node.converge(document(), run, check=False)
    batch = files_of_the_host / "etc/tke-overlay/fdb.batch"
    batch.write_text("fdb replace everything\n")
    changed, line = status_of(run)["drift"]
    assert changed == "file /etc/tke-overlay/fdb.batch: changed"
    assert "a line that this collection does not write: 'fdb replace everything'" in line
    batch.unlink()
    assert status_of(run)["drift"] == ["file /etc/tke-overlay/fdb.batch: missing"]


def test_reports_missing_rules_and_damaged_settings(run, files_of_the_host):
    node.converge(document(), run, check=False)
    state = files_of_the_host / "etc/tke-overlay"
    (state / "rules.nft").unlink()
    assert status_of(run)["drift"] == ["file /etc/tke-overlay/rules.nft: missing"]
    settings = (state / "settings").read_text()
    (state / "settings").write_text(settings.replace("vni=", "vni=x"))
    (_rules, changed, sentence) = status_of(run)["drift"]
    assert changed == "file /etc/tke-overlay/settings: changed"
    assert sentence.startswith("file /etc/tke-overlay/settings: damaged (invalid literal")


def test_reports_a_foreign_device_and_what_it_replaced(run, files_of_the_host):
    node.converge(document(), run, check=False)
    for line in ("ip link del tke0", "ip link add tke0 type bridge"):
        broken(run, line)
    drift = status_of(run)["drift"]
    assert drift[0] == "link tke0: not a VXLAN link, made by another program"
    assert {"route", "fdb", "neighbor"} <= {text.split()[0].rstrip(":") for text in drift[1:]}
    conflicts = status_of(run, document())["drift"]
    assert len(conflicts) == 1
    assert "tke0" in conflicts[0]


def test_reports_a_foreign_route_in_the_place_of_a_planned_one(run):
    node.converge(document(), run, check=False)
    for line in ("ip route del 10.244.1.0/24", "ip route add 10.244.1.0/24 via 10.0.1.1 dev eth0 proto static"):
        broken(run, line)
    (sentence,) = status_of(run)["drift"]
    assert "10.244.1.0/24" in sentence
    assert "10.0.1.1" in sentence


def test_a_node_without_the_files_that_name_it_has_drift(run, files_of_the_host):
    node.converge(document(), run, check=False)
    for name in ("summary", "settings"):
        (files_of_the_host / STATE[1:] / name).unlink()
        assert f"file {STATE}/{name}: missing" in status_of(run)["drift"]
    assert status_of(run)["node"] is None


DAMAGES = {
    "remove": lambda path: path.unlink(),
    "truncate": lambda path: path.write_text(""),
    "append": lambda path: path.write_text(f"{path.read_text()}more\n"),
    "chmod": lambda path: path.chmod(0o666),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\n'"),
}


@pytest.mark.parametrize(
    "name", [name for name in reset.FILES if name.startswith(STATE) and name not in reset.WIREGUARD_FILES]
)
def test_each_damaged_file_of_the_saved_state_is_drift_with_and_without_a_plan(run, files_of_the_host, name):
    (files_of_the_host / "metrics").mkdir()
    options = node.ConvergeOptions(metrics=MetricsSpec("/metrics") if name in METRICS_FILES else NO_METRICS)
    node.converge(document(), run, check=False, options=options)
    for damage, apply in DAMAGES.items():
        apply(files_of_the_host / name[1:])
        for plan in (None, document()):
            assert any(line.startswith(f"file {name}: ") for line in status_of(run, plan)["drift"]), damage
        node.converge(document(), run, check=False, options=options)
        assert status_of(run, document())["drift"] == [], damage

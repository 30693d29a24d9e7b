# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target of a host: which objects its document describes."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import plan_id, vtep_mac
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import TransitionAllowances
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import build_target, own_and_peers
from ansible_collections.tke.overlay.plugins.module_utils._host.state.fleet import read_saved
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import METRICS_FILES, MODULES_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import state_files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts

HOST = HostFacts(systemd=False, units={}, loaded=False, kernel=(6, 1))


def test_each_peer_is_a_route_an_fdb_entry_and_a_neighbour(document, fleet):
    tables = {table.name: wanted.entries for table, wanted in build_target(document, HOST).tables.in_removal_order()}
    macs = [vtep_mac(peer.node_cidr) for peer in fleet[1:]]
    assert tables == {
        "route": {
            "10.244.0.0/24 metric 4096": "blackhole",
            "10.244.1.0/24": "via 10.244.1.0 dev tke0 onlink",
            "10.244.2.0/24": "via 10.244.2.0 dev tke0 onlink",
        },
        "fdb": {macs[0]: "dst 10.0.1.12", macs[1]: "dst 10.0.1.13"},
        "neighbor": {"10.244.1.0": f"lladdr {macs[0]}", "10.244.2.0": f"lladdr {macs[1]}"},
        "bridge": {},
    }


def test_host_without_pods_has_the_same_link_and_entries(document):
    node, member = build_target(document, HOST), build_target(document, HOST, pods=False)
    assert (member.link, member.tables.wanted, member.underlays) == (node.link, node.tables.wanted, node.underlays)
    same = [path for path in node.files if path.endswith((".batch", "/fleet", "/restore"))]
    assert len(same) == 6
    for path in same:
        assert member.files[path] == node.files[path], path


def test_host_without_pods_has_nothing_of_them(document):
    target = build_target(document, HOST, pods=False)
    removed = [path for path, text in target.all_files.items() if text is None and path not in METRICS_FILES]
    assert removed == [MODULES_FILE, CNI_FILE]
    assert target.sysctls_with(["eth0"]) == {"net/ipv4/conf/tke0/rp_filter": "2"}
    for path, text in target.all_files.items():
        assert "tke-br0" not in (text or ""), path


def test_plan_does_not_depend_on_whether_a_host_has_pods(document):
    plans = {build_target(document, HOST, pods=pods).saved.summary["plan"] for pods in (True, False)}
    assert plans == {plan_id(document)}


def test_the_version_of_the_ledger_is_saved_and_read(document, tmp_path, monkeypatch):
    """It alone is no other plan, because nothing is configured from it."""
    versions = "41-3fa9c2d1 40-95b046c3"
    for text, expected in ({**document, "ledger_versions": versions}, "41-3fa9c2d1"), (document, ""):
        target = build_target(text, HOST)
        assert target.saved.summary["plan"] == plan_id(document)
        for path, content in state_files(target.saved).items():
            (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path[1:]).write_text(content)
        monkeypatch.setattr(files, "ROOT", str(tmp_path))
        assert read_saved()["ledger_version"] == expected


@pytest.mark.parametrize("damaged", ["", "41", "41-3fa9c2d1\n40-95b046c3", "41-3fa9c2d1  40-95b046c3", "41-3fa9c2d1 x"])
def test_damaged_versions_of_the_ledger_are_an_error(document, damaged):
    with pytest.raises(ValidationError, match="document: ledger_versions"):
        build_target({**document, "ledger_versions": damaged}, HOST)


def test_routes_are_removed_first(document):
    names = [table.name for table, _wanted in build_target(document, HOST).tables.in_removal_order()]
    assert names == ["route", "fdb", "neighbor", "bridge"]


def test_no_alternate_link_without_a_change_of_the_port(document):
    assert build_target(document, HOST).alternate_link is None


def test_alternate_link_receives_on_the_other_port(document):
    target = build_target(document, HOST, allowances=TransitionAllowances(port=4789, device="tke-alt"))
    expected = target.link._replace(name="tke-alt", port=4789)
    assert target.alternate_link == expected
    assert target.link.port == 8472


def test_cni_configuration_is_written_last(document):
    assert list(build_target(document, HOST).files)[-1] == "/etc/cni/net.d/10-tke-overlay.conflist"


@pytest.mark.parametrize(("systemd", "units"), [(True, 2), (False, 0)])
def test_unit_files_exist_only_with_systemd(document, systemd, units):
    files = build_target(document, HOST._replace(systemd=systemd)).files
    assert len([path for path, text in files.items() if text and path.startswith("/etc/systemd/system/")]) == units


def test_interval_is_that_of_the_timer(document):
    files = build_target(document, HOST._replace(systemd=True), interval=77).files
    assert "OnUnitInactiveSec=77s" in files["/etc/systemd/system/tke-overlay.timer"]


def test_reports_all_invalid_settings_at_once(document):
    with pytest.raises(ValidationError) as caught:
        build_target({**document, "schema": 9}, HOST, interval=0)
    message = str(caught.value)
    for part in ("restore_interval (overlay_restore_interval) 0", "between 1 and 86400", "schema 9", "reads schema 1"):
        assert part in message


def test_rejects_a_node_that_is_not_in_the_fleet(document):
    with pytest.raises(ValidationError, match="node stranger is not in the plan: add it to the inventory group"):
        own_and_peers({**document, "node": "stranger"})


def test_own_entry_is_no_peer(document, fleet):
    assert own_and_peers(document) == (fleet[0], fleet[1:])

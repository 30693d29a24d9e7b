# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of the site playbook as an operator runs it: check mode, partial runs, unreachable hosts and clear errors."""

from __future__ import annotations

import collections
import json
import re

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import RESTORE_UNIT, UNITS
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import SERVICE, TIMER
from stories import (
    INVENTORY,
    LEDGER,
    NODES,
    OTHERS,
    PAIR,
    QUICKLY,
    ROOT,
    at_once,
    joined,
    lab,
    ledger,
    matrix,
    play,
    reloads_needed,
    site,
    state,
    states,
)

testinfra_hosts = ["local://"]

END = "PLAY [Find the hosts that are not done]"


def results(done):
    """Return what a run printed for each task and host, with diffs, sorted because hosts finish in any order."""
    text = re.sub(r"^(?:PLAY|TASK) .*\n", "", done.text.partition(END)[0], flags=re.MULTILINE)
    return sorted(part.strip() for part in re.split(r"(?<=\n)(?<=\]\n)(?=\S|\n)", text))


def test_every_pod_reaches_every_pod_at_both_packet_sizes():
    pairs = matrix()
    pods = {pair["from"] for pair in pairs}
    assert len(pods) == 8
    assert {(pair["from"], pair["to"]) for pair in pairs} == {(one, other) for one in pods for other in pods}
    assert all(pair["small"] and pair["full"] and pair["mtu"] == 1400 for pair in pairs)


def test_no_unit_needs_a_reload_of_systemd():
    """systemd 257 and later reports one after an enable without a reload."""
    needed = reloads_needed()
    units = {name: {unit.split()[1] for unit in needed if unit.startswith(f"{name} ")} for name in (*NODES, *PAIR)}
    assert all(units[name] == {SERVICE, TIMER} for name in NODES), units
    assert all(units[name] == {*UNITS, RESTORE_UNIT} for name in PAIR), units
    assert set(needed.values()) == {"no"}, needed


@pytest.mark.usefixtures("unchanged")
class TestUnchanged:
    """Runs without a change: the ledger and all hosts stay as they are."""

    def test_a_second_run_changes_nothing_with_three_ssh_calls(self):
        done = site("-vvv", "--diff")
        assert done.changed() == set()
        assert set(done.recap()) == {*NODES, *PAIR}
        executions = collections.Counter(re.findall(r"^<([0-9.]+)> SSH: EXEC", done.text, re.MULTILINE))
        pair = {"10.0.2.11", "10.0.2.12"}
        assert set(executions) == {ledger()["nodes"][name]["underlay"] for name in NODES} | pair
        assert max(executions.values()) <= 3
        assert {executions[address] for address in pair} == {2}, "each host of the pair is read twice, and not changed"

    def test_a_run_limited_to_one_host_keeps_every_peer(self):
        done = site("--limit", "idc1")
        assert set(done.recap()) == {"idc1"}
        assert done.changed() == set()

    def test_a_node_missing_from_the_inventory_stays_a_peer(self, tmp_path):
        text = INVENTORY.read_text()
        (line,) = [line for line in text.splitlines() if "idc2:" in line]
        part = tmp_path / "hosts.yml"
        part.write_text(text.replace(f"{line}\n", ""))
        (tmp_path / "group_vars").symlink_to(INVENTORY.parent / "group_vars")
        done = site(inventories=(part,))
        assert "so they keep their node CIDRs: idc2" in joined(done.text)
        assert done.changed() == set()

    def test_preflight_contacts_no_host_and_prints_the_forecast(self):
        done = play("tke.overlay.preflight", "-vvv")
        assert done.code == 0, done.text
        assert "SSH: EXEC" not in done.text
        assert done.changed() == set()
        assert "255 nodes of 253 Pods: 4 used, 251 free; node 256 needs another container CIDR" in joined(done.text)

    def test_preflight_finds_the_errors_of_the_site_playbook(self):
        done = play("tke.overlay.preflight", "-e", "overlay_reserved=10.244.1.0/24", "-e", "overlay_vni=0")
        assert done.code != 0
        assert "node cloud2 has 10.244.1.0/24, which lies in the reserved range" in joined(done.text)
        assert "overlay_vni 0" in joined(done.text)

    def test_hosts_outside_the_node_group_stay_unchanged(self):
        for name in OTHERS:
            # Hosts of the pair have their own nft table, and nothing else of the collection.
            lines = [line for line in state(name) if name not in PAIR or "tke_overlay_clb" not in line]
            assert lines
            assert not any("tke" in line or "10.244" in line for line in lines)


def test_the_diff_of_check_mode_is_that_of_the_real_run():
    """A new VNI changes every table."""
    change = ("--diff", "-e", "overlay_vni=7", "-e", "overlay_max_services=256")
    for line in ("ip neigh del {} dev tke0", "ip route del 10.244.1.0/24", "ip link set tke0 mtu 1300"):
        lab("exec", "cloud1", "--", *line.format("10.244.1.0").split())
    before, record = states(), LEDGER.read_bytes()
    forecast = site("--check", *change)
    assert states() == before
    assert LEDGER.read_bytes() == record
    applied = site(*change)
    assert applied.changed() == set(NODES)
    # Compare all but the last table, whose heading differs (WOULD CHANGE, CHANGED).
    assert applied.recap() == forecast.recap()
    assert results(applied) == results(forecast)
    assert "vni 1" in applied.text
    assert site("--diff").changed() == set(NODES)
    assert site().changed() == set()
    assert all(pair["full"] for pair in matrix())


def test_a_host_that_is_down_is_updated_by_the_next_run():
    lab("exec", "cloud1", "--", "ip", "link", "del", "tke0")
    lab("exec", "idc2", "--", "ip", "link", "del", "tke0")
    lab("cut", "idc2")
    try:
        done = play("tke.overlay.site", *QUICKLY)
        assert done.code != 0
        assert {host for host, counts in done.recap().items() if counts["failed"] or counts["unreachable"]} == {"idc2"}
        assert done.changed() == {"cloud1"}
        assert ledger()["nodes"].keys() == set(NODES)
    finally:
        lab("heal", "idc2")
    assert site().changed() == {"idc2"}
    assert all(pair["full"] for pair in matrix())


INVALID = {
    "overlay_container_cidr=10.0.0.0/8": [
        "10.0.0.0/8 (overlay_container_cidr) overlaps 10.0.0.0/16 (vpc of overlay_networks)"
    ],
    "overlay_underlay_ip=10.0.1.11": ["cloud1, cloud2, idc1, idc2 all have the underlay address 10.0.1.11"],
    "overlay_container_cidr=10.244.0.0": ["'10.244.0.0' has no prefix length"],
    "overlay_container_cidr=10.244.0.0/24": ["10.244.0.0/24 has no room for one node"],
    "overlay_max_pods_per_node=128": ["overlay_container_cidr can only grow at its end", "cloud1 10.244.0.0/24"],
    "overlay_cluster=other": ["belongs to cluster 'lab', not to 'other'"],
    "overlay_node_cidr=10.244.0.0/24": ["node cloud2 has 10.244.1.0/24 and asks for 10.244.0.0/24"],
    "overlay_ledger=/nowhere/ledger.json": ["/nowhere/ledger.json cannot be written", "create its directory"],
    "overlay_ledger=etcd://127.0.0.1:9/x": ["127.0.0.1:9", "refused"],
    "overlay_device=eth0": ["eth0 (overlay_device) already exists and is not a VXLAN link but veth"],
}

WRONG = {
    "overlay_cluster={{ nowhere }}": "overlay_cluster is set, but cannot be evaluated: 'nowhere'",
    "overlay_vni=0x10": "overlay_vni '0x10'",
    "overlay_port=0": "overlay_port 0",
    "overlay_api_port=99999": "overlay_api_port 99999",
}
WRONG_OF_HOSTS = {
    "cloud": {"cloud1": "", "cloud2": "a.host.name"},
    "idc": {"idc1": "{{ nowhere }}", "idc2": "{{ ansible_default_ipv4.address }}"},
}
"""Values of overlay_underlay_ip."""


@pytest.fixture(scope="class")
def refused():
    """Return invalid value -> the run of site with it."""
    runs = at_once(*(("tke.overlay.site", "-e", value) for value in INVALID))
    return dict(zip(INVALID, runs, strict=True))


@pytest.mark.usefixtures("unchanged")
class TestInvalidInput:
    """Invalid input is one error that names every offending value; the ledger and all hosts stay unchanged."""

    @pytest.mark.parametrize("value", INVALID)
    def test_invalid_input_is_one_clear_error(self, refused, value):
        done = refused[value]
        assert done.code != 0
        assert "Traceback" not in done.text
        message = joined(done.text)
        for text in INVALID[value]:
            assert text in message
        assert done.changed() == set()

    def test_all_invalid_values_are_one_error_with_their_hosts(self, tmp_path):
        hosts = {
            site: {"hosts": {name: {"overlay_underlay_ip": value} for name, value in values.items()}}
            for site, values in WRONG_OF_HOSTS.items()
        }
        (tmp_path / "more.yml").write_text(json.dumps(hosts))
        values = [word for value in WRONG for word in ("-e", value)]
        done = play("tke.overlay.site", *values, inventories=(INVENTORY, tmp_path / "more.yml"))
        assert done.code != 0
        assert done.changed() == set()
        message = joined(done.text)
        texts = (
            *WRONG.values(),
            "8 problems, and nothing was changed",
            "node cloud1 has no underlay address",
            "node cloud2: overlay_underlay_ip 'a.host.name'",
            "'nowhere' is undefined: define what it refers to, or set the value itself (idc1)",
            "gather no facts, so set the value itself, or gather facts into a fact cache before (idc2)",
        )
        assert [text for text in texts if text not in message] == []

    def test_a_pool_too_small_for_a_new_cluster_names_the_numbers(self, tmp_path):
        small = ("-e", f"overlay_ledger={tmp_path}/ledger.json", "-e", "overlay_container_cidr=10.244.0.0/22")
        done = play("tke.overlay.site", *small)
        message = joined(done.text)
        assert "has 3 node CIDRs of 256 addresses, 0 used and 0 pending; without one: idc2" in message
        assert not (tmp_path / "ledger.json").exists()

    def test_a_damaged_ledger_is_not_overwritten(self, tmp_path):
        text = LEDGER.read_text()
        damaged = {
            tmp_path / "short.json": text[:-40],
            tmp_path / "edited.json": text.replace("10.244.1.0", "10.244.9.0"),
        }
        for path, content in damaged.items():
            path.write_text(content)
        runs = at_once(*(("tke.overlay.site", "-e", f"overlay_ledger={path}") for path in damaged))
        for (path, content), done in zip(damaged.items(), runs, strict=True):
            assert done.code != 0
            assert f"the ledger {path} cannot be trusted" in joined(done.text)
            assert path.read_text() == content

    def test_another_program_on_the_port_is_named(self):
        holder = "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('0.0.0.0', 4789))"
        unit = (
            "systemd-run",
            "-q",
            "--unit=port-holder",
            "--service-type=exec",
            "python3",
            "-c",
            f"{holder}; time.sleep(60)",
        )
        lab("exec", "cloud1", "--", *unit)
        try:
            lab("exec", "cloud1", "--", "sh", "-c", "until ss -Hlun sport = :4789 | grep -q .; do sleep 0.05; done")
            done = play("tke.overlay.site", "--limit", "cloud1", "-e", "overlay_port=4789")
            message = joined(done.text)
            assert 'UDP port 4789 (overlay_port) is taken by "python3",pid=' in message.replace("\\", "")
        finally:
            lab("exec", "cloud1", "--", "systemctl", "stop", "port-holder")


def test_the_example_inventory_can_be_planned_unchanged():
    example = ROOT / "inventories/example/hosts.yml"
    done = play("tke.overlay.preflight", "--diff", inventories=(example,))
    assert done.code == 0, done.text
    assert "+node idc2 10.244.3.0/24 underlay 192.168.1.12 mtu 1450" in done.text
    assert not (example.parent / "overlay-ledger.json").exists()

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of every section of docs/day-two.md, in order: each starts in the state that the one before it has left.

Commands and inventories are read from the page. Meanwhile 40 flows run between Pods of all sites.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import subprocess

import pytest
from short_soak import OPERATIONS, random_operations

import howto
from day_two import as_new, forget_the_ledger, mtu_of, nothing_lost, of_page, run
from flows import Flows
from stories import (
    INVENTORY,
    LAB_STATE,
    LEDGER,
    NODES,
    QUICKLY,
    ROOT,
    at_once,
    joined,
    lab,
    ledger,
    matrix,
    on,
    play,
    site,
    states,
    until,
)
from tkelab.model import ROUTER

testinfra_hosts = ["local://"]

TEN_MORE = ROOT / "inventories/lab_ten_more/hosts.yml"


def hunks(done, host):
    """Return kind of object -> its lines in the diff of a host."""
    of_host = done.text.partition("Apply the plan to the host]")[2].split(f"changed: [{host}]")[0].rpartition(": [")[2]
    parts = re.findall(r"^--- before: (.*)\n\+\+\+ after.*\n@@.*\n((?:^[-+ ].*\n)*)", of_host, re.MULTILINE)
    return {name: [line for line in text.splitlines() if line[:1] in "-+"] for name, text in parts}


@of_page("Add nodes")
def test_ten_nodes_are_added_after_two_of_them(story):
    (_two,), (all_at_once, first, later, _publish) = story
    assert all_at_once == later
    before = ledger()
    lab("-i", str(INVENTORY), "-i", str(TEN_MORE), "up")
    with nothing_lost():
        assert run(first, TEN_MORE).changed() == {"cloud3", "idc3"}
        run(later, TEN_MORE)
    after = ledger()
    assert len(after["nodes"]) == 14
    assert {name: after["nodes"][name] for name in NODES} == before["nodes"]
    assert site(inventories=(INVENTORY, TEN_MORE)).changed() == set()


def test_releasing_many_nodes_at_once_requires_force():
    ten = [f"{site}{number}" for site in ("cloud", "idc") for number in range(3, 8)]
    command = ["tke.overlay.release", "-e", f"overlay_release={','.join(ten)}", "-e", "overlay_release_confirmed=true"]
    refused = play(*command, inventories=(INVENTORY, TEN_MORE))
    assert refused.code != 0
    assert "10 of 14 nodes are more than 20% of the fleet" in joined(refused.text)
    with nothing_lost():
        done = run([*command, "-e", "overlay_release_force=true"], TEN_MORE)
    assert "Still in the inventory: cloud3" in joined(done.text)
    assert ledger()["nodes"].keys() == set(NODES)
    assert not any(waiting["on"] for waiting in ledger()["pending"].values())
    assert lab("exec", "idc7", "--", "sh", "-c", "ls -d /sys/class/net/tke0 /etc/tke-overlay 2>/dev/null; true") == ""
    lab("-i", str(INVENTORY), "up")
    assert site().changed() == set()


@pytest.mark.usefixtures("unchanged")
def test_a_release_asks_for_confirmation_and_checks_names():
    release = ("tke.overlay.release", "-e")
    asked, misspelt, spaces, checked = at_once(
        (*release, "overlay_release=idc2"),
        (*release, "overlay_release=idc,cloud9,idc2"),
        (*release, "overlay_release=idc2, idc1"),
        (*release, "overlay_release=idc2", "--check"),
    )
    assert asked.code != 0
    assert "Nothing was changed. To continue without a question, set -e overlay_release_confirmed=true" in joined(
        asked.text
    )
    assert "there is no node idc (overlay_release)" in joined(misspelt.text)
    assert "there is no node cloud9 (overlay_release)" in joined(misspelt.text)
    assert "did you mean idc2 or idc1?" in joined(misspelt.text)
    assert "without spaces" in joined(spaces.text), "Ansible drops the text after a space"
    assert checked.code == 0


@of_page("Release a node")
def test_a_release_stays_pending_until_every_peer_is_reached(story):
    _none, (release, later) = story
    node_cidr, record = ledger()["nodes"]["idc2"]["node_cidr"], LEDGER.read_bytes()
    lab("cut", "idc1", "idc2")
    with nothing_lost(("cloud1", "cloud2")):
        assert play(*release).code != 0, "the release was not confirmed"
        assert LEDGER.read_bytes() == record
        done = play(*release, "-e", "overlay_release_confirmed=true", *QUICKLY)
    assert {host for host, counts in done.recap().items() if counts["failed"]} == {"idc1"}
    assert ledger()["pending"][node_cidr] | {"since": ""} == {
        "node": "idc2", "since": "", "on": ["idc1"], "quarantined": False
    }  # fmt: skip
    assert "Not reached or not configured: idc1" in joined(done.text)
    lab("heal", "idc1")
    gone = without_idc2()
    with nothing_lost(("cloud1", "cloud2", "idc1")):
        done = play(*later, inventories=(gone,))
    assert done.code == 0, done.text
    assert node_cidr not in ledger()["pending"]
    assert not any(node_cidr.partition("/")[0] in line for line in states(["idc1"])["idc1"])
    assert site(inventories=(gone,)).changed() == set()


def without_idc2():
    """Return the inventory without the released node."""
    path = LAB_STATE / "without-idc2" / "hosts.yml"
    path.parent.mkdir(exist_ok=True)
    text = INVENTORY.read_text()
    path.write_text("".join(line for line in text.splitlines(keepends=True) if "idc2:" not in line))
    with contextlib.suppress(FileExistsError):
        (path.parent / "group_vars").symlink_to(INVENTORY.parent / "group_vars")
    return path


@of_page("Replace a dead machine")
def test_a_new_machine_gets_a_new_or_the_former_node_cidr(story):
    (new_address,), (replace, _release, again) = story
    others = ("cloud1", "cloud2", "idc1")
    following = f"10.244.{ledger()['cursor']}.0/24"
    lab("heal", "idc2")
    lab(
        "-i", str(INVENTORY), "-i", str(new_address), "up"
    )  # released before, so it gets the next node CIDR of the cycle
    with nothing_lost(others):
        run(again, new_address)
    assert ledger()["nodes"]["idc2"] | {"since": ""} == {
        "node_cidr": following, "underlay": "192.168.1.22", "underlay_mtu": 1450, "since": "", "pinned": False
    }  # fmt: skip
    before = states(others)
    lab("-i", str(INVENTORY), "up")  # a third machine, at the first address
    with nothing_lost(others):
        done = run([*replace, "--diff"])
    assert ledger()["nodes"]["idc2"]["node_cidr"] == following
    after = states(others)
    for name in others:
        assert len(before[name] - after[name]) == 2, "an FDB entry and the address that may send to the tunnel port"
        assert len(after[name] - before[name]) == 2
        changed = hunks(done, name)
        assert {kind: len(lines) for kind, lines in changed.items() if not kind.startswith("/")} == {
            "fdb": 2,
            "rules": 2,
        }
    done = play("tests/lab/pods.yml", "--limit", "idc2")
    assert done.code == 0, done.text
    assert all(pair["full"] for pair in matrix())


@of_page("Move a node to another address")
def test_a_node_moves_to_another_address_and_back(story):
    (moved,), (command,) = story
    lab("exec", "idc1", "--", "ip", "address", "add", "192.168.1.41/24", "dev", "eth0")
    with nothing_lost():
        run(command, moved)
        assert ledger()["nodes"]["idc1"]["underlay"] == "192.168.1.41"
        run(command)
    lab("exec", "idc1", "--", "ip", "address", "del", "192.168.1.41/24", "dev", "eth0")
    assert site().changed() == set()


@pytest.mark.usefixtures("unchanged")
def test_another_group_alone_changes_no_host(tmp_path):
    text = INVENTORY.read_text()
    (line,) = [line for line in text.splitlines(keepends=True) if "idc2:" in line]
    other = tmp_path / "hosts.yml"
    cloud2 = "            cloud2: {ansible_host: 10.0.1.12}\n"
    mtu = line.replace("12}", "12, overlay_underlay_mtu: 1450}")
    other.write_text(text.replace(line, "").replace(cloud2, cloud2 + mtu))
    (tmp_path / "group_vars").symlink_to(INVENTORY.parent / "group_vars")
    assert site(inventories=(other,)).changed() == set()


@pytest.fixture
def firewall_accepts_both_ports():
    """Open both ports on the router of the lab, as the page requires; it accepts only that of the inventory."""
    rule = ("inet", "lab", "forward", "udp", "dport", "4789", "accept")
    on_router("insert", "rule", *rule)
    yield
    listing = on_router("-a", "list", "chain", "inet", "lab", "forward")
    (handle,) = re.findall(r"dport 4789 accept # handle (\d+)", listing)
    on_router("delete", "rule", "inet", "lab", "forward", "handle", handle)


def on_router(*command):
    done = subprocess.run(["ip", "netns", "exec", ROUTER, "nft", *command], capture_output=True, text=True, check=True)
    return done.stdout


@contextlib.contextmanager
def port_taken(name):
    """Another program has the new port on a host, on which the first phase therefore fails."""
    holder = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind((str(), 4789)); time.sleep(600)"
    on(name, f'systemd-run -q --unit=port-holder --service-type=exec python3 -c "{holder}"')
    until(name, "ss -Hlun sport = :4789 | grep -q .", 10)
    yield
    on(name, "systemctl stop port-holder")


def the_others_wait_for_a_node_that_fails(change):
    """A change in whose first phase a node fails loses nothing, and changes no port that is used."""
    with port_taken("cloud1"), nothing_lost():
        done = play(*change)
    assert done.code != 0
    assert done.recap()["cloud1"]["failed"] == 1
    assert "because cloud1 would lose contact" in joined(done.text)
    assert "--limit 'all:!cloud1'" in joined(done.text)
    for name in NODES:
        assert "dstport 8472" in on(name, "ip -d link show tke0")
    assert all(pair["full"] for pair in matrix())


@of_page("Change the port")
@pytest.mark.usefixtures("firewall_accepts_both_ports")
def test_a_port_change_interrupts_no_flow_for_over_a_second(story):
    _none, (other_port, back) = story
    the_others_wait_for_a_node_that_fails(other_port)
    with Flows(NODES) as flows:
        done = run(other_port)
    print(flows)
    assert done.changed() == set(NODES)
    assert not flows.disturbed()
    assert flows.longest_gap() <= 1, str(flows)
    assert all(pair["full"] for pair in matrix())
    with Flows(NODES) as flows:
        run(back)
    print(flows)
    assert flows.longest_gap() <= 1, str(flows)
    assert not any("tke-alt" in line or "4789" in line for lines in states(NODES).values() for line in lines)
    assert site().changed() == set()


@of_page("Change the MTU of a site")
def test_the_mtu_of_a_site_decreases_and_increases(story):
    (lower,), (command,) = story
    with nothing_lost():
        run(command, lower)
        assert mtu_of("cloud1") == 1350
        run(command)
    assert mtu_of("cloud1") == 1400


@of_page("Roll out in batches")
def test_batches_stop_at_the_first_host_that_fails(story):
    _none, (command,) = story
    lab("cut", "cloud2")
    try:
        done = play(*command, "-e", "overlay_underlay_mtu=1400", *QUICKLY)
        assert done.code != 0
        assert done.changed() == {"cloud1"}
        assert mtu_of("idc1") == 1400, "hosts after the failed one are unchanged"
    finally:
        lab("heal", "cloud2")
    run(command)
    assert site().changed() == set()


@of_page("When the ledger is lost")
def test_a_lost_ledger_is_rebuilt_without_an_unreachable_host(story):
    _none, (forecast, rebuild, following) = story
    before = ledger()
    assert run(rebuild).changed() == set()
    assert ledger() == before
    forget_the_ledger()
    fleet = "/etc/tke-overlay/fleet"
    lab("exec", "idc1", "--", "sed", "-i.kept", "s,^cloud1 [^ ]*,cloud1 10.244.9.0/24,", fleet)
    refused = play(*rebuild)
    assert refused.code != 0
    assert "idc1 has 10.244.9.0/24 at 10.0.1.11 for it" in joined(refused.text)
    assert not LEDGER.exists()
    lab("exec", "idc1", "--", "mv", f"{fleet}.kept", fleet)
    lab("cut", "idc2")
    try:
        shown = run([*forecast, *QUICKLY])
        assert not LEDGER.exists()
        done = run([*rebuild, *QUICKLY])
        assert "Known only from other hosts: idc2." in joined(done.text)
        diff = [line for line in shown.text.splitlines() if line.startswith("+node")]
        assert len(diff) == len(NODES)
    finally:
        lab("heal", "idc2")
    with nothing_lost():
        assert run(following).changed() == set()
    after = ledger()
    since = [held.pop("since") for document in (before, after) for held in document["nodes"].values()]
    assert all(since)
    assert after["nodes"] == before["nodes"]
    assert after["cursor"] == before["cursor"]


@of_page("Go over to a newer release")
def test_changed_files_are_written_and_nothing_else_changes(story):
    """A run writes files again that differ in text only. tests/kernel/test_upgrade.py tests those of other releases."""
    _none, (forecast, following) = story
    for name in NODES:
        lab("exec", name, "--", "sh", "-c", "rm /etc/tke-overlay/fleet; echo '# older' >> /etc/tke-overlay/restore")
    before = states()
    with nothing_lost():
        run(forecast)
        assert run(following).changed() == set(NODES)
    after = states()
    assert all(before[name] <= after[name] and after[name] - before[name] == {"fleet"} for name in NODES)
    assert site().changed() == set()


def test_the_fleet_agrees_with_a_model_after_random_operations(tmp_path):
    counts = random_operations(tmp_path)
    print(counts)
    assert counts.operations.total() >= OPERATIONS
    assert counts.lost == 0
    assert site().changed() == set()


@of_page("Grow the pool")
def test_the_pool_grows_and_a_node_gets_a_node_cidr_of_the_new_range(story, tmp_path):
    (grown,), commands = story
    third = ROOT / "inventories/lab_third_idc/hosts.yml"
    pinned = tmp_path / "pinned.yml"
    pinned.write_text(json.dumps({"idc": {"hosts": {"idc3": {"overlay_node_cidr": "10.245.7.0/24"}}}}))
    more = (INVENTORY, grown, third, pinned)
    lab("-i", str(INVENTORY), "-i", str(third), "up")
    with nothing_lost():
        for command in commands:
            run(command, grown)
        site(inventories=more)
    assert ledger()["nodes"]["idc3"]["node_cidr"] == "10.245.7.0/24"
    assert play("tests/lab/pods.yml", "--limit", "idc3", inventories=more).code == 0
    assert all(pair["full"] for pair in matrix(inventories=more))


BY_HAND = r"""
systemctl disable --now --quiet tke-overlay.timer tke-overlay.service
rm -rf /etc/tke-overlay /etc/systemd/system/tke-overlay.* /etc/systemd/network/00-tke-overlay.* /etc/sysctl.d/99-tke-*
systemctl daemon-reload
nft delete table inet tke_overlay
ip link set tke0 alias ""
ip route show proto 144 dev tke0 | sed 's/.*/route replace & dev tke0 proto static/' | ip -batch -
ip route show type blackhole | sed 's/.*/route del &/' | ip -batch -
"""
"""Leaves an overlay as made with ip and bridge: without alias, protocol number, nft rules and files."""


@of_page("Adopt a fleet that is there")
def test_an_overlay_made_by_hand_is_adopted_unchanged(story):
    (node_cidrs,), (_preflight, forecast, adopt) = story
    as_new()
    forget_the_ledger()
    for name in NODES:
        lab("exec", name, "--", "sh", "-ec", BY_HAND)
        assert "proto static" in lab("exec", name, "--", "ip", "route", "show", "dev", "tke0")
    before = {name: json.loads(lab("exec", name, "--", "ip", "-json", "link", "show", "tke0")) for name in NODES}
    with nothing_lost():
        for command in story[1]:
            run(command, node_cidrs)
    assert forecast[-1] == "--diff"
    assert {name: held["node_cidr"] for name, held in ledger()["nodes"].items()} == {
        name: f"10.244.{number}.0/24" for number, name in enumerate(NODES)
    }
    for name in NODES:
        (link,), (former,) = json.loads(lab("exec", name, "--", "ip", "-json", "link", "show", "tke0")), before[name]
        assert link["ifindex"] == former["ifindex"], "the device was kept"
        assert "static" not in lab("exec", name, "--", "ip", "route", "show", "dev", "tke0")
    assert run(adopt, node_cidrs).changed() == set()
    forget_the_ledger()
    site("-e", "overlay_older_ledger=none")  # without pins: fresh machines get the same node CIDRs


def test_every_section_of_the_page_is_tested():
    texts = [path.read_text() for path in pathlib.Path(__file__).parents[1].glob("*/test_*.py")]
    tested = [title for text in texts for title in re.findall(r'^@of_page\("(.*)"\)$', text, re.MULTILINE)]
    assert sorted(tested) == sorted(howto.titles())

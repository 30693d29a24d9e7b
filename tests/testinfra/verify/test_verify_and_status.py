# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of the screens of verify, status, site and preflight, for a healthy fleet and for each kind of fault.

Unit tests cover the verdict pair by pair, and tests/kernel covers the probes packet by packet.
"""

from __future__ import annotations

import contextlib
import pathlib
import re
import subprocess
import time

import pytest

from stories import INVENTORY, LEDGER, NODES, ROOT, at_once, lab, ledger, play, site
from tkelab.model import ROUTER

testinfra_hosts = ["local://"]

QUICK = ("--timeout", "3", "-e", "ansible_ssh_args='-o ControlPath=none'")
"""Options that detect a cut-off host soon: no kept connection has to time out first."""
HOLE = "table ip verify_test {{ chain c {{ type filter hook prerouting priority -400; {} drop; }}; }}"


def screen(done):
    """Return the lines that the summary printed, between the banner and the result of its task."""
    part = re.split(r"^TASK \[(?:Evaluate probe results|Print the summary)\] \**$", done.text, flags=re.MULTILINE)[-1]
    return re.split(r"^(?:ok|fatal|\[ERROR\]|PLAY)", part, flags=re.MULTILINE)[0].strip().splitlines()


def node_cidr(name):
    """Return the node CIDR of a node: an earlier scenario may have released it and added it again."""
    return ledger()["nodes"][name]["node_cidr"]


def verify(*arguments):
    return play("tke.overlay.verify", *arguments)


def status(*arguments):
    return play("tke.overlay.status", *arguments)


@contextlib.contextmanager
def hole(host, rule):
    """Drop the incoming packets that match ``rule``, on a host or on the router between the sites."""

    def nft(*arguments):
        if host == ROUTER:
            subprocess.run(["ip", "netns", "exec", ROUTER, "nft", *arguments], check=True)
        else:
            lab("exec", host, "--", "nft", *arguments)

    nft(HOLE.format(rule))
    try:
        yield
    finally:
        nft("delete", "table", "ip", "verify_test")


@pytest.fixture(scope="class")
def runs():
    """Return name -> run of a playbook."""
    commands = {
        "verify": ("tke.overlay.verify",),
        "check mode": ("tke.overlay.verify", "--check"),
        "sample": ("tke.overlay.verify", "-e", "overlay_verify_all=3", "-e", "overlay_verify_sample=1"),
        "status": ("tke.overlay.status",),
        "preflight": ("tke.overlay.preflight",),
    }
    return dict(zip(commands, at_once(*commands.values()), strict=True))


@pytest.mark.usefixtures("unchanged")
class TestHealthy:
    """The screens of a healthy fleet; no playbook here changes anything."""

    def test_verify_prints_one_line_and_exits_with_0(self, runs):
        done = runs["verify"]
        assert done.code == 0, done.text
        (line,) = screen(done)
        assert re.fullmatch(
            r"healthy: 12 of 12 pairs reachable \(small, full-size of 1400 bytes and TCP\); "
            r"worst round trip \d+\.\d ms (cloud|idc)\d -> (cloud|idc)\d",
            line,
        )
        assert done.changed() == set()

    def test_check_mode_does_not_test_tcp(self, runs):
        done = runs["check mode"]
        assert done.code == 0, done.text
        assert screen(done)[0].startswith("healthy: 12 of 12 pairs reachable (small and full-size of 1400 bytes); ")
        assert "TCP not tested: check mode starts no echo responder" in screen(done)

    def test_a_limited_run_probes_all_peers_and_prints_its_coverage(self):
        done = verify("--limit", "idc1", "-e", "overlay_verify_answer=5")
        assert done.code == 0, done.text
        assert screen(done)[0].startswith("healthy: 3 of 3 probed pairs out of 12 reachable")
        assert screen(done)[1].startswith("sample: 1 of 4 nodes probed 3 peers")

    def test_a_sample_probes_fewer_pairs(self, runs):
        done = runs["sample"]
        assert done.code == 0, done.text
        probed = int(re.match(r"healthy: (\d+) of", screen(done)[0])[1])
        assert 4 <= probed < 12
        assert "; 4 of 4 directions between sites are covered" in screen(done)[1]

    def test_status_has_a_row_for_each_host(self, runs):
        done = runs["status"]
        assert done.code == 0, done.text
        lines = screen(done)
        assert [line.split()[:4] for line in lines[1:5]] == [[name, name[:-1], node_cidr(name), "ok"] for name in NODES]
        assert all(line.split()[4] == "-" and line.split()[7] == "active" for line in lines[1:5])
        assert lines[-1].startswith("next: nothing to do; ")

    def test_site_and_preflight_end_with_a_table(self, runs):
        lines = screen(site())
        assert [line.split() for line in lines[:5]] == [
            ["HOST", "SITE", "CHANGED"],
            *([name, name[:-1], "nothing"] for name in NODES),
        ]
        assert "4 hosts: 0 changed, 4 unchanged" in lines
        done = runs["preflight"]
        assert done.code == 0, done.text
        assert done.changed() == set()
        row = ["cloud1", "cloud", "keeps", node_cidr("cloud1"), "10.0.1.11", "overlay_underlay_ip"]
        assert screen(done)[1].split() == row


def test_a_host_that_is_down_in_verify_and_status():
    lab("cut", "idc2")
    try:
        done = verify(*QUICK)
        assert done.code != 0
        lines = screen(done)
        assert lines[1:] == [
            "  down: idc2: unreachable for Ansible and for all 3 nodes that probed it",
            lines[-1],
        ]
        assert lines[-1].startswith("next: check power and network of idc2")
        shown = status(*QUICK)
        assert shown.code == 0, shown.text
        (row,) = [line for line in screen(shown) if line.startswith("idc2")]
        assert row.split()[:4] == ["idc2", "idc", node_cidr("idc2"), "unreachable"]
    finally:
        lab("heal", "idc2")


STRANGERS = ("-e", "ansible_ssh_args='-o ControlPath=none -o UserKnownHostsFile=/dev/null'")
"""Lets SSH know no host key; it rejects them all, because the lab's settings are strict."""


@pytest.mark.usefixtures("unchanged")
def test_an_unknown_host_key_is_named_where_no_host_is_reached():
    """Also where Ansible itself loses the message of SSH, which happens by chance on a busy controller."""
    program = pathlib.Path(__file__).with_name("ssh_without_input.sh")
    arguments = (*STRANGERS, "-e", f"ansible_ssh_executable={program}")
    runs = at_once(*((f"tke.overlay.{name}", *arguments) for name in ("site", "verify", "status")))
    assert [done.code != 0 for done in runs] == [True, True, False]
    for done in runs:
        named = [line for line in screen(done) if "unknown SSH host key: compare its fingerprint" in line]
        assert len(named) == 1, done.text
        assert "cloud1, cloud2, idc1, idc2" in named[0]
        assert not any("power" in line for line in screen(done)), done.text


def test_an_mtu_hole_between_sites_names_the_largest_size():
    with hole(ROUTER, "udp dport 8472 ip length > 1350"):
        done = verify()
    assert done.code != 0
    lines = screen(done)
    assert lines[1] == (
        "  MTU black hole: cloud and idc: packets of 1400 bytes are lost; "
        "the largest size that passes is 1300 bytes (8 of 8 pairs)"
    )
    assert lines[2].startswith("next: set overlay_underlay_mtu to 1350 for site idc")
    assert len(lines) == 3


def test_a_firewall_between_sites_is_one_line():
    with hole(ROUTER, "udp dport 8472"):
        done = verify("--check")
    assert done.code != 0
    assert screen(done)[1] == "  no answer: cloud and idc: 8 of 8 pairs; the underlay addresses answer pings"
    assert screen(done)[-2].startswith("next: open UDP port 8472 both ways between cloud and idc")
    assert screen(done)[-1].endswith("set another overlay_port, such as 4789"), "as for NSX, which drops valid VXLAN"


def test_a_line_that_loses_only_tcp_is_printed():
    """The inner protocol number is 9 bytes behind the inner Ethernet header, 30 behind the UDP header."""
    with hole(ROUTER, "udp dport 8472 @th,312,8 6"):
        done = verify()
    assert done.code != 0
    assert screen(done)[1] == (
        "  TCP fails: cloud and idc; ICMP echoes of the same size pass: no connection (8 of 8 pairs)"
    )
    assert "set another overlay_port" in screen(done)[2]


def test_a_firewall_that_drops_only_the_tcp_test_is_named():
    """As ufw does: it accepts echo requests and the tunnel's port, and drops what it does not name."""
    rules = "ct state established accept; icmp type echo-request accept; udp dport 8472 accept; tcp dport 22 accept;"
    chain = "type filter hook input priority 0; policy drop;"
    lab("exec", "idc1", "--", "nft", f"table ip verify_test {{ chain INPUT {{ {chain} {rules} }}; }}")
    try:
        done = verify()
    finally:
        lab("exec", "idc1", "--", "nft", "delete", "table", "ip", "verify_test")
    assert done.code != 0
    assert screen(done)[1].startswith("  TCP test filtered at idc1: chain INPUT of the nftables table ip verify_test ")
    assert screen(done)[2].startswith(
        "next: on idc1: let it accept UDP port 8472 from the peers, and packets from tke0"
    )


def test_a_host_cut_off_from_the_overlay_is_printed():
    with hole("cloud1", "udp dport 8472"):
        done = verify("--check")
    assert done.code != 0
    assert screen(done)[1] == "  cut off: cloud1: reachable for Ansible, no answer for 6 of 6 pairs"


def test_status_prints_drift_and_site_counts_its_repair():
    lab("exec", "idc1", "--", "ip", "route", "del", "10.244.0.0/24")
    lines = screen(status())
    (row,) = [line.split() for line in lines if line.startswith("idc1 ")]
    assert row[3:5] == ["ok", "1"]
    assert "idc1: route: missing 10.244.0.0/24 via 10.244.0.0 dev tke0 onlink" in lines
    assert any("--limit idc1 repairs all of it" in line for line in lines)
    assert ["idc1", "idc", "route", "1"] in [line.split() for line in screen(site())]


def test_outdated_plan_missing_node_cidr_and_orphan_are_printed(tmp_path):
    """The inventory lacks idc2 and has a third host, which has no node CIDR yet."""
    before = LEDGER.read_bytes()
    text = INVENTORY.read_text().replace(
        "idc2: {ansible_host: 192.168.1.12}", "idc3: {ansible_host: 192.168.1.12, overlay_underlay_ip: 192.168.1.13}"
    )
    (tmp_path / "hosts.yml").write_text(text)
    (tmp_path / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    inventory = [tmp_path / "hosts.yml"]
    rows = [
        line.split() for line in screen(play("tke.overlay.status", "--limit", "cloud1,idc1", inventories=inventory))
    ]
    assert [row[3] for row in rows[1:3]] == ["old", "old"]
    orphan = f"in the ledger but not in the inventory: idc2 {node_cidr('idc2')}"
    assert any(orphan in " ".join(row) for row in rows)
    done = play("tke.overlay.verify", "--limit", "cloud1,idc1", inventories=inventory)
    assert done.code != 0
    lines = screen(done)
    assert "  no node CIDR yet: idc3" in lines
    assert "  outdated plan: cloud1, idc1" in lines
    assert "not probed, because they are in the ledger but not in the inventory: idc2" in lines
    assert LEDGER.read_bytes() == before


def test_the_screen_is_printed_if_the_first_host_is_down():
    lab("cut", "cloud1")
    try:
        assert any(line.startswith("  down: cloud1: ") for line in screen(verify("--check", *QUICK)))
        done = play("tke.overlay.site", *QUICK)
        assert done.code != 0
        assert ["cloud1", "cloud", "unreachable:"] in [line.split()[:3] for line in screen(done)]
        assert "4 hosts: 0 changed, 3 unchanged, 1 not done" in screen(done)
    finally:
        lab("heal", "cloud1")


def test_stopped_echo_responders_leave_no_listener():
    done = play("tests/testinfra/verify/stop_responders.yml")
    assert done.code == 0, done.text
    deadline = time.monotonic() + 10
    for name in NODES:
        while lab("exec", name, "--", "ss", "-Hltn", "sport = :8471"):
            assert time.monotonic() < deadline, f"port 8471 is still open on {name}"

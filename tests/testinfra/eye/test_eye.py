# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What an operator reads of a fleet that is whole, and of each way to break it: verify, status, the ends of the others.

The judgement itself is tested pair by pair in the unit tests, the questions packet by packet in tests/kernel.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time

import pytest

from stories import INVENTORY, LEDGER, NODES, ROOT, lab, play, site
from tkelab.model import ROUTER

testinfra_hosts = ["local://"]

QUICK = ("--timeout", "3", "-e", "ansible_ssh_args='-o ControlPath=none'")
"""A host that is cut off is given up soon, and no connection from before waits for its keep-alive."""
HOLE = "table ip eye {{ chain c {{ type filter hook prerouting priority -400; {} drop; }}; }}"


def said(done):
    """What the summary printed: from the banner of its task to the result of it."""
    part = re.split(r"^TASK \[(?:Judge|Show)\] \**$", done.text, flags=re.MULTILINE)[-1]
    return re.split(r"^(?:ok|fatal|\[ERROR\]|PLAY)", part, flags=re.MULTILINE)[0].strip().splitlines()


def verify(*arguments):
    return play("tke.overlay.verify", *arguments)


def status(*arguments):
    return play("tke.overlay.status", *arguments)


@contextlib.contextmanager
def hole(host, rule):
    """A host, or the router between the sites, drops some packets that come in."""

    def nft(*words):
        if host == ROUTER:
            subprocess.run(["ip", "netns", "exec", ROUTER, "nft", *words], check=True)
        else:
            lab("exec", host, "--", "nft", *words)

    nft(HOLE.format(rule))
    try:
        yield
    finally:
        nft("delete", "table", "ip", "eye")


@pytest.mark.usefixtures("unchanged")
class TestWhole:
    """Nothing is wrong, and looking changes nothing."""

    def test_whole_is_one_line_and_exit_code_0(self):
        done = verify()
        assert done.code == 0, done.text
        (line,) = said(done)
        assert re.fullmatch(
            r"healthy: 12 of 12 pairs reachable \(small, full-size of 1400 bytes and TCP\); "
            r"worst round trip \d+\.\d ms (cloud|idc)\d -> (cloud|idc)\d",
            line,
        )
        assert done.changed() == set()

    def test_in_check_mode_nobody_answers_and_that_is_said(self):
        done = verify("--check")
        assert done.code == 0, done.text
        assert said(done)[0].startswith("healthy: 12 of 12 pairs reachable (small and full-size of 1400 bytes); ")
        assert "TCP not tested: check mode starts no echo responder" in said(done)

    def test_a_limited_run_asks_all_and_says_what_it_covers(self):
        done = verify("--limit", "idc1", "-e", "overlay_verify_answer=5")
        assert done.code == 0, done.text
        assert said(done)[0].startswith("healthy: 3 of 3 probed pairs out of 12 reachable")
        assert said(done)[1].startswith("a part of all pairs: 1 of 4 nodes asked, 3 were asked")

    def test_a_sample_asks_fewer(self):
        done = verify("-e", "overlay_verify_all=3", "-e", "overlay_verify_sample=1")
        assert done.code == 0, done.text
        asked = int(re.match(r"healthy: (\d+) of", said(done)[0])[1])
        assert 4 <= asked < 12
        assert "; 4 of 4 pairs of sites" in said(done)[1]

    def test_status_has_a_line_for_each_host(self):
        done = status()
        assert done.code == 0, done.text
        lines = said(done)
        assert [line.split()[:4] for line in lines[1:5]] == [
            [name, name[:-1], f"10.244.{number}.0/24", "ok"] for number, name in enumerate(NODES)
        ]
        assert all(line.split()[4] == "-" and line.split()[7] == "active" for line in lines[1:5])
        assert lines[-1].startswith("next: nothing; ")

    def test_site_and_preflight_end_with_a_table_too(self):
        lines = said(site())
        assert [line.split() for line in lines[:5]] == [
            ["HOST", "SITE", "CHANGED"],
            *([name, name[:-1], "nothing"] for name in NODES),
        ]
        assert "4 hosts: 0 changed, 4 unchanged" in lines
        done = play("tke.overlay.preflight")
        assert done.code == 0, done.text
        assert said(done)[1].split() == ["cloud1", "cloud", "keeps", "10.244.0.0/24"]


def test_a_dead_host_is_named_once_in_verify_and_has_its_line_in_status():
    lab("cut", "idc2")
    try:
        done = verify(*QUICK)
        assert done.code != 0
        lines = said(done)
        assert lines[1:] == [
            "  down: idc2: unreachable for Ansible and for all 3 nodes that probed it",
            lines[-1],
        ]
        assert lines[-1].startswith("next: look at idc2 itself")
        shown = status(*QUICK)
        assert shown.code == 0, shown.text
        (row,) = [line for line in said(shown) if line.startswith("idc2")]
        assert row.split()[:4] == ["idc2", "idc", "10.244.3.0/24", "unreachable"]
    finally:
        lab("heal", "idc2")


def test_an_mtu_black_hole_between_the_sites_is_named_with_the_largest_size():
    with hole(ROUTER, "udp dport 8472 ip length > 1350"):
        done = verify()
    assert done.code != 0
    lines = said(done)
    assert lines[1] == (
        "  MTU black hole: cloud and idc: packets of 1400 bytes are lost; "
        "the largest size that passes is 1300 bytes (8 of 8 pairs)"
    )
    assert lines[2].startswith("next: set overlay_underlay_mtu to 1350 for site idc")
    assert len(lines) == 3


def test_a_firewall_between_the_sites_is_one_line():
    with hole(ROUTER, "udp dport 8472"):
        done = verify("--check")
    assert done.code != 0
    assert said(done)[1] == "  no answer: cloud and idc: 8 of 8 pairs"
    assert said(done)[-1].startswith("next: open UDP port 8472 both ways between cloud and idc")


def test_what_loses_tcp_alone_is_named():
    with hole("idc1", 'iifname "tke0" ip protocol tcp ip length > 200'):
        done = verify()
    assert done.code != 0
    assert said(done)[1].startswith("  TCP fails: idc1 with cloud1, cloud2, idc2; ICMP echoes of the same size pass: ")


def test_a_host_that_is_cut_off_from_the_overlay_alone_is_the_culprit():
    with hole("cloud1", "udp dport 8472"):
        done = verify("--check")
    assert done.code != 0
    assert said(done)[1] == "  cut off: cloud1: reachable for Ansible, no answer for 6 of 6 pairs"


def test_drift_is_in_words_and_a_run_of_site_counts_what_it_mends():
    lab("exec", "idc1", "--", "ip", "route", "del", "10.244.0.0/24")
    lines = said(status())
    (row,) = [line.split() for line in lines if line.startswith("idc1 ")]
    assert row[3:5] == ["ok", "1"]
    assert "idc1: route: missing 10.244.0.0/24 via 10.244.0.0 dev tke0 onlink" in lines
    assert any("--limit idc1 repairs all of it" in line for line in lines)
    assert ["idc1", "idc", "route", "1"] in [line.split() for line in said(site())]


def test_an_old_plan_a_node_without_a_node_cidr_and_an_orphan_are_three_things(tmp_path):
    """Another inventory: without idc2, and with a third host, which has no node CIDR yet."""
    before = LEDGER.read_bytes()
    text = INVENTORY.read_text().replace(
        "idc2: {ansible_host: 192.168.1.12}", "idc3: {ansible_host: 192.168.1.12, overlay_underlay_ip: 192.168.1.13}"
    )
    (tmp_path / "hosts.yml").write_text(text)
    (tmp_path / "group_vars").symlink_to(ROOT / "inventories/lab/group_vars")
    inventory = [tmp_path / "hosts.yml"]
    words = [line.split() for line in said(play("tke.overlay.status", "--limit", "cloud1,idc1", inventories=inventory))]
    assert [row[3] for row in words[1:3]] == ["old", "old"]
    assert any("in the ledger but not in the inventory: idc2 10.244.3.0/24" in " ".join(row) for row in words)
    done = play("tke.overlay.verify", "--limit", "cloud1,idc1", inventories=inventory)
    assert done.code != 0
    lines = said(done)
    assert "  no node CIDR yet: idc3" in lines
    assert "  outdated plan: cloud1, idc1" in lines
    assert "not probed, because they are in the ledger but not in the inventory: idc2" in lines
    assert LEDGER.read_bytes() == before


def test_when_the_host_that_would_print_it_is_dead_the_end_is_printed_all_the_same():
    lab("cut", "cloud1")
    try:
        assert any(line.startswith("  down: cloud1: ") for line in said(verify("--check", *QUICK)))
        done = play("tke.overlay.site", *QUICK)
        assert done.code != 0
        assert ["cloud1", "cloud", "unreachable"] in [line.split() for line in said(done)]
        assert "4 hosts: 0 changed, 3 unchanged, 1 not done" in said(done)
    finally:
        lab("heal", "cloud1")


def test_nothing_is_left_that_listens_once_its_time_is_over():
    done = play("tests/testinfra/eye/quiet.yml")
    assert done.code == 0, done.text
    deadline = time.monotonic() + 10
    for name in NODES:
        while lab("exec", name, "--", "ss", "-Hltn", "sport = :8471"):
            assert time.monotonic() < deadline, f"{name} still answers"

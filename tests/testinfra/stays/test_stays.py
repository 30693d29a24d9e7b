# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The overlay without Ansible: the timer, reboots, and the removal and return of a host.

tests/kernel/test_restore.py tests what the restore script repairs.
"""

from __future__ import annotations

import concurrent.futures
import re
import time

import pytest

from stories import NODES, lab, matrix, play, site, state, states

testinfra_hosts = ["local://"]

PERIOD = 2
OFTEN = ("-e", f"overlay_restore_interval={PERIOD}")
SYNC = "lab-pod sync pod-1 pod-2"


def on(name, script):
    return lab("exec", name, "--", "sh", "-c", script)


def journal(name):
    """Return the lines about the service since boot. systemd before 249 adds three of its own for each run."""
    version = int(on(name, "systemctl --version").split()[1].split(".")[0])
    of_unit = "-u tke-overlay.service" if version >= 249 else "_SYSTEMD_UNIT=tke-overlay.service"
    text = on(name, f"journalctl -b -q -o cat {of_unit} --no-pager")
    return [line for line in text.splitlines() if line]


def kernel(lines):
    """Return the part of a host's state that does not depend on the numbers of links, which change at boot."""
    keep = ("ip -json neigh", "bridge -json fdb", "nft -j list ruleset", "/")
    return {re.sub(r'"(ifindex|link_index)": \d+, ', "", line) for line in lines if line.startswith(keep)}


@pytest.fixture
def timers():
    """Let the timer of every node run often; afterwards as seldom as in the other tests."""
    site(*OFTEN)
    yield
    site()


BREAKAGES = {
    "cloud1": "ip link del tke0",
    "cloud2": "nft flush ruleset; ip route flush proto 144",
    "idc1": "ip link set tke0 down; ip address del $(cat /etc/tke-overlay/settings | sed -n s/^address=//p) dev tke0",
    "idc2": "sysctl -q net.ipv4.ip_forward=0; ip neigh flush dev tke0 nud permanent",
}


@pytest.mark.usefixtures("timers")
def test_the_timer_repairs_and_prints_one_line():
    before, printed = states(NODES), {name: len(journal(name)) for name in NODES}
    for name, script in BREAKAGES.items():
        # With the lock of the script, which could otherwise run between two commands and then print two lines.
        on(name, f"flock /run/tke-overlay/lock sh -c '{script}'")
    deadline = time.monotonic() + PERIOD + 5
    waiting = set(NODES)
    while waiting and time.monotonic() < deadline:
        # The script prints when it has repaired all.
        waiting = {
            name
            for name in waiting
            if kernel(state(name)) != kernel(before[name]) or len(journal(name)) == printed[name]
        }
    assert not waiting
    for name in NODES:
        lines = journal(name)[printed[name] :]
        assert len(lines) == 1, lines
        assert lines[0].startswith("tke-overlay: restored: ")
    runs = "systemctl show -p ExecMainStartTimestampMonotonic --value tke-overlay.service"
    seen = {on("idc1", runs)}
    deadline = time.monotonic() + 3 * PERIOD + 5
    while len(seen) < 3 and time.monotonic() < deadline:
        seen.add(on("idc1", runs))
    assert len(seen) >= 3, "the timer runs repeatedly"
    assert len(journal("idc1")) == printed["idc1"] + 1
    assert all(pair["full"] for pair in matrix())


def booted(name):
    """Wait until the host runs again and its service has finished, and start Pods like a kubelet."""
    deadline = time.monotonic() + 30
    while "tke0" not in on(name, "ip -br link"):
        assert time.monotonic() < deadline, f"{name} has no tke0"
    on(name, SYNC)


def test_pods_reach_each_other_after_a_reboot_of_each_node():
    before = states(NODES)
    for name in NODES:
        lab("reboot", name)
        booted(name)
        assert all(pair["small"] and pair["full"] for pair in matrix())
        (line,) = journal(name)
        assert "rules: missing; device tke0: missing" in line
        managed = {line for line in kernel(before[name]) if "tke0" in line or "tke_overlay" in line}
        assert managed - kernel(state(name)) == set()
    assert site().changed() == set()


def test_pods_reach_each_other_after_a_reboot_of_all_nodes():
    lab("reboot", *NODES)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(booted, NODES))
    pairs = matrix()
    assert len(pairs) == 64
    assert all(pair["small"] and pair["full"] for pair in pairs)
    assert site().changed() == set()


class TestReset:
    """One host is removed and added again."""

    def test_requires_a_confirmation(self):
        before = states()
        done = play("tke.overlay.reset", "-e", "overlay_reset=idc2")
        assert done.code != 0
        assert "overlay_reset_confirmed=true" in done.text
        assert states() == before

    def test_removes_only_the_overlay_and_the_host_can_join_again(self):
        before = states()
        forecast = play("tke.overlay.reset", "-e", "overlay_reset=idc2", "--check", "--diff")
        assert states() == before
        done = play("tke.overlay.reset", "--limit", "idc2", "-e", "overlay_reset_confirmed=true", "--diff")
        assert done.code == 0, done.text
        assert done.changed() == {"idc2"}
        shown = [re.findall(r"^[-+].*", each.text, re.MULTILINE) for each in (forecast, done)]
        assert shown[0] == shown[1]
        after = states()
        assert {name: lines for name, lines in after.items() if name != "idc2"} == {
            name: lines for name, lines in before.items() if name != "idc2"
        }
        assert "tke-br0 stays, because 2 Pods are on it" in " ".join(done.text.split())
        assert not any("tke0" in line or "tke-overlay" in line or "tke_overlay" in line for line in after["idc2"])
        assert "compiled" not in on("idc2", "ls /run/tke-overlay")
        assert play("tke.overlay.reset", "--limit", "idc2", "-e", "overlay_reset_confirmed=true").changed() == set()
        assert "compiled" not in on("idc2", "ls /run/tke-overlay")
        assert site().changed() == {"idc2"}
        assert all(pair["full"] for pair in matrix())

    def test_removes_a_bridge_without_pods(self):
        on("idc2", "lab-pod sync")
        play("tke.overlay.reset", "-e", "overlay_reset=idc2", "-e", "overlay_reset_confirmed=true")
        assert "tke" not in on("idc2", "ip -br link")
        site()
        on("idc2", SYNC)
        assert all(pair["full"] for pair in matrix())

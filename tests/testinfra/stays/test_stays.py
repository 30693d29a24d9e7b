# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A host that is right stays right: the real timer, true reboots without Ansible, taking a host out and in again.

What the timer mends, and how, is tested to the last object in tests/kernel/test_restore.py.
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


def told(name):
    """What the service of this boot has told, a line each, without what systemd says of it."""
    text = on(name, "journalctl -b -q -o cat -u tke-overlay.service --no-pager")
    return [line for line in text.splitlines() if line]


def kernel(lines):
    """What of a host's state does not depend on the numbers that links got in this boot."""
    keep = ("ip -json neigh", "bridge -json fdb", "nft -j list ruleset", "/")
    return {re.sub(r'"(ifindex|link_index)": \d+, ', "", line) for line in lines if line.startswith(keep)}


@pytest.fixture
def timers():
    """The timer of every node at work; afterwards as seldom as the other tests want it."""
    site(*OFTEN)
    yield
    site()


BREAKAGES = {
    "cloud1": "ip link del tke0",
    "cloud2": "nft flush ruleset; ip route flush proto 84",
    "idc1": "ip link set tke0 down; ip address del $(cat /etc/tke-overlay/settings | sed -n s/^address=//p) dev tke0",
    "idc2": "sysctl -q net.ipv4.ip_forward=0; ip neigh flush dev tke0 nud permanent",
}


@pytest.mark.usefixtures("timers")
def test_the_timer_alone_mends_and_says_so_once_and_else_it_is_silent():
    before, spoken = states(NODES), {name: len(told(name)) for name in NODES}
    for name, script in BREAKAGES.items():
        # With the script's own lock: between two commands it would mend the first, and then speak twice.
        on(name, f"flock /run/tke-overlay/lock sh -c '{script}'")
    deadline = time.monotonic() + PERIOD + 5
    waiting = set(NODES)
    while waiting and time.monotonic() < deadline:
        waiting = {name for name in waiting if kernel(state(name)) != kernel(before[name])}
    assert not waiting
    for name in NODES:
        lines = told(name)[spoken[name] :]
        assert len(lines) == 1, lines
        assert lines[0].startswith("tke-overlay: restored: ")
    runs = "systemctl show -p ExecMainStartTimestampMonotonic --value tke-overlay.service"
    seen = {on("idc1", runs)}
    deadline = time.monotonic() + 3 * PERIOD + 5
    while len(seen) < 3 and time.monotonic() < deadline:
        seen.add(on("idc1", runs))
    assert len(seen) >= 3, "it has looked again, and again"
    assert len(told("idc1")) == spoken["idc1"] + 1
    assert all(pair["full"] for pair in matrix())


def booted(name):
    """The host runs again, its service has looked, and a kubelet would start Pods now."""
    deadline = time.monotonic() + 30
    while "tke0" not in on(name, "ip -br link"):
        assert time.monotonic() < deadline, f"{name} has no tke0"
    on(name, SYNC)


def test_after_a_true_reboot_every_pod_answers_again_without_ansible():
    before = states(NODES)
    for name in NODES:
        lab("reboot", name)
        booted(name)
        assert all(pair["small"] and pair["full"] for pair in matrix())
        (line,) = told(name)
        assert "rules: missing; device tke0: missing" in line
        managed = {line for line in kernel(before[name]) if "tke0" in line or "tke_overlay" in line}
        assert managed - kernel(state(name)) == set()
    assert site().changed() == set()


def test_after_a_reboot_of_all_at_once_too():
    lab("reboot", *NODES)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(booted, NODES))
    pairs = matrix()
    assert len(pairs) == 64
    assert all(pair["small"] and pair["full"] for pair in pairs)
    assert site().changed() == set()


class TestReset:
    """One host is taken out, and taken in again."""

    def test_without_a_yes_nothing_happens(self):
        before = states()
        done = play("tke.overlay.reset", "-e", "overlay_reset=idc2")
        assert done.code != 0
        assert "overlay_reset_confirmed=true" in done.text
        assert states() == before

    def test_everything_of_ours_goes_and_everything_else_stays_and_it_can_join_again(self):
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
        assert play("tke.overlay.reset", "--limit", "idc2", "-e", "overlay_reset_confirmed=true").changed() == set()
        assert site().changed() == {"idc2"}
        assert all(pair["full"] for pair in matrix())

    def test_a_bridge_without_pods_goes_too(self):
        on("idc2", "lab-pod sync")
        play("tke.overlay.reset", "-e", "overlay_reset=idc2", "-e", "overlay_reset_confirmed=true")
        assert "tke" not in on("idc2", "ip -br link")
        site()
        on("idc2", SYNC)
        assert all(pair["full"] for pair in matrix())

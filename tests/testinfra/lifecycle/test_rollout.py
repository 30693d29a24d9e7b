# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of a roll-out: it stops at the first unhealthy site and does not change the next one."""

from __future__ import annotations

import contextlib
import subprocess

import pytest

from day_two import mtu_of, of_page, run
from stories import NODES, at_once, joined, play, states
from tkelab.model import ROUTER

testinfra_hosts = ["local://"]

SMALLER_MTU = ("-e", "overlay_underlay_mtu=1400")
"""A change of every host: the MTU of the overlay decreases from 1400 to 1350 bytes."""
RULE = "udp dport 8472 ip length > 1380 drop"
HOLE = f"table ip rollout {{ chain c {{ type filter hook prerouting priority raw; {RULE}; }}; }}"
"""Drops full-size packets between the sites; packets inside a site do not pass the router."""


@contextlib.contextmanager
def hole_between_the_sites():
    nft = ("ip", "netns", "exec", ROUTER, "nft")
    subprocess.run([*nft, HOLE], check=True)
    try:
        yield
    finally:
        subprocess.run([*nft, "delete", "table", "ip", "rollout"], check=True)


def output(done):
    return [line.strip() for line in done.text.splitlines()]


@of_page("Roll out site by site")
def test_the_next_site_waits_until_the_first_is_healthy(story):
    _none, (cloud_first, idc_first) = story
    before = states(NODES)
    with hole_between_the_sites():
        for changed in (
            {"cloud1", "cloud2"},
            set(),
        ):  # the second run stops at the same place, because the fault remains
            done = play(*cloud_first, *SMALLER_MTU)
            assert done.code != 0
            assert done.changed() - {"cloud1"} == changed - {"cloud1"}, "a change of the ledger is counted on cloud1"
            assert (
                "MTU black hole: cloud and idc: packets of 1350 bytes are lost; "
                "the largest size that passes is 1330 bytes" in joined(done.text)
            )
            assert "stopped: 2 hosts not changed: idc1, idc2" in output(done)
            assert "next: set overlay_underlay_mtu to 1380 for site idc; or fix the line" in joined(done.text)
            assert (
                "then run the same command again; it applies the plan and continues with the remaining hosts"
                in output(done)
            )
    after = states(NODES)
    assert {name for name in NODES if after[name] != before[name]} == {"cloud1", "cloud2"}
    assert mtu_of("cloud1") == 1350
    done = run([*cloud_first, *SMALLER_MTU])
    assert "cloud1, cloud2: 0 of 2 changed; remaining: idc1, idc2" in output(done)
    assert "idc1, idc2: 2 of 2 changed" in output(done)
    assert [mtu_of(name) for name in NODES] == [1350] * 4
    back = run(idc_first)
    assert "idc1, idc2: 2 of 2 changed; remaining: cloud1, cloud2" in output(back)
    assert "4 hosts: 0 changed, 4 unchanged" in output(back), "the site playbook at the end of the roll-out"


@pytest.mark.usefixtures("unchanged")
class TestUnchanged:
    """Roll-outs that change nothing."""

    def test_check_mode_and_a_wrong_name_change_nothing(self):
        checked, misspelt = at_once(
            ("tke.overlay.rollout", "--check", "--limit", "idc1", *SMALLER_MTU),
            ("tke.overlay.rollout", "-e", "overlay_rollout_first=idc1,icd2"),
        )
        assert checked.code == 0, checked.text
        assert "run the same command without --check to apply this" in joined(checked.text)
        assert misspelt.code != 0
        assert "unknown: icd2" in joined(misspelt.text)

    def test_a_change_that_needs_all_hosts_is_an_error(self):
        """With another port, the first site would not reach the second, and the roll-out would stop there."""
        port = ("tke.overlay.rollout", "-e", "overlay_port=4789")
        for done in at_once(port, (*port, "--check")):
            assert done.code != 0
            assert "It concerns cloud1, cloud2, idc1, idc2" in joined(done.text)
            assert done.changed() == set()

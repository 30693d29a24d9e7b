# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of the removal of the pair."""

from __future__ import annotations

import pytest

from faults import PAIR, Holders
from stories import LAB_STATE, joined, lab, ledger, play

testinfra_hosts = ["local://"]


def test_requires_a_confirmation():
    done = play("tke.overlay.clb_release")
    assert done.code != 0
    assert "overlay_clb_release_confirmed=true" in done.text
    assert ledger()["vips"]


def test_removes_the_pair_and_frees_its_vips():
    confirmed = ("-e", "overlay_clb_release_confirmed=true")
    distribution = {host: lab("exec", host, "--", "sha256sum", "/etc/haproxy/haproxy.cfg") for host in PAIR}
    held = ledger()["vips"]
    forecast = play("tke.overlay.clb_release", "--check", "--diff", *confirmed)
    with Holders(held) as holders:
        holders.await_preferred(10)
        done = play("tke.overlay.clb_release", "--diff", *confirmed)
        assert done.code == 0, joined(done.text)
        assert holders.now() == {host: frozenset() for host in PAIR}
    forecast_words = joined(forecast.text).replace("The two addresses would be free.", "The two addresses are free.")
    assert sorted(joined(done.text).split()) == sorted(forecast_words.split())  # hosts finish in any order
    assert ledger()["vips"] == {}
    for host in PAIR:
        left = lab(
            "exec", host, "--", "sh", "-c", "ls /etc/systemd/system /etc/tke-overlay/clb /run 2>&1; nft list tables"
        )
        assert "tke-overlay-" not in left
        assert "tke_overlay_clb" not in left
        assert lab("exec", host, "--", "sha256sum", "/etc/haproxy/haproxy.cfg") == distribution[host]
    assert play("tke.overlay.clb_release", *confirmed).changed() == set()


@pytest.fixture(scope="module", autouse=True)
def restore_pair():
    """Configure the pair again, as the other tests expect it."""
    yield
    play("tke.overlay.site", "--limit", "clb", "-e", f"overlay_api_ca={LAB_STATE / 'api-ca.crt'}")

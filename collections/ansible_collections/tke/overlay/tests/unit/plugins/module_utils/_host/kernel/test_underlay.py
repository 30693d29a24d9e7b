# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of routes as ``ip route get`` prints them. tests/kernel/test_underlay.py tests them on the real kernel."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.underlay import (
    UnderlayRoute,
    neighbors_of,
    underlay_routes,
)

LISTINGS = {
    "a learned MTU": ("10.0.1.12 from 10.0.1.11 dev eth0 uid 0 \\    cache expires 590sec mtu 1300 \n", None),
    "an MTU of the route": ("10.0.1.12 from 10.0.1.11 via 10.0.1.1 dev eth0 uid 0 \\    cache mtu 1300 \n", 1300),
    "a locked MTU": ("10.0.1.12 from 10.0.1.11 dev eth0 uid 0 \\    cache mtu lock 1300 \n", 1300),
    "no uid, as iproute2 before 4.12": ("10.0.1.12 from 10.0.1.11 dev eth0 \\    cache \n", None),
}


@pytest.mark.parametrize("case", LISTINGS)
def test_the_mtu_of_a_route(case):
    line, mtu = LISTINGS[case]
    found = underlay_routes("10.0.1.11", ["10.0.1.12"], lambda _command, _text: (0, line, ""))
    assert found == [UnderlayRoute("eth0", mtu, ("10.0.1.12",))]


def test_without_peers_no_program_runs():
    def run(*_arguments):
        raise AssertionError

    assert underlay_routes("10.0.1.11", [], run) == []


def test_a_neighbor_has_no_router_before_it():
    listing = (
        "10.0.1.12 from 10.0.1.11 dev eth0 uid 0 \\    cache \n"
        "10.0.2.9 from 10.0.1.11 via 10.0.1.1 dev eth0 uid 0 \\    cache \n"
        "local 10.0.1.11 from 10.0.1.11 dev lo uid 0 \\    cache <local> \n"
        "10.0.1.13 from 10.0.1.11 dev eth1 uid 0 \\    cache expires 590sec mtu 1300 \n"
    )
    peers = ["10.0.1.12", "10.0.2.9", "10.0.1.11", "10.0.1.13", "10.9.9.9"]
    links, others = neighbors_of("10.0.1.11", peers, lambda _command, _text: (1, listing, ""))
    assert links == {"10.0.1.12": "eth0", "10.0.1.13": "eth1"}
    assert others == {"10.0.2.9": "by 10.0.1.1 (dev eth0)", "10.0.1.11": "not at all", "10.9.9.9": "not at all"}


def test_an_ipv6_neighbor_is_found():
    line = "2001:db8::12 from 2001:db8::11 dev eth0 proto kernel src 2001:db8::11 metric 256 pref medium\n"
    found, _others = neighbors_of("2001:db8::11", ["2001:db8::12"], lambda _command, _text: (0, line, ""))
    assert found == {"2001:db8::12": "eth0"}

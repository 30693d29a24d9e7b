# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of routes as ``ip route get`` prints them. tests/kernel/test_underlay.py tests them on the real kernel."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.underlay import UnderlayRoute, underlay_routes

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

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the warnings about underlay addresses, with the inventories of other tools."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import BAD, PLAIN
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.underlay import (
    Underlay,
    is_private,
    network_of,
    warnings,
)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.1.2.3", True),
        ("172.31.0.1", True),
        ("172.32.0.1", False),
        ("192.168.0.1", True),
        ("100.64.0.1", True),
        ("100.128.0.1", False),
        ("203.0.113.1", False),
        ("fd00::1", True),
        ("2001:db8::1", False),
    ],
)
def test_private_addresses(address, private):
    assert is_private(address) is private


def test_hosts_of_a_site_share_a_network():
    assert network_of("10.0.1.200") == "10.0.1.0/24"
    assert network_of("2001:db8::1:2") == "2001:db8::/64"


def test_addresses_of_one_kind_need_no_words():
    nodes = {"a": Underlay("10.0.0.1", "ansible_host"), "b": Underlay("192.168.0.1", "overlay_underlay_ip")}
    assert warnings(nodes) == ([], [])


def test_an_inventory_of_kubespray_names_the_variable_to_use():
    nodes = {
        f"n{number}": Underlay(f"203.0.113.{number}", "ansible_host", f"10.0.0.{number}", "ip") for number in (1, 2)
    }
    (line,), (step,) = warnings(nodes)
    assert line.tone == BAD
    for word in ("n1, n2", "ansible_host (203.0.113.1)", "ip (10.0.0.1)"):
        assert word in line.text
    assert 'set overlay_underlay_ip: "{{ ip }}"' in step


def test_a_second_private_address_is_a_note():
    (line,), _steps = warnings({"a": Underlay("10.0.0.1", "ansible_host", "192.168.0.1", "access_ip")})
    assert line.tone == PLAIN


def test_an_explicit_address_is_not_doubted():
    assert warnings({"a": Underlay("10.0.0.1", "overlay_underlay_ip", "192.168.0.1", "ip")}) == ([], [])


def test_public_and_private_addresses_together():
    nodes = {"a": Underlay("203.0.113.7", "overlay_underlay_ip"), "b": Underlay("10.0.0.1", "ansible_host")}
    (line,), (step,) = warnings(nodes)
    assert line.tone == BAD
    for word in ("public for a (203.0.113.7)", "private for b (10.0.0.1)"):
        assert word in line.text
    assert "overlay_underlay_ip" in step


def test_public_addresses_alone_are_a_note():
    (line,), (step,) = warnings({"a": Underlay("203.0.113.7", "ansible_host")})
    assert line.tone == PLAIN
    assert "ip -brief address" in step

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filters read from the variables and registered results of hosts."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import (
    registered,
    succeeded,
    underlay_addresses,
)

HOSTVARS = {
    "ok": {"result": {"changed": False, "saved": {"node": "ok"}}},
    "empty": {"result": {"changed": False, "saved": {}}},
    "failed": {"result": {"failed": True, "msg": "no nft"}},
    "skipped": {"result": {"skipped": True}},
    "unreachable": {"result": {"unreachable": True, "failed": True}},
    "absent": {},
}


def test_registered_leaves_out_hosts_without_a_value():
    assert registered(HOSTVARS, HOSTVARS, "result", "saved") == {"ok": {"node": "ok"}}
    assert registered([], HOSTVARS, "result", "saved") == {}


def test_succeeded_needs_a_task_that_ran():
    assert succeeded(HOSTVARS, HOSTVARS, "result") == ["ok", "empty"]
    assert succeeded(["empty", "ok"], HOSTVARS, "result") == ["empty", "ok"], "in the order given"


def test_an_unreachable_host_has_no_result():
    assert registered(HOSTVARS, HOSTVARS, "result", "failed") == {"failed": True}


@pytest.mark.parametrize(
    ("variables", "address", "with_port"),
    [
        ({"overlay_underlay_ip": "10.0.1.11", "ansible_host": "192.0.2.1"}, "10.0.1.11", "10.0.1.11:6443"),
        ({"ansible_host": "192.0.2.1"}, "192.0.2.1", "192.0.2.1:6443"),
        ({"overlay_underlay_ip": "2001:db8::1"}, "2001:db8::1", "[2001:db8::1]:6443"),
        ({}, "api1", "api1:6443"),
    ],
)
def test_underlay_address_falls_back_as_in_the_planner(variables, address, with_port):
    assert underlay_addresses(["api1"], {"api1": variables}) == {"api1": address}
    assert underlay_addresses(["api1"], {"api1": variables}, port="6443") == {"api1": with_port}


def test_a_node_that_has_left_the_inventory_has_no_result():
    hostvars = {"a": {"done": {"saved": {"node": "a"}}}}
    assert registered(["a", "gone"], hostvars, "done", "saved") == {"a": {"node": "a"}}
    assert succeeded(["a", "gone"], hostvars, "done") == ["a"]

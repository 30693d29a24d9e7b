# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the route to the load balancer: impossible routes. tests/kernel tests the others on a real kernel."""

from __future__ import annotations

import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import find_route


@pytest.mark.parametrize(
    ("subnet", "gateway", "answer", "text"),
    [
        ("10.0.2.9/24", "10.0.1.1", None, "the subnet of the route: 10.0.2.9/24 has host bits set"),
        ("fd00::/64", "10.0.1.1", None, "the subnet of the route, fd00::/64, is not an IPv4 subnet"),
        ("10.0.2.0/24", "router", None, "the gateway of the route, router, is no IPv4 address"),
        ("10.0.2.0/24", "10.0.1.1", None, "the gateway of the route, 10.0.1.1, is unreachable: "),
        (
            "10.0.2.0/24",
            "10.9.9.9",
            {"gateway": "10.0.1.1", "dev": "eth0"},
            "10.9.9.9, is not in a network of this host",
        ),
        ("10.0.2.0/24", "127.0.0.1", {"type": "local", "dev": "lo"}, "127.0.0.1, is not in a network of this host"),
    ],
)
def test_rejects_an_impossible_route(subnet, gateway, answer, text):
    def run(command, _input):
        if "show" in command:
            return 0, "[]", ""
        return (2, "", "unreachable") if answer is None else (0, json.dumps([answer]), "")

    with pytest.raises(ValidationError) as caught:
        find_route("", subnet, gateway, run)
    assert text in str(caught.value)

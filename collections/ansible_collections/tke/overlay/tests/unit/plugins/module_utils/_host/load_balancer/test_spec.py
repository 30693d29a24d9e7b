# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the validation of a specification: each message names the value and the variable."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._balancer import ProxiedService
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.spec import PairHost, problems_of


def listener(name, port, vip="services"):
    return ProxiedService(name, ["x:1"], vip, port)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"own": PairHost("clb1", "clb1.example")}, ["host clb1", "'clb1.example'", "overlay_underlay_ip"]),
        ({"apiservers": {}}, ["group apiserver has no hosts"]),
        ({"apiservers": {"api1": "a b:1"}}, ["API server api1: 'a b:1' is not host:port"]),
        ({"vrid": 255}, ["overlay_clb_vrid 255", "between 1 and 254"]),
        ({"api_port": 0}, ["overlay_api_port 0", "between 1 and 65535"]),
        ({"metrics_port": 70000}, ["overlay_clb_metrics_port 70000"]),
        ({"services": [ProxiedService("a_b", ["x:1"])]}, ["overlay_clb_services: 'a_b' is not a host name"]),
        ({"services": [ProxiedService("a", ["x:1"]), ProxiedService("A", ["x:1"])]}, ["'A' is listed twice"]),
        ({"services": [ProxiedService("a", [])]}, ["'a' has no backends"]),
        (
            {"services": [ProxiedService("a", ["x", "y:99999", "[::1]:443"])]},
            ["'x' is not", "'y:99999' is not", "'[::1]:443' is not"],
        ),
        ({"listeners": [listener("a b", 70)]}, ["overlay_clb_listeners: 'a b'", "letters, digits"]),
        ({"listeners": [listener("a", 70, "other")]}, ["unknown VIP 'other': set apiserver or services"]),
        ({"listeners": [listener("a", 443)]}, ["port 443", "already used by overlay_clb_services"]),
        ({"listeners": [listener("a", 6443, "apiserver")]}, ["port 6443", "already used by overlay_api_port"]),
        ({"listeners": [listener("a", 7), listener("b", 7)]}, ["port 7", "already used by listener 'a'"]),
        ({"listeners": [listener("a", 7), listener("a", 8)]}, ["overlay_clb_listeners: 'a' is listed twice"]),
        ({"listeners": [listener("a", 0)]}, ["port 0 is not between"]),
    ],
)
def test_names_each_invalid_value(spec, change, words):
    text = "\n".join(problems_of(spec._replace(**change)))
    for word in words:
        assert word in text


def test_accepts_a_valid_specification(spec):
    assert list(problems_of(spec)) == []

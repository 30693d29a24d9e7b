# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of conflicts between the variables of the load balancer, as `preflight` reports them."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._balancer import NO_API_SERVERS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.pair import (
    VARIABLES,
    problems_of_balancer,
)

REGISTRY = [{"name": "registry.example.com", "backends": ["10.0.9.1:443"]}]


def problems(*apiservers, **values):
    given = {**dict.fromkeys(VARIABLES), "overlay_cluster": "demo"}
    return problems_of_balancer({**given, **{f"overlay_{name}": value for name, value in values.items()}}, apiservers)


def service(name):
    return [{**REGISTRY[0], "name": name}]


def test_a_service_with_a_name_of_its_own_is_no_conflict():
    assert problems("api1", clb_services=REGISTRY) == []
    assert problems("api1", clb_services=service("api.demo.internal"), api_name="api.example.com") == []


@pytest.mark.parametrize("provider", [None, "pair", "tencent"])
@pytest.mark.parametrize(
    ("name", "given", "where"),
    [
        ("api.demo.internal", None, "by default, see overlay_api_name"),
        ("api.example.com", "api.example.com", "overlay_api_name"),
    ],
)
def test_a_service_cannot_have_the_name_of_the_api_server(name, given, where, provider):
    (found,) = problems("api1", clb_services=service(name), api_name=given, clb_provider=provider)
    assert found.startswith("overlay_clb_services:")
    assert f"{name!r} is the name of the API server ({where})" in found


def test_only_a_pair_needs_api_servers():
    assert problems() == [NO_API_SERVERS]
    assert problems(clb_provider="pair") == [NO_API_SERVERS]
    assert problems(clb_provider="tencent") == []


def test_a_listener_cannot_have_a_port_that_is_in_use():
    def listening(vip, port):
        return [{**REGISTRY[0], "vip": vip, "port": port}]

    for vip, port in (("apiserver", 6443), ("services", 7443), ("services", 443)):
        assert problems("api1", clb_listeners=listening(vip, port), api_port=7443) == []
    (found,) = problems("api1", clb_listeners=listening("apiserver", 7443), api_port=7443)
    assert "port 7443 of the VIP apiserver is already used by overlay_api_port" in found
    (found,) = problems("api1", clb_listeners=listening("services", 443), clb_services=service("other.example.com"))
    assert "port 443 of the VIP services is already used by overlay_clb_services" in found

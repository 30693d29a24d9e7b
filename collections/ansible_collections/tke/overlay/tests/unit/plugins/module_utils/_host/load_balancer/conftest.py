# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pair that all tests of the load balancer use."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._balancer import ProxiedService
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.config import HostLinks
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.spec import PairHost, PairSpec


@pytest.fixture
def spec():
    """The first host of a pair with two API servers, a service and a listener."""
    return PairSpec(
        own=PairHost("clb1", "10.0.2.11"),
        peer=PairHost("clb2", "10.0.2.12"),
        preferred_vip="apiserver",
        vips={"apiserver": "10.0.2.2", "services": "10.0.2.3"},
        subnet="10.0.2.0/24",
        apiservers={"api1": "10.0.1.21:6443", "api2": "10.0.1.22:6443"},
        api_port=6443,
        services=[ProxiedService("registry.example.net", ["10.0.1.31:443", "registry.internal:443"])],
        listeners=[ProxiedService("ntske", ["10.0.1.33:4460"], "apiserver", 4460)],
        ca="",
        metrics_port=8405,
        vrid=84,
    )


@pytest.fixture
def peer_spec(spec):
    """The second host of the same pair."""
    return spec._replace(own=spec.peer, peer=spec.own, preferred_vip="services")


@pytest.fixture
def links():
    return HostLinks("eth0", "eth0", ["10.0.2.1"])

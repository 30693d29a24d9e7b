# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One host of a small fleet."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, fleet_text


@pytest.fixture
def fleet():
    """Return the entries of the host ``me`` and of two peers."""
    return [
        Peer("me", "10.244.0.0/24", "10.0.1.11"),
        Peer("one", "10.244.1.0/24", "10.0.1.12"),
        Peer("two", "10.244.2.0/24", "10.0.1.13"),
    ]


@pytest.fixture
def document(fleet):
    """Return the document of the host ``me``."""
    return {
        "schema": 1,
        "cluster": "demo",
        "node": "me",
        "device": "tke0",
        "vni": 1,
        "port": 8472,
        "mtu": 1450,
        "bridge": "tke-br0",
        "container_cidr": ["10.244.0.0/16"],
        "service_cidr": "10.244.255.0/24",
        "fleet": fleet_text(fleet),
    }

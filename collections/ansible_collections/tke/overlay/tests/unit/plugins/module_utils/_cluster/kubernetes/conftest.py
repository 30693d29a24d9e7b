# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster with two API servers, a VIP and a node in the data centre."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.settings import (
    FIRST,
    SERVER,
    ClusterValues,
    Endpoint,
    JoinSecrets,
    Member,
)

SECRETS = {
    "kubeadm": JoinSecrets("abcdef.0123456789abcdef", ["sha256:" + "c1" * 32], "4e" * 32),
    "k3s": JoinSecrets("K10-secret"),
    "rke2": JoinSecrets("K10-secret"),
}


@pytest.fixture
def values():
    """Return a function that returns the values of the cluster, with some of them changed."""

    def change(distribution="kubeadm", **changed):
        given = {
            "distribution": distribution,
            "endpoint": Endpoint("api.demo.internal", 6443, "10.0.2.8", [9345]),
            "container_cidrs": ["10.244.0.0/16"],
            "service_cidr": "10.244.255.0/24",
            "usable_pods": 253,
            "max_pods": 110,
            "dns": "10.244.255.10",
            "cert_sans": ["api.demo.internal", "10.0.2.8"],
            "own_service": True,
            "secrets": SECRETS[distribution],
        }
        return ClusterValues(**{**given, **changed})

    return change


@pytest.fixture
def members():
    """Return the hosts: an API server that begins the cluster, a further one, a node."""
    return [
        Member("api1", "api1", "10.0.1.21", FIRST),
        Member("api2", "api2", "10.0.1.22", SERVER),
        Member("idc1", "idc1.example.net", "192.168.1.11"),
    ]

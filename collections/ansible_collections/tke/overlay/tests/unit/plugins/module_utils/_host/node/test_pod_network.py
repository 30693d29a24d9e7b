# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the Pod network of a host, from the plan and from what was saved."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import fleet_text
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import (
    PodFinding,
    planned_network,
    saved_network,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import build_target
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def test_the_saved_network_is_the_planned_one(document, root):
    planned = planned_network(document, ["/opt/cni/bin"])
    assert (planned.pod, planned.gateway, planned.far_pod) == ("10.244.0.2", "10.244.0.1", "10.244.1.2")
    assert saved_network() is None, "not a node yet"
    target = build_target(document, HostFacts(kernel=(6, 1), systemd=False, loaded=False, units={}))
    for path, text in target.files.items():
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(text or "")
    assert saved_network(["/opt/cni/bin"]) == planned


def test_host_without_pods_has_no_pod_network(document, root):
    host = HostFacts(kernel=(6, 1), systemd=False, loaded=False, units={})
    for path, text in build_target(document, host, pods=False).files.items():
        files.put_file(path, text)
    assert saved_network(["/opt/cni/bin"]) is None


def test_a_single_node_has_no_pods_elsewhere(document, fleet):
    assert planned_network({**document, "fleet": fleet_text(fleet[:1])}).far_pod is None


@pytest.mark.parametrize(
    ("remedy", "sentence"),
    [("ip link set x up", "x is down. To correct it: ip link set x up"), ("Delete x", "x is down. Delete x")],
)
def test_a_sentence_has_the_finding_and_its_remedy(remedy, sentence):
    assert PodFinding("port", "x is down", remedy).sentence == sentence

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which Pods keep a host from becoming a member without Pods. tests/kernel/test_members.py has it on a real kernel."""

from __future__ import annotations

import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import FormerBridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.node.running_pods import check_no_pods, running_pods

BRIDGE = FormerBridgeTable("tke-br0", ["10.244.0.0/16", "10.245.0.0/16"], "10.244.0.0/24")


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def nothing(_command, _text):
    return 0, "[]", ""


def veth(name, **changes):
    return {"ifname": name, "linkinfo": {"info_kind": "veth"}, **changes}


def record(root, name, address, link):
    directory = root / "var/lib/cni/results"
    directory.mkdir(parents=True, exist_ok=True)
    namespace, _slash, pod = name.partition("/")
    cached = {
        "containerId": "c" * 64,
        "cniArgs": [["K8S_POD_NAMESPACE", namespace], ["K8S_POD_NAME", pod]],
        "result": {"interfaces": [{"name": "tke-br0"}, {"name": link}], "ips": [{"address": f"{address}/24"}]},
    }
    (directory / f"tke-overlay-{pod}-eth0").write_text(json.dumps(cached))


def test_a_pod_that_is_recorded_and_on_the_bridge_counts_once(root):
    record(root, "web/a", "10.244.0.9", "veth00000001")
    links = [veth("veth00000001", master="tke-br0"), {"ifname": "tap0", "master": "tke-br0"}, veth("vetha", master="x")]
    found = running_pods(BRIDGE, links, nothing)
    assert [pod.text for pod in found] == ["tap0", "web/a (10.244.0.9, veth00000001)"]


def test_many_pods_are_counted_and_the_first_named(root):
    links = []
    for number in range(100, 140):
        link = f"veth00000{number}"
        record(root, f"team-{number % 3}/web-{number}", f"10.245.0.{number}", link)
        links.append(veth(link))
    with pytest.raises(ValidationError) as caught:
        check_no_pods(BRIDGE, links, nothing)
    text = str(caught.value)
    for words in ("40 Pods", "team-0: 13, team-1: 14, team-2: 13", "web-100", "web-109", "30 more", "kubectl drain"):
        assert words in text
    assert "web-110" not in text


def test_one_pod_without_a_record_is_one_pod():
    links = [veth("veth00000001", master="tke-br0")]
    with pytest.raises(ValidationError, match=r"and 1 Pod of the overlay runs on this host: veth00000001\."):
        check_no_pods(BRIDGE, links, nothing)


def test_links_of_other_programs_are_no_pods(root):
    record(root, "web/a", "172.17.0.9", "veth00000001")
    links = [veth("veth00000001"), veth("veth1a2b3c4", master="docker0"), {"ifname": "eth0"}]
    check_no_pods(BRIDGE, links, nothing)
    assert running_pods(BRIDGE, links, nothing) == []

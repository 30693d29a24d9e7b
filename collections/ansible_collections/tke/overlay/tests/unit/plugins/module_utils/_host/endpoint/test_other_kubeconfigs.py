# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of kubeconfigs that nobody has listed: those of the same cluster with another server are found."""

from __future__ import annotations

import base64
import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.other_kubeconfigs import (
    Expected,
    find_others,
    host_of,
)

URL = "https://api.new:6443"
OLD = "https://api.old:6443"


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def expected(pki):
    return Expected(URL, {"api.old"}, [pki.ca.pem.decode()])


def own_address(_command, _text):
    return 0, json.dumps([{"addr_info": [{"local": "10.0.1.21"}]}]), ""


def put(root, path, server, authority=None, kind="Config"):
    data = {"certificate-authority-data": base64.b64encode(authority.pem).decode()} if authority else {}
    document = {"kind": kind, "clusters": [{"name": "a", "cluster": {"server": server, **data}}]}
    file = root / path[1:]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


PLACES = [
    *(f"/etc/kubernetes/{name}.conf" for name in ("admin", "super-admin", "controller-manager", "scheduler")),
    "/etc/kubernetes/bootstrap-kubelet.conf",
    "/etc/kubernetes/kube-proxy-kubeconfig.yaml",
    "/var/lib/kubelet/kubeconfig",
    "/var/lib/kubelet/bootstrap-kubeconfig",
    "/root/.kube/config",
    "/home/me/.kube/config",
    "/etc/rancher/k3s/k3s.yaml",
    "/var/lib/rancher/k3s/agent/kubelet.kubeconfig",
]


@pytest.mark.parametrize("path", PLACES)
def test_finds_the_former_name_in_every_place(root, expected, path):
    put(root, path, OLD)
    assert find_others([], expected, own_address) == [f"{path} ({OLD})"]
    assert find_others([path], expected, own_address) == [], "it is listed"
    put(root, path, URL)
    assert find_others([], expected, own_address) == []


def test_finds_another_server_with_the_same_ca(root, expected, pki):
    put(root, "/etc/kubernetes/admin.conf", "https://me:verysecret@10.0.1.22:6443?x", pki.ca)
    put(root, "/root/.kube/config", "https://10.0.1.22:6443", pki.other_ca)
    assert find_others([], expected, own_address) == ["/etc/kubernetes/admin.conf (https://10.0.1.22:6443)"]


@pytest.mark.parametrize("server", ["https://10.0.1.21:6443", "https://127.0.0.1:6443", "https://localhost:6443"])
def test_an_api_server_may_use_itself(root, expected, pki, server):
    put(root, "/etc/kubernetes/scheduler.conf", server, pki.ca)
    assert find_others([], expected, own_address) == []


def test_finds_the_former_name_in_a_file_that_cannot_be_parsed(root, expected):
    put(root, "/etc/kubernetes/admin.conf", OLD)
    file = root / "etc/kubernetes/admin.conf"
    file.write_text(f"a: &anchor b\nclusters:\n- cluster:\n    server: '{OLD}'\n")
    assert find_others([], expected, own_address) == [f"/etc/kubernetes/admin.conf ({OLD})"]
    for other in ("server: https://other:6443", "", "\0\xff", f"# {OLD}"):
        file.write_text(other)
        assert find_others([], expected, own_address) == []


def test_a_link_to_a_listed_file_is_no_other_one(root, expected):
    put(root, "/etc/kubernetes/admin.conf", OLD)
    (root / "root/.kube").mkdir(parents=True)
    (root / "root/.kube/config").symlink_to(root / "etc/kubernetes/admin.conf")
    assert find_others(["/etc/kubernetes/admin.conf"], expected, own_address) == []
    assert len(find_others([], expected, own_address)) == 1


def test_host_of_a_url():
    assert host_of("https://me:pw@API.old:6443/x") == "api.old"
    assert host_of("https://[fd00::1]:6443") == "fd00::1"
    assert host_of("https://[fd00") == ""

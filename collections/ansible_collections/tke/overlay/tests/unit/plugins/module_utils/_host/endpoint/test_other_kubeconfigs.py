# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of kubeconfigs that nobody has listed: those of the same cluster with another server are found."""

from __future__ import annotations

import base64
import json
import os

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


def config_with(key, value):
    cluster = {"server": OLD, **({key: value} if key.startswith("certificate") else {})}
    user = {key: value} if key.startswith("client") else {}
    return json.dumps(
        {
            "kind": "Config",
            "clusters": [{"name": "a", "cluster": cluster}],
            "contexts": [{"name": "c", "context": {"cluster": "a", "user": "u"}}],
            "users": [{"name": "u", "user": user}],
        }
    )


HOSTILE = {
    "a pipe": os.mkfifo,
    "a device": lambda place: place.symlink_to("/dev/zero"),
    "a large file": lambda place: place.write_text(f"server: {OLD}\n" + "x" * (1 << 20)),
    "a deep document": lambda place: place.write_text("[" * 3000),
    "many files": lambda place: place.write_text(
        "kind: Config\nclusters:\n"
        + "".join(
            f"- {{name: a{n}, cluster: {{server: 'https://x:1', certificate-authority: k}}}}\n" for n in range(999)
        )
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_user_cannot_keep_the_search_from_its_end(root, expected, case):
    put(root, "/etc/kubernetes/admin.conf", OLD)
    place = root / "home/me/.kube/config"
    place.parent.mkdir(parents=True)
    (place.parent / "k").write_text("x")
    HOSTILE[case](place)
    assert find_others([], expected, own_address) == [f"/etc/kubernetes/admin.conf ({OLD})"]


@pytest.mark.parametrize("key", ["certificate-authority", "client-certificate", "client-key"])
@pytest.mark.parametrize("value", ["/dev/zero", "k", "\0", "\ud800"])
def test_a_file_that_a_user_names_is_read_only_if_it_is_one(root, expected, key, value):
    place = root / "home/me/.kube/config"
    place.parent.mkdir(parents=True)
    os.mkfifo(place.parent / "k")
    place.write_text(config_with(key, value))
    assert find_others([], expected, own_address) == [f"/home/me/.kube/config ({OLD})"]


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

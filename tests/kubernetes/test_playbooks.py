# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The playbooks beside an API server, with hosts that are not reached: what happens before anything is changed."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
HOSTS = """[overlay_nodes:children]
cloud
idc
[cloud]
a overlay_underlay_ip=10.0.1.11
[idc]
b overlay_underlay_ip=192.168.1.11
[all:vars]
ansible_host=127.0.0.1
ansible_port=1
overlay_cluster=demo
overlay_container_cidr=10.244.0.0/16
"""


@pytest.fixture
def run(tmp_path, api_server):
    """Run a playbook with the kubeconfig of the stand-in; return its exit code and its output on one line."""
    (tmp_path / "hosts.ini").write_text(HOSTS)

    def playbook(name, *arguments, kubeconfig=api_server.kubeconfig):
        given = ["-e", f"overlay_kubeconfig={kubeconfig}"] if kubeconfig else []
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", "hosts.ini", f"tke.overlay.{name}", *given, *arguments],
            cwd=tmp_path,
            env={
                "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    return playbook


def test_preflight_forecasts_and_reports_no_change(run, api_server):
    api_server.add_node("a")
    code, text = run("preflight")
    assert (code, "changed=0" in text) == (0, True), text
    assert f"Kubernetes {api_server.url}: 1 Node object" in text
    assert "not joined yet, so without a Node object: b" in text
    assert api_server.get("nodes", "a")["spec"] == {}


@pytest.mark.parametrize("name", ["preflight", "site", "rollout"])
def test_another_pod_cidr_is_refused_before_the_ledger_is_written(run, api_server, tmp_path, name):
    api_server.add_node("node-b", internal_ip="192.168.1.11", pod_cidrs=["10.244.9.0/24"])
    code, text = run(name)
    assert code != 0
    for part in ("Node node-b", "10.244.9.0/24", "10.244.1.0/24", "overlay_node_cidr", "kubectl delete node node-b"):
        assert part in text
    assert not (tmp_path / "overlay-ledger.json").exists()


def test_an_api_server_that_is_not_there_can_be_left_out(run):
    code, text = run("preflight", "-e", '{"overlay_kubeconfig": "/none"}')
    assert code != 0
    assert "overlay_kubeconfig '/none'" in text
    code, text = run("preflight", "-e", '{"overlay_kubeconfig": null}')
    assert (code, "Node object" in text) == (0, False), text


def test_playbook_kubernetes_requires_a_kubeconfig(run):
    code, text = run("kubernetes", kubeconfig="")
    assert code != 0
    assert "Nothing was changed. overlay_kubeconfig is not set" in text


def test_a_node_cidr_of_no_ledger_is_not_published(run, api_server):
    api_server.add_node("a")
    code, text = run("kubernetes")
    assert code == 0, text
    assert "not in the ledger yet" in text
    assert api_server.get("nodes", "a")["spec"] == {}

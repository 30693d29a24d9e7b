# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of the endpoint of a host: its route on a real kernel, its files, their restoration and removal.

Here the endpoint always answers; molecule/endpoint checks real ones.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import converge as endpoint
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import EndpointCheckError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.converge import (
    EndpointSpec,
    absent,
    present,
    verified,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from breakages import broken, document, everything

HOSTS = "127.0.0.1 localhost\n"
KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters:
- name: a
  cluster: {server: "https://10.9.9.9:6443", certificate-authority: ca.crt}
users:
- name: me
  user: {token: verysecret}
"""
SPEC = EndpointSpec(
    names={"api.x": "10.0.2.2", "registry.x": "10.0.2.3"},
    api_name="api.x",
    port=6443,
    subnet="10.0.2.0/24",
    gateway="10.0.1.1",
    kubeconfigs=["/etc/kubelet.conf"],
    authority="a CA",
    timeout=0,
)
ROUTE = "10.0.2.0/24 via 10.0.1.1 dev eth0 onlink"
SILENT = (0, "", "")


@pytest.fixture
def host(run, tmp_path, monkeypatch):
    """A node of the overlay that keeps its files in a temporary directory."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(endpoint, "require_ca", lambda pem, origin: None)
    answers = {"http": "GET /readyz: 200 OK: ok"}
    monkeypatch.setattr(endpoint, "wait_for_endpoint", lambda target, run, seconds, stages=(): answers)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text(HOSTS)
    (tmp_path / "etc/kubelet.conf").write_text(KUBECONFIG.replace(", certificate-authority: ca.crt", ""))
    node.converge(document(), run, check=False)
    return tmp_path


def script(host):
    """Run the restore script; return its exit code, output and errors."""
    done = subprocess.run(
        ["sh", f"{host}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{host}/run/tke-overlay"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def routes(run):
    return run(["ip", "-4", "route", "show", "10.0.2.0/24"])[1]


def tree(host):
    return {path: path.read_bytes() for path in sorted(host.rglob("*")) if path.is_file()}


def test_check_mode_forecasts_the_run_and_it_is_idempotent(run, host):
    before, kernel = tree(host), everything(run)
    forecast = present(SPEC, run, check=True).diffs
    assert (tree(host), everything(run)) == (before, kernel)
    assert present(SPEC, run, check=False).diffs == forecast
    assert [diff.name for diff in forecast] == [
        "route",
        "/etc/hosts",
        "/etc/kubelet.conf",
        f"{STATE}/endpoint.batch",
        f"{STATE}/api-endpoint",
    ]
    assert "verysecret" not in str(forecast)
    after, kernel = tree(host), everything(run)
    assert present(SPEC, run, check=False).diffs == []
    assert verified(SPEC, run).diffs == []
    assert (tree(host), everything(run)) == (after, kernel)
    assert routes(run) == f"{ROUTE.replace(' onlink', '')} proto 144 onlink \n"
    assert (host / "etc/tke-overlay/api-endpoint").read_text() == "10.0.2.2:6443\n"
    assert 'server: "https://api.x:6443"' in (host / "etc/kubelet.conf").read_text()


def test_the_restore_script_puts_back_a_lost_route(run, host):
    present(SPEC, run, check=False)
    assert script(host) == SILENT
    for line in ("route del 10.0.2.0/24", "route replace 10.0.2.0/24 via 10.0.1.2 dev eth0 proto 144"):
        broken(run, f"ip {line}")
        assert script(host) == (0, "tke-overlay: restored: route 10.0.2.0/24: missing\n", "")
        assert script(host) == SILENT
        assert present(SPEC, run, check=True).diffs == []


def test_the_route_is_restored_before_the_address_exists(run, host):
    present(SPEC, run, check=False)
    broken(run, "ip address flush dev eth0")
    assert routes(run) == ""
    assert script(host)[0] == 0
    assert "10.0.1.1 dev eth0" in routes(run)


def test_never_replaces_a_foreign_route(run, host):
    broken(run, "ip route add 10.0.2.0/24 via 10.0.1.7 dev eth0 proto static")
    with pytest.raises(ValidationError, match=r"the foreign route 10.0.2.0/24 via 10.0.1.7 dev eth0 conflicts"):
        present(SPEC, run, check=False)
    with_its_gateway = SPEC._replace(gateway="10.0.1.7")
    assert "route" not in [diff.name for diff in present(with_its_gateway, run, check=False).diffs]
    assert present(with_its_gateway, run, check=False).diffs == []
    broken(run, "ip route del 10.0.2.0/24")
    present(SPEC, run, check=False)
    broken(run, "ip route replace 10.0.2.0/24 via 10.0.1.7 dev eth0 proto static")
    code, output, errors = script(host)
    assert (code, output) == (1, "")
    assert "a foreign route has the destination of: route replace 10.0.2.0/24" in errors
    assert "10.0.1.7 dev eth0 proto static" in routes(run)


def test_removes_the_route_to_a_former_subnet(run, host):
    present(SPEC, run, check=False)
    (diff, *_more) = present(SPEC._replace(subnet="10.0.3.7/32"), run, check=False).diffs
    assert (diff.before, diff.after) == (f"{ROUTE}\n", "10.0.3.7 via 10.0.1.1 dev eth0 onlink\n")
    assert routes(run) == ""
    assert script(host) == SILENT
    broken(run, "ip route del 10.0.3.7")
    assert "route 10.0.3.7: missing" in script(host)[1]
    present(SPEC._replace(subnet=None, gateway=None), run, check=False)
    assert "10.0.3.7" not in run(["ip", "route"])[1]
    assert not (host / "etc/tke-overlay/endpoint.batch").exists()


@pytest.mark.parametrize("stage", ["tcp", "name"])
def test_a_failing_endpoint_changes_no_kubeconfig(run, host, monkeypatch, stage):
    def fails(target, run, seconds, stages):
        if stage in stages:
            raise EndpointCheckError(target, stage, "no", {})
        return {}

    monkeypatch.setattr(endpoint, "wait_for_endpoint", fails)
    with pytest.raises(EndpointCheckError) as failed:
        present(SPEC, run, check=False)
    changed = (
        ["route", "/etc/hosts", f"{STATE}/endpoint.batch"] if stage == "name" else ["route", f"{STATE}/endpoint.batch"]
    )
    assert [diff.name for diff in failed.value.done] == changed
    assert "10.9.9.9" in (host / "etc/kubelet.conf").read_text()
    assert ("api.x" in (host / "etc/hosts").read_text()) == (stage == "name")
    assert not (host / "etc/tke-overlay/api-endpoint").exists()


def test_verified_reports_differences(run, host):
    with pytest.raises(KernelError, match=r"differs from the specification: route, /etc/hosts, /etc/kubelet.conf"):
        verified(SPEC, run)


def test_reports_all_problems_at_once_and_changes_nothing(run, host):
    (host / "etc/hosts").write_text("1.1.1.1 api.x\n")
    (host / "etc/kubelet.conf").write_text("a: &b verysecret")
    before = tree(host)
    with pytest.raises(ValidationError) as caught:
        present(SPEC._replace(gateway="10.77.0.1", kubeconfigs=["/etc/kubelet.conf", "/none"]), run, check=False)
    assert tree(host) == before
    text = str(caught.value)
    assert "verysecret" not in text
    for words in (
        "/etc/hosts, line 1 gives api.x the address 1.1.1.1",
        "the gateway of the route, 10.77.0.1",
        "/etc/kubelet.conf: line 1: an anchor",
        "kubeconfig /none cannot be read: No such file",
    ):
        assert words in text
    with pytest.raises(ValidationError) as caught:
        present(EndpointSpec({"A": "1.2.3", "b": "10.0.0.1"}, "c", 0, services=["d"], hosts_file="x"), run, check=False)
    assert len(caught.value.problems) == 6
    (host / "etc/hosts").write_text(HOSTS)
    with pytest.raises(ValidationError, match="no CA is known"):
        present(SPEC._replace(authority=None, kubeconfigs=[]), run, check=False)


def test_removal_alone_and_with_the_node_is_complete(run, host):
    before, kernel = tree(host), everything(run)
    for removal in (
        lambda check: absent("/etc/hosts", run, check),
        lambda check: list(reset.remove("tke0", "tke-br0", run, check).diffs()),
    ):
        present(SPEC, run, check=False)
        complete = tree(host)
        forecast = removal(True)
        assert tree(host) == complete
        assert removal(False) == forecast
        gone = next(diff.before for diff in forecast if diff.name == "endpoint")
        assert f"route {ROUTE}\n" in gone
        assert "/etc/hosts: 10.0.2.2 api.x\n" in gone
        assert f"{STATE}/api-endpoint\n" in gone
        assert routes(run) == ""
        assert (host / "etc/hosts").read_text() == HOSTS
        assert "api.x" in (host / "etc/kubelet.conf").read_text(), "only its owner knows the former server"
        (host / "etc/kubelet.conf").write_bytes(before[host / "etc/kubelet.conf"])
        assert removal(False) == []
        if (host / "etc/tke-overlay").exists():
            assert (tree(host), everything(run)) == (before, kernel)
    assert not (host / "etc/tke-overlay").exists()

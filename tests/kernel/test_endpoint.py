# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The endpoint of a host: its route on the real kernel, its files, and what puts them back or takes them away.

Whether an endpoint answers is asked of real ones in molecule/endpoint; here it always does.
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
WISH = EndpointSpec(
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
    """A node of the overlay, with a directory of its own for its files."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(endpoint, "refuse_no_ca", lambda pem, origin: None)
    monkeypatch.setattr(endpoint, "wait", lambda question, run, seconds, stages=(): {"http": "GET /readyz: 200 OK: ok"})
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hosts").write_text(HOSTS)
    (tmp_path / "etc/kubelet.conf").write_text(KUBECONFIG.replace(", certificate-authority: ca.crt", ""))
    node.converge(document(), run, check=False)
    return tmp_path


def script(host):
    """A run of the timer: exit code, what it told, what it complained of."""
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


def test_check_mode_says_what_the_real_run_does_and_a_second_run_changes_nothing(run, host):
    before, kernel = tree(host), everything(run)
    forecast = present(WISH, run, check=True).diffs
    assert (tree(host), everything(run)) == (before, kernel)
    assert present(WISH, run, check=False).diffs == forecast
    assert [diff.name for diff in forecast] == [
        "route",
        "/etc/hosts",
        "/etc/kubelet.conf",
        f"{STATE}/endpoint.batch",
        f"{STATE}/api-endpoint",
    ]
    assert "verysecret" not in str(forecast)
    after, kernel = tree(host), everything(run)
    assert present(WISH, run, check=False).diffs == []
    assert verified(WISH, run).diffs == []
    assert (tree(host), everything(run)) == (after, kernel)
    assert routes(run) == f"{ROUTE.replace(' onlink', '')} proto 84 onlink \n"
    assert (host / "etc/tke-overlay/api-endpoint").read_text() == "10.0.2.2:6443\n"
    assert 'server: "https://api.x:6443"' in (host / "etc/kubelet.conf").read_text()


def test_a_route_that_is_lost_is_put_back_and_said_so(run, host):
    present(WISH, run, check=False)
    assert script(host) == SILENT
    for line in ("route del 10.0.2.0/24", "route replace 10.0.2.0/24 via 10.0.1.2 dev eth0 proto 84"):
        broken(run, f"ip {line}")
        assert script(host) == (0, "tke-overlay: restored: route 10.0.2.0/24: missing\n", "")
        assert script(host) == SILENT
        assert present(WISH, run, check=True).diffs == []


def test_at_boot_the_route_need_not_wait_for_the_address(run, host):
    present(WISH, run, check=False)
    broken(run, "ip address flush dev eth0")
    assert routes(run) == ""
    assert script(host)[0] == 0
    assert "10.0.1.1 dev eth0" in routes(run)


def test_the_way_of_somebody_else_is_never_replaced(run, host):
    broken(run, "ip route add 10.0.2.0/24 via 10.0.1.7 dev eth0 proto static")
    with pytest.raises(ValidationError, match=r"there is a route 10.0.2.0/24 via 10.0.1.7 dev eth0 that is not ours"):
        present(WISH, run, check=False)
    theirs = WISH._replace(gateway="10.0.1.7")
    assert "route" not in [diff.name for diff in present(theirs, run, check=False).diffs]
    assert present(theirs, run, check=False).diffs == []
    broken(run, "ip route del 10.0.2.0/24")
    present(WISH, run, check=False)
    broken(run, "ip route replace 10.0.2.0/24 via 10.0.1.7 dev eth0 proto static")
    code, told, complaints = script(host)
    assert (code, told) == (1, "")
    assert "a foreign route has the destination of: route replace 10.0.2.0/24" in complaints
    assert "10.0.1.7 dev eth0 proto static" in routes(run)


def test_another_subnet_or_no_route_takes_the_old_one_away(run, host):
    present(WISH, run, check=False)
    (diff, *_more) = present(WISH._replace(subnet="10.0.3.7/32"), run, check=False).diffs
    assert (diff.before, diff.after) == (f"{ROUTE}\n", "10.0.3.7 via 10.0.1.1 dev eth0 onlink\n")
    assert routes(run) == ""
    assert script(host) == SILENT
    broken(run, "ip route del 10.0.3.7")
    assert "route 10.0.3.7: missing" in script(host)[1]
    present(WISH._replace(subnet=None, gateway=None), run, check=False)
    assert "10.0.3.7" not in run(["ip", "route"])[1]
    assert not (host / "etc/tke-overlay/endpoint.batch").exists()


@pytest.mark.parametrize("stage", ["tcp", "name"])
def test_an_endpoint_that_does_not_answer_costs_no_kubeconfig(run, host, monkeypatch, stage):
    def fails(question, run, seconds, stages):
        if stage in stages:
            raise EndpointCheckError(question, stage, "no", {})
        return {}

    monkeypatch.setattr(endpoint, "wait", fails)
    with pytest.raises(EndpointCheckError) as failed:
        present(WISH, run, check=False)
    changed = (
        ["route", "/etc/hosts", f"{STATE}/endpoint.batch"] if stage == "name" else ["route", f"{STATE}/endpoint.batch"]
    )
    assert [diff.name for diff in failed.value.done] == changed
    assert "10.9.9.9" in (host / "etc/kubelet.conf").read_text()
    assert ("api.x" in (host / "etc/hosts").read_text()) == (stage == "name")
    assert not (host / "etc/tke-overlay/api-endpoint").exists()


def test_verified_finds_what_is_otherwise(run, host):
    with pytest.raises(KernelError, match=r"otherwise|as it was asked for: route, /etc/hosts, /etc/kubelet.conf"):
        verified(WISH, run)


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_changed(run, host):
    (host / "etc/hosts").write_text("1.1.1.1 api.x\n")
    (host / "etc/kubelet.conf").write_text("a: &b verysecret")
    before = tree(host)
    with pytest.raises(ValidationError) as refused:
        present(WISH._replace(gateway="10.77.0.1", kubeconfigs=["/etc/kubelet.conf", "/none"]), run, check=False)
    assert tree(host) == before
    text = str(refused.value)
    assert "verysecret" not in text
    for words in (
        "/etc/hosts, line 1 gives api.x the address 1.1.1.1",
        "the gateway of the route, 10.77.0.1",
        "/etc/kubelet.conf: line 1: an anchor",
        "kubeconfig /none cannot be read: No such file",
    ):
        assert words in text
    with pytest.raises(ValidationError) as refused:
        present(EndpointSpec({"A": "1.2.3", "b": "10.0.0.1"}, "c", 0, services=["d"], hosts_file="x"), run, check=False)
    assert len(refused.value.problems) == 6
    (host / "etc/hosts").write_text(HOSTS)
    with pytest.raises(ValidationError, match="no CA is known"):
        present(WISH._replace(authority=None, kubeconfigs=[]), run, check=False)


def test_it_is_taken_away_whole_alone_and_with_the_node(run, host):
    before, kernel = tree(host), everything(run)
    for way_out in (
        lambda check: absent("/etc/hosts", run, check),
        lambda check: list(reset.remove("tke0", "tke-br0", run, check).diffs()),
    ):
        present(WISH, run, check=False)
        whole = tree(host)
        forecast = way_out(True)
        assert tree(host) == whole
        assert way_out(False) == forecast
        gone = next(diff.before for diff in forecast if diff.name == "endpoint")
        assert f"route {ROUTE}\n" in gone
        assert "/etc/hosts: 10.0.2.2 api.x\n" in gone
        assert f"{STATE}/api-endpoint\n" in gone
        assert routes(run) == ""
        assert (host / "etc/hosts").read_text() == HOSTS
        assert "api.x" in (host / "etc/kubelet.conf").read_text(), "whose owner must say which server it had"
        (host / "etc/kubelet.conf").write_bytes(before[host / "etc/kubelet.conf"])
        assert way_out(False) == []
        if (host / "etc/tke-overlay").exists():
            assert (tree(host), everything(run)) == (before, kernel)
    assert not (host / "etc/tke-overlay").exists()

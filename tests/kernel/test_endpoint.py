# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of the endpoint of a host: its route on a real kernel, its files, their restoration and removal.

Here the endpoint always answers; molecule/endpoint checks real ones.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import cleanup, kubeconfig_change
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import converge as endpoint
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import EndpointCheckError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.converge import (
    absent,
    present,
    restarted,
    verified,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig_services import read_record
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.spec import EndpointSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.status import endpoint_drift, endpoint_notes
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import ENDPOINT_NOTE, STATE
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
    authority=b"a CA",
    timeout=0,
)
ROUTE = "10.0.2.0/24 via 10.0.1.1 dev eth0 onlink"
SILENT = (0, "", "")


@pytest.fixture
def host(run, tmp_path, monkeypatch):
    """A node of the overlay that keeps its files in a temporary directory."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    for module in (endpoint, kubeconfig_change):
        monkeypatch.setattr(module, "read_authority", lambda content, origin, der=True: content.decode())
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
        f"{STATE}/endpoint.hosts",
        f"{STATE}/api-endpoint",
        f"{STATE}/endpoint.servers",
        f"{STATE}/endpoint.checksums",
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
    batch, block = f"{STATE}/endpoint.batch", f"{STATE}/endpoint.hosts"
    changed = ["route", "/etc/hosts", batch, block] if stage == "name" else ["route", batch]
    assert [diff.name for diff in failed.value.done] == changed
    assert "10.9.9.9" in (host / "etc/kubelet.conf").read_text()
    assert ("api.x" in (host / "etc/hosts").read_text()) == (stage == "name")
    assert not (host / "etc/tke-overlay/api-endpoint").exists()


@pytest.mark.parametrize("failing", ["the second kubeconfig", "the list of servers"])
@pytest.mark.parametrize("backup", [True, False])
def test_a_run_that_fails_has_changed_no_kubeconfig(run, host, monkeypatch, failing, backup):
    text = (host / "etc/kubelet.conf").read_text()
    (host / "etc/admin.conf").write_text(text)
    path = "/etc/admin.conf" if failing == "the second kubeconfig" else f"{STATE}/endpoint.servers"
    name = "rewrite_foreign" if failing == "the second kubeconfig" else "put_file"
    write = getattr(files, name)

    def fails(where, *rest, **options):
        if where == path:
            raise KernelError(f"{where} cannot be changed: Operation not permitted")
        return write(where, *rest, **options)

    monkeypatch.setattr(files, name, fails)
    spec = SPEC._replace(kubeconfigs=["/etc/kubelet.conf", "/etc/admin.conf"], backup=backup)
    with pytest.raises(KernelError, match=f"{path} cannot be changed"):
        present(spec, run, check=False)
    assert sorted(each.name for each in (host / "etc").glob("*.conf*")) == ["admin.conf", "kubelet.conf"]
    assert (host / "etc/kubelet.conf").read_text() == (host / "etc/admin.conf").read_text() == text
    assert not read_record().changed, "no service has to restart"


def test_a_kubeconfig_that_cannot_be_changed_back_is_named(run, host, monkeypatch):
    (host / "etc/admin.conf").write_text((host / "etc/kubelet.conf").read_text())
    write, calls = files.rewrite_foreign, []

    def fails(where, *rest):
        calls.append(where)
        if where.endswith(".conf") and len(calls) > 2:
            raise KernelError(f"{where} cannot be changed: No space left on device")
        return write(where, *rest)

    monkeypatch.setattr(files, "rewrite_foreign", fails)
    with pytest.raises(KernelError) as caught:
        present(SPEC._replace(kubeconfigs=["/etc/kubelet.conf", "/etc/admin.conf"]), run, check=False)
    assert str(caught.value).startswith("/etc/admin.conf cannot be changed: No space left on device; /etc/kubelet.conf")
    assert read_record().changed.keys() == {"/etc/kubelet.conf", "/etc/admin.conf"}


def test_a_password_before_the_server_is_a_change_and_not_shown(run, host):
    present(SPEC, run, check=False)
    file = host / "etc/kubelet.conf"
    file.write_text(file.read_text().replace("https://api.x", "https://me:verysecret@api.x"))
    (diff,) = present(SPEC, run, check=True).diffs
    assert diff.before == "server of cluster a: https://api.x:6443 (and credentials)\n"
    with pytest.raises(KernelError, match=r"differs from the specification: /etc/kubelet\.conf"):
        verified(SPEC, run)
    assert present(SPEC, run, check=False).diffs == [diff]
    assert "verysecret@" not in file.read_text()
    assert present(SPEC, run, check=False).diffs == []


@pytest.mark.parametrize("line", ["\n", "10.0.2.2\n", "# x\n", " \n"])
def test_a_block_that_a_user_has_edited_is_written_again(run, host, line):
    present(SPEC, run, check=False)
    hosts = host / "etc/hosts"
    block = hosts.read_text()
    hosts.write_text(block.replace("10.0.2.3 registry.x\n", line))
    for check in (True, False):
        assert [diff.name for diff in present(SPEC, run, check).diffs] == ["/etc/hosts"]
    assert hosts.read_text() == block


@pytest.mark.parametrize("step", range(1, 9))
def test_a_removal_that_was_interrupted_is_finished_by_the_next(run, host, monkeypatch, step):
    present(SPEC, run, check=False)
    left, steps = absent("/etc/hosts", run, check=True), []

    def interrupted(work):
        def counted(*arguments):
            steps.append(work)
            if len(steps) == step:
                raise KeyboardInterrupt
            return work(*arguments)

        return counted

    with monkeypatch.context() as patch:
        for where, name in ((cleanup, "rewrite"), (files, "remove_file")):
            patch.setattr(where, name, interrupted(getattr(where, name)))
        try:
            absent("/etc/hosts", run, check=False)
        except KeyboardInterrupt:
            assert left
            absent("/etc/hosts", run, check=False)
    assert absent("/etc/hosts", run, check=False) == []
    assert (routes(run), (host / "etc/hosts").read_text()) == ("", HOSTS)


def test_names_what_still_leads_to_the_former_server(run, host):
    """The API server's name changes: another kubeconfig has it, and it vanishes from /etc/hosts."""
    (host / "etc/kubernetes").mkdir()
    (host / "etc/kubernetes/admin.conf").write_text(
        KUBECONFIG.replace("10.9.9.9", "api.x").replace(", certificate-authority: ca.crt", "")
    )
    assert "admin.conf" not in " ".join(present(SPEC, run, check=False).warnings)
    renamed = SPEC._replace(names={"api.y": "10.0.2.2"}, api_name="api.y")
    for check in (True, False):
        (warning,) = (text for text in present(renamed, run, check).warnings if "admin.conf" in text)
        assert "/etc/kubernetes/admin.conf (https://api.x:6443)" in warning
        assert "overlay_kubeconfigs" in warning


def test_a_cluster_that_no_kubeconfig_has_is_an_error(run, host):
    before = tree(host)
    with pytest.raises(
        ValidationError, match=r"overlay_kubeconfig_clusters\) names b, c, which no kubeconfig has"
    ) as caught:
        present(SPEC._replace(clusters=["a", "b", "c"]), run, check=False)
    assert "/etc/kubelet.conf have a" in str(caught.value)
    assert tree(host) == before
    (warning,) = present(SPEC._replace(clusters=["a"], kubeconfigs=[]), run, check=True).warnings
    assert "overlay_kubeconfig_clusters" in warning


def test_a_kubeconfig_that_checks_no_certificate_is_named(run, host):
    text = KUBECONFIG.replace("certificate-authority: ca.crt", "insecure-skip-tls-verify: true, proxy-url: http://p:1")
    (host / "etc/kubelet.conf").write_text(text)
    warnings = " ".join(present(SPEC, run, check=True).warnings)
    assert "cluster a of /etc/kubelet.conf has insecure-skip-tls-verify: true" in warnings
    assert "has the proxy-url http://p:1, so its clients reach the API server through that proxy" in warnings


@pytest.mark.parametrize("together", [True, False])
def test_a_service_that_keeps_the_former_server_is_restarted_once(run, host, together):
    """systemctl is a stand-in that starts a new process; what a process has read follows from the real /proc."""
    spec = SPEC._replace(kubeconfig_services=["kubelet"])
    (host / "run/systemd/system").mkdir(parents=True)
    processes = [subprocess.Popen(["sleep", "60"])]

    def run_here(command, text=None):
        if command[0] != "systemctl":
            return run(command, text)
        if command[1] == "restart":
            processes.append(subprocess.Popen(["sleep", "60"]))
            return 0, "", ""
        states = {"kubelet.service": f"ActiveState=active\nMainPID={processes[-1].pid}\n"}
        blocks = [f"Id={name}\n{states.get(name, 'LoadState=not-found')}" for name in command[4:]]
        return 0, "\n".join(blocks), ""

    try:
        (warning,) = (text for text in present(SPEC, run_here, check=True).warnings if "kubelet.service" in text)
        assert "former server until it restarts" in warning
        present(SPEC, run_here, check=False)
        assert present(SPEC, run_here, check=False).outdated.others == ["kubelet.service"], "until it restarts"
        forecast = present(spec, run_here, check=True).diffs
        assert [diff.name for diff in forecast] == ["kubelet.service"]
        with pytest.raises(KernelError, match=r"differs from the specification: kubelet.service"):
            verified(spec, run_here)
        waiting = present(spec._replace(restart_services=False), run_here, check=False)
        assert (waiting.diffs, waiting.outdated.restart, waiting.restarted) == ([], ["kubelet.service"], [])
        assert len(processes) == 1
        assert restarted(spec, run_here, check=True).diffs == forecast
        assert len(processes) == 1
        by = present if together else restarted
        result = by(spec, run_here, check=False)
        assert (result.diffs, result.restarted) == (forecast, ["kubelet.service"])
        assert any("has no connection to the API endpoint 10.0.2.2:6443" in text for text in result.warnings)
        assert len(processes) == 2
        assert restarted(spec, run_here, check=False).diffs == []
        assert present(spec, run_here, check=False).diffs == []
        assert verified(SPEC, run_here).outdated.others == []
        assert len(processes) == 2
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_service_that_started_within_the_tick_of_the_change(run, host, monkeypatch):
    """The start of a process has the resolution of a clock tick, so the service can have read the former server."""
    (host / "run/systemd/system").mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as process:
        started = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[19])

        def run_here(command, text=None):
            if command[0] != "systemctl":
                return run(command, text)
            return 0, f"Id=kubelet.service\nActiveState=active\nMainPID={process.pid}\n", ""

        try:
            monkeypatch.setattr(time, "clock_gettime", lambda _clock: (started + 0.5) / os.sysconf("SC_CLK_TCK"))
            warnings = present(SPEC, run_here, check=True).warnings
        finally:
            process.kill()
    assert [text for text in warnings if "kubelet.service started before the server of" in text]


def test_no_service_is_restarted_before_the_endpoint_answers(run, host, monkeypatch):
    (host / "run/systemd/system").mkdir(parents=True)
    spec = SPEC._replace(kubeconfig_services=["kubelet"])

    def run_here(command, text=None):
        assert command[:2] != ("systemctl", "restart")
        if command[0] != "systemctl":
            return run(command, text)
        return 0, "\n".join(f"Id={name}\nActiveState=active\nMainPID=1\n" for name in command[4:]), ""

    with pytest.raises(KernelError, match=r"/etc/kubelet.conf has another server, so no service was restarted"):
        restarted(spec, run_here, check=False)
    assert [diff.name for diff in restarted(spec, run_here, check=True).diffs] == ["kubelet.service"]
    present(spec._replace(restart_services=False), run_here, check=False)

    def fails(target, run, seconds, stages=()):
        raise EndpointCheckError(target, "tcp", "no", {})

    monkeypatch.setattr(endpoint, "wait_for_endpoint", fails)
    with pytest.raises(EndpointCheckError):
        restarted(spec, run_here, check=False)


def test_the_endpoint_under_another_name_is_no_former_server(run, host):
    present(SPEC, run, check=False)
    assert read_record().former == ["10.9.9.9:6443"]
    (host / "etc/kubelet.conf").write_text(KUBECONFIG.replace(", certificate-authority: ca.crt", ""))
    present(SPEC._replace(names={"api.y": "10.9.9.9"}, api_name="api.y"), run, check=False)
    assert read_record().former == []


# --- a host that has not joined its cluster ---


def test_a_host_joins_in_one_pass(run, host):
    """It gets names and route, and the run after it has joined changes its kubeconfig."""
    path = host / "etc/kubelet.conf"
    text = path.read_text()
    path.unlink()
    forecast = present(SPEC, run, check=True)
    result = present(SPEC, run, check=False)
    assert (result.diffs, result.missing) == (forecast.diffs, ["/etc/kubelet.conf"])
    assert forecast.missing == result.missing
    assert "api.x" in (host / "etc/hosts").read_text()
    assert "10.0.1.1 dev eth0" in routes(run)
    assert (present(SPEC, run, check=False).diffs, verified(SPEC, run).missing) == ([], ["/etc/kubelet.conf"])
    assert list(endpoint_notes()) == ["kubeconfig /etc/kubelet.conf is not there yet"]
    assert list(endpoint_drift(run)) == []

    path.write_text(text)
    (note,) = endpoint_notes()
    assert "/etc/kubelet.conf is there now, with the server https://10.9.9.9:6443: run tke.overlay.site" in note
    with pytest.raises(KernelError, match=r"differs from the specification: /etc/kubelet.conf"):
        verified(SPEC, run)
    joined = present(SPEC, run, check=False)
    assert joined.missing == []
    assert joined.diffs[0].name == "/etc/kubelet.conf"
    assert "https://api.x:6443" in path.read_text()
    assert (list(endpoint_notes()), present(SPEC, run, check=False).diffs) == ([], [])


def test_a_kubeconfig_that_comes_with_the_endpoint_is_complete(run, host):
    """A host that joins by the API endpoint needs no second run, and a lost kubeconfig is drift until the next one."""
    path = host / "etc/kubelet.conf"
    present(SPEC, run, check=False)
    text = path.read_text()
    path.unlink()
    (drift,) = endpoint_drift(run)
    assert "kubeconfig /etc/kubelet.conf: cannot be read" in drift
    assert present(SPEC, run, check=False).missing == ["/etc/kubelet.conf"]
    path.write_text(text)
    assert list(endpoint_notes()) == []
    assert (verified(SPEC, run).missing, present(SPEC, run, check=False).diffs) == ([], [])
    path.write_text("kind: [")
    assert "is there now: run tke.overlay.site, which checks it" in next(endpoint_notes())


def test_a_host_without_a_ca_joins_with_a_warning(run, host, monkeypatch):
    """Without overlay_api_ca, only the kubeconfig that comes later has one."""
    targets = []

    def answers(target, run, seconds, stages=()):
        targets.append(target)
        return {"http": "GET /readyz: 200 OK: ok"}

    monkeypatch.setattr(endpoint, "wait_for_endpoint", answers)
    spec = SPEC._replace(authority=None)
    (host / "etc/kubelet.conf").unlink()
    (warning,) = (text for text in present(spec, run, check=False).warnings if "no CA is known" in text)
    for words in ("the certificate of the API server was not verified", "overlay_api_ca"):
        assert words in warning
    (client,) = targets[0].clients
    assert (client.authority, client.credentials, client.name) == (None, None, "api.x")
    (host / "etc/other.conf").write_text(KUBECONFIG.replace(", certificate-authority: ca.crt", ""))
    with pytest.raises(ValidationError, match="no CA is known: set ca or ca_file"):
        present(spec._replace(kubeconfigs=["/etc/kubelet.conf", "/etc/other.conf"]), run, check=False)


def test_a_cluster_can_be_in_a_kubeconfig_that_is_missing(run, host):
    spec = SPEC._replace(clusters=["a", "later"])
    result = present(spec._replace(kubeconfigs=["/etc/kubelet.conf", "/etc/later.conf"]), run, check=True)
    assert result.missing == ["/etc/later.conf"]


def test_verified_reports_differences(run, host):
    with pytest.raises(KernelError, match=r"differs from the specification: route, /etc/hosts, /etc/kubelet.conf"):
        verified(SPEC, run)


def test_reports_all_problems_at_once_and_changes_nothing(run, host):
    (host / "etc/hosts").write_text("1.1.1.1 api.x\n")
    (host / "etc/kubelet.conf").write_text("a: &b verysecret")
    before = tree(host)
    spec = SPEC._replace(gateway="10.77.0.1", kubeconfigs=["/etc/kubelet.conf", "/none"], kubeconfigs_required=True)
    with pytest.raises(ValidationError) as caught:
        present(spec, run, check=False)
    assert tree(host) == before
    text = str(caught.value)
    assert "verysecret" not in text
    for words in (
        "/etc/hosts, line 1 gives api.x the address 1.1.1.1",
        "the gateway of the route, 10.77.0.1",
        "/etc/kubelet.conf: line 1: an anchor",
        "kubeconfig /none is not there, and kubeconfigs_required (overlay_kubeconfigs_required) is set",
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


# --- the block in /etc/hosts ---


def hosts_of(host):
    return host / "etc/hosts"


FOREIGN_TEXTS = {
    "cloud-init writes the file again": "127.0.1.1 me.example me\n127.0.0.1 localhost\n\n# ::1 ip6-loopback\n",
    "the last line has no end": "127.0.0.1 localhost\n10.9.9.9 other.x",
    "the file is empty": "",
    "the right address": "10.0.2.2 api.x # mine\n",
    "names that are only alike": "10.9.9.9 my-api.x api.x.example xapi.x\n# 10.9.9.9 api.x\n",
}


@pytest.mark.parametrize("text", FOREIGN_TEXTS.values(), ids=FOREIGN_TEXTS)
def test_the_script_puts_back_a_lost_block(run, host, text):
    present(SPEC, run, check=False)
    path = hosts_of(host)
    path.write_text(text)
    path.chmod(0o640)
    os.chown(path, 7, 8)
    assert list(endpoint_drift(run)) == ["/etc/hosts: the block of tke.overlay is missing"]
    assert script(host) == (0, f"tke-overlay: restored: {path}: block missing\n", "")
    assert path.read_text().startswith(text)
    assert (path.stat().st_mode & 0o7777, path.stat().st_uid, path.stat().st_gid) == (0o640, 7, 8)
    assert list(endpoint_drift(run)) == []
    assert script(host) == SILENT
    assert present(SPEC, run, check=True).diffs == [], "the script writes what the module writes"
    assert [each.name for each in path.parent.glob(".hosts*")] == []


def test_the_script_corrects_a_changed_block_in_its_place(run, host):
    present(SPEC, run, check=False)
    path = hosts_of(host)
    intact = path.read_text()
    path.write_text(intact + "10.1.1.1 below\n")
    for wrong in ("10.0.2.2 api.x\n", "10.0.2.3 registry.x\n"):
        path.write_text((intact + "10.1.1.1 below\n").replace(wrong, "10.6.6.6 api.x\n"))
        assert list(endpoint_drift(run)) == ["/etc/hosts: the block of tke.overlay is changed"]
        assert script(host) == (0, f"tke-overlay: restored: {path}: block changed\n", "")
        assert path.read_text() == intact + "10.1.1.1 below\n"


def test_the_script_creates_a_missing_hosts_file(run, host):
    present(SPEC, run, check=False)
    hosts_of(host).unlink()
    assert "cannot be read" in " ".join(endpoint_drift(run))
    assert script(host)[::2] == (0, "")
    assert "\n10.0.2.2 api.x\n" in hosts_of(host).read_text()
    assert hosts_of(host).stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("10.7.7.7\tme API.x\n", "has another address of: api.x 10.7.7.7;"),
        ("# BEGIN tke.overlay: x\n10.0.2.2 api.x\n", "markers of the block of tke.overlay that are no pair"),
        ("# END tke.overlay\n", "that are no pair"),
        ("# END tke.overlay\n# BEGIN tke.overlay\n", "that are no pair"),
        ("# BEGIN tke.overlay\n# END tke.overlay\n# END tke.overlay\n", "that are no pair"),
    ],
)
def test_the_script_does_not_change_what_it_does_not_understand(run, host, text, error):
    present(SPEC, run, check=False)
    hosts_of(host).write_text(text)
    broken(run, "ip route del 10.244.1.0/24")
    code, output, errors = script(host)
    assert code == 1
    assert error in errors
    assert "route 10.244.1.0/24: missing" in output, "the rest is restored"
    assert hosts_of(host).read_text() == text
    assert len(list(endpoint_drift(run))) == 1


def test_a_mounted_hosts_file_is_written_in_place(run, host):
    present(SPEC, run, check=False)
    path = hosts_of(host)
    path.write_text("127.0.0.1 localhost\n")
    mounted = f"mount --bind {path} {path} && exec sh {host}{STATE}/restore"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{host}/run/tke-overlay"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "10.0.2.2 api.x\n" in path.read_text()
    assert script(host) == SILENT


def test_a_linked_hosts_file_stays_a_link(run, host):
    present(SPEC, run, check=False)
    path = hosts_of(host)
    path.rename(host / "etc/hosts.real")
    path.symlink_to("hosts.real")
    (host / "etc/hosts.real").write_text("")
    assert script(host)[::2] == (0, "")
    assert path.is_symlink()
    assert "10.0.2.2 api.x\n" in path.read_text()


def test_a_damaged_saved_block_is_not_written(run, host):
    present(SPEC, run, check=False)
    saved = host / STATE[1:] / "endpoint.hosts"
    saved.write_text(saved.read_text().replace("10.0.2.2", "10.6.6.6"))
    before = hosts_of(host).read_text()
    code, _output, errors = script(host)
    assert code == 1
    assert "the saved state is damaged" in errors
    assert hosts_of(host).read_text() == before
    assert f"file {STATE}/endpoint.hosts: changed" in list(endpoint_drift(run))
    assert present(SPEC, run, check=False).diffs
    assert script(host) == SILENT


@pytest.mark.parametrize("how", ["endpoint", "reset"])
def test_after_its_removal_nothing_puts_the_block_back(run, host, how):
    present(SPEC, run, check=False)
    if how == "endpoint":
        absent("/etc/hosts", run, check=False)
        assert script(host) == SILENT
    else:
        reset.remove("tke0", "tke-br0", run, check=False)
        assert not (host / STATE[1:]).exists()
    assert hosts_of(host).read_text() == HOSTS
    assert list(endpoint_drift(run)) == []


@pytest.mark.parametrize("name", cleanup.FILES)
@pytest.mark.parametrize("damage", ["remove", "truncate", "append", "chmod"])
def test_a_changed_file_is_drift_and_the_module_writes_it_again(run, host, name, damage):
    present(SPEC, run, check=False)
    assert list(endpoint_drift(run)) == []
    path = host / name[1:]
    if damage == "remove":
        path.unlink()
    elif damage == "chmod":
        path.chmod(0o666)
    else:
        path.write_text("" if damage == "truncate" else f"{path.read_text()}x\n")
    assert any(name in sentence for sentence in list(endpoint_drift(run)))
    present(SPEC, run, check=False)
    assert list(endpoint_drift(run)) == []


def test_another_server_in_a_kubeconfig_is_drift(run, host):
    present(SPEC, run, check=False)
    path = host / "etc/kubelet.conf"
    path.write_text(path.read_text().replace("api.x:6443", "me:verysecret@10.5.5.5:6443"))
    (sentence,) = endpoint_drift(run)
    assert sentence == (
        "kubeconfig /etc/kubelet.conf: the server of cluster a is https://10.5.5.5:6443, not https://api.x:6443"
    )
    path.unlink()
    assert list(endpoint_drift(run)) == ["kubeconfig /etc/kubelet.conf: cannot be read: No such file or directory"]


def test_a_changed_route_to_the_load_balancer_is_drift(run, host):
    present(SPEC, run, check=False)
    broken(run, "ip route replace 10.0.2.0/24 via 10.0.1.2 dev eth0 proto 144")
    assert list(endpoint_drift(run)) == [f"route 10.0.2.0/24: changed, should be {ROUTE}"]
    broken(run, "ip route del 10.0.2.0/24")
    assert list(endpoint_drift(run)) == [f"route 10.0.2.0/24: missing, should be {ROUTE}"]


def test_an_endpoint_that_an_operator_has_noted_is_no_drift(run, host):
    (host / ENDPOINT_NOTE[1:]).write_text("10.0.1.21:6443\n")
    assert list(endpoint_drift(run)) == []

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of services that keep the former server of a kubeconfig: real processes, and a systemctl that names them."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import kubeconfig_services
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.kubeconfig_services import (
    ChangeRecord,
    find_outdated,
    name_problems,
    now,
    read_record,
    restart,
    write_record,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.proxies import proxy_warnings
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import KUBECONFIG_RECORD

PATH = "/etc/kubernetes/kubelet.conf"
LATER = 10**12
"""A change of the server that every process is older than."""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """A host that runs systemd."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def pid():
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


class Systemctl:
    """Answers as systemctl does, for these units: name -> (state, main process)."""

    def __init__(self, units, code=0):
        self.units, self.code, self.commands = units, code, []

    def __call__(self, command, _text):
        assert command[0] == "systemctl"
        self.commands.append(" ".join(command[1:]))
        if command[1] == "restart":
            return self.code, "", "Job for kubelet.service failed.\n" if self.code else ""
        blocks = []
        for name in command[4:]:
            state, main = self.units.get(name, (None, 0))
            load = "not-found" if state is None else "loaded"
            blocks.append(
                f"Id={name}\nNames={name}\nLoadState={load}\nActiveState={state or 'inactive'}\nMainPID={main}\n"
            )
        return 0, "\n".join(blocks), ""


def test_restarts_a_named_service_that_is_older_than_the_change(pid):
    systemctl = Systemctl({"kubelet.service": ("active", pid)})
    outdated = find_outdated(ChangeRecord({PATH: LATER}), ["kubelet"], systemctl)
    assert (outdated.restart, outdated.others, outdated.warnings) == (["kubelet.service"], [], [])
    (diff,) = outdated.diffs()
    assert (diff.name, diff.after) == ("kubelet.service", "restarted\n")
    assert PATH in diff.before
    (warning,) = restart(outdated, "192.0.2.7:6443", 0, systemctl)
    assert "kubelet.service was restarted and has no connection to the API endpoint 192.0.2.7:6443" in warning
    assert systemctl.commands[1] == "restart kubelet.service"
    assert read_record().restarted.keys() == {"kubelet.service"}


def test_a_service_that_is_not_named_is_named_in_a_warning(pid):
    outdated = find_outdated(ChangeRecord({PATH: LATER}), [], Systemctl({"kubelet.service": ("active", pid)}))
    assert (outdated.restart, outdated.others, outdated.diffs()) == ([], ["kubelet.service"], [])
    (warning,) = outdated.warnings
    for words in ("kubelet.service", PATH, "former server", "systemctl restart kubelet", "overlay_kubeconfig_services"):
        assert words in warning


def test_a_younger_service_has_read_the_new_server(pid):
    systemctl = Systemctl({"kubelet.service": ("active", pid)})
    for named in ([], ["kubelet.service"]):
        assert find_outdated(ChangeRecord({PATH: now() - 10_000}), named, systemctl)[:3] == ({}, [], [])
        assert find_outdated(ChangeRecord(), named, systemctl)[:3] == ({}, [], [])


@pytest.mark.parametrize("state", ["inactive", "activating", "failed"])
def test_a_service_that_does_not_run_is_not_started(pid, state):
    outdated = find_outdated(ChangeRecord({PATH: LATER}), ["kubelet"], Systemctl({"kubelet.service": (state, pid)}))
    assert (outdated.restart, outdated.others) == ([], [])
    assert [text for text in outdated.warnings if "journalctl -u kubelet.service" not in text] == []
    assert len(outdated.warnings) == (1 if state == "failed" else 0)


def test_a_missing_service_and_a_host_without_systemd_are_named(root):
    (warning,) = find_outdated(ChangeRecord({PATH: LATER}), ["kubelt"], Systemctl({})).warnings
    assert "this host has no kubelt.service" in warning
    assert "overlay_kubeconfig_services" in warning
    (root / "run/systemd/system").rmdir()
    (warning,) = find_outdated(ChangeRecord({PATH: LATER}), ["kubelet"], None).warnings
    assert "this host does not run systemd, so kubelet.service cannot be restarted" in warning


def test_a_restart_that_fails_is_an_error_with_its_reason(pid):
    systemctl = Systemctl({"kubelet.service": ("active", pid)}, code=1)
    outdated = find_outdated(ChangeRecord({PATH: LATER}), ["kubelet"], systemctl)
    with pytest.raises(KernelError) as failed:
        restart(outdated, "192.0.2.7:6443", 0, systemctl)
    for words in (
        PATH,
        "kubelet.service cannot be restarted: Job for kubelet.service failed.",
        "journalctl -u kubelet",
    ):
        assert words in str(failed.value)


@pytest.mark.parametrize("state", ["failed", "activating", "inactive"])
def test_a_restart_after_which_a_service_does_not_run_fails(pid, state):
    outdated = find_outdated(ChangeRecord({PATH: LATER}), ["kubelet"], Systemctl({"kubelet.service": ("active", pid)}))
    with pytest.raises(KernelError, match=f"kubelet.service was restarted and is {state}: journalctl -u kubelet"):
        restart(outdated, "192.0.2.7:6443", 0, Systemctl({"kubelet.service": (state, pid)}))


# --- connections ---


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "mapped"])
def connected(request):
    """Return a process with a connection to a server, and the server."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(request.param) as client:
        address = ("127.0.0.1" if request.param == socket.AF_INET else "::ffff:127.0.0.1", server.getsockname()[1])
        client.connect(address)
        with subprocess.Popen(["sleep", "60"], stdin=client.fileno()) as process:
            yield process.pid, f"127.0.0.1:{address[1]}"
            process.kill()


def test_a_younger_service_with_a_connection_to_the_former_one(connected):
    pid, server = connected
    systemctl = Systemctl({"kubelet.service": ("active", pid)})
    record = ChangeRecord({PATH: 1}, ["192.0.2.9:6443", server])
    assert find_outdated(record, ["kubelet"], systemctl).reasons == {
        "kubelet.service": f"has a connection to the former server {server}"
    }
    outdated = find_outdated(record, [], systemctl)
    assert (outdated.restart, outdated.others) == ([], ["kubelet.service"])
    assert f"kubelet.service has a connection to the former server {server}" in outdated.warnings[0]
    assert find_outdated(record._replace(former=["192.0.2.9:6443"]), ["kubelet"], systemctl).restart == []


def test_a_restart_that_did_not_help_is_not_repeated(connected):
    pid, server = connected
    record = ChangeRecord({PATH: 1}, [server], {"kubelet.service": 2})
    outdated = find_outdated(record, ["kubelet"], Systemctl({"kubelet.service": ("active", pid)}))
    assert (outdated.restart, outdated.others) == ([], ["kubelet.service"])
    (warning,) = outdated.warnings
    assert "kubelet.service was restarted after its kubeconfig had changed, and has a connection to" in warning


def test_a_restart_waits_for_the_connection_to_the_endpoint(connected):
    pid, server = connected
    systemctl = Systemctl({"kubelet.service": ("active", pid)})
    outdated = find_outdated(ChangeRecord({PATH: LATER}), ["kubelet"], systemctl)
    assert restart(outdated, server, 10, systemctl) == []


def test_keeps_a_record_and_ignores_a_damaged_one(root):
    assert read_record() == ChangeRecord()
    written = ChangeRecord({PATH: 7, "/a b\n": 8}, ["192.0.2.9:6443"], {"kubelet.service": 9})
    write_record(written._replace(former=["192.0.2.9:6443", "192.0.2.9:6443"]))
    assert read_record() == written
    complete = {"changed": {"a": 1}, "former": [], "restarted": {}}
    damaged = ["", "[]", "{", '{"a": 7}', *(json.dumps({**complete, key: 7}) for key in complete)]
    for text in [*damaged, json.dumps({**complete, "changed": {"a": "x"}})]:
        (root / KUBECONFIG_RECORD[1:]).write_text(text)
        assert read_record() == ChangeRecord()


def test_rejects_what_is_no_name_of_a_service():
    assert name_problems(["kubelet", "kube-proxy.service", "a@b.service", "x_1"]) == []
    bad = ["", "--now", "a b", "a;b", "kubelet\n", "../x", "é"]
    problems = name_problems(bad)
    assert len(problems) == len(bad)
    assert all(repr(name) in text and "overlay_kubeconfig_services" in text for name, text in zip(bad, problems))


# --- processes ---

UNIT = "0::/system.slice/{}.service\n"
POD = "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-1.scope\n"


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """Return the function that adds a process to a stand-in for /proc."""
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    monkeypatch.setattr(kubeconfig_services, "PROC", str(proc))

    def add(words, cgroup, started=7, environment=""):
        directory = proc / str(100 + len(list(proc.iterdir())))
        directory.mkdir()
        (directory / "cmdline").write_text("\0".join([*words, ""]))
        (directory / "cgroup").write_text(cgroup)
        (directory / "stat").write_text(f"1 (a ) b) S {' '.join(['0'] * 18)} {started} 0 0\n")
        (directory / "environ").write_text(environment)

    return add


def outdated_of(processes_changed, systemctl=None):
    return find_outdated(ChangeRecord({PATH: processes_changed}), [], systemctl or Systemctl({}))


def test_finds_processes_that_have_the_path_among_their_arguments(processes):
    processes(["/usr/bin/kube-router", f"--kubeconfig={PATH}"], UNIT.format("kube-router"))
    processes(["agent", "--kubeconfig", PATH], "12:cpu:/\n1:name=systemd:/system.slice/agent.service\n")
    processes(["nested", PATH], "0::/docker/1f/system.slice/nested.service\n")
    processes(["/kube-scheduler", f"--kubeconfig={PATH}"], POD)
    processes(["younger", PATH], UNIT.format("younger"), started=9)
    processes(["kubectl", "--kubeconfig", PATH], "0::/user.slice/user-0.slice/session-1.scope\n")
    processes(["other", f"--kubeconfig={PATH}.old"], UNIT.format("other"))
    processes([], UNIT.format("kernel"))
    outdated = outdated_of(9)
    names = ["kube-router.service", "nested.service", "agent.service", "kube-scheduler (in a Pod or container)"]
    assert sorted(outdated.others) == sorted(names)
    assert outdated.restart == []
    assert all(any(text.startswith(name) for text in outdated.warnings) for name in names)
    assert [text for text in outdated.warnings if "systemctl restart kube-scheduler" in text] == []


def test_only_the_kubeconfig_of_a_service_counts_if_it_is_known(processes, pid):
    processes(["kubelet", f"--kubeconfig={PATH}"], UNIT.format("kubelet"))
    systemctl = Systemctl({"kubelet.service": ("active", "101")})
    for ticks, restarts in ((7, []), (8, ["kubelet.service"])):
        record = ChangeRecord({PATH: ticks, "/root/.kube/config": LATER})
        assert find_outdated(record, ["kubelet"], systemctl).restart == restarts


@pytest.mark.parametrize(
    ("arguments", "restarts"),
    [
        (["--kubeconfig=/etc/kubernetes/other.conf"], []),
        (["--kubeconfig", "/etc/kubernetes/other.conf", "--v=2"], []),
        (["--kubeconfig=/etc/link.conf"], ["kubelet.service"]),
        (["--config=/var/lib/kubelet/config.yaml"], ["kubelet.service"]),
        (["--kubeconfig"], ["kubelet.service"]),
    ],
)
def test_a_service_with_another_kubeconfig_is_not_restarted(processes, root, arguments, restarts):
    """Only what is known: a service without that argument can have the path in its configuration."""
    (root / "etc").mkdir()
    (root / "etc/link.conf").symlink_to(root / PATH[1:])
    processes(["kubelet", *arguments], UNIT.format("kubelet"))
    systemctl = Systemctl({"kubelet.service": ("active", "101")})
    assert find_outdated(ChangeRecord({PATH: LATER}), ["kubelet"], systemctl).restart == restarts


NAME = "api.demo.internal"
PROXY = "HTTPS_PROXY=http://me:verysecret@p:3128\0"


@pytest.mark.parametrize(
    "exceptions", ["", "10.0.0.0/8,localhost", "pi.demo.internal", "other.internal", "api.demo.internal.example"]
)
def test_a_proxy_between_a_service_and_the_api_server_is_named(processes, exceptions):
    processes(["kubelet", PATH], UNIT.format("kubelet"), environment=f"{PROXY}NO_PROXY={exceptions}\0")
    (warning,) = proxy_warnings([PATH], NAME)
    assert warning.startswith(f"kubelet.service reaches {NAME} through the proxy http://p:3128 ")
    assert "NO_PROXY" in warning
    assert "verysecret" not in warning


@pytest.mark.parametrize(
    "environment",
    [
        "",
        "HTTP_PROXY=http://p\0",
        *(f"{PROXY}NO_PROXY=a, {entry},b\0" for entry in (NAME, f"{NAME}:6443", ".internal", "demo.internal", "*")),
        f"{PROXY}no_proxy=*.internal\0",
    ],
)
def test_a_service_without_a_proxy_for_the_api_server_is_not_named(processes, environment):
    processes(["kubelet", PATH], UNIT.format("kubelet"), environment=environment)
    assert proxy_warnings([PATH], NAME) == []
    assert proxy_warnings([], NAME) == []

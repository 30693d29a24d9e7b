# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The Pods of a conformance test: what they reach, and that nothing is left of them, whenever their module ends.

The CNI plugins are stand-ins (``cni/bridge``); the scenario verify does the same with those of Debian.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance import namespace, pods, task
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.results import PATHS
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.run import ApiServer, Targets
from ansible_collections.tke.overlay.plugins.module_utils._host.files import write_sysctl
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from breakages import document, everything
from world import NEIGHBOUR

PLUGIN = pathlib.Path(__file__).parent / "cni/bridge"
OWN = "10.244.0.0/24"


class Host:
    """A node on which Pods of a test start."""

    def __init__(self, world, root):
        self.run, self.root = world.run, root
        self.bin = root / "opt/cni/bin"
        self.bin.mkdir(parents=True)
        for name in ("bridge", "portmap"):
            shutil.copy(PLUGIN, self.bin / name)
        self.cni = root / CNI_FILE[1:]
        conflist = json.loads(self.cni.read_text())
        conflist["plugins"][0]["ipam"]["dataDir"] = "/opt/cni/bin/leases"
        self.cni.write_text(json.dumps(conflist))
        self.network = task.node_network(document(), ["/opt/cni/bin"])

    def start(self, run=None, check=False):
        return task.start(self.network, 60, run or self.run, check)

    def listing(self):
        """Return everything that a test could leave behind."""
        found = everything(self.run)
        found["ip -json neigh show"] = [row for row in found["ip -json neigh show"] if "PERMANENT" in row]
        found["namespaces"] = [name for name in os.listdir("/run/netns") if name.startswith(pods.PREFIX)]
        found["files"] = sorted(
            str(path.relative_to(self.root))
            for path in self.root.rglob("*")
            if path.name not in ("log", "conformance.lock") and "__pycache__" not in path.parts
        )
        ours = subprocess.run(["pgrep", "-f", str(self.root)], capture_output=True, text=True, check=False).stdout
        found["processes"] = ours.split()
        return found

    def calls(self):
        log = self.bin / "log"
        lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def leave(self, name, text):
        (self.bin / name).write_text(text)

    def ask(self, *paths, targets=None):
        peers = {"me": {"addresses": [], "host_port": None}}
        targets = targets or Targets(ApiServer(missing="no load balancer"))
        question = task.Question(document(), {"cloud": ["me"]}, peers, "", targets)
        return {each.path: each for each in task.ask(question, paths or PATHS, self.run)}


@pytest.fixture
def host(world, tmp_path, monkeypatch):
    monkeypatch.setattr(pods, "PREFIX", f"kernel-test-{os.getpid()}-")
    created = Host(world, tmp_path)
    yield created
    task.remove(created.network, created.run)


@pytest.fixture
def unchanged(host):
    before = host.listing()
    yield
    assert host.listing() == before


def within(seconds, condition):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline


# --- CNI ---


@pytest.mark.usefixtures("unchanged")
def test_plugins_are_called_as_the_specification_says(host):
    started = host.start()
    assert [pod.address for pod in started.pods.pods] == ["10.244.0.2", "10.244.0.3"]
    assert started.pods.faults == []
    added = host.calls()
    assert [call[:2] for call in added] == 2 * [["bridge", "ADD"], ["portmap", "ADD"]]
    for _kind, _command, container, path, config in added:
        assert os.path.basename(path).startswith(pods.PREFIX)
        assert container.startswith(pods.PREFIX)
        assert (config["name"], "capabilities" in config) == ("tke-overlay", False)
    assert [config.get("prevResult", {}).get("ips") for *_words, config in added[:2]] == [
        None,
        [{"address": "10.244.0.2/24"}],
    ]
    task.remove(host.network, host.run)
    deleted = host.calls()
    assert [call[:2] for call in deleted] == 2 * [["portmap", "DEL"], ["bridge", "DEL"]]
    assert all(config["prevResult"]["ips"] for *_words, config in deleted)
    assert {call[2] for call in deleted} == {call[2] for call in added}


@pytest.mark.usefixtures("unchanged")
def test_check_mode_makes_nothing_and_says_what_it_would(host):
    started = host.start(check=True)
    assert host.calls() == []
    for word in ("two Pods", CNI_FILE, "bridge, portmap", "253 addresses are free"):
        assert word in started.planned


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (lambda host: (host.bin / "portmap").unlink(), ["CNI plugin portmap", "is not in", "/opt/cni/bin"]),
        (lambda host: host.leave("bridge.ADD.fault", "no carrier"), ["bridge ADD: no carrier"]),
        (lambda host: host.leave("portmap.ADD.fault", "no iptables"), ["portmap ADD: no iptables"]),
        (lambda host: (host.cni.parent / "05-other.conf").write_text("{}"), ["05-other.conf", "cannot be used"]),
        (lambda host: (host.cni.parent / "05-other.conf").write_text("{"), ["05-other.conf", "cannot be used"]),
        (
            lambda host: (host.cni.parent / "05-other.conflist").write_text(
                host.cni.read_text().replace("10.244.0.", "10.99.0.")
            ),
            ["10.99.0.2, which is not in the node CIDR 10.244.0.0/24", "05-other.conflist"],
        ),
    ],
)
def test_a_pod_that_does_not_start_is_a_fault(host, breaks, words):
    kept = {path: path.read_bytes() for path in (*host.bin.iterdir(), *host.cni.parent.iterdir()) if path.is_file()}
    breaks(host)
    started = host.start()
    for word in words:
        assert word in " ".join(started.pods.faults)
    task.remove(host.network, host.run)
    for path in (*host.bin.iterdir(), *host.cni.parent.iterdir()):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, content in kept.items():
        if not path.exists():
            path.write_bytes(content)
            path.chmod(0o755)


def test_a_list_without_plugins_is_passed_over(host):
    (host.cni.parent / "05-empty.conflist").write_text(json.dumps({"name": "x", "plugins": []}))
    assert CNI_FILE in host.start(check=True).planned


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("taken", "starts"), [(247, True), (248, False)])
def test_the_last_addresses_are_not_taken(host, taken, starts):
    leases = host.bin / "leases/tke-overlay"
    leases.mkdir(parents=True)
    for number in range(taken):
        (leases / f"10.244.0.{number + 2}").write_text("a container\r\neth0")
    try:
        started = host.start()
        assert (len(started.pods.pods) == 2) is starts
        assert ("5 of the Pod addresses of 10.244.0.0/24 are free" in started.reason) is not starts
        task.remove(host.network, host.run)
        assert len(list(leases.glob("10.*"))) == taken
    finally:
        shutil.rmtree(host.bin / "leases")


# --- paths ---


@pytest.mark.usefixtures("unchanged")
def test_what_a_cluster_without_kube_proxy_is_asked(host):
    host.start()
    found = host.ask(targets=Targets(ApiServer(missing="no load balancer"), outside=[NEIGHBOUR]))
    assert [each.failed for each in found.values()] == [[]] * len(PATHS)
    assert {path for path, each in found.items() if each.asked} >= {"pod", "mtu", "service", "hairpin", "outside"}
    for path, words in {
        "clusterip": "no kube-proxy",
        "dns": "overlay_conformance_dns is not set",
        "api": "no load balancer",
        "webhook": "no other node has a Pod",
    }.items():
        assert found[path].asked == 0
        assert words in found[path].reason
    task.remove(host.network, host.run)


def sysctl(key, value):
    return lambda _host: write_sysctl(key, value)


def nft(text):
    return lambda host: host.run(["nft", "-f", "-"], text)


FAULTS = {
    "bridge netfilter": (sysctl("net.bridge.bridge-nf-call-iptables", "0"), {"service"}, "no connection"),
    "forwarding of the bridge": (
        sysctl("net/ipv4/conf/tke-br0/forwarding", "0"),
        {"outside"},
        "does not leave this host",
    ),
    "a foreign firewall": (
        nft("table ip x { chain f { type filter hook forward priority 0; policy drop; }; }"),
        {"pod"},
        "no answer to small packets",
    ),
    "no masquerade": (
        lambda host: host.run(["nft", "flush", "chain", "inet", "tke_overlay", "nat"]),
        {"outside"},
        "leaves with the source 10.244.0.2 instead of 10.0.1.11",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_host_fails_its_paths(host, fault):
    breaks, paths, text = FAULTS[fault]
    host.start()
    breaks(host)
    found = host.ask(*paths, targets=Targets(ApiServer(missing="x"), outside=[NEIGHBOUR]))
    failed = {path: each.failed for path, each in found.items() if each.failed}
    assert set(failed) == paths
    assert text in " ".join(failure.text for each in failed.values() for failure in each)


def test_services_are_found_in_the_rules_of_kube_proxy(host):
    pod = host.start().pods.pods[1].address
    elements = (
        "10.244.255.1 . tcp . 443 : goto service-X-default/kubernetes/tcp/https, 10.244.255.9 . tcp . 8471 : goto a"
    )
    done = host.run(
        ["nft", "-f", "-"],
        f"""table ip kube-proxy {{
        chain service-X-default/kubernetes/tcp/https {{ ip protocol tcp dnat to {pod}:1; }}
        chain a {{ ip protocol tcp dnat to {pod}:8471; }}
        map service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict; elements = {{ {elements} }}; }}
        chain p {{ type nat hook prerouting priority -100; ip daddr . meta l4proto . th dport vmap @service-ips; }}
        }}""",
    )
    assert done[0] == 0, done
    found = host.ask("clusterip", "api")
    assert (found["clusterip"].asked, found["clusterip"].failed) == (1, [])
    (failure,) = found["api"].failed
    assert failure.target == "10.244.255.1:443"
    assert "tcp: Connection refused" in failure.text
    assert "no load balancer" in found["api"].reason


# --- nothing is left ---


def killed_at(host, number, after):
    """Start the Pods in a process that is killed before or after the program with this number; whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def run(command, text=None):
            nonlocal count
            count += 1
            if count == number and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = host.run(command, text)
            if count == number and after:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        try:
            host.start(run)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.parametrize(("how", "after"), [("the timer", True), ("the next run", False)])
def test_nothing_is_left_of_a_killed_module(host, how, after):
    before = host.listing()
    number = 1
    while killed_at(host, number, after):
        script = host.root / files.RUN_DIRECTORY[1:] / "conformance/pods"
        if how == "the timer" and script.exists():
            assert host.run(["sh", str(script), "remove", "expired"])[0] == 0
        else:
            task.remove(host.network, host.run)
        within(5, lambda: not host.listing()["processes"])
        assert host.listing() == before, f"killed at program {number}"
        number += 1
    assert number > 10
    task.remove(host.network, host.run)
    assert host.listing() == before


@pytest.mark.parametrize("plugin", ["bridge", "portmap"])
def test_a_plugin_whose_module_was_killed_ends_first(host, plugin):
    before = host.listing()
    child = os.fork()
    if child == 0:
        host.leave(f"{plugin}.ADD.kill", str(os.getpid()))
        try:
            host.start()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    task.remove(host.network, host.run)
    within(5, lambda: not host.listing()["processes"])
    assert host.listing() == before


def test_the_deadline_removes_the_pods_without_a_module(host):
    before = host.listing()
    with contextlib.suppress(KernelError):  # on a busy machine, the deadline passes during the start
        task.start(host.network, 4, host.run, False)
    within(60, lambda: host.listing() == before)


def test_a_deadline_during_the_start_leaves_nothing(host):
    before = host.listing()
    calls = 0

    def run(command, text=None):
        nonlocal calls
        calls += "add" in command
        result = host.run(command, text)
        if calls == 4:  # the last plugin has run
            calls += 1
            assert host.run(["sh", command[1], "remove", "expired"])[0] == 0
        return result

    try:
        faults = host.start(run).pods.faults
    except KernelError as error:
        faults = [str(error)]
    assert any("removed" in fault or "did not start" in fault for fault in faults)
    within(30, lambda: host.listing() == before)


def test_a_lease_that_a_reboot_has_left_is_released(host):
    leases = host.bin / "leases/tke-overlay"
    leases.mkdir(parents=True)
    (leases / "10.244.0.2").write_text(f"{pods.PREFIX}1-0123abcd\r\neth0")
    (leases / "10.244.0.3").write_text("another container\r\neth0")
    assert task.remove(host.network, host.run)
    assert [path.name for path in leases.iterdir()] == ["10.244.0.3"]


def test_what_cannot_be_removed_is_named_and_tried_again(host):
    before = host.listing()
    host.start()
    host.leave("portmap.DEL.fault", "the lock is held")
    with pytest.raises(KernelError, match=r"portmap DEL: .*the lock is held"):
        task.remove(host.network, host.run)
    (host.bin / "portmap.DEL.fault").unlink()
    assert task.remove(host.network, host.run)
    assert host.listing() == before


def test_a_running_pod_of_another_program_keeps_the_bridge(host, world):
    world.run(["ip", "link", "del", "tke-br0"])
    host.start()
    world.run(["ip", "link", "set", "pod0", "master", "tke-br0"])
    task.remove(host.network, host.run)
    assert world.run(["ip", "link", "show", "tke-br0"])[0] == 0


def test_a_namespace_is_entered_and_left(host):
    here = os.readlink("/proc/self/ns/net")
    host.start()
    with namespace.inside(f"{pods.PREFIX}1"):
        assert os.readlink("/proc/self/ns/net") != here
    assert os.readlink("/proc/self/ns/net") == here


def test_a_host_that_is_not_in_the_plan_is_an_error(host):
    with pytest.raises(ValidationError, match="stranger is not in the plan"):
        task.node_network(document(node="stranger"), [])
    with pytest.raises(ValidationError, match="overlay_cni_bin_dirs"):
        task.node_network(document(), ["a", "/b:c"])
    assert host.calls() == []

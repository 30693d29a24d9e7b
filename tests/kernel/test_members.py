# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Members without Pods (``overlay_pods: false``): their place in the overlay, and what they do not have."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit import confirmed_commit
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import PENDING, Confirmation
from ansible_collections.tke.overlay.plugins.module_utils._host.node import change, kernel_change, reset, status
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import saved_network
from ansible_collections.tke.overlay.plugins.module_utils._host.state import paths
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import MODULES_FILE, STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts
from breakages import BREAKAGES, COMBINABLE, PEERS, broken, document, everything
from world import BURST, NEIGHBOUR, PEER, burst, counted, frame, silent, vxlan

MEMBER = node.ConvergeOptions(pods=False)
FORWARDING = "/proc/sys/net/ipv4/ip_forward"


@pytest.fixture
def root(run, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def member(run, root):
    """The file root of a member."""
    node.converge(document(), run, False, MEMBER)
    return root


def ip(run, *lines):
    for line in lines:
        code, _out, errors = run(["ip", *line.split()])
        assert code == 0, (line, errors)


def script(root):
    """Run the restore script as the timer does; return exit code, reported changes and errors."""
    done = subprocess.run(
        ["sh", f"{root}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{root}/run/tke-overlay"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def texts(root):
    """Return the texts of all files of the host, by path."""
    return {str(path): path.read_text() for path in (root / "etc").rglob("*") if path.is_file()}


def read(path):
    with open(path, encoding="ascii") as stream:
        return stream.read().strip()


def exists(root, path):
    return os.path.exists(f"{root}{path}")


# --- its place in the overlay ---


@given(number=st.integers(0, len(PEERS) - 1))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_member_has_link_and_entries_of_every_node(run, root, number):
    wanted = document(PEERS[: number + 1])
    node.converge(wanted, run, check=False)
    before = everything(run)
    node.converge(wanted, run, False, MEMBER)
    after = everything(run)
    for command in before:
        if not command.startswith("nft"):
            assert after[command] == before[command], command


def test_member_has_neither_bridge_nor_cni_file(run, member):
    assert not exists(member, CNI_FILE)
    assert not exists(member, MODULES_FILE)
    assert run(["ip", "link", "show", "tke-br0"])[0] != 0
    rules = run(["nft", "list", "table", "inet", "tke_overlay"])[1]
    drop_ins = [text for path, text in texts(member).items() if STATE not in path]
    for text in (rules, *drop_ins):
        assert "tke-br0" not in text
        assert "veth" not in text.replace("takes a link", "").partition("[Match]")[2]
    assert "Pod bridge: none" in (member / STATE.lstrip("/") / "summary").read_text()


@pytest.mark.parametrize("value", ["0", "1"])
def test_member_leaves_forwarding_as_it_is(run, root, value):
    for path in (FORWARDING, "/proc/sys/net/ipv4/conf/eth0/forwarding"):
        with open(path, "w", encoding="ascii") as stream:
            stream.write(value)
    node.converge(document(), run, False, MEMBER)
    assert script(root) == (0, "", "")
    assert read(FORWARDING) == read("/proc/sys/net/ipv4/conf/eth0/forwarding") == value


def test_second_run_changes_nothing(run, member):
    before = everything(run), texts(member)
    again = node.converge(document(), run, False, MEMBER)
    assert (again.changed, list(again.diffs())) == (False, [])
    assert script(member) == (0, "", "")
    assert (everything(run), texts(member)) == before


def test_member_needs_no_br_netfilter(run, root, monkeypatch):
    host = node.read_host(run)._replace(bridge_netfilter=False)
    monkeypatch.setattr(node, "read_host", lambda _run: host)
    assert node.converge(document(), run, False, MEMBER).bridge_netfilter
    assert not node.converge(document(), run, check=False).bridge_netfilter


# --- what is restored ---


OF_PODS = ("sysctl net/ipv4/ip_forward", "sysctl net/ipv4/conf/tke0/forwarding", "sysctl net/bridge")
"""Settings that only Pods need."""


@pytest.mark.parametrize("line", [line for line in BREAKAGES if not line.startswith(OF_PODS)][::4])
def test_breakages_of_a_member_are_drift_and_corrected(run, member, line):
    before = everything(run)
    broken(run, line)
    assert status.read_status(run, document(), ())["drift"]
    code, out, errors = script(member)
    assert (code, errors) == (0, "")
    assert "restored" in out
    assert status.read_status(run, document(), ())["drift"] == []
    after = everything(run)
    assert {key: len(rows) for key, rows in after.items()} == {key: len(rows) for key, rows in before.items()}


@given(lines=st.lists(st.sampled_from(COMBINABLE), max_size=4, unique=True))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_run_corrects_a_member_as_the_script_does(run, member, lines):
    for line in lines:
        broken(run, line)
    node.converge(document(), run, False, MEMBER)
    assert script(member) == (0, "", "")
    assert status.read_status(run, document(), ())["drift"] == []


def test_script_leaves_a_foreign_bridge_of_that_name_alone(run, member):
    ip(run, "link add tke-br0 type bridge", "address add 192.0.2.1/24 dev tke-br0")
    before = everything(run)
    assert script(member) == (0, "", "")
    assert not node.converge(document(), run, False, MEMBER).changed
    reset.remove("tke0", "tke-br0", run, check=False)
    assert "192.0.2.1/24" in run(["ip", "address", "show", "dev", "tke-br0"])[1]
    assert any("tke-br0" in row for row in before["ip -json -details address show"])


def test_status_of_a_member_has_no_findings_about_pods(run, member):
    for wanted in (document(), document(mtu=1400), None):
        shown = status.read_status(run, wanted, ())
        assert (shown["drift"], shown["pods"], shown["has_pods"]) == ([], [], False)
    assert saved_network() is None


def test_status_of_a_foreign_cni_file_and_one_of_ours(run, member):
    directory = member / "etc/cni/net.d"
    directory.mkdir(parents=True)
    (directory / "05-other.conflist").write_text("{}")
    assert status.read_status(run, document(), ())["drift"] == []
    (directory / os.path.basename(CNI_FILE)).write_text("{}")
    assert f"file {CNI_FILE}: surplus" in status.read_status(run, document(), ())["drift"]
    assert node.converge(document(), run, False, MEMBER).file_names == [CNI_FILE]
    assert sorted(path.name for path in directory.iterdir()) == ["05-other.conflist"]


# --- changing a host ---


def test_host_becomes_a_member_and_a_host_with_pods_again(run, root):
    node.converge(document(), run, check=False)
    with_pods = everything(run), texts(root)
    checked = node.converge(document(), run, True, MEMBER)
    assert (everything(run), texts(root)) == with_pods, "check mode changes nothing"
    done = node.converge(document(), run, False, MEMBER)
    assert list(done.diffs()) == list(checked.diffs())
    assert CNI_FILE in done.file_names
    assert not exists(root, CNI_FILE)
    again = node.converge(document(), run, check=False)
    assert CNI_FILE in again.file_names
    assert (everything(run), texts(root)) == with_pods
    assert not node.converge(document(), run, check=False).changed


def with_empty_bridge(run):
    """Make the bridge as CNI's plugin leaves it behind after the last Pod."""
    ip(run, "link add tke-br0 type bridge", "address add 10.244.0.1/24 brd + dev tke-br0", "link set tke-br0 up")


def test_bridge_of_former_pods_is_removed_and_shown(run, root):
    node.converge(document(), run, check=False)
    with_empty_bridge(run)
    checked = node.converge(document(), run, True, MEMBER)
    assert checked.tables["bridge"].lines()["removed"] == ["link tke-br0 type bridge"]
    assert run(["ip", "link", "show", "tke-br0"])[0] == 0
    done = node.converge(document(), run, False, MEMBER)
    assert list(done.diffs()) == list(checked.diffs())
    assert run(["ip", "link", "show", "tke-br0"])[0] != 0
    assert not node.converge(document(), run, False, MEMBER).changed
    with_empty_bridge(run)  # by a Pod that started while the host changed
    assert "bridge: surplus link tke-br0 type bridge" in status.read_status(run, document(), ())["drift"]
    assert node.converge(document(), run, False, MEMBER).tables["bridge"].removed


class Armed:
    """Runs programs except those of systemd."""

    def __init__(self, run):
        self.run = run

    def __call__(self, command, text=None):
        return (0, "", "") if command[0] in ("systemd-run", "systemctl") else self.run(command, text)


@pytest.mark.parametrize("end", ["roll-back", "confirm", "failure"])
def test_change_to_a_member_ends_either_way(run, root, monkeypatch, end):
    host = HostFacts(True, {paths.SERVICE: "enabled", paths.TIMER: "enabled active"}, False, (6, 1))
    run = Armed(run)
    monkeypatch.setattr(node, "read_host", lambda _run: host)
    monkeypatch.setattr(change, "unit_commands", lambda *_: [])
    node.converge(document(), run, check=False)
    with_empty_bridge(run)
    assert not node.converge(document(), run, True).changed
    saved, before = texts(root), everything(run)
    options = node.ConvergeOptions(pods=False, confirmation=Confirmation("token", 30))
    if end == "failure":

        def fail(*_):
            raise KernelError("the test wants it")

        monkeypatch.setattr(change, "verify", fail)
        with pytest.raises(KernelError, match="the host is as it was before"):
            node.converge(document(), run, False, options)
    else:
        assert node.converge(document(), run, False, options).seconds_to_confirm
        assert run(["ip", "link", "show", "tke-br0"])[0] != 0
        kept = [path for path in saved if STATE in path or path.endswith((CNI_FILE, MODULES_FILE))]
        assert {path: texts(root)[path] for path in kept} == {path: saved[path] for path in kept}, "as before a reboot"
        done = subprocess.run(["sh", f"{root}{PENDING}/{end}", "token"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
    if end == "confirm":
        assert not exists(root, CNI_FILE)
        assert not node.converge(document(), run, True, MEMBER).changed
        return
    record = (root / confirmed_commit.RECORD.lstrip("/")).read_text().splitlines()
    assert record[1] == "complete", record
    assert texts(root) == saved
    assert not node.converge(document(), run, True).changed
    routes = "ip -json route show table all"
    assert len(everything(run)[routes]) == len(before[routes])


def ports(run):
    links = json.loads(run(["ip", "-json", "-details", "link", "show", "type", "vxlan"])[1])
    return {link["ifname"]: link["linkinfo"]["info_data"]["port"] for link in links}


def test_member_changes_its_port_in_phases_without_forwarding(run, member):
    before = read("/proc/sys/net/ipv4/conf/default/forwarding")
    for phase, expected in (
        ("prepare", {"tke0": 8472, "tke-alt": 4789}),
        ("cutover", {"tke0": 4789, "tke-alt": 8472}),
        ("finalize", {"tke0": 4789}),
    ):
        node.converge(document(port=4789), run, False, MEMBER._replace(phase=phase))
        assert ports(run) == expected
        for name in expected:
            assert read(f"/proc/sys/net/ipv4/conf/{name}/forwarding") == before
            assert read(f"/proc/sys/net/ipv4/conf/{name}/rp_filter") == "2"
    assert not node.converge(document(port=4789), run, False, MEMBER).changed


# --- Pods that run ---


def test_running_pods_are_an_error_before_anything_changes(world, tmp_path):
    run = world.run
    before = everything(run), texts(tmp_path)
    for check in (True, False):
        with pytest.raises(ValidationError, match=r"overlay_pods is false, and 1 Pod .*pod0.*nothing was changed"):
            node.converge(document(), run, check, MEMBER)
    assert (everything(run), texts(tmp_path)) == before


def record(root, number, name, address):
    """Record a Pod as containerd does, with a network namespace."""
    directory, sandbox = root / "var/lib/cni/results", f"/run/netns/cni-{number}"
    directory.mkdir(parents=True, exist_ok=True)
    (root / sandbox.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    (root / sandbox.lstrip("/")).touch()
    namespace, _slash, pod = name.partition("/")
    result = {
        "interfaces": [{"name": "tke-br0"}, {"name": f"veth0000000{number}"}, {"name": "eth0", "sandbox": sandbox}],
        "ips": [{"address": f"{address}/24"}],
    }
    words = [["K8S_POD_NAMESPACE", namespace], ["K8S_POD_NAME", pod]]
    cached = {"containerId": "c" * 64, "cniArgs": words, "result": result}
    path = directory / f"tke-overlay-{number}-eth0"
    path.write_text(json.dumps(cached))
    return root / sandbox.lstrip("/"), path


def test_error_names_number_namespaces_and_pods(run, root):
    names = {"web/a": "10.244.0.9", "web/b": "10.244.0.3", "kube-system/dns": "10.244.0.4"}
    for number, (name, address) in enumerate(names.items()):
        record(root, number, name, address)
    with pytest.raises(ValidationError) as caught:
        node.converge(document(), run, False, MEMBER)
    text = str(caught.value)
    for word in ("3 Pods", "kube-system: 1", "web: 2", "overlay_pods", "kubectl drain", *names, *names.values()):
        assert word in text
    assert texts(root) == {}


@pytest.mark.parametrize("case", ["ended", "of another network", "of another cluster"])
def test_what_is_no_running_pod_does_not_matter(run, root, case):
    address = "172.17.0.5" if case == "of another network" else "10.244.0.5"
    sandbox, path = record(root, 1, "web/a", address)
    if case == "ended":
        sandbox.unlink()
    if case == "of another cluster":
        path.rename(path.with_name("other-1-eth0"))
    (root / "var/lib/cni/networks/tke-overlay").mkdir(parents=True)
    (root / "var/lib/cni/networks/tke-overlay/10.244.0.5").touch()  # a reservation can outlive its Pod
    assert node.converge(document(), run, False, MEMBER).changed


def test_pods_off_the_bridge_and_other_ports_count(run, root):
    name = f"kernel-test-{os.getpid()}"
    try:
        ip(
            run,
            f"netns add {name}",
            f"link add veth0000000a type veth peer name eth0 netns {name}",
            "link set veth0000000a up",
            f"-n {name} address add 10.244.0.3/24 dev eth0",
        )
        with pytest.raises(ValidationError, match=r"1 Pod .*10\.244\.0\.3 \(veth0000000a\)"):
            node.converge(document(), run, False, MEMBER)
        ip(run, f"-n {name} address del 10.244.0.3/24 dev eth0", f"-n {name} address add 172.17.0.3/24 dev eth0")
        assert node.converge(document(), run, True, MEMBER).changed
        ip(run, "link add tke-br0 type bridge", "link set veth0000000a master tke-br0")
        with pytest.raises(ValidationError, match=r"1 Pod .*: veth0000000a"):
            node.converge(document(), run, False, MEMBER)
    finally:
        run(["ip", "netns", "del", name])


# --- packets ---


def test_packets_to_pods_have_the_vtep_address(run, member):
    for peer in PEERS[1:]:
        pod = f"{peer.node_cidr.rpartition('.')[0]}.7"
        [route] = json.loads(run(["ip", "-json", "route", "get", pod])[1])
        assert (route["dev"], route["prefsrc"]) == ("tke0", "10.244.0.0")


def test_pods_reach_a_member_and_nobody_else_does(world):
    ip(world.run, "link del tke-br0")
    node.converge(document(), world.run, False, MEMBER)
    with open(FORWARDING, "w", encoding="ascii") as stream:
        stream.write("1")  # as Docker or a gateway sets it
    receiver = world.socket("host", "10.244.0.0", 53)
    from_peer = world.socket("neighbour", PEER, 8472)
    stranger = world.socket("neighbour", NEIGHBOUR, 8472)
    before = counted(world.run)
    from_peer.sendto(vxlan(1, frame("10.244.1.7", "10.244.0.0")), ("10.0.1.11", 8472))
    assert receiver.recv(100) == b"evil"
    burst(stranger, ("10.0.1.11", 8472), vxlan(1, frame("10.244.1.7", "10.244.0.0")))
    burst(from_peer, ("10.0.1.11", 8472), vxlan(1, frame("192.0.2.1", "10.244.0.0")))
    burst(stranger, ("10.244.0.0", 53))
    burst(stranger, ("10.244.1.7", 53))
    assert silent(receiver)
    after = counted(world.run)
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert grown == {"not_a_peer": BURST, "inner_source": BURST, "to_pods": 2 * BURST}
    for each in (receiver, from_peer, stranger):
        each.close()


def test_kernel_that_keeps_the_bridge_is_an_error(run, root, monkeypatch):
    node.converge(document(), run, check=False)
    with_empty_bridge(run)
    monkeypatch.setattr(kernel_change, "apply", lambda *_: None)
    with pytest.raises(KernelError, match="bridge: not removed link tke-br0"):
        node.converge(document(), run, False, MEMBER)


def test_reset_of_a_member_leaves_nothing(run, root):
    before = everything(run)
    node.converge(document(), run, False, MEMBER)
    reset.remove("tke0", "tke-br0", run, check=False)
    assert everything(run) == before
    assert texts(root) == {}

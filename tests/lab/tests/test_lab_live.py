# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The guarantees of the lab, tested in a separate lab that the module starts and stops.

A lab of another name on the same machine keeps running.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tkelab import base, cgroup, inventory
from tkelab.system import CACHE, LAB_DIR, REPO, Progress, inside, mounts_below

NAME = "selftest"
PREFIX = f"tke-{NAME}-"
STATE = Path(f"/var/lib/tke-overlay-lab-{NAME}")
RUN = Path(f"/run/tke-overlay-lab-{NAME}")
COMMAND = [sys.executable, str(LAB_DIR / "lab")]
ENV = {**os.environ, "TKE_LAB": NAME, "PYTHONPATH": str(LAB_DIR)}
HOSTS = ["api1", "api2", "clb1", "clb2", "cloud1", "cloud2", "idc1", "idc2"]


def try_lab(*words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], env=ENV, input=text, capture_output=True, text=True, timeout=300, check=False
    )


def lab(*words: str) -> str:
    done = try_lab(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def status() -> dict[str, dict[str, Any]]:
    return {entry["host"]: entry for entry in json.loads(try_lab("status", "--json").stdout)}


def pids() -> dict[str, int]:
    return {name: entry["pid"] for name, entry in status().items()}


def own_network() -> dict[str, str]:
    """Return the state of the machine's own network namespace."""
    commands = {
        "addresses": "ip -j addr",
        "routes": "ip -j route show table all",
        "rules": "nft list ruleset",
        "settings": "sysctl --all --pattern ^net --ignore",
    }
    read = {
        key: subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout
        for key, command in commands.items()
    }
    read["inotify"] = Path("/proc/sys/fs/inotify/max_user_instances").read_text()
    counters = ("nf_conntrack_count",)
    read["settings"] = "\n".join(
        line for line in read["settings"].splitlines() if not any(name in line for name in counters)
    )
    return read


def left_behind() -> list[str]:
    """Return everything that this lab has left on the machine."""
    paths = [STATE, RUN, Path(f"{RUN}.lock"), *[top / f"tke-{NAME}" for top in cgroup.hierarchies()]]
    paths += Path("/run/netns").glob(PREFIX + "*")
    paths += Path("/run/systemd/nspawn/propagate").glob(PREFIX + "*")
    paths += CACHE.glob("*.new")
    found = [str(path) for path in paths if path.exists()]
    found += [str(point) for point in mounts_below(STATE, RUN)]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode()
            if PREFIX in words or str(RUN) in words:
                found.append(words.replace("\0", " "))
    return found


@pytest.fixture(scope="module", autouse=True)
def gone_before_and_after() -> Iterator[None]:
    lab("down")
    before = own_network()
    yield
    lab("down")
    assert left_behind() == []
    assert own_network() == before


@pytest.fixture
def running() -> None:
    lab("up")


# --- up, status, exec, run ---


def test_up_starts_every_host_once() -> None:
    before = own_network()
    assert "up: 8 hosts, 8 started now" in lab("up")
    # This limit applies to the entire machine, and each lab that is up raises it.
    assert {**own_network(), "inotify": ""} == {**before, "inotify": ""}
    first = pids()
    assert sorted(first) == HOSTS
    begin = time.monotonic()
    assert "up: 8 hosts, 0 started now" in lab("up")
    assert time.monotonic() - begin < 10
    assert pids() == first


@pytest.mark.usefixtures("running")
def test_hosts_have_unique_identities() -> None:
    ids = {lab("exec", name, "cat", "/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub") for name in HOSTS}
    assert len(ids) == len(HOSTS)
    assert [lab("exec", name, "hostname").strip() for name in HOSTS] == HOSTS
    assert lab("exec", "idc1", "systemctl", "is-system-running", "--wait").strip() == "running"


@pytest.mark.usefixtures("running")
def test_ansible_reaches_all_hosts_and_checks_host_keys() -> None:
    pinged = lab("run", "ansible", "-i", str(inventory.DEFAULT), "all", "-m", "ansible.builtin.ping")
    assert pinged.count("SUCCESS") == len(HOSTS)


@pytest.mark.usefixtures("running")
def test_run_and_exec_pass_input_output_and_exit_code() -> None:
    for verb in (["run"], ["exec", "cloud1"]):
        assert try_lab(*verb, "sh", "-c", "exit 7").returncode == 7
        assert try_lab(*verb, "cat", text="through\n").stdout == "through\n"
    assert lab("run", "printenv", "PATH").startswith(f"{REPO}/.venv/bin:")
    assert try_lab("run", "no-such-command").stderr == "lab: command not found: no-such-command\n"

    script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen([*COMMAND, "run", "sh", "-c", script], env=ENV, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=10) == 9


# --- the network between the hosts ---


def connects(source: str, target: str, port: int) -> bool:
    """Return whether TCP packets pass in both directions; a refused connection counts as passed."""
    with inside(PREFIX + source), socket.socket() as probe:
        probe.settimeout(0.4)
        try:
            probe.connect((target, port))
        except ConnectionRefusedError:
            return True
        except TimeoutError:
            return False
        return True


def datagram_arrives(source: str, target: str, address: str, port: int) -> bool:
    with inside(PREFIX + target):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(PREFIX + source):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind((address, port))
        receiver.settimeout(0.4)
        sender.sendto(b"probe", (address, port))
        try:
            return receiver.recv(16) == b"probe"
        except TimeoutError:
            return False


def pings(source: str, address: str, size: int = 56) -> bool:
    words = ["ping", "-c", "1", "-W", "1", "-M", "do", "-s", str(size), address]
    with inside(PREFIX + source):
        return subprocess.run(words, capture_output=True, check=False).returncode == 0


CLOUD1, CLOUD2, CLB1, IDC1, IDC2 = "10.0.1.11", "10.0.1.12", "10.0.2.11", "192.168.1.11", "192.168.1.12"


@pytest.mark.usefixtures("running")
def test_router_forwards_only_what_the_policy_allows() -> None:
    assert not connects("idc1", CLOUD1, 22)
    assert not connects("idc1", CLOUD1, 6443)
    assert not connects("cloud1", IDC1, 22)
    assert not connects("cloud1", IDC1, 10250)
    assert not connects("idc1", "198.18.0.10", 22)
    assert connects("idc1", CLB1, 6443)
    assert connects("idc1", IDC2, 10250)
    assert connects("cloud1", CLOUD2, 10250)
    assert connects("cloud1", CLB1, 443)
    assert connects("clb1", "10.0.1.21", 6443)
    assert connects("controller", IDC1, 22)
    assert not connects("controller", IDC1, 6443)
    assert datagram_arrives("idc1", "cloud1", CLOUD1, 8472)
    assert datagram_arrives("cloud1", "idc1", IDC1, 8472)
    assert not datagram_arrives("idc1", "cloud1", CLOUD1, 8473)
    assert not datagram_arrives("cloud1", "idc1", IDC1, 53)
    assert pings("idc1", CLOUD1)
    assert pings("cloud1", IDC1)


@pytest.mark.usefixtures("running")
def test_the_data_centre_has_the_smaller_mtu() -> None:
    assert pings("cloud1", CLOUD2, 1500 - 28)
    assert pings("cloud1", IDC1, 1450 - 28)
    assert not pings("cloud1", IDC1, 1450 - 27)
    assert not pings("idc1", IDC2, 1450 - 27)


@pytest.mark.usefixtures("running")
def test_a_cut_keeps_links_up_and_lasts_until_heal() -> None:
    lab("cut", "idc1")
    assert {name for name, entry in status().items() if entry["cut"]} == {"idc1"}
    assert not pings("cloud1", IDC1)
    assert not pings("idc2", IDC1)
    assert "LOWER_UP" in lab("exec", "idc1", "ip", "link", "show", "eth0")
    lab("exec", "idc1", "sh", "-c", "ip link set eth0 down && ip link set eth0 up")
    lab("reboot", "idc1")
    assert "0 started now" in lab("up")
    assert not pings("idc1", IDC2)
    lab("heal", "idc1")
    assert pings("idc1", IDC2)
    assert pings("cloud1", IDC1)
    assert not any(entry["cut"] for entry in status().values())


# --- reboots and repairs ---


@pytest.mark.usefixtures("running")
def test_a_reboot_keeps_only_files() -> None:
    make = "touch /root/kept; ip link add name tunnel type vxlan id 7 dstport 9999; sysctl -q net.ipv4.ip_forward=1"
    lab("exec", "idc1", "sh", "-c", make)
    mac = lab("exec", "idc1", "cat", "/sys/class/net/eth0/address")
    others = {name: pid for name, pid in pids().items() if name != "idc1"}
    # From inside the lab, as a playbook runs it.
    lab("run", *COMMAND, "reboot", "idc1")
    assert lab("exec", "idc1", "sh", "-c", "ls /root/kept; sysctl -n net.ipv4.ip_forward") == "/root/kept\n0\n"
    assert try_lab("exec", "idc1", "ip", "link", "show", "tunnel").returncode == 1
    assert lab("exec", "idc1", "cat", "/sys/class/net/eth0/address") == mac
    assert {name: pid for name, pid in pids().items() if name != "idc1"} == others
    assert pings("cloud1", IDC1)


@pytest.mark.usefixtures("running")
def test_up_restarts_only_broken_hosts() -> None:
    before = pids()
    # Kill all processes of one host, and delete the link of another and the namespace of a third one.
    for group in [top / f"tke-{NAME}" / "cloud1" for top in cgroup.hierarchies()][:1]:
        for listing in group.rglob("cgroup.procs"):
            for pid in listing.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "-n", f"{PREFIX}router", "link", "del", "p-cloud2"], check=True)
    subprocess.run(["ip", "netns", "del", f"{PREFIX}idc2"], check=True)
    done = try_lab("status")
    assert done.returncode == 1
    assert done.stdout.count("down: ") == 3
    output = lab("up")
    assert "up: 8 hosts, 3 started now" in output
    assert {name for name, pid in pids().items() if pid != before[name]} == {"cloud1", "cloud2", "idc2"}
    assert pings("cloud1", CLOUD2)


@pytest.mark.usefixtures("running")
def test_up_adds_and_removes_hosts_of_the_inventory(tmp_path: Path) -> None:
    more = tmp_path / "more.yml"
    more.write_text("all: {children: {idc: {hosts: {idc3: {ansible_host: 192.168.1.13}}}}}\n")
    assert "up: 9 hosts, 1 started now" in lab("-i", str(inventory.DEFAULT), "-i", str(more), "up")
    assert pings("cloud1", "192.168.1.13")
    output = lab("up")
    assert "idc3" in output
    assert "removed: no longer in the inventory" in output
    assert sorted(status()) == HOSTS
    assert not (STATE / "hosts" / "idc3").exists()


@pytest.mark.usefixtures("running")
def test_up_keeps_a_port_that_a_test_opened() -> None:
    rule = ["nft", "insert", "rule", "inet", "lab", "forward", "tcp", "dport", "7777", "accept"]
    with inside(f"{PREFIX}router"):
        subprocess.run(rule, check=True)
    assert connects("idc1", CLOUD1, 7777)
    lab("up")
    assert connects("idc1", CLOUD1, 7777)


# --- the roles of the lab ---


def play(*words: str) -> str:
    playbook = str(Path(__file__).with_name("roles.yml"))
    return lab("run", "ansible-playbook", "-i", str(inventory.DEFAULT), playbook, *words)


@pytest.mark.usefixtures("running")
def test_roles_start_pods_and_the_api_server() -> None:
    assert "changed=0" not in play()
    matrix = json.loads((STATE / "pod-matrix.json").read_text())
    assert len(matrix) == 4
    assert all(pair["small"] and pair["full"] and pair["mtu"] == 1400 for pair in matrix)
    assert play().count("changed=0") == 3
    ready = "https://10.0.1.21:6443/readyz"
    assert lab("exec", "api1", "curl", "-sS", "--cacert", "/etc/lab-apiserver/ca.crt", ready) == "ok"
    assert (STATE / "api-ca.crt").read_text() == lab("exec", "api1", "cat", "/etc/lab-apiserver/ca.crt")

    # Pods are created again after a reboot, and after a change of their network.
    lab("reboot", "cloud1")
    assert "changed=1 " in play("--limit", "cloud1")
    assert "changed=2 " in play("--limit", "cloud1", "-e", "pod_mtu=1300", "-e", "lab_pods_per_node=1")
    assert "mtu 1300" in lab("exec", "cloud1", "ip", "-n", "pod-1", "link", "show", "eth0")
    assert len(json.loads(lab("exec", "cloud1", "lab-pod", "list"))) == 1


# --- down, and interrupted commands ---


@pytest.mark.usefixtures("running")
def test_down_kills_processes_in_the_lab() -> None:
    with subprocess.Popen([*COMMAND, "run", "sleep", "300"], env=ENV) as stray:
        while Path(f"/proc/{stray.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.01)
        # Run inside the lab: `down` spares its own ancestors.
        assert "ended sleep" in lab("run", *COMMAND, "down")
        assert stray.wait(timeout=10) == -signal.SIGKILL
    assert left_behind() == []


@pytest.mark.parametrize(
    ("line", "seconds"),
    [
        ("inventory", 0.0),
        ("inventory", 0.04),
        ("router", 0.0),
        ("controller", 0.0),
        ("controller", 0.15),
        ("controller", 0.3),
        ("controller", 0.6),
        ("controller", 0.9),
        ("ready", 0.0),
        ("ready", 0.1),
    ],
)
def test_down_cleans_up_after_a_killed_up(line: str, seconds: float) -> None:
    before = own_network()
    with subprocess.Popen([*COMMAND, "up"], env=ENV, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert any(line in output for output in child.stdout)
        time.sleep(seconds)
        child.kill()
    lab("down")
    assert left_behind() == []
    assert own_network() == before


def test_down_cleans_up_after_a_killed_build(tmp_path: Path) -> None:
    packages = tmp_path / "packages.txt"
    packages.write_text("systemd\nhello\n")
    script = (
        "import sys, pathlib; from tkelab import base, inventory, lab, system;"
        "base.PACKAGES = pathlib.Path(sys.argv[1]); lab.up([inventory.DEFAULT], system.Progress())"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(packages)], env=ENV, stdout=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 20
        while not any((tree / "var/lib/dpkg").is_dir() for tree in CACHE.glob("*.new")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.kill()
    assert left_behind() != []
    lab("down")
    assert left_behind() == []
    assert all(base.path(suite).is_dir() for suite in ("bookworm", "trixie", "bullseye"))


def test_up_continues_after_a_killed_up() -> None:
    with subprocess.Popen([*COMMAND, "up"], env=ENV, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert any("ready" in output for output in child.stdout)
        child.kill()
    assert "up: 8 hosts" in lab("up")
    assert all(entry["state"] == "up" for entry in status().values())


def test_two_commands_wait_for_each_other() -> None:
    lab("down")
    first, second = (subprocess.Popen([*COMMAND, "up"], env=ENV, stdout=subprocess.PIPE, text=True) for _ in range(2))
    output = sorted(child.communicate(timeout=60)[0].splitlines()[-1].split("s] ")[1] for child in (first, second))
    assert [line.split("hosts, ")[1] for line in output] == ["0 started now", "8 started now"]


def test_the_readme_names_the_systems_of_the_lab_with_their_versions() -> None:
    suites = {name: host.suite for name, host in inventory.read([inventory.DEFAULT]).hosts.items()}
    text = (REPO / "collections/ansible_collections/tke/overlay/README.md").read_text()
    table = re.search(r"^\| Debian .*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert table is not None
    lines = [line for line in table[0].strip().splitlines() if not line.startswith("|---")]
    head, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
    told = {row[0].split("`")[1]: dict(zip(head, row, strict=True)) for row in rows}
    assert set(told) == {*suites.values(), "sid"}
    for suite, tree in base.ensure(Progress(), suites.values()).items():
        assert told[suite]["hosts of the lab"] == ", ".join(sorted(name for name in suites if suites[name] == suite))
        for package in head[2:]:
            query = ["dpkg-query", f"--admindir={tree}/var/lib/dpkg", "--show", "--showformat=${Version}", package]
            version = subprocess.run(query, capture_output=True, text=True, check=True).stdout.partition(":")
            numbers = re.split(r"[.+-]", version[2] or version[0])
            assert numbers[: told[suite][package].count(".") + 1] == told[suite][package].split("."), (suite, package)

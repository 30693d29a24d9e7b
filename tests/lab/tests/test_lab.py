# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""How the lab reads an inventory, and its errors."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wire

from tkelab import base, checks, cli, inventory, kubernetes, lab, model, net, system

VERBS = ["up", "down", "status", "run", "exec", "reboot", "cut", "heal"]


def document(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "networks": {
            "vpc": {"subnet": "10.0.1.0/24", "mtu": 1500},
            "idc": {"subnet": "192.168.1.0/24", "mtu": 1450},
            "controller": {"subnet": "198.18.0.0/24", "mtu": 1500},
        },
        "hosts": {"cloud1": "10.0.1.11", "idc1": "192.168.1.11"},
        "controller": "198.18.0.10",
        "policy": [{"from": ["idc"], "to": ["vpc"], "udp": 8472}],
    }
    return {**made, **changes}


# --- reading ---


def test_reads_the_inventory_of_the_checkout() -> None:
    made = inventory.read([inventory.DEFAULT])
    assert {name: str(host.address) for name, host in made.hosts.items()} == {
        "cloud1": "10.0.1.11",
        "cloud2": "10.0.1.12",
        "idc1": "192.168.1.11",
        "idc2": "192.168.1.12",
        "clb1": "10.0.2.11",
        "clb2": "10.0.2.12",
        "api1": "10.0.1.21",
        "api2": "10.0.1.22",
    }
    assert {name: host.network.mtu for name, host in made.hosts.items() if host.network.name == "idc"} == {
        "idc1": 1450,
        "idc2": 1450,
    }
    assert {flow.port for flow in made.flows if flow.protocol == "udp"} == {8472}


def test_a_second_inventory_adds_a_host(tmp_path: Path) -> None:
    more = tmp_path / "more.yml"
    more.write_text("all: {children: {idc: {hosts: {idc3: {ansible_host: 192.168.1.13}}}}}\n")
    made = inventory.read([inventory.DEFAULT, more])
    assert made.host("idc3").network.name == "idc"
    assert len(made.hosts) == 9


def test_subnet6_gives_hosts_ipv6_addresses_of_the_same_number() -> None:
    made = inventory.read([inventory.DEFAULT])
    assert [str(address) for address in made.host("cloud1").addresses] == ["10.0.1.11", "fd00:10:0:1::11"]
    assert [str(address) for address in made.host("idc2").addresses] == ["192.168.1.12", "fd00:192:168:1::12"]
    assert [str(address) for address in made.host("clb1").addresses] == ["10.0.2.11"]
    assert [str(gateway) for gateway in made.networks["vpc"].gateways] == ["10.0.1.1", "fd00:10:0:1::1"]
    assert made.networks["vpc"].interface(made.host("cloud1").addresses[1]) == "fd00:10:0:1::11/64"


def test_rejects_an_invalid_subnet6() -> None:
    networks = {
        "a": {"subnet": "10.0.1.0/24", "subnet6": "fd00::/64", "mtu": 1500},
        "b": {"subnet": "10.0.2.0/24", "subnet6": "fd00::/48", "mtu": 1500},
        "c": {"subnet": "10.0.3.0/24", "subnet6": "10.0.4.0/24", "mtu": 1500},
        "d": {"subnet": "10.0.5.0/24", "subnet6": "fd01::/112", "mtu": 1500},
    }
    with pytest.raises(system.LabError) as caught:
        model.build(document(networks=networks))
    message = str(caught.value)
    assert "networks a (fd00::/64) and b (fd00::/48) overlap" in message
    assert "network c: subnet6 must be an IPv6 network" in message
    assert "network d: subnet6 fd01::/112 requires an IPv4 subnet, and a prefix of /64 or shorter" in message


def test_router_macs_are_stable_and_unique() -> None:
    one, two = (network.mac for network in list(model.build(document()).networks.values())[:2])
    assert one != two
    assert {one, two} == {net.mac for net in list(model.build(document()).networks.values())[:2]}
    assert int(one[:2], 16) & 3 == 2  # locally administered, unicast


def test_ignores_hosts_without_an_address() -> None:
    common = {"lab_networks": {}, "lab_controller": "198.18.0.10", "lab_policy": []}
    hostvars = {
        "cloud1": {**common, "ansible_host": "10.0.1.11"},
        "localhost": common,
        "here": {**common, "ansible_host": "127.0.0.1", "ansible_connection": "local"},
    }
    assert inventory.document({"_meta": {"hostvars": hostvars}})["hosts"] == {"cloud1": "10.0.1.11"}


def test_a_port_can_be_the_name_of_a_variable() -> None:
    variables = {
        "ansible_host": "10.0.1.11",
        "overlay_port": 4789,
        "lab_networks": {},
        "lab_controller": "198.18.0.10",
        "lab_policy": [{"from": ["idc"], "to": ["vpc"], "udp": "overlay_port"}],
    }
    read = inventory.document({"_meta": {"hostvars": {"cloud1": variables}}})
    assert read["policy"] == [{"from": ["idc"], "to": ["vpc"], "udp": 4789}]


def test_rejects_an_inventory_without_lab_variables() -> None:
    with pytest.raises(system.LabError, match="does not describe a lab: set lab_networks, lab_controller, lab_policy"):
        inventory.document({"_meta": {"hostvars": {"a": {"ansible_host": "10.0.0.1"}}}})


def test_rejects_a_missing_inventory(tmp_path: Path) -> None:
    with pytest.raises(system.LabError, match=r"no such inventory: .*nowhere\.yml"):
        inventory.read([tmp_path / "nowhere.yml"])


# --- invalid inventories: one error with all problems ---


def test_lists_all_problems_of_hosts() -> None:
    hosts = {
        "a": "10.0.1.11",
        "b": "10.0.1.11",
        "far": "10.9.9.9",
        "gate": "10.0.1.1",
        "named": "cloud.example",
        "router": "10.0.1.30",
        "under_score": "10.0.1.31",
        "me": "198.18.0.10",
    }
    with pytest.raises(system.LabError) as caught:
        model.build(document(hosts=hosts))
    message = str(caught.value)
    assert "hosts a and b: have the same address 10.0.1.11" in message
    assert "host far: 10.9.9.9 is outside of all lab networks (vpc 10.0.1.0/24, idc" in message
    assert "host gate: 10.0.1.1 is the gateway of network vpc" in message
    assert "host named: 'cloud.example' is not a numeric address" in message
    assert "host router: the name is reserved for the router of the lab" in message
    assert "host under_score: the name is not a valid hostname" in message
    assert "hosts me and controller: have the same address 198.18.0.10" in message


def test_lists_all_problems_of_networks_and_policy() -> None:
    networks = {
        "vpc": {"subnet": "10.0.0.0/16", "mtu": 1500},
        "inner": {"subnet": "10.0.1.0/24", "mtu": 1500},
        "no-mtu": {"subnet": "10.1.0.0/24"},
        "much-too-long-a-name": {"subnet": "10.2.0.0/24", "mtu": 1500},
    }
    policy = [
        {"from": ["moon"], "to": ["vpc"]},
        {"from": ["vpc"]},
        {"from": ["vpc"], "to": ["vpc"], "udp": "overlay_prot"},
        {"from": ["vpc"], "to": ["vpc"], "sctp": 1},
    ]
    with pytest.raises(system.LabError) as caught:
        model.build(document(networks=networks, policy=policy, controller="10.2.0.2"))
    message = str(caught.value)
    assert "networks vpc (10.0.0.0/16) and inner (10.0.1.0/24) overlap" in message
    assert "network no-mtu: needs a subnet and an mtu" in message
    assert "network much-too-long-a-name: the name must have at most 12" in message
    assert "names unknown networks: moon" in message
    assert "{'from': ['vpc']} needs `from` and `to`" in message
    assert "'overlay_prot' is neither a port nor a variable that holds one" in message
    assert "may have either `tcp` or `udp`" in message


def test_rejects_an_inventory_without_hosts() -> None:
    with pytest.raises(system.LabError, match="no host of the inventory has an ansible_host"):
        model.build(document(hosts={}))


def test_an_unknown_host_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(system.LabError, match="no host 'idc9'; it has: cloud1, idc1"):
        model.build(document()).host("idc9")


# --- names, MACs and rules ---


def test_interface_names_are_short_and_unique() -> None:
    long = [f"a-host-with-quite-a-name-{n}" for n in range(100)]
    ports = {model.port_name(name) for name in [*long, "cloud1"]}
    assert len(ports) == 101
    assert max(map(len, ports)) <= 15
    assert "p-cloud1" in ports


def test_host_macs_are_stable_and_unique() -> None:
    one, two = model.build(document()).hosts.values()
    assert one.mac == model.build(document()).host(one.name).mac != two.mac
    assert int(one.mac[:2], 16) & 3 == 2  # locally administered, unicast


def test_router_rules_follow_the_policy() -> None:
    policy = [
        {"from": ["controller"], "to": ["vpc", "idc"], "tcp": 22},
        {"from": ["idc"], "to": ["vpc"], "udp": 8472},
        {"from": ["vpc"], "to": ["vpc"]},
    ]
    assert net.ruleset(model.build(document(policy=policy))).splitlines() == [
        "table inet lab",
        "delete table inet lab",
        "table inet lab {",
        "  chain untracked {",
        "    type filter hook prerouting priority raw; policy accept;",
        '    iifname { "br-idc" } udp dport 8472 notrack',
        "  }",
        "  chain forward {",
        "    type filter hook forward priority filter; policy drop;",
        "    ct state established,related accept",
        '    iifname { "br-controller" } oifname { "br-vpc", "br-idc" } tcp dport 22 accept',
        '    iifname { "br-idc" } oifname { "br-vpc" } udp dport 8472 accept',
        '    iifname { "br-vpc" } oifname { "br-vpc" } accept',
        "    meta l4proto { 1, 58 } accept",
        "  }",
        "}",
        "table bridge lab_lines",
        "delete table bridge lab_lines",
    ]


BRANCH = {"subnet": "192.168.9.0/24", "mtu": 1500, "nat": True}


def test_a_network_behind_nat_is_called_by_policy_only() -> None:
    networks = {**document()["networks"], "branch": BRANCH}
    policy = [
        {"from": ["controller"], "to": ["branch"], "tcp": 22},
        {"from": ["branch"], "to": ["vpc"], "udp": 51820},
        {"from": ["vpc"], "to": ["idc"], "udp": 51820},
    ]
    lines = net.ruleset(model.build(document(networks=networks, policy=policy))).splitlines()
    assert '    iifname { "br-branch" } oifname != { "br-branch" } masquerade' in lines
    # An answer to a translated address is found in the connections, which untracked packets have not.
    assert [line for line in lines if "notrack" in line] == [
        '    iifname { "br-vpc" } fib daddr type != local udp dport 51820 notrack'
    ]
    drop = lines.index('    oifname { "br-branch" } drop')
    assert lines.index('    iifname { "br-controller" } oifname { "br-branch" } tcp dport 22 accept') < drop
    assert drop < lines.index("    meta l4proto { 1, 58 } accept")


def test_a_line_has_its_mtu_in_both_directions() -> None:
    made = model.build(document(lines=[{"between": ["vpc", "idc"], "mtu": 1380}]))
    assert net.line_routes(made).splitlines() == [
        "rule add pref 100 iif br-vpc to 192.168.1.0/24 lookup 1000",
        "route replace 192.168.1.0/24 dev br-idc mtu 1380 table 1000",
        "rule add pref 100 iif br-idc to 10.0.1.0/24 lookup 1001",
        "route replace 10.0.1.0/24 dev br-vpc mtu 1380 table 1001",
    ]
    rules = net.ruleset(made)
    assert '    iifname "br-vpc" oifname "br-idc" meta mark set 0x6c' in rules
    assert "    meta mark 0x6c ip frag-off & 0x3fff != 0 counter name fragments drop" in rules


def test_rejects_a_line_that_is_none() -> None:
    lines = [{"between": ["vpc"], "mtu": 1400}, {"between": ["vpc", "nowhere"], "mtu": 1400}]
    with pytest.raises(system.LabError) as caught:
        model.build(document(lines=lines))
    message = str(caught.value)
    assert "{'between': ['vpc'], 'mtu': 1400} needs `between`, two networks, and an `mtu`" in message
    assert "names unknown networks: nowhere" in message


def test_the_inventory_of_links_has_a_site_behind_nat() -> None:
    lab = inventory.read([inventory.DEFAULT, inventory.DEFAULT.with_name("lab_links") / "hosts.yml"])
    assert lab.hosts["branch1"].network.nat
    assert {(*line.ends, line.mtu) for line in lab.lines} == {
        ("vpc", "idc", 1450),
        ("vpc", "branch", 1380),
        ("idc", "branch", 1380),
    }
    assert not any(network.nat for network in inventory.read([inventory.DEFAULT]).networks.values())


# --- the base tree ---


def test_a_package_list_can_have_comments() -> None:
    assert base.packages("# head\n\nsystemd\nnginx-light  # web\n") == ["systemd", "nginx-light"]


def test_the_base_tree_depends_on_the_packages_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "packages.txt"
    monkeypatch.setattr(base, "PACKAGES", packages)
    paths = []
    for text in ("a\nb\n", "b # first\na\n", "a\nb\nc\n"):
        packages.write_text(text)
        paths.append(base.path("trixie"))
    assert paths[0] == paths[1] != paths[2]


def test_each_suite_has_a_tree_with_packages_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "packages.txt"
    packages.write_text("systemd\n")
    (tmp_path / "packages-trixie.txt").write_text("# more\nkubectl\n")
    monkeypatch.setattr(base, "PACKAGES", packages)
    assert base.packages_of("trixie") == ["systemd", "kubectl"]
    assert base.packages_of("bullseye") == ["systemd"]
    assert base.path("trixie") != base.path("bullseye")


def test_a_tree_with_further_packages_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = tmp_path / "packages.txt"
    packages.write_text("systemd\n")
    (tmp_path / "packages-trixie.txt").write_text("kubectl\n")
    (tmp_path / "packages-trixie+kubernetes.txt").write_text("containerd\nkubectl\n")
    monkeypatch.setattr(base, "PACKAGES", packages)
    assert base.packages_of("trixie") == ["systemd", "kubectl"]
    assert base.packages_of("trixie+kubernetes") == ["systemd", "kubectl", "containerd"]
    assert base.packages_of("bullseye+kubernetes") == ["systemd"]
    assert base.suite_of("trixie+kubernetes") == "trixie"
    assert base.path("trixie+kubernetes").name.split("-")[1] == "trixie+kubernetes"


def test_package_sources_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "/usr/share/keyrings/key.gpg"
    listing = "".join(
        f"{name}|http://mirror{path}|{key}|main\n"
        for name, path in (("bookworm", "/debian"), ("bookworm-updates", "/debian"), ("bookworm-security", "/security"))
    )
    monkeypatch.setattr(base, "own_suite", lambda: "bookworm")
    monkeypatch.setattr(base, "call", lambda *_words: f"{listing}other|http://elsewhere|{key}|main\n")
    assert base.sources("trixie") == [
        f"deb [signed-by={key}] http://mirror/debian trixie main",
        f"deb [signed-by={key}] http://mirror/debian trixie-updates main",
        f"deb [signed-by={key}] http://mirror/security trixie-security main",
    ]
    assert base.sources("sid") == [f"deb [signed-by={key}] http://mirror/debian sid main"]


@pytest.mark.parametrize(("suite", "hosts"), [("sid", ["clb2", "cloud2", "idc2"]), ("bullseye", ["clb1", "clb2"])])
def test_a_further_inventory_changes_the_suites_of_hosts(suite: str, hosts: list[str]) -> None:
    lab = inventory.read([inventory.DEFAULT])
    further = inventory.read([inventory.DEFAULT, inventory.DEFAULT.with_name(f"lab_{suite}") / "hosts.yml"])
    assert [name for name in hosts if further.hosts[name].suite == suite] == hosts
    assert {name: host.suite for name, host in further.hosts.items() if name not in hosts} == {
        name: host.suite for name, host in lab.hosts.items() if name not in hosts
    }


def test_a_host_has_the_suite_of_the_inventory() -> None:
    lab = model.build(document(suites={"idc1": "bullseye"}))
    assert {name: host.suite for name, host in lab.hosts.items()} == {"cloud1": "bookworm", "idc1": "bullseye"}
    with pytest.raises(system.LabError, match="host idc1: lab_suite '12' is not the code name of a Debian suite"):
        model.build(document(suites={"idc1": "12"}))


def test_only_a_host_of_kubernetes_has_its_options(tmp_path: Path) -> None:
    lab = model.build(document(kubernetes=["idc1"], programs="/opt/programs", suites={"idc1": "bullseye"}))
    cloud, idc = lab.hosts["cloud1"], lab.hosts["idc1"]
    assert (cloud.tree, cloud.programs) == ("bookworm", "")
    assert (idc.tree, idc.programs) == ("bullseye+kubernetes", "/opt/programs")
    options = kubernetes.options(idc, tmp_path)
    assert "--bind-ro=/opt/programs:/opt/kubernetes" in options
    assert f"--bind={tmp_path}/outside/var/lib/kubelet:/var/lib/kubelet" in options
    assert (tmp_path / "outside/var/lib/kubelet").is_dir()


def test_kubernetes_requires_its_programs() -> None:
    with pytest.raises(system.LabError, match="hosts cloud1, idc1 have lab_kubernetes: set KUBERNETES_BIN"):
        model.build(document(kubernetes=["cloud1", "idc1"]))


def test_a_host_of_kubernetes_prepares_itself_at_boot(tmp_path: Path) -> None:
    kubernetes.provision(tmp_path)
    assert (tmp_path / "usr/local/sbin/lab-kubernetes-host").stat().st_mode & 0o111
    wanted = tmp_path / "etc/systemd/system/multi-user.target.wants/kubernetes-host.service"
    assert (tmp_path / str(wanted.readlink())[1:]).is_file()


# --- errors of the command line and the machine ---


def test_requires_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for words in (["up"], ["tree", "bookworm"], ["down"], ["status"], ["run", "true"], ["cut", "idc1"]):
        assert cli.main(words) == 1
        assert capsys.readouterr().err == "lab: the lab creates namespaces and mounts: run it as root\n"


def test_names_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None if name in ("nft", "ip", "bridge") else name)
    with pytest.raises(system.LabError, match="missing on this machine: iproute2, nftables; install"):
        checks.machine()


def test_requires_vxlan_in_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 2, "", "Error: Unknown device type.\n")

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr("subprocess.run", refuse)
    with pytest.raises(system.LabError, match="this kernel cannot create a VXLAN link: Error: Unknown device type"):
        checks.machine()


def test_requires_enough_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MB_PER_HOST", 10**9)
    with pytest.raises(system.LabError, match=r"7 hosts need about \d+ MB of memory, and \d+ MB are available"):
        checks.memory(7)
    checks.memory(0)  # a lab that is up needs no more


def test_requires_a_running_lab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "root", lambda: None)
    monkeypatch.setattr(lab, "_SNAPSHOT", tmp_path / "none")
    with pytest.raises(system.LabError, match="the lab is not up; run `lab up`"):
        lab.current()


def test_rejects_an_invalid_lab_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(system, "NAME", "../x")
    assert cli.main(["status"]) == 1
    assert "TKE_LAB='../x'" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_text(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 4


def test_run_requires_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run"]) == 1
    assert capsys.readouterr().err == "lab: the command is missing; see --help\n"


def test_status_prints_a_table_of_hosts() -> None:
    entries: list[dict[str, Any]] = [
        {"host": "cloud1", "pid": 17, "cut": False},
        {"host": "i", "pid": None, "cut": True},
    ]
    assert cli.table(entries) == "HOST    PID  CUT\ncloud1  17   -\ni       -    yes"


# --- the program of `make kubernetes` ---

CLUSTER = system.REPO / "tests/kubernetes_cluster"


def check_programs(*directory: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CLUSTER / "cluster.py"), "--check", *directory]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_make_kubernetes_says_what_it_wants(tmp_path: Path) -> None:
    without = check_programs()
    assert without.returncode == 2
    assert len(without.stderr.splitlines()) == 1
    assert "kubelet, kubeadm, kubectl, coredns; KUBERNETES_BIN is not set." in without.stderr
    servers = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
    for name in (*servers, "kubelet", "kubectl", "coredns"):
        (tmp_path / name).touch(mode=0o755)
    incomplete = check_programs(str(tmp_path))
    assert (incomplete.returncode, f"{tmp_path} lacks kubeadm." in incomplete.stderr) == (2, True)
    (tmp_path / "kubeadm").touch(mode=0o755)
    assert check_programs(str(tmp_path)).returncode == 0


def test_agents_count_sent_and_lost_requests() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{closed.getsockname()[1]}/"
        command = [sys.executable, str(CLUSTER / "files/agent.py"), "ask", url, "3", "100", "0.1"]
        result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert (result["sent"], result["lost"], sum(result["errors"].values())) == (3, 3, 3)
    assert result["gap"] >= 0.02


def test_make_kubernetes_can_follow_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(CLUSTER)
    from kubelab import guide  # noqa: PLC0415 # only this test needs it

    page = guide.PAGE.read_text()
    steps = [guide.commands(guide.step_of(page, number)) for number in guide.STEPS]
    assert all(steps), "each step has a command"
    lines = [line for step in steps for line in step]
    assert {line.split()[0] for line in lines} == {"ansible", "ansible-playbook", "kubeadm", "(umask"}
    assert [line.split()[1] for line in lines if line.startswith("kubeadm")] == ["init", "join"]


# --- packets in clear ---

ONE, OTHER = bytes([10, 244, 0, 2]), bytes([10, 244, 2, 9])
IPV4 = bytes.fromhex("450000200000400040110000")


@pytest.mark.parametrize(
    ("frame", "clear"),
    [
        (bytes(14) + IPV4 + ONE + OTHER, True),
        (bytes(14) + IPV4 + OTHER + ONE, True),
        (bytes(50) + IPV4 + ONE + OTHER + bytes(8), True),  # in VXLAN
        (bytes(14) + IPV4 + ONE + bytes([10, 244, 3, 9]), False),  # to another node
        (bytes(14) + IPV4 + bytes([10, 0, 1, 11, 192, 168, 1, 11]) + bytes(40), False),  # between the hosts
        (bytes(14) + IPV4 + ONE + b"\n\n" + OTHER, False),
    ],
)
def test_a_packet_in_clear_is_known_by_its_addresses(frame: bytes, clear: bool) -> None:
    assert bool(wire.pattern(("10.244.0.0/24", "10.244.2.0/24")).search(frame)) is clear


def test_a_pattern_needs_node_cidrs_of_whole_bytes() -> None:
    with pytest.raises(wire.WireError, match=r"10\.244\.0\.0/25 does not end at a byte"):
        wire.pattern(("10.244.0.0/25", "10.244.2.0/24"))

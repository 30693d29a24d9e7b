# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What prevents Pods from talking: each fault is found and named, and its remedy works. Checking changes nothing."""

from __future__ import annotations

import json
import os

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import port_checks
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import pod_findings
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import (
    BAD,
    NOTE,
    planned_network,
    saved_network,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import read_status
from breakages import PEERS, document, everything

NETWORK = planned_network(document())
VETHS = ("veth00000001", "veth00000002")
RESERVED = "var/lib/cni/networks/tke-overlay"


class Pods:
    """Two Pods on the bridge, in network namespaces with names, as container runtimes create them."""

    def __init__(self, run):
        self.run = run
        self.names = [f"kernel-test-{os.getpid()}-{number}" for number in (1, 2)]

    def start(self):
        self.ip("link add tke-br0 type bridge", "address add 10.244.0.1/24 dev tke-br0", "link set tke-br0 up")
        self.ip("route add default via 10.0.1.1")
        for number, (name, veth) in enumerate(zip(self.names, VETHS, strict=True), 2):
            self.ip(
                f"netns add {name}",
                f"link add {veth} type veth peer name eth0 netns {name}",
                f"link set {veth} master tke-br0 up",
                f"-n {name} address add 10.244.0.{number}/24 dev eth0",
                f"-n {name} link set eth0 up",
            )
            self.sh(f"bridge link set dev {veth} hairpin on")
        while self.ports() != {"forwarding"}:  # the kernel brings a port up a moment later
            pass

    def ports(self):
        rows = json.loads(self.run(["ip", "-json", "-d", "link", "show", "master", "tke-br0"])[1])
        return {row["linkinfo"]["info_slave_data"]["state"] for row in rows}

    def ip(self, *lines):
        for line in lines:
            code, _out, errors = self.run(["ip", *line.split()])
            assert code == 0, (line, errors)

    def sh(self, script):
        code, _out, errors = self.run(["sh", "-c", script])
        assert code == 0, (script, errors)

    def stop(self):
        for name in self.names:
            self.run(["ip", "netns", "del", name])

    def findings(self, network=NETWORK):
        return pod_findings(network, self.run)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The files of a host that has CNI plugins and has given two addresses to Pods."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    monkeypatch.setattr(files.os, "fsync", lambda _descriptor: None)
    plugins = tmp_path / "opt/cni/bin"
    plugins.mkdir(parents=True)
    for name in ("bridge", "host-local", "portmap"):
        (plugins / name).touch(mode=0o755)
    (tmp_path / RESERVED).mkdir(parents=True)
    for name in ("10.244.0.2", "10.244.0.3", "last_reserved_ip.0", "lock"):
        (tmp_path / RESERVED / name).touch()
    return tmp_path


@pytest.fixture
def pods(run, root):
    node.converge(document(), run, check=False)
    started = Pods(run)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def test_a_run_while_a_plugin_is_missing_leaves_the_cni_file(run, root):
    (root / "opt/cni/bin/bandwidth").touch(mode=0o755)
    node.converge(document(), run, check=False)
    assert "bandwidth" in (root / CNI_FILE.lstrip("/")).read_text()
    (root / "opt/cni/bin/bridge").unlink()
    assert node.converge(document(), run, check=True).files == []


def forwarding(link):
    return f"sysctl -qw net.ipv4.conf.{link}.forwarding=0"


# The breakage, the keyword of the check, what the finding must contain.
BREAKAGES = [
    ("sysctl -qw net.ipv4.ip_forward=0", "forwarding", ["net.ipv4.ip_forward is 0"]),
    (forwarding("tke0"), "forwarding", ["net.ipv4.conf.tke0.forwarding is 0", "from other nodes"]),
    (forwarding("tke-br0"), "forwarding", ["net.ipv4.conf.tke-br0.forwarding is 0"]),
    (forwarding("eth0"), "forwarding", ["net.ipv4.conf.eth0.forwarding is 0", "outside the cluster"]),
    ("sysctl -qw net.bridge.bridge-nf-call-iptables=0", "bridge_netfilter", ["bridge-nf-call-iptables is 0"]),
    ("ip link set tke-br0 down", "bridge", ["tke-br0 is down"]),
    ("ip address del 10.244.0.1/24 dev tke-br0", "bridge", ["10.244.0.1/24", "gateway"]),
    ("ip link set veth00000001 nomaster", "port", ["veth00000001 (Pod address 10.244.0.2)", "not on the Pod bridge"]),
    (
        "ip link add other type bridge && ip link set veth00000002 master other",
        "port",
        ["veth00000002 (Pod address 10.244.0.3)", "not on the Pod bridge tke-br0: this Pod reaches nothing"],
    ),
    (
        "for veth in veth00000001 veth00000002; do ip link set $veth nomaster; done",
        "port",
        ["veth00000001 (Pod address 10.244.0.2), veth00000002 (Pod address 10.244.0.3) are not on"],
    ),
    ("ip link set veth00000001 down", "port", ["veth00000001 is down"]),
    ("bridge link set dev veth00000001 isolated on", "port", ["veth00000001", "isolated"]),
    ("bridge link set dev veth00000001 hairpin off", "port", ["veth00000001", "a Pod does not reach itself"]),
    ("bridge link set dev veth00000001 bcast_flood off", "port", ["veth00000001", "without broadcasts"]),
]


@pytest.mark.parametrize(("breakage", "check", "words"), BREAKAGES, ids=[line for line, *_others in BREAKAGES])
def test_finds_what_stops_pods_and_its_remedy_works(pods, breakage, check, words):
    assert pods.findings() == []
    pods.sh(breakage)
    (finding,) = pods.findings()
    assert (finding.check, finding.severity) == (check, BAD)
    for word in words:
        assert word in finding.text
    pods.sh(finding.remedy)
    assert [each for each in pods.findings() if "hairpin" not in each.text] == []


@pytest.mark.parametrize(
    ("breakage", "words"),
    [
        ("ip rule add from 10.244.0.0/16 unreachable", ["from 10.244.0.2 on tke-br0 to 10.244.1.2 on tke0: RTNETLINK"]),
        ("ip route add 10.244.0.0/25 dev eth0", ["to 10.244.0.2 on tke-br0: it sends them to eth0"]),
        ("ip route add blackhole 10.244.1.0/25", ["to 10.244.1.2 on tke0"]),
    ],
)
def test_asks_the_kernel_where_packets_of_pods_go(pods, breakage, words):
    pods.sh(breakage)
    found = pods.findings()
    assert {each.check for each in found} == {"route"}
    for word in words:
        assert any(word in each.text for each in found)
    assert "ip route get" in found[0].remedy


@pytest.mark.parametrize(
    "breakage",
    ["nft delete table inet tke_overlay", "nft flush ruleset", "nft flush chain inet tke_overlay nat"],
)
def test_names_missing_masquerading(pods, breakage):
    pods.sh(breakage)
    (finding,) = pods.findings()
    assert finding.check == "rules"
    assert "inet tke_overlay" in finding.text


def test_a_firewall_that_drops_packets_of_pods(pods):
    pods.sh("nft add table ip x && nft add chain ip x f '{ type filter hook forward priority 0; policy drop; }'")
    (finding,) = pods.findings()
    assert (finding.check, finding.severity) == ("firewall", BAD)


def test_bridge_netfilter_may_be_on_for_the_bridge_alone(pods):
    pods.sh("sysctl -qw net.bridge.bridge-nf-call-iptables=0 && ip link set tke-br0 type bridge nf_call_iptables 1")
    assert pods.findings() == []


def test_a_missing_module_is_a_fault_only_where_pods_run(pods, root, tmp_path, monkeypatch):
    empty = tmp_path / "sysctls"
    empty.mkdir()
    monkeypatch.setattr(files, "PROC_SYS", str(empty))
    (finding,) = pods.findings()
    assert (finding.check, finding.severity) == ("bridge_netfilter", BAD)
    assert finding.remedy.startswith("modprobe br_netfilter")
    pods.run(["ip", "link", "del", "tke-br0"])
    pods.stop()
    (root / RESERVED).rename(root / "elsewhere")
    assert [(each.check, each.severity) for each in pods.findings()] == [("bridge_netfilter", NOTE)]


@pytest.mark.parametrize(("count", "found"), [(97, []), (98, ["conntrack"]), (100, ["conntrack"])])
def test_a_full_table_of_connections(pods, tmp_path, monkeypatch, count, found):
    values = {
        "netfilter/nf_conntrack_count": count,
        "netfilter/nf_conntrack_max": 100,
        "bridge/bridge-nf-call-iptables": 1,
    }
    for name, value in values.items():
        (tmp_path / "sysctls/net" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sysctls/net" / name).write_text(f"{value}\n")
    monkeypatch.setattr(files, "PROC_SYS", str(tmp_path / "sysctls"))
    assert [each.check for each in pods.findings()] == found


def test_a_node_without_pods_has_no_bridge_and_no_finding(run, root):
    node.converge(document(), run, check=False)
    assert pod_findings(NETWORK, run) == []
    run(["sysctl", "-qw", "net.ipv4.conf.default.forwarding=0"])
    (note,) = pod_findings(NETWORK, run)
    assert note.severity == NOTE
    assert "net.ipv4.conf.default.forwarding is 0" in note.text


def test_a_bridge_without_pods_is_no_fault(run, root):
    node.converge(document(), run, check=False)
    run(["ip", "link", "add", "tke-br0", "type", "bridge"])
    assert pod_findings(NETWORK, run) == []


def test_links_of_other_programs_are_no_pods(pods):
    pods.ip("link add docker0 type bridge", "link set docker0 up")
    pods.ip(f"link add veth0000abcd type veth peer name eth1 netns {pods.names[0]}")
    pods.ip("link set veth0000abcd master docker0 up", f"-n {pods.names[0]} address add 172.17.0.2/16 dev eth1")
    pods.ip(f"link add veth0000abce type veth peer name eth2 netns {pods.names[0]}", "link set veth0000abce up")
    assert pods.findings() == []


def test_a_bridge_that_is_gone(pods):
    pods.ip("link del tke-br0")
    (finding,) = pods.findings()
    assert "the Pod bridge tke-br0 is missing" in finding.text
    assert "10.244.0.3" in finding.text
    assert finding.remedy.startswith("sh /etc/tke-overlay/restore")


@pytest.mark.parametrize("content", ['{"cniVersion": "1.0.0", "name": "app", "plugins": null}', "[]", "{", "\\"])
def test_foreign_cni_files_of_any_content_are_found(pods, root, content):
    (root / "etc/cni/net.d/05-app.conflist").write_text(content)
    assert [each.check for each in pods.findings()] == ["foreign_cni"]


@pytest.mark.parametrize("link", ["eth0", "tke-wg0"])
def test_links_of_the_plan_must_forward(pods, link):
    linked = NETWORK._replace(linked=True, local="10.0.1.11")
    pods.ip("tuntap add tke-wg0 mode tun", "route del default")
    assert pods.findings(linked) == []
    pods.sh(forwarding(link))
    (finding,) = pods.findings(linked)
    assert f"net.ipv4.conf.{link}.forwarding is 0: packets from other nodes" in finding.text
    assert pods.findings() == []


def test_checking_changes_nothing(pods):
    pods.sh(forwarding("tke0"))
    pods.sh("bridge link set dev veth00000001 isolated on")

    def listed():
        """Return what the kernel lists, except what the bridge learns from its Pods at any time."""
        return {command: rows for command, rows in everything(pods.run).items() if not command.startswith("bridge")}

    before = listed()
    assert len(pods.findings()) == 2
    assert listed() == before


@pytest.mark.parametrize("reserved", [True, False])
def test_names_addresses_of_a_former_node_cidr(pods, root, reserved):
    """The host was released and added again: its Pods still have addresses of 10.244.0.0/24."""
    moved = [PEERS[0]._replace(node_cidr="10.244.9.0/24"), *PEERS[1:]]
    if not reserved:
        (root / RESERVED).rename(root / "elsewhere")
    node.converge(document(moved, former="10.244.0.0/24 me\n"), pods.run, check=False)
    (finding,) = pods.findings(saved_network())
    assert finding.check == "old_address"
    for word in ("2 running Pods", "10.244.9.0/24", "10.244.0.2, 10.244.0.3"):
        assert word in finding.text
    assert "Delete these Pods" in finding.remedy
    pods.stop()
    assert [each for each in pods.findings(saved_network()) if each.check == "old_address"] == []


def record(root, number, veth, address, sandbox):
    """Write what libcni caches for a Pod that containerd has started."""
    directory = root / "var/lib/cni/results"
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"tke-overlay-{number:064x}-eth0"
    cached = {
        "kind": "cniCacheV1",
        "containerId": f"{number:064x}",
        "ifName": "eth0",
        "networkName": "tke-overlay",
        "cniArgs": [["IgnoreUnknown", "1"], ["K8S_POD_NAMESPACE", "default"], ["K8S_POD_NAME", f"web-{number}"]],
        "result": {
            "cniVersion": "0.4.0",
            "interfaces": [{"name": "tke-br0"}, {"name": veth}, {"name": "eth0", "sandbox": sandbox}],
            "ips": [{"version": "4", "interface": 2, "address": f"{address}/24"}],
        },
    }
    path.write_text(json.dumps(cached))
    return path


def test_names_pods_as_their_runtime_records_them(pods, root, monkeypatch):
    monkeypatch.setattr(port_checks.time, "sleep", lambda _seconds: None)
    for number, (veth, address) in enumerate(zip(VETHS, ("10.244.0.2", "10.244.0.3"), strict=True)):
        (root / "run/netns").mkdir(parents=True, exist_ok=True)
        (root / f"run/netns/cni-{number}").touch()
        path = record(root, number, veth, address, f"/run/netns/cni-{number}")
    assert pods.findings() == []
    pods.ip("link set veth00000001 nomaster")
    (finding,) = pods.findings()
    assert "veth00000001 (Pod default/web-0, 10.244.0.2) is not on the Pod bridge" in finding.text
    pods.ip("link set veth00000001 master tke-br0")
    pods.sh("bridge link set dev veth00000001 hairpin on")
    pods.ip("link del veth00000002")
    (finding,) = pods.findings()
    assert "default/web-1 (veth00000002)" in finding.text
    assert finding.remedy.endswith("kubectl delete pod -n default web-1")
    path.unlink()  # the Pod was just being deleted
    assert pods.findings() == []
    elsewhere = NETWORK._replace(node_cidr="10.244.9.0/24")
    old = [each for each in pods.findings(elsewhere) if each.check == "old_address"]
    assert "10.244.0.2 (default/web-0)" in old[0].text
    assert old[0].remedy.endswith("kubectl delete pod -n default web-0")


def test_status_lists_the_findings(pods):
    assert read_status(pods.run, document(), [])["pods"] == []
    pods.sh(forwarding("tke-br0"))
    (finding,) = read_status(pods.run, document(), [])["pods"]
    assert finding == {
        "check": "forwarding",
        "text": "net.ipv4.conf.tke-br0.forwarding is 0: Pods reach only other Pods of this host",
        "remedy": "sysctl -w net.ipv4.conf.tke-br0.forwarding=1",
        "severity": "bad",
    }


def test_what_cannot_be_read_is_a_note(pods):
    def run(command, text):
        return (1, "", "Operation not permitted") if command[0] == "nft" else pods.run(command, text)

    (note,) = pod_findings(NETWORK, run)
    assert note.severity == NOTE
    assert "Operation not permitted" in note.text


def test_damaged_files_are_a_note(pods, root):
    summary, settings = root / "etc/tke-overlay/summary", root / "etc/tke-overlay/settings"
    summary.write_text(summary.read_text().replace("10.244.0.0/24", "damaged"))
    settings.write_text(settings.read_text().replace("8472", "x"))
    found = pod_findings(saved_network(), pods.run)
    assert found
    assert {each.severity for each in found} == {NOTE}


def test_a_host_whose_links_cannot_be_read_does_not_fail(pods):
    (note,) = pod_findings(NETWORK, lambda _command, _text: (1, "", "no"))
    assert (note.check, note.severity) == ("links", NOTE)

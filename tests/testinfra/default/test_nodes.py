# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of the state of every node after the site playbook, computed here from the ledger alone."""

from __future__ import annotations

import json
import subprocess

import pytest

from stories import NODES, SOCKETS, SSH_CONFIG, ledger
from tkelab.model import netns_name

# All commands for a host use one persistent connection.
testinfra_hosts = [f"ssh://{name}?ssh_config={SSH_CONFIG}&controlpath={SOCKETS}/nodes-{name}" for name in NODES]


def mac_of(node_cidr):
    return "0a:58:" + ":".join(f"{int(byte):02x}" for byte in node_cidr.split("/")[0].split("."))


@pytest.fixture
def own(host):
    return ledger()["nodes"][host.backend.host.name]


@pytest.fixture
def peers(host):
    return [held for name, held in ledger()["nodes"].items() if name != host.backend.host.name]


def listed(host, command):
    return json.loads(host.check_output(command))


def test_the_vtep_is_derived_from_the_node_cidr(host, own):
    (link,) = listed(host, "ip -json -details address show dev tke0")
    assert link["address"] == mac_of(own["node_cidr"])
    assert link["mtu"] == 1400, "the smallest underlay MTU (1450, in the IDC) minus 50"
    data = link["linkinfo"]["info_data"]
    assert (data["id"], data["port"], data["local"], data["learning"]) == (1, 8472, own["underlay"], False)
    (address,) = link["addr_info"]
    assert (address["local"], address["prefixlen"]) == (own["node_cidr"].split("/")[0], 32)


def test_each_peer_has_exactly_three_kernel_objects(host, own, peers):
    neighbors = {(row["dst"], row["lladdr"]) for row in listed(host, "ip -json neigh show dev tke0 nud permanent")}
    assert neighbors == {(peer["node_cidr"].split("/")[0], mac_of(peer["node_cidr"])) for peer in peers}
    fdb = {(row["mac"], row["dst"]) for row in listed(host, "bridge -json fdb show dev tke0")}
    assert fdb == {(mac_of(peer["node_cidr"]), peer["underlay"]) for peer in peers}
    routes = listed(host, "ip -json route show proto tke")  # the name of 144, which the collection installs
    assert {(row["dst"], row.get("gateway")) for row in routes} == {
        (peer["node_cidr"], peer["node_cidr"].split("/")[0]) for peer in peers
    } | {(own["node_cidr"], None)}
    assert [row["type"] for row in routes if row["dst"] == own["node_cidr"]] == ["blackhole"]


def test_pods_have_an_address_of_the_node_cidr_and_the_mtu(host, own):
    conflist = json.loads(host.file("/etc/cni/net.d/10-tke-overlay.conflist").content_string)
    bridge = conflist["plugins"][0]
    (scope,) = bridge["ipam"]["ranges"][0]
    assert scope["subnet"] == own["node_cidr"]
    assert bridge["mtu"] == 1400
    interface = listed(host, "ip -netns pod-1 -json address show dev eth0")[0]
    assert interface["mtu"] == 1400
    assert interface["addr_info"][0]["local"].rpartition(".")[0] == own["node_cidr"].rpartition(".")[0]


def test_the_cni_file_uses_the_plugins_of_the_host(host):
    conflist = json.loads(host.file("/etc/cni/net.d/10-tke-overlay.conflist").content_string)
    assert [each["type"] for each in conflist["plugins"]] == ["bridge", "portmap", "bandwidth"]
    release = host.file("/etc/debian_version").content_string
    old, newest = release.startswith("11."), ["1.1.0"] if "sid" in release else []
    assert conflist["cniVersion"] == ("0.4.0" if old else "1.0.0")
    assert conflist.get("cniVersions") == (None if old else ["0.4.0", "1.0.0", *newest])
    recorded = json.loads(host.file("/var/lib/lab-pods/pod-1.json").content_string)
    assert recorded["result"]["cniVersion"] == conflist["cniVersion"], "the plugins answer in this version"


def test_an_older_nft_reads_the_rules(host):
    """A container such as that of kube-proxy has an nft of its own. nft 1.0.6 crashes on some sets that 1.1.3 makes."""
    enter = ["ip", "netns", "exec", netns_name(host.backend.host.name)]
    listed = subprocess.run([*enter, "nft", "list", "ruleset"], capture_output=True, text=True, check=False)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "table inet tke_overlay" in listed.stdout


def test_the_host_forwards_packets_also_after_a_reboot(host):
    assert host.sysctl("net.ipv4.ip_forward") == 1
    assert "net.ipv4.ip_forward = 1" in host.file("/etc/sysctl.d/99-tke-overlay.conf").content_string
    links = ("tke0", "tke-br0", "eth0")
    assert [host.sysctl(f"net.ipv4.conf.{link}.forwarding") for link in links] == [1, 1, 1]


def test_bridged_packets_pass_the_address_translation_also_after_a_reboot(host):
    assert [host.sysctl(f"net.bridge.bridge-nf-call-{name}") for name in ("iptables", "ip6tables")] == [1, 1]
    assert "br_netfilter" in host.file("/etc/modules-load.d/tke-overlay.conf").content_string
    assert "net.bridge.bridge-nf-call-iptables = 1" in host.file("/etc/sysctl.d/99-tke-overlay.conf").content_string


def test_packets_to_unused_pod_addresses_stay_on_the_host(host, own):
    """The Pod bridge has the node CIDR; without the bridge the blackhole route applies, not the default route."""
    unused = own["node_cidr"].replace(".0/24", ".250")
    assert host.run(f"ip route get {unused}").stdout.startswith(f"{unused} dev tke-br0")
    host.check_output("ip link set tke-br0 down")
    try:
        assert "Invalid argument" in host.run(f"ip route get {unused}").stderr, (
            "the kernel's error for a blackhole route"
        )
    finally:
        host.check_output("ip link set tke-br0 up")


def test_only_peers_may_send_to_the_tunnel_port(host, peers):
    rows = listed(host, "nft -j list set inet tke_overlay peers4")["nftables"]
    (found,) = [row["set"]["elem"] for row in rows if "set" in row]
    assert set(found) == {peer["underlay"] for peer in peers}


def test_the_applied_state_is_saved_for_the_units(host, peers):
    def lines(table):
        return host.file(f"/etc/tke-overlay/{table}.batch").content_string.splitlines()

    assert [len(lines(table)) for table in ("neighbor", "fdb", "route")] == [len(peers), len(peers), len(peers) + 1]
    assert host.service("tke-overlay.service").is_enabled
    assert host.service("tke-overlay.timer").is_enabled
    assert host.service("tke-overlay.timer").is_running

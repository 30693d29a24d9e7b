# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Tests of what on a host keeps its packets from the load balancer: each is on a real kernel, and named."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.arp import macs_of
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import (
    EndpointCheckError,
    EndpointTarget,
    TlsClient,
    wait_for_endpoint,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.obstacles import find_obstacles, local_warning
from breakages import broken

VIP = "10.0.2.2"


def apply(run, *commands):
    for command in commands:
        if command.startswith("nft "):
            code, _out, errors = run(["nft", "-f", "-"], command[4:])
            assert code == 0, errors
        else:
            broken(run, command)


LOCAL = {
    "kube-proxy": (
        ["ip link add kube-ipvs0 type bridge", f"ip address add {VIP}/32 dev kube-ipvs0"],
        [
            "link kube-ipvs0 of this host itself",
            "kube-proxy in IPVS mode",
            f"kubectl get services -A -o wide | grep -w {VIP}",
        ],
    ),
    "loopback": ([f"ip address add {VIP}/32 dev lo"], ["link lo of this host itself", f"ip address del {VIP} dev lo"]),
    "own address": ([f"ip address add {VIP}/24 dev eth0"], ["link eth0 of this host itself", "overlay_clb_vips"]),
    "local route": (
        [f"ip route add local {VIP} dev lo table local"],
        ["do not leave this host", f"local {VIP} dev lo", "remove that route"],
    ),
}


@pytest.mark.parametrize("case", LOCAL)
def test_names_the_link_that_has_the_address(run, case):
    commands, words = LOCAL[case]
    assert local_warning(VIP, run) == []
    apply(run, *commands)
    (obstacle,) = find_obstacles(VIP, 6443, run)
    assert [word for word in [VIP, *words] if word not in obstacle] == []
    assert local_warning(VIP, run) == [obstacle]


def test_a_host_of_the_pair_may_have_the_address(run, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    (tmp_path / "etc/tke-overlay/clb").mkdir(parents=True)
    apply(run, f"ip address add {VIP}/32 dev eth0")
    assert local_warning(VIP, run) == []
    (obstacle,) = find_obstacles(VIP, 6443, run)
    assert "one of the pair: HAProxy does not answer here" in obstacle


REMOTE = {
    "blackhole": (["ip route add blackhole 10.0.2.0/24"], ["the route 'blackhole 10.0.2.0/24' of this host discards"]),
    "unreachable": (["ip route add unreachable 10.0.2.2"], ["the route 'unreachable 10.0.2.2'"]),
    "prohibit in a table": (
        ["ip route add prohibit 10.0.2.2 table 77", "ip rule add to 10.0.2.0/24 table 77"],
        ["the route 'prohibit 10.0.2.2 table 77'"],
    ),
    "rule": (["ip rule add to 10.0.2.0/24 prohibit"], ["ip rule: to 10.0.2.0/24 prohibit", "remove it"]),
    "silent gateway": (
        ["ip route add 10.0.2.0/24 via 10.0.1.1", "ip neigh replace 10.0.1.1 dev eth0 nud failed"],
        ["nothing answers for 10.0.1.1 on eth0: the gateway is down"],
    ),
    "silent address": (
        ["ip route add 10.0.2.0/24 dev eth0", "ip neigh replace 10.0.2.2 dev eth0 nud failed"],
        ["nothing answers for 10.0.2.2 on eth0: no host of the pair holds it"],
    ),
    "permanent neighbour": (
        [
            "ip route add 10.0.2.0/24 dev eth0",
            "ip neigh replace 10.0.2.2 lladdr 02:00:00:00:00:09 dev eth0 nud permanent",
        ],
        ["a permanent neighbour entry on eth0 gives 10.0.2.2 the MAC 02:00:00:00:00:09"],
    ),
    "network of containers": (
        ["ip link add docker0 type bridge", "ip link set docker0 up", "ip address add 10.0.2.1/24 dev docker0"],
        ["leave by docker0, a link of type bridge for Pods or containers"],
    ),
    "no carrier": (
        ["ip route add 10.0.2.0/24 dev eth0", "ip link set far down"],
        ["link eth0, by which the packets to 10.0.2.2 leave, is down or has no carrier"],
    ),
    "overlay": (
        [
            "ip link add tke0 type vxlan id 1 dstport 8472 local 10.0.1.11",
            "ip link set tke0 up",
            "ip route add 10.0.2.0/24 dev tke0",
        ],
        ["leave by tke0, a link of type vxlan"],
    ),
    "drop": (
        ["nft table ip n { chain o { type filter hook output priority 0; ip daddr 10.0.2.2 drop; }; }"],
        ["table ip n, chain o: ip daddr 10.0.2.2 drop"],
    ),
    "drop of the subnet": (
        ["nft table inet n { chain o { type filter hook output priority 0; ip daddr 10.0.2.0/24 drop; }; }"],
        ["table inet n, chain o: ip daddr 10.0.2.0/24 drop"],
    ),
    "reject of the port": (
        ["nft table inet n { chain o { type filter hook output priority 0; tcp dport 6443 reject; }; }"],
        ["table inet n, chain o: tcp dport 6443 reject"],
    ),
    "a map": (
        [
            "nft table ip n { map m { type ipv4_addr . inet_service : verdict; elements = {10.0.2.2 . 1 : drop}; }; }",
        ],
        ["table ip n, map m: ", "10.0.2.2"],
    ),
}


@pytest.mark.parametrize("case", REMOTE)
def test_names_what_keeps_packets_from_the_address(run, case):
    commands, words = REMOTE[case]
    apply(run, *commands)
    deadline = time.monotonic() + 5  # the kernel sets the carrier later
    while True:
        text = "; ".join(find_obstacles(VIP, 6443, run))
        missing = [word for word in words if word not in text]
        if not missing or time.monotonic() > deadline:
            break
    assert missing == [], text


@pytest.fixture
def neighbours(run):
    """Return the function that adds a host with the VIP to the network of link br0."""
    apply(run, "ip link add br0 type bridge", "ip link set br0 up", "ip address add 10.0.2.1/24 dev br0")
    processes = []
    own = os.stat("/proc/self/ns/net").st_ino

    def add():
        process = subprocess.Popen(["unshare", "-n", "sleep", "60"])
        processes.append(process)
        while os.stat(f"/proc/{process.pid}/ns/net").st_ino == own:
            pass
        port, inside = f"port{process.pid}", f"nsenter -t {process.pid} -n ip"
        apply(
            run, f"ip link add {port} type veth peer name eth0 netns {process.pid}", f"ip link set {port} master br0 up"
        )
        apply(run, f"{inside} address add {VIP}/24 dev eth0", f"{inside} link set eth0 up")
        return json.loads(run([*inside.split(), "-json", "link", "show", "eth0"])[1])[0]["address"]

    yield add
    for process in processes:
        process.kill()
        process.wait()


def test_names_several_hosts_that_answer_for_the_address(run, neighbours):
    macs = [neighbours()]
    deadline = time.monotonic() + 10
    while macs_of(VIP, "br0", "10.0.2.1", 0.2) != macs:
        assert time.monotonic() < deadline
    assert find_obstacles(VIP, 6443, run) == []
    macs.append(neighbours())
    while len(macs_of(VIP, "br0", "10.0.2.1", 0.2)) < 2:
        assert time.monotonic() < deadline
    (obstacle,) = find_obstacles(VIP, 6443, run)
    assert [word for word in (f"2 hosts answer for {VIP} on br0", *macs) if word not in obstacle] == []
    assert macs_of(VIP, "none", "10.0.2.1") == []


def test_finds_nothing_on_a_host_that_is_not_in_the_way(run):
    apply(
        run,
        "ip route add 10.0.2.0/24 via 10.0.1.1",
        "ip route add blackhole 10.0.3.0/24",
        "ip rule add to 10.0.3.0/24 prohibit",
        "ip neigh replace 10.0.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud reachable",
        "nft table inet n { chain o { type filter hook output priority 0; ip daddr 10.0.2.3 drop; "
        "ip daddr 10.0.2.2 accept; ip saddr 10.0.2.2 drop; tcp dport 64430 drop; udp dport 6443 accept; }; }",
    )
    assert find_obstacles(VIP, 6443, run) == []


@pytest.mark.parametrize("case", ["kube-proxy", "blackhole"])
def test_the_error_of_the_check_names_it(run, case):
    commands, words = {**LOCAL, **REMOTE}[case]
    apply(run, "ip route add default via 10.0.1.1", *commands)
    target = EndpointTarget("api.x", VIP, 6443, [TlsClient("ca", None, "api.x")])
    with pytest.raises(EndpointCheckError) as failed:
        wait_for_endpoint(target, run, 0, ["route", "tcp", "tls"])
    assert failed.value.stage == ("tcp" if case == "kube-proxy" else "route")
    assert [word for word in words if word not in str(failed.value)] == []

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Pods without Kubernetes ask the paths that Pods use: each fault of a host fails, and nothing is left behind.

The restore timer does not run in this scenario, so a fault stays until the test repairs it. tests/kernel kills the
module at every program that it starts; here the whole run is killed, and the timers of systemd clean up.
"""

from __future__ import annotations

import os
import signal

import pytest

from stories import NODES, begin, ended, on, play, states, until

testinfra_hosts = ["local://"]

CNI = "/etc/cni/net.d"
OTHER = f"{CNI}/05-other.conflist"
DROP = "{ type filter hook forward priority 0; policy drop; }"
BRIDGE = "net.ipv4.conf.tke-br0.forwarding"

# Host: what breaks it, what repairs it, what is printed about its Pods.
FAULTS = {
    "cloud1": (
        f"nft add table ip conform_test; nft add chain ip conform_test f '{DROP}'",
        "nft delete table ip conform_test",
        ["pod: cloud1 -> ", "the same node: no answer to small packets"],
    ),
    "cloud2": (
        f"sed 's/10\\.244\\.1\\./10.99.1./g; s/tke-br0/cni9/' {CNI}/10-tke-overlay.conflist > {OTHER}",
        f"rm {OTHER}",
        ["cloud2: the Pod has the address 10.99.1.2, which is not in the node CIDR 10.244.1.0/24", OTHER],
    ),
    "idc1": (
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
        ["service: idc1 -> 10.244.255.254", "a Service whose endpoint is a Pod of the same node", "no connection"],
    ),
    "idc2": (
        f"ip link add tke-br0 type bridge; sysctl -qw {BRIDGE}=0 net.ipv4.conf.tke0.forwarding=0",
        "ip link del tke-br0; sysctl -qw net.ipv4.conf.tke0.forwarding=1",
        ["pod: idc2 -> ", "no answer to small packets"],
    ),
}
# Without the file in which the CNI plugin host-local keeps where its cycle of addresses is: that stays with every Pod.
LEFT = (
    "ip netns list; ls -R /var/lib/cni 2>/dev/null | grep -v last_reserved_ip; "
    "ps -eo comm --no-headers | grep tke-echo; "
    "systemctl list-units --all --no-legend 'tke-overlay-conf*'; ls /run/tke-overlay | grep -v lock; "
    "cat /proc/sys/net/ipv4/conf/*/route_localnet"
)


def listing():
    """Return everything that a test could leave on the nodes."""
    found = states(NODES)
    return {name: (found[name], on(name, f"{LEFT}; true")) for name in NODES}


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left():
    # An earlier scenario has left Pods, and with them the Pod bridge. The directory of CNI plugins stays with any Pod.
    for name in NODES:
        on(name, "lab-pod sync; ip link del tke-br0 2>/dev/null; mkdir -p /var/lib/cni")
    before = listing()
    yield
    after = listing()
    for name in NODES:
        assert after[name] == before[name], name


@pytest.fixture
def faults():
    for name, (breaks, _repairs, _words) in FAULTS.items():
        on(name, breaks)
    yield
    for name, (_breaks, repairs, _words) in FAULTS.items():
        on(name, repairs)


def conformance(*arguments):
    return play("tke.overlay.conformance", *arguments)


def test_a_killed_run_is_cleaned_up_by_timers_and_the_next_run():
    before = listing()
    run = begin("tke.overlay.conformance", "-e", "overlay_conformance_seconds=12")
    for name in NODES:
        until(name, "ip netns list | grep -q tke-conformance-2", 60)
    os.killpg(run.pid, signal.SIGKILL)
    ended(run)
    done = conformance("-e", "overlay_conformance_nodes=cloud1,idc2")
    assert done.code == 0, done.text
    assert "healthy: " in done.text
    assert done.changed() == set()
    for path, words in {"dns": "overlay_conformance_dns is not set", "clusterip": "no kube-proxy"}.items():
        assert any(line.split()[:2] == [path, "-"] and words in line for line in done.text.splitlines())
    for name in NODES:
        until(name, "[ ! -e /run/tke-overlay/conformance ]", 30)
    assert listing() == before


@pytest.mark.usefixtures("faults")
def test_every_fault_of_a_host_fails_a_path():
    done = conformance()
    assert done.code == 2, done.text
    assert "\nhealthy" not in done.text
    for name, (_breaks, _repairs, words) in FAULTS.items():
        assert any(all(word in line for word in words) for line in done.text.splitlines()), (name, done.text)
    on("cloud2", "rm /etc/cni/net.d/05-other.conflist; mv /usr/lib/cni/portmap /usr/lib/cni/portmap.off")
    try:
        done = conformance("--limit", "cloud2", "-e", "overlay_conformance_paths=pod")
    finally:
        on("cloud2", f"mv /usr/lib/cni/portmap.off /usr/lib/cni/portmap; touch {OTHER}")
    assert done.code == 2, done.text
    assert "cloud2: the Pod did not start: the CNI plugin portmap" in done.text

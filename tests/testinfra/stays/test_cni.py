# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The CNI file with the real plugins: losses of power, Pods of a former file, and plugins that come and go."""

from __future__ import annotations

import concurrent.futures
import json

import pytest

from stories import NODES, joined, lab, ledger, on, play, site, until

testinfra_hosts = ["local://"]

CONFLIST = "/etc/cni/net.d/10-tke-overlay.conflist"
RESERVED = "/var/lib/cni/networks/tke-overlay"
OLD, NEW = "idc2", "cloud2"  # Debian 11 and 13
SYNC = "lab-pod sync pod-1 pod-2"


def reserved(name):
    """Return the addresses that host-local has given out."""
    return set(on(name, f"ls {RESERVED} 2>/dev/null | grep '^[0-9]' || true").split())


def pods(name):
    return json.loads(on(name, "lab-pod list"))


def test_losses_of_power_leave_no_address_taken():
    """The records of the runtime are lost as well, so that nothing deletes the Pods."""
    names = (OLD, NEW)
    for _number in range(3):
        for name in names:
            on(name, "lab-pod sync pod-1 pod-2 lost-1 lost-2 && sync")
            assert len(reserved(name)) == 4
        lab("poweroff", *names)
        lab("up")
        for name in names:
            assert reserved(name) == set()
            on(name, "rm /var/lib/lab-pods/*")
            until(name, "ip -br link show tke0", 30)
            on(name, SYNC)
            assert reserved(name) == set(pods(name).values())


@pytest.mark.parametrize("runtime", ["its configuration of then", "the present configuration"])
def test_a_pod_of_a_former_file_keeps_its_address(runtime):
    """CRI-O deletes a Pod with the configuration with which it was started, containerd with the present one."""

    def story(name):
        on(name, SYNC)
        present = json.loads(on(name, f"cat {CONFLIST}"))
        former = {key: value for key, value in present.items() if key != "cniVersions"}
        former.update(cniVersion="0.4.0", plugins=[each for each in present["plugins"] if each["type"] != "bandwidth"])
        on(name, f"echo '{json.dumps(former)}' > /tmp/former; LAB_POD_CONFLIST=/tmp/former lab-pod add old")
        old = pods(name)["old"]
        on(name, "lab-pod add new-1 new-2 new-3")
        addresses = [address for pod, address in pods(name).items() if pod != "old"]
        assert old not in addresses
        assert len(set(addresses)) == len(addresses)
        if runtime == "the present configuration":
            record = json.loads(on(name, "cat /var/lib/lab-pods/old.json"))
            record["conflist"] = present
            record["result"]["cniVersion"] = present["cniVersion"]
            on(name, f"echo '{json.dumps(record)}' > /var/lib/lab-pods/old.json")
        on(name, "lab-pod del old")
        assert old not in reserved(name)
        on(name, SYNC)
        assert reserved(name) == set(pods(name).values())

    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(story, NODES))


def test_status_names_plugins_that_came_and_a_limit_of_kubelet():
    on(NEW, "mv /usr/lib/cni/bandwidth /tmp/")
    try:
        assert site("--limit", NEW).changed() == {NEW}
        assert "bandwidth" not in on(NEW, f"cat {CONFLIST}")
        on(NEW, "lab-pod add pod-3 && lab-pod del pod-3")
    finally:
        on(NEW, "mv /tmp/bandwidth /usr/lib/cni/")
    cidr = ledger()["nodes"][NEW]["node_cidr"]
    on(NEW, "mkdir -p /var/lib/kubelet; echo 'maxPods: 500' > /var/lib/kubelet/config.yaml")
    done = play("tke.overlay.status", "--limit", NEW)
    on(NEW, "rm -r /var/lib/kubelet")
    text = joined(done.text)
    assert f"{NEW}: the CNI plugins of this host have changed: {CONFLIST} has no bandwidth" in text
    assert f"{NEW}: file {CONFLIST}" not in text, "it is no drift"
    assert f"kubelet accepts 500 Pods (/var/lib/kubelet/config.yaml), and {cidr} has 253 addresses" in text
    assert f"on {NEW}: set maxPods to 253 or less" in text
    assert site("--limit", NEW).changed() == {NEW}
    on(NEW, SYNC)

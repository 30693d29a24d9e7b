# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The nodes reach each other and Pods cannot talk: verify, status, report and site say so, each with the remedy.

tests/kernel/test_pod_checks.py tests every check. Here each host has another fault, so that few runs show all of them.
"""

from __future__ import annotations

import json

import pytest

from stories import NODES, at_once, joined, lab, play, site

testinfra_hosts = ["local://"]

CNI = "/etc/cni/net.d"
DROP = "{ type filter hook forward priority 0; policy drop; }"
VETH = "basename $(ls -d /sys/class/net/tke-br0/brif/* | head -1)"

# Host: what breaks it, what repairs it, what is printed.
FAULTS = {
    "cloud1": (
        f"nft add table ip pods_test; nft add chain ip pods_test f '{DROP}'",
        "nft delete table ip pods_test",
        "chain f of the nftables table ip pods_test forwards only what it names",
    ),
    "cloud2": (
        "mv /usr/lib/cni/host-local /usr/lib/cni/host-local.off",
        "mv /usr/lib/cni/host-local.off /usr/lib/cni/host-local",
        f"the CNI plugin host-local, which {CNI}/10-tke-overlay.conflist names, is not in ",
    ),
    "idc1": (
        f"v=$({VETH}); echo $v > /run/pods_test; ip link set $v nomaster",
        "v=$(cat /run/pods_test); ip link set $v master tke-br0; bridge link set dev $v hairpin on",
        "is not on the Pod bridge tke-br0: this Pod reaches nothing",
    ),
    "idc2": (
        f"echo '{{}}' > {CNI}/10-flannel.conflist; sysctl -qw net.ipv4.conf.tke-br0.forwarding=0",
        f"rm {CNI}/10-flannel.conflist; sysctl -qw net.ipv4.conf.tke-br0.forwarding=1",
        f"{CNI}/10-flannel.conflist sorts before 10-tke-overlay.conflist",
    ),
}
KEPT_BY_SITE = ("idc1",)
"""Hosts whose fault a run of site may put right."""


def on(name, script):
    return lab("exec", name, "--", "sh", "-c", script)


def of(done):
    """Return the output of a run on one line, without the wrapping of Ansible."""
    return joined(done.text)


@pytest.fixture(scope="module", autouse=True)
def pods():
    """Start two Pods on each node; delete them after the tests."""
    assert play("tests/lab/pods.yml").code == 0
    yield
    for name in NODES:
        on(name, "lab-pod sync; ip link del tke-br0")


@pytest.fixture
def faults():
    for name, (breaks, _repairs, _text) in FAULTS.items():
        on(name, breaks)
    yield
    for name, (_breaks, repairs, _text) in FAULTS.items():
        on(name, repairs)
    site()  # the CNI file names the plugins of the host again


def test_pods_that_can_talk_are_no_fault():
    done = play("tke.overlay.verify")
    assert done.code == 0, done.text
    assert "healthy: 12 of 12 pairs reachable" in done.text
    assert "Pods: " not in done.text


@pytest.mark.usefixtures("faults")
def test_every_playbook_names_what_stops_pods(tmp_path):
    page = ("tke.overlay.report", "-e", f"overlay_report_dest={tmp_path}/report.html")
    verify, status, report = at_once(("tke.overlay.verify",), ("tke.overlay.status",), page)
    assert verify.code == 2, verify.text
    assert "\nhealthy" not in verify.text
    assert "unhealthy: 12 of 12 pairs reachable" in verify.text
    assert status.code == 0, status.text
    (head,) = [line.replace("NODE CIDR", "NODE").split() for line in status.text.splitlines() if line[:5] == "HOST "]
    rows = {row[0]: row for row in map(str.split, status.text.splitlines()) if row[1:2] in (["cloud"], ["idc"])}
    assert "nothing to do" not in status.text
    assert "The network is not healthy: 5 problems to fix." in of(report)
    document = json.loads((tmp_path / "report.json").read_text())
    site = play("tke.overlay.site")
    assert site.code == 0, site.text
    for name, (_breaks, _repairs, text) in FAULTS.items():
        for done in (verify, status, *(() if name in KEPT_BY_SITE else (site,))):
            assert any(f"Pods: {name}: " in line and text in line for line in done.text.splitlines()), (name, done.text)
            assert f"on {name}: " in done.text, "the remedy"
        assert rows[name][head.index("PODS")] == ("2" if name == "idc2" else "1")
        assert any(finding["hosts"] == [name] and text in finding["text"] for finding in document["findings"])
    assert "net.ipv4.conf.tke-br0.forwarding is 0: Pods reach only other Pods of this host" in verify.text
    assert "[WARNING]: the CNI plugin host-local" in site.text

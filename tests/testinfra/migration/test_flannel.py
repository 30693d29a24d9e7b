# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A Kubernetes cluster with flannel moves to the overlay: its podCIDRs are adopted, and no packet is lost."""

from __future__ import annotations

import json

import flannel
import pytest

from day_two import as_new, forget_the_ledger, nothing_lost, of_page, run
from standin import ApiServer
from stories import LEDGER, NODES, joined, lab, ledger, on, play, site

testinfra_hosts = ["local://"]

DEVICE = ("-e", "overlay_device=flannel.1")


@pytest.fixture
def api_server(tmp_path):
    server = ApiServer(tmp_path)
    yield server
    server.stop()


def adopting(server):
    return ("-e", "overlay_adopt=kubernetes", "-e", f"overlay_kubeconfig={server.kubeconfig}")


def link_of(name, link="flannel.1"):
    (row,) = json.loads(lab("exec", name, "--", "ip", "-json", "link", "show", link))
    return row


@pytest.fixture
def fleet(api_server):
    """Replace the overlay below the running Pods by that of flannel; afterwards install it again."""
    held = ledger()["nodes"]
    forget_the_ledger()
    pod_cidrs = {name: held[name]["node_cidr"] for name in NODES}
    underlays = {name: held[name]["underlay"] for name in NODES}
    leave = [
        "systemctl disable --now --quiet tke-overlay.timer tke-overlay.service",
        "rm -rf /etc/tke-overlay /etc/systemd/system/tke-overlay.* /etc/systemd/network/*tke-*",
        "systemctl daemon-reload",
        "nft delete table inet tke_overlay",
        "ip route show type blackhole | sed 's/.*/route del &/' | ip -batch -",
        "ip link del tke0",
    ]
    for name in NODES:
        api_server.add_node(name, internal_ip=underlays[name], pod_cidrs=[pod_cidrs[name]])
        on(name, "\n".join(["set -e", *leave, flannel.objects(name, pod_cidrs, underlays, direct=False)]))
    yield pod_cidrs
    play("tke.overlay.reset", *DEVICE, "-e", "overlay_reset_confirmed=true")
    forget_the_ledger()
    site()


def test_a_fleet_of_flannel_is_adopted_without_a_lost_packet(fleet, api_server):
    before = {name: link_of(name) for name in NODES}
    with nothing_lost():
        done = site(*DEVICE, *adopting(api_server))
    assert done.changed() >= set(NODES)
    found = {name: (held["node_cidr"], held["pinned"]) for name, held in ledger()["nodes"].items()}
    assert found == {name: (pod_cidr, True) for name, pod_cidr in fleet.items()}
    for name in NODES:
        after = link_of(name)
        assert before[name]["address"] == flannel.MACS[name]
        assert after["address"].startswith("0a:58:0a:f4:")
        assert after["ifindex"] == before[name]["ifindex"], "the device was kept"
        listed = lab("exec", name, "--", "sh", "-c", "bridge fdb show dev flannel.1; ip neigh; nft list tables")
        assert "be:7c:1d" not in listed
        assert "tke_overlay_macs" not in listed
    assert site(*DEVICE, *adopting(api_server)).changed() == set()


@pytest.fixture(params=[True], ids=["DirectRouting"])
def cluster(request, api_server):
    """A cluster with flannel on hosts that have never been nodes of the overlay; afterwards nothing of it is left.

    With DirectRouting, it has the routes of both backends. ``False`` has those of vxlan alone.
    """
    underlays = {name: held["underlay"] for name, held in ledger()["nodes"].items()}
    play("tke.overlay.reset", "-e", "overlay_reset_confirmed=true")
    forget_the_ledger()
    pods = {}
    for name in NODES:
        api_server.add_node(name, internal_ip=underlays[name], pod_cidrs=[flannel.POD_CIDRS[name]])
        flannel.forget_pods(name)
        pods[name] = flannel.install(name, underlays, direct=request.param)
    api_server.add_node("elsewhere", internal_ip="10.0.1.99", pod_cidrs=["10.244.11.0/24"])
    yield pods
    play("tke.overlay.reset", "-e", "overlay_reset_confirmed=true")
    for name in NODES:
        flannel.forget_pods(name)
        flannel.remove(name)
    as_new()


def pods_of(name):
    return json.loads(on(name, "lab-pod list"))


def left_on(name):
    script = (
        "ip -o link show type vxlan; ip route; nft -s list ruleset; ls /etc/cni/net.d /run/flannel "
        "/var/lib/cni/networks/tke-overlay 2>/dev/null; true"
    )
    return on(name, script)


@of_page("Move a cluster from flannel")
def test_flannel_is_replaced_without_a_lost_packet(story, cluster, api_server):
    (inventory,), (preflight, forecast, move, verify) = story
    kubeconfig = ("-e", f"overlay_kubeconfig={api_server.kubeconfig}")
    before = {name: left_on(name) for name in NODES}
    planned = run([*preflight, *kubeconfig], inventory).text
    assert [pod_cidr for pod_cidr in flannel.POD_CIDRS.values() if f"gets {pod_cidr}" not in planned] == []
    assert "elsewhere 10.244.11.0/24" in joined(planned)
    diff = run([*forecast, *kubeconfig], inventory).text
    assert [word for word in ("-flannel.1", "-chain FLANNEL-FWD", "-FLANNEL_MTU") if word not in diff] == []
    assert {name: left_on(name) for name in NODES} == before
    with nothing_lost():
        done = run([*move, *kubeconfig], inventory)
    assert done.changed() >= set(NODES)
    assert {name: held["node_cidr"] for name, held in ledger()["nodes"].items()} == flannel.POD_CIDRS
    assert {name: pods_of(name) for name in NODES} == cluster, "no Pod has another address"
    for name in NODES:
        found = left_on(name)
        assert [word for word in ("flannel", "FLANNEL") if word in found] == [], found
        assert link_of(name, "tke0")["address"].startswith("0a:58:0a:f4:")
        listed = json.loads(on(name, "lab-pod add pod-3"))["pods"]
        assert len(set(listed.values())) == 3, "a new Pod has an address of its own"
    record = LEDGER.read_bytes()
    assert run([*move, *kubeconfig], inventory).changed() == set()
    assert LEDGER.read_bytes() == record
    run([*verify, *kubeconfig], inventory)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A node is released and added again while its Pods run: they keep addresses of the former node CIDR."""

from __future__ import annotations

from stories import at_once, joined, lab, ledger, matrix, play, site

testinfra_hosts = ["local://"]


def pods_of(name):
    return lab("exec", name, "--", "lab-pod", "list")


def test_names_pods_with_addresses_of_a_former_node_cidr():
    before = ledger()["nodes"]["idc2"]["node_cidr"]
    addresses = [address for address in pods_of("idc2").split('"') if address.startswith("10.244.")]
    done = play("tke.overlay.release", "-e", "overlay_release=idc2", "-e", "overlay_release_confirmed=true")
    assert done.code == 0, done.text
    done = site()
    after = ledger()["nodes"]["idc2"]["node_cidr"]
    assert after != before
    for each in (done, *at_once(("tke.overlay.status",), ("tke.overlay.verify",))):
        text = joined(each.text)
        assert f"2 running Pods have addresses that are not of the node CIDR {after} of this host" in text
        assert all(address in text for address in addresses), addresses
        assert "delete these Pods" in text
    assert each.code == 2, "verify"
    lab("exec", "idc2", "--", "lab-pod", "sync", "pod-1", "pod-2")
    done = play("tke.overlay.verify")
    assert done.code == 0, done.text
    assert all(pair["full"] for pair in matrix())

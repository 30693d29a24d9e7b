# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings: each problem once, with all its hosts, a text that names them and a remedy that can be run."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Pending
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.findings import by_severity
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import ProbedHost
from ansible_collections.tke.overlay.tests.unit.plugins.module_utils._cluster.report.examples import (
    NOW,
    OLD_PLAN,
    VIPS,
    healthy,
    host,
    kinds,
    ledger_of,
    load_balancer,
    report_of,
    unreachable,
)

SITE = "ansible-playbook tke.overlay.site"
RELEASE = "ansible-playbook tke.overlay.release -e overlay_release="
REPORT = "ansible-playbook tke.overlay.report"

THREE, FOUR = ("cloud1", "cloud2", "idc1"), ("cloud1", "cloud2", "idc1", "idc2")
EIGHT, NINE = ([f"n{number}" for number in range(size)] for size in (8, 9))


def released(**pending):
    """Released node CIDRs: 10.244.7.0/24 and on, with the hosts that have not removed them."""
    cidrs = (f"10.244.{number}.0/24" for number in range(7, 15))
    return {cidr: Pending(node, NOW, on, True) for cidr, (node, on) in zip(cidrs, pending.items(), strict=False)}


# What was observed; then severity, kind and hosts of each finding, and the parts of its text and of its remedy.
CASES = {
    "pods_that_cannot_talk": (
        ledger_of(*THREE),
        [
            *healthy(*THREE)[:1],
            *(
                each._replace(
                    overlay={
                        **each.overlay,
                        "pods": [
                            {"check": "x", "text": "tke-br0 is down", "remedy": "set it up", "severity": "bad"},
                            {"check": "y", "text": "no plugins yet", "remedy": "Install", "severity": "note"},
                        ],
                    }
                )
                for each in healthy(*THREE)[1:]
            ),
        ],
        [
            ("bad", "pods", ["cloud2", "idc1"], ["Pods of cloud2, idc1: tke-br0 is down."], ["set it up"]),
            ("note", "pods", ["cloud2", "idc1"], ["cloud2, idc1: no plugins yet."], ["Install"]),
        ],
    ),
    "warnings_and_notes": (
        ledger_of(*THREE),
        [
            each._replace(
                overlay={
                    **each.overlay,
                    "pods": [{"check": "max_pods", "text": "110 Pods", "remedy": "Set it", "severity": "warn"}],
                    "notes": ["kubeconfig /etc/k.conf is not there yet"],
                }
            )
            for each in healthy(*THREE)
        ],
        [
            ("warn", "pods", [*THREE], ["Pods of cloud1, cloud2, idc1: 110 Pods."], ["Set it"]),
            ("note", "endpoint", [*THREE], ["idc1: kubeconfig /etc/k.conf is not there yet."], ["tke.overlay.site"]),
        ],
    ),
    "one_dead_host": (
        ledger_of(*THREE),
        [host("cloud1", {"cloud2": 1}, ["idc1"]), host("cloud2", {"cloud1": 1}, ["idc1"]), *unreachable("idc1")],
        [
            (
                *("bad", "unreachable", ["idc1"]),
                ["Ansible cannot reach idc1", "no node gets an answer from it either."],
                ["ansible idc1 -m ping. ", "keep it as a peer. ", f"{RELEASE}idc1"],
            )
        ],
    ),
    "two_dead_hosts": (
        ledger_of(*FOUR),
        [
            host("cloud1", {"idc1": 1}, ["cloud2", "idc2"]),
            host("idc1", {"cloud1": 1}, ["cloud2", "idc2"]),
            *unreachable("cloud2", "idc2"),
        ],
        [
            (
                *("bad", "unreachable", ["cloud2", "idc2"]),
                ["cloud2, idc2", "from them either."],
                ["ansible cloud2,idc2 -m ping. ", "keep them as peers. ", f"{RELEASE}cloud2,idc2"],
            )
        ],
    ),
    "site_behind_a_cut_line": (
        ledger_of(*FOUR),
        [
            host("cloud1", {"cloud2": 1}, FOUR[2:]),
            host("cloud2", {"cloud1": 1}, FOUR[2:]),
            *unreachable("idc1", "idc2"),
        ],
        [
            (
                *("bad", "unreachable", ["idc1", "idc2"]),
                ["Site idc: neither Ansible nor any node of cloud reaches its 2 nodes."],
                ["Check the line between cloud and idc"],
            )
        ],
    ),
    "host_that_only_ansible_does_not_reach": (
        ledger_of(*THREE),
        [
            host("cloud1", {"cloud2": 1, "idc1": 1}),
            host("cloud2", {"cloud1": 1, "idc1": 1}),
            *unreachable("idc1"),
        ],
        [("bad", "unreachable", ["idc1"], ["Ansible cannot reach idc1."], ["ansible idc1 -m ping", f"{RELEASE}idc1"])],
    ),
    "host_whose_key_is_unknown": (
        ledger_of(*THREE),
        [
            host("cloud1", {"cloud2": 1, "idc1": 1}),
            host("cloud2", {"cloud1": 1, "idc1": 1}),
            *(each._replace(connection="Host key verification failed.") for each in unreachable("idc1")),
        ],
        [("bad", "unreachable", ["idc1"], ["idc1"], ["idc1: unknown SSH host key: compare its fingerprint"])],
    ),
    "unreachable_load_balancer": (
        ledger_of("cloud1", "idc1", vips=VIPS),
        [
            *healthy("cloud1", "idc1"),
            load_balancer("clb1", *VIPS.values()),
            load_balancer("clb2", overlay=None, unreachable=True),
        ],
        [("bad", "unreachable", ["clb2"], ["Ansible cannot reach clb2."], ["ansible clb2 -m ping"])],
    ),
    "failed_modules": (
        ledger_of(*FOUR),
        [
            *healthy("cloud1", "cloud2"),
            ProbedHost("idc1", "idc", selected=True, failures=["no nft"]),
            ProbedHost("idc2", "idc", selected=True, failures=["no nft", "no root"]),
        ],
        [
            ("bad", "failed", ["idc1", "idc2"], ["idc1, idc2", ": no nft"], [f"{REPORT} --limit idc1"]),
            ("bad", "failed", ["idc2"], ["idc2", ": no root"], [f"{REPORT} --limit idc2"]),
        ],
    ),
    "no_pair_answers": (
        ledger_of(*THREE),
        [host(name, None, [other for other in THREE if other != name]) for name in THREE],
        [("bad", "silent", list(THREE), ["6 pairs"], ["UDP port 8472", SITE])],
    ),
    "one_pair": (
        ledger_of(*THREE),
        [host("cloud1", {"cloud2": 1}, ["idc1"]), *healthy(*THREE)[1:]],
        [("bad", "silent", ["cloud1", "idc1"], ["cloud1 -> idc1"], ["idc1", "UDP port 8472"])],
    ),
    "one_host_with_drift": (
        ledger_of("cloud1", "idc1"),
        [host("cloud1", {"idc1": 1}, drift=["route: missing 10.244.1.0/24"]), *healthy("cloud1", "idc1")[1:]],
        [
            (
                *("warn", "drift", ["cloud1"]),
                ["cloud1 differs from its ", ". cloud1: route: missing 10.244.1.0/24."],
                [f": {SITE} --limit cloud1"],
            )
        ],
    ),
    "several_hosts_with_drift": (
        ledger_of("cloud1", "idc1"),
        [host("cloud1", {"idc1": 1}, drift=["a", "b", "c"]), host("idc1", {"cloud1": 1}, drift=["d", "e"])],
        [
            (
                *("warn", "drift", ["cloud1", "idc1"]),
                ["cloud1, idc1 differ from their ", ". cloud1: a, cloud1: b, cloud1: c, idc1: d and 1 more."],
                [f": {SITE} --limit cloud1,idc1"],
            )
        ],
    ),
    "drift_of_a_host_whose_timer_is_stopped": (
        ledger_of("cloud1", "idc1"),
        [
            host("cloud1", {"idc1": 1}, drift=["unit tke-overlay.timer: is inactive"], timer="stopped"),
            *healthy("cloud1", "idc1")[1:],
        ],
        [("warn", "drift", ["cloud1"], ["is inactive."], ["To correct it", f": {SITE} --limit cloud1"])],
    ),
    "too_many_hosts_for_a_limit": (
        ledger_of(*NINE),
        [host(name, {"n0": 1}, drift=["a"]) for name in NINE],
        [
            (
                *("warn", "drift", NINE),
                ["n0, n1, n2, n3, n4, n5 and 3 more differ", "n0: a, n1: a, n2: a, n3: a and 5 more."],
                [f": {SITE}"],
            )
        ],
    ),
    "one_unconfigured_host": (
        ledger_of(*THREE),
        [*healthy("cloud1", "cloud2"), host("idc1", node=None)],
        [("bad", "unconfigured", ["idc1"], ["idc1 has a node CIDR", "on it."], [f"{SITE} --limit idc1"])],
    ),
    "unconfigured_hosts_have_no_old_plan": (
        ledger_of(*FOUR),
        [
            *healthy("cloud1", "cloud2"),
            host("idc1", node=None, plan=OLD_PLAN),
            host("idc2", node=None, plan=OLD_PLAN),
        ],
        [
            (
                *("bad", "unconfigured", ["idc1", "idc2"]),
                ["idc1, idc2 have a node CIDR", "on them."],
                [f"{SITE} --limit idc1,idc2"],
            )
        ],
    ),
    "one_old_plan": (
        ledger_of("cloud1", "idc1"),
        [host("cloud1", {"idc1": 1}, plan=OLD_PLAN), *healthy("cloud1", "idc1")[1:]],
        [("warn", "plan", ["cloud1"], ["cloud1 has not applied"], [f"{SITE} --limit cloud1"])],
    ),
    "eight_old_plans": (
        ledger_of(*EIGHT),
        [host(name, {"n0": 1}, plan=OLD_PLAN) for name in EIGHT],
        [
            (
                *("warn", "plan", EIGHT),
                ["n0, n1, n2, n3, n4, n5 and 2 more have not applied"],
                [f"{SITE} --limit n0,n1,n2,n3,n4,n5,n6,n7"],
            )
        ],
    ),
    "one_orphan_and_one_missing": (
        ledger_of("cloud1", "idc9"),
        [host("cloud1"), ProbedHost("idc1", "idc", selected=True)],
        [
            (
                *("warn", "orphan", ["idc9"]),
                ["idc9 has a node CIDR, but is not in the inventory.", "keep the peer."],
                ["Put it back", f"{RELEASE}idc9"],
            ),
            ("warn", "missing", ["idc1"], ["idc1 has no node CIDR yet."], [SITE]),
        ],
    ),
    "several_orphans_and_missing": (
        ledger_of("cloud1", "old4", "old3", "old2", "old1"),
        [host("cloud1"), ProbedHost("idc2", "idc", selected=True), ProbedHost("idc1", "idc", selected=True)],
        [
            (
                *("warn", "orphan", ["old1", "old2", "old3", "old4"]),
                ["old1, old2, old3, old4 have a node CIDR, but are not in the inventory.", "keep these peers."],
                ["Put them back", f"{RELEASE}old1,old2,old3,old4"],
            ),
            ("warn", "missing", ["idc1", "idc2"], ["idc1, idc2 have no node CIDR yet."], [SITE]),
        ],
    ),
    "vips_without_a_holder": (
        ledger_of("cloud1", "idc1", vips=VIPS),
        [*healthy("cloud1", "idc1"), load_balancer("clb1"), load_balancer("clb2")],
        [
            (
                "bad",
                "vip",
                [],
                [f"VIP {name} {address} is on no host of the pair."],
                ["On clb1, clb2: systemctl status"],
            )
            for name, address in sorted(VIPS.items())
        ],
    ),
    "vip_that_an_unobserved_host_may_hold": (
        ledger_of("cloud1", "idc1", vips={"apiserver": "10.0.2.2"}),
        [
            *healthy("cloud1", "idc1"),
            load_balancer("clb1"),
            load_balancer("clb2", selected=False, overlay=None),
        ],
        [("warn", "vip", [], ["apiserver 10.0.2.2 is not on clb1, and the other host"], ["clb1: systemctl status"])],
    ),
    "vip_with_two_holders": (
        ledger_of("cloud1", "idc1", vips=VIPS),
        [*healthy("cloud1", "idc1"), load_balancer("clb1", *VIPS.values()), load_balancer("clb2", "10.0.2.2")],
        [("bad", "vip", ["clb1", "clb2"], ["clb1 and clb2", "apiserver 10.0.2.2"], ["VRRP", "protocol 112"])],
    ),
    "vip_on_no_host_of_a_pair_of_nodes": (
        ledger_of("cloud1", "cloud2", "idc1", vips={"apiserver": "10.0.2.2"}),
        [
            *(
                each._replace(overlay={**each.overlay, "load_balancer": {"timer": "active"}})
                for each in healthy(*THREE)[:2]
            ),
            *unreachable("idc1"),
        ],
        [
            ("bad", "unreachable", ["idc1"], ["idc1"], ["idc1"]),
            ("bad", "vip", [], ["is on no host of the pair"], ["On cloud1, cloud2: systemctl status"]),
        ],
    ),
    "vip_on_a_node_instead_of_the_pair": (
        ledger_of("cloud1", "idc1", vips={"apiserver": "10.0.2.2"}),
        [
            *healthy("cloud1", "idc1")[:1],
            host("idc1", {"cloud1": 1}, vips=["10.0.2.2"]),
            load_balancer("clb1"),
            load_balancer("clb2"),
        ],
        [
            ("bad", "vip", [], ["apiserver 10.0.2.2 is on no host of the pair"], ["On clb1, clb2: systemctl status"]),
            (
                "bad",
                "vip",
                ["idc1"],
                ["10.0.2.2 is an address of idc1, which is no host"],
                ["from idc1: on kube-ipvs0"],
            ),
        ],
    ),
    "vips_of_another_load_balancer_on_nodes": (
        ledger_of("cloud1", "idc1", vips={"apiserver": "10.0.2.2"}),
        [host("cloud1", {"idc1": 1}, vips=["10.0.2.2"]), *healthy("cloud1", "idc1")[1:]],
        [],
    ),
    "vips_without_an_observed_host": (
        ledger_of("cloud1", "idc1", vips=VIPS),
        [
            *healthy("cloud1", "idc1"),
            load_balancer("clb1", selected=False, overlay=None),
            load_balancer("clb2", selected=False, overlay=None),
        ],
        [],
    ),
    "one_pending_node_cidr": (
        ledger_of("cloud1", "idc1", pending=released(gone=["idc1"])),
        healthy("cloud1", "idc1"),
        [
            (
                *("note", "pending", ["idc1"]),
                ["1 released node CIDR is pending until idc1 removes it."],
                ["this host frees it", SITE],
            )
        ],
    ),
    "several_pending_node_cidrs": (
        ledger_of("cloud1", "idc1", pending=released(gone=["idc1"], far=["cloud1", "idc1"], long=[])),
        healthy("cloud1", "idc1"),
        [
            (
                *("note", "pending", ["cloud1", "idc1"]),
                ["2 released node CIDRs are pending until cloud1, idc1 remove them."],
                ["these hosts frees them", SITE],
            )
        ],
    ),
    "pool_that_is_nearly_full": (
        ledger_of(*(f"n{number}" for number in range(14))),
        healthy(*(f"n{number}" for number in range(14))),
        [("warn", "pool", [], ["1 of 15 node CIDRs is free."], ["overlay_container_cidr"])],
    ),
    "pool_with_enough_room": (
        ledger_of(*(f"n{number}" for number in range(13))),
        healthy(*(f"n{number}" for number in range(13))),
        [],
    ),
    "pool_that_is_full": (
        ledger_of(*(f"n{number}" for number in range(15))),
        healthy(*(f"n{number}" for number in range(15))),
        [("warn", "pool", [], ["No node CIDR is free"], ["overlay_container_cidr"])],
    ),
    "healthy_network": (ledger_of("cloud1", "idc1"), healthy("cloud1", "idc1"), []),
}


@pytest.mark.parametrize("case", CASES)
def test_findings_name_hosts_and_remedy(case):
    ledger, hosts, wanted = CASES[case]
    found = report_of(ledger, hosts)["findings"]
    assert [(each["severity"], each["kind"], each["hosts"]) for each in found] == [each[:3] for each in wanted]
    for finding, (*_same, words, remedy) in zip(found, wanted, strict=True):
        contains(finding["text"], words)
        contains(finding["remedy"], remedy)
        assert finding["remedy"].endswith(remedy[-1]) or not remedy[-1].startswith(("ansible-playbook", ": "))


def contains(text, parts):
    for part in parts:
        assert part in text


def test_a_load_balancer_is_no_node_to_be_released():
    (found,) = report_of(*CASES["unreachable_load_balancer"][:2])["findings"]
    assert "release" not in found["remedy"]
    assert "peer" not in found["remedy"]


LINKS = [
    {"sites": ["cloud", "cloud"], "nodes": [2, 0], "transport": "vxlan", "mtu": 1450},
    {"sites": ["cloud", "idc"], "nodes": [2, 2], "transport": "wireguard", "mtu": 1440},
    {"sites": ["idc", "idc"], "nodes": [2, 0], "transport": "vxlan", "mtu": 1450},
]


@pytest.mark.parametrize(
    ("kind", "devices", "words"),
    [
        ("silent", [{"device": "tke-wg1", "generation": 1, "port": 51821}], ["Open UDP port 51821 (WireGuard)"]),
        (
            "silent",
            [
                {"device": "tke-wg1", "generation": 1, "port": 51821},
                {"device": "tke-wg0", "generation": 2, "port": 51900},
            ],
            ["Open UDP port 51821 (WireGuard)"],
        ),
        ("silent", [], ["Open the UDP port of WireGuard (overlay_wireguard_port) both ways"]),
        ("mtu", [], ["of 1440 bytes", "must carry 1500 bytes"]),
        ("tcp", [{"device": "tke-wg1", "generation": 1, "port": 51821}], ["drops TCP on tke-wg1"]),
    ],
)
def test_a_fault_of_a_link_has_the_remedy_of_its_transport(kind, devices, words):
    hosts = []
    for name in FOUR:
        near = [other for other in FOUR if other != name and other[:3] == name[:3]]
        far = [other for other in FOUR if other[:3] != name[:3]]
        answers = dict.fromkeys(near if kind == "silent" else [*near, *far], 0.5)
        hosts.append(host(name, answers, found=[(peer, kind) for peer in far], wireguard=devices))
    (found,) = report_of(ledger_of(*FOUR), hosts, links=LINKS)["findings"]
    contains(f"{found['text']} {found['remedy']}", words)
    assert "8472" not in found["remedy"]


def test_the_nodes_of_a_cut_line_are_not_to_be_released():
    (found,) = report_of(*CASES["site_behind_a_cut_line"][:2])["findings"]
    assert "release" not in found["remedy"]


def test_a_host_that_some_peers_reach_is_not_dead():
    hosts = [
        host("cloud1", {"cloud2": 0.1}, ["idc1"]),
        host("cloud2", {"cloud1": 0.1, "idc1": 0.4}),
        *unreachable("idc1"),
    ]
    report = report_of(ledger_of(*THREE), hosts)
    assert kinds(report) == ["unreachable", "silent"]
    assert "no node gets an answer" not in report["findings"][0]["text"]
    contains(report["findings"][1]["text"], ["cloud1", "idc1"])


@pytest.mark.parametrize(
    ("away", "text", "pods"),
    [(["idc1"], "of idc1,", "its Pods"), (["idc1", "idc2"], "of idc1, idc2,", "their Pods")],
)
def test_an_unknown_underlay_address_is_a_finding(away, text, pods):
    ledger = ledger_of("cloud1", "idc1", "idc2")
    for name in away:
        ledger.nodes[name] = ledger.nodes[name]._replace(underlay=None)
    (found,) = report_of(ledger, healthy(*ledger.nodes))["findings"]
    assert (found["severity"], found["kind"], found["hosts"]) == ("warn", "underlay", away)
    contains(found["text"], [text, pods])
    assert found["remedy"].endswith(SITE)


@pytest.mark.parametrize(
    ("limit", "away", "reason"),
    [
        ("cloud1", ["idc1"], "idc1 was not observed: the run was limited to cloud1."),
        (None, ["idc1"], "idc1 was not observed: the run did not include it."),
        (None, ["idc1", "idc2"], "idc1, idc2 were not observed: the run did not include them."),
    ],
)
def test_unselected_nodes_are_a_note(limit, away, reason):
    hosts = [host("cloud1", dict.fromkeys(away, 1)), *(ProbedHost(name, "idc") for name in away)]
    (found,) = report_of(ledger_of("cloud1", *away), hosts, limit=limit)["findings"]
    assert (found["severity"], found["kind"], found["hosts"], found["text"]) == ("note", "limit", away, reason)
    assert found["remedy"].endswith(REPORT)


def test_a_run_that_selected_no_node_has_no_note():
    assert report_of(ledger_of("idc1"), [ProbedHost("idc1", "idc")])["findings"] == []


def test_without_a_plan_the_report_shows_the_problem():
    (found,) = report_of(ledger_of("cloud1"), [host("cloud1")], problem="the VPC overlaps")["findings"]
    assert (found["severity"], found["kind"], found["hosts"]) == ("bad", "conflict", [])
    assert found["text"].endswith(": the VPC overlaps")
    assert found["remedy"].endswith(SITE)


def test_a_reserved_range_outside_the_pool_is_a_finding():
    (found,) = report_of(ledger_of("cloud1"), [host("cloud1")], reserved=["10.9.0.0/24"])["findings"]
    assert (found["severity"], found["kind"], found["hosts"]) == ("warn", "reserved", [])
    contains(found["text"], ["overlay_reserved", "10.9.0.0/24", "10.244.0.0/20"])
    assert found["remedy"].endswith("ansible-playbook tke.overlay.preflight")


@pytest.mark.parametrize(
    ("number", "pattern", "more"),
    [(8, ",".join(f"cloud{number}" for number in range(2, 10)), ""), (10, "overlay_nodes", " (then the other 2)")],
)
def test_a_command_names_all_hosts_or_how_many_it_omits(number, pattern, more):
    names = [f"cloud{each}" for each in range(2, 2 + number)]
    ledger = ledger_of("cloud1", *names)
    found = next(
        each
        for each in report_of(ledger, [host("cloud1", None, names), *unreachable(*names)])["findings"]
        if each["kind"] == "unreachable"
    )
    assert f"ansible {pattern} -m ping. " in found["remedy"]
    assert found["remedy"].endswith(f"{RELEASE}{','.join(names[:8])}{more}")


def test_a_tenth_of_the_pool_is_nearly_full():
    """The pool has ten node CIDRs, as five are reserved."""
    reserved = ["10.244.10.0/23", "10.244.12.0/23", "10.244.14.0/24"]
    (found,) = report_of(ledger_of(*NINE), healthy(*NINE), reserved=reserved)["findings"]
    assert "1 of 10 node CIDRs is free." in found["text"]
    assert report_of(ledger_of(*EIGHT), healthy(*EIGHT), reserved=reserved)["findings"] == []


def test_remedies_use_the_settings_that_most_hosts_report():
    """The port, the MTU and the device; the overhead is that of IPv6."""
    settings = {"vtep": {"device": "ov9"}, "mtu": 1300, "port": 4789, "underlay": "fd00::1"}
    names = ("a", "b", "c")
    hosts = [host(name, {other: 1 for other in names if other != name}, **settings) for name in names]
    hosts[2] = host("c", {"a": 1, "b": 1}, mtu=9000, port=9, underlay="10.0.0.1")
    tcp = {"peer": "b", "kind": "tcp", "text": "TCP to b (10.0.0.1, port 8471): no connection; the rest"}
    hosts[0].probe["findings"] += [tcp, {"peer": "c", "kind": "mtu", "largest": 1000, "text": ""}]
    hosts[1].probe["findings"] += [{"peer": "c", "kind": "silent"}, {"peer": "d", "kind": "silent"}]
    hosts[1].probe["findings"] += [{"peer": "a", "kind": "strange"}]
    silence, hole, tcp = report_of(ledger_of(*names), hosts)["findings"]
    assert "UDP port 4789" in silence["remedy"]
    contains(hole["text"], ["a -> c", "1300 bytes", "1000 bytes"])
    contains(hole["remedy"], ["overlay_underlay_mtu", "1070"])
    contains(tcp["text"], ["a -> b", "no connection"])
    assert "ethtool -K ov9 " in tcp["remedy"]


def test_the_default_device_is_tke0():
    hosts = healthy("a", "b")
    hosts[0].probe["findings"].append({"peer": "b", "kind": "tcp", "text": ""})
    (found,) = report_of(ledger_of("a", "b"), hosts)["findings"]
    assert "ethtool -K tke0 " in found["remedy"]


def test_the_largest_packet_that_passes_is_named():
    hosts = healthy("cloud1", "idc1")
    hosts[0].probe["findings"].append({"peer": "idc1", "kind": "mtu", "largest": 1350})
    (found,) = report_of(ledger_of("cloud1", "idc1"), hosts)["findings"]
    assert "1350 bytes" in found["text"]
    contains(found["remedy"], ["overlay_underlay_mtu", "1400"])


def test_nodes_without_a_site_form_a_site():
    names = ("a", "b", "c")
    hosts = [host(name, None, [other for other in names if other != name])._replace(site="") for name in names]
    hosts += healthy("d1", "d2")
    (found,) = report_of(ledger_of(*names, "d1", "d2"), hosts)["findings"]
    contains(found["text"], ["within no site", "6 of 6 pairs"])


def test_the_most_severe_finding_comes_first():
    severities = ["note", "warn", "bad", "warn", "bad"]
    found = [{"severity": severity, "kind": kind} for kind, severity in enumerate(severities)]
    assert [each["kind"] for each in by_severity(found)] == [2, 4, 1, 3, 0]


@pytest.mark.parametrize(
    ("found", "wanted", "words"),
    [
        ([("idc1", "silent")], "silent", ["idc1", "cloud1, cloud2", "2 of 4 pairs"]),
        ([("idc1", "mtu")], "mtu", ["cloud1 -> idc1", "1400 bytes"]),
        ([("idc1", "tcp")], "tcp", ["cloud1 -> idc1"]),
        ([("idc1", "silent"), ("cloud2", "silent")], "silent", ["cloud1", "cloud2, idc1", "2 of 4 pairs"]),
    ],
)
def test_a_probe_finding_marks_the_nodes_as_loss(found, wanted, words):
    silent = [peer for peer, kind in found if kind == "silent"]
    times = {peer: 0.2 for peer in ("cloud2", "idc1") if peer not in silent}
    hosts = [
        host("cloud1", times, silent, [each for each in found if each[1] != "silent"]),
        host("cloud2", {"cloud1": 0.1}, ["idc1"] if silent == ["idc1"] else []),
        host("idc1", {"cloud1": 0.1, "cloud2": 0.2}),
    ]
    report = report_of(ledger_of(*THREE), hosts)
    assert kinds(report) == [wanted]
    contains(report["findings"][0]["text"], words)
    assert report["findings"][0]["remedy"]
    lossy = [node["name"] for node in report["nodes"] if node["state"] == "loss"]
    assert lossy == report["findings"][0]["hosts"]


def test_a_plan_is_old_only_where_one_was_given():
    plan = {"applied": "a", "wanted": None, "current": None}
    hosts = [host("cloud1", {"idc1": 1}, plan=plan), host("idc1", {"cloud1": 1}, plan=plan)]
    assert report_of(ledger_of("cloud1", "idc1"), hosts)["findings"] == []


def test_a_node_without_a_node_cidr_is_not_silent():
    hosts = [host("cloud1", {}, ["idc1"]), ProbedHost("idc1", "idc", selected=True)]
    assert kinds(report_of(ledger_of("cloud1"), hosts)) == ["missing"]


@pytest.mark.parametrize(
    ("pair", "wanted", "holders"),
    [
        ([load_balancer("clb1", "10.0.2.2"), load_balancer("clb2")], [], ["clb1"]),
        ([load_balancer("clb1", "10.0.2.2"), load_balancer("clb2", "10.0.2.2")], ["vip"], ["clb1", "clb2"]),
        ([load_balancer("clb1"), load_balancer("clb2")], ["vip"], []),
        ([ProbedHost("clb1", node=False), ProbedHost("clb2", node=False)], [], []),
    ],
)
def test_a_vip_needs_exactly_one_holder(pair, wanted, holders):
    ledger = ledger_of("cloud1", "idc1", vips={"apiserver": "10.0.2.2"})
    report = report_of(ledger, [*healthy("cloud1", "idc1"), *pair])
    assert kinds(report) == wanted
    assert report["vips"][0]["holders"] == holders

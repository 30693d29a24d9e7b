# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a picture says, to the letter: an operator acts on these words, and programs go by these values."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Ledger, Pending
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.findings import by_severity
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.history import history
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import (
    PlanRecord,
    ReportOptions,
    build,
    summary,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import forecast, pool_map
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import ProbedHost

NOW, THEN = "2026-06-30T12:00:00Z", "2026-05-01T00:00:00Z"
SITES = ("cloud", "idc")
OLD = {"applied": "a", "wanted": "b", "current": False}
SITE = "ansible-playbook tke.overlay.site"


def ledger_of(*names, **changes):
    ledger = Ledger("demo", Pool(["10.244.0.0/20"], 256, 256), cursor=len(names) % 15)
    for number, name in enumerate(names):
        ledger.nodes[name] = Assignment(ledger.pool.node_cidr(number), f"10.0.0.{number + 1}", 1500, THEN, False)
    for key, value in changes.items():
        setattr(ledger, key, value)
    return ledger


def host(name, answers=None, silent=(), **overlay):
    """A node that was looked at. ``answers``: the milliseconds of each peer that answered."""
    told = {"node": name, "plan": {"applied": "a", "wanted": "a", "current": True}, "drift": [], "vips": []}
    findings = [{"peer": peer, "kind": "silent", "text": f"{peer} does not answer"} for peer in silent]
    probe = {"asked": len(answers or {}) + len(silent), "answered": len(answers or {}), "rtt_ms": answers or {}}
    probe = {**probe, "findings": findings} if answers or silent else None
    return ProbedHost(
        name, name.rstrip("0123456789"), asked=True, overlay={**told, "mtu": 1400, "port": 8472, **overlay}, probe=probe
    )


def well(*names):
    return [host(name, {other: 0.5 for other in names if other != name}) for name in names]


def gone(*names):
    return [ProbedHost(name, name.rstrip("0123456789"), asked=True, unreachable=True) for name in names]


def clb(name, *vips, **more):
    return ProbedHost(name, node=False, asked=True, overlay={"vips": list(vips)})._replace(**more)


def drawn(ledger, hosts, **look):
    return build(PlanRecord(ledger, "/srv/ledger.json"), hosts, ReportOptions(**{"at": NOW, "sites": SITES, **look}))


def finding(severity, kind, hosts, text, remedy):
    return {"severity": severity, "kind": kind, "hosts": hosts, "text": text, "remedy": remedy}


PING = "and SSH gets there: ansible"
RELEASE = "ansible-playbook tke.overlay.release -e overlay_release="
THREE, VIPS = ("cloud1", "cloud2", "idc1"), {"services": "10.0.2.3", "apiserver": "10.0.2.2"}
FOUR = ("cloud1", "cloud2", "idc1", "idc2")

FINDINGS = {
    "one dead host": (
        ledger_of(*THREE),
        [host("cloud1", {"cloud2": 1}, ["idc1"]), host("cloud2", {"cloud1": 1}, ["idc1"]), *gone("idc1")],
        [
            finding(
                "bad",
                "unreachable",
                ["idc1"],
                "Ansible could not reach idc1, and no node gets an answer from it either.",
                f"Look whether the machine runs {PING} idc1 -m ping. The others keep it as a peer. "
                f"Gone for good? {RELEASE}idc1",
            )
        ],
    ),
    "two dead hosts": (
        ledger_of(*FOUR),
        [host("cloud1", {"cloud2": 1}, FOUR[2:]), host("cloud2", {"cloud1": 1}, FOUR[2:]), *gone("idc1", "idc2")],
        [
            finding(
                "bad",
                "unreachable",
                ["idc1", "idc2"],
                "Ansible could not reach idc1, idc2, and no node gets an answer from them either.",
                f"Look whether the machines run {PING} idc1,idc2 -m ping. The others keep them as peers. "
                f"Gone for good? {RELEASE}idc1,idc2",
            )
        ],
    ),
    "a host that only Ansible does not reach": (
        ledger_of(*THREE),
        [host("cloud1", {"cloud2": 1, "idc1": 1}), host("cloud2", {"cloud1": 1, "idc1": 1}), *gone("idc1")],
        [
            finding(
                "bad",
                "unreachable",
                ["idc1"],
                "Ansible could not reach idc1.",
                f"Look whether the machine runs {PING} idc1 -m ping. The others keep it as a peer. "
                f"Gone for good? {RELEASE}idc1",
            )
        ],
    ),
    "a host of the pair that is away is no node to be released": (
        ledger_of("cloud1", "idc1", vips=VIPS),
        [*well("cloud1", "idc1"), clb("clb1", *VIPS.values()), clb("clb2", overlay=None, unreachable=True)],
        [
            finding(
                "bad",
                "unreachable",
                ["clb2"],
                "Ansible could not reach clb2.",
                f"Look whether the machine runs {PING} clb2 -m ping",
            )
        ],
    ),
    "modules that fail": (
        ledger_of(*FOUR),
        [
            *well("cloud1", "cloud2"),
            ProbedHost("idc1", "idc", asked=True, failures=["no nft"]),
            ProbedHost("idc2", "idc", asked=True, failures=["no nft", "no root"]),
        ],
        [
            finding(
                "bad",
                "failed",
                ["idc1", "idc2"],
                "idc1, idc2 could not be looked at: no nft",
                "Do what the message says, then: ansible-playbook tke.overlay.report --limit idc1",
            ),
            finding(
                "bad",
                "failed",
                ["idc2"],
                "idc2 could not be looked at: no root",
                "Do what the message says, then: ansible-playbook tke.overlay.report --limit idc2",
            ),
        ],
    ),
    "nobody reaches anybody": (
        ledger_of(*THREE),
        [host(name, None, [other for other in THREE if other != name]) for name in THREE],
        [
            finding(
                "bad",
                "silent",
                list(THREE),
                "Nobody reaches anybody: 6 pairs, all silent.",
                f"Open UDP port 8472 between all nodes. Bring all up to date: {SITE}",
            )
        ],
    ),
    "one pair": (
        ledger_of(*THREE),
        [host("cloud1", {"cloud2": 1}, ["idc1"]), *well(*THREE)[1:]],
        [
            finding(
                "bad",
                "silent",
                ["cloud1", "idc1"],
                "Silent: cloud1 -> idc1.",
                "Look at idc1: up? UDP port 8472 open? And what is missing there: ansible-playbook tke.overlay.status",
            )
        ],
    ),
    "one differs": (
        ledger_of("cloud1", "idc1"),
        [host("cloud1", {"idc1": 1}, drift=["route: missing 10.244.1.0/24"]), *well("cloud1", "idc1")[1:]],
        [
            finding(
                "warn",
                "drift",
                ["cloud1"],
                "cloud1 differs from what was applied. cloud1: route: missing 10.244.1.0/24.",
                f"The host's own timer puts it back; at once: {SITE} --limit cloud1",
            )
        ],
    ),
    "several differ": (
        ledger_of("cloud1", "idc1"),
        [host("cloud1", {"idc1": 1}, drift=["a", "b", "c"]), host("idc1", {"cloud1": 1}, drift=["d", "e"])],
        [
            finding(
                "warn",
                "drift",
                ["cloud1", "idc1"],
                "cloud1, idc1 differ from what was applied. cloud1: a, cloud1: b, cloud1: c, idc1: d and 1 more.",
                f"The host's own timer puts it back; at once: {SITE} --limit cloud1,idc1",
            )
        ],
    ),
    "so many differ that a limit would not help": (
        ledger_of(*(f"n{number}" for number in range(9))),
        [host(f"n{number}", {"n0": 1}, drift=["a"]) for number in range(9)],
        [
            finding(
                "warn",
                "drift",
                [f"n{number}" for number in range(9)],
                "n0, n1, n2, n3, n4, n5 and 3 more differ from what was applied. "
                "n0: a, n1: a, n2: a, n3: a and 5 more.",
                f"The host's own timer puts it back; at once: {SITE}",
            )
        ],
    ),
    "one is bare": (
        ledger_of(*THREE),
        [*well("cloud1", "cloud2"), host("idc1", node=None)],
        [
            finding(
                "bad",
                "bare",
                ["idc1"],
                "idc1 has a node CIDR and nothing of the overlay.",
                f"{SITE} --limit idc1",
            )
        ],
    ),
    "two are bare, and their plan is no news then": (
        ledger_of(*FOUR),
        [*well("cloud1", "cloud2"), host("idc1", node=None, plan=OLD), host("idc2", node=None, plan=OLD)],
        [
            finding(
                "bad",
                "bare",
                ["idc1", "idc2"],
                "idc1, idc2 have a node CIDR and nothing of the overlay.",
                f"{SITE} --limit idc1,idc2",
            )
        ],
    ),
    "one has an old plan": (
        ledger_of("cloud1", "idc1"),
        [host("cloud1", {"idc1": 1}, plan=OLD), *well("cloud1", "idc1")[1:]],
        [finding("warn", "plan", ["cloud1"], "cloud1 has not applied the present plan.", f"{SITE} --limit cloud1")],
    ),
    "eight have an old plan": (
        ledger_of(*(f"n{number}" for number in range(8))),
        [host(f"n{number}", {"n0": 1}, plan=OLD) for number in range(8)],
        [
            finding(
                "warn",
                "plan",
                [f"n{number}" for number in range(8)],
                "n0, n1, n2, n3, n4, n5 and 2 more have not applied the present plan.",
                f"{SITE} --limit n0,n1,n2,n3,n4,n5,n6,n7",
            )
        ],
    ),
    "one that the inventory lacks, and one that the ledger lacks": (
        ledger_of("cloud1", "idc9"),
        [host("cloud1"), ProbedHost("idc1", "idc", asked=True)],
        [
            finding(
                "warn",
                "orphan",
                ["idc9"],
                "idc9 has a node CIDR, and the inventory lacks it. Absence is not release: the others keep the peer.",
                f"Put it back into the inventory, or: {RELEASE}idc9",
            ),
            finding("warn", "missing", ["idc1"], "idc1 has no node CIDR yet.", SITE),
        ],
    ),
    "several of both": (
        ledger_of("cloud1", "old4", "old3", "old2", "old1"),
        [host("cloud1"), ProbedHost("idc2", "idc", asked=True), ProbedHost("idc1", "idc", asked=True)],
        [
            finding(
                "warn",
                "orphan",
                ["old1", "old2", "old3", "old4"],
                "old1, old2, old3, old4 have a node CIDR, and the inventory lacks them. "
                "Absence is not release: the others keep these peers.",
                f"Put them back into the inventory, or: {RELEASE}old1,old2,old3",
            ),
            finding("warn", "missing", ["idc1", "idc2"], "idc1, idc2 have no node CIDR yet.", SITE),
        ],
    ),
    "VIPs that nobody holds": (
        ledger_of("cloud1", "idc1", vips=VIPS),
        [*well("cloud1", "idc1"), clb("clb1"), clb("clb2")],
        [
            finding(
                "bad",
                "vip",
                [],
                f"The VIP {address} ({name}) is held by none of the hosts that were looked at.",
                "Look at the hosts of group clb: systemctl status 'tke-overlay-*'",
            )
            for name, address in sorted(VIPS.items())
        ],
    ),
    "a VIP that perhaps somebody holds who was not looked at": (
        ledger_of("cloud1", "idc1", vips={"apiserver": "10.0.2.2"}),
        [*well("cloud1", "idc1"), clb("clb1"), clb("clb2", asked=False, overlay=None)],
        [
            finding(
                "warn",
                "vip",
                [],
                "The VIP 10.0.2.2 (apiserver) is held by none of the hosts that were looked at.",
                "Look at the hosts of group clb: systemctl status 'tke-overlay-*'",
            )
        ],
    ),
    "a VIP that two hold": (
        ledger_of("cloud1", "idc1", vips=VIPS),
        [*well("cloud1", "idc1"), clb("clb1", *VIPS.values()), clb("clb2", "10.0.2.2")],
        [
            finding(
                "bad",
                "vip",
                ["clb1", "clb2"],
                "The VIP 10.0.2.2 (apiserver) is held by clb1, clb2 at the same time.",
                "VRRP does not pass between them: protocol 112 must, by unicast.",
            )
        ],
    ),
    "VIPs of which nobody knows": (
        ledger_of("cloud1", "idc1", vips=VIPS),
        [*well("cloud1", "idc1"), clb("clb1", asked=False, overlay=None), clb("clb2", asked=False, overlay=None)],
        [],
    ),
    "a node CIDR that waits for one": (
        ledger_of("cloud1", "idc1", pending={"10.244.7.0/24": Pending("gone", NOW, ["idc1"], True)}),
        well("cloud1", "idc1"),
        [
            finding(
                "note",
                "pending",
                ["idc1"],
                "1 released node CIDR waits for idc1 to drop it.",
                f"The next run that reaches it frees it: {SITE}",
            )
        ],
    ),
    "node CIDRs that wait for two": (
        ledger_of(
            "cloud1",
            "idc1",
            pending={
                "10.244.7.0/24": Pending("gone", NOW, ["idc1"], True),
                "10.244.8.0/24": Pending("far", NOW, ["cloud1", "idc1"], False),
                "10.244.9.0/24": Pending("long", NOW, [], True),
            },
        ),
        well("cloud1", "idc1"),
        [
            finding(
                "note",
                "pending",
                ["cloud1", "idc1"],
                "2 released node CIDRs wait for cloud1, idc1 to drop them.",
                f"The next run that reaches them frees them: {SITE}",
            )
        ],
    ),
    "a pool that is nearly full": (
        ledger_of(*(f"n{number}" for number in range(14))),
        well(*(f"n{number}" for number in range(14))),
        [
            finding(
                "warn",
                "pool",
                [],
                "1 of 15 node CIDRs are free.",
                "Append a CIDR to overlay_container_cidr, or release nodes that are gone.",
            )
        ],
    ),
    "a pool with just enough room": (
        ledger_of(*(f"n{number}" for number in range(13))),
        well(*(f"n{number}" for number in range(13))),
        [],
    ),
    "a pool that is full": (
        ledger_of(*(f"n{number}" for number in range(15))),
        well(*(f"n{number}" for number in range(15))),
        [
            finding(
                "warn",
                "pool",
                [],
                "No node CIDR is free: a further node cannot join.",
                "Append a CIDR to overlay_container_cidr, or release nodes that are gone.",
            )
        ],
    ),
}


@pytest.mark.parametrize("case", FINDINGS)
def test_findings(case):
    ledger, hosts, wanted = FINDINGS[case]
    assert drawn(ledger, hosts)["findings"] == wanted


def test_addresses_that_nobody_knows():
    ledger = ledger_of("cloud1", "idc1", "idc2")
    hosts = well(*ledger.nodes)
    ledger.nodes["idc1"] = ledger.nodes["idc1"]._replace(underlay=None)
    said = "No underlay address is known of idc1, so no other node reaches its Pods."
    wanted = finding("warn", "underlay", ["idc1"], said, f"Put it into the inventory, then: {SITE}")
    assert drawn(ledger, hosts)["findings"] == [wanted]
    ledger.nodes["idc2"] = ledger.nodes["idc2"]._replace(underlay=None)
    said = "No underlay address is known of idc1, idc2, so no other node reaches their Pods."
    wanted = finding("warn", "underlay", ["idc1", "idc2"], said, f"Put them into the inventory, then: {SITE}")
    assert drawn(ledger, hosts)["findings"] == [wanted]


@pytest.mark.parametrize(
    ("limit", "away", "because"),
    [
        ("cloud1", ["idc1"], "the run was limited to cloud1"),
        (None, ["idc1"], "the run did not include it"),
        (None, ["idc1", "idc2"], "the run did not include them"),
    ],
)
def test_who_was_left_out(limit, away, because):
    hosts = [host("cloud1", dict.fromkeys(away, 1)), *(ProbedHost(name, "idc") for name in away)]
    remedy = "For the whole picture, run it without a limit: ansible-playbook tke.overlay.report"
    wanted = finding("note", "limit", away, f"Not looked at: {', '.join(away)}; {because}.", remedy)
    assert drawn(ledger_of("cloud1", *away), hosts, limit=limit)["findings"] == [wanted]


def test_what_is_wrong_with_the_settings():
    picture = drawn(ledger_of("cloud1", "idc1"), well("cloud1", "idc1"), problem="the VPC overlaps")
    remedy = f"Resolve it, then: {SITE}"
    assert picture["findings"] == [finding("bad", "conflict", [], "No plan can be made: the VPC overlaps", remedy)]
    picture = drawn(ledger_of("cloud1", "idc1"), well("cloud1", "idc1"), reserved=["10.9.0.0/24"])
    said = (
        "The map lacks what is reserved (overlay_reserved): "
        "reserved range 10.9.0.0/24 (overlay_reserved) is not part of the container CIDR"
    )
    remedy = "ansible-playbook tke.overlay.preflight says what is wrong with the settings."
    assert picture["findings"] == [finding("warn", "reserved", [], f"{said} 10.244.0.0/20.", remedy)]


def test_at_most_three_hosts_are_in_a_command():
    names = [f"idc{number}" for number in range(1, 5)]
    (found,) = drawn(ledger_of("cloud1", *names), [host("cloud1", None, names), *gone(*names)])["findings"]
    assert found["remedy"].startswith(f"Look whether the machines run {PING} idc1,idc2,idc3 -m ping. ")
    assert found["remedy"].endswith(f"{RELEASE}idc1,idc2,idc3")


def test_a_tenth_of_the_pool_is_nearly_full_and_more_is_not():
    """Ten node CIDRs, as five are reserved."""
    ledger, nine = ledger_of(*(f"n{number}" for number in range(9))), well(*(f"n{number}" for number in range(9)))
    reserved = ["10.244.10.0/23", "10.244.12.0/23", "10.244.14.0/24"]
    (found,) = drawn(ledger, nine, reserved=reserved)["findings"]
    assert found["text"] == "1 of 10 node CIDRs are free."
    assert drawn(ledger_of(*(f"n{number}" for number in range(8))), nine[:8], reserved=reserved)["findings"] == []


def test_what_is_said_of_the_tunnel_is_what_most_hosts_say():
    """Of TCP, because there the device is named, over IPv6, because there the overhead is another."""
    told = {"vtep": {"device": "ov9"}, "mtu": 1300, "port": 4789, "underlay": "fd00::1"}
    names = ("a", "b", "c")
    hosts = [host(name, {other: 1 for other in names if other != name}, **told) for name in names]
    hosts[2] = host("c", {"a": 1, "b": 1}, mtu=9000, port=9, underlay="10.0.0.1")
    tcp = {"peer": "b", "kind": "tcp", "text": "TCP to b (10.0.0.1, port 8471): no connection; the rest"}
    hosts[0].probe["findings"] += [tcp, {"peer": "c", "kind": "mtu", "largest": 1000, "text": ""}]
    hosts[1].probe["findings"] += [{"peer": "c", "kind": "silent"}, {"peer": "d", "kind": "silent"}]
    hosts[1].probe["findings"] += [{"peer": "a", "kind": "strange"}]
    silence, hole, tcp = drawn(ledger_of(*names), hosts)["findings"]
    assert "UDP port 4789" in silence["remedy"]
    assert (
        hole["text"]
        == "MTU black hole: a -> c: 1300 bytes are lost, 1000 bytes is the largest that passes (1 of 1 pair)."
    )
    assert hole["remedy"].startswith("Set overlay_underlay_mtu to 1070 of a or c ")
    assert tcp["text"] == "TCP does not pass: a -> b, echoes of the same size do: no connection (1 of 1 pair)."
    assert "ethtool -K ov9 " in tcp["remedy"]
    hosts = [host("a", {"b": 1}), host("b", {"a": 1})]
    hosts[0].probe["findings"].append({"peer": "b", "kind": "tcp", "text": ""})
    (tcp,) = drawn(ledger_of("a", "b"), hosts)["findings"]
    assert "ethtool -K tke0 " in tcp["remedy"]


def test_nodes_without_a_site_are_called_so():
    names = ("a", "b", "c")
    hosts = [host(name, None, [other for other in names if other != name])._replace(site="") for name in names]
    hosts += [host("d1", {"d2": 1}), host("d2", {"d1": 1})]
    found = drawn(ledger_of(*names, "d1", "d2"), hosts)["findings"]
    assert [each["text"] for each in found] == ["Silent: within no site: all 6 of 6 pairs."]


def test_the_worst_comes_first_and_else_the_order_stays():
    found = [
        {"severity": severity, "kind": kind} for kind, severity in enumerate(["note", "warn", "bad", "warn", "bad"])
    ]
    assert [each["kind"] for each in by_severity(found)] == [2, 4, 1, 3, 0]


# --- the verdict ---

MEASURED = "2 of 2 nodes were seen; 2 of 2 questions to peers were answered."
UNMEASURED = "whether they reach each other was not measured."
TWO = ledger_of("cloud1", "idc1")
VERDICTS = {
    "whole": (well("cloud1", "idc1"), "The network is whole.", MEASURED),
    "warn": (
        [host("cloud1", {"idc1": 1}, plan=OLD), host("idc1", {"cloud1": 1})],
        "The network is whole, and 1 thing wants attention.",
        MEASURED,
    ),
    "warn, twice": (
        [host("cloud1", {"idc1": 1}, plan=OLD, drift=["a"]), host("idc1", {"cloud1": 1})],
        "The network is whole, and 2 things want attention.",
        MEASURED,
    ),
    "partial: one was not asked": (
        [host("cloud1", {"idc1": 1}), ProbedHost("idc1", "idc")],
        "Nothing is broken as far as was looked.",
        "1 of 2 nodes were seen; 1 of 1 questions to peers were answered.",
    ),
    "partial: who reaches whom was not asked": (
        [host("cloud1", plan=OLD), host("idc1")],
        "Nothing is broken as far as was looked, and 1 thing wants attention.",
        f"2 of 2 nodes were seen; {UNMEASURED}",
    ),
    "unseen": (
        [ProbedHost("cloud1", "cloud"), ProbedHost("idc1", "idc")],
        "Nobody was asked: this is what the ledger says, and no more.",
        f"0 of 2 nodes were seen; {UNMEASURED}",
    ),
    "bad": (
        [host("cloud1", None, ["idc1"]), host("idc1", {"cloud1": 1})],
        "The network is not whole: 1 thing to put right.",
        "2 of 2 nodes were seen; 1 of 2 questions to peers were answered.",
    ),
    "bad, twice": (
        [host("cloud1", None, ["idc1"]), host("idc1", node=None)],
        "The network is not whole: 2 things to put right.",
        "2 of 2 nodes were seen; 0 of 1 questions to peers were answered.",
    ),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_verdict(case):
    hosts, text, detail = VERDICTS[case]
    state = case.partition(":")[0].partition(",")[0]
    assert drawn(TWO, hosts)["verdict"] == {"state": state, "text": text, "detail": detail}


# --- everything else, as a program reads it ---


def test_a_node_in_full():
    ledger = ledger_of("idc1")
    ledger.nodes["idc1"] = Assignment("10.244.3.0/24", "192.168.1.11", 9000, THEN, True)
    told = {
        "plan": {"applied": "p1", "wanted": "p2", "current": False},
        "drift": ["link: mtu is 1400, not 1450"],
        "counters": {"rx_packets": 7, "tx_dropped": 0, "rules": {"unrouted": 3}, "note": "no number"},
        "timer": "stopped",
        "mtu": 8950,
    }
    (node,) = drawn(ledger, [host("idc1", {"cloud9": 2}, **told)])["nodes"]
    assert node == {
        "name": "idc1",
        "site": "idc",
        "state": "differs",
        "seen": True,
        "node_cidr": "10.244.3.0/24",
        "number": 3,
        "underlay": "192.168.1.11",
        "underlay_mtu": 9000,
        "since": THEN,
        "pinned": True,
        "mtu": 8950,
        "plan": "p1",
        "current": False,
        "drift": ["link: mtu is 1400, not 1450"],
        "failures": [],
        "findings": ["drift", "plan"],
        "counters": {"rx_packets": 7, "tx_dropped": 0, "rule_unrouted": 3},
        "timer": "stopped",
        "reach": {"asked": 1, "answered": 1, "median_ms": None, "worst_ms": None},
    }


def test_a_node_of_which_nothing_is_known_in_full():
    picture = drawn(ledger_of("idc9"), [ProbedHost("idc1", "idc", asked=True, failures=["no nft"])])
    missing, orphan = picture["nodes"]
    nothing = {
        **dict.fromkeys(["node_cidr", "number", "underlay", "underlay_mtu", "since"]),
        **dict.fromkeys(["mtu", "plan", "current", "counters", "timer", "reach"]),
    }
    assert missing == {
        **nothing,
        "name": "idc1",
        "site": "idc",
        "state": "missing",
        "seen": False,
        "pinned": False,
        "drift": [],
        "failures": ["no nft"],
        "findings": ["failed", "missing"],
    }
    assert (orphan["name"], orphan["site"], orphan["state"], orphan["node_cidr"]) == (
        "idc9",
        "",
        "orphan",
        "10.244.0.0/24",
    )
    assert (orphan["number"], orphan["findings"], orphan["seen"]) == (0, ["orphan"], False)


def test_a_plan_is_current_or_not_only_where_one_was_wanted():
    unknown = {"applied": "p1", "wanted": None, "current": True}
    first, second = drawn(TWO, [host("cloud1", {"idc1": 1}, plan=unknown), host("idc1", {"cloud1": 1})])["nodes"]
    assert (first["plan"], first["current"]) == ("p1", None)
    assert (second["plan"], second["current"]) == ("a", True)


@pytest.mark.parametrize(
    ("what", "state"),
    [
        (host("idc1", {"cloud1": 1}), "ok"),
        (host("idc1", {"cloud1": 1}, drift=["a"]), "differs"),
        (host("idc1", {"cloud1": 1}, plan=OLD), "differs"),
        (ProbedHost("idc1", "idc"), "unseen"),
        (host("idc1", None, ["cloud1"], drift=["a"]), "loss"),
        (host("idc1", node=None, drift=["a"]), "bare"),
        (ProbedHost("idc1", "idc", asked=True, failures=["a"]), "failed"),
        (ProbedHost("idc1", "idc", asked=True, unreachable=True, failures=["a"]), "unreachable"),
    ],
)
def test_the_state_of_a_node_is_the_worst_that_is_known(what, state):
    hosts = [host("cloud1", {"idc1": 1}), what]
    assert drawn(TWO, hosts)["nodes"][1]["state"] == state


def test_sites_come_as_the_inventory_has_them_with_those_it_does_not_name_at_the_end():
    hosts = [
        host("idc1", {"idc2": 3.0, "cloud1": 9}),
        host("idc2", {"idc1": 5.0}, plan=OLD),
        host("cloud1"),
        ProbedHost("cloud2", "cloud"),
        host("edge1"),
    ]
    assert drawn(ledger_of("idc1", "idc2", "cloud1", "cloud2", "edge1", "old"), hosts, sites=("idc", "cloud", "none"))[
        "sites"
    ] == [
        {"name": "idc", "nodes": 2, "reached": 2, "findings": 1, "median_ms": 4.0},
        {"name": "cloud", "nodes": 2, "reached": 1, "findings": 0, "median_ms": None},
        {"name": "edge", "nodes": 1, "reached": 1, "findings": 0, "median_ms": None},
    ]


def test_what_was_looked_at():
    hosts = [host("cloud1", {"idc1": 1}), host("cloud2"), ProbedHost("idc1", "idc", asked=True, unreachable=True)]
    look = {"inventory": ["/srv/hosts.yml"], "limit": "cloud,idc1", "title": None}
    picture = drawn(ledger_of(*THREE, "idc2"), [*hosts, ProbedHost("idc2", "idc"), clb("clb1")], **look)
    assert picture["looked"] == {
        "at": NOW,
        "inventory": ["/srv/hosts.yml"],
        "limit": "cloud,idc1",
        "ledger": "/srv/ledger.json",
        "nodes": 4,
        "asked": 3,
        "reached": 2,
        "probed": 1,
    }
    assert (picture["title"], picture["cluster"], picture["schema"]) == ("Overlay of demo", "demo", 1)
    assert drawn(TWO, [], title="Mine")["title"] == "Mine"


def test_an_orphan_belongs_to_no_site_and_is_not_counted_with_nodes_that_have_none():
    hosts = [host("a")._replace(site=""), host("b")._replace(site="")]
    (site,) = drawn(ledger_of("a", "b", "old"), hosts)["sites"]
    assert (site["name"], site["nodes"]) == ("", 2)
    assert drawn(ledger_of("cloud1", "old"), [host("cloud1")])["sites"][0]["name"] == "cloud"
    assert len(drawn(ledger_of("cloud1", "old"), [host("cloud1")])["sites"]) == 1


def test_a_node_in_a_reserved_range_is_a_node_on_the_map():
    counts = drawn(ledger_of("a", "b"), [host("a"), host("b")], reserved=["10.244.1.0/24", "10.244.4.0/24"])["pool"]
    assert (counts["counts"]["used"], counts["counts"]["reserved"], counts["capacity"]["max_nodes"]) == (2, 1, 14)


def test_forecast_and_history_are_part_of_the_picture():
    older = ledger_of("a")
    record = PlanRecord(ledger_of("a", "b"), "/srv/ledger.json", [("v1", older)])
    picture = build(record, [host("a"), host("b")], ReportOptions(NOW, sites=SITES, events=1))
    assert picture["forecast"] == forecast(record.ledger, [older], NOW)
    assert picture["history"] == [event(THEN, "joined", "b", "got 10.244.1.0/24", "/srv/ledger.json")]


def renamed(change):
    """Whether a picture has another name when this is done to its ledger and hosts."""
    ledger, hosts = ledger_of("cloud1", "idc1"), well("cloud1", "idc1")
    before = drawn(ledger, hosts)["picture"]
    assert len(before) == 12
    change(ledger, hosts)
    return drawn(ledger, hosts)["picture"] != before


def test_what_gives_a_picture_another_name():
    def underlay(ledger, _hosts):
        ledger.nodes["idc1"] = ledger.nodes["idc1"]._replace(underlay="10.9.9.9")

    def asked(_ledger, hosts):
        hosts[0] = host("cloud1", {"idc1": 0.5})._replace(probe={**hosts[0].probe, "asked": 7, "answered": 7})

    def another_pair(_ledger, hosts):
        hosts[0] = hosts[0]._replace(probe={**hosts[0].probe, "rtt_ms": {}})

    def slower(_ledger, hosts):
        hosts[0] = host("cloud1", {"idc1": 70.0})

    def slowest(_ledger, hosts):
        hosts[:] = [hosts[0], host("idc1", {"cloud1": 90.0})]

    assert [renamed(change) for change in (underlay, asked, another_pair)] == [True, True, True]
    assert [renamed(change) for change in (slower, slowest)] == [False, False]


def test_who_is_the_slowest_and_how_fast_a_site_is_give_no_other_name():
    names = ("cloud1", "cloud2", "cloud3")
    one = [host(name, {other: 1.0 for other in names if other != name}) for name in names]
    two = [host("cloud1", {"cloud2": 9.0, "cloud3": 8.0}), host("cloud2", {"cloud1": 7.0, "cloud3": 6.0}), one[2]]
    assert drawn(ledger_of(*names), one)["picture"] == drawn(ledger_of(*names), two)["picture"]


def test_what_waits_is_in_the_order_of_the_node_cidrs():
    ledger = ledger_of(
        "cloud1",
        pending={
            "10.244.9.0/24": Pending("far", THEN, [], True),
            "10.244.7.0/24": Pending("gone", NOW, ["cloud1"], False),
        },
    )
    assert drawn(ledger, [host("cloud1")])["pending"] == [
        {
            "node_cidr": "10.244.7.0/24",
            "number": 7,
            "node": "gone",
            "since": NOW,
            "on": ["cloud1"],
            "quarantined": False,
        },
        {"node_cidr": "10.244.9.0/24", "number": 9, "node": "far", "since": THEN, "on": [], "quarantined": True},
    ]


def test_vips_are_in_the_order_of_their_addresses():
    ledger = ledger_of("cloud1", vips={"apiserver": "10.0.2.30", "services": "10.0.2.4"})
    hosts = [host("cloud1"), clb("clb1", "10.0.2.30"), clb("clb2", "10.0.2.4")]
    assert drawn(ledger, hosts)["vips"] == [
        {"name": "services", "address": "10.0.2.4", "holders": ["clb2"], "seen": True},
        {"name": "apiserver", "address": "10.0.2.30", "holders": ["clb1"], "seen": True},
    ]
    alone = drawn(ledger, [host("cloud1"), clb("clb1", overlay=None)])["vips"]
    assert [(vip["holders"], vip["seen"]) for vip in alone] == [([], False), ([], False)]


def test_the_summary_of_a_diff():
    ledger = ledger_of("cloud1", "idc1", vips=VIPS)
    hosts = [host("cloud1", {"idc1": 1}, plan=OLD), host("idc1", {"cloud1": 1}), clb("clb1", "10.0.2.2")]
    assert summary(drawn(ledger, [*hosts, clb("clb2", "10.0.2.2"), ProbedHost("new")])).splitlines() == [
        "The network is not whole: 2 things to put right.",
        "2 of 3 nodes were seen; 2 of 2 questions to peers were answered.",
        "node CIDRs: 2 of 15 used, 13 free",
        "bad: The VIP 10.0.2.2 (apiserver) is held by clb1, clb2 at the same time.",
        "bad: The VIP 10.0.2.3 (services) is held by none of the hosts that were looked at.",
        "warn: cloud1 has not applied the present plan.",
        "warn: new has no node CIDR yet.",
        "note: Not looked at: new; the run did not include it.",
        "VIP apiserver 10.0.2.2: clb1, clb2",
        "VIP services 10.0.2.3: nobody",
        "node cloud1 10.244.0.0/24 cloud differs",
        "node idc1 10.244.1.0/24 idc ok",
        "node new - - missing",
    ]


# --- who reaches whom ---


def test_reach_in_full():
    hosts = [
        host("cloud1", {"cloud2": 1.0, "idc1": 4.0}),
        host("cloud2", {"cloud1": 2.0}, ["idc1"]),
        host("idc1", {"cloud1": 6.0}, ["cloud2"]),
    ]
    hosts[0].probe["findings"].append({"peer": "idc1", "kind": "mtu", "largest": 1300, "text": ""})
    hosts[2].probe["findings"].append({"peer": "cloud1", "kind": "tcp", "text": ""})
    hosts[2].probe["findings"].append({"peer": "cloud1", "kind": "tcp", "text": ""})
    reach = drawn(ledger_of(*THREE), hosts, sites=("idc", "cloud"))["reach"]
    matrix = reach.pop("matrix")
    cells = reach.pop("sites")
    assert reach == {"askers": 3, "asked": 6, "answered": 4, "median_ms": 3.0, "worst_ms": 6.0}
    keys = ("source", "target", "pairs", "answered", "silent", "mtu", "tcp", "median_ms", "worst_ms", "worst")
    assert [tuple(cell[key] for key in keys) for cell in cells] == [
        ("idc", "cloud", 2, 1, 1, 0, 1, 6.0, 6.0, ["idc1", "cloud1"]),
        ("cloud", "idc", 2, 1, 1, 1, 0, 4.0, 4.0, ["cloud1", "idc1"]),
        ("cloud", "cloud", 2, 2, 0, 0, 0, 1.5, 2.0, ["cloud2", "cloud1"]),
    ]
    assert matrix["cloud1"]["idc1"] == {"asker": "cloud1", "peer": "idc1", "ms": 4.0, "kinds": ["mtu"], "largest": 1300}
    assert matrix["idc1"]["cloud1"]["kinds"] == ["tcp"]
    assert matrix["cloud2"]["idc1"] == {
        "asker": "cloud2",
        "peer": "idc1",
        "ms": None,
        "kinds": ["silent"],
        "largest": None,
    }


def test_times_are_rounded_to_what_can_be_measured():
    hosts = [host("cloud1", {"idc1": 0.12345}), host("idc1", {"cloud1": 0.2})]
    picture = drawn(TWO, hosts)
    assert picture["nodes"][0]["reach"] == {"asked": 1, "answered": 1, "median_ms": 0.123, "worst_ms": 0.123}
    assert picture["reach"]["median_ms"] == round((0.123 + 0.2) / 2, 3)


def test_peers_that_have_no_site_and_sites_that_nobody_named_come_last():
    hosts = [host("idc1", {"old": 1.0, "edge1": 1.0}), host("edge1", {"idc1": 1.0}), host("alps1", {"idc1": 1.0})]
    cells = drawn(ledger_of("idc1", "edge1", "alps1", "old"), hosts, sites=("idc",))["reach"]["sites"]
    assert [(cell["source"], cell["target"]) for cell in cells] == [
        ("idc", ""),
        ("idc", "edge"),
        ("alps", "idc"),
        ("edge", "idc"),
    ]


def test_up_to_sixty_four_nodes_there_is_a_matrix():
    names = [f"n{number}" for number in range(65)]
    ledger = Ledger("demo", Pool(["10.244.0.0/16"], 256, 256))
    assert drawn(ledger, [host(name) for name in names[:64]])["reach"]["matrix"] == {}
    assert drawn(ledger, [host(name) for name in names])["reach"]["matrix"] is None


def test_a_probe_that_does_not_say_how_many_it_asked_asked_nobody():
    lone = host("cloud1", {"idc1": 1})
    lone.probe.pop("asked"), lone.probe.pop("answered")
    assert drawn(TWO, [lone])["nodes"][0]["reach"]["asked"] == 0


# --- the pool ---


def test_the_map_in_full():
    cidrs = ["10.244.0.0/21", "10.9.0.0/23", "10.8.0.0/24"]
    ledger = Ledger("demo", Pool(cidrs, 256, 512, ["10.244.3.0/24"]), cursor=1)
    ledger.nodes["a"] = Assignment("10.244.0.0/24", None, None, NOW, False)
    ledger.nodes["b"] = Assignment("10.9.1.0/24", None, None, NOW, False)
    ledger.pending = {
        "10.244.1.0/24": Pending("gone", NOW, ["a"], True),
        "10.244.2.0/24": Pending("far", NOW, [], True),
    }
    assert pool_map(ledger, {"b"}) == {
        "cidrs": cidrs,
        "service_cidr": "10.244.6.0/23",
        "node_cidr_size": 256,
        "capacity": dict(ledger.capacity()),
        "counts": {"used": 1, "orphan": 1, "pending": 1, "quarantined": 1, "free": 4, "reserved": 1},
        "cursor": {"node_cidr": "10.244.1.0/24", "next": "10.244.4.0/24"},
        "blocks": [
            {
                "cidr": "10.244.0.0/21",
                "first_number": 0,
                "node_cidrs": 6,
                "runs": [
                    {"first": "10.244.0.0", "addresses": 256, "node_cidrs": 1, "state": "used"},
                    {"first": "10.244.1.0", "addresses": 256, "node_cidrs": 1, "state": "pending"},
                    {"first": "10.244.2.0", "addresses": 256, "node_cidrs": 1, "state": "quarantined"},
                    {"first": "10.244.3.0", "addresses": 256, "node_cidrs": 1, "state": "reserved"},
                    {"first": "10.244.4.0", "addresses": 512, "node_cidrs": 2, "state": "free"},
                    {"first": "10.244.6.0", "addresses": 512, "node_cidrs": 0, "state": "service"},
                ],
            },
            {
                "cidr": "10.9.0.0/23",
                "first_number": 6,
                "node_cidrs": 2,
                "runs": [
                    {"first": "10.9.0.0", "addresses": 256, "node_cidrs": 1, "state": "free"},
                    {"first": "10.9.1.0", "addresses": 256, "node_cidrs": 1, "state": "orphan"},
                ],
            },
            {
                "cidr": "10.8.0.0/24",
                "first_number": 8,
                "node_cidrs": 1,
                "runs": [{"first": "10.8.0.0", "addresses": 256, "node_cidrs": 1, "state": "free"}],
            },
        ],
    }


def test_what_is_too_little_for_a_node_cidr_is_spare():
    (block,) = pool_map(Ledger("demo", Pool(["10.99.0.0/24"], 64, 32)), ())["blocks"]
    assert block["runs"] == [
        {"first": "10.99.0.0", "addresses": 192, "node_cidrs": 3, "state": "free"},
        {"first": "10.99.0.192", "addresses": 32, "node_cidrs": 0, "state": "spare"},
        {"first": "10.99.0.224", "addresses": 32, "node_cidrs": 0, "state": "service"},
    ]


# --- how long it lasts ---


def joined(*days_of_june, cidr="10.244.0.0/20"):
    """Nodes that came on these days; 0 is the last of May."""
    ledger = Ledger("demo", Pool([cidr], 256, 256))
    for number, day in enumerate(days_of_june):
        when = f"2026-06-{day:02}T00:00:00Z" if day else "2026-05-31T23:59:59Z"
        ledger.nodes[f"n{number}"] = Assignment(ledger.pool.node_cidr(number), None, None, when, False)
    return ledger


BASIS = (
    "in the last 30 days {} came and stayed (those of the first day are not counted), and of the nodes before, {} "
    "released as far as previous versions of the ledger show ({} could be read)"
)


def told(ledger, *previous):
    made = forecast(ledger, previous, NOW)
    return made["text"], made["basis"]


def test_no_forecast_without_a_basis():
    assert told(joined(*range(1, 16))) == ("The pool is used up.", "no node CIDR is free")
    assert told(joined()) == ("No estimate.", "there are no nodes yet")
    assert told(joined(29)) == ("No estimate.", "the record is 1 day old, and a trend needs 14 days")
    assert told(joined(17)) == ("No estimate.", "the record is 13 days old, and a trend needs 14 days")
    assert told(joined(16, 17, 18, 19))[0].startswith("Full in about ")
    few = f"{BASIS.format('2 nodes', '0 were', 0)}; a trend needs 3 nodes"
    assert told(joined(0, 1, 2)) == ("No estimate.", few)


def test_no_forecast_without_growth():
    assert told(joined(0, 0)) == ("No end in sight: no growth.", BASIS.format("0 nodes", "0 were", 0))
    before = joined(0, 0, 0, 0, 0)
    now = joined(0)
    for number, day in enumerate((2, 3, 4), 5):
        now.nodes[f"n{number}"] = Assignment(now.pool.node_cidr(number), None, None, f"2026-06-0{day}T00:00:00Z", False)
    assert told(now, before) == ("No end in sight: no growth.", BASIS.format("3 nodes", "4 were", 1))
    del before.nodes["n4"], before.nodes["n3"], before.nodes["n2"]
    assert told(now, before, before)[1] == BASIS.format("3 nodes", "1 was", 2)


def test_as_many_that_went_as_came_are_no_growth():
    now, before = joined(0, 2, 3, 4), joined(0, 0, 0, 0)
    assert told(now, before) == ("No end in sight: no growth.", BASIS.format("3 nodes", "3 were", 1))
    one = f"{BASIS.format('1 node', '0 were', 0)}; a trend needs 3 nodes"
    assert told(joined(0, 2)) == ("No estimate.", one)


def test_a_date_late_in_the_year():
    ledger = joined(0)
    for number, when in enumerate(("2026-10-05", "2026-11-05", "2026-12-05"), 1):
        ledger.nodes[f"n{number}"] = Assignment(ledger.pool.node_cidr(number), None, None, f"{when}T00:00:00Z", False)
    made = forecast(ledger, [], "2026-12-31T00:00:00Z")
    assert (made["per_day"], made["exhausted_on"]) == (3 / 90, "2027-11-26")


def test_a_forecast_in_full():
    made = forecast(joined(0, 5, 10, 15), [], NOW)
    assert made == {
        "free": 11,
        "per_day": 0.1,
        "days_left": 110,
        "exhausted_on": "2026-10-18",
        "basis": BASIS.format("3 nodes", "0 were", 0),
        "text": "Full in about 4 months, if it goes on like this.",
    }
    slow = forecast(joined(0, 5, 10, 15, cidr="10.0.0.0/8"), [], NOW)
    assert slow["text"] == "No end in sight: more than a hundred years."
    assert (slow["per_day"], slow["days_left"], slow["exhausted_on"]) == (0.1, None, None)
    assert slow["basis"] == BASIS.format("3 nodes", "0 were", 0)


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (0, None),
        (1, "1 day"),
        (2, "2 days"),
        (13, "13 days"),
        (14, "2 weeks"),
        (59, "8 weeks"),
        (60, "2 months"),
        (729, "24 months"),
        (730, "2 years"),
        (2000, "5 years"),
    ],
)
def test_a_time_in_words(free, words):
    """One node a day, and so many node CIDRs left."""
    ledger = Ledger("demo", Pool(["10.0.0.0/12"], 256, 256))
    size = ledger.pool.size
    for number in range(size - free):
        day = min(number, 30)
        when = f"2026-06-{day:02}T00:00:00Z" if day else "2026-05-31T00:00:00Z"
        late = number < 31
        ledger.nodes[f"n{number}"] = Assignment(
            ledger.pool.node_cidr(number), None, None, when if late else "2026-05-31T00:00:00Z", False
        )
    text = forecast(ledger, [], NOW)["text"]
    assert text == ("The pool is used up." if words is None else f"Full in about {words}, if it goes on like this.")


# --- what changed ---


def event(when, what, node, text, version):
    return {"when": when, "what": what, "node": node, "text": text, "version": version}


def test_every_kind_of_change():
    older, newer = ledger_of("a", "b", "c", "d", "e"), ledger_of("a", "b", "c", "d")
    older.pending = {
        "10.244.9.0/24": Pending("x", THEN, ["a"], True),
        "10.244.8.0/24": Pending("y", THEN, ["a"], True),
        "10.244.10.0/24": Pending("w", THEN, [], True),
    }
    newer.pending = {
        "10.244.4.0/24": Pending("e", NOW, ["a"], True),
        "10.244.9.0/24": Pending("x", THEN, [], True),
    }
    older.vips, newer.vips = {"apiserver": "10.0.2.2", "same": "10.0.2.9"}, {"services": "10.0.2.3", "same": "10.0.2.9"}
    newer.pool = Pool(["10.244.0.0/20", "10.9.0.0/24", "10.8.0.0/24"], 256, 256)
    newer.nodes["a"] = newer.nodes["a"]._replace(underlay="10.0.0.99")
    newer.nodes["b"] = newer.nodes["b"]._replace(underlay_mtu=None)
    newer.nodes["c"] = newer.nodes["c"]._replace(pinned=True)
    newer.nodes["d"] = newer.nodes["d"]._replace(since=NOW)
    newer.nodes["f"] = Assignment("10.244.12.0/24", None, None, NOW, True)
    events = history(newer, "now", [("v1", older)], 13)
    assert events == [
        event(NOW, "joined", "f", "got 10.244.12.0/24, chosen by hand", "now"),
        event(NOW, "released", "e", "gave back 10.244.4.0/24", "now"),
        event(NOW, "joined", "d", "got 10.244.3.0/24", "now"),
        event(None, "dropped", "y", "10.244.8.0/24 has been dropped by all hosts", "now"),
        event(None, "dropped", "x", "10.244.9.0/24 has been dropped by all hosts", "now"),
        event(None, "released", "d", "gave back 10.244.3.0/24", "now"),
        event(None, "pinned", "c", "10.244.2.0/24 is now chosen by hand", "now"),
        event(None, "moved", "b", "underlay MTU 1500 → unknown", "now"),
        event(None, "moved", "a", "underlay address 10.0.0.1 → 10.0.0.99", "now"),
        event(None, "grew", None, "container CIDR 10.9.0.0/24, 10.8.0.0/24 was appended", "now"),
        event(None, "vip", None, "VIP apiserver: 10.0.2.2 → none", "now"),
        event(None, "vip", None, "VIP services: none → 10.0.2.3", "now"),
        event(THEN, "released", "y", "gave back 10.244.8.0/24", None),
    ]


def test_what_the_oldest_version_tells_by_its_dates():
    ledger = ledger_of("a", pending={"10.244.9.0/24": Pending("x", NOW, [], True)})
    assert history(ledger, "now", [], 5) == [
        event(NOW, "released", "x", "gave back 10.244.9.0/24", None),
        event(THEN, "joined", "a", "got 10.244.0.0/24", None),
    ]


def test_an_address_that_was_not_known_is_called_so():
    older, newer = ledger_of("a"), ledger_of("a")
    older.nodes["a"] = older.nodes["a"]._replace(underlay=None, underlay_mtu=None)
    texts = [each["text"] for each in history(newer, "now", [("v1", older)], 2)]
    assert sorted(texts) == ["underlay MTU unknown → 1500", "underlay address unknown → 10.0.0.1"]
    texts = [each["text"] for each in history(older, "now", [("v1", newer)], 2)]
    assert sorted(texts) == ["underlay MTU 1500 → unknown", "underlay address 10.0.0.1 → unknown"]

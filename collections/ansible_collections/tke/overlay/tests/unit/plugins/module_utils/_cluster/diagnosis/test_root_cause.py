# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the causes that verify and the report print: hosts, text and next steps of each kind of fault."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import (
    MTU,
    REFUSES,
    SILENT,
    TCP,
    Answers,
    Cause,
    Evidence,
    Fleet,
    causes,
    grouped,
)
from ansible_collections.tke.overlay.plugins.module_utils._links import parse_links

SITES = {"cloud1": "cloud", "cloud2": "cloud", "cloud3": "cloud", "idc1": "idc", "idc2": "idc", "idc10": "idc"}
FLEET = Fleet(SITES, size=1400, port=4789, overhead=50, device="ov0")
ALL = set(itertools.permutations(SITES, 2))
PROBE_TEXTS = {
    SILENT: "{} (10.244.0.0) does not answer",
    MTU: "an MTU black hole to {}",
    TCP: "TCP to {} (10.244.0.0, port 8471, 64 KiB there and back): no connection; echoes of full size pass",
}


def pairs(*hosts, to=None):
    """Return the pairs of these hosts with all others, or with those in ``to``, in both directions."""
    others = set(to or SITES)
    return {(one, two) for one, two in ALL if (one in hosts and two in others) or (two in hosts and one in others)}


def found(kind, wrong, fleet=FLEET, unreached=(), largest=None, text=None):
    """Return the causes if every node probes every other and the pairs in ``wrong`` fail."""
    answers = {}
    for host in fleet.sites:
        bad = [peer for prober, peer in sorted(wrong) if prober == host]
        text = text or PROBE_TEXTS[kind]
        findings = [{"peer": peer, "kind": kind, "text": text.format(peer), "largest": largest} for peer in bad]
        times = {peer: 0.5 for peer in fleet.sites if peer != host and (kind != SILENT or peer not in bad)}
        reached = host not in unreached
        answers[host] = Answers(reached, rtt_ms=times, findings=findings) if reached else Answers(reached=False)
    return causes(Evidence(fleet, answers))


BETWEEN_SITES = pairs("idc1", "idc2", "idc10", to=["cloud1", "cloud2", "cloud3"])

SILENT_CASES = {
    "no pair": (
        ALL,
        tuple(SITES),
        "no node reaches any other: no answer for 30 pairs",
        ("open UDP port 4789 between all nodes", "apply the plan to all nodes: ansible-playbook tke.overlay.site"),
    ),
    "between sites": (
        BETWEEN_SITES,
        ("cloud1", "cloud2", "cloud3", "idc1", "idc2", "idc10"),
        "no answer: cloud and idc: 18 of 18 pairs",
        ("open UDP port 4789 both ways between cloud and idc, and check firewalls and routes on the line",),
    ),
    "within a site": (
        pairs("idc1", "idc2", "idc10", to=["idc1", "idc2", "idc10"]),
        ("idc1", "idc2", "idc10"),
        "no answer: within idc: 6 of 6 pairs",
        ("open UDP port 4789 both ways within idc, and check firewalls and routes on the line",),
    ),
    "one host": (
        pairs("idc2"),
        ("idc2",),
        "cut off: idc2: reachable for Ansible, no answer for 10 of 10 pairs",
        ("on idc2: open UDP port 4789 both ways, and check its drift: ansible-playbook tke.overlay.status",),
    ),
    "some of one host": (
        {("cloud1", "idc2"), ("idc10", "idc2"), ("cloud2", "idc2")},
        ("cloud1", "cloud2", "idc2", "idc10"),
        "no answer: idc2 with cloud1, cloud2, idc10: 3 of 10 pairs",
        ("check that UDP port 4789 is open at idc2, and their drift: ansible-playbook tke.overlay.status",),
    ),
    "one pair both ways": (
        {("cloud1", "idc2"), ("idc2", "cloud1")},
        ("cloud1", "idc2"),
        "no answer: cloud1 and idc2",
        (("check that UDP port 4789 is open at cloud1, idc2, and their drift: ansible-playbook tke.overlay.status"),),
    ),
    "one pair": (
        {("cloud1", "idc2")},
        ("cloud1", "idc2"),
        "no answer: cloud1 -> idc2",
        ("check that UDP port 4789 is open at idc2, and their drift: ansible-playbook tke.overlay.status",),
    ),
}


@pytest.mark.parametrize("case", SILENT_CASES)
def test_unreachable_pairs(case):
    wrong, hosts, text, steps = SILENT_CASES[case]
    assert found(SILENT, wrong) == [Cause(SILENT, hosts, text, steps)]


def test_a_host_without_own_answers_is_not_called_reachable():
    answers = {
        "cloud1": Answers(True, rtt_ms={"cloud2": 1}, findings=[{"peer": "idc1", "kind": SILENT, "text": ""}]),
        "cloud2": Answers(True, rtt_ms={"cloud1": 1}, findings=[{"peer": "idc1", "kind": SILENT, "text": ""}]),
    }
    text, step = (
        "no answer: idc1: 2 of 2 pairs",
        "check that idc1 is up and that its firewall accepts UDP port 4789",
    )
    assert causes(Evidence(FLEET, answers)) == [Cause(SILENT, ("idc1",), text, (step,))]


def test_a_host_that_is_down_has_no_cause_here():
    assert found(SILENT, pairs("idc2"), unreached=["idc2"]) == []


def test_a_host_that_cannot_send_is_the_one_to_fix():
    wrong = {("idc1", "cloud1"), ("idc1", "cloud2"), ("idc1", "idc2")}
    message = "this host cannot send to {} (10.244.0.0): Network is unreachable"
    (cause,) = found(SILENT, wrong, text=message)
    reason = " (idc1 cannot send: Network is unreachable)"
    assert cause.text == f"no answer: idc1 with cloud1, cloud2, idc2: 3 of 10 pairs{reason}"
    assert cause.steps == ("restore what is missing there: ansible-playbook tke.overlay.site --limit idc1",)
    (cause,) = found(SILENT, {("cloud1", "idc2"), ("idc2", "cloud1")}, text=message)
    assert cause.text == "no answer: cloud1 and idc2 (cloud1, idc2 cannot send: Network is unreachable)"
    assert cause.steps == ("restore what is missing there: ansible-playbook tke.overlay.site --limit cloud1,idc2",)


def test_different_send_errors_are_listed_separately():
    answers = {
        "cloud1": Answers(True, findings=[{"peer": "idc1", "kind": SILENT, "text": "cannot send to x: No route"}]),
        "idc1": Answers(True, findings=[{"peer": "cloud1", "kind": SILENT, "text": "cannot send to x: Denied"}]),
        "idc2": Answers(True, rtt_ms={"idc10": 1}),
    }
    (cause,) = causes(Evidence(FLEET, answers))
    assert cause.text == "no answer: cloud1 and idc1 (idc1 cannot send: Denied; cloud1 cannot send: No route)"


LINE = "fix the line: it must carry 1450 bytes"
MTU_CASES = {
    "between sites": (
        BETWEEN_SITES,
        1300,
        (
            "MTU black hole: cloud and idc: packets of 1400 bytes are lost; "
            "the largest size that passes is 1300 bytes (18 of 18 pairs)"
        ),
        f"set overlay_underlay_mtu to 1350 for site idc and run tke.overlay.site; or {LINE}",
    ),
    "within a site": (
        pairs("idc1", "idc2", "idc10", to=["idc1", "idc2", "idc10"]),
        1300,
        (
            "MTU black hole: within idc: packets of 1400 bytes are lost; "
            "the largest size that passes is 1300 bytes (6 of 6 pairs)"
        ),
        f"set overlay_underlay_mtu to 1350 for site idc and run tke.overlay.site; or {LINE}",
    ),
    "one host": (
        pairs("idc2"),
        1200,
        (
            "MTU black hole: idc2 with cloud1, cloud2, cloud3, idc1, idc10: "
            "packets of 1400 bytes are lost; the largest size that passes is 1200 bytes (10 of 10 pairs)"
        ),
        f"set overlay_underlay_mtu to 1250 of idc2 and run tke.overlay.site; or {LINE}",
    ),
    "one pair": (
        {("cloud1", "idc2")},
        1200,
        (
            "MTU black hole: cloud1 -> idc2: packets of 1400 bytes are lost; "
            "the largest size that passes is 1200 bytes (1 of 1 pair)"
        ),
        f"set overlay_underlay_mtu to 1250 of cloud1 or idc2 and run tke.overlay.site; or {LINE}",
    ),
    "of unknown size": (
        {("cloud1", "idc2")},
        None,
        (
            "MTU black hole: cloud1 -> idc2: packets of 1400 bytes are lost; "
            "the largest size that passes is not known (1 of 1 pair)"
        ),
        LINE,
    ),
}


@pytest.mark.parametrize("case", MTU_CASES)
def test_mtu_black_holes(case):
    wrong, largest, text, step = MTU_CASES[case]
    hosts = tuple(host for host in SITES if any(host in pair for pair in wrong))
    assert found(MTU, wrong, largest=largest) == [Cause(MTU, hosts, text, (step,))]


def test_the_smallest_size_that_passes_is_printed():
    findings = [
        {"peer": peer, "kind": MTU, "text": "", "largest": size} for peer, size in (("idc1", 1300), ("idc2", 900))
    ]
    answers = {"cloud1": Answers(True, rtt_ms={"idc1": 1, "idc2": 1}, findings=findings)}
    (cause,) = causes(Evidence(FLEET, answers))
    assert "; the largest size that passes is 900 bytes (2 of 2 pairs)" in cause.text


def test_unknown_size_and_port_are_left_out():
    unknown = FLEET._replace(size=None, port=None)
    (cause,) = found(MTU, {("cloud1", "idc2")}, fleet=unknown)
    assert cause.text.startswith("MTU black hole: cloud1 -> idc2: full-size packets are lost; ")
    assert cause.steps == ("fix the line",)
    (cause,) = found(SILENT, BETWEEN_SITES, fleet=unknown)
    assert cause.steps[0].startswith("open the tunnel's UDP port (overlay_port) both ways between cloud and idc")


CHECKSUMS = (
    (
        "checksum offload of the network card is the usual cause: "
        "try 'ethtool -K ov0 tx-checksum-ip-generic off' at both ends"
    ),
    "some underlays (vSphere, NSX) drop TCP inside VXLAN on a port that they use: set another overlay_port",
)


@pytest.mark.parametrize(
    ("wrong", "who", "share"),
    [
        (BETWEEN_SITES, "cloud and idc", "18 of 18 pairs"),
        (pairs("idc2"), "idc2 with cloud1, cloud2, cloud3, idc1, idc10", "10 of 10 pairs"),
        ({("cloud1", "idc2")}, "cloud1 -> idc2", "1 of 1 pair"),
    ],
)
def test_tcp_failures(wrong, who, share):
    (cause,) = found(TCP, wrong)
    assert cause.text == f"TCP fails: {who}; ICMP echoes of the same size pass: no connection ({share})"
    assert cause.steps == CHECKSUMS
    (cause,) = found(TCP, wrong, text="it hangs")
    assert cause.text == f"TCP fails: {who}; ICMP echoes of the same size pass: it hangs ({share})"


@pytest.mark.parametrize(
    ("refused", "who", "where"),
    [
        ({"cloud1": ["idc1"]}, "cloud1 -> idc1", "idc1"),
        ({"cloud1": ["idc1"], "cloud2": ["idc1"]}, "idc1 with cloud1, cloud2", "idc1"),
        ({"cloud1": ["idc1"], "idc1": ["cloud1"]}, "cloud1 and idc1", "cloud1, idc1"),
    ],
)
def test_rejected_tcp(refused, who, where):
    fleet = FLEET._replace(responders=set(SITES))
    answers = {host: Answers(True, rtt_ms={peer: 1 for peer in SITES if peer != host}) for host in SITES}
    answers.update({host: answers[host]._replace(refused=peers) for host, peers in refused.items()})
    (cause,) = causes(Evidence(fleet, answers))
    assert cause.text.startswith(f"TCP fails: {who}; ICMP echoes of the same size pass: {REFUSES} (")
    assert cause.steps == (f"find the firewall at {where} that rejects TCP inside the overlay",)


def test_silent_pairs_do_not_count_for_larger_probes():
    """The share counts only the pairs that were probed at this size."""
    silent = [{"peer": "idc2", "kind": SILENT, "text": ""}]
    holes = [{"peer": peer, "kind": MTU, "text": "", "largest": 1300} for peer in ("cloud2", "idc1")]
    times = {"cloud2": 1, "cloud3": 1, "idc1": 1}
    answers = {"cloud1": Answers(True, rtt_ms=times, findings=[*silent, *holes])}
    silence, hole = causes(Evidence(FLEET, answers))
    assert silence.text == "no answer: cloud1 -> idc2"
    assert hole.text.endswith("(2 of 3 pairs)")


def test_many_single_faults_are_grouped_once_each():
    """5,000 nodes probe 16 peers each, with faults without a pattern: every pair is in one group."""
    names = [f"n{number}" for number in range(5000)]
    probed = {
        (one, names[(number * 7 + 31 * step) % 5000]) for number, one in enumerate(names) for step in range(1, 17)
    }
    wrong = {pair for number, pair in enumerate(sorted(probed)) if number % 8 == 0}
    groups = grouped(wrong, probed, dict.fromkeys(names, "cloud"))
    assert sorted(pair for group in groups for pair in group.pairs) == sorted(wrong)


@pytest.mark.parametrize(
    ("probed", "text"),
    [
        ({("a", "b"), ("b", "a")}, "no answer: a and b"),
        ({("a", "b"), ("b", "a"), ("a", "c")}, "no node reaches any other: no answer for 3 pairs"),
    ],
)
def test_two_nodes_alone_are_printed_as_a_pair(probed, text):
    answers = {
        host: Answers(True, findings=[{"peer": two, "kind": SILENT, "text": ""} for one, two in probed if one == host])
        for host in "abc"
    }
    (cause,) = causes(Evidence(FLEET._replace(sites=dict.fromkeys("abc", "x")), answers))
    assert cause.text == text


def texts(*arguments, **options):
    return [cause.text for cause in found(*arguments, **options)]


def test_a_cut_off_host_does_not_hide_a_fault_between_sites():
    assert texts(SILENT, BETWEEN_SITES | pairs("idc2")) == [
        "cut off: idc2: reachable for Ansible, no answer for 10 of 10 pairs",
        "no answer: cloud and idc: 12 of 12 pairs",
    ]


def test_hosts_of_an_unreachable_site_are_cut_off_one_by_one():
    assert texts(SILENT, pairs("idc1", "idc2", "idc10")) == [
        "cut off: idc1: reachable for Ansible, no answer for 10 of 10 pairs",
        "cut off: idc2: reachable for Ansible, no answer for 8 of 8 pairs",
        "cut off: idc10: reachable for Ansible, no answer for 6 of 6 pairs",
    ]


def groups_of(wrong, passed):
    """Return the groups of a sample in which the pairs in ``wrong`` fail and those in ``passed`` do not."""
    return grouped(set(wrong), {*wrong, *passed}, SITES)


def test_two_pairs_are_enough_for_a_fault_between_sites():
    wrong = [("cloud1", "idc1"), ("cloud2", "idc2")]
    (group,) = groups_of(wrong, [("cloud1", "cloud2"), ("idc1", "idc2")])
    assert (group.sites, group.of) == (("cloud", "idc"), 2)


def test_the_host_with_more_failed_pairs_comes_first():
    wrong = [("cloud1", "cloud2"), ("cloud1", "cloud3")]
    wrong += [("idc1", "idc2"), ("idc2", "idc1"), ("idc1", "idc10"), ("idc10", "idc1")]
    passed = [("cloud2", "cloud3"), ("idc2", "idc10"), ("cloud1", "idc1"), ("cloud2", "cloud1")]
    assert [group.hosts for group in groups_of(wrong, passed)] == [("idc1",), ("cloud1",)]


def test_a_host_without_a_site_is_grouped_as_well():
    wrong = [("cloud1", "orphan"), ("cloud2", "orphan")]
    passed = [("cloud1", "cloud2"), ("orphan", "cloud1"), ("orphan", "cloud2")]
    (group,) = groups_of(wrong, passed)
    assert (group.hosts, group.of) == (("orphan",), 4)
    (group,) = groups_of(
        [*wrong, ("orphan", "cloud1"), ("orphan", "cloud2")], [("cloud1", "cloud2"), ("orphan", "idc1")]
    )
    assert (group.sites, group.of) == (("?", "cloud"), 4)


def test_pairs_without_a_tcp_test_are_counted():
    fleet = FLEET._replace(failed_responders={"idc1": "taken"}, responders={"cloud1"})
    findings = [{"peer": "idc1", "kind": TCP, "text": ""}]
    answers = {
        "cloud1": Answers(
            True, rtt_ms={"idc1": 1, "idc2": 1, "idc10": 1}, findings=findings, refused=["idc2", "idc10"]
        ),
        "cloud2": Answers(True, rtt_ms={"idc1": 1}, findings=findings),
    }
    untested = Evidence(fleet, answers).untested_tcp
    assert untested == {("cloud1", "idc1"), ("cloud1", "idc2"), ("cloud1", "idc10"), ("cloud2", "idc1")}


def test_only_the_reason_of_an_error_is_repeated():
    answers = {
        "idc10": Answers(True, findings=[{"peer": "cloud1", "kind": SILENT, "text": "x: cannot send to y: Denied"}]),
        "idc2": Answers(True, findings=[{"peer": "cloud1", "kind": SILENT, "text": "x: cannot send to y: Denied"}]),
        "cloud1": Answers(True, rtt_ms={"idc1": 1}),
        "cloud2": Answers(True, rtt_ms={"idc2": 1, "idc10": 1}),
    }
    (cause,) = causes(Evidence(FLEET, answers))
    assert cause.text.endswith(" (idc2, idc10 cannot send: Denied)")
    assert cause.steps[0].endswith("--limit idc2,idc10")
    (cause,) = found(TCP, {("cloud1", "idc2")}, text="TCP to {} (a): b (c): d; e; f")
    assert "; ICMP echoes of the same size pass: b (c): d (" in cause.text


def test_sites_that_probe_only_each_other_are_one_group():
    """Each node probes the other site, and only the nodes in the cloud probe each other."""
    within = [("cloud1", "cloud2"), ("cloud2", "cloud3"), ("cloud3", "cloud1")]
    (group,) = groups_of(BETWEEN_SITES, within)
    assert (group.sites, group.of) == (("cloud", "idc"), 18)


CLOSED = {"drops": ("tunnel",), "text": "chain x drops it", "remedy": "open x", "some": False}
RULE = {**CLOSED, "text": "a rule drops it", "some": True}
GENERIC = "open UDP port 4789 both ways between cloud and idc, and check firewalls and routes on the line"
NSX = (
    "if UDP port 4789 is open: some networks (NSX) drop VXLAN of others on that port: set another overlay_port, "
    "such as 8472"
)


def answers_of_silent(wrong, underlay=None, **changes):
    """Return the answers if these pairs are silent; ``changes`` are further attributes of hosts."""
    answers = {}
    for host in SITES:
        bad = [peer for prober, peer in sorted(wrong) if prober == host]
        findings = [{"peer": peer, "kind": SILENT, "text": "", "underlay": underlay} for peer in bad]
        times = {peer: 0.5 for peer in SITES if peer != host and peer not in bad}
        answers[host] = Answers(True, rtt_ms=times, findings=findings, **changes.get(host, {}))
    return answers


@pytest.mark.parametrize(
    ("underlay", "text", "steps"),
    [
        (None, "", (GENERIC,)),
        (False, "; the underlay addresses do not answer pings either", (GENERIC,)),
        (True, "; the underlay addresses answer pings", (GENERIC, NSX)),
    ],
)
def test_silent_pairs_tell_whether_the_underlay_answers(underlay, text, steps):
    (cause,) = causes(Evidence(FLEET, answers_of_silent(BETWEEN_SITES, underlay)))
    assert cause.text == f"no answer: cloud and idc: 18 of 18 pairs{text}"
    assert cause.steps == steps


def test_the_advised_port_is_another_one():
    evidence = Evidence(FLEET._replace(port=8472), answers_of_silent(ALL, underlay=True))
    assert causes(evidence)[0].steps[-1].endswith("such as 4789")


def test_dropped_packets_of_no_peer_come_before_all_other_steps():
    counted = {"counters": {"not_a_peer": 5, "wrong_checksums": 0}}
    answers = answers_of_silent(BETWEEN_SITES, underlay=True, cloud1=counted, idc2=counted)
    (cause,) = causes(Evidence(FLEET, answers))
    assert cause.steps[0].startswith("cloud1, idc2 dropped 10 tunnel packets from addresses of no peer: if NAT ")
    assert cause.steps[1:] == (GENERIC,)


def test_a_closed_firewall_is_the_cause_of_a_silent_host():
    answers = answers_of_silent(pairs("idc2"), underlay=False, idc2={"filters": [CLOSED]})
    (cause,) = causes(Evidence(FLEET, answers))
    assert cause.text == "cut off: idc2: reachable for Ansible, no answer for 10 of 10 pairs"
    assert cause.steps == ("on idc2: chain x drops it: open x",)


def test_a_closed_firewall_of_a_host_that_only_others_do_not_reach():
    wrong = {(host, "idc2") for host in SITES if host != "idc2"}
    (cause,) = causes(Evidence(FLEET, answers_of_silent(wrong, idc2={"filters": [{**CLOSED, "drops": ("ping", TCP)}]})))
    assert cause.steps == ("on idc2: chain x drops it: open x",)


@pytest.mark.parametrize("each", [CLOSED, {**RULE, "drops": (TCP,)}])
def test_a_firewall_that_cannot_be_the_cause_is_not_named(each):
    """The hosts of a site reach each other through it; or it drops TCP only."""
    answers = answers_of_silent(BETWEEN_SITES, cloud1={"filters": [each]})
    assert causes(Evidence(FLEET, answers))[0].steps == (GENERIC,)


def test_a_rule_that_can_concern_some_peers_is_named_first():
    answers = answers_of_silent({("cloud1", "idc2")}, underlay=True, idc2={"filters": [RULE]})
    (cause,) = causes(Evidence(FLEET, answers))
    assert cause.text == "no answer: cloud1 -> idc2"
    assert cause.steps[0] == "on idc2: a rule drops it: open x"
    assert cause.steps[1].startswith("check that UDP port 4789 is open at idc2")
    assert len(cause.steps) == 2


def test_hosts_with_the_same_firewall_share_a_step():
    closed = {"filters": [CLOSED]}
    answers = answers_of_silent(ALL, **dict.fromkeys(SITES, closed))
    (cause,) = causes(Evidence(FLEET, answers))
    assert cause.steps == ("on cloud1, cloud2, cloud3, idc1, idc2, idc10: chain x drops it: open x",)


def tcp_answers(wrong, text="TCP to x (y): no connection; z", **changes):
    """Return the answers if TCP fails for these pairs only; ``changes`` are further attributes of hosts."""
    answers = {}
    for host in SITES:
        findings = [{"peer": peer, "kind": TCP, "text": text} for prober, peer in sorted(wrong) if prober == host]
        times = {peer: 0.5 for peer in SITES if peer != host}
        answers[host] = Answers(True, rtt_ms=times, findings=findings, **changes.get(host, {}))
    return answers


def test_a_filtered_tcp_test_names_the_firewall_of_the_probed_node():
    """The pairs that the firewall does not explain have a cause of their own."""
    wrong = {(host, "idc2") for host in SITES if host != "idc2"} | {("cloud1", "idc1")}
    rule = {**CLOSED, "drops": (TCP,)}
    first, second = causes(Evidence(FLEET, tcp_answers(wrong, idc2={"filters": [rule]}, cloud1={"filters": [rule]})))
    assert (first.kind, first.hosts) == (TCP, ("idc2",))
    assert first.text == "TCP test filtered at idc2: chain x drops it (5 of 5 pairs)"
    assert first.steps == ("on idc2: open x; Pods do not use that port, but without it their TCP is not tested",)
    assert second.text.startswith("TCP fails: cloud1 -> idc1; ")


def test_nodes_with_the_same_filter_are_one_cause():
    filtered = {"filters": [CLOSED, {**CLOSED, "drops": ("ping", TCP)}]}
    wrong = {pair for pair in ALL if pair[1] in ("idc2", "idc10")}
    (cause,) = causes(Evidence(FLEET, tcp_answers(wrong, idc2=filtered, idc10=filtered)))
    assert cause.text == "TCP test filtered at idc2, idc10: chain x drops it (10 of 10 pairs)"


def test_a_rejected_connection_is_explained_by_the_firewall():
    fleet = FLEET._replace(responders=set(SITES))
    answers = tcp_answers((), idc1={"filters": [{**RULE, "drops": (TCP,)}]})
    answers["cloud1"] = answers["cloud1"]._replace(refused=["idc1"])
    (cause,) = causes(Evidence(fleet, answers))
    assert cause.text == "TCP test filtered at idc1: a rule drops it (1 of 5 pairs)"


def test_wrong_checksums_are_named_with_the_hosts_that_counted_them():
    counted = {"counters": {"wrong_checksums": 7, "not_a_peer": 0}}
    answers = tcp_answers({("cloud1", "idc2"), ("cloud2", "idc2")}, idc2=counted)
    (cause,) = causes(Evidence(FLEET, answers))
    assert "no connection; TCP segments with wrong checksums arrived: 7 at idc2 (2 of 10 pairs)" in cause.text
    assert cause.steps == (CHECKSUMS[0].replace("the usual cause", "the cause"),)


def test_without_wrong_checksums_the_underlay_comes_first():
    none = {"counters": {"wrong_checksums": 0, "not_a_peer": 0}}
    (cause,) = causes(Evidence(FLEET, tcp_answers({("cloud1", "idc2")}, idc2=none)))
    assert cause.steps == (CHECKSUMS[1], "look for a firewall at idc2 that drops TCP on ov0")
    stalled = tcp_answers({("cloud1", "idc2")}, text="TCP to x (y): connected, then stalled; z", idc2=none)
    assert causes(Evidence(FLEET, stalled))[0].steps == CHECKSUMS


# --- links ---

LINKED = FLEET._replace(
    links=parse_links("cloud cloud direct 1500\ncloud idc wireguard 1440\nidc idc vxlan 1450\n"), wireguard_port=51821
)
WITHIN_IDC = pairs("idc1", "idc2", "idc10", to=["idc1", "idc2", "idc10"])
WITHIN_CLOUD = pairs("cloud1", "cloud2", "cloud3", to=["cloud1", "cloud2", "cloud3"])


@pytest.mark.parametrize(
    ("wrong", "words", "absent"),
    [
        (BETWEEN_SITES, ["UDP port 51821 (WireGuard) both ways", "wg show", "overlay_wireguard_endpoint"], "4789"),
        (WITHIN_IDC, ["open UDP port 4789 both ways within idc"], "wg show"),
        (WITHIN_CLOUD, ["packets of Pods without a tunnel (direct)"], "UDP"),
        (ALL, ["UDP port 4789 and UDP port 51821 (WireGuard) and packets of Pods"], "wg show"),
    ],
)
def test_silent_pairs_name_what_their_link_needs(wrong, words, absent):
    (cause,) = found(SILENT, wrong, LINKED)
    steps = " ".join(cause.steps)
    assert [word for word in words if word not in steps] == []
    assert absent not in steps


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            BETWEEN_SITES,
            ["packets of 1440 bytes", "set mtu: 1360 for sites: [cloud, idc] in overlay_links", "1500 bytes"],
        ),
        (WITHIN_IDC, ["packets of 1450 bytes", "set overlay_underlay_mtu to 1350 for site idc", "1500 bytes"]),
        (WITHIN_CLOUD, ["packets of 1500 bytes", "set overlay_underlay_mtu to 1300 for site cloud", "1500 bytes"]),
    ],
)
def test_a_black_hole_is_that_of_a_link(wrong, words):
    (cause,) = found(MTU, wrong, LINKED, largest=1300)
    text = " ".join([cause.text, *cause.steps])
    assert [word for word in words if word not in text] == []


def test_a_host_with_links_of_several_sizes_names_the_range():
    (cause,) = found(MTU, pairs("idc2"), LINKED, largest=1300)
    assert "packets of 1440 to 1450 bytes" in cause.text
    assert "set overlay_underlay_mtu to 1350 of idc2" in cause.steps[0]


def test_the_line_must_carry_what_its_largest_link_needs():
    """WireGuard adds 60 bytes to 1440, VXLAN 50 to 1450, and a direct link nothing to 1500."""
    links = parse_links("cloud cloud direct 1500\ncloud idc wireguard 1440\nidc idc direct 1500\n")
    (cause,) = found(MTU, pairs("idc2"), LINKED._replace(links=links))
    assert cause.steps == ("fix the line: it must carry 1500 bytes",)


def test_the_smaller_mtu_is_that_of_the_narrowest_link():
    """A line that carries 1300 bytes: 1232 over WireGuard after its padding, 1250 over VXLAN."""
    passing = {"wireguard": 1232, "vxlan": 1250}
    answers = {
        host: Answers(
            True,
            rtt_ms=dict.fromkeys(peers, 1),
            findings=[
                {
                    "peer": peer,
                    "kind": MTU,
                    "text": "",
                    "largest": passing[LINKED.links.between(SITES[host], SITES[peer]).transport],
                }
                for peer in peers
                if "idc2" in (host, peer)
            ],
        )
        for host, peers in {one: [two for two in SITES if two != one] for one in SITES}.items()
    }
    (cause,) = causes(Evidence(LINKED, answers))
    assert cause.steps[0].startswith("set overlay_underlay_mtu to 1292 of idc2 and ")


@pytest.mark.parametrize(
    ("wrong", "closed", "named"),
    [
        (pairs("idc2", to=["cloud1", "cloud2", "cloud3"]), "wireguard", True),
        (pairs("idc2", to=["cloud1", "cloud2", "cloud3"]), "vxlan", False),
        (pairs("idc2", to=["idc1", "idc10"]), "vxlan", True),
        (pairs("idc2", to=["idc1", "idc10"]), "wireguard", False),
    ],
)
def test_a_firewall_is_the_cause_only_on_links_that_it_closes(wrong, closed, named):
    """The peers over the other links have answers from the host."""
    filters = {"filters": [{**CLOSED, "transport": closed}]}
    (cause,) = causes(Evidence(LINKED, answers_of_silent(wrong, idc2=filters)))
    assert (cause.steps == ("on idc2: chain x drops it: open x",)) is named
    assert any("chain x" in step for step in cause.steps) is named


def test_a_rule_of_another_transport_is_not_named():
    (cause,) = causes(Evidence(LINKED, answers_of_silent(BETWEEN_SITES, idc2={"filters": [RULE]})))
    assert not any("a rule drops it" in step for step in cause.steps)


def test_a_filtered_tcp_test_is_that_of_its_link():
    rule = {**CLOSED, "drops": (TCP,), "transport": "vxlan"}
    wrong = {("cloud1", "idc2"), ("idc1", "idc2")}
    causes_of = causes(Evidence(LINKED, tcp_answers(wrong, idc2={"filters": [rule]})))
    assert [cause.text.partition(":")[0] for cause in causes_of] == ["TCP test filtered at idc2", "TCP fails"]
    assert causes_of[1].hosts == ("cloud1", "idc2")


@pytest.mark.parametrize(
    ("wrong", "steps"),
    [
        (BETWEEN_SITES, ["look for a firewall at {} that drops TCP on tke-wg1"]),
        (
            WITHIN_CLOUD,
            [
                "look for a firewall at {} that drops TCP on the link of the underlay",
                (
                    "checksum offload of the network card can be the cause: "
                    "try 'ethtool -K LINK_WITH_UNDERLAY_ADDRESS tx-checksum-ip-generic off' at both ends"
                ),
            ],
        ),
    ],
)
def test_a_tcp_failure_names_a_link_that_its_packets_pass(wrong, steps):
    (cause,) = found(TCP, wrong, LINKED._replace(wireguard_device="tke-wg1"))
    hosts = ", ".join(cause.hosts)
    assert list(cause.steps) == [step.format(hosts) for step in steps]


def test_other_ports_are_no_remedy_where_there_is_no_vxlan():
    (cause,) = found(TCP, WITHIN_CLOUD, LINKED)
    assert "overlay_port" not in " ".join(cause.steps)
    (cause,) = found(TCP, WITHIN_IDC, LINKED)
    assert "overlay_port" in " ".join(cause.steps)

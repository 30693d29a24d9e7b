# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the verdict of verify: each cause is printed once, without its consequences."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import Answers, Fleet, grouped
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import steps
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.verify import judge

SITES = {"cloud1": "cloud", "cloud2": "cloud", "cloud3": "cloud", "idc1": "idc", "idc2": "idc", "idc3": "idc"}
PAIRS = set(itertools.permutations(SITES, 2))
FLEET = Fleet(SITES, size=1400, port=8472, overhead=50, responders=set(SITES))
TEXT = {
    "silent": "{} does not answer",
    "mtu": "an MTU black hole to {}",
    "tcp": "TCP to {} (10.0.0.0, port 8471, 64 KiB there and back): no connection; echoes of full size pass",
}


def finding(peer, kind, largest=None):
    return {"peer": peer, "address": "10.244.0.0", "kind": kind, "text": TEXT[kind].format(peer), "largest": largest}


def answers(wrong=(), unreached=(), fleet=FLEET, largest=None, peers_of=None):
    """Return the answers of all nodes.

    :param wrong: pair -> kind of its fault.
    :param unreached: nodes that Ansible does not reach.
    :param peers_of: node -> the peers that it probes; all others where missing.
    """
    kinds = dict(wrong)
    collected = {}
    for host in fleet.sites:
        peers = [peer for peer in (peers_of or {}).get(host, fleet.sites) if peer != host]
        bad = {peer: kinds[host, peer] for peer in peers if (host, peer) in kinds}
        collected[host] = (
            Answers(reached=False)
            if host in unreached
            else Answers(
                reached=True,
                rtt_ms={peer: 0.5 for peer in peers if bad.get(peer) != "silent"},
                findings=[finding(peer, kind, largest) for peer, kind in bad.items()],
                tcp=True,
            )
        )
    return collected


def texts(verdict):
    return [line.text for line in [*verdict.lines, *steps(verdict.steps)]]


def between(one, two):
    return {(a, b) for a, b in PAIRS if {SITES[a], SITES[b]} == {one, two}}


def of(host):
    return {pair for pair in PAIRS if host in pair}


def all_of(pairs, kind):
    return dict.fromkeys(pairs, kind)


FORWARDING = {
    "check": "forwarding",
    "text": "net.ipv4.conf.tke0.forwarding is 0: packets from other nodes do not reach Pods of this host",
    "remedy": "sysctl -w net.ipv4.conf.tke0.forwarding=1",
    "severity": "bad",
}
PLUGINS = {"check": "plugins", "text": "no CNI plugins yet", "remedy": "Install them", "severity": "note"}


def test_reachable_nodes_are_unhealthy_if_pods_cannot_talk():
    collected = answers()
    for host in ("idc3", "cloud1"):
        collected[host] = collected[host]._replace(pods=[FORWARDING])
    verdict = judge(FLEET, collected)
    assert not verdict.healthy
    lines = texts(verdict)
    assert lines[0].startswith("unhealthy: 30 of 30 pairs reachable")
    assert lines[1] == f"  Pods: cloud1, idc3: {FORWARDING['text']}"
    assert lines[2:] == ["next: on cloud1, idc3: sysctl -w net.ipv4.conf.tke0.forwarding=1"]


def test_a_warning_about_pods_has_a_step_and_the_overlay_is_healthy():
    collected = answers()
    collected["idc3"] = collected["idc3"]._replace(pods=[{**PLUGINS, "severity": "warn"}, PLUGINS])
    verdict = judge(FLEET, collected)
    assert verdict.healthy
    assert texts(verdict)[1:3] == ["Pods: idc3: no CNI plugins yet", "idc3: no CNI plugins yet"]
    assert verdict.steps == ["on idc3: install them"]


def test_a_note_about_pods_is_printed_with_a_healthy_overlay():
    collected = answers()
    collected["idc3"] = collected["idc3"]._replace(pods=[PLUGINS])
    verdict = judge(FLEET, collected)
    assert verdict.healthy
    assert texts(verdict)[1:] == ["idc3: no CNI plugins yet"]


def test_a_healthy_overlay_is_one_line():
    verdict = judge(FLEET, answers())
    assert verdict.healthy
    (line,) = texts(verdict)
    assert line.startswith(
        "healthy: 30 of 30 pairs reachable (small, full-size of 1400 bytes and TCP); worst round trip 0.5 ms "
    )


def test_a_host_that_is_down_is_printed_once():
    verdict = judge(FLEET, answers(all_of(of("idc2"), "silent"), unreached=["idc2"]))
    assert not verdict.healthy
    printed = texts(verdict)
    assert sum("idc2" in line for line in printed if not line.startswith("next:")) == 1
    assert printed[1] == "  down: idc2: unreachable for Ansible and for all 5 nodes that probed it"


def test_a_site_behind_a_cut_line_is_one_line_and_one_step():
    """The controller is on the side of the cloud: it reaches no host of the site either."""
    sites = {**SITES, **{f"idc{number}": "idc" for number in range(4, 101)}}
    idc = [host for host, site in sites.items() if site == "idc"]
    fleet = FLEET._replace(sites=sites)
    wrong = {(one, two) for one in sites for two in sites if sites[one] != sites[two]}
    printed = texts(judge(fleet, answers(all_of(wrong, "silent"), unreached=idc, fleet=fleet)))
    assert printed[1:] == [
        "  site idc: neither Ansible nor any node of cloud reaches its 100 nodes",
        "next: check the line between cloud and idc, and whether idc has power; its nodes keep their node CIDRs",
    ]


def test_each_site_behind_a_cut_line_is_a_line():
    sites = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c", "d1": "d"}
    fleet = FLEET._replace(sites=sites)
    wrong = {pair for pair in itertools.permutations(sites, 2) if set(pair) & {"a1", "a2", "b1", "b2"}}
    printed = texts(judge(fleet, answers(all_of(wrong, "silent"), unreached=["a1", "a2", "b1", "b2"], fleet=fleet)))
    assert printed[1:3] == [
        f"  site {site}: neither Ansible nor any node of c, d reaches its 2 nodes" for site in ("a", "b")
    ]
    assert printed[3].startswith("next: check the line between c, d and a, ")
    assert not any("release" in line for line in printed)


@pytest.mark.parametrize(
    "changes",
    [
        {"idc3": Answers(True, failure="no nft")},  # Ansible reaches the site
        {"idc3": Answers(False, connection="Host key verification failed.")},  # SSH of the site answers
    ],
)
def test_a_site_of_which_a_host_runs_is_no_cut_line(changes):
    wrong = between("cloud", "idc")
    printed = texts(judge(FLEET, {**answers(all_of(wrong, "silent"), unreached=["idc1", "idc2", "idc3"]), **changes}))
    assert not any("site idc" in line for line in printed)
    assert any(line.startswith("  down: idc1, idc2") for line in printed)


def test_hosts_that_are_down_share_a_line_and_a_step():
    down = [f"idc{number}" for number in range(4, 40)]
    sites = {**SITES, **dict.fromkeys(down, "idc")}
    fleet = FLEET._replace(sites=sites)
    wrong = {pair for pair in itertools.permutations(sites, 2) if set(pair) & set(down)}
    printed = texts(judge(fleet, answers(all_of(wrong, "silent"), unreached=down, fleet=fleet)))
    shown = "idc4, idc5, idc6, idc7, idc8, idc9 and 30 more"
    assert printed[1:] == [
        f"  down: {shown}: unreachable for Ansible and for all 6 nodes that probed them",
        f"next: check power and network of {shown}; if one of them is gone for good, release its node CIDR",
    ]


def test_hosts_that_only_ansible_does_not_reach_share_a_line():
    assert texts(judge(FLEET, answers(unreached=["idc2", "idc3"])))[1:] == [
        "  idc2, idc3: unreachable for Ansible but reachable over the overlay; they did not probe their peers",
        "next: check SSH from the controller to idc2, idc3",
    ]


def test_a_host_that_answers_probes_is_not_called_down():
    printed = texts(judge(FLEET, answers(unreached=["idc2"])))
    assert "  idc2: unreachable for Ansible but reachable over the overlay; it did not probe its peers" in printed
    assert not any("down: " in line for line in printed)


def test_a_cut_off_host_is_printed_instead_of_its_peers():
    printed = texts(judge(FLEET, answers(all_of(of("cloud1"), "silent"))))
    assert printed[1:2] == ["  cut off: cloud1: reachable for Ansible, no answer for 10 of 10 pairs"]
    assert len(printed) == 3


def test_two_cut_off_hosts_are_two_lines():
    printed = texts(judge(FLEET, answers(all_of(of("cloud1") | of("idc3"), "silent"))))
    assert [line.split(":")[1].strip() for line in printed if "cut off" in line] == ["cloud1", "idc3"]


def test_all_pairs_between_sites_are_one_line():
    printed = texts(judge(FLEET, answers(all_of(between("cloud", "idc"), "silent"))))
    assert printed[1] == "  no answer: cloud and idc: 18 of 18 pairs"
    assert printed[2].startswith("next: open UDP port 8472 both ways between cloud and idc")


def test_a_host_that_is_down_does_not_hide_a_firewall():
    wrong = all_of(between("cloud", "idc") | of("idc2"), "silent")
    printed = texts(judge(FLEET, answers(wrong, unreached=["idc2"])))
    assert any("down: idc2" in line for line in printed)
    assert "  no answer: cloud and idc: 12 of 12 pairs" in printed


def test_no_single_host_is_blamed_if_every_pair_fails():
    printed = texts(judge(FLEET, answers(all_of(PAIRS, "silent"))))
    assert printed[1:] == [
        "  no node reaches any other: no answer for 30 pairs",
        "next: open UDP port 8472 between all nodes",
        "      apply the plan to all nodes: ansible-playbook tke.overlay.site",
    ]


def test_an_mtu_hole_between_sites_names_size_and_variable():
    printed = texts(judge(FLEET, answers(all_of(between("cloud", "idc"), "mtu"), largest=1300)))
    assert (
        "MTU black hole: cloud and idc: packets of 1400 bytes are lost; the largest size that passes is 1300 bytes"
        in printed[1]
    )
    assert "set overlay_underlay_mtu to 1350 for site idc" in printed[2]


def test_an_mtu_hole_of_one_host_names_that_host():
    printed = texts(judge(FLEET, answers(all_of(of("idc1"), "mtu"), largest=1300)))
    assert printed[1].startswith("  MTU black hole: idc1 with cloud1, cloud2, cloud3, idc2, idc3: ")
    assert "set overlay_underlay_mtu to 1350 of idc1" in printed[2]


def test_a_tcp_failure_names_the_known_causes():
    printed = texts(judge(FLEET, answers(all_of(of("idc1"), "tcp"))))
    assert printed[1].startswith("  TCP fails: idc1 with ")
    assert "no connection" in printed[1]
    assert any("tx-checksum-ip-generic off" in line for line in printed)


def test_rejected_tcp_counts_only_with_an_echo_responder():
    collected = answers()
    collected["cloud1"] = collected["cloud1"]._replace(refused=["idc1"])
    assert not judge(FLEET, collected).healthy
    verdict = judge(FLEET._replace(responders={"cloud1"}), collected)
    assert verdict.healthy
    assert "TCP not tested for 1 pair: no echo responder runs on the peer" in texts(verdict)


def test_nodes_without_a_node_cidr_or_probe_are_printed():
    collected = answers()
    collected["idc3"] = Answers(reached=True, failure="this host has no nft: install nftables")
    printed = texts(judge(FLEET._replace(fresh=["idc2"]), collected))
    assert "  no node CIDR yet: idc2" in printed
    assert "  could not probe: idc3: this host has no nft: install nftables" in printed


def test_a_failed_echo_responder_is_printed_once():
    another_program = answers({("cloud1", "idc1"): "tcp"})
    fleet = FLEET._replace(responders=set(SITES) - {"idc1"}, failed_responders={"idc1": "port 8471 is taken"})
    verdict = judge(fleet, another_program)
    assert not verdict.healthy
    assert not any("TCP fails" in line for line in texts(verdict))
    assert "  could not start the echo responder: idc1: port 8471 is taken" in texts(verdict)
    collected = {**answers(), "idc1": Answers(reached=True, failure="no python")}
    printed = texts(judge(FLEET._replace(failed_responders={"idc1": "no python"}), collected))
    assert sum("no python" in line for line in printed) == 1


def test_an_outdated_plan_is_the_first_next_step():
    collected = answers(all_of({("cloud1", "idc1")}, "silent"))
    collected["cloud1"] = collected["cloud1"]._replace(plan_current=False)
    printed = texts(judge(FLEET, collected))
    assert "  outdated plan: cloud1" in printed
    assert "next: run ansible-playbook tke.overlay.site, then verify again" in printed


def test_a_sample_prints_its_coverage():
    names = list(SITES)
    peers = dict(zip(names, [[name] for name in names[1:-1] + names[:1]] + [[]], strict=True))
    printed = texts(judge(FLEET, answers(peers_of=peers)))
    assert printed[0].startswith("healthy: 5 of 5 probed pairs out of 30 reachable")
    assert printed[1] == "sample: 5 of 6 nodes probed 5 peers; 4 of 4 directions between sites are covered"


def test_a_single_node_is_not_healthy():
    assert not judge(FLEET._replace(sites={"cloud1": "cloud"}), {"cloud1": Answers(reached=True)}).healthy


@given(st.sets(st.sampled_from(sorted(PAIRS))))
def test_every_failed_pair_is_in_exactly_one_group(wrong):
    pairs = [pair for group in grouped(wrong, PAIRS, SITES) for pair in group.pairs]
    assert sorted(pairs) == sorted(wrong)


@pytest.mark.parametrize("kind", ["silent", "mtu", "tcp"])
@given(wrong=st.sets(st.sampled_from(sorted(PAIRS)), min_size=1), unreached=st.sets(st.sampled_from(sorted(SITES))))
def test_every_fault_is_unhealthy_and_has_a_next_step(kind, wrong, unreached):
    verdict = judge(FLEET, answers(all_of(wrong, kind), unreached=unreached, largest=1300))
    reporting = {prober for prober, _peer in wrong} - unreached
    assert verdict.healthy is not bool(reporting or unreached)
    if not verdict.healthy:
        assert any(line.startswith("next: ") for line in texts(verdict))


# --- complete screens ---


def screen(fleet, collected):
    """Return the printed lines, each with the prefix of its tone: ! bad, + good, blank plain."""
    verdict = judge(fleet, collected)
    tones = {"bad": "!", "good": "+", "plain": " "}
    return [f"{tones[line.tone]}{line.text}" for line in [*verdict.lines, *steps(verdict.steps)]]


SMALL = Fleet({"cloud1": "cloud", "idc1": "idc"}, size=1400, port=8472, overhead=50, responders={"cloud1", "idc1"})


def test_the_line_of_a_healthy_overlay():
    collected = {
        "cloud1": Answers(True, rtt_ms={"idc1": 0.84}, tcp=True),
        "idc1": Answers(True, rtt_ms={"cloud1": 0.2}),
    }
    assert screen(SMALL, collected) == [
        (
            "+healthy: 2 of 2 pairs reachable (small, full-size of 1400 bytes and TCP); "
            "worst round trip 0.8 ms cloud1 -> idc1"
        )
    ]


def test_notes_about_check_mode_and_orphans():
    collected = {"cloud1": Answers(True, rtt_ms={"idc1": 0.84}), "idc1": Answers(True, rtt_ms={"cloud1": 0.2})}
    assert screen(SMALL._replace(orphans=["old10", "old2"]), collected) == [
        "+healthy: 2 of 2 pairs reachable (small and full-size of 1400 bytes); worst round trip 0.8 ms cloud1 -> idc1",
        " TCP not tested: check mode starts no echo responder",
        " not probed, because they are in the ledger but not in the inventory: old2, old10",
    ]


def test_fewer_than_two_nodes_are_an_error():
    assert screen(SMALL._replace(sites={"cloud1": "cloud"}), {"cloud1": Answers(True, tcp=True)}) == [
        "!unhealthy: 0 of 0 pairs reachable (small, full-size of 1400 bytes and TCP)",
        "!  no pair was probed: the inventory has fewer than two nodes with a node CIDR",
    ]


def test_the_screen_of_verify_with_every_absent_host(golden):
    fleet = FLEET._replace(
        fresh=["idc3"], failed_responders={"cloud3": "port 8471 is taken", "cloud2": "no python\nhere"}
    )
    collected = answers(all_of(of("idc2") - of("idc3"), "silent"), unreached=["idc1", "idc2", "idc3"])
    collected["idc3"] = Answers(reached=True, failure="no address to ask from")
    collected["cloud2"] = Answers(reached=True, failure="no python\nhere")
    collected["cloud3"] = collected["cloud3"]._replace(plan_current=False)
    collected["cloud1"] = collected["cloud1"]._replace(
        rtt_ms={"cloud2": 1, "cloud3": 1, "idc1": 12.34},
        findings=[*collected["cloud1"].findings, finding("cloud3", "tcp")],
        refused=["idc1"],
    )
    fleet = fleet._replace(responders={"cloud1"})
    assert screen(fleet, collected) == golden("verify")


def test_hosts_probed_by_one_node_and_by_no_node():
    fleet = SMALL._replace(sites={**SMALL.sites, "idc2": "idc", "cloud2": "cloud"})
    collected = {
        "cloud1": Answers(True, rtt_ms={"cloud2": 1}, findings=[finding("idc1", "silent")], tcp=True),
        "cloud2": Answers(True, rtt_ms={"cloud1": 1}, tcp=True),
        "idc1": Answers(False),
        "idc2": Answers(False),
    }
    assert screen(fleet, collected)[1:3] == [
        "!  down: idc1: unreachable for Ansible and for the one node that probed it",
        "!  idc2: unreachable for Ansible, and no node probed it",
    ]
    assert screen(fleet, collected)[-1] == "       check power, network and SSH of idc2"


def test_at_most_twenty_causes_are_printed():
    """22 unreachable pairs share no node."""
    sites = {f"n{number}": "cloud" for number in range(60)}
    collected = {
        name: Answers(
            True,
            rtt_ms={"n59": 1},
            findings=[finding(f"n{number + 1}", "silent")] if number % 2 == 0 and number < 44 else [],
            tcp=True,
        )
        for number, name in enumerate(sites)
        if name != "n59"
    }
    lines = screen(FLEET._replace(sites=sites), collected)
    assert [line for line in lines if line.startswith("!  no answer: ")] == [
        f"!  no answer: n{number} -> n{number + 1}" for number in range(0, 40, 2)
    ]
    assert "!  and 2 more like these" in lines
    assert lines[-2:] == [
        "       check that UDP port 8472 is open at n39, and their drift: ansible-playbook tke.overlay.status",
        "       and 2 more like these",
    ]


def test_hosts_with_the_same_failure_share_a_line():
    collected = {host: Answers(True, failure="b" if host == "idc1" else "a") for host in SITES}
    assert screen(FLEET, collected)[1:3] == [
        "!  could not probe: cloud1, cloud2, cloud3, idc2, idc3: a",
        "!  could not probe: idc1: b",
    ]


def test_healthy_is_a_bool():
    assert judge(FLEET, answers(all_of(of("idc1"), "silent"))).healthy is False


def test_twenty_lines_are_all_printed():
    collected = {f"n{number:02}": Answers(True, failure=f"error {number:02}") for number in range(20)}
    printed = screen(FLEET._replace(sites=dict.fromkeys(collected, "cloud")), collected)
    assert [line.rpartition(" ")[2] for line in printed[1:21]] == [f"{number:02}" for number in range(20)]
    assert not any("more like these" in line for line in printed)


def test_a_failed_echo_responder_has_a_next_step():
    step = "       fix the errors of these hosts; ansible-playbook tke.overlay.site fixes those of the overlay"
    assert screen(FLEET._replace(failed_responders={"idc1": "taken"}), answers())[-1] == step.replace(
        "      ", " next:", 1
    )
    collected = {**answers(), "idc1": Answers(True, failure="no python")}
    assert screen(FLEET, collected)[-1] == step.replace("      ", " next:", 1)


def test_coverage_counts_directions_between_sites():
    sites = {"a1": "a", "b1": "b", "b2": "b"}
    peers = {"a1": ["b1"], "b1": ["b2"], "b2": ["a1"]}
    fleet = FLEET._replace(sites=sites)
    (_head, part) = screen(fleet, answers(fleet=fleet, peers_of=peers))
    assert part == " sample: 3 of 3 nodes probed 3 peers; 3 of 3 directions between sites are covered"
    two = {"a1": ["b1", "b2"], "b1": ["b2", "a1"], "b2": ["a1", "b1"]}
    assert len(screen(fleet, answers(fleet=fleet, peers_of=two))) == 1, "every direction and every pair is covered"

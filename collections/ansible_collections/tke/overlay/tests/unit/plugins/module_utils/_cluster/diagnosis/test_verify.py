# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all answers together say: the culprit is named, once, and what follows from it is not."""

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
FLEET = Fleet(SITES, size=1400, port=8472, overhead=50, answering=set(SITES))
TEXT = {
    "silent": "{} does not answer",
    "mtu": "an MTU black hole to {}",
    "tcp": "TCP to {} (10.0.0.0, port 8471, 64 KiB there and back): no connection; echoes of full size pass",
}


def finding(peer, kind, largest=None):
    return {"peer": peer, "address": "10.244.0.0", "kind": kind, "text": TEXT[kind].format(peer), "largest": largest}


def answers(wrong=(), unreached=(), fleet=FLEET, largest=None, peers_of=None):
    """What every node tells, if these pairs are wrong, each of its kind; nothing from the unreached."""
    kinds = dict(wrong)
    told = {}
    for host in fleet.sites:
        peers = [peer for peer in (peers_of or {}).get(host, fleet.sites) if peer != host]
        bad = {peer: kinds[host, peer] for peer in peers if (host, peer) in kinds}
        told[host] = (
            Answers(reached=False)
            if host in unreached
            else Answers(
                reached=True,
                rtt_ms={peer: 0.5 for peer in peers if bad.get(peer) != "silent"},
                findings=[finding(peer, kind, largest) for peer, kind in bad.items()],
                tcp=True,
            )
        )
    return told


def lines(verdict):
    return [line.text for line in [*verdict.lines, *steps(verdict.steps)]]


def between(one, two):
    return {(a, b) for a, b in PAIRS if {SITES[a], SITES[b]} == {one, two}}


def of(host):
    return {pair for pair in PAIRS if host in pair}


def all_of(pairs, kind):
    return dict.fromkeys(pairs, kind)


def test_whole_is_one_line():
    verdict = judge(FLEET, answers())
    assert verdict.healthy
    (line,) = lines(verdict)
    assert line.startswith(
        "healthy: 30 of 30 pairs reachable (small, full-size of 1400 bytes and TCP); worst round trip 0.5 ms "
    )


def test_a_dead_host_is_named_once_and_not_by_each_that_asked_it():
    verdict = judge(FLEET, answers(all_of(of("idc2"), "silent"), unreached=["idc2"]))
    assert not verdict.healthy
    text = lines(verdict)
    assert sum("idc2" in line for line in text if not line.startswith("next:")) == 1
    assert text[1] == "  down: idc2: unreachable for Ansible and for all 5 nodes that probed it"


def test_a_host_that_only_ansible_does_not_reach_is_not_called_dead():
    text = lines(judge(FLEET, answers(unreached=["idc2"])))
    assert "  idc2: unreachable for Ansible but reachable over the overlay; it did not probe its peers" in text
    assert not any("dead" in line for line in text)


def test_who_reaches_nobody_is_the_culprit_and_not_its_peers():
    text = lines(judge(FLEET, answers(all_of(of("cloud1"), "silent"))))
    assert text[1:2] == ["  cut off: cloud1: reachable for Ansible, no answer for 10 of 10 pairs"]
    assert len(text) == 3


def test_two_culprits_are_two_lines():
    text = lines(judge(FLEET, answers(all_of(of("cloud1") | of("idc3"), "silent"))))
    assert [line.split(":")[1].strip() for line in text if "cut off" in line] == ["cloud1", "idc3"]


def test_all_pairs_between_two_sites_are_one_line_about_a_firewall():
    text = lines(judge(FLEET, answers(all_of(between("cloud", "idc"), "silent"))))
    assert text[1] == "  no answer: cloud and idc: 18 of 18 pairs"
    assert text[2].startswith("next: open UDP port 8472 both ways between cloud and idc")


def test_a_dead_host_does_not_hide_the_firewall_between_the_others():
    wrong = all_of(between("cloud", "idc") | of("idc2"), "silent")
    text = lines(judge(FLEET, answers(wrong, unreached=["idc2"])))
    assert any("down: idc2" in line for line in text)
    assert "  no answer: cloud and idc: 12 of 12 pairs" in text


def test_where_nothing_goes_no_single_host_is_to_blame():
    text = lines(judge(FLEET, answers(all_of(PAIRS, "silent"))))
    assert text[1:] == [
        "  no node reaches any other: no answer for 30 pairs",
        "next: open UDP port 8472 between all nodes",
        "      apply the plan to all nodes: ansible-playbook tke.overlay.site",
    ]


def test_an_mtu_hole_between_sites_says_the_size_and_the_variable():
    text = lines(judge(FLEET, answers(all_of(between("cloud", "idc"), "mtu"), largest=1300)))
    assert (
        "MTU black hole: cloud and idc: packets of 1400 bytes are lost; the largest size that passes is 1300 bytes"
        in text[1]
    )
    assert "set overlay_underlay_mtu to 1350 for site idc" in text[2]


def test_an_mtu_hole_of_one_host_names_that_host():
    text = lines(judge(FLEET, answers(all_of(of("idc1"), "mtu"), largest=1300)))
    assert text[1].startswith("  MTU black hole: idc1 with cloud1, cloud2, cloud3, idc2, idc3: ")
    assert "set overlay_underlay_mtu to 1350 of idc1" in text[2]


def test_tcp_alone_says_the_known_causes():
    text = lines(judge(FLEET, answers(all_of(of("idc1"), "tcp"))))
    assert text[1].startswith("  TCP fails: idc1 with ")
    assert "no connection" in text[1]
    assert any("tx-checksum-ip-generic off" in line for line in text)


def test_a_refusal_counts_only_where_somebody_was_told_to_answer():
    told = answers()
    told["cloud1"] = told["cloud1"]._replace(refused=["idc1"])
    assert not judge(FLEET, told).healthy
    verdict = judge(FLEET._replace(answering={"cloud1"}), told)
    assert verdict.healthy
    assert "TCP not tested for 1 pair: no echo responder runs on the peer" in lines(verdict)


def test_a_node_without_a_node_cidr_and_one_that_could_not_ask_are_told():
    told = answers()
    told["idc3"] = Answers(reached=True, failure="this host has no nft: install nftables")
    text = lines(judge(FLEET._replace(fresh=["idc2"]), told))
    assert "  no node CIDR yet: idc2" in text
    assert "  could not probe: idc3: this host has no nft: install nftables" in text


def test_a_node_that_could_not_answer_is_told_once():
    another_program = answers({("cloud1", "idc1"): "tcp"})
    fleet = FLEET._replace(answering=set(SITES) - {"idc1"}, mute={"idc1": "port 8471 is taken"})
    verdict = judge(fleet, another_program)
    assert not verdict.healthy
    assert not any("TCP fails" in line for line in lines(verdict))
    assert "  could not start the echo responder: idc1: port 8471 is taken" in lines(verdict)
    told = {**answers(), "idc1": Answers(reached=True, failure="no python")}
    text = lines(judge(FLEET._replace(mute={"idc1": "no python"}), told))
    assert sum("no python" in line for line in text) == 1


def test_an_old_plan_comes_first_among_what_to_do():
    told = answers(all_of({("cloud1", "idc1")}, "silent"))
    told["cloud1"] = told["cloud1"]._replace(plan_current=False)
    text = lines(judge(FLEET, told))
    assert "  outdated plan: cloud1" in text
    assert "next: run ansible-playbook tke.overlay.site, then verify again" in text


def test_a_sample_says_what_it_covers():
    names = list(SITES)
    peers = dict(zip(names, [[name] for name in names[1:-1] + names[:1]] + [[]], strict=True))
    text = lines(judge(FLEET, answers(peers_of=peers)))
    assert text[0].startswith("healthy: 5 of 5 probed pairs out of 30 reachable")
    assert text[1] == "sample: 5 of 6 nodes probed 5 peers; 4 of 4 directions between sites are covered"


def test_nothing_asked_is_not_whole():
    assert not judge(FLEET._replace(sites={"cloud1": "cloud"}), {"cloud1": Answers(reached=True)}).healthy


@given(st.sets(st.sampled_from(sorted(PAIRS))))
def test_every_wrong_pair_is_in_exactly_one_group_and_no_other_is(wrong):
    told = [pair for group in grouped(wrong, PAIRS, SITES) for pair in group.pairs]
    assert sorted(told) == sorted(wrong)


@pytest.mark.parametrize("kind", ["silent", "mtu", "tcp"])
@given(wrong=st.sets(st.sampled_from(sorted(PAIRS)), min_size=1), unreached=st.sets(st.sampled_from(sorted(SITES))))
def test_whatever_is_wrong_is_not_whole_and_says_what_to_do(kind, wrong, unreached):
    verdict = judge(FLEET, answers(all_of(wrong, kind), unreached=unreached, largest=1300))
    told = {asker for asker, _peer in wrong} - unreached
    assert verdict.healthy is not bool(told or unreached)
    if not verdict.healthy:
        assert any(line.startswith("next: ") for line in lines(verdict))


# --- whole screens ---


def screen(fleet, told):
    """As it is printed, with the tone of each line before it: ! bad, + good."""
    verdict = judge(fleet, told)
    tones = {"bad": "!", "good": "+", "plain": " "}
    return [f"{tones[line.tone]}{line.text}" for line in [*verdict.lines, *steps(verdict.steps)]]


SMALL = Fleet({"cloud1": "cloud", "idc1": "idc"}, size=1400, port=8472, overhead=50, answering={"cloud1", "idc1"})


def test_the_screen_where_all_is_whole():
    told = {"cloud1": Answers(True, rtt_ms={"idc1": 0.84}, tcp=True), "idc1": Answers(True, rtt_ms={"cloud1": 0.2})}
    assert screen(SMALL, told) == [
        (
            "+healthy: 2 of 2 pairs reachable (small, full-size of 1400 bytes and TCP); "
            "worst round trip 0.8 ms cloud1 -> idc1"
        )
    ]


def test_the_screen_in_check_mode_and_with_an_orphan():
    told = {"cloud1": Answers(True, rtt_ms={"idc1": 0.84}), "idc1": Answers(True, rtt_ms={"cloud1": 0.2})}
    assert screen(SMALL._replace(orphans=["old10", "old2"]), told) == [
        "+healthy: 2 of 2 pairs reachable (small and full-size of 1400 bytes); worst round trip 0.8 ms cloud1 -> idc1",
        " TCP not tested: check mode starts no echo responder",
        " not probed, because they are in the ledger but not in the inventory: old2, old10",
    ]


def test_the_screen_where_nothing_was_asked():
    assert screen(SMALL._replace(sites={"cloud1": "cloud"}), {"cloud1": Answers(True, tcp=True)}) == [
        "!unhealthy: 0 of 0 pairs reachable (small, full-size of 1400 bytes and TCP)",
        "!  no pair was probed: the inventory has fewer than two nodes with a node CIDR",
    ]


def test_the_screen_with_everybody_who_is_absent():
    fleet = FLEET._replace(fresh=["idc3"], mute={"cloud3": "port 8471 is taken", "cloud2": "no python\nhere"})
    told = answers(all_of(of("idc2") - of("idc3"), "silent"), unreached=["idc1", "idc2", "idc3"])
    told["idc3"] = Answers(reached=True, failure="no address to ask from")
    told["cloud2"] = Answers(reached=True, failure="no python\nhere")
    told["cloud3"] = told["cloud3"]._replace(plan_current=False)
    told["cloud1"] = told["cloud1"]._replace(
        rtt_ms={"cloud2": 1, "cloud3": 1, "idc1": 12.34},
        findings=[*told["cloud1"].findings, finding("cloud3", "tcp")],
        refused=["idc1"],
    )
    fleet = fleet._replace(answering={"cloud1"})
    assert screen(fleet, told) == [
        (
            "!unhealthy: 7 of 9 probed pairs out of 20 reachable (small, full-size of 1400 bytes and TCP); "
            "worst round trip 12.3 ms cloud1 -> idc1"
        ),
        "!  no node CIDR yet: idc3",
        "!  could not probe: cloud2: no python here",
        "!  could not start the echo responder: cloud3: port 8471 is taken",
        "!  idc1: unreachable for Ansible but reachable over the overlay; it did not probe its peers",
        "!  down: idc2: unreachable for Ansible and for all 2 nodes that probed it",
        "!  outdated plan: cloud3",
        " TCP not tested for 2 pairs: no echo responder runs on the peer",
        " next: run ansible-playbook tke.overlay.site, then verify again",
        "       ansible-playbook tke.overlay.site gives a node CIDR to each node that has none",
        "       fix the errors of these hosts; ansible-playbook tke.overlay.site fixes those of the overlay",
        "       check SSH from the controller to idc1",
        "       check power and network of idc2; if it is gone for good, release its node CIDR",
    ]


def test_the_screen_of_a_host_that_one_node_asked_and_of_one_that_nobody_did():
    fleet = SMALL._replace(sites={**SMALL.sites, "idc2": "idc", "cloud2": "cloud"})
    told = {
        "cloud1": Answers(True, rtt_ms={"cloud2": 1}, findings=[finding("idc1", "silent")], tcp=True),
        "cloud2": Answers(True, rtt_ms={"cloud1": 1}, tcp=True),
        "idc1": Answers(False),
        "idc2": Answers(False),
    }
    assert screen(fleet, told)[1:3] == [
        "!  down: idc1: unreachable for Ansible and for the one node that probed it",
        "!  idc2: unreachable for Ansible, and no node probed it",
    ]
    assert screen(fleet, told)[-1] == "       check power, network and SSH of idc2"


def test_the_screen_has_an_end():
    """22 pairs of nodes that have nothing in common but that they are silent."""
    sites = {f"n{number}": "cloud" for number in range(60)}
    told = {
        name: Answers(
            True,
            rtt_ms={"n59": 1},
            findings=[finding(f"n{number + 1}", "silent")] if number % 2 == 0 and number < 44 else [],
            tcp=True,
        )
        for number, name in enumerate(sites)
        if name != "n59"
    }
    lines = screen(FLEET._replace(sites=sites), told)
    assert [line for line in lines if line.startswith("!  no answer: ")] == [
        f"!  no answer: n{number} -> n{number + 1}" for number in range(0, 40, 2)
    ]
    assert "!  and 2 more like these" in lines


def test_failures_of_many_share_a_line_each_reason_once():
    told = {host: Answers(True, failure="b" if host == "idc1" else "a") for host in SITES}
    assert screen(FLEET, told)[1:3] == [
        "!  could not probe: cloud1, cloud2, cloud3, idc2, idc3: a",
        "!  could not probe: idc1: b",
    ]


def test_a_verdict_is_yes_or_no():
    assert judge(FLEET, answers(all_of(of("idc1"), "silent"))).healthy is False


def test_twenty_lines_are_not_cut():
    told = {f"n{number}": Answers(False) for number in range(20)}
    lines_of = screen(FLEET._replace(sites=dict.fromkeys(told, "cloud")), told)
    assert [line.partition(":")[0] for line in lines_of[1:21]] == [f"!  n{number}" for number in range(20)]
    assert not any("more like these" in line for line in lines_of)


def test_one_who_could_not_answer_is_reason_enough_to_mend_it():
    step = "       fix the errors of these hosts; ansible-playbook tke.overlay.site fixes those of the overlay"
    assert screen(FLEET._replace(mute={"idc1": "taken"}), answers())[-1] == step.replace("      ", " next:", 1)
    told = {**answers(), "idc1": Answers(True, failure="no python")}
    assert screen(FLEET, told)[-1] == step.replace("      ", " next:", 1)


def test_how_much_a_sample_covers_is_counted_by_sites():
    sites = {"a1": "a", "b1": "b", "b2": "b"}
    peers = {"a1": ["b1"], "b1": ["b2"], "b2": ["a1"]}
    fleet = FLEET._replace(sites=sites)
    (_whole, part) = screen(fleet, answers(fleet=fleet, peers_of=peers))
    assert part == " sample: 3 of 3 nodes probed 3 peers; 3 of 3 directions between sites are covered"
    two = {"a1": ["b1", "b2"], "b1": ["b2", "a1"], "b2": ["a1", "b1"]}
    assert len(screen(fleet, answers(fleet=fleet, peers_of=two))) == 1, "that is all of them"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the verdict on a batch of a roll-out, and of the choice of hosts and peers."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.rollout import (
    Batch,
    after,
    cutover_hosts,
    fleet_versions,
    unready_peers,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import Answers, Fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import steps

SITES = {"cloud1": "cloud", "cloud2": "cloud", "idc1": "idc", "idc2": "idc"}
FLEET = Fleet(SITES, size=1400, port=8472, overhead=50, responders=set(SITES))
CLOUD, IDC = ["cloud1", "cloud2"], ["idc1", "idc2"]


def reachable(host, peers=tuple(SITES)):
    return Answers(reached=True, rtt_ms={peer: 0.5 for peer in peers if peer != host}, tcp=True)


def unreachable_site(host):
    peers = [peer for peer in SITES if SITES[peer] != SITES[host]]
    findings = [{"peer": peer, "kind": "silent", "text": f"{peer} does not answer"} for peer in peers]
    return reachable(host, CLOUD)._replace(findings=findings)


def batch(changed=None, failed=None, left=(), unreached=None):
    return Batch(changed if changed is not None else dict.fromkeys(CLOUD, True), failed or {}, left, unreached or {})


def texts(verdict):
    return [line.text for line in [*verdict.lines, *steps(verdict.steps)]]


def test_a_healthy_batch_names_the_remaining_hosts():
    verdict = after(batch(changed={"cloud1": True, "cloud2": False}, left=IDC), FLEET, {h: reachable(h) for h in CLOUD})
    assert verdict.healthy
    assert texts(verdict)[0] == "cloud1, cloud2: 1 of 2 changed; remaining: idc1, idc2"
    assert texts(verdict)[1].startswith("healthy: 6 of 6 probed pairs out of 12 reachable")


def test_the_first_host_has_no_peer_to_probe():
    verdict = after(batch(changed={"cloud1": True}), FLEET, {"cloud1": Answers(reached=True, tcp=True)})
    assert verdict.healthy
    assert texts(verdict) == ["cloud1: 1 of 1 changed", "no peer has to answer yet"]


def test_notes_about_pods_do_not_stop_the_first_host():
    """Before Kubernetes is installed, there are no CNI plugins; and the second host must start all the same."""
    note = {"check": "plugins", "text": "no CNI plugins yet", "remedy": "Install them", "severity": "note"}
    warning = {"check": "cni", "text": "another file comes first", "remedy": "Rename it", "severity": "warn"}
    answer = Answers(reached=True, tcp=True, pods=[note, warning])
    verdict = after(batch(changed={"cloud1": True}, left=["cloud2"]), FLEET, {"cloud1": answer})
    assert verdict.healthy
    assert texts(verdict) == [
        "cloud1: 1 of 1 changed; remaining: cloud2",
        "no peer has to answer yet",
        "Pods: cloud1: another file comes first",
        "cloud1: no CNI plugins yet",
    ]


def test_pods_that_cannot_talk_stop_the_roll_out():
    fault = {"check": "bridge", "text": "tke-br0 is down", "remedy": "ip link set tke-br0 up", "severity": "bad"}
    for answer in (Answers(reached=True, tcp=True), reachable("cloud1")):
        verdict = after(batch(changed={"cloud1": True}), FLEET, {"cloud1": answer._replace(pods=[fault])})
        assert not verdict.healthy
        assert "  Pods: cloud1: tke-br0 is down" in texts(verdict)
        assert "next: on cloud1: ip link set tke-br0 up" in texts(verdict)


def test_unreachable_peers_stop_the_roll_out_with_a_remedy():
    verdict = after(batch(left=IDC), FLEET, {host: unreachable_site(host) for host in CLOUD})
    assert not verdict.healthy
    assert texts(verdict)[0] == "cloud1, cloud2: 2 of 2 changed"
    assert texts(verdict)[1].startswith("unhealthy: 2 of 6 probed pairs")
    assert "  no answer: cloud and idc: 4 of 4 pairs" in texts(verdict), (
        "one line for the sites instead of one per host"
    )
    stopped = texts(verdict).index("stopped: 2 hosts not changed: idc1, idc2")
    assert [text[:6] for text in texts(verdict)[stopped + 1 :]] == ["next: ", "      "]
    assert "open UDP port 8472 both ways between cloud and idc" in texts(verdict)[stopped + 1]
    assert texts(verdict)[-1].endswith(
        "then run the same command again; it applies the plan and continues with the remaining hosts"
    )


@pytest.mark.parametrize("left", [IDC, []])
def test_a_failed_host_stops_the_roll_out(left):
    verdict = after(
        batch({"cloud1": True}, {"cloud2": "no such\ndevice"}, left), FLEET, {"cloud1": reachable("cloud1")}
    )
    assert not verdict.healthy
    assert texts(verdict)[0] == "cloud1, cloud2: 1 of 2 changed"
    assert "failed: cloud2: no such device" in texts(verdict)
    assert "next: fix what failed" in texts(verdict)
    assert ("stopped: 2 hosts not changed: idc1, idc2" in texts(verdict)) == bool(left)


def test_a_host_that_could_not_probe_is_not_healthy():
    verdict = after(
        batch(), FLEET, {"cloud1": reachable("cloud1"), "cloud2": Answers(reached=True, failure="no address")}
    )
    assert not verdict.healthy
    assert any("could not probe: cloud2: no address" in text for text in texts(verdict))


def screen(verdict):
    """Return the printed lines, each with the prefix of its tone: ! bad, + good, blank plain."""
    tones = {"bad": "!", "good": "+", "plain": " "}
    return [f"{tones[line.tone]}{line.text}" for line in [*verdict.lines, *steps(verdict.steps)]]


def test_the_screen_of_a_stopped_roll_out(golden):
    first = {"cloud1": Answers(reached=True, tcp=True)}
    verdict = after(batch(changed={"cloud1": True}, left=IDC), FLEET, first)
    assert verdict == (True, verdict.lines, [])
    assert screen(verdict) == [
        "+cloud1: 1 of 1 changed; remaining: idc1, idc2",
        "+no peer has to answer yet",
    ]
    stopped = after(
        batch({"cloud1": True}, {"idc2": "b", "cloud2": "no such\ndevice"}), FLEET, {"cloud1": reachable("cloud1")}
    )
    assert stopped.healthy is False
    assert screen(stopped) == golden("rollout")


def test_unreachable_hosts_are_named_and_do_not_stop_the_roll_out():
    lost = dict.fromkeys(CLOUD, "Host key verification failed.")
    verdict = after(batch({}, left=IDC, unreached=lost), FLEET, {})
    assert verdict.healthy
    assert texts(verdict)[:2] == [
        "cloud1, cloud2: 0 of 2 changed; remaining: idc1, idc2",
        "unreachable: cloud1, cloud2: unknown SSH host key",
    ]
    assert texts(verdict)[-1].startswith("next: cloud1, cloud2: unknown SSH host key: compare its fingerprint")


def test_a_stopped_roll_out_names_one_command():
    """The roll-out runs the site playbook itself: no step may tell the reader to run it as well."""
    stale = {host: unreachable_site(host)._replace(plan_current=False) for host in CLOUD}
    lost = {"cloud1": Answers(reached=True, failure="no address")}
    hole = [{"peer": peer, "kind": "mtu", "text": "", "largest": 1300} for peer in IDC]
    black_hole = {host: reachable(host, CLOUD)._replace(findings=hole) for host in CLOUD}
    for answers in (stale, lost, black_hole):
        verdict = after(batch(dict.fromkeys(answers, True), left=IDC), FLEET, answers)
        assert not verdict.healthy
        assert not [text for text in verdict.steps if "tke.overlay.site" in text]
        assert [text for text in verdict.steps if "run the same command again" in text] == verdict.steps[-1:]


@pytest.mark.parametrize(
    "answers",
    [
        Answers(reached=True, failure="no address"),
        Answers(reached=False),
        Answers(reached=True, findings=[{"peer": "idc1", "kind": "silent", "text": ""}]),
    ],
)
def test_any_fault_of_a_single_host_stops_the_roll_out(answers):
    assert after(batch(changed={"cloud1": True}, left=IDC), FLEET, {"cloud1": answers}).healthy is False


# --- the hosts that can take part, and the peers that must answer ---

# The underlay address 10.0.1.1 is a prefix of that of a; the name b is a suffix of bb.
PLAN = {
    "assignments": {"a": "10.244.0.0/24", "b": "10.244.1.0/24", "bb": "10.244.2.0/24"},
    "document": {
        "port": 8472,
        "fleet": "a 10.244.0.0/24 10.0.1.11\nb 10.244.1.0/24 10.0.1.2\nbb 10.244.2.0/24 10.0.1.3\n",
    },
}


def saved(node, underlay, port=8472, view="v1"):
    return {"node": node, "node_cidr": PLAN["assignments"][node], "underlay": underlay, "port": port, "view": view}


def test_a_new_port_or_underlay_address_needs_a_cutover():
    states = {"a": saved("a", "10.0.1.11"), "b": saved("b", "10.0.1.9"), "bb": saved("bb", "10.0.1.3", port=4789)}
    assert cutover_hosts(states, PLAN) == ["b", "bb"]
    assert cutover_hosts({}, PLAN) == []


def test_an_address_that_is_a_prefix_does_not_match():
    """Complete lines are compared: 10.0.1.1 does not match 10.0.1.11."""
    states = {"a": saved("a", "10.0.1.1")}
    assert cutover_hosts(states, PLAN) == ["a"]
    assert fleet_versions(states, PLAN) == {}


def test_a_name_that_is_a_suffix_does_not_match():
    states = {"b": {**saved("b", "10.0.1.3"), "node_cidr": "10.244.2.0/24"}}
    assert fleet_versions(states, PLAN) == {}, "the line of bb contains that of b"


def test_hosts_are_grouped_by_the_version_of_their_fleet_file():
    states = {
        "a": saved("a", "10.0.1.11", view="v2"),
        "b": saved("b", "10.0.1.2"),
        "bb": saved("bb", "10.0.1.3", view="v2"),
    }
    assert fleet_versions(states, PLAN) == {"v2": ["a", "bb"], "v1": ["b"]}


def test_a_peer_is_ready_if_it_converged_or_has_the_host():
    own = "b 10.244.1.0/24 10.0.1.2\n"
    versions = {"v1": ["a"], "v2": ["bb"]}
    fleets = {"v1": f"a 10.244.0.0/24 10.0.1.11\n{own}", "v2": "bb 10.244.2.0/24 10.0.1.3\n"}
    assert unready_peers("b", PLAN, ["b"], versions, fleets) == ["bb"]
    assert unready_peers("b", PLAN, ["b", "bb"], versions, fleets) == []
    assert unready_peers("b", PLAN, ["b"], {**versions, "v3": ["bb"]}, {}) == ["a", "bb"], "no file was read"


def test_a_longer_address_in_a_fleet_file_does_not_match():
    fleets = {"v1": "b 10.244.1.0/24 10.0.1.22\n"}
    assert unready_peers("b", PLAN, ["b"], {"v1": ["a"]}, fleets) == ["a", "bb"]


LINKS = "east east direct 1500\neast west wireguard 1440\nwest west vxlan 1450\n"
LINKED = {
    "assignments": {"a": "10.244.0.0/24", "b": "10.244.1.0/24"},
    "document": {
        "port": 8472,
        "fleet": "a 10.244.0.0/24 10.0.0.1 east 10.0.0.1:51820 -\nb 10.244.1.0/24 10.0.0.2 west 10.0.0.2:51820 -\n",
        "links": LINKS,
    },
}


@pytest.mark.parametrize(
    ("links", "together"),
    [
        ("east direct 1500, west wireguard 1440", False),
        ("east direct 1400, west wireguard 1408", False),
        ("east direct 1500", False),
        ("east vxlan 1450, west wireguard 1440", True),
        ("east direct 1500, west vxlan 1450", True),
        (None, True),
    ],
)
def test_another_transport_needs_all_hosts_at_once(links, together):
    state = {"port": 8472, "underlay": "10.0.0.1", "node": "a", "node_cidr": "10.244.0.0/24", "view": "v"}
    states = {"a": state if links is None else {**state, "links": links}}
    assert cutover_hosts(states, LINKED) == (["a"] if together else [])
    assert fleet_versions(states, LINKED) == {"v": ["a"]}


@pytest.mark.parametrize(("links", "together"), [("east vxlan 1450", False), ("east direct 1500", True)])
def test_a_plan_without_links_is_vxlan(links, together):
    state = {"port": 8472, "underlay": "10.0.0.1", "links": links}
    plan = {**LINKED, "document": {"port": 8472, "fleet": "a 10.244.0.0/24 10.0.0.1\n"}}
    assert cutover_hosts({"a": state}, plan) == (["a"] if together else [])

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last screen of the playbook verify: whether the overlay is healthy, what is wrong, and what to do."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import (
    connection_steps,
    known_cause,
    may_be_down,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.pods import (
    fault_lines,
    fault_steps,
    note_lines,
    pod_faults,
    warning_lines,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import (
    Answers,
    Evidence,
    Fleet,
    Pair,
    between,
    causes,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    BAD,
    GOOD,
    Line,
    count,
    first_line,
    natural,
    some,
    them,
)

MOST = 20
"""Lines about single hosts and pairs, and next steps; the others are counted."""


class VerifyResult(t.NamedTuple):
    """Whether all probed pairs are reachable and Pods have what they need, the lines to print, and the next steps."""

    healthy: bool
    lines: list[Line]
    steps: list[str]


def judge(fleet: Fleet, answers: t.Mapping[str, Answers]) -> VerifyResult:
    """Return the verdict on the answers of all hosts."""
    evidence = Evidence(fleet, answers)
    lines: list[Line] = []
    steps: list[str] = []
    _absent(evidence, lines, steps)
    _unreached(evidence, lines, steps)
    for cause in causes(evidence):
        lines.append(Line(cause.text, BAD))
        steps += cause.steps
    faults = pod_faults({host: answer.pods for host, answer in answers.items()})
    lines += fault_lines(faults)
    steps += fault_steps(faults)
    stale = [host for host, answer in answers.items() if not answer.plan_current]
    if stale:
        lines.append(Line(f"outdated plan: {some(stale)}", BAD))
        steps.insert(0, "run ansible-playbook tke.overlay.site, then verify again")
    lines = _cut(lines)
    if not evidence.probed and not lines:
        lines.append(Line("no pair was probed: the inventory has fewer than two nodes with a node CIDR", BAD))
    notes = [*_notes(evidence), *warning_lines(faults), *note_lines(faults)]
    if not lines:
        return VerifyResult(True, [Line(f"healthy: {_coverage(evidence, 0)}", GOOD), *notes], _cut_steps(steps))
    broken = len(set().union(*evidence.wrong.values()))
    head = Line(f"unhealthy: {_coverage(evidence, broken)}", BAD)
    return VerifyResult(False, [head, *(Line(f"  {text}", tone) for text, tone in lines), *notes], _cut_steps(steps))


def _cut(lines: list[Line]) -> list[Line]:
    return lines if len(lines) <= MOST else [*lines[:MOST], Line(f"and {len(lines) - MOST} more like these", BAD)]


def _cut_steps(steps: t.Iterable[str]) -> list[str]:
    each = list(dict.fromkeys(steps))
    return each if len(each) <= MOST else [*each[:MOST], f"and {len(each) - MOST} more like these"]


def _absent(evidence: Evidence, lines: list[Line], steps: list[str]) -> None:
    """Add the hosts that could not probe their peers."""
    fleet = evidence.fleet
    if fleet.fresh:
        lines.append(Line(f"no node CIDR yet: {some(fleet.fresh)}", BAD))
        steps.append("ansible-playbook tke.overlay.site gives a node CIDR to each node that has none")
    failures = {host: answer.failure for host, answer in evidence.answers.items() if host not in fleet.fresh}
    for what, of_host in (
        ("could not probe", failures),
        ("could not start the echo responder", fleet.failed_responders),
    ):
        reasons: dict[str, list[str]] = collections.defaultdict(list)
        for host, failure in of_host.items():
            if failure and not (of_host is fleet.failed_responders and failures.get(host)):
                reasons[failure].append(host)
        lines += [
            Line(f"{what}: {some(hosts)}: {first_line(reason)}", BAD) for reason, hosts in sorted(reasons.items())
        ]
    if any(failures.values()) or fleet.failed_responders:
        steps.append("fix the errors of these hosts; ansible-playbook tke.overlay.site fixes those of the overlay")


def _unreached(evidence: Evidence, lines: list[Line], steps: list[str]) -> None:
    """Add the nodes that Ansible does not reach; a node that no other node reaches either is down.

    Those of a site that as a whole is not reached are left out: see :func:`causes`.
    """
    of_sites = {host for hosts in evidence.unreachable_sites().values() for host in hosts}
    unreached = [host for host, answer in evidence.answers.items() if not answer.reached and host not in of_sites]
    down, same = evidence.dead(), collections.defaultdict(list)
    for host in sorted(unreached, key=natural):
        probes = len(evidence.probed_of.get(host, ()))
        same[host in down, probes if host in down else min(probes, 1)].append(host)
    up = {}
    for (is_down, probed), hosts in same.items():
        lines.append(_unreached_line(hosts, is_down, probed))
        messages = {host: evidence.answers[host].connection for host in hosts}
        silent = [host for host in hosts if probed and may_be_down(messages[host])]
        up.update({host: message for host, message in messages.items() if host not in silent})
        if silent and is_down:
            gone = "it is gone for good, release its node CIDR"
            if len(silent) > 1:
                gone = "one of them is gone for good, release its node CIDR"
            steps.append(f"check power and network of {some(silent)}; if {gone}")
        elif silent:  # but they are not down
            steps += _of_ssh({host: messages[host] for host in silent})
    steps += connection_steps(up)


def _unreached_line(hosts: t.Sequence[str], is_down: bool, probed: int) -> Line:
    """Return the line about nodes that Ansible does not reach.

    :param probed: the number of nodes that have probed each of them.
    """
    it = them(hosts)
    if is_down:
        who = f"the one node that probed {it}" if probed == 1 else f"all {probed} nodes that probed {it}"
        return Line(f"down: {some(hosts)}: unreachable for Ansible and for {who}", BAD)
    if probed:
        they = "it" if len(hosts) == 1 else "they"
        its = "its" if len(hosts) == 1 else "their"
        but = f"but reachable over the overlay; {they} did not probe {its} peers"
        return Line(f"{some(hosts)}: unreachable for Ansible {but}", BAD)
    return Line(f"{some(hosts)}: unreachable for Ansible, and no node probed {it}", BAD)


def _of_ssh(messages: t.Mapping[str, str]) -> t.Iterator[str]:
    """Yield a step for each cause of nodes that run, and that Ansible does not reach."""
    hosts: dict[str, list[str]] = collections.defaultdict(list)
    for host, message in messages.items():
        cause = known_cause(message)
        hosts[f" ({cause.what})" if cause else ""].append(host)
    for what, names in hosts.items():
        yield f"check SSH from the controller to {some(names)}{what}"


def _coverage(evidence: Evidence, broken: int) -> str:
    """Return the pairs that are reachable, the packets that were sent, and the worst round trip."""
    fleet, probed = evidence.fleet, len(evidence.probed)
    nodes = len([host for host in fleet.sites if host not in fleet.fresh])
    everything = nodes * (nodes - 1)
    pairs = count(probed, "pair") if probed == everything else f"{count(probed, 'probed pair')} out of {everything:,}"
    tcp = any(answer.tcp for answer in evidence.answers.values())
    full = between(fleet.sizes(evidence.probed))
    sizes = f"small, full-size of {full} bytes and TCP" if tcp else f"small and full-size of {full} bytes"
    text = f"{probed - broken:,} of {pairs} reachable ({sizes})"
    trips = [(ms, host, peer) for host, answer in evidence.answers.items() for peer, ms in answer.rtt_ms.items()]
    if trips:
        ms, host, peer = max(trips)
        text += f"; worst round trip {ms:.1f} ms {host} -> {peer}"
    return text


def _notes(evidence: Evidence) -> list[Line]:
    """Return what limits the verdict: a sample, missing TCP tests, orphans."""
    fleet, notes = evidence.fleet, []
    nodes = [host for host in fleet.sites if host not in fleet.fresh]
    probed = collections.Counter(prober for prober, _peer in evidence.probed)
    if probed and (len(evidence.answers) < len(nodes) or min(probed.values()) < len(nodes) - 1):  # --limit, or a sample
        peers = {peer for _prober, peer in evidence.probed}
        met = {tuple(fleet.sites.get(host, "?") for host in pair) for pair in evidence.probed}
        all_met = len({(fleet.sites[one], fleet.sites[two]) for one, two in _site_pairs(nodes, fleet.sites)})
        notes.append(
            Line(
                f"sample: {len(probed):,} of {count(len(nodes), 'node')} probed {count(len(peers), 'peer')}; "
                f"{len(met)} of {all_met} directions between sites are covered"
            )
        )
    if evidence.untested_tcp:
        notes.append(
            Line(f"TCP not tested for {count(len(evidence.untested_tcp), 'pair')}: no echo responder runs on the peer")
        )
    if not any(answer.tcp for answer in evidence.answers.values()) and evidence.probed:
        notes.append(Line("TCP not tested: check mode starts no echo responder"))
    if fleet.orphans:
        notes.append(
            Line(f"not probed, because they are in the ledger but not in the inventory: {some(fleet.orphans)}")
        )
    return notes


def _site_pairs(nodes: t.Sequence[str], sites: t.Mapping[str, str]) -> t.Iterator[Pair]:
    """Yield one pair of nodes for each ordered pair of sites that has one."""
    members: dict[str, list[str]] = collections.defaultdict(list)
    for host in nodes:
        members[sites[host]].append(host)
    for here in members.values():
        for there in members.values():
            if here is not there:
                yield here[0], there[0]
            elif len(here) > 1:
                yield here[0], here[1]

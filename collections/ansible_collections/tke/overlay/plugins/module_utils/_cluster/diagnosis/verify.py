# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: the end of the playbook verify: whether the overlay is whole, what is wrong (:mod:`causes`), what to do."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import (
    Answers,
    Evidence,
    Fleet,
    Pair,
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
)

MOST = 20
"""Lines about single hosts and pairs; of more the number is told."""


class VerifyResult(t.NamedTuple):
    """Whether all is whole, the lines to print, and what to do then."""

    whole: bool
    lines: list[Line]
    todo: list[str]


def judge(fleet: Fleet, answers: t.Mapping[str, Answers]) -> VerifyResult:
    """What all answers together say."""
    evidence = Evidence(fleet, answers)
    lines: list[Line] = []
    todo: list[str] = []
    _absent(evidence, lines, todo)
    _unreached(evidence, lines, todo)
    for cause in causes(evidence):
        lines.append(Line(cause.text, BAD))
        todo += cause.steps
    stale = [host for host, told in answers.items() if not told.plan_current]
    if stale:
        lines.append(Line(f"not the current plan: {some(stale)}", BAD))
        todo.insert(0, "ansible-playbook tke.overlay.site, then verify again")
    lines = _cut(lines)
    if not evidence.asked and not lines:
        lines.append(Line("nothing was asked: there are no two nodes", BAD))
    notes = _notes(evidence)
    if not lines:
        return VerifyResult(True, [Line(f"whole: {_coverage(evidence, 0)}", GOOD), *notes], [])
    broken = len(set().union(*evidence.wrong.values()))
    head = Line(f"not whole: {_coverage(evidence, broken)}", BAD)
    return VerifyResult(False, [head, *(Line(f"  {text}", tone) for text, tone in lines), *notes], todo)


def _cut(lines: list[Line]) -> list[Line]:
    return lines if len(lines) <= MOST else [*lines[:MOST], Line(f"and {len(lines) - MOST} more like these", BAD)]


def _absent(evidence: Evidence, lines: list[Line], todo: list[str]) -> None:
    """Hosts that could not even ask."""
    fleet = evidence.fleet
    if fleet.fresh:
        lines.append(Line(f"no node CIDR yet: {some(fleet.fresh)}", BAD))
        todo.append("ansible-playbook tke.overlay.site gives a node CIDR to each node that has none")
    failures = {host: told.failure for host, told in evidence.answers.items() if host not in fleet.fresh}
    for what, of_host in (("could not ask", failures), ("could not answer TCP", fleet.mute)):
        reasons: dict[str, list[str]] = collections.defaultdict(list)
        for host, failure in of_host.items():
            if failure and not (of_host is fleet.mute and failures.get(host)):
                reasons[failure].append(host)
        lines += [
            Line(f"{what}: {some(hosts)}: {first_line(reason)}", BAD) for reason, hosts in sorted(reasons.items())
        ]
    if any(failures.values()) or fleet.mute:
        todo.append("mend what these hosts say; ansible-playbook tke.overlay.site does if it is the overlay's")


def _unreached(evidence: Evidence, lines: list[Line], todo: list[str]) -> None:
    """Nodes that Ansible does not reach: dead where nobody else does, too."""
    unreached, dead = [host for host, told in evidence.answers.items() if not told.reached], evidence.dead()
    for host in sorted(unreached, key=natural):
        asked = len(evidence.asked_of.get(host, ()))
        if host in dead:
            who = "the one node that asked it" if asked == 1 else f"all {asked} nodes that asked it"
            lines.append(Line(f"dead: {host}: unreachable for Ansible, and silent to {who}", BAD))
            todo.append(f"look at {host} itself: power, network; if it is gone for good, release its node CIDR")
        elif asked:
            lines.append(
                Line(f"{host}: unreachable for Ansible, but it answers over the overlay: so it did not ask", BAD)
            )
            todo.append(f"look at the way from the controller to {host} (SSH)")
        else:
            lines.append(Line(f"{host}: unreachable for Ansible, and nobody asked it", BAD))
            todo.append(f"look at {host} itself: power, network, SSH")


def _coverage(evidence: Evidence, broken: int) -> str:
    """``12 of 12 pairs, small, full (1400 bytes) and TCP; worst round trip 0.8 ms cloud1 -> idc2``."""
    fleet, asked = evidence.fleet, len(evidence.asked)
    nodes = len([host for host in fleet.sites if host not in fleet.fresh])
    everything = nodes * (nodes - 1)
    text = f"{asked - broken:,} of {count(asked, 'pair')}"
    if asked < everything:
        text += f" asked ({everything:,} there are)"
    tcp = any(told.tcp for told in evidence.answers.values())
    text += f", small, full ({fleet.size} bytes){' and TCP' if tcp else ''}"
    trips = [(ms, host, peer) for host, told in evidence.answers.items() for peer, ms in told.rtt_ms.items()]
    if trips:
        ms, host, peer = max(trips)
        text += f"; worst round trip {ms:.1f} ms {host} -> {peer}"
    return text


def _notes(evidence: Evidence) -> list[Line]:
    """What is neither good nor bad, but would otherwise be taken for more than it is."""
    fleet, notes = evidence.fleet, []
    nodes = [host for host in fleet.sites if host not in fleet.fresh]
    asked = collections.Counter(asker for asker, _peer in evidence.asked)
    if asked and (len(evidence.answers) < len(nodes) or min(asked.values()) < len(nodes) - 1):  # --limit, or a sample
        peers = {peer for _asker, peer in evidence.asked}
        met = {tuple(fleet.sites.get(host, "?") for host in pair) for pair in evidence.asked}
        all_met = len({(fleet.sites[one], fleet.sites[two]) for one, two in _site_pairs(nodes, fleet.sites)})
        notes.append(
            Line(
                f"a part of all pairs: {len(asked):,} of {count(len(nodes), 'node')} asked, {len(peers):,} were asked; "
                f"{len(met)} of {all_met} pairs of sites, counted both ways"
            )
        )
    if evidence.unasked_tcp:
        notes.append(
            Line(f"without TCP: {count(len(evidence.unasked_tcp), 'pair')}, as nobody answers there in this run")
        )
    if not any(told.tcp for told in evidence.answers.values()) and evidence.asked:
        notes.append(Line("without TCP: in check mode nobody is told to answer"))
    if fleet.orphans:
        notes.append(Line(f"not asked, as the inventory lacks them: {some(fleet.orphans)}"))
    return notes


def _site_pairs(nodes: t.Sequence[str], sites: t.Mapping[str, str]) -> t.Iterator[Pair]:
    """A pair of nodes for each ordered pair of sites that has one."""
    members: dict[str, list[str]] = collections.defaultdict(list)
    for host in nodes:
        members[sites[host]].append(host)
    for here in members.values():
        for there in members.values():
            if here is not there:
                yield here[0], there[0]
            elif len(here) > 1:
                yield here[0], here[1]

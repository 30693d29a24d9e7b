# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance test of Pods: the nodes that take part, and the last screen with the result of each path."""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import connection_steps
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.pods import (
    WARNING,
    PodFindings,
    fault_lines,
    fault_steps,
    note_lines,
    pod_faults,
    warning_lines,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    BAD,
    GOOD,
    Line,
    count,
    first_line,
    natural,
    some,
    table,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

PER_SITE = 2
"""Nodes of each site that take part by default."""

MOST = 40
"""Lines about faults; the others are counted."""

REMEDIES = {
    "pod": "run tke.overlay.verify: it finds faults between the nodes and names their causes",
    "mtu": "run tke.overlay.verify: it measures the largest packet that passes between two nodes",
    "service": "net.bridge.bridge-nf-call-iptables must be 1 on the node, and no firewall may drop these packets",
    "clusterip": "check kube-proxy on the node (its log, --cluster-cidr), and the endpoints of the Service",
    "dns": "check the Pods of the name server, and its Service address in overlay_conformance_dns",
    "api": "tke.overlay.verify checks the same from the nodes; compare what firewalls allow Pods",
    "hostport": "TCP to the addresses of nodes must be open, for host ports and NodePorts",
    "hairpin": "the ports of the Pod bridge need hairpin mode: check the CNI configuration, and bridge -d link",
    "outside": "run sh /etc/tke-overlay/restore, and look for another masquerade or firewall: nft list ruleset",
    "webhook": "compare the routes to the Pods on this host (ip route get) with the plan: tke.overlay.status",
}
"""Path -> where to look, if no check of the hosts has found the cause."""


class PathOutcome(t.NamedTuple):
    """The result of one path on one host, as the module conformance returns it."""

    path: str
    asked: int
    failed: t.Sequence[t.Mapping[str, str]]  # each with target and text
    reason: str = ""


class HostConformance(t.NamedTuple):
    """What one host returned.

    ``errors`` are errors of the modules, ``faults`` Pods that did not start, ``reason`` why there are none if that is
    no fault, ``planned`` in check mode what would be started.
    """

    reached: bool = True
    connection: str = ""  # what Ansible has said, if the host was not reached
    errors: t.Sequence[str] = ()
    faults: t.Sequence[str] = ()
    reason: str = ""
    planned: str = ""
    paths: t.Sequence[PathOutcome] = ()
    pods: PodFindings = ()


class ConformanceResult(t.NamedTuple):
    """Whether all tests have passed, the lines to print, the next steps, and the same for programs."""

    healthy: bool
    lines: list[Line]
    steps: list[str]
    data: dict[str, t.Any]


# --- who takes part ---


def choose_nodes(
    sites: t.Mapping[str, t.Sequence[str]], playing: t.Collection[str], named: t.Sequence[str], per_site: int
) -> list[str]:
    """Return the nodes that start Pods: those that are named, or else the first ones of each site by name.

    :param sites: the nodes that can have Pods, by site.
    :param playing: the hosts of the run.
    :raises ValidationError: a named host is none of these nodes, or the run has none of them.
    """
    known = {name for names in sites.values() for name in names}
    unknown = [name for name in named if name not in known]
    if unknown:
        raise ValidationError(
            f"overlay_conformance_nodes names hosts that are no nodes with Pods: {some(unknown)}. Name nodes of the "
            f"group overlay_nodes that have a node CIDR"
        )
    if named:
        chosen = [name for name in dict.fromkeys(named) if name in playing]
    else:
        ordered = [sorted((name for name in names if name in playing), key=natural) for names in sites.values()]
        chosen = [name for names in ordered for name in names[:per_site]]
    if not chosen and known:
        raise ValidationError(
            "no node of this run can start Pods for the test: check --limit, overlay_conformance_nodes "
            f"({some(named) if named else 'not set'}) and overlay_conformance_per_site ({per_site})"
        )
    return chosen


# --- the screen ---


def judge(hosts: t.Mapping[str, HostConformance], fresh: t.Sequence[str], nodes: int, check: bool) -> ConformanceResult:
    """Return the verdict on the results of all hosts that take part.

    :param fresh: nodes without a node CIDR.
    :param nodes: the number of nodes of the plan.
    """
    outcomes = [(host, each) for host, result in hosts.items() for each in result.paths]
    asked = sum(each.asked for _host, each in outcomes)
    failed = sum(len(each.failed) for _host, each in outcomes)
    lines, steps = _host_lines(hosts, fresh)
    findings = pod_faults({host: result.pods for host, result in hosts.items()})
    lines += fault_lines(findings)
    path_lines, path_steps = _failure_lines(outcomes)
    lines += path_lines
    warned = [finding for finding in findings if finding.severity == WARNING]
    # A fault of a host explains the paths that have failed; a warning does not.
    steps += fault_steps([finding for finding in findings if finding not in warned]) or path_steps
    steps += fault_steps(warned)
    if not asked and not lines and not check:
        lines.append(Line("no path was asked: no node has a Pod of this test", BAD))
    data = {"healthy": not lines, "asked": asked, "failed": failed, "paths": _totals(outcomes)}
    notes = [*_table(outcomes), *_notes(hosts, nodes), *warning_lines(findings), *note_lines(findings)]
    if check and not lines:
        return ConformanceResult(True, [*_planned(hosts), *notes], steps, data)
    what = f"{asked - failed:,} of {count(asked, 'test')} on {count(len(hosts), 'host')} passed"
    if not lines:
        return ConformanceResult(True, [Line(f"healthy: {what}", GOOD), *notes], steps, data)
    cut = lines if len(lines) <= MOST else [*lines[:MOST], Line(f"and {len(lines) - MOST} more like these", BAD)]
    head = Line(f"unhealthy: {what}", BAD)
    return ConformanceResult(False, [head, *(Line(f"  {text}", tone) for text, tone in cut), *notes], steps, data)


def _host_lines(hosts: t.Mapping[str, HostConformance], fresh: t.Sequence[str]) -> tuple[list[Line], list[str]]:
    """Return a line for each reason why hosts could not do their part, with the next steps."""
    lines, steps = [], []
    if fresh:
        lines.append(Line(f"no node CIDR yet: {some(fresh)}", BAD))
        steps.append("ansible-playbook tke.overlay.site gives a node CIDR to each node that has none")
    unreached = {host: each.connection for host, each in hosts.items() if not each.reached}
    if unreached:
        lines.append(Line(f"unreachable for Ansible: {some(unreached)}", BAD))
        steps += connection_steps(unreached)
    for what in ("errors", "faults"):
        reasons: dict[str, list[str]] = collections.defaultdict(list)
        for host, each in hosts.items():
            for text in getattr(each, what):
                reasons[text].append(host)
        lines += [Line(f"{some(names)}: {first_line(text, 400)}", BAD) for text, names in sorted(reasons.items())]
    return lines, steps


def _failure_lines(outcomes: t.Sequence[tuple[str, PathOutcome]]) -> tuple[list[Line], list[str]]:
    """Return a line for each path, host and reason, with the targets, and a next step for each path."""
    targets: dict[tuple[str, str, str], list[str]] = collections.defaultdict(list)
    for host, each in outcomes:
        for failure in each.failed:
            targets[each.path, host, failure["text"]].append(failure["target"])
    lines = [
        Line(f"{path}: {host} -> {some(dict.fromkeys(names))}: {first_line(text, 400)}", BAD)
        for (path, host, text), names in targets.items()
    ]
    paths = dict.fromkeys(path for path, _host, _text in targets)
    return lines, [f"{path}: {REMEDIES[path]}" for path in paths if path in REMEDIES]


def _totals(outcomes: t.Sequence[tuple[str, PathOutcome]]) -> dict[str, dict[str, t.Any]]:
    """Return path -> number of tests and failures, and reason -> hosts of what was not asked."""
    totals: dict[str, dict[str, t.Any]] = {}
    for host, each in outcomes:
        total = totals.setdefault(each.path, {"asked": 0, "failed": 0, "not_asked": {}})
        total["asked"] += each.asked
        total["failed"] += len(each.failed)
        if each.reason:
            total["not_asked"].setdefault(each.reason, []).append(host)
    return totals


def _table(outcomes: t.Sequence[tuple[str, PathOutcome]]) -> list[Line]:
    """Return a row for each path; one that was not asked says why."""
    hosts = {host for host, _each in outcomes}
    rows = []
    for path, total in _totals(outcomes).items():
        reasons = [
            reason if set(names) == hosts else f"{reason} ({some(names, 3)})"
            for reason, names in total["not_asked"].items()
        ]
        failed = str(total["failed"]) if total["failed"] else "-"
        rows.append([path, str(total["asked"] or "-"), failed, "; ".join(reasons) or "-"])
    return [Line(text) for text in table(["PATH", "TESTS", "FAILED", "NOT ASKED"], rows)] if rows else []


def _notes(hosts: t.Mapping[str, HostConformance], nodes: int) -> list[Line]:
    notes = [Line(f"no Pods on {host}: {each.reason}") for host, each in hosts.items() if each.reason]
    if len(hosts) < nodes:
        notes.append(Line(f"sample: {len(hosts)} of {count(nodes, 'node')}: {some(hosts)}"))
    return notes


def _planned(hosts: t.Mapping[str, HostConformance]) -> list[Line]:
    texts: dict[str, list[str]] = collections.defaultdict(list)
    for host, each in hosts.items():
        if each.planned:
            texts[each.planned].append(host)
    head = Line("check mode: nothing was started and nothing was asked")
    return [head, *(Line(f"a run would start on {some(names)}: {text}") for text, names in texts.items())]

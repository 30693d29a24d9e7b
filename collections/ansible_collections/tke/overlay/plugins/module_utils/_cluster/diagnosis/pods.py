# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What prevents Pods of the hosts from talking: equal findings of several hosts as one line and one step."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import BAD, Line, natural, some

WARNING, NOTE = "warn", "note"
"""Severities besides BAD: Pods talk, and later ones may not start; what concerns no Pod yet, or was not checked."""

MOST_STEPS = 12
"""Steps about Pods; the lines before them name the other hosts."""

PodFindings = t.Sequence[t.Mapping[str, str]]
"""The return value ``pods`` of a module: check, text, remedy and severity of each finding."""


class PodFault(t.NamedTuple):
    """One finding and all hosts that have it."""

    hosts: t.Sequence[str]
    check: str
    text: str
    remedy: str
    severity: str


def pod_faults(findings: t.Mapping[str, PodFindings]) -> list[PodFault]:
    """Return each finding once, with its hosts; those that most hosts have come first.

    :param findings: host -> its findings.
    """
    hosts: dict[tuple[str, str, str, str], dict[str, None]] = {}
    for host in sorted(findings, key=natural):
        for each in findings[host]:
            hosts.setdefault((each["check"], each["text"], each["remedy"], each["severity"]), {})[host] = None
    faults = [PodFault(list(names), *key) for key, names in hosts.items()]
    return sorted(faults, key=lambda fault: -len(fault.hosts))


def is_bad(findings: PodFindings) -> bool:
    """Whether Pods of a host cannot talk, or cannot start."""
    return any(each["severity"] not in (WARNING, NOTE) for each in findings)


def fault_lines(faults: t.Sequence[PodFault]) -> list[Line]:
    """Return a line for each fault, without warnings and notes."""
    return [
        Line(f"Pods: {some(fault.hosts)}: {fault.text}", BAD)
        for fault in faults
        if fault.severity not in (WARNING, NOTE)
    ]


def warning_lines(faults: t.Sequence[PodFault]) -> list[Line]:
    """Return a line for each warning."""
    return [Line(f"Pods: {some(fault.hosts)}: {fault.text}") for fault in faults if fault.severity == WARNING]


def note_lines(faults: t.Sequence[PodFault]) -> list[Line]:
    """Return a line for each note."""
    return [Line(f"{some(fault.hosts)}: {fault.text}") for fault in faults if fault.severity == NOTE]


def fault_steps(faults: t.Sequence[PodFault]) -> list[str]:
    """Return a next step for each fault and warning, without the notes."""
    bad = [fault for fault in faults if fault.severity != NOTE]
    steps = [f"on {some(fault.hosts)}: {fault.remedy[:1].lower()}{fault.remedy[1:]}" for fault in bad[:MOST_STEPS]]
    return [*steps, "and the same for the other lines about Pods"] if len(bad) > MOST_STEPS else steps

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small overlays for the tests of the report: a ledger, hosts, and what was observed on them."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import (
    LedgerVersions,
    Report,
    ReportOptions,
    build,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import ProbedHost

NOW, THEN = "2026-06-30T12:00:00Z", "2026-05-01T00:00:00Z"
SITES = ("cloud", "idc")
CURRENT_PLAN = {"applied": "a", "wanted": "a", "current": True}
OLD_PLAN = {"applied": "a", "wanted": "b", "current": False}
VIPS = {"services": "10.0.2.3", "apiserver": "10.0.2.2"}


def ledger_of(*names: str, cidr: str = "10.244.0.0/20", **changes: t.Any) -> Ledger:
    """A ledger in which these nodes have the first node CIDRs."""
    ledger = Ledger("demo", Pool([cidr], 256, 256))
    for number, name in enumerate(names):
        ledger.nodes[name] = Assignment(ledger.pool.node_cidr(number), f"10.0.0.{number + 1}", 1500, THEN, False)
    ledger.cursor = len(names) % ledger.pool.size
    for key, value in changes.items():
        setattr(ledger, key, value)
    return ledger


def site_of(name: str) -> str:
    """The site of a node by its name: ``idc`` of ``idc1``."""
    return name.rstrip("0123456789")


def host(
    name: str,
    answers: t.Mapping[str, float] | None = None,
    silent: t.Sequence[str] = (),
    found: t.Sequence[tuple[str, str]] = (),
    **overlay: t.Any,
) -> ProbedHost:
    """A node that was observed.

    ``answers``: milliseconds by peer; ``silent``: peers without an answer; ``found``: other probe findings as (peer,
    kind). Without any of them the node did not probe.
    """
    times = dict(answers or {})
    reported = [(peer, "silent") for peer in silent] + list(found)
    asked = {*times, *(peer for peer, _kind in reported)}
    probe = {
        "asked": len(asked),
        "answered": len(asked - {peer for peer, kind in reported if kind == "silent"}),
        "rtt_ms": times,
        "findings": [{"peer": peer, "kind": kind, "text": f"{peer}: {kind}"} for peer, kind in reported],
    }
    observed = {"node": name, "plan": CURRENT_PLAN, "drift": [], "vips": [], "mtu": 1400, "port": 8472}
    observed.update({"timer": "active", **overlay})
    return ProbedHost(name, site_of(name), selected=True, overlay=observed, probe=probe if asked else None)


def healthy(*names: str) -> list[ProbedHost]:
    """Nodes that all reach each other."""
    return [host(name, {other: 0.5 for other in names if other != name}) for name in names]


def unreachable(*names: str) -> list[ProbedHost]:
    """Nodes that Ansible did not reach."""
    return [ProbedHost(name, site_of(name), selected=True, unreachable=True) for name in names]


def load_balancer(name: str, *vips: str, **changes: t.Any) -> ProbedHost:
    """A host that is no node and holds these VIPs."""
    overlay = {"vips": list(vips), "load_balancer": {"timer": "active"}}
    return ProbedHost(name, node=False, selected=True, overlay=overlay)._replace(**changes)


def report_of(ledger: Ledger, hosts: t.Sequence[ProbedHost], **options: t.Any) -> Report:
    """The report of a run at :data:`NOW`."""
    return build(
        LedgerVersions(ledger, "/srv/ledger.json"), hosts, ReportOptions(**{"at": NOW, "sites": SITES, **options})
    )


def kinds(report: Report) -> list[str]:
    """The kinds of the findings, in their order."""
    return [finding["kind"] for finding in report["findings"]]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A roll-out in batches: which hosts can take part, which peers must answer, and whether the next batch starts."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import (
    cause_of,
    connection_steps,
    known_cause,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.pods import (
    is_bad,
    note_lines,
    pod_faults,
    warning_lines,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import Answers, Fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    BAD,
    GOOD,
    Line,
    count,
    first_line,
    some,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.verify import VerifyResult, judge
from ansible_collections.tke.overlay.plugins.module_utils._links import VXLAN, parse_links


class Batch(t.NamedTuple):
    """The hosts of one batch, and the hosts of later batches. Those that were not reached do not stop a roll-out."""

    changed: t.Mapping[str, bool]  # host -> whether anything was changed there
    failed: t.Mapping[str, str]  # host -> why it has not converged
    left: t.Sequence[str]
    unreached: t.Mapping[str, str] = {}  # host -> the message of its connection


def after(batch: Batch, fleet: Fleet, answers: t.Mapping[str, Answers]) -> VerifyResult:
    """Return the verdict on a batch; the roll-out continues if it is healthy.

    :param answers: by host, for those of the batch that have converged.
    """
    changed = len([host for host, changed in batch.changed.items() if changed])
    hosts = [*batch.changed, *batch.failed, *batch.unreached]
    what = f"{some(hosts)}: {changed:,} of {len(hosts):,} changed"
    skipped = _unreached(batch.unreached)
    failed = [Line(f"failed: {host}: {first_line(reason)}", BAD) for host, reason in sorted(batch.failed.items())]
    judged = judge(fleet, answers) if _shows_more_than_notes(answers) else _without_peers(batch, answers)
    if judged.healthy and not failed:
        left = f"; remaining: {some(batch.left)}" if batch.left else ""
        return VerifyResult(
            True, [Line(f"{what}{left}", GOOD), *skipped, *judged.lines], connection_steps(batch.unreached)
        )
    unchanged = f": {count(len(batch.left), 'host')} not changed: {some(batch.left)}" if batch.left else ""
    fixes = [*_repairs(batch.failed), *_fixes(judged.steps)]
    again = "run the same command again; it applies the plan and continues with the remaining hosts"
    steps = [*connection_steps(batch.unreached), *fixes, f"then {again}" if fixes else again]
    return VerifyResult(False, [Line(what), *skipped, *failed, *judged.lines, Line(f"stopped{unchanged}", BAD)], steps)


def _shows_more_than_notes(answers: t.Mapping[str, Answers]) -> bool:
    """Return whether a pair was probed, or a host shows a fault. Warnings and notes about Pods show neither."""
    return any(
        each.rtt_ms or each.findings or each.failure or is_bad(each.pods) or not each.reached
        for each in answers.values()
    )


def _without_peers(batch: Batch, answers: t.Mapping[str, Answers]) -> VerifyResult:
    """Return the result of a batch of which no host has a peer that must answer, with its notes about Pods."""
    faults = pod_faults({host: answer.pods for host, answer in answers.items()})
    head = [Line("no peer has to answer yet", GOOD)] if batch.changed else []
    return VerifyResult(True, [*head, *warning_lines(faults), *note_lines(faults)], [])


def _repairs(failed: t.Mapping[str, str]) -> list[str]:
    known = {host: reason for host, reason in failed.items() if known_cause(reason)}
    return [*["fix what failed"] * bool(failed), *connection_steps(known)]


def _unreached(messages: t.Mapping[str, str]) -> list[Line]:
    causes: dict[str, list[str]] = {}
    for host, message in messages.items():
        causes.setdefault(cause_of(message).what, []).append(host)
    return [Line(f"unreachable: {some(hosts)}: {what}", BAD) for what, hosts in causes.items()]


def _fixes(steps: t.Iterable[str]) -> list[str]:
    """Return the steps of a verdict for a reader who will run the roll-out again, which includes the site playbook."""
    kept = [step.replace(" and run tke.overlay.site", "") for step in steps]
    kept = [step.partition("; ansible-playbook tke.overlay.site")[0] for step in kept]
    return [step for step in kept if "tke.overlay.site" not in step]


def cutover_hosts(saved: t.Mapping[str, t.Mapping[str, t.Any]], plan: t.Mapping[str, t.Any]) -> list[str]:
    """Return the hosts that can take the plan only together with all others.

    They have another port, another underlay address, or another transport of a link.

    :param saved: host -> its saved state (module saved_state).
    """
    document, lines = plan["document"], _places(plan)
    links = parse_links(document["links"]) if "links" in document else None
    sites = {peer.name: peer.site for peer in parse_fleet(document["fleet"]).values()} if links else {}
    return [
        host
        for host, state in saved.items()
        if state["port"] != document["port"]
        or f"{host} {plan['assignments'][host]} {state['underlay']}" not in lines
        or _changes_transport(state.get("links"), links.of_one_site(sites[host]) if links else None)
    ]


def _changes_transport(before: str | None, after: str | None) -> bool:
    """Return whether a link has another transport than before.

    :param before: the links of one site, see :meth:`LinkTable.of_one_site`; ``None``: VXLAN connects all nodes.
    """
    former, later = _transports(before), _transports(after)
    sites = former.keys() | later.keys()
    known = [
        (VXLAN if before is None else former.get(site), VXLAN if after is None else later.get(site)) for site in sites
    ]
    return any(one and other and one != other for one, other in known)


def _transports(links: str | None) -> dict[str, str]:
    """Return the transport to each site."""
    words = [link.split(" ") for link in (links or "").split(", ") if link]
    return {site: transport for site, transport, _mtu in words}


def _places(plan: t.Mapping[str, t.Any]) -> set[str]:
    """Return name, node CIDR and underlay address of each node, without its site and WireGuard."""
    return {" ".join(line.split(" ")[:3]) for line in plan["document"]["fleet"].splitlines()}


def fleet_versions(saved: t.Mapping[str, t.Mapping[str, t.Any]], plan: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Group hosts by the version of their fleet file.

    A host whose saved line is not in the plan is left out: its peers do not accept it under the plan.

    :param saved: host -> its saved state (module saved_state).
    :returns: version -> hosts.
    """
    lines = _places(plan)
    versions: dict[str, list[str]] = {}
    for host, state in saved.items():
        if f"{state['node']} {state['node_cidr']} {state['underlay']}" in lines:
            versions.setdefault(state["view"], []).append(host)
    return versions


def unready_peers(
    host: str,
    plan: t.Mapping[str, t.Any],
    converged: t.Sequence[str],
    versions: t.Mapping[str, t.Sequence[str]],
    fleets: t.Mapping[str, str],
) -> list[str]:
    """Return the nodes that do not have to answer ``host`` yet.

    These are the nodes that have not converged in this roll-out and whose fleet file lacks the line of ``host``.

    :param versions: see :func:`fleet_versions`.
    :param fleets: version -> text of the fleet file.
    """
    own = next(line for line in plan["document"]["fleet"].splitlines() if line.partition(" ")[0] == host)
    ready = set(converged)
    for version, hosts in versions.items():
        if own in fleets.get(version, "").splitlines():
            ready.update(hosts)
    return [name for name in plan["assignments"] if name not in ready]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The findings of the report: each problem of the overlay once, with its hosts and its remedy.

With 5,000 nodes one fault can show on thousands of hosts. A finding counts
them and names the first ones; its ``hosts`` lists all.
"""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import overhead_on
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import (
    connection_steps,
    known_cause,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.host_tables import timers_run
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.pods import NOTE, WARNING, pod_faults
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import Evidence, Fleet, causes
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    MOST_IN_COMMAND,
    count,
    limit,
    release,
    some,
    them,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.vips import Overlays, vip_faults
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import ProbedHost, answers_of
from ansible_collections.tke.overlay.plugins.module_utils._links import Link, LinkTable, wireguard_device

NEARLY_FULL = 0.1
"""The pool is nearly full if this part of it, or less, is free."""

SITE = "ansible-playbook tke.overlay.site"
REPORT = "ansible-playbook tke.overlay.report"


PlannedLink = t.Mapping[str, t.Any]
"""A link of the plan: its two sites, transport and MTU."""


class Finding(t.TypedDict):
    """One problem.

    ``severity``: ``bad`` (Pods do not reach each other, or will not soon),
    ``warn`` (needs attention) or ``note``. ``kind``: a keyword for programs.
    """

    severity: str
    kind: str
    hosts: list[str]
    text: str
    remedy: str


class Situation:
    """The input of all findings.

    :param hosts: the hosts of the inventory with what the run observed.
    :param limit: the ``--limit`` of the run.
    :param links: those of the plan, empty in a cluster without ``overlay_links``.
    """

    def __init__(
        self, ledger: Ledger, hosts: t.Sequence[ProbedHost], limit: str | None, links: t.Sequence[PlannedLink] = ()
    ) -> None:
        self.ledger, self.hosts, self.limit = ledger, hosts, limit
        # Without the pairs of nodes that have no node CIDR: they cannot answer, and another finding reports them.
        fleet = _fleet(self.nodes)._replace(links=_link_table(links))
        self.evidence = Evidence(fleet, {host.name: answers_of(host, ledger.nodes) for host in self.nodes})

    @property
    def nodes(self) -> list[ProbedHost]:
        """The hosts that are nodes of the overlay."""
        return [host for host in self.hosts if host.node]

    @property
    def overlays(self) -> Overlays:
        """What each host has reported, ``None`` for one that was not read."""
        return {host.name: host.overlay for host in self.hosts}

    @property
    def missing(self) -> set[str]:
        """The nodes of the inventory that have no node CIDR."""
        return {host.name for host in self.nodes} - self.ledger.nodes.keys()

    @property
    def orphans(self) -> list[str]:
        """The nodes of the ledger that are not in the inventory."""
        return sorted(self.ledger.nodes.keys() - {host.name for host in self.nodes})


def _fleet(nodes: t.Sequence[ProbedHost]) -> Fleet:
    """Return the tunnel's settings that most nodes report, because there may be no plan to take them from."""
    overlays = [host.overlay or {} for host in nodes]
    # While keys change, a host also has a device of the next keys, by which no host sends yet.
    in_use = [min(found, key=_generation) for overlay in overlays if (found := overlay.get("wireguard"))]
    newest: t.Mapping[str, t.Any] = max(in_use, key=_generation, default={})
    return Fleet(
        sites={host.name: host.site or "no site" for host in nodes},
        size=_most_common(overlay.get("mtu") for overlay in overlays),
        port=_most_common(overlay.get("port") for overlay in overlays),
        overhead=overhead_on(str(_most_common(overlay.get("underlay") for overlay in overlays))),
        device=_most_common((overlay.get("vtep") or {}).get("device") for overlay in overlays) or "tke0",
        wireguard_port=newest.get("port"),
        wireguard_device=newest.get("device", wireguard_device(0)),
    )


def _generation(device: t.Mapping[str, t.Any]) -> int:
    return int(device["generation"])


def _link_table(links: t.Sequence[PlannedLink]) -> LinkTable | None:
    table = {(link["sites"][0], link["sites"][-1]): Link(link["transport"], link["mtu"]) for link in links}
    return LinkTable(table) if table else None


def _most_common(values: t.Iterable[t.Any]) -> t.Any:
    counted = collections.Counter(value for value in values if value is not None)
    return max(counted, key=lambda value: counted[value], default=None)


def findings(situation: Situation) -> list[Finding]:
    """Return all findings, grouped by kind."""
    return [
        *_hosts_not_observed(situation),
        *_unreachable_peers(situation),
        *_pods(situation),
        *_vips(situation),
        *_drift(situation),
        *_unconfigured(situation),
        *_old_plans(situation),
        *_orphans(situation),
        *_missing(situation),
        *_underlay_addresses(situation.ledger),
        *_pending(situation.ledger),
        *_pool(situation.ledger),
        *_left_out(situation),
        *_notes(situation),
    ]


def by_severity(found: t.Iterable[Finding]) -> list[Finding]:
    """Return the findings with the most severe first; equal ones keep their order."""
    rank = {"bad": 0, "warn": 1, "note": 2}
    return sorted(found, key=lambda finding: rank[finding["severity"]])


def has_old_plan(overlay: t.Mapping[str, t.Any]) -> bool:
    """Return whether a host has applied another plan than the current one; false where no plan was given."""
    plan = overlay.get("plan") or {}
    return bool(plan.get("wanted")) and plan.get("current") is False


def is_unconfigured(host: ProbedHost) -> bool:
    """Return whether a host was observed and the overlay is not configured on it."""
    return host.overlay is not None and "node" in host.overlay and host.overlay["node"] is None


# --- each kind ---


def _hosts_not_observed(situation: Situation) -> t.Iterator[Finding]:
    of_sites = {host for hosts in situation.evidence.unreachable_sites().values() for host in hosts}
    unreachable = [host for host in situation.hosts if host.unreachable and host.name not in of_sites]
    dead = situation.evidence.dead()
    for hosts, silent in (
        ([host for host in unreachable if host.name in dead], True),
        ([host for host in unreachable if host.node and host.name not in dead], False),
        ([host for host in unreachable if not host.node], False),
    ):
        if hosts:
            yield _unreachable(hosts, silent)
    failed: dict[str, list[str]] = collections.defaultdict(list)
    for host in situation.hosts:
        for message in host.failures:
            failed[message].append(host.name)
    for message, names in failed.items():
        yield Finding(
            severity="bad",
            kind="failed",
            hosts=names,
            text=f"Reading the state of {some(names)} failed: {message}",
            remedy=f"Fix the error in the message, then run: {REPORT} --limit {names[0]}",
        )


def _unreachable(hosts: t.Sequence[ProbedHost], silent: bool) -> Finding:
    """Return the finding of hosts that Ansible does not reach.

    :param silent: the peers do not reach them either.
    """
    names = [host.name for host in hosts]
    one, pattern = len(names) == 1, ",".join(names) if len(names) <= MOST_IN_COMMAND else "overlay_nodes"
    also = f", and no node gets an answer from {them(names)} either" if silent else ""
    runs = "host runs and accepts" if one else "hosts run and accept"
    remedy = f"Check that the {runs} SSH connections: ansible {pattern} -m ping"
    known = connection_steps({host.name: host.connection for host in hosts if known_cause(host.connection)})
    if known:
        remedy += f". {'. '.join(known)}"
    if hosts[0].node:
        remedy += (
            f". The other nodes keep {them(names)} as {'a peer' if one else 'peers'}. "
            f"To release {'a host that does' if one else 'hosts that do'} not come back: {release(names)}"
        )
    text = f"Ansible cannot reach {some(names)}{also}."
    return Finding(severity="bad", kind="unreachable", hosts=names, text=text, remedy=remedy)


def _unreachable_peers(situation: Situation) -> t.Iterator[Finding]:
    """Yield the root causes that the playbook verify prints too."""
    for cause in causes(situation.evidence):
        yield Finding(
            severity="bad",
            kind=cause.kind,
            hosts=list(cause.hosts),
            text=f"{_sentences([cause.text])}.",
            remedy=_sentences(cause.steps),
        )


def _pods(situation: Situation) -> t.Iterator[Finding]:
    """Yield what prevents Pods of the hosts from talking."""
    for fault in pod_faults({host.name: (host.overlay or {}).get("pods") or [] for host in situation.hosts}):
        note = fault.severity == NOTE
        yield Finding(
            severity=fault.severity if fault.severity in (WARNING, NOTE) else "bad",
            kind="pods",
            hosts=list(fault.hosts),
            text=f"{'' if note else 'Pods of '}{some(fault.hosts)}: {fault.text}.",
            remedy=fault.remedy,
        )


def _notes(situation: Situation) -> t.Iterator[Finding]:
    """Yield what is no drift, such as a kubeconfig that is not there yet."""
    hosts: dict[str, list[str]] = {}
    for host in situation.hosts:
        for note in (host.overlay or {}).get("notes") or []:
            hosts.setdefault(note, []).append(host.name)
    for note, names in sorted(hosts.items()):
        remedy = "After the join to the cluster: ansible-playbook tke.overlay.site"
        yield Finding(severity="note", kind="endpoint", hosts=names, text=f"{some(names)}: {note}.", remedy=remedy)


def _sentences(texts: t.Sequence[str]) -> str:
    """Join sentences. The last has no full stop, as it may end with a command."""
    return ". ".join(text[0].upper() + text[1:] for text in texts)


def _vips(situation: Situation) -> t.Iterator[Finding]:
    for fault in vip_faults(situation.ledger.vips, situation.overlays):
        yield Finding(
            severity="bad" if fault.certain else "warn",
            kind="vip",
            hosts=list(fault.hosts),
            text=f"{fault.text}.",
            remedy=_sentences([fault.remedy]),
        )


def _drift(situation: Situation) -> t.Iterator[Finding]:
    drifted = [host for host in situation.hosts if host.overlay and host.overlay.get("drift")]
    if drifted:
        names = [host.name for host in drifted]
        lines = [f"{host.name}: {line}" for host in drifted for line in (host.overlay or {})["drift"]]
        verb, its = ("differs", "its") if len(names) == 1 else ("differ", "their")
        timer = "The restore timer of each host corrects most of it. To correct all of it now: "
        if not timers_run(host.overlay or {} for host in drifted):
            timer = "To correct it: "
        yield Finding(
            severity="warn",
            kind="drift",
            hosts=names,
            text=f"{some(names)} {verb} from {its} applied configuration. {some(lines, 4)}.",
            remedy=f"{timer}{SITE}{limit(names)}",
        )


def _unconfigured(situation: Situation) -> t.Iterator[Finding]:
    nodes, missing = situation.nodes, situation.missing
    names = [host.name for host in nodes if is_unconfigured(host) and host.name not in missing]
    if names:
        on = f"the overlay is not configured on {them(names)}"
        yield Finding(
            severity="bad",
            kind="unconfigured",
            hosts=names,
            text=f"{some(names)} {_have(names)} a node CIDR, but {on}.",
            remedy=f"{SITE}{limit(names)}",
        )


def _old_plans(situation: Situation) -> t.Iterator[Finding]:
    configured = [host for host in situation.nodes if host.overlay and not is_unconfigured(host)]
    names = [host.name for host in configured if has_old_plan(host.overlay or {})]
    if names:
        yield Finding(
            severity="warn",
            kind="plan",
            hosts=names,
            text=f"{some(names)} {_have(names)} not applied the current plan.",
            remedy=f"{SITE}{limit(names)}",
        )


def _have(names: t.Sized) -> str:
    return "has" if len(names) == 1 else "have"


def _orphans(situation: Situation) -> t.Iterator[Finding]:
    orphans = situation.orphans
    if orphans:
        are, peers = ("is", "the peer") if len(orphans) == 1 else ("are", "these peers")
        it = them(orphans)
        yield Finding(
            severity="warn",
            kind="orphan",
            hosts=orphans,
            text=f"{some(orphans)} {_have(orphans)} a node CIDR, but {are} not in the inventory. "
            f"Removing a node from the inventory does not release it: the other nodes keep {peers}.",
            remedy=f"Put {it} back into the inventory, or release {it}: {release(orphans)}",
        )


def _missing(situation: Situation) -> t.Iterator[Finding]:
    missing = sorted(situation.missing)
    if missing:
        yield Finding(
            severity="warn",
            kind="missing",
            hosts=missing,
            text=f"{some(missing)} {_have(missing)} no node CIDR yet.",
            remedy=SITE,
        )


def _underlay_addresses(ledger: Ledger) -> t.Iterator[Finding]:
    unknown = sorted(name for name, held in ledger.nodes.items() if not held.underlay)
    if unknown:
        their = "its" if len(unknown) == 1 else "their"
        yield Finding(
            severity="warn",
            kind="underlay",
            hosts=unknown,
            text=f"The ledger has no underlay address of {some(unknown)}, so no other node reaches {their} Pods.",
            remedy=f"Put {them(unknown)} into the inventory, then run: {SITE}",
        )


def _pending(ledger: Ledger) -> t.Iterator[Finding]:
    released = ledger.awaited()
    hosts = sorted({host for pending in released.values() for host in pending.on})
    if hosts:
        is_pending = "is pending" if len(released) == 1 else "are pending"
        removed, reaches = ("removes", "this host") if len(hosts) == 1 else ("remove", "these hosts")
        it = them(released)
        yield Finding(
            severity="note",
            kind="pending",
            hosts=hosts,
            text=f"{count(len(released), 'released node CIDR')} {is_pending} until {some(hosts)} {removed} {it}.",
            remedy=f"The next run that reaches {reaches} frees {it}: {SITE}",
        )


def _pool(ledger: Ledger) -> t.Iterator[Finding]:
    capacity = ledger.capacity()
    free, size = capacity["free"], capacity["max_nodes"]
    if free > size * NEARLY_FULL:
        return
    yield Finding(
        severity="warn",
        kind="pool",
        hosts=[],
        text="No node CIDR is free: no further node can join."
        if free <= 0
        else f"The pool is nearly full: {free} of {size} node CIDRs {'is' if free == 1 else 'are'} free.",
        remedy="Append a CIDR to overlay_container_cidr, or release nodes that no longer exist.",
    )


def _left_out(situation: Situation) -> t.Iterator[Finding]:
    left = [host.name for host in situation.nodes if not host.selected]
    if left and len(left) < len(situation.nodes):
        reason = f"was limited to {situation.limit}" if situation.limit else f"did not include {them(left)}"
        yield Finding(
            severity="note",
            kind="limit",
            hosts=left,
            text=f"{some(left)} {'was' if len(left) == 1 else 'were'} not observed: the run {reason}.",
            remedy=f"For a complete report, run without a limit: {REPORT}",
        )

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: what is wrong with the overlay, and what to do about it. Pure.

At 5,000 nodes one fault shows on thousands of hosts. So each kind of fault is
one finding that counts and names the first hosts; ``hosts`` has all of them.
"""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import overhead_on
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import Evidence, Fleet, causes
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count, some, them
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import ProbedHost, answers_of

NEARLY_FULL = 0.1
"""The part of the pool that should be free."""


class Finding(t.TypedDict):
    """``severity``: ``bad`` (Pods do not reach each other, or soon will not), ``warn`` (to be put right), ``note``."""

    severity: str
    kind: str
    hosts: list[str]
    text: str
    remedy: str


class Situation:
    """All that findings come from: the hosts of the inventory, what they told, and what the run was limited to."""

    def __init__(self, ledger: Ledger, hosts: t.Sequence[ProbedHost], limit: str | None) -> None:
        self.ledger, self.hosts, self.limit = ledger, hosts, limit
        # A node without a node CIDR cannot answer, and that is said of it already.
        self.evidence = Evidence(_fleet(self.nodes), {host.name: answers_of(host, ledger.nodes) for host in self.nodes})

    @property
    def nodes(self) -> list[ProbedHost]:
        """The hosts that are nodes of the overlay."""
        return [host for host in self.hosts if host.node]

    @property
    def missing(self) -> set[str]:
        """The nodes of the inventory that have no node CIDR."""
        return {host.name for host in self.nodes} - self.ledger.nodes.keys()

    @property
    def orphans(self) -> list[str]:
        """The nodes of the ledger that the inventory lacks."""
        return sorted(self.ledger.nodes.keys() - {host.name for host in self.nodes})


def _fleet(nodes: t.Sequence[ProbedHost]) -> Fleet:
    """What most nodes say of the tunnel: the report has no plan where none can be made."""
    told = [host.overlay or {} for host in nodes]
    return Fleet(
        sites={host.name: host.site or "no site" for host in nodes},
        size=_of_most(overlay.get("mtu") for overlay in told),
        port=_of_most(overlay.get("port") for overlay in told),
        overhead=overhead_on(str(_of_most(overlay.get("underlay") for overlay in told))),
        device=_of_most((overlay.get("vtep") or {}).get("device") for overlay in told) or "tke0",
    )


def _of_most(values: t.Iterable[t.Any]) -> t.Any:
    counted = collections.Counter(value for value in values if value is not None)
    return max(counted, key=lambda value: counted[value], default=None)


def findings(situation: Situation) -> list[Finding]:
    """Everything that is to be said."""
    return [
        *_hosts_not_seen(situation),
        *_unanswered(situation),
        *_vips(situation),
        *_differences(situation),
        *_record(situation),
        *_incomplete(situation.ledger),
        *_room(situation.ledger),
        *_left_out(situation),
    ]


def by_severity(found: t.Iterable[Finding]) -> list[Finding]:
    """The worst first."""
    rank = {"bad": 0, "warn": 1, "note": 2}
    return sorted(found, key=lambda finding: rank[finding["severity"]])


def vip_holders(address: str, hosts: t.Sequence[ProbedHost]) -> list[str]:
    """The hosts that say they hold this VIP."""
    return [host.name for host in hosts if host.overlay and address in (host.overlay.get("vips") or [])]


def has_old_plan(overlay: t.Mapping[str, t.Any]) -> bool:
    """Whether a host has applied another plan than the present one; not where the present one was not given."""
    plan = overlay.get("plan") or {}
    return bool(plan.get("wanted")) and plan.get("current") is False


def is_bare(host: ProbedHost) -> bool:
    """Whether a host was seen and has nothing of the overlay."""
    return host.overlay is not None and "node" in host.overlay and host.overlay["node"] is None


# --- each kind ---


def _hosts_not_seen(situation: Situation) -> t.Iterator[Finding]:
    unreached, dead = [host for host in situation.hosts if host.unreachable], situation.evidence.dead()
    for hosts, also in (
        ([host for host in unreached if host.name in dead], ", and no node gets an answer from {} either"),
        ([host for host in unreached if host.node and host.name not in dead], ""),
        ([host for host in unreached if not host.node], ""),
    ):
        if hosts:
            yield _unreachable(hosts, also)
    failed: dict[str, list[str]] = collections.defaultdict(list)
    for host in situation.hosts:
        for message in host.failures:
            failed[message].append(host.name)
    for message, names in failed.items():
        yield Finding(
            severity="bad",
            kind="failed",
            hosts=names,
            text=f"{some(names)} could not be looked at: {message}",
            remedy=f"Do what the message says, then: ansible-playbook tke.overlay.report --limit {names[0]}",
        )


def _unreachable(hosts: t.Sequence[ProbedHost], also: str) -> Finding:
    names = [host.name for host in hosts]
    it = them(names)
    machines = "the machine runs" if len(names) == 1 else "the machines run"
    remedy = f"Look whether {machines} and SSH gets there: ansible {','.join(names[:3])} -m ping"
    if hosts[0].node:
        peers = "a peer" if len(names) == 1 else "peers"
        remedy += (
            f". The others keep {it} as {peers}. "
            f"Gone for good? ansible-playbook tke.overlay.release -e overlay_release={','.join(names[:3])}"
        )
    text = f"Ansible could not reach {some(names)}{also.format(it)}."
    return Finding(severity="bad", kind="unreachable", hosts=names, text=text, remedy=remedy)


def _have(names: t.Sized) -> str:
    return "has" if len(names) == 1 else "have"


def _unanswered(situation: Situation) -> t.Iterator[Finding]:
    """Who does not reach whom, in the words of the playbook verify."""
    for cause in causes(situation.evidence):
        yield Finding(
            severity="bad",
            kind=cause.kind,
            hosts=list(cause.hosts),
            text=f"{_sentences([cause.text])}.",
            remedy=_sentences(cause.steps),
        )


def _sentences(texts: t.Sequence[str]) -> str:
    """One after the other; behind the last there is no full stop, as a command may stand there."""
    return ". ".join(text[0].upper() + text[1:] for text in texts)


def _vips(situation: Situation) -> t.Iterator[Finding]:
    seen = any(host.overlay is not None and not host.node for host in situation.hosts)
    whole = not any(host.unreachable or not host.asked for host in situation.hosts if not host.node)
    for name, address in sorted(situation.ledger.vips.items()):
        holders = vip_holders(address, situation.hosts)
        if len(holders) > 1:
            yield Finding(
                severity="bad",
                kind="vip",
                hosts=holders,
                text=f"The VIP {address} ({name}) is held by {some(holders)} at the same time.",
                remedy="VRRP does not pass between them: protocol 112 must, by unicast.",
            )
        elif not holders and seen:
            yield Finding(
                severity="bad" if whole else "warn",
                kind="vip",
                hosts=[],
                text=f"The VIP {address} ({name}) is held by none of the hosts that were looked at.",
                remedy="Look at the hosts of group clb: systemctl status 'tke-overlay-*'",
            )


def _differences(situation: Situation) -> t.Iterator[Finding]:
    drifted = [host for host in situation.hosts if host.overlay and host.overlay.get("drift")]
    if drifted:
        names = [host.name for host in drifted]
        lines = [f"{host.name}: {line}" for host in drifted for line in (host.overlay or {})["drift"]]
        yield Finding(
            severity="warn",
            kind="drift",
            hosts=names,
            text=f"{some(names)} differ{'s' if len(names) == 1 else ''} from what was applied. {some(lines, 4)}.",
            remedy=f"The host's own timer puts it back; at once: ansible-playbook tke.overlay.site{_limit(names)}",
        )
    bare = [host.name for host in situation.nodes if is_bare(host) and host.name not in situation.missing]
    if bare:
        yield Finding(
            severity="bad",
            kind="bare",
            hosts=bare,
            text=f"{some(bare)} {_have(bare)} a node CIDR and nothing of the overlay.",
            remedy=f"ansible-playbook tke.overlay.site{_limit(bare)}",
        )
    old = [host.name for host in situation.nodes if host.overlay and not is_bare(host) and has_old_plan(host.overlay)]
    if old:
        yield Finding(
            severity="warn",
            kind="plan",
            hosts=old,
            text=f"{some(old)} {_have(old)} not applied the present plan.",
            remedy=f"ansible-playbook tke.overlay.site{_limit(old)}",
        )


def _limit(names: t.Sequence[str]) -> str:
    return f" --limit {','.join(names)}" if len(names) <= 8 else ""


def _record(situation: Situation) -> t.Iterator[Finding]:
    """Where ledger and inventory do not say the same."""
    orphans, missing = situation.orphans, sorted(situation.missing)
    if orphans:
        peers = "the peer" if len(orphans) == 1 else "these peers"
        yield Finding(
            severity="warn",
            kind="orphan",
            hosts=orphans,
            text=f"{some(orphans)} {_have(orphans)} a node CIDR, and the inventory lacks {them(orphans)}. "
            f"Absence is not release: the others keep {peers}.",
            remedy=f"Put {them(orphans)} back into the inventory, or: ansible-playbook tke.overlay.release "
            f"-e overlay_release={','.join(orphans[:3])}",
        )
    if missing:
        yield Finding(
            severity="warn",
            kind="missing",
            hosts=missing,
            text=f"{some(missing)} {_have(missing)} no node CIDR yet.",
            remedy="ansible-playbook tke.overlay.site",
        )


def _incomplete(ledger: Ledger) -> t.Iterator[Finding]:
    """What the ledger does not know, and what it waits for."""
    unknown = sorted(name for name, held in ledger.nodes.items() if not held.underlay)
    if unknown:
        whose = "its" if len(unknown) == 1 else "their"
        yield Finding(
            severity="warn",
            kind="underlay",
            hosts=unknown,
            text=f"No underlay address is known of {some(unknown)}, so no other node reaches {whose} Pods.",
            remedy=f"Put {them(unknown)} into the inventory, then: ansible-playbook tke.overlay.site",
        )
    released = ledger.awaited()
    hosts = sorted({host for pending in released.values() for host in pending.on})
    if hosts:
        wait = "waits" if len(released) == 1 else "wait"
        yield Finding(
            severity="note",
            kind="pending",
            hosts=hosts,
            text=f"{count(len(released), 'released node CIDR')} {wait} for {some(hosts)} to drop {them(released)}.",
            remedy=f"The next run that reaches {them(hosts)} frees {them(released)}: ansible-playbook tke.overlay.site",
        )


def _room(ledger: Ledger) -> t.Iterator[Finding]:
    capacity = ledger.capacity()
    if capacity["free"] > capacity["max_nodes"] * NEARLY_FULL:
        return
    full = capacity["free"] <= 0
    yield Finding(
        severity="warn",
        kind="pool",
        hosts=[],
        text="No node CIDR is free: a further node cannot join."
        if full
        else f"{capacity['free']} of {capacity['max_nodes']} node CIDRs are free.",
        remedy="Append a CIDR to overlay_container_cidr, or release nodes that are gone.",
    )


def _left_out(situation: Situation) -> t.Iterator[Finding]:
    asked = [host for host in situation.nodes if host.asked]
    left = [host.name for host in situation.nodes if not host.asked]
    if left and asked:
        because = (
            f"the run was limited to {situation.limit}" if situation.limit else f"the run did not include {them(left)}"
        )
        yield Finding(
            severity="note",
            kind="limit",
            hosts=left,
            text=f"Not looked at: {some(left)}; {because}.",
            remedy="For the whole picture, run it without a limit: ansible-playbook tke.overlay.report",
        )

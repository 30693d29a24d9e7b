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

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.picture_reach import Host, Pair
from ansible_collections.tke.overlay.plugins.module_utils._cluster.table import some

NEARLY_FULL = 0.1
"""The part of the pool that should be free."""


class Finding(t.TypedDict):
    """``severity``: ``bad`` (Pods do not reach each other, or soon will not), ``warn`` (to be put right), ``note``."""

    severity: str
    kind: str
    hosts: list[str]
    text: str
    remedy: str


class Situation(t.NamedTuple):
    """All that findings come from: the hosts of the inventory, and whom each of them asked, by its name."""

    ledger: Ledger
    hosts: t.Sequence[Host]
    asked: t.Mapping[str, list[Pair]]
    limit: str | None

    @property
    def nodes(self) -> list[Host]:
        """The hosts that are nodes of the overlay."""
        return [host for host in self.hosts if host.node]

    @property
    def missing(self) -> set[str]:
        """The nodes of the inventory that have no segment."""
        return {host.name for host in self.nodes} - self.ledger.nodes.keys()

    @property
    def orphans(self) -> list[str]:
        """The nodes of the ledger that the inventory lacks."""
        return sorted(self.ledger.nodes.keys() - {host.name for host in self.nodes})


def findings(situation: Situation) -> list[Finding]:
    """Everything that is to be said."""
    return [
        *_hosts_not_seen(situation),
        *_unanswered(situation),
        *_too_large(situation),
        *_vips(situation),
        *_differences(situation),
        *_record(situation),
        *_room(situation.ledger),
        *_left_out(situation),
    ]


def by_severity(found: t.Iterable[Finding]) -> list[Finding]:
    """The worst first."""
    rank = {"bad": 0, "warn": 1, "note": 2}
    return sorted(found, key=lambda finding: rank[finding["severity"]])


def vip_holders(address: str, hosts: t.Sequence[Host]) -> list[str]:
    """The hosts that say they hold this VIP."""
    return [host.name for host in hosts if host.overlay and address in (host.overlay.get("vips") or [])]


def has_old_plan(overlay: t.Mapping[str, t.Any]) -> bool:
    """Whether a host has applied another plan than the present one; not where the present one was not given."""
    plan = overlay.get("plan") or {}
    return bool(plan.get("wanted")) and plan.get("current") is False


def is_bare(host: Host) -> bool:
    """Whether a host was seen and has nothing of the overlay."""
    return host.overlay is not None and "node" in host.overlay and host.overlay["node"] is None


# --- each kind ---


def _hosts_not_seen(situation: Situation) -> t.Iterator[Finding]:
    dead = [host.name for host in situation.hosts if host.unreachable]
    mute = _mute(situation)
    for names, also in (
        ([name for name in dead if name in mute], ", and no node gets an answer from {} either"),
        ([name for name in dead if name not in mute], ""),
    ):
        if names:
            it = "it" if len(names) == 1 else "them"
            yield Finding(
                severity="bad",
                kind="unreachable",
                hosts=names,
                text=f"Ansible could not reach {some(names)}{also.format(it)}.",
                remedy=f"Look whether {'the machine runs' if it == 'it' else 'the machines run'} and SSH gets there: "
                f"ansible {','.join(names[:3])} -m ping. "
                f"The others keep {it} as {'a peer' if it == 'it' else 'peers'}. "
                f"Gone for good? ansible-playbook tke.overlay.release -e overlay_release={names[0]}",
            )
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


def _mute(situation: Situation) -> set[str]:
    """The nodes from which nobody who asked gets an answer."""
    asked: collections.Counter[str] = collections.Counter()
    silent: collections.Counter[str] = collections.Counter()
    for host in situation.nodes:
        for pair in situation.asked[host.name]:
            asked[pair["peer"]] += 1
            silent[pair["peer"]] += "silent" in pair["kinds"]
    return {name for name, count in silent.items() if count == asked[name]}


def _unanswered(situation: Situation) -> t.Iterator[Finding]:
    mute = _mute(situation)
    dead = {host.name for host in situation.hosts if host.unreachable}
    names = sorted(mute - dead)
    deaf = sorted(host.name for host in situation.nodes if _is_deaf(situation.asked[host.name]))
    if len(deaf) == sum(host.probe is not None for host in situation.nodes) > 1:
        yield _silence(deaf, "No node gets an answer from any other.")
        return
    if names:
        yield _silence(names, f"No node gets an answer from {some(names)}.")
    if deaf:
        yield _silence(deaf, f"{some(deaf)} get{'s' if len(deaf) == 1 else ''} no answer from any other node.")
    yield from _by_sites(
        situation,
        "silent",
        lambda pair: pair["peer"] not in mute and pair["asker"] not in deaf,
        "{count} from {source} to {target} get no answer: {pairs}.",
        "UDP to the tunnel's port (overlay_port) must pass both ways, with no address translation on the way.",
    )


def _is_deaf(pairs: t.Sequence[Pair]) -> bool:
    return bool(pairs) and all("silent" in pair["kinds"] for pair in pairs)


def _silence(names: list[str], text: str) -> Finding:
    return Finding(
        severity="bad",
        kind="silent",
        hosts=names,
        text=text,
        remedy="Bring all up to date: ansible-playbook tke.overlay.site. Still silent? UDP to the tunnel's port "
        "(overlay_port) must pass both ways, with no address translation on the way.",
    )


def _too_large(situation: Situation) -> t.Iterator[Finding]:
    yield from _by_sites(
        situation,
        "mtu",
        lambda _pair: True,
        "{count} from {source} to {target} let small packets pass and lose full ones: {pairs}.{largest}",
        "Some link on the way is narrower than said. Lower overlay_underlay_mtu of that site, then: "
        "ansible-playbook tke.overlay.site",
    )
    yield from _by_sites(
        situation,
        "tcp",
        lambda _pair: True,
        "{count} from {source} to {target} answer a ping and lose TCP: {pairs}.",
        "Something on the way looks into the tunnel's port. Give overlay_port another one (4789 or 8472), then: "
        "ansible-playbook tke.overlay.site",
    )


def _by_sites(
    situation: Situation, kind: str, wanted: t.Callable[[Pair], bool], text: str, remedy: str
) -> t.Iterator[Finding]:
    """One finding for each two sites between which there are such pairs."""
    site_of = {host.name: host.site for host in situation.nodes}
    groups: dict[tuple[str, str], list[Pair]] = collections.defaultdict(list)
    for host in situation.nodes:
        for pair in situation.asked[host.name]:
            if kind in pair["kinds"] and wanted(pair):
                groups[host.site, site_of.get(pair["peer"], "")].append(pair)
    for (source, target), pairs in sorted(groups.items()):
        count = f"{len(pairs)} pair{'s' if len(pairs) != 1 else ''} of nodes"
        largest = min((pair["largest"] for pair in pairs if pair["largest"]), default=None)
        words = some([f"{pair['asker']} → {pair['peer']}" for pair in pairs])
        yield Finding(
            severity="bad",
            kind=kind,
            hosts=sorted({pair[end] for pair in pairs for end in ("asker", "peer")}),
            text=text.format(
                count=count,
                source=source or "no site",
                target=target or "no site",
                pairs=words,
                largest=f" The largest that passes has {largest} bytes." if largest else "",
            ),
            remedy=remedy,
        )


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
                remedy="Look at keepalived on the hosts of group clb: systemctl status keepalived",
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
            text=f"{some(bare)} {'has' if len(bare) == 1 else 'have'} a segment and nothing of the overlay.",
            remedy=f"ansible-playbook tke.overlay.site{_limit(bare)}",
        )
    old = [host.name for host in situation.nodes if host.overlay and not is_bare(host) and has_old_plan(host.overlay)]
    if old:
        yield Finding(
            severity="warn",
            kind="plan",
            hosts=old,
            text=f"{some(old)} {'has' if len(old) == 1 else 'have'} not applied the present plan.",
            remedy=f"ansible-playbook tke.overlay.site{_limit(old)}",
        )


def _limit(names: t.Sequence[str]) -> str:
    return f" --limit {','.join(names)}" if len(names) <= 8 else ""


def _record(situation: Situation) -> t.Iterator[Finding]:
    """Where ledger and inventory do not say the same."""
    ledger, orphans = situation.ledger, situation.orphans
    if orphans:
        yield Finding(
            severity="warn",
            kind="orphan",
            hosts=orphans,
            text=f"{some(orphans)} {'has' if len(orphans) == 1 else 'have'} a segment, and the inventory "
            f"lacks {'it' if len(orphans) == 1 else 'them'}. Absence is not release: the others keep the peer.",
            remedy=f"Put it back into the inventory, or: ansible-playbook tke.overlay.release "
            f"-e overlay_release={orphans[0]}",
        )
    missing = sorted(situation.missing)
    if missing:
        yield Finding(
            severity="warn",
            kind="missing",
            hosts=missing,
            text=f"{some(missing)} {'has' if len(missing) == 1 else 'have'} no segment yet.",
            remedy="ansible-playbook tke.overlay.site",
        )
    unknown = sorted(name for name, held in ledger.nodes.items() if not held.underlay)
    if unknown:
        yield Finding(
            severity="warn",
            kind="underlay",
            hosts=unknown,
            text=f"No underlay address is known of {some(unknown)}, so no other node reaches their Pods.",
            remedy="Put them into the inventory, then: ansible-playbook tke.overlay.site",
        )
    waiting = sorted({host for pending in ledger.awaited().values() for host in pending.on})
    if waiting:
        count = len(ledger.awaited())
        yield Finding(
            severity="note",
            kind="pending",
            hosts=waiting,
            text=f"{count} released segment{'s' if count != 1 else ''} wait{'s' if count == 1 else ''} for "
            f"{some(waiting)} to drop {'it' if count == 1 else 'them'}.",
            remedy=f"The next run that reaches {'it' if len(waiting) == 1 else 'them'} frees "
            f"{'it' if count == 1 else 'them'}: ansible-playbook tke.overlay.site",
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
        text="No segment is free: a further node cannot join."
        if full
        else f"{capacity['free']} of {capacity['max_nodes']} segments are free.",
        remedy="Append a CIDR to overlay_container_cidr, or release nodes that are gone.",
    )


def _left_out(situation: Situation) -> t.Iterator[Finding]:
    asked = [host for host in situation.nodes if host.asked]
    left = [host.name for host in situation.nodes if not host.asked]
    if left and asked:
        because = f"the run was limited to {situation.limit}" if situation.limit else "the run did not include them"
        yield Finding(
            severity="note",
            kind="limit",
            hosts=left,
            text=f"Not looked at: {some(left)}; {because}.",
            remedy="For the whole picture, run it without a limit: ansible-playbook tke.overlay.report",
        )

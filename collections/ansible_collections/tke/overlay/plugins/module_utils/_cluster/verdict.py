# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: what all nodes' answers together say of the overlay.

Each node can only tell whom it does not reach. One dead node is then told by all
others, and a firewall between two sites by everybody. :func:`judge` turns that
round: it names the node, or the pair of sites, from which the rest follows, once.
"""

from __future__ import annotations

import collections
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.table import (
    BAD,
    GOOD,
    Line,
    count,
    first_line,
    natural,
    some,
    steps,
)

SILENT, MTU, TCP = "silent", "mtu", "tcp"

REFUSES = "the peer was told to answer, and refuses"

Pair = t.Tuple[str, str]
"""Who asked, and who was asked."""

MOST = 20
"""Lines about single hosts and pairs; of more the number is told."""


class Answers(t.NamedTuple):
    """What one host has told: the result of the module probe, or why there is none."""

    reached: bool  # by Ansible
    failure: str = ""
    asked: int = 0
    rtt_ms: t.Mapping[str, float] = {}
    findings: t.Sequence[t.Mapping[str, t.Any]] = ()
    refused: t.Sequence[str] = ()
    tcp: bool = False  # whether it was to ask by TCP, too
    plan_current: bool = True


class Fleet(t.NamedTuple):
    """Who there is. ``sites`` has the nodes of the inventory; ``answering`` those that were to answer TCP."""

    sites: t.Mapping[str, str]  # node -> site
    size: int
    port: int
    overhead: int
    fresh: t.Sequence[str] = ()
    orphans: t.Sequence[str] = ()
    answering: t.Collection[str] = ()
    mute: t.Mapping[str, str] = {}  # why others could not


class Verdict(t.NamedTuple):
    """The lines to print, and whether all is whole."""

    whole: bool
    lines: list[Line]


class Group(t.NamedTuple):
    """Pairs that have one cause in common: a host, a pair of sites, or only themselves."""

    hosts: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    of: int = 0  # how many pairs of that host or those sites were asked


class Evidence:
    """All answers, by pair."""

    def __init__(self, fleet: Fleet, answers: t.Mapping[str, Answers]) -> None:
        self.fleet, self.answers = fleet, answers
        self.asked: set[Pair] = set()
        self.wrong: dict[str, dict[Pair, t.Mapping[str, t.Any]]] = {SILENT: {}, MTU: {}, TCP: {}}
        self.unasked_tcp: set[Pair] = set()
        for host, told in answers.items():
            self.asked.update((host, peer) for peer in told.rtt_ms)
            for finding in told.findings:
                pair = (host, finding["peer"])
                self.asked.add(pair)
                if finding["kind"] == TCP and finding["peer"] in fleet.mute:
                    self.unasked_tcp.add(pair)  # whoever it was that spoke to it
                else:
                    self.wrong[finding["kind"]][pair] = finding
            for peer in told.refused:
                if peer in fleet.answering:
                    self.wrong[TCP][host, peer] = {"peer": peer, "kind": TCP, "text": REFUSES}
                else:
                    self.unasked_tcp.add((host, peer))
        self.silent_of: dict[str, set[Pair]] = _by_host(self.wrong[SILENT])
        self.asked_of: dict[str, set[Pair]] = _by_host(self.asked)

    def is_deaf(self, host: str) -> bool:
        """Whether of all pairs with this host that were asked none had an answer."""
        return bool(self.asked_of.get(host)) and self.silent_of.get(host, set()) == self.asked_of[host]


def _by_host(pairs: t.Iterable[Pair]) -> dict[str, set[Pair]]:
    found: dict[str, set[Pair]] = collections.defaultdict(set)
    for pair in pairs:
        for host in pair:
            found[host].add(pair)
    return found


def judge(fleet: Fleet, answers: t.Mapping[str, Answers]) -> Verdict:
    """The end of the playbook verify."""
    evidence = Evidence(fleet, answers)
    lines: list[Line] = []
    todo: list[str] = []
    _absent(evidence, lines, todo)
    dead = _dead(evidence, lines, todo)
    # What a dead node did not answer says nothing more about anybody.
    left = {pair for pair in evidence.wrong[SILENT] if not dead.intersection(pair)}
    rest = {pair for pair in evidence.asked if not dead.intersection(pair)}
    if left == rest and len(left) > 2:
        lines.append(Line(f"nobody reaches anybody: {count(len(left), 'pair')}, all silent", BAD))
        todo.append(f"has tke.overlay.site run? Is UDP port {fleet.port} open between all nodes?")
    else:
        lines += [_of_silence(group, evidence, todo) for group in grouped(left, rest, fleet.sites)]
    rest -= left
    for kind, sentence in ((MTU, _of_mtu), (TCP, _of_tcp)):
        wrong = set(evidence.wrong[kind])
        lines += [sentence(group, evidence, todo) for group in grouped(wrong, rest, fleet.sites)]
        rest -= wrong  # of these the next thing was not asked
    stale = [host for host, told in answers.items() if not told.plan_current]
    if stale:
        lines.append(Line(f"not the current plan: {some(stale)}", BAD))
        todo.insert(0, "ansible-playbook tke.overlay.site, then verify again")
    lines = _cut(lines)
    if not evidence.asked and not lines:
        lines.append(Line("nothing was asked: there are no two nodes", BAD))
    whole = not lines
    notes = _notes(evidence)
    if whole:
        return Verdict(True, [Line(f"whole: {_coverage(evidence, 0)}", GOOD), *notes])
    broken = len(set().union(*evidence.wrong.values()))
    head = Line(f"not whole: {_coverage(evidence, broken)}", BAD)
    return Verdict(False, [head, *(Line(f"  {text}", tone) for text, tone in lines), *notes, *steps(todo)])


def _cut(lines: list[Line]) -> list[Line]:
    return lines if len(lines) <= MOST else [*lines[:MOST], Line(f"and {len(lines) - MOST} more like these", BAD)]


def _absent(evidence: Evidence, lines: list[Line], todo: list[str]) -> None:
    """Hosts that could not even ask."""
    fleet = evidence.fleet
    if fleet.fresh:
        lines.append(Line(f"no segment yet: {some(fleet.fresh)}", BAD))
        todo.append("ansible-playbook tke.overlay.site gives a segment to each node that has none")
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


def _dead(evidence: Evidence, lines: list[Line], todo: list[str]) -> set[str]:
    """Nodes that Ansible does not reach: dead where nobody else does, too."""
    unreached = [host for host, told in evidence.answers.items() if not told.reached]
    dead = {host for host in unreached if evidence.is_deaf(host)}
    for host in sorted(unreached, key=natural):
        asked = len(evidence.asked_of.get(host, ()))
        if host in dead:
            who = "the one node that asked it" if asked == 1 else f"all {asked} nodes that asked it"
            lines.append(Line(f"dead: {host}: unreachable for Ansible, and silent to {who}", BAD))
            todo.append(f"look at {host} itself: power, network; if it is gone for good, release its segment")
        elif asked:
            lines.append(
                Line(f"{host}: unreachable for Ansible, but it answers over the overlay: so it did not ask", BAD)
            )
            todo.append(f"look at the way from the controller to {host} (SSH)")
        else:
            lines.append(Line(f"{host}: unreachable for Ansible, and nobody asked it", BAD))
            todo.append(f"look at {host} itself: power, network, SSH")
    return dead


def grouped(wrong: set[Pair], asked: set[Pair], sites: t.Mapping[str, str]) -> list[Group]:
    """The fewest and widest causes: hosts all of whose pairs are wrong, pairs of sites, hosts with several, pairs.

    A pair goes to the first cause that covers it, and so is told once.
    """
    groups, left = [], set(wrong)
    for host in _cut_off(left, asked, sites):
        mine = {pair for pair in left if host in pair}
        groups.append(Group(hosts=(host,), pairs=tuple(sorted(mine)), of=len(mine)))
        left -= mine
        asked = {pair for pair in asked if host not in pair}
    between = _by_sites(asked, sites)
    for both, pairs in sorted(between.items()):
        if len({frozenset(pair) for pair in pairs}) > 1 and pairs <= left:
            groups.append(Group(sites=both, pairs=tuple(sorted(pairs)), of=len(pairs)))
            left -= pairs
    while left:
        of_host = _by_host(left)
        host = max(
            sorted(of_host, key=natural), key=lambda name: (len(_partners(name, of_host[name])), len(of_host[name]))
        )
        mine = of_host[host]
        if len(_partners(host, mine)) == 1:
            groups.append(Group(pairs=tuple(sorted(mine)), of=len(mine)))
        else:
            of = len([pair for pair in asked if host in pair])
            groups.append(Group(hosts=(host,), pairs=tuple(sorted(mine)), of=of))
        left -= mine
    return groups


def _partners(host: str, pairs: t.Iterable[Pair]) -> set[str]:
    return {each for pair in pairs for each in pair} - {host}


def _cut_off(wrong: set[Pair], asked: set[Pair], sites: t.Mapping[str, str]) -> list[str]:
    """Hosts with which nothing goes, while others among each other do well: the culprits, not their peers.

    Not all hosts of a site that were asked from outside of it only: then it is the way between the sites.
    """
    bad, all_of = _by_host(wrong), _by_host(asked)
    deaf = {host for host, pairs in bad.items() if pairs == all_of[host]}
    others = {host for host in all_of if host not in deaf}
    # With one peer it could as well be the peer; and where nothing goes anywhere, no single host is to blame.
    peers = {host: _partners(host, bad[host]) for host in deaf}
    found = {host for host in deaf if len(peers[host]) > 1 and peers[host] & others}
    members: dict[str, set[str]] = collections.defaultdict(set)
    for host in all_of:
        members[sites.get(host, "?")].add(host)
    within = {sites.get(one, "?") for one, two in asked if sites.get(one, "?") == sites.get(two, "?")}
    as_a_whole = [each for site, each in members.items() if site not in within and len(each) > 1 and each <= found]
    return sorted(found.difference(*as_a_whole), key=natural)


def _by_sites(pairs: t.Iterable[Pair], sites: t.Mapping[str, str]) -> dict[tuple[str, ...], set[Pair]]:
    between: dict[tuple[str, ...], set[Pair]] = collections.defaultdict(set)
    for pair in pairs:
        between[tuple(sorted({sites.get(host, "?") for host in pair}))].add(pair)
    return between


def _who(group: Group) -> str:
    if group.sites:
        return " and ".join(group.sites) if len(group.sites) > 1 else f"within {group.sites[0]}"
    if group.hosts:
        return group.hosts[0]
    (pair, *others) = group.pairs
    return f"{pair[0]} and {pair[1]}" if others else f"{pair[0]} -> {pair[1]}"


def _others(group: Group) -> set[str]:
    return _partners(group.hosts[0], group.pairs)


def _share(group: Group) -> str:
    return f"{len(group.pairs)} of {count(group.of, 'pair')}"


def _of_silence(group: Group, evidence: Evidence, todo: list[str]) -> Line:
    port = evidence.fleet.port
    firewall = f"open UDP port {port} both ways"
    if group.sites:
        todo.append(f"{firewall} between {' and '.join(group.sites)}: a firewall on the way, or no route")
        return Line(f"silent: {_who(group)}: all {_share(group)}", BAD)
    if group.hosts and len(group.pairs) == group.of:
        (host,) = group.hosts
        told = evidence.answers.get(host)
        if told is not None and told.reached:
            todo.append(f"on {host}: {firewall}, and look at its drift: ansible-playbook tke.overlay.status")
            return Line(f"cut off: {host}: alive for Ansible, and silent in all {_share(group)}", BAD)
        todo.append(f"look at {host}: is it up, and does its firewall let UDP port {port} through?")
        return Line(f"silent: {host}: in all {_share(group)}", BAD)
    why, where = _cannot_send(group, evidence)
    if where:
        todo.append(f"ansible-playbook tke.overlay.site --limit {','.join(where)} mends what is missing there")
    else:
        peers = some({peer for _asker, peer in group.pairs})
        todo.append(
            f"look at {peers}: up? UDP port {port} open? ansible-playbook tke.overlay.status shows what is missing"
        )
    if group.hosts:
        return Line(f"silent: {group.hosts[0]} with {some(_others(group))}: {_share(group)}{why}", BAD)
    return Line(f"silent: {_who(group)}{why}", BAD)


def _cannot_send(group: Group, evidence: Evidence) -> tuple[str, list[str]]:
    """Where the fault is that of the host that asks: what it says, and which hosts these are."""
    said: dict[str, set[str]] = collections.defaultdict(set)
    for pair in group.pairs:
        text = evidence.wrong[SILENT][pair]["text"]
        if "cannot send" in text:
            said[text.rpartition(": ")[2]].add(pair[0])
    words = "; ".join(f"{some(hosts)} cannot send: {error}" for error, hosts in sorted(said.items()))
    return (f" ({words})" if words else ""), sorted(set().union(*said.values()), key=natural)


def _of_mtu(group: Group, evidence: Evidence, todo: list[str]) -> Line:
    fleet = evidence.fleet
    sizes = [evidence.wrong[MTU][pair].get("largest") for pair in group.pairs]
    known = [size for size in sizes if size is not None]
    largest = min(known) if known else None
    passes = f"{largest} bytes is the largest that passes" if known else "the largest that passes is not known"
    where = group.sites[-1] if group.sites else " or ".join(group.hosts or group.pairs[0])
    if largest is not None:
        what = "for site" if group.sites else "of"
        todo.append(
            f"set overlay_underlay_mtu to {largest + fleet.overhead} {what} {where} and run tke.overlay.site; "
            f"or mend the line: it should carry {fleet.size + fleet.overhead} bytes"
        )
    who = _who(group) if group.sites or not group.hosts else f"{group.hosts[0]} with {some(_others(group))}"
    return Line(f"MTU black hole: {who}: {fleet.size} bytes are lost, {passes} ({_share(group)})", BAD)


def _of_tcp(group: Group, evidence: Evidence, todo: list[str]) -> Line:
    who = _who(group) if group.sites or not group.hosts else f"{group.hosts[0]} with {some(_others(group))}"
    text = evidence.wrong[TCP][group.pairs[0]]["text"]
    if REFUSES in text:
        peers = {peer for _asker, peer in group.pairs}
        todo.append(f"find the firewall that rejects TCP inside the overlay, at {some(group.hosts or peers)}")
    else:
        text = text.partition("): ")[2].partition(";")[0] or text
        todo.append(
            "checksums made by the network card are the usual cause: try 'ethtool -K tke0 tx-checksum-ip-generic off' "
            "at both ends"
        )
        todo.append("some underlays (vSphere, NSX) drop TCP inside VXLAN of a port they use: set another overlay_port")
    return Line(f"TCP does not pass: {who}, echoes of the same size do: {text} ({_share(group)})", BAD)


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

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: why nodes do not reach each other, from the answers of all of them. Pure.

Each node can only tell whom it does not reach. One dead node is then told by all
others, and a firewall between two sites by everybody. :func:`causes` turns that
round: it names the node, or the pair of sites, from which the rest follows, once.
The end of the playbook verify and the page of the report both say it so.
"""

from __future__ import annotations

import collections
import heapq
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count, natural, some

KINDS = SILENT, MTU, TCP = "silent", "mtu", "tcp"
"""What ``probe`` finds: no answer at all; small packets only; all but TCP."""

REFUSES = "the peer was told to answer, and refuses"

Pair = t.Tuple[str, str]
"""Who asked, and who was asked."""


class Answers(t.NamedTuple):
    """What one host has told: the result of the module probe, or why there is none."""

    reached: bool  # by Ansible
    failure: str = ""
    rtt_ms: t.Mapping[str, float] = {}
    findings: t.Sequence[t.Mapping[str, t.Any]] = ()
    refused: t.Sequence[str] = ()
    tcp: bool = False  # whether it was to ask by TCP, too
    plan_current: bool = True


class Fleet(t.NamedTuple):
    """Who there is. ``sites`` has the nodes of the inventory; ``answering`` those that were to answer TCP."""

    sites: t.Mapping[str, str]  # node -> site
    size: int | None  # of a full packet, in bytes; as with the port, ``None`` if nobody has told it
    port: int | None
    overhead: int
    device: str = "tke0"
    fresh: t.Sequence[str] = ()
    orphans: t.Sequence[str] = ()
    answering: t.Collection[str] = ()
    mute: t.Mapping[str, str] = {}  # why others could not

    @property
    def udp(self) -> str:
        """What a firewall must let through."""
        return "the tunnel's UDP port (overlay_port)" if self.port is None else f"UDP port {self.port}"


class Cause(t.NamedTuple):
    """One thing that is wrong: its kind, whom it concerns, in words, and what to do about it."""

    kind: str
    hosts: tuple[str, ...]
    text: str
    steps: tuple[str, ...]


class Group(t.NamedTuple):
    """Pairs that have one cause in common: a host, a pair of sites, or only themselves."""

    hosts: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    of: int = 0  # how many pairs of that host or those sites were asked

    @property
    def ends(self) -> tuple[str, ...]:
        """All hosts of the pairs."""
        return tuple(sorted({host for pair in self.pairs for host in pair}, key=natural))

    @property
    def whole(self) -> bool:
        """Whether it is one host, and all its pairs."""
        return bool(self.hosts) and len(self.pairs) == self.of


class Evidence:
    """All answers, by pair."""

    def __init__(self, fleet: Fleet, answers: t.Mapping[str, Answers]) -> None:
        self.fleet, self.answers = fleet, answers
        self.asked: set[Pair] = set()
        self.wrong: dict[str, dict[Pair, t.Mapping[str, t.Any]]] = {kind: {} for kind in KINDS}
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
                    self.wrong[TCP][host, peer] = {"text": REFUSES}
                else:
                    self.unasked_tcp.add((host, peer))
        self.silent_of: dict[str, set[Pair]] = _by_host(self.wrong[SILENT])
        self.asked_of: dict[str, set[Pair]] = _by_host(self.asked)

    def is_deaf(self, host: str) -> bool:
        """Whether of all pairs with this host that were asked none had an answer."""
        return bool(self.asked_of.get(host)) and self.silent_of.get(host) == self.asked_of[host]

    def dead(self) -> set[str]:
        """The nodes that neither Ansible nor any other node reaches."""
        return {host for host, told in self.answers.items() if not told.reached and self.is_deaf(host)}


def _by_host(pairs: t.Iterable[Pair]) -> dict[str, set[Pair]]:
    found: dict[str, set[Pair]] = collections.defaultdict(set)
    for pair in pairs:
        for host in pair:
            found[host].add(pair)
    return found


def causes(evidence: Evidence) -> list[Cause]:
    """What is wrong, each thing once, the widest first.

    Of a dead node (:meth:`Evidence.dead`) nothing is said here: what it did not answer says nothing about anybody else.
    """
    sites, dead = evidence.fleet.sites, evidence.dead()
    left = {pair for pair in evidence.wrong[SILENT] if not dead.intersection(pair)}
    rest = {pair for pair in evidence.asked if not dead.intersection(pair)}
    if left == rest and len(left) > 2:
        found = [_of_nobody(left, evidence)]
    else:
        found = [_of_silence(group, evidence) for group in grouped(left, rest, sites)]
    rest -= left
    for kind, cause in ((MTU, _of_mtu), (TCP, _of_tcp)):
        wrong = set(evidence.wrong[kind])
        found += [cause(group, evidence) for group in grouped(wrong, rest, sites)]
        rest -= wrong  # of these the next thing was not asked
    return found


# --- which pairs have a cause in common ---


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
    return [*groups, *_by_worst_host(left, asked)]


def _by_worst_host(left: set[Pair], asked: set[Pair]) -> t.Iterator[Group]:
    """Hosts with several wrong pairs, that with the most partners first; then pairs.

    What a host has only becomes less, so one that was weighed before is weighed again when its turn comes.
    """
    of_host, all_of = _by_host(left), _by_host(asked)
    ranks = {host: rank for rank, host in enumerate(sorted(of_host, key=natural))}

    def weighed(host: str) -> tuple[int, int, int, str]:
        return -len(_partners(host, of_host[host])), -len(of_host[host]), ranks[host], host

    waiting = [weighed(host) for host in of_host]
    heapq.heapify(waiting)
    while waiting:
        then = heapq.heappop(waiting)
        host = then[-1]
        if then != weighed(host):
            heapq.heappush(waiting, weighed(host))
            continue
        mine = tuple(sorted(of_host[host]))
        if not mine:  # and nobody behind it has any
            return
        if len(_partners(host, mine)) == 1:
            yield Group(pairs=mine, of=len(mine))
        else:
            yield Group(hosts=(host,), pairs=mine, of=len(all_of[host]))
        for pair in mine:
            for end in pair:
                of_host[end].discard(pair)


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
        members[_site(host, sites)].add(host)
    within = {_site(one, sites) for one, two in asked if _site(one, sites) == _site(two, sites)}
    as_a_whole = [each for site, each in members.items() if site not in within and len(each) > 1 and each <= found]
    return sorted(found.difference(*as_a_whole), key=natural)


def _site(host: str, sites: t.Mapping[str, str]) -> str:
    """An orphan is in the ledger, and at no site of the inventory."""
    return sites.get(host, "?")


def _by_sites(pairs: t.Iterable[Pair], sites: t.Mapping[str, str]) -> dict[tuple[str, ...], set[Pair]]:
    between: dict[tuple[str, ...], set[Pair]] = collections.defaultdict(set)
    for pair in pairs:
        between[tuple(sorted({_site(host, sites) for host in pair}))].add(pair)
    return between


# --- in words ---


def _who(group: Group) -> str:
    """The sites, the host and its partners, or the pair."""
    if group.sites:
        return " and ".join(group.sites) if len(group.sites) > 1 else f"within {group.sites[0]}"
    if group.hosts:
        return f"{group.hosts[0]} with {some(_partners(group.hosts[0], group.pairs))}"
    (pair, *others) = group.pairs
    return f"{pair[0]} and {pair[1]}" if others else f"{pair[0]} -> {pair[1]}"


def _share(group: Group) -> str:
    return f"{len(group.pairs)} of {count(group.of, 'pair')}"


def _of_nobody(pairs: set[Pair], evidence: Evidence) -> Cause:
    steps = (f"open {evidence.fleet.udp} between all nodes", "bring all up to date: ansible-playbook tke.overlay.site")
    ends = Group(pairs=tuple(pairs)).ends
    return Cause(SILENT, ends, f"nobody reaches anybody: {count(len(pairs), 'pair')}, all silent", steps)


def _of_silence(group: Group, evidence: Evidence) -> Cause:
    udp = evidence.fleet.udp
    if group.sites:
        between = "between " if len(group.sites) > 1 else ""
        step = f"open {udp} both ways {between}{_who(group)}: a firewall on the way, or no route"
        return Cause(SILENT, group.ends, f"silent: {_who(group)}: all {_share(group)}", (step,))
    if group.whole:
        (host,) = group.hosts
        told = evidence.answers.get(host)
        if told is not None and told.reached:
            step = f"on {host}: open {udp} both ways, and look at its drift: ansible-playbook tke.overlay.status"
            text = f"cut off: {host}: alive for Ansible, and silent in all {_share(group)}"
        else:
            step = f"look at {host}: is it up, and does its firewall let {udp} through?"
            text = f"silent: {host}: in all {_share(group)}"
        return Cause(SILENT, group.hosts, text, (step,))
    why, where = _cannot_send(group, evidence)
    if where:
        step = f"mend what is missing there: ansible-playbook tke.overlay.site --limit {','.join(where)}"
    else:
        peers = some({peer for _asker, peer in group.pairs})
        step = f"look at {peers}: up? {udp} open? And what is missing there: ansible-playbook tke.overlay.status"
    share = f": {_share(group)}" if group.hosts else ""
    return Cause(SILENT, group.ends, f"silent: {_who(group)}{share}{why}", (step,))


def _cannot_send(group: Group, evidence: Evidence) -> tuple[str, list[str]]:
    """Where the fault is that of the host that asks: what it says, and which hosts these are."""
    said: dict[str, set[str]] = collections.defaultdict(set)
    for pair in group.pairs:
        text = evidence.wrong[SILENT][pair]["text"]
        if "cannot send" in text:
            said[text.rpartition(": ")[2]].add(pair[0])
    words = "; ".join(f"{some(hosts)} cannot send: {error}" for error, hosts in sorted(said.items()))
    return (f" ({words})" if words else ""), sorted(set().union(*said.values()), key=natural)


def _of_mtu(group: Group, evidence: Evidence) -> Cause:
    fleet = evidence.fleet
    sizes = [evidence.wrong[MTU][pair].get("largest") for pair in group.pairs]
    largest = min((size for size in sizes if size is not None), default=None)
    lost, step, passes = "full packets", "mend the line", "the largest that passes is not known"
    if fleet.size is not None:
        lost, step = f"{fleet.size} bytes", f"{step}: it should carry {fleet.size + fleet.overhead} bytes"
    if largest is not None:
        where = f"for site {group.sites[-1]}" if group.sites else f"of {' or '.join(group.hosts or group.pairs[0])}"
        step = f"set overlay_underlay_mtu to {largest + fleet.overhead} {where} and run tke.overlay.site; or {step}"
        passes = f"{largest} bytes is the largest that passes"
    text = f"MTU black hole: {_who(group)}: {lost} are lost, {passes} ({_share(group)})"
    return Cause(MTU, group.ends, text, (step,))


def _of_tcp(group: Group, evidence: Evidence) -> Cause:
    text = evidence.wrong[TCP][group.pairs[0]]["text"]
    if REFUSES in text:
        peers = {peer for _asker, peer in group.pairs}
        steps: tuple[str, ...] = (
            f"find the firewall that rejects TCP inside the overlay, at {some(group.hosts or peers)}",
        )
    else:
        text = text.partition("): ")[2].partition(";")[0] or text
        cure = f"'ethtool -K {evidence.fleet.device} tx-checksum-ip-generic off' at both ends"
        steps = (
            f"checksums made by the network card are the usual cause: try {cure}",
            "some underlays (vSphere, NSX) drop TCP inside VXLAN of a port they use: set another overlay_port",
        )
    said = f"TCP does not pass: {_who(group)}, echoes of the same size do: {text} ({_share(group)})"
    return Cause(TCP, group.ends, said, steps)

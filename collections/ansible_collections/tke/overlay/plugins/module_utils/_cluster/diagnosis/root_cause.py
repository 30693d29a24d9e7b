# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root causes: why nodes do not reach each other, from the probe results of all of them.

A node only knows which peers it does not reach. So all others report one node that is down,
and all nodes report a firewall between two sites. :func:`causes` reverses that: it names the
node, or the pair of sites, that explains the failed pairs, and each failed pair once.
The playbook verify and the report use the same causes.
"""

from __future__ import annotations

import collections
import heapq
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import OVERHEAD
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import may_be_down
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count, limit, natural, some
from ansible_collections.tke.overlay.plugins.module_utils._links import (
    DIRECT,
    ENCAPSULATION,
    VXLAN,
    WIREGUARD,
    Link,
    LinkTable,
)

KINDS = SILENT, MTU, TCP = "silent", "mtu", "tcp"
"""What module probe finds for a pair: no answer at all; only small packets pass; everything passes except TCP."""

UNREACHABLE = "unreachable"
"""The kind of the cause of a site that neither Ansible nor the nodes of other sites reach."""

TUNNEL, PING = "tunnel", "ping"
"""What a foreign firewall can drop, besides TCP: packets of the tunnel, and echo requests that come out of it."""

NO_CONNECTION = "no connection"
"""What module probe reports if nothing answers the first TCP segment."""

REFUSES = "the echo responder runs on the peer, but the connection is refused"

Pair = t.Tuple[str, str]
"""The probing node and the probed node."""


class Answers(t.NamedTuple):
    """The result of module probe on one host, or why there is none."""

    reached: bool  # whether Ansible reached the host
    failure: str = ""
    rtt_ms: t.Mapping[str, float] = {}
    findings: t.Sequence[t.Mapping[str, t.Any]] = ()
    refused: t.Sequence[str] = ()
    tcp: bool = False  # whether it tested TCP, too
    plan_current: bool = True
    filters: t.Sequence[t.Mapping[str, t.Any]] = ()  # of foreign firewalls, see module probe
    counters: t.Mapping[str, int] = {}  # how much each has increased during the probes
    pods: t.Sequence[t.Mapping[str, str]] = ()  # what prevents Pods of this host from talking
    connection: str = ""  # the message of the connection to a host that was not reached


class Fleet(t.NamedTuple):
    """The nodes of the inventory (``sites``), and those on which the echo responder was started (``responders``).

    ``links``, ``wireguard_port`` and ``wireguard_device`` are those of a plan with links; without, VXLAN connects all
    nodes.
    """

    sites: t.Mapping[str, str]  # node -> site
    size: int | None  # of a full-size packet, in bytes; ``None`` if no host has reported it
    port: int | None
    overhead: int
    device: str = "tke0"
    fresh: t.Sequence[str] = ()
    orphans: t.Sequence[str] = ()
    responders: t.Collection[str] = ()
    failed_responders: t.Mapping[str, str] = {}  # node -> why its echo responder did not start
    links: LinkTable | None = None
    wireguard_port: int | None = None
    wireguard_device: str = "tke-wg0"

    def links_of(self, pairs: t.Iterable[Pair]) -> set[Link]:
        """Return the links between the sites of these nodes; nothing in a cluster without links."""
        known = {tuple(self.sites.get(host, "") for host in pair) for pair in pairs}
        return {link for one, other in known for link in [self.links and self.links.find(one, other)] if link}

    def uses(self, transport: str, pairs: t.Iterable[Pair]) -> bool:
        """Whether one of these pairs has a link with this transport."""
        return any(link.transport == transport for link in self.links_of(pairs)) or (
            self.links is None and transport == VXLAN
        )

    def sizes(self, pairs: t.Iterable[Pair]) -> list[int]:
        """Return the sizes of full-size packets of these pairs, in order."""
        sizes = {link.mtu for link in self.links_of(pairs)}
        return sorted(sizes) if sizes or self.size is None else [self.size]

    def overhead_of(self, pairs: t.Iterable[Pair]) -> int:
        """Return the bytes that the transports of these pairs add to a packet, the most of them."""
        version = 6 if self.overhead == OVERHEAD[6] else 4
        return max((ENCAPSULATION[link.transport][version] for link in self.links_of(pairs)), default=self.overhead)

    def carried(self, pairs: t.Iterable[Pair]) -> int | None:
        """Return the size of the underlay packets that full-size packets of these pairs need."""
        version = 6 if self.overhead == OVERHEAD[6] else 4
        sizes = [link.mtu + ENCAPSULATION[link.transport][version] for link in self.links_of(pairs)]
        return max(sizes, default=None if self.size is None else self.size + self.overhead)

    def devices(self, pairs: t.Collection[Pair]) -> str:
        """Return the links of a host from which its packets to these peers leave, or come to it."""
        names = {VXLAN: self.device, WIREGUARD: self.wireguard_device, DIRECT: "the link of the underlay"}
        return " and ".join(name for transport, name in names.items() if self.uses(transport, pairs))

    def traffic(self, pairs: t.Iterable[Pair]) -> str:
        """Return what a firewall must accept, so that these pairs reach each other."""
        port = "the tunnel's UDP port (overlay_port)" if self.port is None else f"UDP port {self.port}"
        words = {
            VXLAN: port,
            WIREGUARD: "the UDP port of WireGuard (overlay_wireguard_port)"
            if self.wireguard_port is None
            else f"UDP port {self.wireguard_port} (WireGuard)",
            DIRECT: "packets of Pods without a tunnel (direct)",
        }
        transports = {link.transport for link in self.links_of(pairs)}
        return " and ".join(words[each] for each in words if each in transports) or port


class Cause(t.NamedTuple):
    """One fault: its kind, the hosts it concerns, a sentence, and the next steps."""

    kind: str
    hosts: tuple[str, ...]
    text: str
    steps: tuple[str, ...]


class Group(t.NamedTuple):
    """Failed pairs with one common cause: a host, a pair of sites, or only the pairs themselves."""

    hosts: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    pairs: tuple[Pair, ...] = ()
    of: int = 0  # number of probed pairs of that host or those sites

    @property
    def ends(self) -> tuple[str, ...]:
        """All hosts of the pairs."""
        return tuple(sorted({host for pair in self.pairs for host in pair}, key=natural))

    @property
    def covers_host(self) -> bool:
        """Whether the group is one host with all its probed pairs."""
        return bool(self.hosts) and len(self.pairs) == self.of


class Evidence:
    """The probe results of all hosts, by pair."""

    def __init__(self, fleet: Fleet, answers: t.Mapping[str, Answers]) -> None:
        self.fleet, self.answers = fleet, answers
        self.probed: set[Pair] = set()
        self.wrong: dict[str, dict[Pair, t.Mapping[str, t.Any]]] = {kind: {} for kind in KINDS}
        self.untested_tcp: set[Pair] = set()
        for host, answer in answers.items():
            self.probed.update((host, peer) for peer in answer.rtt_ms)
            for finding in answer.findings:
                pair = (host, finding["peer"])
                self.probed.add(pair)
                if finding["kind"] == TCP and finding["peer"] in fleet.failed_responders:
                    self.untested_tcp.add(pair)  # another program answered there
                else:
                    self.wrong[finding["kind"]][pair] = finding
            for peer in answer.refused:
                if peer in fleet.responders:
                    self.wrong[TCP][host, peer] = {"text": REFUSES}
                else:
                    self.untested_tcp.add((host, peer))
        self.silent_of: dict[str, set[Pair]] = _by_host(self.wrong[SILENT])
        self.probed_of: dict[str, set[Pair]] = _by_host(self.probed)

    def has_no_answer(self, host: str) -> bool:
        """Return whether no probed pair with this host had an answer."""
        return bool(self.probed_of.get(host)) and self.silent_of.get(host) == self.probed_of[host]

    def never_answers(self, host: str, transport: str) -> bool:
        """Return whether no node that has probed this host over such a link had an answer from it."""
        probed = self.probed_of.get(host, ())
        probes = {pair for pair in probed if pair[1] == host and self.fleet.uses(transport, [pair])}
        return bool(probes) and probes <= self.silent_of.get(host, set())

    def dead(self) -> set[str]:
        """Return the nodes that neither Ansible nor any other node reaches."""
        return {host for host, answer in self.answers.items() if not answer.reached and self.has_no_answer(host)}

    def unreachable_sites(self) -> dict[str, list[str]]:
        """Return the sites that neither Ansible nor the nodes of other sites reach, with all their nodes of the run.

        At least two nodes of such a site were probed. It is more likely that the line to the site has failed than that
        they have all failed at once.
        """
        sites, found = self.fleet.sites, {}
        for site in _whole_sites(self.dead(), self.probed, sites):
            members = {host: answer for host, answer in self.answers.items() if _site(host, sites) == site}
            if all(not answer.reached and may_be_down(answer.connection) for answer in members.values()):
                found[site] = sorted(members, key=natural)
        return found

    def filters(self, hosts: t.Iterable[str], pairs: t.Collection[Pair]) -> list[tuple[str, t.Mapping[str, t.Any]]]:
        """Return the filters of these hosts that can make these pairs silent, as pairs of host and filter.

        A filter that concerns all peers is not reported if a peer has an answer in spite of it.
        """
        return [
            (host, each)
            for host in sorted(set(hosts) & set(self.answers), key=natural)
            for each in self.answers[host].filters
            if {TUNNEL, PING}.intersection(each["drops"])
            and self.fleet.uses(_transport(each), pairs)
            and (each["some"] or self.never_answers(host, _transport(each)))
        ]

    def know(self, counter: str, hosts: t.Iterable[str]) -> bool:
        """Return whether all these hosts have reported a counter."""
        return all(host in self.answers and counter in self.answers[host].counters for host in hosts)

    def increased(self, counter: str, hosts: t.Iterable[str]) -> dict[str, int]:
        """Return the hosts on which a counter has increased during the probes, and by how much."""
        found = {host: self.answers[host].counters.get(counter, 0) for host in sorted(set(hosts) & set(self.answers))}
        return {host: number for host, number in found.items() if number > 0}


def _transport(found: t.Mapping[str, t.Any]) -> str:
    """Return the transport whose packets a filter can drop."""
    return str(found.get("transport", VXLAN))


def _by_host(pairs: t.Iterable[Pair]) -> dict[str, set[Pair]]:
    found: dict[str, set[Pair]] = collections.defaultdict(set)
    for pair in pairs:
        for host in pair:
            found[host].add(pair)
    return found


def causes(evidence: Evidence) -> list[Cause]:
    """Return the causes, the widest first; each failed pair belongs to one.

    Pairs with a node that is down (:meth:`Evidence.dead`) are left out: they prove nothing about other nodes. Complete
    sites of such nodes are a cause.
    """
    lines = [_of_unreachable_site(site, hosts, evidence) for site, hosts in evidence.unreachable_sites().items()]
    sites, down = evidence.fleet.sites, evidence.dead()
    left = {pair for pair in evidence.wrong[SILENT] if not down.intersection(pair)}
    rest = {pair for pair in evidence.probed if not down.intersection(pair)}
    if left == rest and len(left) > 2:
        found = [_of_all_pairs(left, evidence)]
    else:
        found = [_of_silence(group, evidence) for group in grouped(left, rest, sites)]
    rest -= left
    holes = set(evidence.wrong[MTU])
    found += [_of_mtu(group, evidence) for group in grouped(holes, rest, sites)]
    rest -= holes  # TCP was not tested for these
    filtered = _filtered_tcp(evidence)
    found += [_of_filtered_tcp(rule, pairs, rest) for rule, pairs in filtered.items()]
    explained: set[Pair] = set().union(*filtered.values())
    broken = set(evidence.wrong[TCP]) - explained
    return [*lines, *found, *(_of_tcp(group, evidence) for group in grouped(broken, rest - explained, sites))]


# --- which pairs have a cause in common ---


def grouped(wrong: set[Pair], probed: set[Pair], sites: t.Mapping[str, str]) -> list[Group]:
    """Return the fewest and widest groups: hosts all of whose pairs failed, pairs of sites, hosts with several, pairs.

    A pair belongs to the first group that covers it, so that it is reported once.
    """
    groups, left = [], set(wrong)
    for host in _cut_off(left, probed, sites):
        mine = {pair for pair in left if host in pair}
        groups.append(Group(hosts=(host,), pairs=tuple(sorted(mine)), of=len(mine)))
        left -= mine
        probed = {pair for pair in probed if host not in pair}
    between = _by_sites(probed, sites)
    for both, pairs in sorted(between.items()):
        if len({frozenset(pair) for pair in pairs}) > 1 and pairs <= left:
            groups.append(Group(sites=both, pairs=tuple(sorted(pairs)), of=len(pairs)))
            left -= pairs
    return [*groups, *_by_worst_host(left, probed)]


def _by_worst_host(left: set[Pair], probed: set[Pair]) -> t.Iterator[Group]:
    """Yield hosts with several failed pairs, the one with the most partners first; then single pairs.

    The pairs of a host only become fewer, so a weight may be outdated: it is computed again when the host is next.
    """
    of_host, all_of = _by_host(left), _by_host(probed)
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
        if not mine:  # the hosts after it have none either
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


def _cut_off(wrong: set[Pair], probed: set[Pair], sites: t.Mapping[str, str]) -> list[str]:
    """Return hosts without a single working pair while other hosts reach each other: the cause, not their peers.

    If all hosts of a site qualify and were probed only from other sites, the line between the sites is the cause.
    """
    bad, all_of = _by_host(wrong), _by_host(probed)
    deaf = {host for host, pairs in bad.items() if pairs == all_of[host]}
    others = {host for host in all_of if host not in deaf}
    # With one peer, the peer could be the cause as well; and if no pair works at all, no single host is the cause.
    peers = {host: _partners(host, bad[host]) for host in deaf}
    found = {host for host in deaf if len(peers[host]) > 1 and peers[host] & others}
    return sorted(found.difference(*_whole_sites(found, probed, sites).values()), key=natural)


def _whole_sites(hosts: set[str], probed: set[Pair], sites: t.Mapping[str, str]) -> dict[str, set[str]]:
    """Return the sites with several probed nodes, which were probed only from other sites and are all in ``hosts``."""
    members: dict[str, set[str]] = collections.defaultdict(set)
    for host in {host for pair in probed for host in pair}:
        members[_site(host, sites)].add(host)
    within = {_site(one, sites) for one, two in probed if _site(one, sites) == _site(two, sites)}
    return {
        site: each for site, each in sorted(members.items()) if site not in within and len(each) > 1 and each <= hosts
    }


def _site(host: str, sites: t.Mapping[str, str]) -> str:
    """Return the site; an orphan is in the ledger but at no site of the inventory."""
    return sites.get(host, "?")


def _by_sites(pairs: t.Iterable[Pair], sites: t.Mapping[str, str]) -> dict[tuple[str, ...], set[Pair]]:
    between: dict[tuple[str, ...], set[Pair]] = collections.defaultdict(set)
    for pair in pairs:
        between[tuple(sorted({_site(host, sites) for host in pair}))].add(pair)
    return between


# --- sentences ---


def _who(group: Group) -> str:
    """Return the sites, the host and its partners, or the pair."""
    if group.sites:
        return " and ".join(group.sites) if len(group.sites) > 1 else f"within {group.sites[0]}"
    if group.hosts:
        return f"{group.hosts[0]} with {some(_partners(group.hosts[0], group.pairs))}"
    (pair, *others) = group.pairs
    return f"{pair[0]} and {pair[1]}" if others else f"{pair[0]} -> {pair[1]}"


def _share(group: Group) -> str:
    return f"{len(group.pairs)} of {count(group.of, 'pair')}"


def _of_unreachable_site(site: str, hosts: t.Sequence[str], evidence: Evidence) -> Cause:
    sites = evidence.fleet.sites
    probers = {_site(one, sites) for host in hosts for one, _peer in evidence.probed_of.get(host, ())}
    others = some(probers)
    return Cause(
        UNREACHABLE,
        tuple(hosts),
        f"site {site}: neither Ansible nor any node of {others} reaches its {count(len(hosts), 'node')}",
        (f"check the line between {others} and {site}, and whether {site} has power; its nodes keep their node CIDRs",),
    )


def _of_all_pairs(pairs: set[Pair], evidence: Evidence) -> Cause:
    steps = (
        f"open {evidence.fleet.traffic(pairs)} between all nodes",
        "apply the plan to all nodes: ansible-playbook tke.overlay.site",
    )
    group = Group(pairs=tuple(pairs))
    text = f"no node reaches any other: no answer for {count(len(pairs), 'pair')}"
    return _with_evidence(Cause(SILENT, group.ends, text, steps), group, group.ends, evidence)


def _of_silence(group: Group, evidence: Evidence) -> Cause:
    return _with_evidence(_of_silent_pairs(group, evidence), group, group.hosts or group.ends, evidence)


def _with_evidence(cause: Cause, group: Group, hosts: t.Iterable[str], evidence: Evidence) -> Cause:
    """Return the cause of silent pairs with what firewalls and the underlay show about it.

    :param hosts: those of the group whose firewalls can be the cause.
    """
    found = evidence.filters(hosts, group.pairs)
    same: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for host, each in found:
        same[each["text"], each["remedy"]].append(host)
    steps = tuple(f"on {some(which)}: {text}: {remedy}" for (text, remedy), which in same.items())
    if found and not any(each["some"] for _host, each in found):
        return cause._replace(steps=steps)
    if found or _cannot_send(group, evidence)[1]:
        return cause._replace(steps=(*steps, *cause.steps))
    underlay, further = _of_underlay(group, evidence)
    steps = (*_of_other_sources(group, evidence), *cause.steps, *further)
    return cause._replace(text=f"{cause.text}{underlay}", steps=steps)


def _of_other_sources(group: Group, evidence: Evidence) -> t.Iterator[str]:
    """Yield a step if hosts of the group have dropped tunnel packets whose source is no peer."""
    dropped = evidence.increased("not_a_peer", group.ends)
    if dropped:
        yield (
            f"{some(dropped)} dropped {count(sum(dropped.values()), 'tunnel packet')} from addresses of no peer: "
            f"if NAT or a second address changes the source, set overlay_underlay_ip of the sender to what arrives"
        )


def _of_underlay(group: Group, evidence: Evidence) -> tuple[str, tuple[str, ...]]:
    """Return whether the underlay addresses of silent pairs answer, as text, and the step that follows from it."""
    answers = {evidence.wrong[SILENT][pair].get("underlay") for pair in group.pairs}
    if answers == {False}:
        return "; the underlay addresses do not answer pings either", ()
    vxlan = evidence.fleet.uses(VXLAN, group.pairs)
    if answers == {True} and vxlan and not evidence.increased("not_a_peer", group.ends):
        other = 8472 if evidence.fleet.port == 4789 else 4789
        step = (
            f"if {evidence.fleet.traffic(group.pairs)} is open: some networks (NSX) drop VXLAN of others on that port: "
            f"set another overlay_port, such as {other}"
        )
        return "; the underlay addresses answer pings", (step,)
    return ("; the underlay addresses answer pings", ()) if answers == {True} else ("", ())


def _of_silent_pairs(group: Group, evidence: Evidence) -> Cause:
    udp = evidence.fleet.traffic(group.pairs)
    if group.sites:
        between = "between " if len(group.sites) > 1 else ""
        step = f"open {udp} both ways {between}{_who(group)}, and check firewalls and routes on the line"
        steps = (step, *_of_handshakes(group, evidence))
        return Cause(SILENT, group.ends, f"no answer: {_who(group)}: {_share(group)}", steps)
    if group.covers_host:
        (host,) = group.hosts
        answer = evidence.answers.get(host)
        if answer is not None and answer.reached:
            step = f"on {host}: open {udp} both ways, and check its drift: ansible-playbook tke.overlay.status"
            text = f"cut off: {host}: reachable for Ansible, no answer for {_share(group)}"
        else:
            step = f"check that {host} is up and that its firewall accepts {udp}"
            text = f"no answer: {host}: {_share(group)}"
        return Cause(SILENT, group.hosts, text, (step,))
    why, where = _cannot_send(group, evidence)
    if where:
        step = f"restore what is missing there: ansible-playbook tke.overlay.site{limit(where)}"
    else:
        peers = some({peer for _prober, peer in group.pairs})
        step = f"check that {udp} is open at {peers}, and their drift: ansible-playbook tke.overlay.status"
    share = f": {_share(group)}" if group.hosts else ""
    return Cause(SILENT, group.ends, f"no answer: {_who(group)}{share}{why}", (step,))


def _of_handshakes(group: Group, evidence: Evidence) -> t.Iterator[str]:
    if evidence.fleet.uses(WIREGUARD, group.pairs):
        yield (
            f"on {group.pairs[0][0]}: wg show: a peer without a latest handshake is not reached at its endpoint "
            f"(overlay_wireguard_endpoint), or has another key than the ledger"
        )


def _cannot_send(group: Group, evidence: Evidence) -> tuple[str, list[str]]:
    """Return the errors of hosts that cannot send at all, as text, and these hosts."""
    reported: dict[str, set[str]] = collections.defaultdict(set)
    for pair in group.pairs:
        text = evidence.wrong[SILENT][pair]["text"]
        if "cannot send" in text:
            reported[text.rpartition(": ")[2]].add(pair[0])
    words = "; ".join(f"{some(hosts)} cannot send: {error}" for error, hosts in sorted(reported.items()))
    return (f" ({words})" if words else ""), sorted(set().union(*reported.values()), key=natural)


def _of_mtu(group: Group, evidence: Evidence) -> Cause:
    fleet = evidence.fleet
    measured = {pair: evidence.wrong[MTU][pair].get("largest") for pair in group.pairs}
    sizes = {pair: size for pair, size in measured.items() if size is not None}
    lost, step, passes = "full-size packets", "fix the line", "the largest size that passes is not known"
    full, carried = fleet.sizes(group.pairs), fleet.carried(group.pairs)
    if carried is not None:
        lost, step = f"packets of {between(full)} bytes", f"{step}: it must carry {carried} bytes"
    if sizes:
        smaller = min(size + fleet.overhead_of([pair]) for pair, size in sizes.items())
        step = f"{_smaller_mtu(group, fleet, smaller)} and run tke.overlay.site; or {step}"
        passes = f"the largest size that passes is {min(sizes.values())} bytes"
    text = f"MTU black hole: {_who(group)}: {lost} are lost; {passes} ({_share(group)})"
    return Cause(MTU, group.ends, text, (step,))


def between(sizes: t.Sequence[int]) -> str:
    """Return the smallest and the largest of some sizes in order, or the only one."""
    return " to ".join(map(str, sizes[:1] if len(sizes) == 1 else [*sizes[:1], *sizes[-1:]])) or "unknown"


def _smaller_mtu(group: Group, fleet: Fleet, mtu: int) -> str:
    """Return the step that takes a smaller MTU: that of a line, or that of a host."""
    if fleet.links is not None and len(group.sites) > 1:
        return f"set mtu: {mtu} for sites: [{', '.join(group.sites)}] in overlay_links"
    where = f"for site {group.sites[-1]}" if group.sites else f"of {' or '.join(group.hosts or group.pairs[0])}"
    return f"set overlay_underlay_mtu to {mtu} {where}"


def _filtered_tcp(evidence: Evidence) -> dict[tuple[str, str], set[Pair]]:
    """Return the pairs whose TCP test a firewall at the probed node can have dropped, by its text and remedy."""
    found: dict[tuple[str, str], set[Pair]] = collections.defaultdict(set)
    for pair in evidence.wrong[TCP]:
        answer = evidence.answers.get(pair[1])
        rules = [each for each in (answer.filters if answer else ()) if TCP in each["drops"]]
        rule = next((each for each in rules if evidence.fleet.uses(_transport(each), [pair])), None)
        if rule is not None:
            found[rule["text"], rule["remedy"]].add(pair)
    return found


def _of_filtered_tcp(rule: tuple[str, str], pairs: set[Pair], tested: set[Pair]) -> Cause:
    text, remedy = rule
    hosts = sorted({peer for _prober, peer in pairs}, key=natural)
    share = f"{len(pairs)} of {count(len([pair for pair in tested if pair[1] in hosts]), 'pair')}"
    return Cause(
        TCP,
        tuple(hosts),
        f"TCP test filtered at {some(hosts)}: {text} ({share})",
        (f"on {some(hosts)}: {remedy}; Pods do not use that port, but without it their TCP is not tested",),
    )


NSX = "some underlays (vSphere, NSX) drop TCP inside VXLAN on a port that they use: set another overlay_port"


def _of_tcp(group: Group, evidence: Evidence) -> Cause:
    text = evidence.wrong[TCP][group.pairs[0]]["text"]
    peers = {peer for _prober, peer in group.pairs}
    if REFUSES in text:
        steps = [f"find the firewall at {some(group.hosts or peers)} that rejects TCP inside the overlay"]
    else:
        text = text.partition("): ")[2].partition(";")[0] or text
        checksums = evidence.increased("wrong_checksums", group.ends)
        if checksums:
            arrived = ", ".join(f"{number} at {host}" for host, number in checksums.items())
            text += f"; TCP segments with wrong checksums arrived: {arrived}"
        steps = _of_lost_tcp(group, evidence, bool(checksums), NO_CONNECTION in text)
    reported = f"TCP fails: {_who(group)}; ICMP echoes of the same size pass: {text} ({_share(group)})"
    return Cause(TCP, group.ends, reported, tuple(steps))


def _of_lost_tcp(group: Group, evidence: Evidence, checksums: bool, no_connection: bool) -> list[str]:
    """Return the next steps if TCP segments are lost.

    :param checksums: whether some have arrived with wrong checksums.
    """
    fleet, peers = evidence.fleet, {peer for _prober, peer in group.pairs}
    offload = f"try 'ethtool -K {_computing(group, fleet)} tx-checksum-ip-generic off' at both ends"
    if checksums:
        return [f"checksum offload of the network card is the cause: {offload}"]
    firewall = f"look for a firewall at {some(peers)} that drops TCP on {fleet.devices(group.pairs)}"
    if not fleet.uses(VXLAN, group.pairs):  # WireGuard carries no checksum of a network card, and a direct link seldom
        can_be = [f"checksum offload of the network card can be the cause: {offload}"]
        return [firewall, *(can_be if fleet.uses(DIRECT, group.pairs) else [])]
    if no_connection and evidence.know("wrong_checksums", peers):
        return [NSX, firewall]
    return [f"checksum offload of the network card is the usual cause: {offload}", NSX]


def _computing(group: Group, fleet: Fleet) -> str:
    """Return the link at which a network card computes the checksums, or a word for it."""
    if fleet.uses(VXLAN, group.pairs):
        return fleet.device
    return "LINK_WITH_UNDERLAY_ADDRESS" if fleet.uses(DIRECT, group.pairs) else fleet.wireguard_device

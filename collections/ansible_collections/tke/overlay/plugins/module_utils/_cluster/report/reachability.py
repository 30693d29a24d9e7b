# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: what a run found out about each host, and who reaches whom. Pure.

Nothing here trusts the shape of a host's answer more than it must: a module of
another release may have written it.
"""

from __future__ import annotations

import statistics
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import KINDS, Answers

MATRIX_LIMIT = 64
"""Up to so many nodes there is a matrix of nodes; above, of sites only."""


class ProbedHost(t.NamedTuple):
    """A host of the inventory, and what this run found out about it.

    ``asked`` is false where ``--limit`` left it out. ``overlay`` and ``probe`` are
    the results of ``overlay_info`` and ``probe``, or ``None`` where there are none;
    ``unreachable`` and ``failures`` say why.
    """

    name: str
    site: str = ""
    node: bool = True
    asked: bool = False
    unreachable: bool = False
    failures: t.Sequence[str] = ()
    overlay: t.Mapping[str, t.Any] | None = None
    probe: t.Mapping[str, t.Any] | None = None


class FailedPair(t.TypedDict):
    """One node asks another. ``largest``: the bytes that pass, where full packets do not."""

    asker: str
    peer: str
    ms: float | None
    kinds: list[str]
    largest: int | None


class SiteCell(t.TypedDict):
    """All pairs from a site to a site. ``worst`` is the slowest pair."""

    source: str
    target: str
    pairs: int
    answered: int
    silent: int
    mtu: int
    tcp: int
    median_ms: float | None
    worst_ms: float | None
    worst: list[str] | None


class Reach(t.TypedDict):
    """Who reaches whom. ``matrix`` is by asker and peer, and ``None`` above :data:`MATRIX_LIMIT` nodes."""

    askers: int
    asked: int
    answered: int
    median_ms: float | None
    worst_ms: float | None
    sites: list[SiteCell]
    matrix: dict[str, dict[str, FailedPair]] | None


class NodeReach(t.TypedDict):
    """What one node got as answers from its peers."""

    asked: int
    answered: int
    median_ms: float | None
    worst_ms: float | None


def pairs_of(host: ProbedHost) -> list[FailedPair]:
    """Everybody this host asked and named, by the name of the peer."""
    if host.probe is None:
        return []
    pairs: dict[str, FailedPair] = {}

    def pair(peer: str) -> FailedPair:
        return pairs.setdefault(peer, FailedPair(asker=host.name, peer=peer, ms=None, kinds=[], largest=None))

    for peer, ms in dict(host.probe.get("rtt_ms") or {}).items():
        pair(str(peer))["ms"] = round(float(ms), 3)
    for finding in host.probe.get("findings") or []:
        told, kind = pair(str(finding.get("peer"))), str(finding.get("kind"))
        if kind not in told["kinds"]:
            told["kinds"].append(kind)
        if kind == "mtu":
            told["largest"] = finding.get("largest")
    return [pairs[peer] for peer in sorted(pairs)]


def answers_of(host: ProbedHost, nodes: t.Container[str]) -> Answers:
    """What a host said of these nodes, as far as it is understood."""
    probe = host.probe or {}
    return Answers(
        reached=not host.unreachable,
        rtt_ms={str(peer): float(ms) for peer, ms in dict(probe.get("rtt_ms") or {}).items() if str(peer) in nodes},
        findings=[
            {**finding, "peer": str(finding.get("peer")), "text": str(finding.get("text"))}
            for finding in probe.get("findings") or []
            if finding.get("kind") in KINDS and str(finding.get("peer")) in nodes
        ],
    )


def node_reach(host: ProbedHost, pairs: t.Sequence[FailedPair]) -> NodeReach | None:
    """What one node found, or ``None`` where it did not ask."""
    if host.probe is None:
        return None
    times = [pair["ms"] for pair in pairs if pair["ms"] is not None]
    return NodeReach(
        asked=int(host.probe.get("asked") or 0),
        answered=int(host.probe.get("answered") or 0),
        median_ms=_median(times),
        worst_ms=max(times, default=None),
    )


def reach(hosts: t.Sequence[ProbedHost], asked: t.Mapping[str, list[FailedPair]], sites: t.Sequence[str]) -> Reach:
    """Who reaches whom, by sites, and by nodes where they are few.

    :param asked: what :func:`pairs_of` says of each host.
    :param sites: in the order in which they are to be shown.
    """
    nodes = [host for host in hosts if host.node]
    site_of = {host.name: host.site for host in nodes}
    found = [(host, asked[host.name]) for host in nodes if host.probe is not None]
    by_sites: dict[tuple[str, str], list[FailedPair]] = {}
    for host, pairs in found:
        for pair in pairs:
            by_sites.setdefault((host.site, site_of.get(pair["peer"], "")), []).append(pair)
    order = {site: place for place, site in enumerate(sites)}
    ranks = sorted(by_sites, key=lambda key: [(order.get(site, len(order)), site) for site in key])
    reaches = [node_reach(host, pairs) for host, pairs in found]
    times = [pair["ms"] for _host, pairs in found for pair in pairs if pair["ms"] is not None]
    return Reach(
        askers=len(found),
        asked=sum(each["asked"] for each in reaches if each),
        answered=sum(each["answered"] for each in reaches if each),
        median_ms=_median(times),
        worst_ms=max(times, default=None),
        sites=[_site_cell(source, target, by_sites[source, target]) for source, target in ranks],
        matrix={host.name: {pair["peer"]: pair for pair in pairs} for host, pairs in found}
        if len(nodes) <= MATRIX_LIMIT
        else None,
    )


def _site_cell(source: str, target: str, pairs: t.Sequence[FailedPair]) -> SiteCell:
    timed = [(pair["ms"], pair["asker"], pair["peer"]) for pair in pairs if pair["ms"] is not None]
    slowest = max(timed, default=None)
    counts = {kind: sum(kind in pair["kinds"] for pair in pairs) for kind in KINDS}
    return SiteCell(
        source=source,
        target=target,
        pairs=len(pairs),
        answered=len(pairs) - counts["silent"],
        silent=counts["silent"],
        mtu=counts["mtu"],
        tcp=counts["tcp"],
        median_ms=_median([ms for ms, _asker, _peer in timed]),
        worst_ms=None if slowest is None else slowest[0],
        worst=None if slowest is None else [slowest[1], slowest[2]],
    )


def _median(times: t.Sequence[float]) -> float | None:
    return round(statistics.median(times), 3) if times else None

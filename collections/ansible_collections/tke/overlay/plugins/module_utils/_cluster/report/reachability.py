# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe results of all hosts: which nodes reach which, by pair, by node and by site.

The results may come from a module of another release, so unknown and missing
keys are accepted.
"""

from __future__ import annotations

import statistics
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import KINDS, Answers

MATRIX_LIMIT = 64
"""Up to this number of nodes the report has a matrix of nodes; above it, of sites only."""


class ProbedHost(t.NamedTuple):
    """A host of the inventory and what this run observed on it.

    ``selected`` is false where ``--limit`` excludes the host. ``overlay`` and
    ``probe`` are the results of ``overlay_info`` and ``probe``, or ``None`` where
    there are none; ``unreachable`` and ``failures`` then hold the reason.
    """

    name: str
    site: str = ""
    node: bool = True
    selected: bool = False
    unreachable: bool = False
    connection: str = ""  # the message of SSH
    failures: t.Sequence[str] = ()
    overlay: t.Mapping[str, t.Any] | None = None
    probe: t.Mapping[str, t.Any] | None = None


class ProbedPair(t.TypedDict):
    """One node probes another. ``largest``: the bytes that pass, where full-size packets do not."""

    source: str
    peer: str
    ms: float | None
    kinds: list[str]
    largest: int | None


class SiteCell(t.TypedDict):
    """All pairs from one site to another, or within one site. ``worst`` is the slowest pair: source and peer."""

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
    """All probe results. ``sources``: how many nodes probed their peers.

    ``matrix`` is by source and peer, and ``None`` above :data:`MATRIX_LIMIT` nodes.
    """

    sources: int
    asked: int
    answered: int
    median_ms: float | None
    worst_ms: float | None
    sites: list[SiteCell]
    matrix: dict[str, dict[str, ProbedPair]] | None


class NodeReach(t.TypedDict):
    """The probe results of one node."""

    asked: int
    answered: int
    median_ms: float | None
    worst_ms: float | None


def pairs_of(host: ProbedHost) -> list[ProbedPair]:
    """Return the pairs that this host probed, by the name of the peer."""
    if host.probe is None:
        return []
    pairs: dict[str, ProbedPair] = {}

    def pair(peer: str) -> ProbedPair:
        return pairs.setdefault(peer, ProbedPair(source=host.name, peer=peer, ms=None, kinds=[], largest=None))

    for peer, ms in dict(host.probe.get("rtt_ms") or {}).items():
        pair(str(peer))["ms"] = round(float(ms), 3)
    for finding in host.probe.get("findings") or []:
        probed, kind = pair(str(finding.get("peer"))), str(finding.get("kind"))
        if kind not in probed["kinds"]:
            probed["kinds"].append(kind)
        if kind == "mtu":
            probed["largest"] = finding.get("largest")
    return [pairs[peer] for peer in sorted(pairs)]


def answers_of(host: ProbedHost, nodes: t.Container[str]) -> Answers:
    """Return what a host reports about these nodes, in the form that the search for root causes needs."""
    probe = host.probe or {}
    return Answers(
        reached=not host.unreachable,
        rtt_ms={str(peer): float(ms) for peer, ms in dict(probe.get("rtt_ms") or {}).items() if str(peer) in nodes},
        findings=[
            {**finding, "peer": str(finding.get("peer")), "text": str(finding.get("text"))}
            for finding in probe.get("findings") or []
            if finding.get("kind") in KINDS and str(finding.get("peer")) in nodes
        ],
        filters=probe.get("filters") or (),
    )


def node_reach(host: ProbedHost, pairs: t.Sequence[ProbedPair]) -> NodeReach | None:
    """Return the probe results of one node, or ``None`` where it did not probe."""
    if host.probe is None:
        return None
    times = [pair["ms"] for pair in pairs if pair["ms"] is not None]
    return NodeReach(
        asked=int(host.probe.get("asked") or 0),
        answered=int(host.probe.get("answered") or 0),
        median_ms=_median(times),
        worst_ms=max(times, default=None),
    )


def reach(hosts: t.Sequence[ProbedHost], probed: t.Mapping[str, list[ProbedPair]], sites: t.Sequence[str]) -> Reach:
    """Return the probe results by site, and where there are few nodes by node.

    :param probed: the result of :func:`pairs_of` for each host.
    :param sites: in the order of the report; other sites come last.
    """
    nodes = [host for host in hosts if host.node]
    site_of = {host.name: host.site for host in nodes}
    found = [(host, probed[host.name]) for host in nodes if host.probe is not None]
    by_sites: dict[tuple[str, str], list[ProbedPair]] = {}
    for host, pairs in found:
        for pair in pairs:
            by_sites.setdefault((host.site, site_of.get(pair["peer"], "")), []).append(pair)
    order = {site: place for place, site in enumerate(sites)}
    ranks = sorted(by_sites, key=lambda key: [(order.get(site, len(order)), site) for site in key])
    reaches = [node_reach(host, pairs) for host, pairs in found]
    times = [pair["ms"] for _host, pairs in found for pair in pairs if pair["ms"] is not None]
    return Reach(
        sources=len(found),
        asked=sum(each["asked"] for each in reaches if each),
        answered=sum(each["answered"] for each in reaches if each),
        median_ms=_median(times),
        worst_ms=max(times, default=None),
        sites=[_site_cell(source, target, by_sites[source, target]) for source, target in ranks],
        matrix={host.name: {pair["peer"]: pair for pair in pairs} for host, pairs in found}
        if len(nodes) <= MATRIX_LIMIT
        else None,
    )


def _site_cell(source: str, target: str, pairs: t.Sequence[ProbedPair]) -> SiteCell:
    timed = [(pair["ms"], pair["source"], pair["peer"]) for pair in pairs if pair["ms"] is not None]
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
        median_ms=_median([ms for ms, _source, _peer in timed]),
        worst_ms=None if slowest is None else slowest[0],
        worst=None if slowest is None else [slowest[1], slowest[2]],
    )


def _median(times: t.Sequence[float]) -> float | None:
    return round(statistics.median(times), 3) if times else None

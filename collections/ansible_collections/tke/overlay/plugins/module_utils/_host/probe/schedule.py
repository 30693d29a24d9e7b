# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Select which host probes which peers where a probe of every pair would be too much.

All hosts compute the same schedule from the same names, so no coordinator is needed.
The nodes form a ring in which the nodes of each site are spread evenly, and each node
probes the next ones in the ring. So every node is probed by as many nodes as it
probes, and no pair is probed twice. A pair of sites without any probe gets one extra
probe in each direction.
"""

from __future__ import annotations

import collections
import typing as t

Sites = t.Mapping[str, t.Sequence[str]]
"""Site -> its nodes."""


def peers_to_probe(sites: Sites, sample: int) -> dict[str, list[str]]:
    """Return node -> the peers that it probes.

    :param sample: how many peers each node probes, 0 for all. A node may get a few more, one per further site.
    """
    nodes = ring(sites)
    if sample <= 0 or sample >= len(nodes) - 1:
        return {name: [other for other in nodes if other != name] for name in nodes}
    double = nodes + nodes
    schedule = {name: double[index + 1 : index + 1 + sample] for index, name in enumerate(nodes)}
    _cover_site_pairs(schedule, sites)
    return schedule


def ring(sites: Sites) -> list[str]:
    """Return all nodes in the order of the ring."""
    positions = [
        ((rank + 0.5) / len(sites[site]), site, name)
        for site in sorted(sites)
        for rank, name in enumerate(sorted(sites[site]))
    ]
    return [name for _position, _site, name in sorted(positions)]


def _cover_site_pairs(schedule: dict[str, list[str]], sites: Sites) -> None:
    """Add one probe for each ordered pair of sites that no probe covers yet."""
    site_of = {name: site for site, names in sites.items() for name in names}
    covered = {(site_of[name], site_of[peer]) for name, peers in schedule.items() for peer in peers}
    probed = collections.Counter(peer for peers in schedule.values() for peer in peers)
    for source in sorted(sites):
        for target in sorted(sites):
            if (source, target) in covered or not _has_pair(sites[source], sites[target], source == target):
                continue
            prober = min(sorted(sites[source]), key=lambda name: len(schedule[name]))
            peer = min((name for name in sorted(sites[target]) if name != prober), key=lambda name: probed[name])
            schedule[prober].append(peer)
            probed[peer] += 1


def _has_pair(source: t.Sequence[str], target: t.Sequence[str], same: bool) -> bool:
    """Return whether the two sites have two different nodes."""
    return bool(source and target) and not (same and len(source) < 2)

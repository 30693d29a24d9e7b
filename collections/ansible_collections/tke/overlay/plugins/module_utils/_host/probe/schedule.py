# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: whom a host asks where everybody asking everybody would be too much.

All hosts compute the same from the same names, so nobody has to hand out who asks
whom. The nodes stand in a ring, those of each site spread evenly over it, and each
asks the next ones: so each is asked by as many as it asks, and no two ask each
other in vain. A pair of sites of which that met no two nodes gets one more question.
"""

from __future__ import annotations

import collections
import typing as t

Sites = t.Mapping[str, t.Sequence[str]]
"""Site -> its nodes."""


def questions(sites: Sites, number: int) -> dict[str, list[str]]:
    """Node -> the nodes it asks: all others, or with ``number`` so many, and seldom one for each further site.

    :param number: 0 for all others.
    """
    ring = _ring(sites)
    if number <= 0 or number >= len(ring) - 1:
        return {name: [other for other in ring if other != name] for name in ring}
    double = ring + ring
    asks = {name: double[place + 1 : place + 1 + number] for place, name in enumerate(ring)}
    _cover(asks, sites)
    return asks


def _ring(sites: Sites) -> list[str]:
    places = [
        ((rank + 0.5) / len(sites[site]), site, name)
        for site in sorted(sites)
        for rank, name in enumerate(sorted(sites[site]))
    ]
    return [name for _place, _site, name in sorted(places)]


def _cover(asks: dict[str, list[str]], sites: Sites) -> None:
    """One more question for each pair of sites, in each direction, of which no node asks one of the other."""
    site_of = {name: site for site, names in sites.items() for name in names}
    covered = {(site_of[name], site_of[other]) for name, others in asks.items() for other in others}
    asked = collections.Counter(other for others in asks.values() for other in others)
    for here in sorted(sites):
        for there in sorted(sites):
            if (here, there) in covered or not _can_ask(sites[here], sites[there], here == there):
                continue
            asker = min(sorted(sites[here]), key=lambda name: len(asks[name]))
            peer = min((name for name in sorted(sites[there]) if name != asker), key=lambda name: asked[name])
            asks[asker].append(peer)
            asked[peer] += 1


def _can_ask(here: t.Sequence[str], there: t.Sequence[str], same: bool) -> bool:
    return bool(here and there) and not (same and len(here) < 2)

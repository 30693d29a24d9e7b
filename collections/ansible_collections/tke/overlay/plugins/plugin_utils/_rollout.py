# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of a roll-out: the hosts that come first, and then one site after the other."""

from __future__ import annotations

import typing as t

from ansible.utils.helpers import pct_to_int

GROUP = "tke_overlay_part_"
"""The start of the names of the groups that a roll-out makes, one for each part but the first."""


def rollout_parts(sites: t.Mapping[str, str], hosts: t.Iterable[str]) -> list[dict[str, str]]:
    """Return ``name`` and ``group`` of each host, in the order of the sites; nothing if all are of one site.

    :param sites: site -> the names of its hosts in one text.
    :param hosts: the hosts of the run that do not come first.
    """
    chosen = set(hosts)
    parts = [[name for name in names.split() if name in chosen] for names in sites.values()]
    parts = [part for part in parts if part]
    if len(parts) < 2:
        return []
    return [
        {"name": name, "group": f"{GROUP}{number:04}"} for number, part in enumerate(parts, start=1) for name in part
    ]


def rollout_pattern(groups: t.Iterable[str], first: str) -> str:
    """Return the pattern of the hosts after the first ones, site by site.

    :param first: the pattern of the first hosts, with commas.
    """
    parts = sorted(group for group in groups if group.startswith(GROUP))
    return ":".join([*parts, "overlay_nodes", *(f"!{each}" for each in first.split(","))])


def rollout_batches(groups: t.Mapping[str, t.Sequence[str]], serial: t.Any) -> list[t.Any]:
    """Return the sizes of the batches after the first hosts: each site is divided as ``serial`` says.

    :param serial: as in a play of Ansible: a number of hosts, a percentage, or a list of them.
    """
    sizes = serial if isinstance(serial, list) else [serial]
    parts = [len(groups[group]) for group in sorted(groups) if group.startswith(GROUP)]
    return [size for count in parts for size in _batches_of(count, sizes)] or sizes


def _batches_of(count: int, sizes: t.Sequence[t.Any]) -> t.Iterator[int]:
    left, steps = count, iter(sizes)
    size = 0
    while left > 0:
        size = next(steps, size)
        number = pct_to_int(size, count)
        number = min(number, left) if number > 0 else left
        yield number
        left -= number

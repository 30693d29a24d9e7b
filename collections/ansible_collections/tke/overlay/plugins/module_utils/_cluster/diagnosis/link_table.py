# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of a cluster on the screens of status, site and preflight: one row for each pair of sites."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import Line, count, some, table
from ansible_collections.tke.overlay.plugins.module_utils._links import DIRECT, VXLAN, WIREGUARD

MOST = 20
"""Rows; the other links are counted. Those with VXLAN, the default, come last."""

_ORDER = (WIREGUARD, DIRECT, VXLAN)


def link_lines(plan: t.Mapping[str, t.Any]) -> list[Line]:
    """Return the table of the links and an empty line; nothing in a cluster without ``overlay_links``.

    :param plan: the result of the module plan.
    """
    if "links" not in plan:
        return []
    links = sorted(plan["links"], key=lambda link: (_ORDER.index(link["transport"]), link["sites"]))
    texts = table(["SITES", "TRANSPORT", "POD MTU", "NODES"], [_row(link) for link in links[:MOST]])
    if len(links) > MOST:
        texts.append(f"and {count(len(links) - MOST, 'more link')}")
    return [*map(Line, [*texts, *_without_keys(plan["wireguard"])]), Line("")]


def _row(link: t.Mapping[str, t.Any]) -> list[str]:
    (one, other), nodes = link["sites"], link["nodes"]
    if one == other:
        return [f"inside {one}", link["transport"], str(link["mtu"]), f"{nodes[0]:,}"]
    return [f"{one} - {other}", link["transport"], str(link["mtu"]), " - ".join(f"{number:,}" for number in nodes)]


def _without_keys(wireguard: t.Mapping[str, t.Any]) -> list[str]:
    """Return a line about nodes that no peer reaches over a WireGuard link yet."""
    names = set(wireguard["nodes"].split()) - set(wireguard["recorded"].split())
    if not names:
        return []
    return [f"no WireGuard key yet: {some(names)}; tke.overlay.site makes and records it where it reaches the node"]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last changes of the ledger, from the versions that its store keeps and the dates in it."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger


class Event(t.TypedDict):
    """One change.

    ``when`` is UTC, ISO 8601, or ``None`` where only the order is known.
    ``version`` names the first version with the change, or is ``None`` where the
    change follows from a date only.
    """

    when: str | None
    what: str
    node: str | None
    text: str
    version: str | None


def history(current: Ledger, where: str, previous: t.Sequence[tuple[str, Ledger]], most: int) -> list[Event]:
    """Return the last changes, newest first.

    :param where: the name of the current ledger.
    :param previous: names and ledgers of the previous versions, newest first.
    :param most: the largest number of changes.
    """
    versions = [(where, current), *previous]
    events: list[Event] = []
    for (name, newer), (_name, older) in zip(versions, versions[1:]):
        events += sorted(_changes(older, newer, name), key=_order, reverse=True)
        if len(events) >= most:
            return events[:most]
    events += sorted(_dated(versions[-1][1]), key=_order, reverse=True)
    return events[:most]


def _order(event: Event) -> tuple[str, str]:
    return event["when"] or "", event["node"] or ""


def _changes(older: Ledger, newer: Ledger, version: str) -> t.Iterator[Event]:
    """Yield the differences between two versions."""

    def event(what: str, text: str, node: str | None = None, when: str | None = None) -> Event:
        return Event(when=when, what=what, node=node, text=text, version=version)

    for name, held in newer.nodes.items():
        was = older.nodes.get(name)
        if was is None or (was.node_cidr, was.since) != (held.node_cidr, held.since):
            pinned = ", pinned" if held.pinned else ""
            yield event("joined", f"node CIDR {held.node_cidr}{pinned}", name, held.since)
            continue
        if was.underlay != held.underlay:
            yield event("moved", f"underlay address {was.underlay or 'unknown'} → {held.underlay or 'unknown'}", name)
        if was.underlay_mtu != held.underlay_mtu:
            yield event(
                "moved", f"underlay MTU {was.underlay_mtu or 'unknown'} → {held.underlay_mtu or 'unknown'}", name
            )
        if was.pinned != held.pinned:
            yield event("pinned", f"node CIDR {held.node_cidr}", name)
    for name, was in older.nodes.items():
        if name in newer.nodes and newer.nodes[name].since == was.since:
            continue
        waiting = newer.pending.get(was.node_cidr)
        when = waiting.since if waiting is not None and waiting.node == name else None
        yield event("released", f"node CIDR {was.node_cidr}", name, when)
    for node_cidr, waiting in older.pending.items():
        if waiting.on and not (node_cidr in newer.pending and newer.pending[node_cidr].on):
            yield event("removed", f"all hosts have removed node CIDR {node_cidr}", waiting.node)
    yield from _changes_of_cluster(older, newer, event)


def _changes_of_cluster(older: Ledger, newer: Ledger, event: t.Callable[[str, str], Event]) -> t.Iterator[Event]:
    added = [cidr for cidr in newer.pool.cidrs if cidr not in older.pool.cidrs]
    if added:
        yield event("grew", f"container CIDR extended by {', '.join(added)}")
    for name in sorted({*older.vips, *newer.vips}):
        was, now = older.vips.get(name), newer.vips.get(name)
        if was != now:
            yield event("vip", f"VIP {name}: {was or 'none'} → {now or 'none'}")


def _dated(ledger: Ledger) -> t.Iterator[Event]:
    """Yield the changes that follow from the dates in the oldest version."""
    for name, held in ledger.nodes.items():
        yield Event(when=held.since, what="joined", node=name, text=f"node CIDR {held.node_cidr}", version=None)
    for node_cidr, waiting in ledger.pending.items():
        yield Event(when=waiting.since, what="released", node=waiting.node, text=f"node CIDR {node_cidr}", version=None)

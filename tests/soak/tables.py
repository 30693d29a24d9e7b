# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What a host must have for each peer by the model: a route, an FDB entry, a neighbour and an allowed sender."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping, Sequence

from tests.soak.book import Book

OVERHEAD = 50
"""Bytes of VXLAN over IPv4."""

Tables = Mapping[str, Sequence[str]]
"""Name of a table -> its rows, as host_tables.py prints them."""

NOTHING: Tables = dict.fromkeys(("mtu", "local", "routes", "fdb", "neighbours", "peers", "timer", "unconfirmed"), ())
"""What a host has that is no node."""


def expected(name: str, book: Book, cidr: Callable[[int], str]) -> Tables:
    """Return what a node has that has applied the plan."""
    peers = [(cidr(held.number), held.underlay) for other, held in book.nodes.items() if other != name]
    own = book.nodes[name]
    vteps = {node_cidr: node_cidr.partition("/")[0] for node_cidr, _underlay in peers}
    return {
        **NOTHING,
        "mtu": [str(min(held.mtu for held in book.nodes.values()) - OVERHEAD)],
        "local": [own.underlay],
        "routes": [f"{cidr(own.number)} blackhole", *(f"{node_cidr} {vtep}" for node_cidr, vtep in vteps.items())],
        "fdb": [f"{mac(vteps[node_cidr])} {underlay}" for node_cidr, underlay in peers],
        "neighbours": [f"{vtep} {mac(vtep)}" for vtep in vteps.values()],
        "peers": [underlay for _node_cidr, underlay in peers],
        "timer": ["active"],
    }


def mac(vtep: str) -> str:
    """Return the MAC address of a VTEP."""
    return ":".join(["0a", "58", *(f"{byte:02x}" for byte in ipaddress.IPv4Address(vtep).packed)])


def differences(wanted: Tables, found: Tables) -> Iterator[str]:
    """Yield the rows that are missing and those that are too many, one sentence for each table."""
    for table in wanted:
        missing = sorted(set(wanted[table]) - set(found[table]))
        surplus = sorted(set(found[table]) - set(wanted[table]))
        if missing:
            yield f"{table}: missing {', '.join(missing)}"
        if surplus:
            yield f"{table}: surplus {', '.join(surplus)}"
        if len(found[table]) != len(set(found[table])):
            yield f"{table}: rows that are there twice: {', '.join(sorted(found[table]))}"

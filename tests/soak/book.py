# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The model of the ledger: who has which node CIDR, by the cyclic rule, written a second time and without its code.

A run is a sequence of steps, each of which changes the ledger at once. So all that a run can leave is computed: a
complete run has done all of its steps, a killed one the first few, and two at once the steps of both in any order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Held:
    """The number of a node's node CIDR, and what the ledger has copied from the inventory."""

    number: int
    underlay: str
    mtu: int


@dataclasses.dataclass(frozen=True)
class Waiting:
    """A released number: on whom it certainly waits, on whom it may wait, and whether for the end of the cycle."""

    node: str
    on: frozenset[str] = frozenset()
    perhaps_on: frozenset[str] = frozenset()
    quarantined: bool = False

    @property
    def awaited(self) -> bool:
        """Whether a host may still have to drop it."""
        return bool(self.on or self.perhaps_on)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A node of the inventory."""

    name: str
    underlay: str
    mtu: int


@dataclasses.dataclass(frozen=True)
class Book:
    """A ledger. Each method returns another one."""

    size: int
    cursor: int = 0
    nodes: Mapping[str, Held] = dataclasses.field(default_factory=dict)
    pending: Mapping[int, Waiting] = dataclasses.field(default_factory=dict)

    def assign(self, inventory: Sequence[Wanted]) -> Book:
        """Return the ledger after a plan for these nodes."""
        book = self
        for wanted in inventory:
            if wanted.name not in book.nodes:
                book = book._allocate(wanted)
        return book.record(inventory)

    def record(self, inventory: Sequence[Wanted]) -> Book:
        """Return the ledger with the addresses and MTUs of the nodes that it has already."""
        nodes = dict(self.nodes)
        for wanted in inventory:
            if wanted.name in nodes:
                nodes[wanted.name] = Held(nodes[wanted.name].number, wanted.underlay, wanted.mtu)
        return dataclasses.replace(self, nodes=nodes)

    def _allocate(self, wanted: Wanted) -> Book:
        taken = {held.number for held in self.nodes.values()}
        taken |= {number for number, waiting in self.pending.items() if waiting.awaited}
        ahead = [number for number in range(self.cursor, self.size) if number not in taken | self.pending.keys()]
        number = ahead[0] if ahead else min(set(range(self.size)) - taken)
        pending = dict(self.pending)
        if not ahead or number + 1 == self.size:  # the end of the cycle
            pending = {
                each: dataclasses.replace(waiting, quarantined=False)
                for each, waiting in pending.items()
                if waiting.awaited
            }
        nodes = {**self.nodes, wanted.name: Held(number, wanted.underlay, wanted.mtu)}
        return dataclasses.replace(self, cursor=(number + 1) % self.size, nodes=nodes, pending=pending)

    def release(self, name: str) -> Book:
        """Return the ledger after the release of a node, which no other node has acknowledged yet."""
        if name not in self.nodes:
            return self
        nodes = {other: held for other, held in self.nodes.items() if other != name}
        number = self.nodes[name].number
        waiting = Waiting(name, frozenset(nodes), frozenset(), number >= self.cursor)
        return dataclasses.replace(self, nodes=nodes, pending={**self.pending, number: waiting}).acknowledge({name})

    def acknowledge(self, hosts: Iterable[str], perhaps: Iterable[str] = ()) -> Book:
        """Return the ledger after some hosts, and perhaps further ones, have dropped what waits for them."""
        sure, unsure = frozenset(hosts), frozenset(perhaps)
        left = {
            number: dataclasses.replace(
                waiting,
                on=waiting.on - sure - unsure,
                perhaps_on=(waiting.perhaps_on | (waiting.on & unsure)) - sure,
            )
            for number, waiting in self.pending.items()
        }
        kept = {number: waiting for number, waiting in left.items() if waiting.awaited or waiting.quarantined}
        return dataclasses.replace(self, pending=kept)

    def differences(self, found: Book) -> Iterator[str]:
        """Yield how a ledger that was read differs from this one."""
        if found.cursor != self.cursor:
            yield f"the cursor is {found.cursor}, not {self.cursor}"
        for name in sorted(self.nodes.keys() | found.nodes.keys()):
            if self.nodes.get(name) != found.nodes.get(name):
                yield f"the ledger has {name} {found.nodes.get(name)}, the model {self.nodes.get(name)}"
        for number in sorted(self.pending.keys() | found.pending.keys()):
            wanted, waiting = self.pending.get(number), found.pending.get(number)
            if not _agree(wanted, waiting):
                yield f"pending in the ledger is number {number} {waiting}, in the model {wanted}"


def _agree(wanted: Waiting | None, found: Waiting | None) -> bool:
    """Return whether the model, which does not know everything, allows what was read."""
    if found is None:
        return wanted is None or not (wanted.on or wanted.quarantined)
    return (
        wanted is not None
        and (wanted.node, wanted.quarantined) == (found.node, found.quarantined)
        and wanted.on <= found.on <= wanted.on | wanted.perhaps_on
    )


Step = Callable[[Book], Book]


def complete(book: Book, steps: Sequence[Step]) -> Book:
    """Return the ledger after all steps."""
    for step in steps:
        book = step(book)
    return book


def killed(book: Book, steps: Sequence[Step]) -> Iterator[Book]:
    """Yield what a run can leave that ends after any number of its steps."""
    for count in range(len(steps) + 1):
        yield complete(book, steps[:count])


def at_once(book: Book, one: Sequence[Step], other: Sequence[Step]) -> Iterator[Book]:
    """Yield what two runs can leave that take place at once; each may end early, because it waits for the other."""
    yield book
    if one:
        yield from at_once(one[0](book), one[1:], other)
    if other:
        yield from at_once(other[0](book), one, other[1:])


def distinct(books: Iterable[Book]) -> list[Book]:
    """Return the ledgers without repetitions."""
    found: list[Book] = []
    for book in books:
        if book not in found:
            found.append(book)
    return found


def unexplained(allowed: Sequence[Book], found: Book) -> list[str]:
    """Return how a ledger that was read differs from the nearest that is allowed; nothing if it is one of them."""
    return min((list(book.differences(found)) for book in allowed), key=len)


def read(document: Mapping[str, Any], number_of: Callable[[str], int], size: int) -> Book:
    """Return the ledger of a document."""
    nodes = {
        name: Held(number_of(held["node_cidr"]), held["underlay"], held["underlay_mtu"])
        for name, held in document["nodes"].items()
    }
    pending = {
        number_of(cidr): Waiting(waiting["node"], frozenset(waiting["on"]), frozenset(), waiting["quarantined"])
        for cidr, waiting in document["pending"].items()
    }
    return Book(size, document["cursor"], nodes, pending)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Check whether a recorded history is linearizable.

A history is linearizable if its operations can be put into one order that a single
process could have run, such that an operation that ended before another one began
comes before it. An operation without an end (its process was killed, or could not
find out whether it was carried out) has an effect at some time after its beginning,
or never.

The search is that of Wing and Gong, with the memory of Lowe: a set of operations
that leads to a state which was seen before is not tried again. Porcupine has the
same algorithm, but it needs a Go toolchain and a module that only Go's proxy has;
PyPI has no such checker.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Operation(NamedTuple):
    """One operation; ``begin`` and ``end`` are of one clock. Without an end, ``output`` has no meaning."""

    what: str
    argument: Any
    output: Any
    begin: int
    end: int | None


class Model(Protocol[S]):
    """What a single process would do."""

    initial: S

    def step(self, state: S, operation: Operation) -> tuple[S, Any]:
        """Return the state after an operation, and its output."""

    def is_past(self, state: S, output: Any) -> bool:
        """Return whether no operation can have this output after this state."""


class Verdict(NamedTuple):
    """``order``: the indices of the operations as they could have happened, or the longest such part.

    ``stuck``: the operations of which one would have to be next; empty if the history is linearizable.
    """

    order: list[int]
    stuck: list[Operation]


class _Event:
    """The beginning or the end of an operation, in a list that is linked in both directions."""

    __slots__ = ("end", "is_begin", "next", "number", "previous")

    def __init__(self, number: int, is_begin: bool) -> None:
        self.number, self.is_begin = number, is_begin
        self.end: _Event | None = None
        self.previous: _Event = self
        self.next: _Event | None = None

    def unlink(self) -> None:
        self.previous.next = self.next
        if self.next is not None:
            self.next.previous = self.previous

    def relink(self) -> None:
        self.previous.next = self
        if self.next is not None:
            self.next.previous = self


class Search(Generic[S]):
    """One search through the orders of a history."""

    def __init__(self, model: Model[S], history: Sequence[Operation]) -> None:
        self.model, self.history = model, history
        self.open = sum(operation.end is not None for operation in history)
        self.head = _linked(history)
        self.state = model.initial
        self.done = 0  # a bit for each operation
        self.seen: set[tuple[int, S]] = set()
        self.taken: list[tuple[_Event, S]] = []

    def run(self) -> Verdict:
        longest: list[int] = []
        stuck: list[Operation] = []
        choices = [iter(self._candidates())]
        while self.open:
            if any(self._take(event) for event in choices[-1]):
                if self.state == self.taken[-1][1]:  # it changes nothing, so it would fit nowhere better
                    choices[-1] = iter(())
                choices.append(iter([] if self._has_missed_one() else self._candidates()))
                continue
            if len(self.taken) >= len(longest):
                longest = [taken.number for taken, _state in self.taken]
                stuck = [self.history[event.number] for event in self._candidates()]
            choices.pop()
            if not choices:
                return Verdict(longest, stuck)
            self._give_back()
        return Verdict([taken.number for taken, _state in self.taken], [])

    def _candidates(self) -> list[_Event]:
        """Return the operations that have begun before the first end, those without an end last.

        These have no wrong output, so a search that began with them would try all their orders.
        """
        found, event = [], self.head.next
        while event is not None and event.is_begin:
            found.append(event)
            event = event.next
        return sorted(found, key=lambda each: each.end is None)

    def _has_missed_one(self) -> bool:
        """Return whether an operation should have come before."""
        waiting = (self.history[event.number] for event in self._candidates() if event.end is not None)
        return any(self.model.is_past(self.state, operation.output) for operation in waiting)

    def _take(self, event: _Event) -> bool:
        """Let an operation be the next one, if its output is the right one and that leads to something new."""
        operation = self.history[event.number]
        state, output = self.model.step(self.state, operation)
        if (state == self.state) if operation.end is None else (output != operation.output):
            return False
        reached = self.done | 1 << event.number, state
        if reached in self.seen:
            return False
        self.seen.add(reached)
        self.taken.append((event, self.state))
        self.done, self.state = reached
        event.unlink()
        if event.end is not None:
            event.end.unlink()
            self.open -= 1
        return True

    def _give_back(self) -> None:
        event, self.state = self.taken.pop()
        self.done &= ~(1 << event.number)
        if event.end is not None:
            event.end.relink()
            self.open += 1
        event.relink()


def check(model: Model[S], history: Sequence[Operation]) -> Verdict:
    """Return an order of the history, or where there is none."""
    return Search(model, history).run()


def _linked(history: Sequence[Operation]) -> _Event:
    """Return the head of the list of all beginnings and ends. At the same time, a beginning comes first."""
    timed: list[tuple[int, bool, _Event]] = []
    for number, operation in enumerate(history):
        begin = _Event(number, is_begin=True)
        timed.append((operation.begin, False, begin))
        if operation.end is not None:
            begin.end = _Event(number, is_begin=False)
            timed.append((operation.end, True, begin.end))
    head = last = _Event(-1, is_begin=False)
    for _time, _is_end, event in sorted(timed, key=lambda each: each[:2]):
        last.next, event.previous = event, last
        last = event
    return head


class Allocations(NamedTuple):
    """The state of an allocator.

    How often it has changed, the next number, who has which, and the numbers that wait for the next round.
    """

    version: int
    cursor: int
    held: frozenset[tuple[str, int]]
    quarantined: frozenset[int]


class AllocatorModel:
    """The rules of the ledger for ``size`` node CIDRs, written down a second time, and without its code.

    ``allocate`` and ``release`` have a name as argument and a number as output, ``read`` the held numbers. Each output
    is a pair with the version, which says at which place in the order an operation was. An empty ledger has version 1.
    """

    initial = Allocations(1, 0, frozenset(), frozenset())

    def __init__(self, size: int) -> None:
        self.size = size

    def step(self, state: Allocations, operation: Operation) -> tuple[Allocations, Any]:
        if operation.what == "read":
            return state, (state.held, state.version)
        own = next((number for name, number in state.held if name == operation.argument), None)
        if operation.what == "allocate" and own is None:
            after, own = self._allocate(state, operation.argument)
        elif operation.what == "release" and own is not None:
            waits = {own} if own >= state.cursor else set()
            held = state.held - {(operation.argument, own)}
            after = state._replace(held=held, quarantined=state.quarantined | waits)
        else:
            return state, (own, state.version)
        after = after._replace(version=state.version + (after != state))
        return after, (own, after.version)

    def is_past(self, state: Allocations, output: Any) -> bool:
        _shown, version = output
        return bool(version < state.version)

    def _allocate(self, state: Allocations, name: str) -> tuple[Allocations, int | None]:
        taken = {number for _name, number in state.held}
        round_ends, quarantined = False, state.quarantined
        free = [number for number in range(state.cursor, self.size) if number not in taken | quarantined]
        if not free:
            round_ends = True
            free = [number for number in range(self.size) if number not in taken]
        if not free:
            return state, None
        number = free[0]
        round_ends = round_ends or number + 1 == self.size
        cursor = (number + 1) % self.size
        held = state.held | {(name, number)}
        return state._replace(cursor=cursor, held=held, quarantined=frozenset() if round_ends else quarantined), number

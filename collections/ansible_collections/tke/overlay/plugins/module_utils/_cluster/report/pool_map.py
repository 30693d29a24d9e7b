# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 4: the container CIDR as a map, and how long it will last. Pure.

Every address of the container CIDR lies in exactly one run of the map, and the
node CIDRs of the runs add up to the capacity of the ledger:

============  ============================================  ======================
state         what the addresses are                        counted in capacity as
============  ============================================  ======================
``used``      the node CIDR of a node                         used
``orphan``    the same, but the inventory lacks the node    used
``pending``   released, and some host has yet to drop it    (neither)
``quarantined``   released; free once the cursor went round     free
``free``      nobody's                                      free
``reserved``  kept back (``overlay_reserved``)              (neither)
``service``   the Service range                             (no node CIDRs)
``spare``     too few addresses for a node CIDR               (no node CIDRs)
============  ============================================  ======================
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Capacity
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Ledger

STATES = ("used", "orphan", "pending", "quarantined", "free", "reserved", "service", "spare")
"""What an address of the container CIDR can be."""

WINDOW = 90
"""Days of the past that a forecast looks at: what was before says little of the growth now."""

LEAST_SPAN = 14
LEAST_JOINS = 3
"""Days, and nodes that came after the first day: with less there is no straight line to be drawn."""

FARTHEST = 100 * 365
"""Days: beyond that a date would be a joke."""


class MapRun(t.TypedDict):
    """Neighbouring addresses of one state. ``node_cidrs`` is 0 where they are none (Services, spare)."""

    first: str
    addresses: int
    node_cidrs: int
    state: str


class Block(t.TypedDict):
    """One CIDR of the container CIDR: ``first_number`` is the number of its first node CIDR."""

    cidr: str
    first_number: int
    node_cidrs: int
    runs: list[MapRun]


class Cursor(t.TypedDict):
    """Where the search for the next node CIDR begins, and which one it will be (``None``: none is free)."""

    node_cidr: str
    next: str | None


class PoolMap(t.TypedDict):
    """The pool. ``counts`` are node CIDRs by state."""

    cidrs: list[str]
    service_cidr: str
    node_cidr_size: int
    capacity: Capacity
    counts: dict[str, int]
    cursor: Cursor
    blocks: list[Block]


class Forecast(t.TypedDict):
    """When the pool will be used up: a straight line, and what it is drawn through.

    ``per_day`` and ``days_left`` are ``None`` where there is no basis for an estimate or no growth.
    """

    free: int
    per_day: float | None
    days_left: int | None
    exhausted_on: str | None
    basis: str
    text: str


def pool_map(ledger: Ledger, orphans: t.Collection[str]) -> PoolMap:
    """The map of the ledger's pool.

    :param orphans: nodes of the ledger that the inventory lacks.
    """
    pool = ledger.pool
    marks = _marks(ledger, orphans)
    blocks, before = [], 0
    for position, (cidr, (first, count)) in enumerate(zip(pool.cidrs, pool.ranges)):
        runs = list(_node_cidr_runs(marks[before : before + count], first, pool.node_cidr_size))
        spare = ipaddress.IPv4Network(cidr).num_addresses - count * pool.node_cidr_size
        services = pool.services if position == 0 else 0
        runs += _tail(first + count * pool.node_cidr_size, spare - services, services)
        blocks.append(Block(cidr=cidr, first_number=before, node_cidrs=count, runs=runs))
        before += count
    counts = {state: marks.count(number) for number, state in enumerate(STATES[:6])}
    return PoolMap(
        cidrs=pool.cidrs,
        service_cidr=pool.service_cidr,
        node_cidr_size=pool.node_cidr_size,
        capacity=ledger.capacity(),
        counts=counts,
        cursor=Cursor(node_cidr=pool.node_cidr(ledger.cursor), next=_next(ledger, marks)),
        blocks=blocks,
    )


def _marks(ledger: Ledger, orphans: t.Collection[str]) -> bytes:
    """The state of every node CIDR, as its place in :data:`STATES`, by number."""
    pool = ledger.pool
    marks = bytearray([STATES.index("free")]) * pool.size
    for node_cidr, waiting in ledger.pending.items():
        marks[pool.number(node_cidr)] = STATES.index("pending" if waiting.on else "quarantined")
    for number in pool.reserved:
        marks[number] = STATES.index("reserved")
    for name, held in ledger.nodes.items():
        marks[pool.number(held.node_cidr)] = STATES.index("orphan" if name in orphans else "used")
    return bytes(marks)


def _node_cidr_runs(marks: bytes, first: int, size: int) -> t.Iterator[MapRun]:
    for state, same in itertools.groupby(marks):
        node_cidrs = len(list(same))
        yield MapRun(first=dotted(first), addresses=node_cidrs * size, node_cidrs=node_cidrs, state=STATES[state])
        first += node_cidrs * size


def _tail(first: int, spare: int, services: int) -> list[MapRun]:
    """What lies behind the last node CIDR."""
    runs = [
        MapRun(first=dotted(first), addresses=spare, node_cidrs=0, state="spare"),
        MapRun(first=dotted(first + spare), addresses=services, node_cidrs=0, state="service"),
    ]
    return [run for run in runs if run["addresses"]]


def _next(ledger: Ledger, marks: bytes) -> str | None:
    """The node CIDR that the next node gets: once the cursor goes round, what rested is free too."""
    cursor, pool = ledger.cursor, ledger.pool
    free, quarantined = bytes([STATES.index("free")]), bytes([STATES.index("quarantined")])
    number = marks.find(free, cursor)
    if number < 0:
        number = marks.replace(quarantined, free).find(free)
    return None if number < 0 else pool.node_cidr(number)


def dotted(address: int) -> str:
    """A number as an address."""
    return str(ipaddress.IPv4Address(address))


# --- how long it will last ---


def forecast(ledger: Ledger, previous: t.Sequence[Ledger], now: str) -> Forecast:
    """When the pool will be used up, from the dates at which the present nodes came.

    The ledger does not remember a node that came and went between the versions
    that are kept, so the line goes through the nodes that stayed, less those
    that the previous versions show and the present one lacks.

    :param previous: the ledger's previous versions, in any order.
    :param now: UTC, ISO 8601.
    """
    today, free = _day(now), ledger.capacity()["free"]
    joined = sorted(_day(held.since) for held in ledger.nodes.values())

    def answer(text: str, basis: str, per_day: float | None = None, days: int | None = None) -> Forecast:
        date = None if days is None else (today + datetime.timedelta(days=days)).isoformat()
        return Forecast(free=free, per_day=per_day, days_left=days, exhausted_on=date, basis=basis, text=text)

    if not free:
        return answer("The pool is used up.", "no node CIDR is free")
    if not joined:
        return answer("No estimate.", "there are no nodes yet")
    span = (today - joined[0]).days
    if span < LEAST_SPAN:
        age = f"{span} day{'s' if span != 1 else ''} old"
        return answer("No estimate.", f"the record is {age}, and a trend needs {LEAST_SPAN} days")
    days = min(span, WINDOW)
    begin = today - datetime.timedelta(days=days)
    came = sum(day > begin for day in joined)
    gone = _gone(ledger, previous, begin)
    basis = (
        f"in the last {days} days {came:,} node{'s' if came != 1 else ''} came and stayed (those of the first day are "
        f"not counted), and of the nodes before, {gone:,} {'were' if gone != 1 else 'was'} released as far as previous "
        f"versions of the ledger show ({len(previous)} could be read)"
    )
    if came == gone == 0:
        return answer("No end in sight: no growth.", basis)
    if came < LEAST_JOINS:
        return answer("No estimate.", f"{basis}; a trend needs {LEAST_JOINS} nodes")
    if came <= gone:
        return answer("No end in sight: no growth.", basis)
    per_day = (came - gone) / days
    left = int(free / per_day)
    if left > FARTHEST:
        return answer("No end in sight: more than a hundred years.", basis, per_day)
    return answer(f"Full in about {_in_words(left)}, if it goes on like this.", basis, per_day, left)


def _gone(ledger: Ledger, previous: t.Iterable[Ledger], begin: datetime.date) -> int:
    """How many nodes that were there at ``begin`` have been released since, as far as one can see."""
    were: dict[str, Assignment] = {}
    for version in previous:
        were.update({name: held for name, held in version.nodes.items() if _day(held.since) <= begin})
    return sum(name not in ledger.nodes or ledger.nodes[name].since != held.since for name, held in were.items())


def _in_words(days: int) -> str:
    for unit, length in (("year", 365), ("month", 30), ("week", 7)):
        if days >= 2 * length:
            return f"{round(days / length)} {unit}s"
    return f"{days} day{'s' if days != 1 else ''}"


def _day(time: str) -> datetime.date:
    try:
        return datetime.date(int(time[:4]), int(time[5:7]), int(time[8:10]))
    except ValueError:  # a ledger may hold any text here; it then counts as old
        return datetime.date.min

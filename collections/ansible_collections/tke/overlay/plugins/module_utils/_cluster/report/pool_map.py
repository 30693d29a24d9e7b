# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map of the container CIDR, and the forecast of when it is full.

Every address of the container CIDR is in exactly one run of the map, and the
node CIDRs of the runs add up to the capacity of the ledger:

===============  =========================================  ======================
state            meaning of the addresses                   counted in capacity as
===============  =========================================  ======================
``used``         the node CIDR of a node                    used
``orphan``       the same, of a node not in the inventory   used
``pending``      released; a host has not removed it yet    (neither)
``quarantined``  released; free after the cursor wraps      free
``free``         not assigned                               free
``reserved``     excluded by ``overlay_reserved``           (neither)
``service``      the Service range                          (no node CIDRs)
``spare``        too few addresses for a node CIDR          (no node CIDRs)
===============  =========================================  ======================
"""

from __future__ import annotations

import datetime
import ipaddress
import itertools
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import count
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Capacity, Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment, Ledger

STATES = ("used", "orphan", "pending", "quarantined", "free", "reserved", "service", "spare")
"""The states of an address of the container CIDR."""

WINDOW = 90
"""Days before now that the forecast uses: older dates say little about the current growth."""

LEAST_SPAN = 14
"""Days since the first node joined: with fewer there is no estimate."""

LEAST_JOINS = 3
"""Nodes that joined after the first day: with fewer there is no estimate."""

FARTHEST = 100 * 365
"""Days: the forecast gives no date beyond that."""


class MapRun(t.TypedDict):
    """Neighbouring addresses of one state. ``node_cidrs`` is 0 for ``service`` and ``spare``."""

    first: str
    addresses: int
    node_cidrs: int
    state: str


class Block(t.TypedDict):
    """One CIDR of the container CIDR. ``first_number``: the number of its first node CIDR."""

    cidr: str
    first_number: int
    node_cidrs: int
    runs: list[MapRun]


class Cursor(t.TypedDict):
    """Where the search for the next node CIDR starts, and its result (``None``: none is free)."""

    node_cidr: str
    next: str | None


class PoolMap(t.TypedDict):
    """The pool. ``counts``: node CIDRs by state."""

    cidrs: list[str]
    service_cidr: str
    node_cidr_size: int
    capacity: Capacity
    counts: dict[str, int]
    cursor: Cursor
    blocks: list[Block]


class Forecast(t.TypedDict):
    """When the pool is full if it grows as before, and the data behind the estimate.

    ``per_day``, ``days_left`` and ``exhausted_on`` are ``None`` where there is no estimate or no growth.
    """

    free: int
    per_day: float | None
    days_left: int | None
    exhausted_on: str | None
    basis: str
    text: str


def reserve(ledger: Ledger, reserved: t.Sequence[str]) -> None:
    """Add the reserved ranges to the pool of the ledger, which does not record them.

    :raises ValidationError: a range is none of this pool.
    """
    recorded = ledger.pool
    pool = Pool(recorded.cidrs, recorded.node_cidr_size, recorded.services, reserved)
    for held in ledger.nodes.values():  # preflight rejects a node in a reserved range; the map shows the node
        pool.reserved.pop(pool.number(held.node_cidr), None)
    ledger.pool = pool


def pool_map(ledger: Ledger, orphans: t.Collection[str]) -> PoolMap:
    """Return the map of the ledger's pool.

    :param orphans: nodes of the ledger that are not in the inventory.
    """
    pool = ledger.pool
    marks = _marks(ledger, orphans)
    blocks, before = [], 0
    for position, (cidr, (first, amount)) in enumerate(zip(pool.cidrs, pool.ranges)):
        runs = list(_node_cidr_runs(marks[before : before + amount], first, pool.node_cidr_size))
        spare = ipaddress.IPv4Network(cidr).num_addresses - amount * pool.node_cidr_size
        services = pool.services if position == 0 else 0
        runs += _tail(first + amount * pool.node_cidr_size, spare - services, services)
        blocks.append(Block(cidr=cidr, first_number=before, node_cidrs=amount, runs=runs))
        before += amount
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
    """Return the state of every node CIDR, as its index in :data:`STATES`, by number."""
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
    """Return the runs after the last node CIDR."""
    runs = [
        MapRun(first=dotted(first), addresses=spare, node_cidrs=0, state="spare"),
        MapRun(first=dotted(first + spare), addresses=services, node_cidrs=0, state="service"),
    ]
    return [run for run in runs if run["addresses"]]


def _next(ledger: Ledger, marks: bytes) -> str | None:
    """Return the node CIDR of the next node. After the cursor wraps around, quarantined node CIDRs are free too."""
    cursor, pool = ledger.cursor, ledger.pool
    free, quarantined = bytes([STATES.index("free")]), bytes([STATES.index("quarantined")])
    number = marks.find(free, cursor)
    if number < 0:
        number = marks.replace(quarantined, free).find(free)
    return None if number < 0 else pool.node_cidr(number)


def dotted(address: int) -> str:
    """Return a number as an IPv4 address."""
    return str(ipaddress.IPv4Address(address))


# --- the forecast ---


def forecast(ledger: Ledger, previous: t.Sequence[Ledger], now: str) -> Forecast:
    """Return when the pool is full, from the dates at which the current nodes joined.

    The estimate is linear. The ledger does not record a node that joined and was
    released between two kept versions, so the growth is the number of nodes that
    stayed, less the nodes that only previous versions have.

    :param previous: the ledger's previous versions, in any order.
    :param now: UTC, ISO 8601.
    """
    today, free = _day(now), ledger.capacity()["free"]
    estimate = _estimate(ledger, previous, today)
    days = estimate.days_left
    return Forecast(
        free=free,
        per_day=estimate.per_day,
        days_left=days,
        exhausted_on=None if days is None else (today + datetime.timedelta(days=days)).isoformat(),
        basis=estimate.basis,
        text=estimate.text,
    )


class _Estimate(t.NamedTuple):
    text: str
    basis: str
    per_day: float | None = None
    days_left: int | None = None


def _estimate(ledger: Ledger, previous: t.Sequence[Ledger], today: datetime.date) -> _Estimate:
    """Return the estimate, or the reason why there is none."""
    free = ledger.capacity()["free"]
    joined = sorted(_day(held.since) for held in ledger.nodes.values())
    if not free:
        return _Estimate("The pool is full.", "no node CIDR is free")
    if not joined:
        return _Estimate("No estimate.", "there are no nodes")
    span = (today - joined[0]).days
    if span < LEAST_SPAN:
        ago = count(span, "day")
        return _Estimate("No estimate.", f"the first node joined {ago} ago; an estimate needs {LEAST_SPAN} days")
    days = min(span, WINDOW)
    begin = today - datetime.timedelta(days=days)
    came = sum(day > begin for day in joined)
    gone = _gone(ledger, previous, begin)
    basis = _basis(days, came, gone, len(previous))
    if came < LEAST_JOINS and (came or gone):
        return _Estimate("No estimate.", f"{basis}; an estimate needs {LEAST_JOINS} nodes")
    if came <= gone:
        return _Estimate("No growth: the pool does not fill up.", basis)
    per_day = (came - gone) / days
    left = int(free / per_day)
    if left > FARTHEST:
        return _Estimate("The pool lasts more than 100 years at this rate.", basis, per_day)
    return _Estimate(f"The pool is full in about {_duration(left)} at this rate.", basis, per_day, left)


def _basis(days: int, came: int, gone: int, versions: int) -> str:
    """Return the data behind the estimate, as the page shows it."""
    return (
        f"in the last {days} days {count(came, 'node')} joined and stayed (nodes of the first day are not counted); "
        f"{count(gone, 'earlier node')} {'was' if gone == 1 else 'were'} released according to previous versions of "
        f"the ledger ({versions} read)"
    )


def _gone(ledger: Ledger, previous: t.Iterable[Ledger], begin: datetime.date) -> int:
    """Return how many nodes that had joined by ``begin`` were released since, according to previous versions."""
    were: dict[str, Assignment] = {}
    for version in previous:
        were.update({name: held for name, held in version.nodes.items() if _day(held.since) <= begin})
    return sum(name not in ledger.nodes or ledger.nodes[name].since != held.since for name, held in were.items())


def _duration(days: int) -> str:
    """Return a number of days in the largest unit of which there are at least two."""
    for unit, length in (("year", 365), ("month", 30), ("week", 7)):
        if days >= 2 * length:
            return f"{round(days / length)} {unit}s"
    return count(days, "day")


def _day(time: str) -> datetime.date:
    try:
        return datetime.date(int(time[:4]), int(time[5:7]), int(time[8:10]))
    except ValueError:  # any other text in the ledger counts as an old date
        return datetime.date.min

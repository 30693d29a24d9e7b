# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Chooses the operations: a function of the seed and of the world, and of nothing else.

The operations come in rounds. Each round has nodes that none of its operations touches; the flows run between them.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Mapping, Sequence

from tests.soak.operations import PLAYED, SHARED, Kill, Kind, Operation
from tests.soak.world import SITES, Machine, World

WEIGHTS: Mapping[Kind, int] = {
    Kind.ADD: 5,
    Kind.RELEASE: 4,
    Kind.READDRESS: 2,
    Kind.MOVE: 2,
    Kind.MTU: 2,
    Kind.CONVERGE: 1,
    Kind.REBOOT: 3,
    Kind.CUT: 3,
    Kind.HEAL: 2,
    Kind.CUT_SITE: 1,
    Kind.HEAL_SITE: 2,
    Kind.STOP_TIMER: 2,
    Kind.FILL_DISK: 2,
}
MTUS: Mapping[str, Sequence[int]] = {"cloud": (1500, 1460, 1400), "idc": (1450, 1430, 1400)}
"""The underlay MTUs of each site; the first one is that of the lab, which carries all of them."""
KILLED, BESIDE = 0.2, 0.2
"""The share of the runs that are killed, and of those beside which there is another one."""
TASKS = 60
"""The number of a task at which a run is killed is at most this; a run with fewer tasks ends by itself."""
QUIET_SHARE = 0.5
"""The share of the nodes of each site, at least one, that no operation of a round touches."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What may be chosen: the kinds, and how many operations a round has (least, most)."""

    kinds: frozenset[Kind] = frozenset(Kind)
    length: tuple[int, int] = (6, 10)
    killed: float = KILLED
    beside: float = BESIDE


@dataclasses.dataclass(frozen=True)
class Round:
    """The nodes that stay untouched, and the operations."""

    untouched: tuple[str, ...]
    operations: tuple[Operation, ...]


class Chooser:
    """An endless sequence of rounds."""

    def __init__(self, seed: int, settings: Settings) -> None:
        self.random = random.Random(seed)
        self.settings = settings

    def round(self, world: World) -> Round:
        """Return the next round. The world is that before it, and quiet."""
        untouched = self._untouched(world)
        operations = list(self._operations(world, frozenset(untouched)))
        return Round(untouched, tuple(operations))

    def _untouched(self, world: World) -> tuple[str, ...]:
        chosen: list[str] = []
        for site in SITES:
            names = [each.name for each in world.members() if each.site == site]
            chosen += self.random.sample(names, min(len(names), max(1, int(len(names) * QUIET_SHARE))))
        return tuple(sorted(chosen))

    def _operations(self, world: World, untouched: frozenset[str]) -> Iterator[Operation]:
        for _number in range(self.random.randint(*self.settings.length)):
            operation = self._interrupted(self._one(world, untouched, self.settings.kinds), world, untouched)
            yield operation
            world = world.after(operation)

    def _one(self, world: World, untouched: frozenset[str], kinds: frozenset[Kind]) -> Operation:
        """Choose a kind among those that have a target now, then a target."""
        found = {kind: list(targets(kind, world, untouched)) for kind in WEIGHTS if kind in kinds}
        possible = {kind: operations for kind, operations in found.items() if operations}
        (kind,) = self.random.choices(list(possible), [WEIGHTS[kind] for kind in possible])
        return self.random.choice(possible[kind])

    def _interrupted(self, operation: Operation, world: World, untouched: frozenset[str]) -> Operation:
        """Return the operation, perhaps with a kill, or with a second controller beside it."""
        draw = self.random.random()
        if operation.kind in PLAYED and draw < self.settings.killed:
            how = self.random.choice(("begin", "middle", "module"))
            task, hosts = self.random.randint(1, TASKS), sorted(world.machines.keys() - untouched)
            host = self.random.choice(hosts) if how == "module" else ""
            return dataclasses.replace(operation, kill=Kill(task, how, host))
        if operation.kind in SHARED and draw > 1 - self.settings.beside:
            away = world.after(operation)
            other = self._one(away, untouched | {operation.target}, SHARED & (self.settings.kinds | {Kind.CONVERGE}))
            return dataclasses.replace(operation, beside=other)
        return operation


def targets(kind: Kind, world: World, untouched: frozenset[str]) -> Iterator[Operation]:
    """Yield all operations of a kind that make sense in a world."""
    if kind is Kind.CONVERGE:
        yield Operation(kind)
    elif kind is Kind.MTU:
        for site, mtus in MTUS.items():
            yield from (Operation(kind, site, str(mtu)) for mtu in mtus if mtu != world.mtu[site])
    elif kind is Kind.CUT_SITE:
        yield from [] if world.cut_sites else [Operation(kind, SITES[1])]
    elif kind is Kind.HEAL_SITE:
        yield from (Operation(kind, site) for site in sorted(world.cut_sites))
    else:
        for machine in world.machines.values():
            if machine.name not in untouched and _sensible(kind, machine, world):
                other = SITES[1 - SITES.index(machine.site)] if kind is Kind.MOVE else ""
                yield Operation(kind, machine.name, other)


def _sensible(kind: Kind, machine: Machine, world: World) -> bool:
    """Return whether an operation makes sense for a machine."""
    intact = machine.member and not machine.full
    possible: Mapping[Kind, bool] = {
        Kind.ADD: not machine.member and not machine.unfinished,
        Kind.RELEASE: intact,
        Kind.READDRESS: intact and world.reachable(machine),
        # The lab waits until its controller reaches a machine that boots, and `lab up` does so for all of them.
        Kind.MOVE: intact and world.reachable(machine) and not world.cut_sites,
        Kind.REBOOT: machine.site not in world.cut_sites,
        Kind.CUT: not machine.cut,
        Kind.HEAL: machine.cut,
        Kind.STOP_TIMER: machine.member,
        Kind.FILL_DISK: intact,
    }
    return possible[kind]

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The model of the machines and of the inventory. It knows what was done, and nothing of what came of it.

The chooser sees only this part of the model, so the operations of a seed do not depend on time, nor on what a killed
run has left.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tests.soak.book import Book, Step, Wanted
from tests.soak.operations import Kind, Operation

SITES = ("cloud", "idc")


@dataclasses.dataclass(frozen=True)
class Machine:
    """A host of the lab.

    ``addresses`` are those it can have, by site; ``address`` is the number of the one in use. ``member`` is whether the
    inventory has it as a node, ``left_behind`` whether it was released and still has the overlay. ``unfinished`` means
    that its release has to be repeated.
    """

    name: str
    addresses: Mapping[str, Sequence[str]]
    site: str
    address: int = 0
    member: bool = False
    left_behind: bool = False
    unfinished: bool = False
    cut: bool = False
    full: bool = False

    @property
    def login(self) -> str:
        """The address at which Ansible reaches the machine: the first of its site."""
        return self.addresses[self.site][0]

    @property
    def underlay(self) -> str:
        """The underlay address of the node."""
        return self.addresses[self.site][self.address]


@dataclasses.dataclass(frozen=True)
class World:
    """All machines, the underlay MTU of each site, and the sites that are cut off."""

    machines: Mapping[str, Machine]
    mtu: Mapping[str, int]
    cut_sites: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> Machine:
        return self.machines[name]

    def members(self) -> list[Machine]:
        """Return the nodes of the inventory, in its order: site by site, and by name as the machines are listed."""
        return [each for site in SITES for each in self.machines.values() if each.site == site and each.member]

    def unfinished(self) -> list[str]:
        """Return the nodes whose release has to be repeated."""
        return [each.name for each in self.machines.values() if each.unfinished]

    def reachable(self, machine: Machine) -> bool:
        """Return whether the controller reaches a machine."""
        return not machine.cut and machine.site not in self.cut_sites

    def silent(self) -> set[str]:
        """Return the nodes that a run cannot reach, or on which it can fail."""
        return {each.name for each in self.members() if not self.reachable(each) or each.full}

    def inventory(self) -> list[Wanted]:
        """Return what the inventory says of each node."""
        return [Wanted(each.name, each.underlay, self.mtu[each.site]) for each in self.members()]

    def with_machine(self, machine: Machine) -> World:
        """Return the world with a machine in another state."""
        return dataclasses.replace(self, machines={**self.machines, machine.name: machine})

    def after(self, operation: Operation) -> World:
        """Return the world after an operation."""
        world = self
        for part in operation.parts():
            world = world._after(part, operation.interrupted)
        return world

    def during(self, operation: Operation) -> World:
        """Return the world whose inventory the runs have: a node leaves the inventory after its release."""
        world = self
        for part in operation.parts():
            world = world if part.kind is Kind.RELEASE else world._after(part, operation.interrupted)
        return world

    def _after(self, operation: Operation, interrupted: bool) -> World:
        kind, target = operation.kind, operation.target
        if kind is Kind.MTU:
            return dataclasses.replace(self, mtu={**self.mtu, target: int(operation.value)})
        if kind is Kind.CUT_SITE:
            return dataclasses.replace(self, cut_sites=self.cut_sites | {target})
        if kind is Kind.HEAL_SITE:
            return dataclasses.replace(self, cut_sites=self.cut_sites - {target})
        if kind is Kind.CONVERGE:
            return self
        return self.with_machine(self._machine_after(operation, interrupted))

    def _machine_after(self, operation: Operation, interrupted: bool) -> Machine:
        machine = self.machines[operation.target]
        if operation.kind is Kind.RELEASE:
            left = interrupted or not self.reachable(machine)
            return dataclasses.replace(machine, member=False, left_behind=left, unfinished=interrupted)
        changes: dict[Kind, dict[str, Any]] = {
            Kind.ADD: {"member": True, "left_behind": False},
            Kind.READDRESS: {"address": 1 - machine.address},
            Kind.MOVE: {"site": operation.value, "address": 0},
            Kind.REBOOT: {"full": False},
            Kind.CUT: {"cut": True},
            Kind.HEAL: {"cut": False},
            Kind.STOP_TIMER: {},
            Kind.FILL_DISK: {"full": True},
        }
        return dataclasses.replace(machine, **changes[operation.kind])

    def healed(self) -> World:
        """Return the world in a quiet period: everything is reachable, no disk is full, no release is unfinished."""
        machines = {
            name: dataclasses.replace(each, cut=False, full=False, unfinished=False)
            for name, each in self.machines.items()
        }
        return dataclasses.replace(self, machines=machines, cut_sites=frozenset())


def steps(before: World, operation: Operation) -> list[list[Step]]:
    """Return the steps in which each run of an operation changes the ledger.

    Two runs at once wait for each other on a host, and one may fail there, so nobody knows who acknowledges.

    :param before: the world before the operation.
    """
    during = before.during(operation)
    unreachable = {each.name for each in during.members() if not during.reachable(each)}
    perhaps = {each.name for each in during.members() if each.full or operation.beside}
    perhaps |= {operation.kill.host} if operation.kill else set()
    sure = {each.name for each in during.members()} - unreachable - perhaps

    def acknowledge(book: Book) -> Book:
        return book.acknowledge(sure, perhaps - unreachable)

    return [_steps(part, during.inventory(), acknowledge) for part in operation.parts()]


def _steps(operation: Operation, inventory: Sequence[Wanted], acknowledge: Step) -> list[Step]:
    if operation.kind is Kind.RELEASE:
        name = operation.target
        staying = [wanted for wanted in inventory if wanted.name != name]
        return [lambda book: book.record(staying).release(name), acknowledge]
    return [lambda book: book.assign(inventory), acknowledge]


def judged(path: tuple[str, str], world: World, operations: Sequence[Operation]) -> bool:
    """Return whether a flow between two hosts must lose nothing while these operations take place."""
    touched = set().union(*(operation.hosts() for operation in operations))
    divided = any(part.kind is Kind.CUT_SITE for operation in operations for part in operation.parts())
    one, other = (world[name] for name in path)
    return not touched & set(path) and (one.site == other.site or not divided)

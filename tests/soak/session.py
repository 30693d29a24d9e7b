# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Rounds of operations on a fleet, and the comparison with the model in the quiet period after each."""

from __future__ import annotations

import collections
import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator, Sequence

from flows import Flow, Flows
from tests.soak import book as books
from tests.soak import tables, world
from tests.soak.book import Book
from tests.soak.chooser import Chooser, Round
from tests.soak.lab_fleet import LabFleet, Result, release_of
from tests.soak.operations import Kind, Operation
from tests.soak.world import World

SENDERS = 8
"""Hosts with flows, at most: each has a process, and the machine has other work."""
INTERVAL = 0.05
SITE = ("tke.overlay.site",)


class DisagreementError(Exception):
    """Model and fleet differ; ``differences`` has a sentence for each difference."""

    def __init__(self, differences: Sequence[str]) -> None:
        super().__init__("\n".join(differences))
        self.differences = differences


@dataclasses.dataclass
class Counts:
    """What was done. ``inconclusive`` are flows of rounds in which the machine itself lost packets."""

    operations: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    rounds: int = 0
    flows: int = 0
    sent: int = 0
    lost: int = 0
    inconclusive: int = 0

    def __str__(self) -> str:
        kinds = ", ".join(f"{name} {number}" for name, number in sorted(self.operations.items()))
        packets = f"{self.flows} flows between untouched nodes: {self.sent} packets sent, {self.lost} lost"
        unclear = f", {self.inconclusive} flows not judged, because the machine itself lost packets"
        return f"{self.rounds} rounds: {kinds}\n{packets}{unclear if self.inconclusive else ''}"


@dataclasses.dataclass
class Session:
    """A fleet and its model.

    ``cidrs`` are the node CIDRs by number, and ``flows`` is how many flows run. ``allowed`` are the ledgers that the
    model allows; ``history`` are the lines that were printed.
    """

    fleet: LabFleet
    chooser: Chooser
    world: World
    cidrs: Sequence[str]
    flows: int
    report: Callable[[str], None]
    allowed: list[Book] = dataclasses.field(default_factory=list)
    history: list[str] = dataclasses.field(default_factory=list)
    counts: Counts = dataclasses.field(default_factory=Counts)

    # --- rounds ---

    def first_run(self) -> None:
        """Bring the fleet to its beginning: what a first run of the playbook makes of the inventory."""
        self.fleet.write(self.world)
        self.allowed = [self.read() if self.fleet.place.ledger.exists() else Book(len(self.cidrs))]
        self.converge()
        self.check_hosts()
        self.fleet.start_pods([each.name for each in self.world.members()])

    def round(self) -> None:
        """Do one round, with flows, and the quiet period after it."""
        chosen = self.chooser.round(self.world)
        self.counts.rounds += 1
        nodes = f"{len(self.world.members())} nodes, untouched {' '.join(chosen.untouched)}"
        self.note(f"round {self.counts.rounds}: {nodes}")
        began = self.world
        flows = Flows(self._senders(chosen), self.flows, INTERVAL)
        with flows:
            for operation in chosen.operations:
                self.do(operation)
            self.quiet(chosen.untouched)
        self.judge(flows, began, chosen.operations)

    def _senders(self, chosen: Round) -> list[str]:
        """Return untouched nodes of both sites in turns."""
        sites = [[name for name in chosen.untouched if self.world[name].site == site] for site in world.SITES]
        first = self.counts.rounds  # others in each round
        turned = [names[first % len(names) :] + names[: first % len(names)] for names in sites]
        return [name for pair in itertools.zip_longest(*turned) for name in pair if name][:SENDERS]

    def do(self, operation: Operation) -> None:
        """Do an operation, and compare the ledger with what the model allows."""
        self.note(f"  {operation}")
        self.counts.operations.update(operation.names())
        before, self.world = self.world, self.world.after(operation)
        runs = self.fleet.do(operation, before)
        if runs:
            self._expect(operation, before)
            self._compare(operation, runs, before)

    def _expect(self, operation: Operation, before: World) -> None:
        """Extend the ledgers that the model allows by what the operation can leave."""
        first, *second = world.steps(before, operation)
        if operation.beside:
            found = [each for book in self.allowed for each in books.at_once(book, first, second[0])]
        elif operation.kill:
            found = [each for book in self.allowed for each in books.killed(book, first)]
        else:
            found = [books.complete(book, first) for book in self.allowed]
        self.allowed = books.distinct(found)

    def _compare(self, operation: Operation, runs: Sequence[Result], before: World) -> None:
        """Compare ledger and failed hosts with the model.

        After a kill nothing is certain: a process of the run can still write. The next complete run shows it.
        """
        if operation.interrupted:
            return
        silent = before.silent() | self.world.silent()
        (run,) = runs
        failed = run.counted("failed") | run.counted("unreachable")
        if surprising := failed - silent:
            raise DisagreementError([f"failed on {', '.join(sorted(surprising))}:\n{run.told()}"])
        if run.code != 0 and not failed:
            raise DisagreementError([f"ended with {run.code}:\n{run.told()}"])
        self.compare_ledger()

    def compare_ledger(self) -> None:
        """Compare the ledger with those that the model allows, and continue with what was read."""
        found = self.read()
        if wrong := books.unexplained(self.allowed, found):
            raise DisagreementError([f"the model allows {len(self.allowed)} ledgers; the nearest differs:", *wrong])
        self.allowed = [found]

    def read(self) -> Book:
        """Return the ledger of the fleet."""
        return books.read(self.fleet.ledger(), self.cidrs.index, len(self.cidrs))

    # --- the quiet period ---

    def quiet(self, untouched: Sequence[str] = ()) -> None:
        """End the faults, repeat what was not finished, run the playbook, and compare fleet and model.

        :param untouched: nodes whose Pods stay: another MTU is a reason to start a Pod again.
        """
        self.note("  quiet")
        self.fleet.heal(self.world)
        unfinished = self.world.unfinished()
        self.world = self.world.healed()
        for name in unfinished:
            self._release_again(name)
        self.converge()
        again = self.fleet.play(SITE, self.world)
        changed = ", ".join(sorted(again.counted("changed")))
        if again.code != 0 or changed:
            words = f"a second run ended with {again.code} and changed {changed or 'nothing'}"
            raise DisagreementError([f"{words}:\n{again.told()}"])
        self.compare_ledger()
        self.check_hosts()
        self.fleet.start_pods([each.name for each in self.world.members() if each.name not in untouched])
        verified = self.fleet.play(("tke.overlay.verify",), self.world)
        if verified.code != 0:
            raise DisagreementError([f"tke.overlay.verify ended with {verified.code}:\n{verified.told()}"])

    def _release_again(self, name: str) -> None:
        """Repeat a release, with the node in the inventory as in the run before."""
        present = self.world.with_machine(dataclasses.replace(self.world[name], member=True))
        self.fleet.write(present)
        result = self.fleet.play(release_of([name]), present)
        self.fleet.write(self.world)
        if result.code != 0:
            raise DisagreementError([f"released again, {name} ended with {result.code}:\n{result.told()}"])
        (steps,) = world.steps(present, Operation(Kind.RELEASE, name))
        self.allowed = books.distinct(books.complete(book, steps) for book in self.allowed)

    def converge(self) -> None:
        """Run the playbook, which must succeed, and compare the ledger."""
        result = self.fleet.play(SITE, self.world)
        if result.code != 0:
            raise DisagreementError([f"tke.overlay.site ended with {result.code}:\n{result.told()}"])
        (steps,) = world.steps(self.world, Operation(Kind.CONVERGE))
        self.allowed = books.distinct(books.complete(book, steps) for book in self.allowed)
        self.compare_ledger()

    def check_hosts(self) -> None:
        """Compare the tables of every machine with the model."""
        if wrong := list(self._wrong_hosts()):
            raise DisagreementError(wrong)

    def _wrong_hosts(self) -> Iterator[str]:
        (book,) = self.allowed
        checked = [each for each in self.world.machines.values() if each.member or not each.left_behind]
        found = self.fleet.tables([each.name for each in checked])
        for each in checked:
            wanted = tables.expected(each.name, book, self.cidrs.__getitem__) if each.member else tables.NOTHING
            for difference in tables.differences(wanted, found[each.name]):
                yield f"{each.name}: {difference}"

    # --- flows ---

    def judge(self, flows: Flows, began: World, operations: Sequence[Operation]) -> None:
        """Count the packets of the flows that no operation touched; none of them may be lost."""
        across = [each for each in flows.flows if not each.within_a_host and self._untouched(each, began, operations)]
        lost = [each for each in flows.lost() if each in across]
        if flows.disturbed():
            self.counts.inconclusive += len(across)
            self.note(f"  not judged, because the machine itself lost packets: {flows}")
            return
        sent, missing = sum(each.sent for each in across), sum(each.lost for each in lost)
        self.counts.flows += len(across)
        self.counts.sent += sent
        self.counts.lost += missing
        self.note(f"  {len(across)} flows, {sent} packets, {missing} lost")
        if lost:
            raise DisagreementError(["flows between untouched nodes lost packets:", *map(str, lost)])

    def _untouched(self, flow: Flow, began: World, operations: Sequence[Operation]) -> bool:
        return world.judged((flow.source[0], flow.target[0]), began, operations)

    def note(self, line: str) -> None:
        """Print a line, and keep it for the report of a failure."""
        self.history.append(line)
        self.report(f"{time.strftime('%H:%M:%S')} {line}")

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Kill runs of the playbooks at each of their tasks, and check what the next run makes of it.

For each operation (a node is released and added, the port of the tunnel changes, a roll-out of another MTU, the ledger
is rebuilt), an uninterrupted run of each of its commands gives the list of tasks. Then the commands take turns, and
each is killed at one task, in one of the ways that callbacks/kill_at.py lists. The same command, repeated, must then
succeed; no node CIDR may be given twice, none may stay pending, each host must have the node CIDR of the ledger, and be
as after an uninterrupted run (leftovers.sh); Pods must reach each other; and Pods of hosts that are not added or
released must never be without their network for longer than the time in which a change is confirmed. At the end of each
operation, one more run must change nothing. With --group, several killed runs precede one that is not killed, which
takes less time; a problem then is one of any of them.

A kill that cannot differ from another one is left out, unless --complete is given: before a task, if the task before
has changed nothing; in a module, if the task runs none on the host; after a delay, if the task takes no time.

Requires a running lab in which tke.overlay.site and tests/lab/cluster.yml have run.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import fleet
from operations import LEAVING, OPERATIONS, SITE, Command, Operation, Task, both_ports, must, run, tasks_of

from flows import Flows
from stories import LEDGER, NODES

BEFORE, ON_RESULT = ("begin",), ("middle", "main")
ON_HOST = ("returned", "worker", "module", "connection")
HOWS = (*BEFORE, "middle", "returned", "module", "during", "main", "worker", "connection", "interrupt", "terminate")
FRACTIONS = (0.5, 0.25, 0.75, 0.1)
"""Which part of its time a task or a module is killed after; the kills of one way take turns."""
PARTS = {"during": 1.0, "interrupt": 1.0, "terminate": 1.0, "module": 0.3, "connection": 0.3}
"""Ways with a delay -> about which part of the time of a task that time is: a module does not run for all of it."""

VICTIM = "cloud1"
CONFIRM_SECONDS = 30.0
"""Default of overlay_confirm_timeout: after this time a host has rolled an unconfirmed change back."""
FLOWS, FLOW_INTERVAL = 12, 0.1
MOST_FAILURES = 2
"""After so many failures of the repeated command, its operation cannot go on."""


@dataclasses.dataclass
class Row:
    """A kill and its result; ``problems`` is empty if all held, ``gap`` is the longest interruption in seconds."""

    operation: str
    command: str
    number: int
    task: str
    how: str
    delay: float = 0
    killed: bool = False
    gap: float = 0
    problems: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        end = "".join(f"\n    {problem}" for problem in self.problems)
        what = f"{self.delay:.2f} s" if self.delay else ""
        gap = f"{self.gap:.1f} s" if self.killed else "not reached"
        return f"{self.command:<8} {self.how:<10} {self.number:>3} {what:<7} {gap:<12} {self.task}{end}"


def table(rows: Sequence[Row]) -> str:
    """Return the results by operation and way."""
    lines = [f"{'operation':<10} {'way':<10} {'kills':>5} {'problems':>8} {'longest gap':>11}"]
    for operation, how in dict.fromkeys((row.operation, row.how) for row in rows):
        here = [row for row in rows if (row.operation, row.how) == (operation, how)]
        killed, wrong = sum(row.killed for row in here), sum(bool(row.problems) for row in here)
        gap = max((row.gap for row in here if row.killed), default=0)
        lines.append(f"{operation:<10} {how:<10} {killed:>5} {wrong:>8} {gap:>9.1f} s")
    return "\n".join(lines)


# --- which kills ---


def rows_of(names: tuple[str, str], tasks: Sequence[Task], options: argparse.Namespace) -> list[Row]:
    """Return the kills of an operation and command, the ways in turns, each with its n-th kill of its own."""
    of_ways = []
    for how in options.how:
        chosen = [task for task in tasks if options.complete or differs(task, tasks, how)]
        part = PARTS.get(how, 0)
        rows = [
            Row(*names, task.number, task.name, how, task.seconds * fraction * part)
            for task, fraction in zip(chosen, itertools.cycle(FRACTIONS), strict=False)
        ]
        every, shift = max(min(options.every, len(rows)), 1), HOWS.index(how) + options.offset
        of_ways.append([row for number, row in enumerate(rows) if (number + shift) % every == 0])
    return [row for turn in itertools.zip_longest(*of_ways) for row in turn if row is not None]


def differs(task: Task, tasks: Sequence[Task], how: str) -> bool:
    """Return whether a kill at this task can have another effect than one at the task before it."""
    if how in BEFORE:
        return task.number == 1 or tasks[task.number - 2].changed
    if how in ON_RESULT:
        return len(task.hosts) > 1
    if how in ON_HOST:
        return VICTIM in task.hosts
    return task.changed or bool(task.hosts)


# --- kills ---


class Kills:
    """The kills of one operation, and the state of the fleet after each command."""

    def __init__(self, operation: Operation, options: argparse.Namespace) -> None:
        self.operation, self.options = operation, options
        self.hosts = [name for name in NODES if name != LEAVING or not operation.leaves]
        self.rows: list[list[Row]] = []
        self.broken = ""
        self.references: list[fleet.Things] = []
        operation.prepare()
        for command in operation.commands:
            tasks = tasks_of(command)
            self.rows.append(rows_of((operation.name, command.name), tasks, options))
            self.references.append(fleet.things())
            if left := fleet.unfinished(self.references[-1]):
                raise RuntimeError(f"{command.name} was not killed, and has left: {', '.join(left)}")
            print(f"{command.name}: {len(tasks)} tasks, {len(self.rows[-1])} kills", flush=True)
        if operation.alike:
            count = len(operation.commands)
            self.rows = [self.rows[0][turn::count] for turn in range(count)]

    def groups(self) -> Iterator[list[Row]]:
        """Let the commands take turns, kill each several times in a row, and yield the results.

        :raises RuntimeError: a command that is not killed fails, so the operation cannot go on.
        """
        while any(self.rows):
            for number, command in enumerate(self.operation.commands):
                command.prepare()
                if self.rows[number]:
                    yield self._group(number)
                    if self.broken:
                        raise RuntimeError(self.broken)
                else:
                    must(command.words)
        if problem := _changed_again(self.operation.commands[-1]):
            yield [Row(self.operation.name, self.operation.commands[-1].name, 0, "", "", problems=[problem])]

    def _group(self, number: int) -> list[Row]:
        """Kill a command several times, repeat it, and put into the rows what is wrong then.

        After a run that ended before it could be killed, nothing is left for the others to change: their turn comes
        later.
        """
        command, flows = self.operation.commands[number], Flows(self.hosts, FLOWS, FLOW_INTERVAL)
        size, rows = self.options.group, list[Row]()
        ordered = sorted(self.rows[number][:size], key=lambda row: row.number)
        with flows:
            while ordered and (not rows or rows[-1].killed):
                rows.append(ordered.pop(0))
                _kill(command, rows[-1])
            self.rows[number][:size] = ordered
            problems = list(_repeated(command))
            self.broken = "" if len(problems) < MOST_FAILURES else problems[-1]
            problems += [] if self.broken else fleet.problems(self.references[number], self.operation.leaves)
        gap = flows.longest_gap()
        if gap > CONFIRM_SECONDS:
            problems.append(f"Pods were without their network for {gap:.1f} s:\n{flows}")
        rows[-1].problems = problems
        for row in rows:
            row.gap = gap
        return rows


def _kill(command: Command, row: Row) -> None:
    with tempfile.TemporaryDirectory() as directory:
        done = Path(directory, "done")
        run(
            command.words,
            KILL_AT=str(row.number),
            KILL_HOW=row.how,
            KILL_HOST=VICTIM,
            KILL_DELAY=f"{row.delay:.3f}",
            KILL_DONE=str(done),
        )
        row.killed = done.exists()


def _repeated(command: Command) -> Iterator[str]:
    """Repeat a killed command until it succeeds; yield each failure."""
    for _time in range(MOST_FAILURES):
        code, text = run(command.words)
        if code == 0:
            return
        yield f"repeated, it ended with {code}: {' '.join(text[-2500:].split())}"


def _changed_again(command: Command) -> str:
    """Run a command once more; name the hosts that it changes."""
    words = SITE if command.loses_ledger else command.words
    hosts = re.findall(r"^(\S+) +: ok=\d+ +changed=[1-9]", must(words), re.MULTILINE)
    return f"one more run changes {', '.join(hosts)}" if hosts else ""


# --- the program ---


def main() -> int:
    """Run the kills of the command line, and print a line for each, and a table."""
    parser = argparse.ArgumentParser(description="Kill runs of the playbooks at each of their tasks.")
    operations = {each.name: each for each in OPERATIONS}
    parser.add_argument("--operation", nargs="*", choices=operations, default=[])
    parser.add_argument("--how", nargs="*", choices=HOWS, default=HOWS)
    parser.add_argument("--every", type=int, default=1, help="only every n-th kill of each way")
    parser.add_argument("--offset", type=int, default=0, help="which ones, less than n: 0 to n - 1 together are all")
    parser.add_argument("--complete", action="store_true", help="also kills that cannot differ from another one")
    parser.add_argument("--group", type=int, default=1, help="how many killed runs before one that is not killed")
    parser.add_argument("--result", type=Path, help="a file to which a line of JSON is added for each kill")
    options = parser.parse_args()
    rows: list[Row] = []
    with both_ports():
        for name in options.operation or operations:
            for row in itertools.chain.from_iterable(groups_of(operations[name], options)):
                print(row, flush=True)
                rows.append(row)
                if options.result:
                    with options.result.open("a") as stream:
                        stream.write(json.dumps(dataclasses.asdict(row)) + "\n")
    print(f"\n{table(rows)}")
    return 1 if any(row.problems for row in rows) or not any(row.killed for row in rows) else 0


def groups_of(operation: Operation, options: argparse.Namespace) -> Iterator[list[Row]]:
    """Kill the commands of an operation. Afterwards the fleet is as it was, also if the operation cannot go on."""
    try:
        yield from Kills(operation, options).groups()
    except RuntimeError as error:
        yield [Row(operation.name, "", 0, "", "", problems=[f"cannot go on: {' '.join(str(error)[-2500:].split())}"])]
        if not LEDGER.exists():
            LEDGER.with_suffix(".lost").rename(LEDGER)
    must(SITE)
    must(("tests/lab/pods.yml",))


if __name__ == "__main__":
    sys.exit(main())

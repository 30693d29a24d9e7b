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
way, one more run must change nothing.

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

BEFORE, AFTER_DELAY, ON_RESULT = ("begin",), ("during", "interrupt", "terminate"), ("middle", "main")
ON_HOST = ("returned", "worker", "module", "connection")
HOWS = (*BEFORE, "middle", "returned", "module", "during", "main", "worker", "connection", "interrupt", "terminate")
FRACTIONS = (0.5, 0.25, 0.75, 0.1)
"""Which part of the time of a task a delay is; the kills of one way take turns."""

VICTIM = "cloud1"
CONFIRM_SECONDS = 30.0
"""Default of overlay_confirm_timeout: after this time a host has rolled an unconfirmed change back."""
FLOWS, FLOW_INTERVAL = 12, 0.1


@dataclasses.dataclass
class Row:
    """The result of one kill; ``problems`` is empty if all held."""

    command: str
    number: int
    task: str
    how: str
    delay: float = 0
    killed: bool = False
    problems: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        end = "".join(f"\n    {problem}" for problem in self.problems)
        what = f"{self.delay:.2f} s" if self.delay else ""
        task = self.task if self.killed else f"{self.task} (not reached)"
        return f"{self.command:<8} {self.how:<10} {self.number:>3} {what:<7} {task}{end}"


@dataclasses.dataclass
class Part:
    """The results of one way of an operation."""

    operation: str
    how: str
    rows: list[Row]
    gap: float = 0
    problems: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        killed = sum(row.killed for row in self.rows)
        wrong = sum(bool(row.problems) for row in self.rows) + len(self.problems)
        end = "".join(f"\n    {problem}" for problem in self.problems)
        return (
            f"{self.operation:<8} {self.how:<10} {killed:>3} kills, {wrong} problems, longest gap {self.gap:.1f} s{end}"
        )


# --- which kills ---


def rows_of(command: Command, tasks: Sequence[Task], how: str, complete: bool) -> list[Row]:
    """Return the kills of a command in one way."""
    chosen = [task for task in tasks if complete or differs(task, tasks, how)]
    delayed = how in (*AFTER_DELAY, "module", "connection")
    return [
        Row(command.name, task.number, task.name, how, task.seconds * fraction if delayed else 0)
        for task, fraction in zip(chosen, itertools.cycle(FRACTIONS))
    ]


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


def kill(operation: Operation, command: Command, row: Row, reference: fleet.Things) -> None:
    """Kill a command once, repeat it, and put into the row what is wrong then."""
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
    code, text = run(command.words)
    if code != 0:
        row.problems.append(f"repeated, it ended with {code}: {' '.join(text[-2500:].split())}")
        code, text = run(command.words)
    if code != 0:
        row.problems.append(f"again, it ended with {code}: {' '.join(text[-2500:].split())}")
        raise RuntimeError(row.problems[-1])
    row.problems += fleet.problems(reference, operation.leaves)


class Kills:
    """The kills of one operation, and the state of the fleet after each command."""

    def __init__(self, operation: Operation, options: argparse.Namespace) -> None:
        self.operation, self.options = operation, options
        self.tasks: list[list[Task]] = []
        self.references: list[fleet.Things] = []
        for command in operation.commands:
            self.tasks.append(tasks_of(command))
            self.references.append(fleet.things())
            print(f"{command.name}: {len(self.tasks[-1])} tasks", flush=True)

    def parts(self) -> Iterator[Part]:
        """Kill in each way; print each kill."""
        hosts = [name for name in NODES if name != LEAVING or not self.operation.leaves]
        for how in self.options.how:
            part = Part(self.operation.name, how, [])
            flows = Flows(hosts, FLOWS, FLOW_INTERVAL)
            try:
                with flows:
                    last = self._kill_all(part)
            except RuntimeError as error:
                part.problems.append(f"cannot go on: {error}")
                yield part
                raise
            part.gap = flows.longest_gap()
            if part.gap > CONFIRM_SECONDS:
                part.problems.append(f"Pods were without their network for {part.gap:.1f} s:\n{flows}")
            part.problems += [] if last is None else _changed_again(last)
            yield part

    def _turns(self, how: str) -> Iterator[tuple[int, Row | None]]:
        """Yield the number of a command, and where to kill it, as the commands take turns; ``None``: not at all."""
        commands, options = self.operation.commands, self.options
        pairs = zip(commands, self.tasks, strict=True)
        queues = [rows_of(command, tasks, how, options.complete) for command, tasks in pairs]
        if self.operation.alike:
            queues = [queues[0][turn :: len(commands)] for turn in range(len(commands))]
        shift = HOWS.index(how) + options.offset
        queues = [[row for n, row in enumerate(queue) if (n + shift) % options.every == 0] for queue in queues]
        for rows in itertools.zip_longest(*queues):
            yield from enumerate(rows)

    def _kill_all(self, part: Part) -> Command | None:
        command = None
        for number, row in self._turns(part.how):
            command = self.operation.commands[number]
            command.prepare()
            if row is None:
                must(command.words)
                continue
            part.rows.append(row)
            try:
                kill(self.operation, command, row, self.references[number])
            finally:
                print(row, flush=True)
        return command


def _changed_again(command: Command) -> list[str]:
    """Run a command once more; return the hosts that it changes."""
    if command.loses_ledger:
        command = Command("site", SITE)
    hosts = re.findall(r"^(\S+) +: ok=\d+ +changed=[1-9]", must(command.words), re.MULTILINE)
    return [f"one more run changes {', '.join(hosts)}"] if hosts else []


# --- the program ---


def main() -> int:
    """Run the kills of the command line, and print a line for each."""
    parser = argparse.ArgumentParser(description="Kill runs of the playbooks at each of their tasks.")
    parser.add_argument("--operation", nargs="*", choices=[each.name for each in OPERATIONS], default=[])
    parser.add_argument("--how", nargs="*", choices=HOWS, default=HOWS)
    parser.add_argument("--every", type=int, default=1, help="only every n-th kill")
    parser.add_argument("--offset", type=int, default=0, help="which ones, less than n: 0 to n - 1 together are all")
    parser.add_argument("--complete", action="store_true", help="also kills that cannot differ from another one")
    parser.add_argument("--result", type=Path, help="a file to which a line of JSON is added for each way")
    options = parser.parse_args()
    parts: list[Part] = []
    with both_ports():
        for operation in OPERATIONS:
            if operation.name in (options.operation or [operation.name]):
                for part in parts_of(operation, options):
                    print(part, flush=True)
                    parts.append(part)
                    if options.result:
                        with options.result.open("a") as stream:
                            stream.write(json.dumps(dataclasses.asdict(part)) + "\n")
    print("", *parts, sep="\n")
    wrong = [part for part in parts if part.problems or any(row.problems for row in part.rows)]
    return 1 if wrong or not any(row.killed for part in parts for row in part.rows) else 0


def parts_of(operation: Operation, options: argparse.Namespace) -> Iterator[Part]:
    """Kill the commands of an operation. Afterwards the fleet is as it was, also if the operation cannot go on."""
    try:
        yield from Kills(operation, options).parts()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        if not LEDGER.exists():
            LEDGER.with_suffix(".lost").rename(LEDGER)
    must(SITE)
    must(("tests/lab/pods.yml",))


if __name__ == "__main__":
    sys.exit(main())

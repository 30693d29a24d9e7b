#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Kill runs of the playbooks with SIGKILL at each of their tasks, and check what the next run makes of it.

For each operation (a node is added, a node is released, the port of the tunnel changes, a roll-out of another MTU, the
ledger is rebuilt), an uninterrupted run gives the list of tasks. Then the operation is killed at each task: before the
task reaches a host (``begin``), after it has ended on the first host (``middle``), and on one host only (``module``).
The same command, repeated, must then succeed; no node CIDR may be given twice, none may stay pending, each host must
have the node CIDR of the ledger; tke.overlay.verify must find the network healthy; and Pods of hosts that are not added
or released must never be without their network for longer than the time in which a change is confirmed.

Requires a running lab in which tke.overlay.site and tests/lab/cluster.yml have run.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from flows import Flows
from stories import INVENTORY, LEDGER, NODES, ROOT, ledger, on
from tkelab.model import ROUTER

CALLBACKS = Path(__file__).with_name("callbacks")
HOWS = ("begin", "middle", "module")
LEAVING = "idc2"
VICTIM = "cloud1"
CONFIRM_SECONDS = 30.0
"""Default of overlay_confirm_timeout: after this time a host has rolled an unconfirmed change back."""
FLOWS = 12
OTHER_PORT = "4789"

SITE = ("tke.overlay.site",)
RELEASE = ("tke.overlay.release", "-e", f"overlay_release={LEAVING}", "-e", "overlay_release_confirmed=true")


@dataclasses.dataclass(frozen=True)
class Operation:
    """What is killed.

    ``commands`` are taken in turns, so that each has something to change. ``prepare`` precedes each of them.
    ``lost_ledger`` means that the ledger is taken away before. ``leaves`` is whether LEAVING has no Pods meanwhile.
    ``variables`` means that the commands set variables of the fleet, which a check of it needs as well.
    """

    name: str
    commands: Sequence[Sequence[str]]
    prepare: Sequence[Sequence[str]] = ()
    lost_ledger: bool = False
    leaves: bool = False
    variables: bool = False


OPERATIONS = (
    Operation("add", [SITE], prepare=[SITE, RELEASE], leaves=True),
    Operation("release", [RELEASE], prepare=[SITE], leaves=True),
    Operation("port", [(*SITE, "-e", f"overlay_port={port}") for port in (OTHER_PORT, 8472)], variables=True),
    Operation(
        "rollout",
        [("tke.overlay.rollout", "-e", f"overlay_underlay_mtu={mtu}") for mtu in (1440, 1450)],
        variables=True,
    ),
    Operation("rebuild", [("tke.overlay.rebuild_ledger",)], lost_ledger=True),
)


@dataclasses.dataclass
class Row:
    """The result of one kill; ``problems`` is empty if all held."""

    operation: str
    number: int
    task: str
    how: str
    killed: bool = False
    gap: float = 0
    lost: str = ""
    problems: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        what = "not reached" if not self.killed else f"longest gap {self.gap:.1f} s"
        end = "".join(f"\n    {problem}" for problem in self.problems)
        return f"{self.operation:<8} {self.number:>3} {self.how:<7} {what:<20} {self.task}{end}"


# --- runs ---


def run(command: Sequence[str], **settings: str) -> tuple[int, str]:
    """Run a playbook, which can be killed; return its exit code and its output."""
    kept = ("ANSIBLE_SSH_CONTROL_PATH_DIR",)
    environment = {key: value for key, value in os.environ.items() if key in kept or not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), NO_COLOR="1")
    if settings:
        environment.update(ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS), ANSIBLE_CALLBACKS_ENABLED="kill_at", **settings)
    with tempfile.TemporaryFile() as output:  # children that outlive a killed run would keep a pipe open
        done = subprocess.run(
            ["ansible-playbook", "-i", str(INVENTORY), *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            check=False,
        )
        output.seek(0)
        return done.returncode, output.read().decode("utf-8", "replace")


def must(command: Sequence[str]) -> None:
    """Run a playbook that must succeed.

    :raises RuntimeError: it did not.
    """
    code, text = run(command)
    if code != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{text}")


def prepare(operation: Operation) -> None:
    """Bring the fleet to the state before the operation. A node is drained before it is released."""
    if operation.leaves:
        on(LEAVING, "lab-pod del pod-1 pod-2")
    for command in operation.prepare:
        must(command)
    if operation.lost_ledger:
        LEDGER.rename(LEDGER.with_suffix(".lost"))


def tasks_of(operation: Operation, command: Sequence[str]) -> list[str]:
    """Return the tasks of an uninterrupted run."""
    prepare(operation)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "tasks")
        code, text = run(command, KILL_TASKS=str(path))
        if code != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{text}")
        return path.read_text().splitlines()


@contextlib.contextmanager
def both_ports() -> Iterator[None]:
    """Let the other port of the tunnel pass the router as well, as the guide asks for."""
    rule = ("inet", "lab", "forward")
    _on_router("insert", "rule", *rule, "udp", "dport", OTHER_PORT, "accept")
    try:
        yield
    finally:
        for line in _on_router("-a", "list", "chain", *rule).splitlines():
            words, _hash, handle = line.partition(" # handle ")
            if words.split() == ["udp", "dport", OTHER_PORT, "accept"]:
                _on_router("delete", "rule", *rule, "handle", handle)


def _on_router(*command: str) -> str:
    words = ["ip", "netns", "exec", ROUTER, "nft", *command]
    return subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout


# --- checks ---


def unsound() -> Iterator[str]:
    """Yield what is wrong with the ledger, and with hosts that differ from it."""
    document = ledger()
    held = {name: node["node_cidr"] for name, node in document["nodes"].items()}
    taken = [*held.values(), *document["pending"]]
    if twice := sorted({cidr for cidr in taken if taken.count(cidr) > 1}):
        yield f"in the ledger twice: {', '.join(twice)}"
    for cidr, waiting in document["pending"].items():
        if waiting["on"]:
            yield f"{cidr} of {waiting['node']} is still pending on {', '.join(waiting['on'])}"
    for name, wanted in held.items():
        found = on(name, "sed -n 's/^node_cidr: *//p' /etc/tke-overlay/summary").strip()
        if found != wanted:
            yield f"{name} has {found}, and {wanted} in the ledger"


def recovered(operation: Operation, command: Sequence[str]) -> Iterator[str]:
    """Repeat the killed command, then check the fleet; yield what is wrong."""
    code, text = run(command)
    if code != 0:
        yield f"repeated, it ended with {code}: {' '.join(text[-1500:].split())}"
        return
    yield from unsound()
    code, text = run(("tke.overlay.verify", *(command[1:] if operation.variables else ())))
    if code != 0:
        yield f"tke.overlay.verify ended with {code}: {' '.join(text[-1500:].split())}"


def kill(operation: Operation, command: Sequence[str], row: Row) -> None:
    """Kill the operation once, and put into the row what was found."""
    prepare(operation)
    hosts = [name for name in NODES if name != LEAVING or not operation.leaves]
    with tempfile.TemporaryDirectory() as directory:
        done = Path(directory, "done")
        settings = {"KILL_AT": str(row.number), "KILL_HOW": row.how, "KILL_HOST": VICTIM, "KILL_DONE": str(done)}
        flows = Flows(hosts, FLOWS)
        with flows:
            run(command, **settings)
            row.killed = done.exists()
            row.problems += recovered(operation, command)
        row.gap, row.lost = flows.longest_gap(), str(flows) if flows.lost() else ""
    if row.gap > CONFIRM_SECONDS:
        row.problems.append(f"Pods were without their network for {row.gap:.1f} s:\n{flows}")


# --- the program ---


def rows_of(operation: Operation, tasks: Sequence[str], hows: Sequence[str], every: int) -> Iterator[Row]:
    """Yield the kills of an operation: every n-th task, another residue for each way."""
    for shift, how in enumerate(hows):
        for number, task in enumerate(tasks, 1):
            if (number + shift) % every == 0:
                yield Row(operation.name, number, task, how)


def kills_of(operation: Operation, hows: Sequence[str], every: int) -> Iterator[Row]:
    """Kill an operation at its tasks; print and yield each result."""
    commands = itertools.cycle(operation.commands)
    tasks = tasks_of(operation, next(commands))
    print(f"{operation.name}: {len(tasks)} tasks", flush=True)
    for row in rows_of(operation, tasks, hows, every):
        kill(operation, next(commands), row)
        print(row, flush=True)
        yield row
    must(SITE)
    must(("tests/lab/pods.yml",))


def main() -> int:
    """Run the kills of the command line, and print a line for each."""
    parser = argparse.ArgumentParser(description="Kill runs of the playbooks at each of their tasks.")
    parser.add_argument("--operation", nargs="*", choices=[each.name for each in OPERATIONS], default=[])
    parser.add_argument("--how", nargs="*", choices=HOWS, default=HOWS)
    parser.add_argument("--every", type=int, default=1, help="only every n-th task")
    parser.add_argument("--result", type=Path, help="where to write the table as JSON")
    options = parser.parse_args()
    with both_ports():
        chosen = [each for each in OPERATIONS if each.name in (options.operation or [each.name])]
        rows = [row for each in chosen for row in kills_of(each, options.how, options.every)]
    if options.result:
        options.result.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1) + "\n")
    killed, failed = [row for row in rows if row.killed], [row for row in rows if row.problems]
    print(
        f"{len(killed)} kills of {len(rows)}, longest gap {max((row.gap for row in killed), default=0):.1f} s; ", end=""
    )
    print(f"{len(failed)} with problems")
    return 1 if failed or not killed else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The operations that are killed, how to run their commands, and what tasks a command has."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stories import INVENTORY, LEDGER, NODES, ROOT, on
from tkelab.model import ROUTER

CALLBACKS = Path(__file__).with_name("callbacks")
LEAVING = "idc2"
OTHER_PORT = "4789"
HANGING = 240
"""Seconds after which a run is stopped: it hangs."""

SITE = ("tke.overlay.site",)
RELEASE = ("tke.overlay.release", "-e", f"overlay_release={LEAVING}", "-e", "overlay_release_confirmed=true")


@dataclasses.dataclass(frozen=True)
class Command:
    """A run of a playbook. It has nothing to do after an uninterrupted run of itself.

    ``drains`` means that the Pods of LEAVING are deleted before. ``loses_ledger`` means that the ledger is taken away
    before.
    """

    name: str
    words: Sequence[str]
    drains: bool = False
    loses_ledger: bool = False

    def prepare(self) -> None:
        """Do what an administrator does before."""
        if self.drains:
            on(LEAVING, "lab-pod del pod-1 pod-2")
        if self.loses_ledger:
            LEDGER.replace(LEDGER.with_suffix(".lost"))


@dataclasses.dataclass(frozen=True)
class Operation:
    """Commands that take turns, so that each makes what the next one has to change.

    ``alike`` means that they have the same tasks. ``leaves`` is whether LEAVING has no Pods meanwhile. ``starts_with``
    is a command after which the Pods start again, if they must have an MTU that suits all commands.
    """

    name: str
    commands: Sequence[Command]
    alike: bool = True
    leaves: bool = False
    starts_with: Sequence[str] = ()

    def prepare(self) -> None:
        """Start the Pods again if they need it."""
        if not self.starts_with:
            return
        must(self.starts_with)
        for name in NODES:
            on(name, "lab-pod del pod-1 pod-2")
        must(("tests/lab/cluster.yml",))


OPERATIONS = (
    Operation("node", [Command("release", RELEASE, drains=True), Command("add", SITE)], alike=False, leaves=True),
    Operation("port", [Command("port", (*SITE, "-e", f"overlay_port={port}")) for port in (OTHER_PORT, 8472)]),
    Operation(
        "rollout",
        [Command("rollout", ("tke.overlay.rollout", "-e", f"overlay_underlay_mtu={mtu}")) for mtu in (1450, 1440)],
        starts_with=(*SITE, "-e", "overlay_underlay_mtu=1440"),
    ),
    Operation("rebuild", [Command("rebuild", ("tke.overlay.rebuild_ledger",), loses_ledger=True)]),
)


@dataclasses.dataclass
class Task:
    """A task of a run: how long it takes, whether a host changes, and the hosts on which it runs a command."""

    number: int
    name: str
    seconds: float = 0
    changed: bool = False
    hosts: set[str] = dataclasses.field(default_factory=set)


def run(command: Sequence[str], **settings: str) -> tuple[int, str]:
    """Run a playbook, which can be killed; return its exit code and its output."""
    kept = ("ANSIBLE_SSH_CONTROL_PATH_DIR",)
    environment = {key: value for key, value in os.environ.items() if key in kept or not key.startswith("ANSIBLE_")}
    environment.update(ANSIBLE_CONFIG=str(ROOT / "ansible.cfg"), NO_COLOR="1")
    if settings:
        environment.update(ANSIBLE_CALLBACK_PLUGINS=str(CALLBACKS), ANSIBLE_CALLBACKS_ENABLED="kill_at", **settings)
    with tempfile.TemporaryFile() as output:  # children that outlive a killed run would keep a pipe open
        process = subprocess.Popen(
            ["ansible-playbook", "-i", str(INVENTORY), *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            code = process.wait(HANGING)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        except BaseException:  # such as Ctrl-C, which the run does not get: it has a session of its own
            process.terminate()
            process.wait()
            raise
        output.seek(0)
        return code, output.read().decode("utf-8", "replace")


def must(command: Sequence[str]) -> str:
    """Run a playbook that must succeed, and return its output.

    :raises RuntimeError: it did not.
    """
    code, text = run(command)
    if code != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{text}")
    return text


def tasks_of(command: Command) -> list[Task]:
    """Run a command uninterrupted, and return its tasks."""
    command.prepare()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "tasks")
        code, text = run(command.words, KILL_TASKS=str(path))
        if code != 0:
            raise RuntimeError(f"{' '.join(command.words)} ended with {code}:\n{text}")
        return _tasks([json.loads(line) for line in path.read_text().splitlines()])


def _tasks(notes: Sequence[dict[str, Any]]) -> list[Task]:
    starts = [note for note in notes if "task" in note]
    tasks = [Task(note["task"], note["name"]) for note in starts]
    for task, start, end in zip(tasks, starts, starts[1:], strict=False):
        task.seconds = end["time"] - start["time"]
    for note in notes:
        if "changed" in note:
            tasks[note["changed"] - 1].changed = True
        if "command" in note:
            tasks[note["command"] - 1].hosts.add(note["host"])
    return tasks


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

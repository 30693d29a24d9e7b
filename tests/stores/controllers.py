# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Controllers that allocate and release node CIDRs at once, each a process, and the history of what they saw."""

from __future__ import annotations

import json
import multiprocessing
import os
import pathlib
import signal
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import Any

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import (
    IndeterminateWriteError,
    Store,
    open_store,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import newest, number_of
from linearizability import AllocatorModel, Operation
from members import until

FORK = multiprocessing.get_context("fork")
NOW = "2026-01-02T03:04:05Z"
POOL = Pool(["10.0.0.0/18"], 256, 256)
MODEL = AllocatorModel(POOL.size)
"""63 node CIDRs, so that 16 controllers go round the pool again and again."""


class Client:
    """One controller: it does what a run of a playbook does, and writes down what it saw."""

    def __init__(self, store: Store, report: pathlib.Path) -> None:
        self._store = store
        self._report = os.open(report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.clear = True  # whether the last operation was carried out

    def allocate(self, name: str) -> None:
        self._operate("allocate", name)

    def release(self, name: str) -> None:
        self._operate("release", name)

    def read(self) -> None:
        self._operate("read", "")

    def _operate(self, what: str, name: str) -> None:
        """Do one operation. Its beginning is written before, so a process that is killed leaves it without an end."""
        self._note({"what": what, "argument": name, "begin": time.monotonic_ns()})
        try:
            output = self._result(what, name)
        except IndeterminateWriteError as error:
            self.clear = False
            self._note({"unknown": str(error)})
        except ValidationError as error:
            self.clear = False
            self._note({"nothing": str(error)})
        else:
            self.clear = True
            self._note({"end": time.monotonic_ns(), "output": output})

    def _result(self, what: str, name: str) -> Any:
        if what == "read":
            ledger = ledger_in(self._store.read())
            return [sorted(held_in(ledger).items()), version_of(ledger)]
        outputs: list[Any] = []

        def change(text: str | None) -> str:
            ledger = ledger_in(text)
            if what == "allocate":
                ledger.assign([Request(name)], NOW)
                number: int | None = POOL.number(ledger.nodes[name].node_cidr)
            else:
                released = ledger.release([name], [], NOW)
                number = POOL.number(released[name]) if released else None
            after = ledger.text()
            outputs.append([number, version_of(ledger_in(after))])
            return after

        self._store.transact(change)
        return outputs[-1]

    def _note(self, line: dict[str, Any]) -> None:
        os.write(self._report, f"{json.dumps(line)}\n".encode())  # one call: a line is there or not


def begin(store: Store) -> None:
    """Write an empty ledger."""
    store.transact(lambda _text: Ledger("demo", POOL).text())


def ledger_in(text: str | None) -> Ledger:
    """Return the ledger; loading rejects one in which two nodes share a node CIDR."""
    assert text is not None
    return parse(text, "here", "demo")


def held_in(ledger: Ledger) -> dict[str, int]:
    return {name: POOL.number(held.node_cidr) for name, held in ledger.nodes.items()}


def version_of(ledger: Ledger) -> int:
    return number_of(newest(ledger.recorded))


def _work(url: str, place: tuple[pathlib.Path, int], stop: Any, lives: int) -> None:
    """Let nodes come and go until the end. An operation that may have been carried out is done again."""
    directory, worker = place
    client, number = Client(open_store(url), directory / f"{worker}.{lives}"), 0
    if lives:
        client.release(_last_name(directory / f"{worker}.{lives - 1}"))
    while not stop.is_set():
        name = f"n{worker}.{lives}.{number}"
        for operation in client.allocate, client.release:
            operation(name)
            while not client.clear and not stop.is_set():
                operation(name)
        if number % 5 == worker % 5:
            client.read()
        number += 1


def _last_name(report: pathlib.Path) -> str:
    """Return the node on which a killed controller worked last, or one that does not exist."""
    notes = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    return next((str(note["argument"]) for note in reversed(notes) if note.get("argument")), "none")


class Controllers:
    """So many processes; use it as a context. At its end, each finishes its operation."""

    def __init__(self, url: str, directory: pathlib.Path, count: int) -> None:
        directory.mkdir()
        self.url, self.directory = url, directory
        self._stop = FORK.Event()
        self._lives = dict.fromkeys(range(count), 0)
        self._processes: dict[int, BaseProcess] = {}

    def __enter__(self) -> Controllers:
        for worker in self._lives:
            self._start(worker)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        for process in self._processes.values():
            process.join()
            assert process.exitcode == 0

    def _start(self, worker: int) -> None:
        arguments = (self.url, (self.directory, worker), self._stop, self._lives[worker])
        self._processes[worker] = FORK.Process(target=_work, args=arguments)
        self._processes[worker].start()

    def kill(self, worker: int) -> None:
        """Kill a controller in the middle of what it does, and start another one."""
        self._processes[worker].kill()
        self._processes[worker].join()
        self._lives[worker] += 1
        self._start(worker)

    def pause(self, worker: int) -> None:
        """Stop a controller in the middle of what it does: what it has read becomes outdated."""
        self._signal(worker, signal.SIGSTOP)

    def resume(self) -> None:
        for worker in self._processes:
            self._signal(worker, signal.SIGCONT)

    def _signal(self, worker: int, number: signal.Signals) -> None:
        pid = self._processes[worker].pid
        assert pid is not None
        os.kill(pid, number)

    def go_on(self, operations: int) -> None:
        """Wait until so many more operations were carried out."""
        enough = len(list(self.ends())) + operations
        until(lambda: len(list(self.ends())) >= enough, 120)

    def ends(self) -> Iterator[Operation]:
        return (operation for operation in _recorded(self.directory) if operation.end is not None)


def history(directory: pathlib.Path) -> list[Operation]:
    """Return all operations that had, or may have had, an effect."""
    return list(_recorded(directory))


def _recorded(directory: pathlib.Path) -> Iterator[Operation]:
    for path in sorted(directory.iterdir()):
        begun: dict[str, Any] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            note = json.loads(line)
            if "end" in note:
                shown, version = note["output"]
                output = (frozenset(map(tuple, shown)) if begun["what"] == "read" else shown, version)
                yield Operation(begun["what"], begun["argument"], output, begun["begin"], note["end"])
            elif "unknown" in note:
                yield Operation(begun["what"], begun["argument"], None, begun["begin"], None)
            begun = note if "begin" in note else {}
        if begun:
            yield Operation(begun["what"], begun["argument"], None, begun["begin"], None)


def errors(directory: pathlib.Path) -> list[str]:
    """Return all messages that said that nothing was changed, or that it is not known."""
    notes = [json.loads(line) for path in directory.iterdir() for line in path.read_text(encoding="utf-8").splitlines()]
    return [note[kind] for note in notes for kind in ("unknown", "nothing") if kind in note]

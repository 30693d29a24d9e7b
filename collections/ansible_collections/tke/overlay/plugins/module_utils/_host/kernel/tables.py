# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernel tables: the actual entries, the desired entries, and the pending changes between them.

A packet to a Pod on another node passes three tables, so each peer needs exactly
three kernel objects:

1. the *route* to the peer's node CIDR sends the packet to the peer's VTEP address
   through the VXLAN device (``onlink``, because the VTEP is in no connected network);
2. the *neighbour* entry of that VTEP address gives the MAC for the inner Ethernet
   header; it is permanent, because ARP does not cross the tunnel;
3. the *FDB* entry of that MAC gives the underlay address to which the VXLAN device
   sends the outer packet.

Without the route, the packet leaves through the default route, unencapsulated;
without one of the other two, the kernel drops it. Therefore a route is added
after the other two entries and removed before them.

:func:`compare` treats all tables alike: a table is a mapping from a key to a
specification, both in the syntax of iproute2. So the text that is compared is also
the text that a user sees in a diff and that ``ip -batch`` or ``bridge -batch`` takes.
"""

from __future__ import annotations

import json
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError

Output = t.Tuple[int, str, str]
"""Exit code, standard output and standard error of a program."""

Run = t.Callable[[t.Sequence[str], t.Optional[str]], Output]
"""Runs a program with a text on its standard input."""

Job = t.Tuple[t.Sequence[str], t.Optional[str]]
"""A program with its arguments, and a text on its standard input."""

Together = t.Callable[[t.Sequence[Job]], t.List[Output]]
"""Runs several programs at the same time."""

Desired = t.Dict[str, str]
"""Key -> specification of every entry that a table must have."""


class Diff(t.NamedTuple):
    """One object before and after a change, as text."""

    name: str
    before: str
    after: str


class ActualEntry(t.NamedTuple):
    """An entry that the kernel has."""

    spec: str
    managed: bool  # by this collection: only these are removed
    on_device: bool = True  # on the VXLAN device of the overlay


class Wanted(t.NamedTuple):
    """What a table must hold: the entries, and the batch that creates them, as it is saved."""

    entries: Desired
    batch: str


NOTHING = Wanted({}, "")
"""What a table must hold of which nothing is saved."""


class AsWanted(t.Mapping[str, ActualEntry]):
    """The actual entries of a table that holds exactly what it must, which is the usual case: nothing is made of each
    of its thousands of entries unless it is asked for."""

    def __init__(self, entries: Desired) -> None:
        self.entries = entries

    def __getitem__(self, key: str) -> ActualEntry:
        return ActualEntry(self.entries[key], managed=True)

    def __iter__(self) -> t.Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class NamedTable(t.Protocol):
    """A table for :func:`compare`, however it is read."""

    name: str


class ReadableTable(NamedTable, t.Protocol):
    """The part of one kernel table that concerns one device."""

    of_device: bool  # its entries are removed with the device, and it cannot be read without the device

    def listings(self) -> list[t.Sequence[str]]:
        """Return the commands that :meth:`read` runs, for :func:`listed_together`."""

    def read(self, run: Run, wanted: Wanted | None = None) -> t.Mapping[str, ActualEntry]:
        """Return the actual entries, by key.

        :param wanted: what the table should hold. A table that holds nothing else is read many times faster.
        """


class Table(ReadableTable, t.Protocol):
    """A table that :func:`apply` changes entry by entry. (The nftables table is replaced as a whole.)"""

    @property
    def program(self) -> t.Sequence[str]:
        """The command whose ``-batch`` takes the lines of :meth:`put` and :meth:`drop`."""

    def put(self, key: str, spec: str) -> str:
        """Return the batch line that creates or changes an entry; it has no effect on an equal entry."""

    def drop(self, key: str, spec: str) -> str:
        """Return the batch line that removes an entry."""

    def parse(self, line: str) -> tuple[str, str] | None:
        """Return key and specification of the entry that a line of :meth:`put` creates: the inverse of it.

        :returns: ``None`` for every other line.
        """


class Delta(t.NamedTuple):
    """The pending changes of a table, and the foreign entries on the device."""

    added: Desired
    changed: dict[str, tuple[str, str]]  # key -> specification before and after
    removed: Desired
    foreign: Desired

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def lines(self) -> dict[str, list[str]]:
        """Return the entries as one line each, for the result of a module."""
        return {
            "added": [f"{key} {spec}" for key, spec in self.added.items()],
            "changed": [f"{key} {old} -> {new}" for key, (old, new) in self.changed.items()],
            "removed": [f"{key} {spec}" for key, spec in self.removed.items()],
            "foreign": [f"{key} {spec}" for key, spec in self.foreign.items()],
        }

    def before(self) -> str:
        """Return the removed entries and the old ones of the changed entries, for a diff."""
        old = {**self.removed, **{key: pair[0] for key, pair in self.changed.items()}}
        return "".join(f"{key} {old[key]}\n" for key in sorted(old))

    def after(self) -> str:
        """Return the added entries and the new ones of the changed entries, for a diff."""
        new = {**self.added, **{key: pair[1] for key, pair in self.changed.items()}}
        return "".join(f"{key} {new[key]}\n" for key in sorted(new))


NO_DIFFERENCE = Delta({}, {}, {}, {})
"""That of a table which holds what it must."""


def compare(table: NamedTable, actual: t.Mapping[str, ActualEntry], desired: Desired, purge: bool = True) -> Delta:
    """Return the pending changes of a table.

    :param purge: remove managed entries that are not desired.
    :raises ValidationError: a foreign entry on another device has the key of a desired entry.
    """
    delta = Delta({}, {}, {}, {})
    if isinstance(actual, AsWanted) and actual.entries == desired:
        return delta
    taken = []
    for key, spec in desired.items():
        found = actual.get(key)
        if found is None:
            delta.added[key] = spec
        elif not (found.managed or found.on_device):
            taken.append(
                f"{table.name} {key} is required, but another program has created it as {found.spec}: "
                f"remove it, and run the playbook again"
            )
        elif found.spec != spec:
            delta.changed[key] = (found.spec, spec)
    if taken:
        raise ValidationError(*taken)
    for key, found in actual.items():
        if key in desired or not (found.managed or found.on_device):
            continue
        if not found.managed:
            delta.foreign[key] = found.spec
        elif purge:
            delta.removed[key] = found.spec
    return delta


def apply(changes: t.Sequence[tuple[Table, Delta]], run: Run) -> None:
    """Apply pending changes in few batches: first all removals in the given order, then all additions in reverse.

    Pass routes first, so that a route never points to a neighbour or FDB entry
    that does not exist.

    :raises KernelError: the kernel rejected an entry. A failed removal raises nothing, so that the other entries
        are removed all the same; the caller finds it by reading the table back.
    """
    drops = [(table.program, table.drop(key, spec)) for table, delta in changes for key, spec in delta.removed.items()]
    for program, lines in _grouped(drops):
        code, _out, _errors = run([*program, "-force", "-batch", "-"], _batch(lines))
        if code != 0:  # "ip neigh" ends the batch at its first failure, even with -force: run the lines one by one
            for line in lines:
                run([*program, *line.split()], None)
    puts = []
    for table, delta in reversed(changes):
        updates = {**delta.added, **{key: new for key, (_old, new) in delta.changed.items()}}
        puts += [(table.program, table.put(key, spec)) for key, spec in updates.items()]
    for program, lines in _grouped(puts):
        run_batch(program, lines, run)


def error_text(code: int, errors: str) -> str:
    """Return the errors of a failed program, or its exit code, for the end of a message."""
    return errors.strip() or f"exit code {code}"


def run_batch(program: t.Sequence[str], lines: t.Sequence[str], run: Run) -> None:
    """Run the lines in one process, up to the first that fails.

    A temporary shortage (ENOBUFS under load, flannel #958; EBUSY) is retried: after a pause,
    the batch continues with the line that failed.

    :param lines: can run twice without harm, as the lines of :meth:`Table.put` can.
    :raises KernelError: naming the error of the kernel and the line.
    """
    pauses = [0.05, 0.2, 0.8, 2.0]  # seconds
    while lines:
        code, _out, errors = run([*program, "-batch", "-"], _batch(lines))
        if code == 0:
            return
        number, words = _failure(program, lines, code, errors, run)
        lines = lines[number:]
        if not words:
            continue
        if not (pauses and ("No buffer space available" in words or "Device or resource busy" in words)):
            raise KernelError(f"{' '.join(words.split())} (at: {program[0]} {lines[0]})")
        time.sleep(pauses.pop(0))


def _failure(program: t.Sequence[str], lines: t.Sequence[str], code: int, errors: str, run: Run) -> tuple[int, str]:
    """Return the number of the failed line of a batch, counted from 0, and its error.

    Only ``ip neigh`` ends a batch without the number of the line: then its lines run one by one. Lines about
    links, which can precede them, must not run twice. If all succeed this time, the error is empty and the number is
    that of the line with which to continue.
    """
    words, _mark, number = errors.strip().rpartition("Command failed -:")
    if number.isdigit():
        return int(number) - 1, words.strip() or error_text(code, "")
    suspects = [position for position, line in enumerate(lines) if line.startswith("neigh ")]
    suspects = suspects or [position for position, line in enumerate(lines) if not line.startswith("link ")]
    for position in suspects:
        code_of_line, _out, words = run([*program, *lines[position].split()], None)
        if code_of_line != 0:
            return position, error_text(code_of_line, words)
    return (suspects[-1] + 1, "") if suspects else (0, error_text(code, errors))


def _batch(lines: t.Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def read_json(command: t.Sequence[str], run: Run) -> list[dict[str, t.Any]]:
    """Run a ``-json`` command of iproute2 and return its rows.

    :raises KernelError: the command failed, or printed no JSON.
    """
    code, out, errors = run(command, None)
    if code != 0:
        raise KernelError(f"{' '.join(command)}: {error_text(code, errors)}")
    try:
        rows = json.loads(out or "[]")
    except ValueError as error:
        needed = "install iproute2 5.0 or later, or 5.5 or later on hosts with multipath routes"
        raise KernelError(f"{' '.join(command)} printed no JSON ({error}): {needed}") from error
    return [row for row in rows if row]  # iproute2 5.x prints {} for each row that a filter left out


def listed_lines(command: t.Sequence[str], run: Run) -> list[str]:
    """Run a listing and return its lines.

    :raises KernelError: the command failed.
    """
    code, out, errors = run(command, None)
    if code != 0:
        raise KernelError(f"{' '.join(command)}: {error_text(code, errors)}")
    return [line.rstrip() for line in out.splitlines()]


def batch_of(lines: t.Iterable[str]) -> str:
    """Return a batch in the order of sort(1), because the restore script compares with comm(1)."""
    return "".join(sorted([f"{line}\n" for line in lines]))


def only_wanted(
    lines: t.Sequence[str], wanted: Wanted, put: t.Callable[[str, str], str]
) -> t.Mapping[str, ActualEntry] | None:
    """Return the entries of a listing that shows nothing but wanted entries, each once; ``None`` if it shows others.

    A table nearly always holds what it must, or lacks some of that, which can be seen from the lines as such. Only a
    listing with other lines has to be understood, and is then read as JSON (:func:`read_json`): each of its rows takes
    much longer.

    :param lines: the lines of the batch that creates what the listing shows.
    :param put: see :meth:`Table.put`.
    """
    if not lines:
        return {}
    if batch_of(lines) == wanted.batch:
        return AsWanted(wanted.entries)
    keys = {put(key, spec): key for key, spec in wanted.entries.items()}
    found = [keys.get(line) for line in lines]
    if len({*found} - {None}) != len(lines):
        return None
    return {key: ActualEntry(wanted.entries[key], managed=True) for key in found if key is not None}


def wanted_of(table: Table, entries: Desired) -> Wanted:
    """Return what a table must hold so that it has these entries."""
    put = table.put
    return Wanted(entries, batch_of([put(key, spec) for key, spec in entries.items()]))


def listed_together(
    commands: t.Sequence[t.Sequence[str]], run: Run, batches: t.Sequence[Job] = (), *, keep: bool = False
) -> Run:
    """Run listings at the same time, because a listing mostly waits for the kernel.

    :param batches: further listings, which read a text.
    :param keep: return a result as often as it is asked for, because nothing changes meanwhile.
    :param run: if it has the attribute ``together``, that runs the listings; otherwise nothing runs yet.
    :returns: a function that returns the result of each of these commands once, and runs all others.
    """
    together: Together | None = getattr(run, "together", None)
    if together is None:
        return run
    everything: list[Job] = [*((each, None) for each in commands), *batches]
    jobs = list(dict.fromkeys((tuple(command), text) for command, text in everything))
    results = dict(zip(jobs, together(jobs)))

    def run_or_recall(command: t.Sequence[str], text: str | None) -> Output:
        job = (tuple(command), text)
        return (results.get(job) if keep else results.pop(job, None)) or run(command, text)

    return run_or_recall


def _grouped(lines: t.Iterable[tuple[t.Sequence[str], str]]) -> t.Iterator[tuple[t.Sequence[str], list[str]]]:
    """Group adjacent lines of one program, in the given order."""
    group: list[str] = []
    current: t.Sequence[str] = ()
    for program, line in lines:
        if program != current and group:
            yield current, group
            group = []
        current = program
        group.append(line)
    if group:
        yield current, group

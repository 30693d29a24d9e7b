# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: one kernel table against what it should hold.

What a packet to a Pod on another node meets, and so why each peer needs exactly
three kernel objects:

1. the *route* for the peer's node CIDR says: by way of the peer's VTEP address, on
   our VXLAN device (``onlink``: the VTEP is in no connected network);
2. the *neighbour* entry of that VTEP address says which MAC the inner Ethernet
   header gets; permanent, because nobody answers ARP across the tunnel;
3. the *FDB* entry of that MAC says to which underlay address the VXLAN device
   sends the outer packet.

With the route missing, the packet leaves by the default route, in clear; with
one of the other two missing, it is dropped. Hence the order: the route comes
last and goes first.

All tables are alike to :func:`compare`: a mapping from a key to a specification,
both in the words of iproute2, so that what is compared, shown to the user and
handed to ``ip -batch`` or ``bridge -batch`` is one and the same text.
"""

from __future__ import annotations

import json
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError

Run = t.Callable[[t.Sequence[str], t.Optional[str]], t.Tuple[int, str, str]]
"""Runs a program with a text on its standard input; returns exit code, output and errors."""

Together = t.Callable[[t.Sequence[t.Sequence[str]]], t.List[t.Tuple[int, str, str]]]
"""Runs several programs at the same time; returns the same for each."""

Desired = t.Dict[str, str]
"""Key -> specification of every entry that a table should have."""


class Diff(t.NamedTuple):
    """One object before and after, as text."""

    name: str
    before: str
    after: str


class ActualEntry(t.NamedTuple):
    """An entry that is there. Only ``ours`` is ever removed; ``here`` is false for what is not on our device."""

    spec: str
    managed: bool
    here: bool = True


class ReadableTable(t.Protocol):
    """One kernel table, as far as it concerns one device: enough to :func:`compare` it."""

    name: str
    of_device: bool  # whether its entries go with the device, and it cannot be read without

    def listings(self) -> list[t.Sequence[str]]:
        """The commands by which :meth:`read` lists, for :func:`listed_together`."""

    def read(self, run: Run) -> dict[str, ActualEntry]:
        """What is there, by key."""


class Table(ReadableTable, t.Protocol):
    """One that is written entry by entry, as :func:`apply` does. (The rules are not: they are replaced as a whole.)"""

    @property
    def program(self) -> t.Sequence[str]:
        """The command whose ``-batch`` takes the lines of put and drop."""

    def put(self, key: str, spec: str) -> str:
        """The batch line that creates or changes an entry; harmless when it is there already."""

    def drop(self, key: str, spec: str) -> str:
        """The batch line that removes an entry."""

    def parse(self, line: str) -> tuple[str, str] | None:
        """Return key and specification of the entry that a line of :meth:`put` creates: the inverse of it.

        :returns: ``None`` for every other line.
        """


class Delta(t.NamedTuple):
    """What separates a table from what it should hold, and what was met there that is not ours."""

    added: Desired
    changed: dict[str, tuple[str, str]]  # key -> specification before and after
    removed: Desired
    foreign: Desired

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def lines(self) -> dict[str, list[str]]:
        """For the result of a module: what is added, changed and removed, an entry a line."""
        return {
            "added": [f"{key} {spec}" for key, spec in self.added.items()],
            "changed": [f"{key} {old} -> {new}" for key, (old, new) in self.changed.items()],
            "removed": [f"{key} {spec}" for key, spec in self.removed.items()],
            "foreign": [f"{key} {spec}" for key, spec in self.foreign.items()],
        }

    def before(self) -> str:
        """The entries that will not be there any more as they are, for a diff."""
        old = {**self.removed, **{key: pair[0] for key, pair in self.changed.items()}}
        return "".join(f"{key} {old[key]}\n" for key in sorted(old))

    def after(self) -> str:
        """The entries that take their place, for a diff."""
        new = {**self.added, **{key: pair[1] for key, pair in self.changed.items()}}
        return "".join(f"{key} {new[key]}\n" for key in sorted(new))


def compare(table: ReadableTable, present: t.Mapping[str, ActualEntry], wanted: Desired, purge: bool = True) -> Delta:
    """What to add, change and remove.

    :param purge: remove entries that are ours and not wanted.
    :raises ValidationError: a wanted entry's place is taken by one that is neither ours nor on our device.
    """
    delta = Delta({}, {}, {}, {})
    taken = []
    for key, spec in wanted.items():
        found = present.get(key)
        if found is None:
            delta.added[key] = spec
        elif not (found.managed or found.here):
            taken.append(f"{table.name} {key} is wanted and already there: {found.spec}; it is not ours, so remove it")
        elif found.spec != spec:
            delta.changed[key] = (found.spec, spec)
    if taken:
        raise ValidationError(*taken)
    for key, found in present.items():
        if key in wanted or not (found.managed or found.here):
            continue
        if not found.managed:
            delta.foreign[key] = found.spec
        elif purge:
            delta.removed[key] = found.spec
    return delta


def apply(changes: t.Sequence[tuple[Table, Delta]], run: Run) -> None:
    """Makes the changes in few batches: first all removals in the order given, then all additions in reverse.

    Give routes first, so that none ever points to a neighbour or FDB entry that
    is gone already or not there yet.

    :raises KernelError: an entry could not be put. A removal that fails is left to
        the caller's read-back, so that one failure does not keep the others.
    """
    drops = [(table.program, table.drop(key, spec)) for table, delta in changes for key, spec in delta.removed.items()]
    for program, lines in _grouped(drops):
        code, _out, _errors = run([*program, "-force", "-batch", "-"], _batch(lines))
        if code != 0:  # "ip neigh" ends the whole batch at its first failure, -force or not: so one by one
            for line in lines:
                run([*program, *line.split()], None)
    puts = []
    for table, delta in reversed(changes):
        news = {**delta.added, **{key: new for key, (_old, new) in delta.changed.items()}}
        puts += [(table.program, table.put(key, spec)) for key, spec in news.items()]
    for program, lines in _grouped(puts):
        run_batch(program, lines, run)


def error_text(code: int, errors: str) -> str:
    """What a program that failed says against it, for the end of a sentence."""
    return errors.strip() or f"exit code {code}"


def run_batch(program: t.Sequence[str], lines: t.Sequence[str], run: Run) -> None:
    """Runs the lines in one process, stopping at the first that fails.

    Shortage (ENOBUFS under load, flannel #958; EBUSY) passes by itself: the batch
    goes on from the line that met it, after a pause.

    :param lines: harmless to run twice, as the lines of :meth:`Table.put` are.
    :raises KernelError: with the kernel's words and the line they are about.
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
    """Which line of a batch failed, counted from 0, and the words about it; without words, from where to go on.

    Only ``ip neigh`` leaves a batch without saying at which line: then its lines are run one by one. Those of links,
    which may stand before them, cannot be run twice.
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
    """What a ``-json`` command of iproute2 lists.

    :raises KernelError: it failed, or printed something else.
    """
    code, out, errors = run(command, None)
    if code != 0:
        raise KernelError(f"{' '.join(command)}: {error_text(code, errors)}")
    try:
        rows = json.loads(out or "[]")
    except ValueError as error:
        needed = "iproute2 5.0 or later is needed, and 5.5 where there are multipath routes"
        raise KernelError(f"{' '.join(command)} printed no JSON ({error}); {needed}") from error
    return [row for row in rows if row]  # iproute2 5.x prints {} for each row that a filter left out


def listed_together(commands: t.Sequence[t.Sequence[str]], run: Run) -> Run:
    """Runs these listings at the same time, as most of a listing is waiting for the kernel, and in one go.

    :param run: whose ``together`` can do so, if it has one; else nothing is run yet.
    :returns: what answers each of the commands once, and runs all others.
    """
    together: Together | None = getattr(run, "together", None)
    if together is None:
        return run
    said = dict(zip(map(tuple, commands), together(commands)))

    def answered(command: t.Sequence[str], text: str | None) -> tuple[int, str, str]:
        return said.pop(tuple(command), None) or run(command, text)

    return answered


def _grouped(lines: t.Iterable[tuple[t.Sequence[str], str]]) -> t.Iterator[tuple[t.Sequence[str], list[str]]]:
    """Neighbouring lines of one program together, in the order given."""
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

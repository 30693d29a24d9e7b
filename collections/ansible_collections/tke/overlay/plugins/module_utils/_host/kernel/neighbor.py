# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The neighbour table of a device: VTEP address of a peer -> MAC of its VTEP."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    Run,
    Wanted,
    listed_lines,
    only_wanted,
    read_json,
)


class NeighborTable:
    """The neighbour entries of one device and IP version (4 or 6).

    Permanent entries are managed; those of ARP and neighbour discovery are foreign.
    """

    name = "neighbor"
    of_device = True

    def __init__(self, device: str, version: int = 4) -> None:
        self.device = device
        self.program = ("ip", f"-{version}")

    def listings(self) -> list[t.Sequence[str]]:
        """Return the command that lists all entries of the device."""
        return [[*self.program, "neigh", "show", "dev", self.device]]

    def read(self, run: Run, wanted: Wanted | None = None) -> t.Mapping[str, ActualEntry]:
        """Return the actual entries, by address.

        :param wanted: see :meth:`tables.ReadableTable.read`.
        """
        (listing,) = self.listings()
        found = only_wanted(self._batch_of(listed_lines(listing, run)), wanted, self.put) if wanted else None
        return self._read_rows(run) if found is None else found

    def _batch_of(self, lines: t.Iterable[str]) -> list[str]:
        """Return the batch that creates what a listing shows. A line of what is not managed becomes another text."""
        permanent = f" dev {self.device} nud permanent"
        return [f"neigh replace {line.replace(' PERMANENT', permanent)}" for line in lines]

    def _read_rows(self, run: Run) -> dict[str, ActualEntry]:
        actual = {}
        for row in read_json([*self.program, "-json", "neigh", "show", "dev", self.device], run):
            states = row.get("state", [])
            key, spec = neighbor_entry(row["dst"], row.get("lladdr", "unknown"))
            if "PERMANENT" in states:
                actual[key] = ActualEntry(spec, managed=True)
            else:
                actual[key] = ActualEntry(f"{spec} {' '.join(states).lower()}", managed=False)
        return actual

    def put(self, key: str, spec: str) -> str:
        """Return the line that creates or changes the entry of this address."""
        return f"neigh replace {key} {spec} dev {self.device} nud permanent"

    def drop(self, key: str, spec: str) -> str:
        """Return the line that removes the entry of this address."""
        return f"neigh del {key} dev {self.device}"

    def parse(self, line: str) -> tuple[str, str] | None:
        """Return key and specification of a line of :meth:`put`, ``None`` for every other line."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        entry = found["key"], found["spec"]
        return entry if self.put(*entry) == line else None


_LINE = re.compile(r"neigh replace (?P<key>\S+) (?P<spec>lladdr \S+) dev \S+ nud permanent")
"""What :meth:`NeighborTable.put` writes."""


def neighbor_entry(address: str, mac: str) -> tuple[str, str]:
    """Return key and specification of an entry.

    :param address: a numeric address, IPv6 in its short form.
    :param mac: lower case, with colons.
    """
    return address, f"lladdr {mac}"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The FDB of a VXLAN device: MAC of a peer's VTEP -> underlay address."""

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


class FdbTable:
    """The forwarding entries of one VXLAN device.

    Permanent entries are managed. Learned, dynamic and static entries are foreign:
    the kernel or another program creates and removes them.

    A unicast MAC has one destination, so the MAC is the key. A group MAC can have
    several, so its key includes the destination; the all-zero MAC, the destination
    of frames that match no other entry, counts as one. The key of an entry that
    points to a next-hop group includes the group, because ``replace`` silently
    leaves such an entry unchanged.
    """

    name = "fdb"
    of_device = True
    program = ("bridge",)

    def __init__(self, device: str) -> None:
        self.device = device

    def listings(self) -> list[t.Sequence[str]]:
        """Return the command that lists all entries of the device."""
        return [["bridge", "fdb", "show", "dev", self.device]]

    def read(self, run: Run, wanted: Wanted | None = None) -> t.Mapping[str, ActualEntry]:
        """Return the actual entries, by MAC.

        :param wanted: see :meth:`tables.ReadableTable.read`.
        """
        (listing,) = self.listings()
        found = only_wanted(self._batch_of(listed_lines(listing, run)), wanted, self.put) if wanted else None
        return self._read_rows(run) if found is None else found

    def _batch_of(self, lines: t.Iterable[str]) -> list[str]:
        """Return the batch that creates what a listing shows. A line of what is not managed becomes another text."""
        on_device = f" dev {self.device} dst "
        return [f"fdb replace {line.replace(' dst ', on_device, 1)}" for line in lines]

    def _read_rows(self, run: Run) -> dict[str, ActualEntry]:
        actual = {}
        for row in read_json(["bridge", "-json", "fdb", "show", "dev", self.device], run):
            if "dst" in row:
                key, spec = fdb_entry(row["mac"], row["dst"])
                spec += "".join(f" {word} {row[name]}" for name, word in _FOREIGN_FIELDS.items() if name in row)
            elif "nhid" in row:
                key, spec = f"{row['mac']} nhid {row['nhid']}", f"nhid {row['nhid']}"
            else:
                continue  # a multicast address to which the device listens, not a forwarding entry
            managed = row.get("state") == "permanent"
            actual[key] = ActualEntry(spec if managed else f"{spec} {row.get('state') or 'dynamic'}", managed)
        return actual

    def put(self, key: str, spec: str) -> str:
        """Return a line with ``replace``; the kernel silently ignores ``append`` on an existing unicast MAC."""
        return f"fdb replace {key.split(maxsplit=1)[0]} dev {self.device} {spec} self permanent"

    def drop(self, key: str, spec: str) -> str:
        """Return the line that removes the entry with this destination."""
        return f"fdb del {key.split(maxsplit=1)[0]} dev {self.device} {spec} self"

    def parse(self, line: str) -> tuple[str, str] | None:
        """Return key and specification of a line of :meth:`put`, ``None`` for every other line."""
        found = _LINE.fullmatch(line)
        if found is None:
            return None
        key, _spec = fdb_entry(found["mac"], found["dst"])
        entry = key, found["spec"]
        return entry if self.put(*entry) == line else None


_LINE = re.compile(
    r"fdb replace (?P<mac>[0-9a-f]{2}(?::[0-9a-f]{2}){5}) dev \S+ (?P<spec>dst (?P<dst>\S+).*) self permanent"
)
"""What :meth:`FdbTable.put` writes."""


_FOREIGN_FIELDS = {"port": "port", "vni": "vni", "src_vni": "src_vni", "viaIf": "via"}
"""Fields that this collection never sets: the name in ``bridge -json`` -> the word on the command line."""


def fdb_entry(mac: str, dst: str) -> tuple[str, str]:
    """Return key and specification of an entry.

    :param mac: lower case, with colons.
    :param dst: a numeric underlay address.
    """
    group = mac[1] in "13579bdf" or mac == "00:00:00:00:00:00"
    return f"{mac} {dst}" if group else mac, f"dst {dst}"

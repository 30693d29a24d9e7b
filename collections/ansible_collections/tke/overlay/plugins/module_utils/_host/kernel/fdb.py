# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: the FDB of a VXLAN device: MAC of a peer's VTEP -> underlay address."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import ActualEntry, Run, read_json


class FdbTable:
    """The forwarding entries of one VXLAN device.

    Ours are the permanent ones. Learned and dynamic entries come and go by
    themselves, static ones belong to somebody else: both are foreign.

    A unicast MAC has one destination, so it is the key. A group MAC (of which the
    all-zero one is taken here: where to send what nothing else matches) can have
    many, so its key has the destination too. So has an entry that points to a
    next-hop group: ``replace`` leaves it as it is, and says nothing.
    """

    name = "fdb"
    of_device = True
    program = ("bridge",)

    def __init__(self, device: str) -> None:
        self.device = device

    def listings(self) -> list[t.Sequence[str]]:
        """All entries of the device."""
        return [["bridge", "-json", "fdb", "show", "dev", self.device]]

    def read(self, run: Run) -> dict[str, ActualEntry]:
        """What is there, by MAC."""
        present = {}
        (listing,) = self.listings()
        for row in read_json(listing, run):
            if "dst" in row:
                key, spec = fdb_entry(row["mac"], row["dst"])
                spec += "".join(f" {shown} {row[name]}" for name, shown in _ODDITIES.items() if name in row)
            elif "nhid" in row:
                key, spec = f"{row['mac']} nhid {row['nhid']}", f"nhid {row['nhid']}"
            else:
                continue  # a multicast address the device listens to, not a forwarding entry
            managed = row.get("state") == "permanent"
            present[key] = ActualEntry(spec if managed else f"{spec} {row.get('state') or 'dynamic'}", managed)
        return present

    def put(self, key: str, spec: str) -> str:
        """``replace``: ``append`` on a unicast MAC that exists is silently ignored by the kernel."""
        return f"fdb replace {key.split(maxsplit=1)[0]} dev {self.device} {spec} self permanent"

    def drop(self, key: str, spec: str) -> str:
        """Removes the entry with this destination."""
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


_ODDITIES = {"port": "port", "vni": "vni", "src_vni": "src_vni", "viaIf": "via"}
"""What an entry of ours never has, as ``bridge -json`` calls it and as the command line does."""


def fdb_entry(mac: str, dst: str) -> tuple[str, str]:
    """Key and specification of an entry.

    :param mac: lower case, with colons.
    :param dst: a numeric underlay address.
    """
    group = mac == "00:00:00:00:00:00" or int(mac[1], 16) & 1
    return f"{mac} {dst}" if group else mac, f"dst {dst}"

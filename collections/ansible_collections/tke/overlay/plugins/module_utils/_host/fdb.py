# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: the FDB of a VXLAN device: MAC of a peer's VTEP -> underlay address."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._host.tables import Present, Run, read_json


class FdbTable:
    """The forwarding entries of one VXLAN device.

    Ours are the permanent ones. Learned and dynamic entries come and go by
    themselves, static ones belong to somebody else: both are foreign.

    A unicast MAC has one destination, so it is the key. The all-zero MAC (where
    to send what nothing else matches) can have many, so its key has the
    destination too.
    """

    name = "fdb"
    of_device = True
    program = ("bridge",)

    def __init__(self, device: str) -> None:
        self.device = device

    def read(self, run: Run) -> dict[str, Present]:
        """What is there, by MAC."""
        present = {}
        for row in read_json(["bridge", "-json", "fdb", "show", "dev", self.device], run):
            if "dst" not in row:
                continue  # a multicast address the device listens to, not a forwarding entry
            key, spec = fdb_entry(row["mac"], row["dst"])
            oddities = "".join(f" {word} {row[word]}" for word in ("port", "vni", "src_vni", "via") if word in row)
            ours = row.get("state") == "permanent"
            state = "" if ours else f" {row.get('state') or 'dynamic'}"
            present[key] = Present(f"{spec}{oddities}{state}", ours)
        return present

    def put(self, key: str, spec: str) -> str:
        """``replace``: ``append`` on a unicast MAC that exists is silently ignored by the kernel."""
        return f"fdb replace {key.split(maxsplit=1)[0]} dev {self.device} {spec} self permanent"

    def drop(self, key: str, spec: str) -> str:
        """Removes the entry with this destination."""
        return f"fdb del {key.split(maxsplit=1)[0]} dev {self.device} {spec} self"


def fdb_entry(mac: str, dst: str) -> tuple[str, str]:
    """Key and specification of an entry.

    :param mac: lower case, with colons.
    :param dst: a numeric underlay address.
    """
    key = mac if mac != "00:00:00:00:00:00" else f"{mac} {dst}"
    return key, f"dst {dst}"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters of this host that show why the probes of its peers fail. The difference of two readings is the evidence."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import counter_values
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run

SNMP = "/proc/net/snmp"
"""Counters of the kernel, in pairs of lines: names and values (Linux, Documentation/networking/snmp_counter.rst)."""


def read_counters(run: Run) -> dict[str, int]:
    """Return the present values.

    ``wrong_checksums``: TCP segments that arrived with a wrong checksum, over any link. ``not_a_peer``: tunnel packets
    that the rules dropped because their source is no peer.
    """
    dropped = counter_values(run).get("not_a_peer", "packets 0 bytes 0")
    return {"wrong_checksums": _wrong_checksums(), "not_a_peer": int(dropped.split()[1])}


def _wrong_checksums() -> int:
    lines = [line.split() for line in files.read_files([SNMP]).get(SNMP, "").splitlines() if line.startswith("Tcp: ")]
    return int(dict(zip(*lines)).get("InCsumErrors", 0)) if len(lines) == 2 else 0

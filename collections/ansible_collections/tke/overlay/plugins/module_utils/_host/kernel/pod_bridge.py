# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses of the Pod bridge: remove the gateway address of a former node CIDR of the host.

CNI's bridge plugin gives the bridge its gateway address, and starts no Pods while
the bridge has another one. Besides, the connected route of the former node CIDR
would make the node that has it now unreachable from this host.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import Row, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import ActualEntry, Run


class BridgeTable:
    """The addresses of the Pod bridge in the container CIDR, except the gateway of the node CIDR of the host."""

    name = "bridge"
    of_device = False  # the CNI plugin creates the bridge with the first Pod
    program = ("ip",)

    def __init__(self, bridge: str, container_cidr: t.Sequence[str], gateway: str) -> None:
        self.bridge = bridge
        self.container = [ipaddress.ip_network(cidr) for cidr in container_cidr]
        self.gateway = gateway

    def listings(self) -> list[t.Sequence[str]]:
        """Return no command: a caller that reads several tables has the links already, for :meth:`among`."""
        return []

    def read(self, run: Run) -> dict[str, ActualEntry]:
        """Return the leftover addresses, by address with prefix."""
        return self.among(read_links(run))

    def among(self, links: t.Iterable[Row]) -> dict[str, ActualEntry]:
        """Return the leftover addresses of links that were read before."""
        actual = {}
        for row in links:
            for info in row.get("addr_info", []):
                address = ipaddress.ip_address(info["local"])
                inside = any(address in network for network in self.container)
                if row.get("ifname") == self.bridge and inside and str(address) != self.gateway:
                    actual[f"{address}/{info['prefixlen']}"] = ActualEntry(f"dev {self.bridge}", managed=True)
        return actual

    def put(self, key: str, spec: str) -> str:
        """Return the line that adds the address. A rollback uses it; a desired entry never does."""
        return f"address replace {key} {spec}"

    def drop(self, key: str, spec: str) -> str:
        """Return the line that removes the address, and with it the connected route."""
        return f"address del {key} {spec}"

    def parse(self, line: str) -> tuple[str, str] | None:
        """Return key and specification of a line of :meth:`put`, ``None`` for every other line."""
        found = _LINE.fullmatch(line)
        return (found["key"], found["spec"]) if found is not None and found["bridge"] == self.bridge else None


_LINE = re.compile(r"address replace (?P<key>\S+/\d+) (?P<spec>dev (?P<bridge>\S+))")
"""What :meth:`BridgeTable.put` writes."""

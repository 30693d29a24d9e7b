# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Members without Pods (``overlay_pods: false``): whether Pods of the overlay run on such a host all the same.

A member has its place in the overlay like every node: node CIDR, VTEP address, and the
entries of all peers. It reaches Pods and is reached by them at its VTEP address. What
serves its own Pods is left out: bridge, gateway address, CNI configuration, forwarding.
A host that had Pods can become a member once none of them runs any more; otherwise
they would lose their network.
"""

from __future__ import annotations

import collections
import ipaddress
import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import Row, kind_of
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import PORT_PREFIX, BridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.port_checks import (
    PodRecord,
    addresses_behind,
    pod_records,
)

MOST_NAMED = 10
"""Pods that the error names; the others are counted."""


class RunningPod(t.NamedTuple):
    """A Pod of the overlay. ``name`` is empty if no container runtime has recorded it."""

    name: str  # namespace/name, or the start of the container's ID
    address: str  # empty if it is unknown
    link: str  # of the host

    @property
    def text(self) -> str:
        """What is known of the Pod."""
        known = [word for word in (self.name, self.address, self.link) if word]
        return f"{known[0]} ({', '.join(known[1:])})" if known[1:] else known[0]


def check_no_pods(bridge: BridgeTable, links: t.Sequence[Row], run: Run) -> None:
    """Make sure that no Pod of the overlay runs on this host.

    :param bridge: the Pod bridge that the host must not have.
    :param links: all links of the host.
    :raises ValidationError: Pods run, with their number, namespaces and names.
    """
    pods = running_pods(bridge, links, run)
    if pods:
        one = len(pods) == 1
        raise ValidationError(
            f"overlay_pods is false, and {_count_text(pods)} of the overlay {'runs' if one else 'run'} on this host: "
            f"{some_of([pod.text for pod in pods], MOST_NAMED)}. Without the Pod bridge "
            f"{'it reaches' if one else 'they reach'} nothing, so nothing was changed. Drain the node (kubectl drain), "
            f"delete the Pods that are left on it, and run the playbook again; or set overlay_pods to true"
        )


def _count_text(pods: t.Sequence[RunningPod]) -> str:
    count = f"{len(pods)} Pod{'' if len(pods) == 1 else 's'}"
    names = collections.Counter(pod.name.partition("/")[0] for pod in pods if "/" in pod.name)
    named = some_of([f"{name}: {number}" for name, number in sorted(names.items())], MOST_NAMED)
    return f"{count} ({'namespace' if len(names) == 1 else 'namespaces'} {named})" if names else count


def running_pods(bridge: BridgeTable, links: t.Sequence[Row], run: Run) -> list[RunningPod]:
    """Return the Pods of the overlay on this host, ordered by address.

    These are the Pods that a container runtime has recorded with an address of the container CIDR, everything on the
    Pod bridge, and the links whose other ends have such an address.
    """
    records = {
        record.link: record for record in pod_records() if _runs(record, links) and _inside(bridge, record.addresses)
    }
    ports = [str(row["ifname"]) for row in links if row.get("master") == bridge.bridge]
    unknown = [
        row
        for row in links
        if kind_of(row) == "veth" and row["ifname"].startswith(PORT_PREFIX) and row["ifname"] not in records
    ]
    behind = addresses_behind(unknown, run)
    pods = [RunningPod(each.pod, _first(bridge, each.addresses), link) for link, each in records.items()]
    for link in dict.fromkeys([*ports, *(row["ifname"] for row in unknown)]):
        address = _first(bridge, behind.get(link, []))
        if link not in records and (address or link in ports):
            pods.append(RunningPod("", address, link))
    return sorted(pods, key=lambda pod: (ipaddress.IPv4Address(pod.address or "0.0.0.0"), pod.link))


def _runs(record: PodRecord, links: t.Sequence[Row]) -> bool:
    """Whether a recorded Pod still exists: its link, or its network namespace."""
    has_link = record.link in {row["ifname"] for row in links}
    return has_link or bool(record.sandbox and os.path.exists(files.ROOT + record.sandbox))


def _inside(bridge: BridgeTable, addresses: t.Iterable[str]) -> list[str]:
    return [address for address in addresses if any(ipaddress.ip_address(address) in each for each in bridge.container)]


def _first(bridge: BridgeTable, addresses: t.Iterable[str]) -> str:
    return next(iter(_inside(bridge, addresses)), "")

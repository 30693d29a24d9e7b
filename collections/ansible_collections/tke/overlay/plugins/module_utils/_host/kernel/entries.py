# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: one kind of entry in bulk, as the modules fdb, neighbor and route offer it.

Entries come as a user wrote them. All faults are found and named at once, before
the kernel is asked for anything.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable, fdb_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import find_link, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable, neighbor_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import (
    RouteTable,
    blackhole_entry,
    via_entry,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    Delta,
    Desired,
    Run,
    Table,
    apply,
    compare,
)

VERSIONS = (4, 6)

Entry = t.Mapping[str, t.Any]
Job = t.Tuple[Table, Desired]
Parsed = t.Tuple[int, str, str]
"""IP version of the table the entry belongs to, key, specification."""

_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")  # also of a group, unlike that of a link


def fdb_jobs(device: str, entries: t.Sequence[Entry]) -> list[Job]:
    """Entries ``{mac, dst}`` for the FDB of a device.

    :raises ValidationError: naming every malformed or contradicting entry.
    """

    def parse(entry: Entry) -> Parsed:
        return (4, *fdb_entry(_mac(entry["mac"]), str(_address(entry["dst"]))))

    return [(FdbTable(device), _wanted("fdb", entries, parse)[4])]


def neighbor_jobs(device: str, entries: t.Sequence[Entry]) -> list[Job]:
    """Entries ``{address, mac}`` for the neighbour tables of a device.

    :raises ValidationError: naming every malformed or contradicting entry.
    """

    def parse(entry: Entry) -> Parsed:
        address = _address(entry["address"])
        return (address.version, *neighbor_entry(str(address), _mac(entry["mac"])))

    wanted = _wanted("neighbor", entries, parse)
    return [(NeighborTable(device, version), wanted[version]) for version in VERSIONS]


def route_jobs(device: str, entries: t.Sequence[Entry]) -> list[Job]:
    """Entries ``{dst, via, metric, type}`` for the main routing tables.

    :raises ValidationError: naming every malformed or contradicting entry.
    """

    def parse(entry: Entry) -> Parsed:
        network = ipaddress.ip_network(entry["dst"])
        if entry.get("type") == "blackhole":
            return (network.version, *blackhole_entry(str(network), entry.get("metric") or 0))
        if entry.get("via") is None:
            raise ValueError("a unicast route needs 'via'")
        gateway = _address(entry["via"])
        if gateway.version != network.version:
            raise ValueError(f"the gateway is IPv{gateway.version} and the destination IPv{network.version}")
        return (network.version, *via_entry(str(network), str(gateway), device, entry.get("metric") or 0))

    wanted = _wanted("route", entries, parse)
    return [(RouteTable(device, version, claimed=set(wanted[version])), wanted[version]) for version in VERSIONS]


def converge(jobs: t.Sequence[Job], device: str, run: Run, state: str, purge: bool, check: bool) -> list[Delta]:
    """Brings the tables to ``state`` of the entries; returns what that changed, or would.

    :param state: ``present``: the entries are there as given; ``absent``: no entry of ours has their keys.
    :param purge: with ``present``, remove all other entries that are ours.
    :raises ValidationError: an entry of somebody else is in the way; nothing was changed.
    :raises KernelError: the kernel refused, or does not hold what it was given.
    """
    deltas = _deltas(jobs, device, run, state, purge, check)
    if any(deltas) and not check:
        apply([(table, delta) for (table, _wanted), delta in zip(jobs, deltas)], run)
        left = [str(again.lines()) for again in _deltas(jobs, device, run, state, purge, check) if again]
        if left:
            raise KernelError(f"after the change the kernel does not hold what it was given: {'; '.join(left)}")
    return deltas


def _deltas(jobs: t.Sequence[Job], device: str, run: Run, state: str, purge: bool, check: bool) -> list[Delta]:
    # In check mode the task before this one may only have said that it would create the device.
    missing = check and find_link(device, read_links(run)) is None
    deltas = []
    for table, wanted in jobs:
        present = {} if missing and table.of_device else table.read(run)
        deltas.append(compare(table, present, wanted, purge) if state == "present" else _absence(present, wanted))
    return deltas


def _absence(present: t.Mapping[str, ActualEntry], unwanted: Desired) -> Delta:
    there = [key for key in unwanted if key in present]
    return Delta(
        added={},
        changed={},
        removed={key: present[key].spec for key in there if present[key].managed},
        foreign={key: present[key].spec for key in there if not present[key].managed},
    )


def _wanted(kind: str, entries: t.Sequence[Entry], parse: t.Callable[[Entry], Parsed]) -> dict[int, Desired]:
    wanted: dict[int, Desired] = {version: {} for version in VERSIONS}
    problems = []
    for number, entry in enumerate(entries, 1):
        try:
            version, key, spec = parse(entry)
        except ValueError as error:
            given = ", ".join(f"{name} {value!r}" for name, value in entry.items() if value is not None)
            problems.append(f"{kind} entry {number} ({given}): {error}")
            continue
        other = wanted[version].setdefault(key, spec)
        if other != spec:
            problems.append(f"{kind} entry {number}: {key} is given twice, as {other} and as {spec}")
    if problems:
        raise ValidationError(*problems)
    return wanted


def _mac(given: str) -> str:
    if not _MAC.fullmatch(given.lower()):
        raise ValueError(f"{given!r} is not a MAC address such as 0a:58:0a:f4:03:00")
    return given.lower()


def _address(given: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(given)

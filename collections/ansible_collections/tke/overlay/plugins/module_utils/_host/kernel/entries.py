# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of one kernel table in bulk, for the modules fdb, neighbor and route.

The entries are those that a user wrote. All problems are found and reported at
once, before anything in the kernel is read or changed.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    device_problems,
    strict_address,
    strict_network,
)
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
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

VERSIONS = (4, 6)

Entry = t.Mapping[str, t.Any]
Parsed = t.Tuple[int, str, str]
"""IP version of the table to which an entry belongs, key, specification."""

_MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}")  # also that of a group, unlike the MAC of a link


class TableTask(t.NamedTuple):
    """One table and its desired entries."""

    table: Table
    desired: Desired


class BulkOptions(t.NamedTuple):
    """How the entries of a task are applied.

    With ``present``, the entries exist as given, and with ``purge``, no other managed
    entry does. With ``absent``, no managed entry has their keys.
    """

    device: str
    state: str = "present"
    purge: bool = False


def fdb_tasks(device: str, entries: t.Sequence[Entry]) -> list[TableTask]:
    """Return the task for the FDB of a device, from entries ``{mac, dst}``.

    :raises ValidationError: naming every invalid or contradictory entry.
    """

    def parse(entry: Entry) -> Parsed:
        return (4, *fdb_entry(_mac(entry["mac"]), str(strict_address(entry["dst"]))))

    return [TableTask(FdbTable(device), _desired("fdb", device, entries, parse)[4])]


def neighbor_tasks(device: str, entries: t.Sequence[Entry]) -> list[TableTask]:
    """Return the tasks for the neighbour tables of a device, from entries ``{address, mac}``.

    :raises ValidationError: naming every invalid or contradictory entry.
    """

    def parse(entry: Entry) -> Parsed:
        address = strict_address(entry["address"])
        return (address.version, *neighbor_entry(str(address), _mac(entry["mac"])))

    desired = _desired("neighbor", device, entries, parse)
    return [TableTask(NeighborTable(device, version), desired[version]) for version in VERSIONS]


def route_tasks(device: str, entries: t.Sequence[Entry]) -> list[TableTask]:
    """Return the tasks for the main routing tables, from entries ``{dst, via, metric, type}``.

    :raises ValidationError: naming every invalid or contradictory entry.
    """

    def parse(entry: Entry) -> Parsed:
        network = strict_network(entry["dst"])
        if entry.get("type") == "blackhole":
            return (network.version, *blackhole_entry(str(network), entry.get("metric") or 0))
        if entry.get("via") is None:
            raise ValueError("a unicast route requires 'via'")
        gateway = strict_address(entry["via"])
        if gateway.version != network.version:
            raise ValueError(f"the gateway is IPv{gateway.version}, but the destination is IPv{network.version}")
        return (network.version, *via_entry(str(network), str(gateway), device, entry.get("metric") or 0))

    desired = _desired("route", device, entries, parse)
    return [
        TableTask(RouteTable(device, version, claimed=set(desired[version])), desired[version]) for version in VERSIONS
    ]


def converge(tasks: t.Sequence[TableTask], options: BulkOptions, run: Run, check: bool) -> list[Delta]:
    """Apply the entries to their tables; with ``check``, only compare.

    :returns: the changes, made or pending, one per table.
    :raises ValidationError: a foreign entry conflicts with a given one; nothing was changed.
    :raises KernelError: the kernel rejected an entry, or does not have it afterwards.
    """
    deltas = _deltas(tasks, options, run, check)
    if any(deltas) and not check:
        apply([(task.table, delta) for task, delta in zip(tasks, deltas)], run)
        left = [str(delta.lines()) for delta in _deltas(tasks, options, run, check) if delta]
        if left:
            raise KernelError(
                f"after the change the kernel does not have the given entries, does another program manage "
                f"{options.device}? {'; '.join(left)}"
            )
    return deltas


def _deltas(tasks: t.Sequence[TableTask], options: BulkOptions, run: Run, check: bool) -> list[Delta]:
    # In check mode, the device can be missing because a previous task has not created it.
    missing = check and find_link(options.device, read_links(run)) is None
    deltas = []
    for table, desired in tasks:
        actual = {} if missing and table.of_device else table.read(run)
        if options.state == "present":
            deltas.append(compare(table, actual, desired, options.purge))
        else:
            deltas.append(_removal(actual, desired))
    return deltas


def _removal(actual: t.Mapping[str, ActualEntry], undesired: Desired) -> Delta:
    found = [key for key in undesired if key in actual]
    return Delta(
        added={},
        changed={},
        removed={key: actual[key].spec for key in found if actual[key].managed},
        foreign={key: actual[key].spec for key in found if not actual[key].managed},
    )


def _desired(
    kind: str, device: str, entries: t.Sequence[Entry], parse: t.Callable[[Entry], Parsed]
) -> dict[int, Desired]:
    """Return the desired entries by IP version.

    :raises ValidationError: naming an invalid device, every entry that ``parse`` rejects, and entries with one key
        that differ.
    """
    desired: dict[int, Desired] = {version: {} for version in VERSIONS}
    problems = device_problems("device", device)
    for number, entry in enumerate(entries, 1):
        try:
            version, key, spec = parse(entry)
        except ValueError as error:
            given = ", ".join(f"{name} {shown(value)}" for name, value in entry.items() if value is not None)
            problems.append(f"{kind} entry {number} ({given}): {error}")
            continue
        other = desired[version].setdefault(key, spec)
        if other != spec:
            problems.append(f"{kind} entry {number}: {key} is given twice, as {other} and as {spec}")
    if problems:
        raise ValidationError(*problems)
    return desired


def _mac(text: str) -> str:
    if not _MAC.fullmatch(text.lower()):
        raise ValueError(f"{shown(text)} is not a MAC address such as 0a:58:0a:f4:03:00")
    return text.lower()

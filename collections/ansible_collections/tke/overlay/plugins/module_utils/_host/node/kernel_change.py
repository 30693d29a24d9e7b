# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the kernel's state to the target, and verify that the kernel holds it."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    Texts,
    read_sysctls,
    write_sysctl,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LINKS, Row, apply_link, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import check_foreign_routes, device_of
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    NO_DIFFERENCE,
    Delta,
    Run,
    apply,
    listed_together,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.alternate_link import relax_reverse_path_filter
from ansible_collections.tke.overlay.plugins.module_utils._host.node.compare import (
    NodeResult,
    TableEntries,
    compare_tables,
    link_change,
    read_tables,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import Target
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import (
    differing_sysctls,
    load_bridge_netfilter,
)

MOST_FAULTS = 5
"""Number of differences that the error of a failed verification names."""


def change_kernel(target: Target, difference: NodeResult, run: Run) -> None:
    """Replace the rules, change the links, then the tables as the change of the links left them.

    WireGuard devices exist before the routes that lead to them, and surplus ones until no route does.

    A change of an existing link can empty tables: a recreated device starts without
    entries, a device that goes down loses routes and neighbours, a new MAC removes
    the neighbours, a removed address both. A new device has default sysctls.
    """
    rules = difference.tables[target.rules.name]
    if rules:
        target.rules.replace(run, there=len(rules.added) < len(target.rules.wanted))
    wireguard = difference.tables.get(target.wireguard.name, NO_DIFFERENCE)
    target.wireguard.apply(wireguard, run)
    lines = [*difference.link.lines, *_lines_for_new_device(target, difference)]
    apply_link(difference.link._replace(lines=lines), run)
    relax_reverse_path_filter(target.alternate_link, target.pods)
    load_bridge_netfilter(target.sysctls, run)
    for key, value in _differing_sysctls(target, difference).items():
        write_sysctl(key, value)
    deltas = _deltas_after_link(target, difference, run)
    apply([(table, deltas[table.name]) for table, _wanted in target.tables.in_removal_order()], run)
    target.wireguard.remove_surplus(wireguard, run)


def _lines_for_new_device(target: Target, difference: NodeResult) -> list[str]:
    """Return the neighbours and routes of a new device, for the batch that creates it.

    Pods have no network until the last of these lines, and running one more program
    takes time. Only the FDB needs another program than ``ip``, so here the routes
    precede the FDB entries: until then the kernel drops what the routes lead to, as
    the rules would do without the routes.
    """
    if not difference.link.made:
        return []
    tables = (target.tables.neighbors, target.tables.routes)
    return [line for table in tables for line in target.tables.wanted[table.name].batch.splitlines()]


def _deltas_after_link(target: Target, difference: NodeResult, run: Run) -> dict[str, Delta]:
    """Return what the tables lack after the links were changed. For a new device this is known without reading."""
    if difference.link.made:
        tables = target.tables
        removed = difference.tables[tables.routes.name].removed
        # A blackhole, and the route of a direct link, do not go with the device.
        left = {key: spec for key, spec in removed.items() if device_of(spec) != target.link.name}
        return {
            **difference.tables,
            tables.routes.name: Delta({}, {}, left, {}),
            tables.fdb.name: Delta(tables.wanted[tables.fdb.name].entries, {}, {}, {}),
            tables.neighbors.name: Delta({}, {}, {}, {}),
        }
    if not difference.link.before:
        return difference.tables
    found = read_tables(target, read_links(run), run)
    check_foreign_routes(found[target.tables.routes.name])
    return compare_tables(target, found)


def _differing_sysctls(target: Target, difference: NodeResult) -> Texts:
    """Return the desired values of the sysctls that differ now, also of those that a new device brought."""
    wanted = {**target.sysctls_with(()), **{diff.name: diff.after for diff in difference.sysctls}}
    return differing_sysctls(read_sysctls(wanted), wanted)


def verify(target: Target, difference: NodeResult, run: Run) -> t.Sequence[Row]:
    """Read the kernel's state back, and return all links. The rules were read back when they were loaded.

    :param difference: what was changed.
    :raises KernelError: it is not the target: the kernel did not take it, or another program changed it.
    """
    tables = target.tables
    listings = [*tables.routes.listings(others=False), *tables.fdb.listings(), *tables.neighbors.listings()]
    run = listed_together([LINKS, *listings, *target.wireguard.wanted_listings()], run)
    links = read_links(run)
    wrong = link_change(target, links)
    faults = [
        f"link {target.link.name}: {key} is {wrong.before.get(key)}, not {wrong.after[key]}" for key in wrong.after
    ]
    faults += _sysctl_faults(target, difference)
    faults += _table_faults(target, read_tables(target, links, run, foreign=False))
    if faults:
        raise KernelError(
            f"after the change the kernel does not hold what it was given; does another program manage "
            f"{target.link.name}? {some_of(faults, MOST_FAULTS, '; ')}"
        )
    return links


def _sysctl_faults(target: Target, difference: NodeResult) -> t.Iterator[str]:
    """Name the sysctls that differ. Those of a new device are left to the timer: udev sets them at the same time."""
    new = f"net/ipv4/conf/{target.link.name}/" if difference.link.made else None
    for key, value in _differing_sysctls(target, difference).items():
        if new is None or not key.startswith(new):
            yield f"sysctl {key} is not {value}"


def _table_faults(target: Target, found: TableEntries) -> t.Iterator[str]:
    for name, delta in compare_tables(target, found).items():
        lines = delta.lines()
        for state, kind in (("missing", "added"), ("wrong", "changed"), ("not removed", "removed")):
            yield from (f"{name}: {state} {line}" for line in lines[kind])

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot: the state of a host before a change, in a form that can be restored.

There are three kinds of hosts:

- A host with saved state: its own restore script restores it. Drift that the kernel
  had before the change is corrected as well, as the restore timer would do.
- A host without saved state that has a managed device (its files were deleted, or it
  was set up with the modules for single objects): what the kernel lists is written as
  saved state into the directory of the pending change.
- A host that was no node: every managed object is removed.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import PENDING, RollbackState
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkSpec, Row, spec_of
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import TABLE, listed_rules
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import BRIDGE_TYPE, BridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import RouteTable, device_of
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    Delta,
    Desired,
    Run,
    Table,
    Wanted,
    wanted_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE, STATE_FILES
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import (
    SavedState,
    saved_settings,
    state_files,
)

SNAPSHOT = f"{PENDING}/snapshot"

Tables = t.Sequence[t.Tuple[Table, Wanted]]


def snapshot(
    new: SavedState, row: Row | None, deltas: t.Mapping[str, Delta], sysctls: files.Texts, run: Run
) -> RollbackState:
    """Return what restores the host to its state before a change. Nothing is written.

    :param new: the state after the change.
    :param row: the present link of the same name, if there is one.
    :param deltas: the difference of each table, by its name.
    :param sysctls: the present values of the sysctls that will change.
    :raises KernelError: the rules cannot be listed.
    """
    base, texts, removals = STATE, {}, _removals_elsewhere(new.tables, deltas, new.link.name)
    if not all(os.path.exists(f"{files.ROOT}{STATE}/{name}") for name in STATE_FILES):
        base = "" if row is None else SNAPSHOT
        texts = {} if row is None else _texts(new, spec_of(row), deltas, sysctls, run)
    if not base:
        removals += [f"ip link del dev {new.link.name}", f"nft delete table {TABLE}"]
    elif base == STATE and saved_settings().get("device") != new.link.name:
        removals += [f"ip link del dev {new.link.name}"]
    additions = [*_bridge_additions(new.tables, deltas), *_replaced_routes(deltas, new.link.name)]
    return RollbackState(base, texts, removals, additions, sysctls, new.link.name)


def _texts(
    new: SavedState, link: LinkSpec, deltas: t.Mapping[str, Delta], sysctls: files.Texts, run: Run
) -> dict[str, str]:
    """Return the files of a saved state that describes what the kernel holds now."""
    present = SavedState(
        link,
        new.bridge,
        new.node_cidr,
        new.cidrs,
        [
            (table, wanted_of(table, _present_entries(table, wanted.entries, deltas[table.name], link.name)))
            for table, wanted in new.tables
        ],
        listed_rules(run),
        {key: value for key, value in {**new.sysctls, **sysctls}.items() if value},
        summary={},
        fleet="",
        pod_mtu=new.pod_mtu,
    )
    return {path.replace(STATE, SNAPSHOT, 1): text for path, text in state_files(present).items()}


def _present_entries(table: Table, wanted: Desired, delta: Delta, device: str) -> Desired:
    """Return the entries that a table holds now, without the routes on other devices, which are foreign."""
    same = {key: spec for key, spec in wanted.items() if key not in delta.added}
    found = {**same, **{key: old for key, (old, _new) in delta.changed.items()}, **delta.removed}
    if table.name != RouteTable.name:
        return found
    return {key: spec for key, spec in found.items() if device_of(spec) in ("", device) or not _is_foreign(spec)}


def _is_foreign(spec: str) -> bool:
    """Return whether the specification of an actual route shows another program's protocol."""
    return " proto " in spec


def _replaced_routes(deltas: t.Mapping[str, Delta], device: str) -> list[str]:
    """Return commands that restore the routes of a former overlay, which are on other devices."""
    return [
        f"ip -4 route replace {key} {old}"
        for key, (old, _new) in (deltas[RouteTable.name].changed.items() if RouteTable.name in deltas else ())
        if device_of(old) not in ("", device) and _is_foreign(old)
    ]


def _removals_elsewhere(tables: Tables, deltas: t.Mapping[str, Delta], device: str) -> list[str]:
    """Return commands that remove the new entries without a device, or on another one than the VXLAN link.

    The old restore script does not regard them as managed: it has only the old container CIDRs, and a plan without
    links has no routes on other devices. On a host that was no node, they do not go with the VXLAN link. A bridge that
    Pods need stays.
    """
    return [
        " ".join([*table.program, table.drop(key, spec)])
        for table, _wanted in tables
        for key, spec in deltas[table.name].added.items()
        if not table.of_device and device_of(spec) != device and spec != BRIDGE_TYPE
    ]


def _bridge_additions(tables: Tables, deltas: t.Mapping[str, Delta]) -> list[str]:
    """Return commands that restore what the restore script does not manage: the Pod bridge itself, and its addresses
    of other node CIDRs. The script then sets the rest of the bridge right.
    """
    return [
        " ".join([*table.program, table.put(key, spec)])
        for table, _wanted in tables
        if table.name == BridgeTable.name
        for key, spec in deltas[table.name].removed.items()
    ]

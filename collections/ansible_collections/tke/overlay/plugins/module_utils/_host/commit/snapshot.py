# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: what was there before a change, in a form that brings it back.

Three kinds of hosts:

- one with saved state: its own script brings it back, and what was otherwise in
  the kernel is mended by the way, as the timer would;
- one without, on which a device of ours is at work all the same (its files were
  deleted, or it was set up with the single modules): what the kernel listed is
  written down as such state;
- one that was never a node: nothing of ours stays.
"""

from __future__ import annotations

import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import PENDING, RollbackState
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkSpec, Row, spec_of
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import TABLE, listed_rules
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Delta, Desired, Run, Table
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE, STATE_FILES
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import (
    SavedState,
    saved_settings,
    state_files,
)

SNAPSHOT = f"{PENDING}/snapshot"

Tables = t.Sequence[t.Tuple[Table, Desired]]


def snapshot(
    new: SavedState, row: Row | None, deltas: t.Mapping[str, Delta], sysctls: files.Texts, run: Run
) -> RollbackState:
    """What is there now, and a change will be made to.

    :param new: what the host shall be.
    :param row: the link of that name, if there is one.
    :param deltas: what separates each table from it.
    :param sysctls: the values of those that will change.
    """
    base, texts, surplus = STATE, {}, _without_device(new.tables, deltas)
    if not all(os.path.exists(f"{files.ROOT}{STATE}/{name}") for name in STATE_FILES):
        base = "" if row is None else SNAPSHOT
        texts = {} if row is None else _texts(new, spec_of(row), deltas, sysctls, run)
    if not base:
        surplus += [f"ip link del dev {new.link.name}", f"nft delete table {TABLE}"]
    elif base == STATE and saved_settings().get("device") != new.link.name:
        surplus += [f"ip link del dev {new.link.name}"]
    return RollbackState(base, texts, surplus, _on_bridge(new.tables, deltas), sysctls, new.link.name)


def _texts(
    new: SavedState, link: LinkSpec, deltas: t.Mapping[str, Delta], sysctls: files.Texts, run: Run
) -> dict[str, str]:
    """The saved state of what the kernel holds now."""
    present = SavedState(
        link,
        new.bridge,
        new.cidrs,
        [(table, _present(wanted, deltas[table.name])) for table, wanted in new.tables],
        listed_rules(run),
        {key: value for key, value in {**new.sysctls, **sysctls}.items() if value},
        summary={},
        fleet="",
    )
    return {path.replace(STATE, SNAPSHOT, 1): text for path, text in state_files(present).items()}


def _present(wanted: Desired, delta: Delta) -> Desired:
    same = {key: spec for key, spec in wanted.items() if key not in delta.added}
    return {**same, **{key: old for key, (old, _new) in delta.changed.items()}, **delta.removed}


def _without_device(tables: Tables, deltas: t.Mapping[str, Delta]) -> list[str]:
    """Removes the new entries that the script would not take for ours, as it knows only the old container CIDRs."""
    return [
        " ".join([*table.program, table.drop(key, spec)])
        for table, _wanted in tables
        for key, spec in deltas[table.name].added.items()
        if not table.of_device and " dev " not in spec
    ]


def _on_bridge(tables: Tables, deltas: t.Mapping[str, Delta]) -> list[str]:
    """Puts back the Pod bridge's addresses, of which the script knows nothing."""
    return [
        " ".join([*table.program, table.put(key, spec)])
        for table, _wanted in tables
        if table.name == "bridge"
        for key, spec in deltas[table.name].removed.items()
    ]

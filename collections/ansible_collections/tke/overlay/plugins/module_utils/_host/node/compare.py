# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The difference between what a host has and what the plan says, which :mod:`converge` then applies.

:func:`read_actual` reads the host, :func:`compare` compares what was read with
the target. Comparing runs no program and writes nothing.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    RIGHTS,
    FileSpecs,
    Texts,
    differing,
    read_files,
    read_sysctls,
    wrong_rights,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    LinkChange,
    Row,
    attributes_text,
    compare_link,
    find_link,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    Delta,
    Diff,
    ReadableTable,
    Run,
    listed_together,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import compare as compare_entries
from ansible_collections.tke.overlay.plugins.module_utils._host.node.alternate_link import with_alternate_link
from ansible_collections.tke.overlay.plugins.module_utils._host.node.outward_links import outward_links
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import Target
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import differing_sysctls
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import line_diff
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import differing_units

TableEntries = t.Dict[str, t.Mapping[str, ActualEntry]]
"""Name of a table -> its entries."""


class ActualState(t.NamedTuple):
    """What a host has of everything that the target names."""

    links: t.Sequence[Row]
    tables: TableEntries
    files: Texts
    sysctls: Texts
    rights: Texts  # path -> mode and owner, of the files that have wrong ones
    outward: t.Sequence[str] = ()  # see outward_links()


class NodeResult(t.NamedTuple):
    """What was changed, or would be; ``unfinished`` if later phases of a cutover must make the change."""

    link: LinkChange
    tables: dict[str, Delta]
    files: list[Diff]
    sysctls: list[Diff]
    units: list[Diff]
    systemd: bool
    bridge_netfilter: bool = True  # whether the kernel has br_netfilter, or this host does not need it
    unfinished: bool = False
    seconds_to_confirm: float | None = None  # then the host rolls back; ``None``: no confirmation is pending
    warnings: t.Sequence[str] = ()
    links: t.Sequence[Row] | None = None  # all links of the host as the run leaves them; ``None``: they were not read

    @property
    def kernel(self) -> bool:
        """Whether the kernel's state differs: only such a change can cut a host off."""
        return bool(self.link or any(self.tables.values()) or self.sysctls)

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return bool(self.kernel or self.files or self.units)

    @property
    def file_names(self) -> list[str]:
        """The paths of the files that differ."""
        return [diff.name for diff in self.files]

    def diffs(self) -> t.Iterator[Diff]:
        """Yield all differences, the link first."""
        if self.link:
            yield Diff("link", attributes_text(self.link.before), attributes_text(self.link.after))
        for name, delta in self.tables.items():
            if delta:
                yield Diff(name, delta.before(), delta.after())
        for diff in self.sysctls:
            yield Diff(f"sysctl {diff.name}", f"{diff.before}\n", f"{diff.after}\n")
        yield from self.files
        for diff in self.units:
            yield Diff(f"unit {diff.name}", f"{diff.before}\n", f"{diff.after}\n")


def read_actual(target: Target, links: t.Sequence[Row], run: Run) -> ActualState:
    """Read everything that the target names.

    :param links: all links of the host.
    :raises KernelError: something cannot be read.
    """
    outward = outward_links(target.link.local, links, run)
    return ActualState(
        links=links,
        tables=read_tables(target, links, run, rules=True),
        files=read_files(target.all_files),
        rights=wrong_rights(target.all_files),
        sysctls=read_sysctls(target.sysctls_with(outward)),
        outward=outward,
    )


def read_tables(
    target: Target, links: t.Sequence[Row], run: Run, *, foreign: bool = True, rules: bool = False
) -> TableEntries:
    """Read the target's tables, all of them at the same time.

    A table of entries on the VXLAN device is empty while the device does not exist.

    :param links: all links of the host, with the addresses of the Pod bridge.
    :param foreign: also read foreign routes inside the container CIDR.
    :param rules: also read the nftables table.
    :raises KernelError: a table cannot be read.
    """
    tables = target.tables
    readable: list[ReadableTable] = [tables.fdb, tables.neighbors] if find_link(target.link.name, links) else []
    readable += [target.rules] if rules else []
    listings = [*tables.routes.listings(others=foreign), *(each for table in readable for each in table.listings())]
    listings += target.wireguard.listings(links)
    listed = listed_together(listings, run)
    found: TableEntries = {
        tables.routes.name: tables.routes.read(listed, tables.wanted[tables.routes.name], others=foreign),
        tables.bridge.name: {**tables.bridge.among(links), **tables.bridge.beyond(links, run)},
    }
    found.update({table.name: table.read(listed, tables.wanted.get(table.name)) for table in readable})
    if target.wireguard.specs or target.wireguard.listings(links):
        found[target.wireguard.name] = target.wireguard.read(links, listed)
    return found


def compare(target: Target, actual: ActualState) -> NodeResult:
    """Return the difference between the target and what was read.

    :raises ValidationError: a foreign entry is in the place of a wanted one.
    """
    deltas = compare_tables(target, actual.tables)
    deltas[target.rules.name] = compare_entries(
        target.rules, actual.tables.get(target.rules.name, {}), target.rules.wanted
    )
    return NodeResult(
        link=link_change(target, actual.links),
        tables=deltas,
        files=_file_diffs(actual, target.all_files),
        sysctls=_sysctl_diffs(actual.sysctls, target.sysctls_with(actual.outward)),
        units=_text_diffs(target.host.units, differing_units(target.host)),
        systemd=target.host.systemd,
        bridge_netfilter=target.host.bridge_netfilter or not target.pods,
        links=actual.links,
    )


def link_change(target: Target, links: t.Sequence[Row]) -> LinkChange:
    """Return what changes the tunnel's link and the alternate link to those of the target."""
    return with_alternate_link(compare_link(target.link, links), target.alternate_link, links)


def compare_tables(target: Target, found: TableEntries) -> dict[str, Delta]:
    """Return the difference of each table that is written entry by entry, by its name.

    WireGuard is among them only on a host that has it, or must have it.

    :raises ValidationError: a foreign entry is in the place of a wanted one.
    """
    bridge = target.tables.bridge
    deltas = {}
    for table, wanted in target.tables.in_removal_order():
        present = found.get(table.name, {})
        entries = bridge.wanted(present) if table.name == bridge.name else wanted.entries
        deltas[table.name] = compare_entries(table, present, entries)
    wireguard = target.wireguard
    if wireguard.name in found:
        deltas[wireguard.name] = compare_entries(wireguard, found[wireguard.name], wireguard.wanted)
    return deltas


def _text_diffs(found: Texts, wanted: FileSpecs) -> list[Diff]:
    return [Diff(name, found.get(name, ""), text or "") for name, text in differing(found, wanted).items()]


def _sysctl_diffs(found: Texts, wanted: Texts) -> list[Diff]:
    return [Diff(name, found.get(name, ""), value) for name, value in differing_sysctls(found, wanted).items()]


def _file_diffs(actual: ActualState, wanted: FileSpecs) -> list[Diff]:
    """Compare files; of the saved batches keep only the lines that differ, because they have a line for each peer.

    A file whose content is right, but not its mode or owner, is written again as well.
    """
    texts = _text_diffs(actual.files, wanted)
    names = {diff.name for diff in texts}
    rights = [Diff(name, f"{text}\n", f"{RIGHTS}\n") for name, text in actual.rights.items() if name not in names]
    return [
        *(
            Diff(diff.name, *line_diff(diff.before, diff.after)) if diff.name.startswith(f"{STATE}/") else diff
            for diff in texts
        ),
        *rights,
    ]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: taking a host out: all that is ours goes, everything else stays.

The host itself knows what it has (``settings`` of the saved state), so neither a
plan nor the ledger is needed. What stays on purpose: forwarding as it is now
(others may need it), what CNI's host-local has noted of Pods that still run, and
the Pod bridge as long as a Pod is on it. Without Pods the bridge goes: it is CNI's
bridge plugin that made it, but it would refuse to give it the gateway of another
node CIDR, should the host join again with one.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    cancel,
    remove_staged_files,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import cleanup as traces
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_files, remove_file
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    ALIAS,
    ALTERNATE_LINK,
    find_link,
    kind_of,
    read_links,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    RECORD_LISTING,
    RECORD_TEXT,
    TABLE,
    delete_table,
    rules_are_there,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import RouteTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run, run_batch
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cutover import accept_own_mac_only
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import reload_managers
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import locked
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    DROP_INS,
    STATE,
    STATE_FILES,
    UNIT_FILES,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_settings
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import (
    HostFacts,
    managed_units,
    read_host,
    reload_units,
    stop_units,
)

FILES = (CNI_FILE, *(f"{STATE}/{name}" for name in STATE_FILES), *UNIT_FILES, *DROP_INS)


class Names(t.NamedTuple):
    """By what the host's objects are known to be ours."""

    device: str
    bridge: str
    cidrs: dict[int, list[str]]  # IP version -> container CIDRs, inside of which blackholes are ours


class NodeRemains(t.NamedTuple):
    """What is ours on a host, as far as it is there."""

    links: list[str]
    routes: dict[str, list[str]]  # a batch for each IP version
    rules: bool
    endpoint: traces.EndpointRemains
    files: dict[str, str]
    host: HostFacts
    warnings: list[str]

    def diffs(self) -> t.Iterator[Diff]:
        """A difference for each kind of object that goes."""
        routes = [line.replace("route del ", "", 1) for lines in self.routes.values() for line in lines]
        for name, lines in (
            ("link", self.links),
            ("route", routes),
            ("rules", ["table inet tke_overlay"] if self.rules else []),
            ("endpoint", self.endpoint.lines()),
            ("unit", [f"{name} {self.host.units[name]}" for name in managed_units(self.host)]),
            ("files", sorted(self.files)),
        ):
            if lines:
                yield Diff(name, "".join(f"{line}\n" for line in lines), "")


def remove(device: str, bridge: str, run: Run, check: bool) -> NodeRemains:
    """Takes this host out of the overlay; with ``check`` only finds out what that would remove.

    :param device: the VXLAN link, where the host's own files do not name it.
    :param bridge: likewise the Pod bridge.
    :raises KernelError: something could not be removed, or is there again.
    """
    names = _names(device, bridge)
    remains = _read(names, run)
    if any(remains.diffs()) and not check:
        with locked():
            _remove(remains, run)
        left = list(_read(names, run).diffs())
        if left:
            raise KernelError(
                f"still there, or there again: {'; '.join(f'{diff.name} {diff.before}' for diff in left)}"
            )
    return remains


def _names(device: str, bridge: str) -> Names:
    settings = saved_settings()
    cidrs: dict[int, list[str]] = {4: [], 6: []}
    for cidr in settings.get("cidrs", "").split():
        cidrs[6 if ":" in cidr else 4].append(cidr)
    return Names(settings.get("device", device), settings.get("bridge", bridge), cidrs)


def _read(names: Names, run: Run) -> NodeRemains:
    device, bridge, cidrs = names
    links, warnings = read_links(run), []
    going = [device] if kind_of(find_link(device, links)) == "vxlan" else []
    going += [ALTERNATE_LINK for row in links if row.get("ifname") == ALTERNATE_LINK and row.get("ifalias") == ALIAS]
    ports = [str(row.get("ifname")) for row in links if row.get("master") == bridge]
    if ports:
        warnings.append(f"the Pod bridge {bridge} stays, because {len(ports)} Pods are on it: {', '.join(ports[:5])}")
    elif kind_of(find_link(bridge, links)) == "bridge":
        going.append(bridge)
    return NodeRemains(
        links=going,
        routes={
            f"-{version}": _routes(RouteTable(device, version, within, claimed=()), run)
            for version, within in cidrs.items()
        },
        rules=rules_are_there(run),
        endpoint=traces.find_remains(traces.HOSTS_FILE, run),
        files=read_files(FILES),
        host=read_host(run),
        warnings=warnings,
    )


def _routes(table: RouteTable, run: Run) -> list[str]:
    return [table.drop(key, found.spec) for key, found in table.read(run).items() if found.managed]


def _remove(remains: NodeRemains, run: Run) -> None:
    """The timers first, or they would put back the rest; then, before its network, what tells a kubelet of it."""
    cancel(run)
    accept_own_mac_only(run)
    stop_units(remains.host, run)
    remove_file(CNI_FILE)
    for version, lines in remains.routes.items():
        run_batch(("ip", version), lines, run)
    run_batch(("ip",), [f"link del {name}" for name in remains.links], run)
    if remains.rules:
        delete_table(TABLE, run)
    traces.remove(remains.endpoint, run)
    for path in (*remains.files, RECORD_TEXT, RECORD_LISTING):
        remove_file(path)
    remove_staged_files(FILES)
    with contextlib.suppress(OSError):  # not there, or somebody else's files are in it
        os.rmdir(files.ROOT + STATE)
    if not set(UNIT_FILES).isdisjoint(remains.files):
        reload_units(run)
    reload_managers(remains.files, remains.host, run)

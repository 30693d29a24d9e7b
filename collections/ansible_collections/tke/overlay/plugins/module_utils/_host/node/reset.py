# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove a host from the overlay: every managed object is removed, every foreign object stays.

The host's own saved state (``settings``) names the objects, so neither a plan nor the
ledger is needed. The following stay on purpose: forwarding (other programs may need
it), the records of CNI's host-local about running Pods, and the Pod bridge while a Pod
is on it. Without Pods the bridge is removed: CNI's bridge plugin created it, and would
reject it if the host joined again with another node CIDR and so another gateway.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils import _import_once
from ansible_collections.tke.overlay.plugins.module_utils._addressing import VTEP_MAC_PREFIX, device_problems
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    cancel,
    remove_staged_files,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint import cleanup
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_files, remove_file
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    ALIAS,
    ALTERNATE_LINK,
    Row,
    find_link,
    kind_of,
    read_links,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    RECORD_LISTING,
    RECORD_TEXT,
    TABLE,
    delete_table,
    table_exists,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import RouteTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run, run_batch
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import existing_devices, removal
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cutover import accept_own_mac_only
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import reload_managers
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import locked
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics import written_files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    DROP_INS,
    METRICS_FILES,
    METRICS_RECORDS,
    PREPARED_NOTE,
    PROBE_CACHE,
    PROBE_UNIT_FILES,
    STATE,
    STATE_FILES,
    UNIT_FILES,
    WIREGUARD_FILES,
    WIREGUARD_UNIT_FILE,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import saved_settings
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import (
    HostFacts,
    managed_units,
    read_host,
    reload_units,
    stop_units,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.wireguard_key import key_files

MOST_NAMED = 5
"""Ports or addresses of the Pod bridge that the warning names."""

OWN_BRIDGE = "tke-br0"
"""The default name of the Pod bridge. It is a name of this collection, so a bridge with it is managed."""

FILES = (
    CNI_FILE,
    *(f"{STATE}/{name}" for name in STATE_FILES),
    *WIREGUARD_FILES,
    *UNIT_FILES,
    *METRICS_FILES,
    *DROP_INS,
)


class ManagedNames(t.NamedTuple):
    """The names by which the managed objects of a host are found. Only a saved state proves what has such a name."""

    device: str
    bridge: str
    cidrs: dict[int, list[str]]  # IP version -> container CIDRs; blackhole routes inside them are managed
    saved: bool


class NodeRemains(t.NamedTuple):
    """The managed objects that a host has."""

    links: list[str]
    wireguard: list[str]  # devices
    routes: dict[str, list[str]]  # option of ip for the IP version -> batch lines
    rules: bool
    endpoint: cleanup.EndpointRemains
    files: dict[str, str]
    keys: list[str]  # files with private keys, which are not read
    host: HostFacts
    warnings: list[str]

    def diffs(self) -> t.Iterator[Diff]:
        """Yield a difference for each kind of object that is removed."""
        routes = [line.replace("route del ", "", 1) for lines in self.routes.values() for line in lines]
        for name, lines in (
            ("link", [*self.links, *self.wireguard]),
            ("route", routes),
            ("rules", ["table inet tke_overlay"] if self.rules else []),
            ("endpoint", self.endpoint.lines()),
            ("unit", [f"{name} {self.host.units[name]}" for name in managed_units(self.host)]),
            ("files", sorted([*self.files, *self.keys])),
        ):
            if lines:
                yield Diff(name, "".join(f"{line}\n" for line in lines), "")


def remove(device: str, bridge: str, run: Run, check: bool) -> NodeRemains:
    """Remove this host from the overlay; with ``check`` only return what would be removed.

    :param device: the VXLAN link, if the host's own files do not name it.
    :param bridge: the Pod bridge, if the host's own files do not name it.
    :raises ValidationError: a name is invalid.
    :raises KernelError: an object could not be removed, or exists again.
    """
    problems = [*device_problems("device", device), *device_problems("bridge", bridge)]
    if problems:
        raise ValidationError(*problems)
    names = _names(device, bridge)
    remains = _read(names, run)
    if any(remains.diffs()) and not check:
        with locked():
            _remove(remains, run)
        left = list(_read(names, run).diffs())
        if left:
            objects = "; ".join(f"{diff.name} {diff.before}" for diff in left)
            raise KernelError(f"not removed, or created again by another program: {objects}")
    if not check:  # also where nothing else is left: the modules of this run have compiled their files again
        _import_once.ZipImporter.cache.remove()
    return remains


def _names(device: str, bridge: str) -> ManagedNames:
    settings = saved_settings()
    cidrs: dict[int, list[str]] = {4: [], 6: []}
    for cidr in settings.get("cidrs", "").split():
        cidrs[6 if ":" in cidr else 4].append(cidr)
    return ManagedNames(settings.get("device", device), settings.get("bridge", bridge), cidrs, "device" in settings)


def _read(names: ManagedNames, run: Run) -> NodeRemains:
    links = read_links(run)
    bridge_stays = list(_reasons_to_keep_bridge(names, links))
    return NodeRemains(
        links=_links(names, links, with_bridge=not bridge_stays),
        wireguard=existing_devices(links),
        routes={
            f"-{version}": _routes(RouteTable(names.device, version, within, claimed=()), run)
            for version, within in names.cidrs.items()
        },
        rules=table_exists(run),
        endpoint=cleanup.find_remains(cleanup.HOSTS_FILE, run),
        files=read_files((*FILES, *written_files(saved_settings().get("metrics_dir", "")))),
        keys=key_files(),
        host=read_host(run),
        warnings=[f"the Pod bridge {names.bridge} stays, because {reason}" for reason in bridge_stays],
    )


def _links(names: ManagedNames, links: t.Sequence[Row], with_bridge: bool) -> list[str]:
    """Return the names of the managed links that exist."""
    device, bridge = find_link(names.device, links), find_link(names.bridge, links)
    alternate = find_link(ALTERNATE_LINK, links)
    found = [names.device] if kind_of(device) == "vxlan" and (names.saved or _is_managed(device)) else []
    found += [ALTERNATE_LINK] if alternate is not None and alternate.get("ifalias") == ALIAS else []
    found += [names.bridge] if with_bridge and kind_of(bridge) == "bridge" else []
    return found


def _is_managed(device: Row | None) -> bool:
    """Return whether a VXLAN link was created here. Its alias follows its MAC, and can be missing after a kill."""
    row = device or {}
    return row.get("ifalias") == ALIAS or str(row.get("address")).startswith(VTEP_MAC_PREFIX)


def _reasons_to_keep_bridge(names: ManagedNames, links: t.Sequence[Row]) -> t.Iterator[str]:
    """Yield why an existing bridge of this name stays: Pods are on it, or it may be that of another program."""
    row = find_link(names.bridge, links)
    if row is None or kind_of(row) != "bridge":
        return
    ports = [str(row.get("ifname")) for row in links if row.get("master") == names.bridge]
    container = [ipaddress.ip_network(cidr) for cidrs in names.cidrs.values() for cidr in cidrs]
    addresses = [each["local"] for each in row.get("addr_info", []) if each.get("scope") != "link"]
    others = [each for each in addresses if not any(ipaddress.ip_address(each) in cidr for cidr in container)]
    if ports:
        yield f"{len(ports)} Pods are on it: {some_of(ports, MOST_NAMED)}"
    elif not names.saved and names.bridge != OWN_BRIDGE:
        yield (
            f"no saved state of this host names it: if no other program needs it, remove it with "
            f"'ip link del {names.bridge}'"
        )
    elif names.saved and others:
        yield f"it is of another program: {some_of(others, MOST_NAMED)} is in no container CIDR"


def _routes(table: RouteTable, run: Run) -> list[str]:
    return [table.drop(key, found.spec) for key, found in table.read(run).items() if found.managed]


def _remove(remains: NodeRemains, run: Run) -> None:
    """Remove the timers first, because they would restore the rest; then the CNI configuration, before the network.

    Without the CNI configuration a kubelet regards the network as not ready.
    """
    cancel(run)
    accept_own_mac_only(run)
    stop_units(remains.host, run)
    remove_file(CNI_FILE)
    for version, lines in remains.routes.items():
        run_batch(("ip", version), lines, run)
    run_batch(("ip",), [f"link del {name}" for name in remains.links], run)
    for name in remains.wireguard:
        for command in removal(name, remains.host.systemd):
            run(command, None)
    if remains.rules:
        delete_table(TABLE, run)
    cleanup.remove(remains.endpoint, run)
    for path in (*remains.files, *remains.keys, RECORD_TEXT, RECORD_LISTING, PREPARED_NOTE, *METRICS_RECORDS):
        remove_file(path)
    shutil.rmtree(files.ROOT + PROBE_CACHE, ignore_errors=True)
    remove_staged_files(FILES)
    with contextlib.suppress(OSError):  # it does not exist, or foreign files are in it
        os.rmdir(files.ROOT + STATE)
    if not {*UNIT_FILES, *PROBE_UNIT_FILES, WIREGUARD_UNIT_FILE}.isdisjoint(remains.files):
        reload_units(run)
    reload_managers(remains.files, remains.host, run)

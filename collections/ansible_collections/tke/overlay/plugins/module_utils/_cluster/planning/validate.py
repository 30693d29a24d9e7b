# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the settings and the inventory of a cluster: limits, overlapping ranges, duplicate addresses.

No check stops at the first error: each yields one problem for each conflict,
which names both sides and the variable or host that each comes from.
"""

from __future__ import annotations

import collections
import typing as t

try:
    import netaddr
except ImportError:  # ansible-test imports every module_utils without it; plugins check HAS_NETADDR
    HAS_NETADDR = False
else:
    HAS_NETADDR = True

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    DEVICE_NAME,
    DEVICE_NAME_RULE,
    MIN_MTU,
    OVERHEAD,
    overlay_mtu,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import Matches
from ansible_collections.tke.overlay.plugins.module_utils._errors import range_problems, some_of
from ansible_collections.tke.overlay.plugins.module_utils._links import WIREGUARD_PORT
from ansible_collections.tke.overlay.plugins.module_utils._names import (
    INVENTORY_NAME,
    INVENTORY_NAME_RULE,
    is_one_line,
    shown,
)

KINDS = ("cloud", "idc")
"""The groups that say what kind of host a node is; also its site, if it has no ``overlay_site``."""

OWN_VARIABLE = "overlay_underlay_ip"

NOT_ONE_LINE = "is not one line of printable characters without spaces at its ends"

ONLY_CLOUD = "there are only cloud nodes, and this mode is meant for clusters that have IDC nodes too"

MOST_NAMES = 8
"""Nodes that one problem names."""


class ClusterSettings(t.NamedTuple):
    """The cluster-wide variables, with checked types; the content of ``networks`` is not checked yet.

    ``adopted`` are the Node objects of a running cluster whose podCIDRs become node CIDRs, if it is adopted.
    ``links`` are the items of ``overlay_links``, ``None`` in a cluster without links;
    ``wireguard_keys`` are the public keys that hosts have, by name, see :mod:`links`.
    """

    cluster: str
    container_cidr: list[str]
    max_pods_per_node: int
    max_services: int
    networks: t.Mapping[str, t.Any] = {}
    reserved: t.Sequence[str] = ()
    clb_subnet: str | None = None
    require_idc: bool = False
    device: str = "tke0"
    vni: int = 1
    port: int = 8472
    bridge: str = "tke-br0"
    adopted: Matches | None = None
    links: t.Sequence[t.Mapping[str, t.Any]] | None = None
    wireguard_port: int = WIREGUARD_PORT
    wireguard_keys: t.Mapping[str, str] = {}


class InventoryNode(t.NamedTuple):
    """The variables of one host of the inventory; nothing is checked yet.

    ``kinds`` are the groups among ``cloud`` and ``idc`` that contain the host. It is
    ``None`` in the module ``node_cidr``, which only allocates node CIDRs: then
    neither a site nor an underlay address is required. ``underlay_from`` is the
    variable that has the underlay address; if it is empty, that variable cannot be
    evaluated, which is reported elsewhere. ``site`` is ``overlay_site``, the place of
    the host; without it, that is its group.
    """

    name: str
    kinds: t.Sequence[str] | None = None
    underlay_ip: t.Any = None
    underlay_mtu: t.Any = None
    node_cidr: t.Any = None
    underlay_from: str = "overlay_underlay_ip"
    site: t.Any = None
    wireguard_endpoint: t.Any = None

    def place(self) -> str:
        """Return the site of the host; an empty string if it has none."""
        if self.site is not None:
            return str(self.site)
        return self.kinds[0] if self.kinds else ""


def problems_of_cluster(settings: ClusterSettings) -> t.Iterator[str]:
    """Yield the problems of the cluster-wide variables."""
    if not settings.cluster.strip():
        yield "overlay_cluster is empty: set the name of the cluster, which its ledger records"
    elif not is_one_line(settings.cluster):
        yield f"overlay_cluster {shown(settings.cluster)} {NOT_ONE_LINE}"
    for variable, name in (("overlay_device", settings.device), ("overlay_bridge", settings.bridge)):
        if not DEVICE_NAME.fullmatch(name):
            yield f"{variable} is {shown(name)}: {DEVICE_NAME_RULE}"
    if settings.device == settings.bridge:
        yield f"overlay_device and overlay_bridge are both {settings.device!r}: set two different names"
    yield from range_problems("overlay_vni", settings.vni, 1, (1 << 24) - 1)
    yield from range_problems("overlay_port", settings.port, 1, 65535)
    yield from _problems_of_networks(settings)


def _problems_of_networks(settings: ClusterSettings) -> t.Iterator[str]:
    container = _parsed(settings.container_cidr)
    for where, given in _outside(settings):
        network = _network(given)
        if network is None:
            yield f"{where}: {shown(given)} is not a network such as 10.0.0.0/16"
            continue
        if "/" not in given:
            yield f"{where}: {shown(given)} has no prefix length: write it as in 10.0.0.0/16, or {given}/32"
        for cidr in container:
            if network in cidr or cidr in network:
                yield f"container CIDR {cidr} (overlay_container_cidr) overlaps {network} ({where}): change one of them"


def _outside(settings: ClusterSettings) -> t.Iterator[tuple[str, t.Any]]:
    """Yield every network that the container CIDR must not overlap, with its variable."""
    for name, cidrs in settings.networks.items():
        for cidr in cidrs if isinstance(cidrs, (list, tuple)) else [cidrs]:
            yield f"{name} of overlay_networks", cidr
    if settings.clb_subnet is not None:
        yield "overlay_clb_subnet", settings.clb_subnet


def lacks_idc(nodes: t.Sequence[InventoryNode]) -> bool:
    """Return whether all nodes of a known kind are cloud nodes. TKE rejects this mode for such a cluster."""
    kinds = [node.kinds for node in nodes if node.kinds is not None]
    return bool(kinds) and not any("idc" in some for some in kinds)


def problems_of_sites(nodes: t.Sequence[InventoryNode], settings: ClusterSettings) -> t.Iterator[str]:
    """Yield the problems of the fleet as a unit."""
    if settings.require_idc and lacks_idc(nodes):
        yield f"{ONLY_CLOUD}: add a host to group idc, or unset overlay_require_idc"


def problems_of_nodes(
    nodes: t.Sequence[InventoryNode], settings: ClusterSettings, orphans: t.Sequence[InventoryNode] = ()
) -> t.Iterator[str]:
    """Yield the problems of each node's variables, and the conflicts between nodes.

    :param orphans: nodes that are only in the ledger. They stay peers, so they can conflict as well.
    """
    container = _parsed(settings.container_cidr)
    for node in nodes:
        yield from _problems_of_name_and_site(node)
        yield from _problems_of_underlay(node, container)
        yield from _problems_of_mtu(node)
        if node.node_cidr is not None and not isinstance(node.node_cidr, str):
            yield (
                f"node {node.name}: overlay_node_cidr {shown(node.node_cidr)} is not a node CIDR such as 10.244.3.0/24"
            )
    yield from _problems_of_host_names(nodes)
    for node in orphans:
        yield from _problems_of_underlay(node, container)
    yield from _problems_between(nodes, orphans)


def _problems_of_name_and_site(node: InventoryNode) -> t.Iterator[str]:
    if not INVENTORY_NAME.fullmatch(node.name):
        yield f"node {shown(node.name)}: {INVENTORY_NAME_RULE}"
    if node.kinds is not None and len(node.kinds) != 1:
        where = f"in {' and '.join(node.kinds)}" if node.kinds else f"in none of {' and '.join(KINDS)}"
        yield f"node {shown(node.name)[1:-1]} is {where}: put it in exactly one of these groups"


def _problems_of_underlay(node: InventoryNode, container: t.Sequence[netaddr.IPNetwork]) -> t.Iterator[str]:
    given, variable = node.underlay_ip, node.underlay_from
    if given in (None, ""):
        if node.kinds is None or not variable:
            return
        yield f"node {node.name} has no underlay address: set overlay_underlay_ip, or a numeric ansible_host"
        return
    address = numeric_address(given)
    if address is None:
        if variable == OWN_VARIABLE:
            yield f"node {node.name}: {variable} {shown(given)} is not a numeric address{_without_length(given)}"
        return
    remedy = "" if variable == OWN_VARIABLE else f": set {OWN_VARIABLE}"
    if address.is_loopback() or address.is_multicast() or address.is_link_local() or int(address) == 0:
        yield f"node {node.name}: {variable} {address} is not an address that another host could reach{remedy}"
    for network in container:
        if address in network:
            yield (
                f"node {node.name}: {variable} {address} lies in the container CIDR {network} (overlay_container_cidr)"
            )


def _problems_of_host_names(nodes: t.Sequence[InventoryNode]) -> t.Iterator[str]:
    """Yield one problem for all nodes of which only a name is known, and no number."""
    named = [
        f"{node.name} ({'its name' if node.underlay_from == 'inventory_hostname' else node.underlay_from} is "
        f"{shown(node.underlay_ip)})"
        for node in nodes
        if node.underlay_from not in (OWN_VARIABLE, "")
        and node.underlay_ip not in (None, "")
        and numeric_address(node.underlay_ip) is None
    ]
    if named:
        yield (
            f"no numeric underlay address is known for {some_of(named, MOST_NAMES)}: set {OWN_VARIABLE} of each host "
            f"to the address at which the other nodes reach it"
        )


def _without_length(given: t.Any) -> str:
    """Return a hint if a value is an address with a prefix length."""
    address = numeric_address(given.partition("/")[0]) if isinstance(given, str) and "/" in given else None
    return "" if address is None else f": write {address}, without a prefix length"


def _problems_of_mtu(node: InventoryNode) -> t.Iterator[str]:
    address, mtu = numeric_address(node.underlay_ip), whole_number(node.underlay_mtu)
    if mtu is None and node.underlay_mtu is not None:
        yield f"node {node.name}: overlay_underlay_mtu {shown(node.underlay_mtu)} is not a number of bytes"
    if address is None or mtu is None:
        return
    least = MIN_MTU[address.version]
    if overlay_mtu([(str(address), mtu)]) < least:
        yield (
            f"node {node.name}: overlay_underlay_mtu {mtu} leaves the overlay {mtu - OVERHEAD[address.version]} bytes; "
            f"it needs at least {least}"
        )
    elif mtu > 65535:
        yield f"node {node.name}: overlay_underlay_mtu {mtu} is more than the largest IP packet (65535)"


def _problems_between(nodes: t.Sequence[InventoryNode], orphans: t.Sequence[InventoryNode]) -> t.Iterator[str]:
    holders: dict[netaddr.IPAddress, list[str]] = collections.defaultdict(list)
    absent = {node.name for node in orphans}
    for node in [*nodes, *orphans]:
        address = numeric_address(node.underlay_ip)
        if address is not None:
            holders[address].append(node.name)
    for address, names in holders.items():
        if len(names) > 1:
            yield (
                f"nodes {', '.join(names)} all have the underlay address {address} (overlay_underlay_ip): "
                f"each needs its own{_how_to_release([name for name in names if name in absent])}"
            )
    versions = {address.version: names[0] for address, names in holders.items()}
    if len(versions) > 1:
        both = " and ".join(f"IPv{version} (node {name})" for version, name in sorted(versions.items()))
        yield f"the underlay addresses are {both}: use one IP version for all nodes (overlay_underlay_ip)"


def _how_to_release(orphans: t.Sequence[str]) -> str:
    if not orphans:
        return ""
    names = ", ".join(orphans)
    return f" ({names} is in the ledger but not in the inventory: release {names} first, or add it to the inventory)"


def numeric_address(given: t.Any) -> netaddr.IPAddress | None:
    """Return the address, or ``None`` for anything else (a host name, a number, nothing)."""
    if not isinstance(given, str):
        return None
    try:
        return netaddr.IPAddress(given.strip(), flags=netaddr.INET_PTON)
    except (netaddr.AddrFormatError, ValueError):
        return None


def whole_number(given: t.Any) -> int | None:
    """Return the integer, also from digits in a string (as ``-e`` passes them); ``None`` for anything else."""
    if isinstance(given, bool) or not isinstance(given, (int, str)):
        return None
    try:
        return int(given)
    except ValueError:
        return None


def _network(given: t.Any) -> netaddr.IPNetwork | None:
    try:
        return netaddr.IPNetwork(given, flags=netaddr.NOHOST).cidr if isinstance(given, str) else None
    except (netaddr.AddrFormatError, ValueError):
        return None


def _parsed(cidrs: t.Iterable[str]) -> list[netaddr.IPNetwork]:
    """Return the valid networks; :class:`Pool` reports the others."""
    networks = (_network(cidr) for cidr in cidrs)
    return [network for network in networks if network is not None]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The target: everything that a host must have according to its document."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    PLAN_SCHEMA,
    NodeDocument,
    Peer,
    device_problems,
    network_problems,
    parse_fleet,
    plan_id,
    vtep_address,
    vtep_mac,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import FileSpecs, Texts, read_sysctls
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    NO_ALLOWANCES,
    RulesSpec,
    RulesTable,
    TransitionAllowances,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import (
    BridgeTable,
    FormerBridgeTable,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import RouteTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import NOTHING, Table, Wanted, wanted_of
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import DEVICES as WIREGUARD_DEVICES
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import WireguardSpec, WireguardTable
from ansible_collections.tke.overlay.plugins.module_utils._host.node.alternate_link import alternate_link_of
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import CNI_FILE, conflist
from ansible_collections.tke.overlay.plugins.module_utils._host.node.outward_links import outward_sysctls
from ansible_collections.tke.overlay.plugins.module_utils._host.node.peer_links import (
    HostLinks,
    entries_of,
    host_links,
    link_counts,
    link_rules,
    vxlan_underlays,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.wireguard_devices import (
    wireguard_specs,
    with_former_peers,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import checksums_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import (
    drop_ins,
    wanted_sysctls,
    wireguard_sysctls,
    without_missing,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    CHECKSUMS,
    METRICS_STATE_FILES,
    STATE,
    WIREGUARD_FILE,
    WIREGUARD_FILES,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import (
    SavedState,
    saved_settings,
    state_files,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts, unit_files
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import LEDGER_LINE, is_version, newest
from ansible_collections.tke.overlay.plugins.module_utils._links import VXLAN
from ansible_collections.tke.overlay.plugins.module_utils._names import is_one_line, shown

INTERVAL = 30
"""Default number of seconds between two runs of the restore timer."""


class NodeTables(t.NamedTuple):
    """The kernel tables of a node that are written entry by entry, and what each must hold."""

    routes: RouteTable
    fdb: FdbTable
    neighbors: NeighborTable
    bridge: BridgeTable
    wanted: t.Mapping[str, Wanted]  # by the name of the table

    def in_removal_order(self) -> list[tuple[Table, Wanted]]:
        """Return each table with what it must hold: routes are removed first and added last."""
        tables: list[Table] = [self.routes, self.fdb, self.neighbors, self.bridge]
        return [(table, self.wanted[table.name]) for table in tables]


class Target(t.NamedTuple):
    """What one host must have.

    ``drop_ins`` are the files that must exist before the link does. ``files`` are
    written after the kernel's tables, the CNI configuration last: once it exists,
    a kubelet regards the network as ready.
    ``alternate_link`` receives on the other port during a change of the port.
    ``links`` are the links to all peers. ``flannel_gateways`` are the gateways that flannel would use
    for the route to each peer, by its key: the underlay address of the peer (host-gw) and its VTEP address (vxlan).
    ``former_links`` are the links of a former overlay by which the host accepts packets of Pods as well.
    ``pods`` is whether the host has Pods. Without them it has neither Pod bridge nor
    CNI configuration, and forwards nothing.
    """

    link: LinkSpec
    alternate_link: LinkSpec | None
    tables: NodeTables
    rules: RulesTable
    wireguard: WireguardTable
    sysctls: Texts
    drop_ins: FileSpecs
    files: FileSpecs
    host: HostFacts
    saved: SavedState
    links: HostLinks
    flannel_gateways: t.Mapping[str, t.Collection[str]]
    former_links: t.Sequence[str]
    pods: bool

    def sysctls_with(self, outward: t.Iterable[str]) -> Texts:
        """Return the sysctls that the host must have now. The CNI plugin creates the Pod bridge with the first Pod.

        :param outward: the links by which packets leave the cluster, see :mod:`outward_links`.
        """
        outward_of_pods = outward_sysctls(outward) if self.pods else {}
        return without_missing(self.saved.bridge, {**self.sysctls, **outward_of_pods})

    @property
    def underlays(self) -> list[str]:
        """The underlay addresses of the peers that need the full MTU of the VXLAN device."""
        return vxlan_underlays(self.links)

    @property
    def all_files(self) -> FileSpecs:
        """The drop-ins and the other files."""
        return {**self.drop_ins, **self.files}


def build_target(
    document: NodeDocument,
    host: HostFacts,
    interval: int = INTERVAL,
    allowances: TransitionAllowances = NO_ALLOWANCES,
    *,
    pods: bool = True,
) -> Target:
    """Return what the host ``document["node"]`` must have.

    :param interval: seconds between two runs of the restore timer.
    :param allowances: what the host accepts in addition while other hosts change to the plan.
    :param pods: whether the host has Pods.
    :raises ValidationError: the interval or the schema of the document is invalid, or the plan has no such node.
    """
    _validate(document, interval)
    own, peers = own_and_peers(document)
    links = host_links(document, (own, peers), host.on_link, allowances.former, allowances.kept)
    link, bridge = _link_of(document, own, links.vxlan_mtu), document["bridge"] if pods else ""
    tables, spec = _tables_of(document, links, pods), _rules_of(document, links, allowances)._replace(bridge=bridge)
    rules = RulesTable(spec)
    wireguard = _wireguard_of(document, (own, peers), host, allowances)
    common = wanted_sysctls(link.name, bridge, len(peers), host, read_sysctls)
    saved = SavedState(
        link=link,
        bridge=bridge,
        node_cidr=own.node_cidr,
        cidrs=document["container_cidr"],
        tables=tables.in_removal_order(),
        rules=rules.text,
        sysctls={**common, **_sysctls_of_links(wireguard, spec, pods)},
        metrics=_metrics_settings(host, wireguard.specs),
        summary={**_summary(document, link, links, pods), **_link_lines(document, links)},
        fleet=document["fleet"],
        pod_mtu=links.pod_mtu if links.listed else None,
    )
    network_files = _network_files(saved, wireguard, host)
    other_files = {
        **state_files(saved),
        **_wireguard_files(wireguard),
        **unit_files(interval, host),
        **_metrics_files(document, links, host, bridge, wireguard.specs),
        CNI_FILE: conflist(own.node_cidr, bridge, links.pod_mtu, host.cni) if pods else None,
    }
    return Target(
        link=link,
        alternate_link=alternate_link_of(link, allowances.port),
        tables=tables,
        rules=rules,
        wireguard=wireguard,
        sysctls=saved.sysctls,
        drop_ins=network_files,
        files={CHECKSUMS: checksums_text(CHECKSUMS, {**network_files, **other_files}), **other_files},
        host=host,
        saved=saved,
        links=links,
        flannel_gateways=_flannel_gateways(peers),
        former_links=allowances.links,
        pods=pods,
    )


def _wireguard_of(
    document: NodeDocument, fleet: tuple[Peer, t.Sequence[Peer]], host: HostFacts, allowances: TransitionAllowances
) -> WireguardTable:
    """Return the WireGuard devices, with the peers to which the host still sends by them during a cutover.

    :param fleet: the host and all other nodes, from the document.
    """
    devices = wireguard_specs(document, *fleet, bool(allowances.wireguard))
    devices = with_former_peers(devices, allowances.former) if allowances.former else devices
    table = WireguardTable(devices, host.systemd, allowances.wireguard)
    table.dials = os.path.lexists(files.ROOT + WIREGUARD_FILE)
    return table


def _flannel_gateways(peers: t.Iterable[Peer]) -> dict[str, tuple[str, str]]:
    return {peer.node_cidr: (peer.underlay, vtep_address(peer.node_cidr)) for peer in peers}


def _sysctls_of_links(wireguard: WireguardTable, rules: RulesSpec, pods: bool) -> Texts:
    """Return the sysctls of the WireGuard devices, and of the links by which packets of direct peers come."""
    return {
        **wireguard_sysctls([each.name for each in wireguard.specs], pods),
        **outward_sysctls(rules.links.passing if rules.links and pods else ()),
    }


def _network_files(saved: SavedState, wireguard: WireguardTable, host: HostFacts) -> FileSpecs:
    """Return the drop-ins, which must exist before the devices do."""
    devices = WIREGUARD_DEVICES if wireguard.specs else ()
    return drop_ins(saved.link.name, saved.bridge, saved.sysctls, host, devices)


def _wireguard_files(wireguard: WireguardTable) -> FileSpecs:
    """Return the saved devices; without any, that the files of former ones must not exist."""
    if wireguard.specs:
        return {WIREGUARD_FILE: wireguard.text()}
    return {path: None for path in WIREGUARD_FILES if os.path.lexists(files.ROOT + path)}


# Python compiles a module at each import on a host, so a host without metrics and links does without their modules.


def _metrics_files(
    document: NodeDocument, links: HostLinks, host: HostFacts, bridge: str, wireguard: t.Sequence[WireguardSpec]
) -> FileSpecs:
    """Return the files of the metrics; ``None`` for those that the host must not have."""
    if not (host.metrics.directory or saved_settings().get("metrics_dir")):
        return dict.fromkeys(METRICS_STATE_FILES)
    from ansible_collections.tke.overlay.plugins.module_utils._host.node.metrics import (  # noqa: PLC0415
        metrics_files,
    )

    return metrics_files(document, links, host.metrics, bridge, wireguard)


def _metrics_settings(host: HostFacts, wireguard: t.Sequence[WireguardSpec]) -> t.Mapping[str, str]:
    """Return what the restore script must know to write metrics; empty if it writes none."""
    if not host.metrics.directory:
        return {}
    from ansible_collections.tke.overlay.plugins.module_utils._host.node.metrics import (  # noqa: PLC0415
        metrics_settings,
    )

    return metrics_settings(host.metrics, wireguard)


def _link_lines(document: NodeDocument, links: HostLinks) -> t.Mapping[str, str]:
    """Return the lines of the summary from which the links of a lost ledger are rebuilt."""
    if not links.listed:
        return {}
    from ansible_collections.tke.overlay.plugins.module_utils._host.state.fleet import link_lines  # noqa: PLC0415

    return link_lines(document, links.own.site)


def _validate(document: NodeDocument, interval: int) -> None:
    problems = range_problems("restore_interval (overlay_restore_interval)", interval, 1, 86_400, "seconds")
    if document["schema"] != PLAN_SCHEMA:
        problems.append(
            f"the plan has schema {document['schema']}, and this release reads schema {PLAN_SCHEMA}: "
            f"use the same release of tke.overlay for the plan and for the hosts"
        )
    problems += problems_of_texts(document)
    if problems:
        raise ValidationError(*problems)


def problems_of_texts(document: NodeDocument) -> list[str]:
    """Return the problems of the texts of a document that become words of a batch, of rules or of a file.

    The plan has them from a validated inventory; a task can pass any document. :func:`parse_fleet` checks the fleet.
    """
    problems = []
    if not is_one_line(document["cluster"]):
        problems.append(f"document: cluster {shown(document['cluster'])} is not a text of one line")
    for key in ("device", "bridge"):
        problems += device_problems(f"document: {key}", t.cast(t.Dict[str, str], document)[key])
    if not document["container_cidr"]:
        problems.append("document: container_cidr is empty")
    for cidr in document["container_cidr"]:
        problems += network_problems("document: container_cidr", cidr)
    versions = document.get("ledger_versions")
    if versions is not None and not all(map(is_version, versions.split(" "))):
        problems.append(f"document: ledger_versions {shown(versions)} are not versions such as 41-3fa9c2d1")
    return problems + network_problems("document: service_cidr", document["service_cidr"])


def own_and_peers(document: NodeDocument) -> tuple[Peer, list[Peer]]:
    """Return the host's own entry of the fleet, and the entries of all other nodes.

    :raises ValidationError: the fleet has no entry of the host.
    """
    fleet = parse_fleet(document["fleet"])
    own = fleet.pop(document["node"], None)
    if own is None:
        raise ValidationError(
            f"node {shown(document['node'])[1:-1]} is not in the plan: add it to the inventory group that is planned"
        )
    return own, list(fleet.values())


def _link_of(document: NodeDocument, own: Peer, mtu: int) -> LinkSpec:
    return LinkSpec(
        name=document["device"],
        vni=document["vni"],
        port=document["port"],
        local=own.underlay,
        mac=vtep_mac(own.node_cidr),
        mtu=mtu,
        addresses=[f"{vtep_address(own.node_cidr)}/32"],
    )


def _rules_of(document: NodeDocument, links: HostLinks, allowances: TransitionAllowances) -> RulesSpec:
    """Return what determines the rules. ``allowances.former`` are those of ``links``."""
    before = [former.underlay for former in links.former.values() if former.underlay]
    return RulesSpec(
        device=document["device"],
        bridge=document["bridge"],
        port=document["port"],
        mtu=document["mtu"],
        node_cidr=links.own.node_cidr,
        container_cidrs=document["container_cidr"],
        peers=[each.peer.underlay for each in links.with_transport(VXLAN)],
        also=allowances._replace(peers=[*allowances.peers, *before]),
        links=link_rules(links, bool(allowances.wireguard)),
    )


def _tables_of(document: NodeDocument, links: HostLinks, pods: bool) -> NodeTables:
    """Return the tables with the entries of each peer."""
    device, bridge_table = document["device"], BridgeTable if pods else FormerBridgeTable
    routes = RouteTable(device, within=document["container_cidr"], bridge=document["bridge"])
    fdb, neighbors, entries = FdbTable(device), NeighborTable(device), entries_of(links)
    wanted = {table.name: wanted_of(table, entries[table.name]) for table in (routes, fdb, neighbors)}
    return NodeTables(
        routes=routes,
        fdb=fdb,
        neighbors=neighbors,
        bridge=bridge_table(document["bridge"], document["container_cidr"], links.own.node_cidr),
        wanted={**wanted, BridgeTable.name: NOTHING},
    )


_NO_POD_BRIDGE = "none: this host has no Pods (overlay_pods is false)"


def _summary(document: NodeDocument, link: LinkSpec, links: HostLinks, pods: bool) -> dict[str, object]:
    """Return the lines of the file ``summary``, in the order in which an operator needs them."""
    node_cidr, versions = links.own.node_cidr, document.get("ledger_versions", "")
    return {
        "cluster": document["cluster"],
        "node": document["node"],
        "plan": plan_id(document),
        **({LEDGER_LINE: newest(versions)} if versions else {}),
        "node_cidr": node_cidr,
        "VTEP": f"{vtep_address(node_cidr)} {link.mac} on {link.name}",
        "underlay": f"{link.local}, UDP port {link.port}, VNI {link.vni}",
        "MTU": links.pod_mtu,
        **({"site": links.own.site, "links": link_counts(links)} if links.listed else {}),
        "Pod bridge": document["bridge"] if pods else _NO_POD_BRIDGE,
        "container CIDR": " ".join(document["container_cidr"]),
        "Service range": document["service_cidr"],
        "peers": len(links.peers),
        "restored by": f"sh {STATE}/restore (tke-overlay.service at boot, tke-overlay.timer periodically)",
    }

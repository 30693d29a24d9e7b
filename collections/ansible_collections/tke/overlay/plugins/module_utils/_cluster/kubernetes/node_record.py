# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the ledger and the hosts say about Node objects: the Pod CIDR, and the condition NetworkUnavailable."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.changes import Change, retried
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import (
    NODE_STATUS,
    NODES,
    Api,
    ApiError,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import (
    NETWORK_UNAVAILABLE,
    ApiNode,
    NodeHost,
    match,
    node_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

REASON = "TkeOverlayConverged"
"""The reason of the condition, by which a reader recognises who set it."""

MESSAGE = "tke.overlay has configured the overlay on this node"


@dataclasses.dataclass(frozen=True)
class LedgerNodes:
    """The nodes of the ledger. ``fresh`` are those whose node CIDR is not recorded yet: they are only compared.

    ``underlays`` are the underlay addresses of the nodes, also of those that are not in the inventory.
    """

    node_cidrs: t.Mapping[str, str]
    hosts: t.Sequence[NodeHost]
    converged: t.Collection[str] = ()
    fresh: t.Collection[str] = ()
    container_cidr: t.Sequence[str] = ()
    underlays: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class NodeRow:
    """What is known of one host. ``node`` is the name of its Node object, empty if it has not joined.

    ``publish`` and ``clear`` are the two changes. ``recorded``: the ledger has the node CIDR already.
    """

    host: str
    node_cidr: str
    node: str = ""
    publish: bool = False
    clear: bool = False
    available: bool = False
    recorded: bool = True

    def to_dict(self) -> dict[str, t.Any]:
        """Return the row for the result of a task."""
        return dataclasses.asdict(self)


def compare(ledger: LedgerNodes, nodes: t.Sequence[ApiNode], address: str) -> tuple[list[NodeRow], list[Change]]:
    """Return a row for each host of the inventory, and the changes of Node objects.

    :param address: that of the API server, for the diff.
    :raises ValidationError: names every Node object that contradicts the ledger.
    """
    problems: list[str] = []
    try:
        matches = match(ledger.hosts, nodes)
    except ValidationError as error:
        # These can be hosts of the inventory, which were not matched.
        possible = {ledger.node_cidrs.get(host.name) for host in ledger.hosts}
        others = [node for node in nodes if possible.isdisjoint(node.pod_cidrs)]
        raise ValidationError(*error.problems, *_problems_of_strangers(ledger, others)) from None
    rows, changes = [], []
    for host in ledger.hosts:
        node_cidr = ledger.node_cidrs.get(host.name, "")
        node = matches.nodes.get(host.name)
        if node is None or not node_cidr:
            rows.append(NodeRow(host.name, node_cidr, node.name if node else ""))
            continue
        problems += _problems_of_pod_cidrs(host.name, node_cidr, node, ledger)
        row = _row(host.name, node_cidr, node, ledger)
        rows.append(row)
        if row.publish or row.clear:
            changes.append(_change(row, node, address))
    problems += _problems_of_strangers(ledger, matches.unknown)
    if problems:
        raise ValidationError(*problems)
    return rows, changes


def _row(host: str, node_cidr: str, node: ApiNode, ledger: LedgerNodes) -> NodeRow:
    recorded = host not in ledger.fresh
    available = node.network_unavailable == "False"
    return NodeRow(
        host,
        node_cidr,
        node.name,
        publish=recorded and not node.pod_cidrs,
        clear=recorded and not available and host in ledger.converged,
        available=available,
        recorded=recorded,
    )


def _problems_of_pod_cidrs(host: str, node_cidr: str, node: ApiNode, ledger: LedgerNodes) -> t.Iterator[str]:
    if not node.pod_cidrs or node_cidr in node.pod_cidrs:
        return
    is_fresh = host in ledger.fresh
    have = " and ".join(node.pod_cidrs)
    what = "would get" if is_fresh else "has"
    follow = (
        f"drain the node, 'kubectl delete node {node.name}', restart its kubelet, and run kube-controller-manager with "
        f"--allocate-node-cidrs=false, so that it does not choose one again"
    )
    ipv4 = next((each for each in node.pod_cidrs if ":" not in each), None)
    ways = f"let Kubernetes follow the ledger, as the overlay carries IPv4 only: {follow}"
    if ipv4 is not None:
        pin = f"set overlay_node_cidr: {ipv4} for {host}"
        if ledger.container_cidr and not _is_inside(ipv4, ledger.container_cidr):
            pin += f", after a container CIDR that has {ipv4} was appended to overlay_container_cidr"
        if not is_fresh:
            pin = f"release {host} (tke.overlay.release), and {pin} before it is added again"
        ways = f"either let the ledger follow Kubernetes: {pin}. Or let Kubernetes follow the ledger: {follow}"
    yield (
        f"Node {node.name} has the podCIDR {have}, and host {host} {what} the node CIDR {node_cidr} in the ledger; "
        f"podCIDR cannot be changed: {ways}"
    )


def _is_inside(text: str, networks: t.Sequence[str]) -> bool:
    """Whether a network is a part of one of the others."""
    try:
        found = _network(text)
    except ValueError:
        return False
    known = map(_network, networks)
    return any(each.version == found.version and found.subnet_of(each) for each in known)


def _problems_of_strangers(ledger: LedgerNodes, nodes: t.Sequence[ApiNode]) -> t.Iterator[str]:
    """Yield the Node objects of no host whose Pod CIDR overlaps the node CIDR of another node."""
    owners = {_network(node_cidr): host for host, node_cidr in ledger.node_cidrs.items()}
    present = {host.name for host in ledger.hosts}
    for node in nodes:
        for pod_cidr in node.pod_cidrs:
            for network, host in _overlapping(owners, pod_cidr):
                if node.name != host and not (host not in present and _is_same(node, host, ledger)):
                    yield (
                        f"Node {node.name}, which is no host of the inventory, has the podCIDR {pod_cidr}, and the "
                        f"ledger gives {network} to {_ways_out(node, host, host in present)}"
                    )


def _is_same(node: ApiNode, host: str, ledger: LedgerNodes) -> bool:
    """Whether a Node object has the address and the node CIDR of a node of the ledger."""
    return ledger.underlays.get(host) in node.internal_ips and ledger.node_cidrs[host] in node.pod_cidrs


def _ways_out(node: ApiNode, host: str, is_present: bool) -> str:
    """Return the owner of a node CIDR, and what to do if a Node object of another name has it, too."""
    gone = f"if the machine of the Node is gone, 'kubectl delete node {node.name}'"
    if is_present:
        return (
            f"{host}: if that is the same machine, set overlay_kubernetes_node: {node.name} for {host}; {gone}; if it "
            f"is another one that runs, drain it, delete the Node, and let the machine join as a host of the inventory"
        )
    return (
        f"{host}, which is not in the inventory: if that is the same machine, put {host} back into the inventory with "
        f"overlay_kubernetes_node: {node.name}, or release it (tke.overlay.release -e overlay_release={host}); {gone}"
    )


def _network(text: str) -> t.Any:
    return ipaddress.ip_network(text)


def _overlapping(owners: t.Mapping[t.Any, str], text: str) -> list[tuple[t.Any, str]]:
    try:
        found = _network(text)
    except ValueError:
        return []
    if found in owners:
        return [(found, owners[found])]
    return [(each, host) for each, host in owners.items() if each.version == found.version and each.overlaps(found)]


# --- changes --------------------------------------------------------------------------------------


def _change(row: NodeRow, node: ApiNode, address: str) -> Change:
    before = (" ".join(node.pod_cidrs) or "none", node.network_unavailable or "not set", node.network_reason)
    after = (
        row.node_cidr if row.publish else before[0],
        "False" if row.clear else before[1],
        REASON if row.clear else before[2],
    )
    return Change(
        "nodes",
        f"Node objects of {address}",
        _text(node.name, *before),
        _text(node.name, *after),
        functools.partial(_apply, row, node),
    )


def _text(name: str, pod_cidrs: str, unavailable: str, reason: str) -> str:
    why = f" ({shown(reason)[1:-1]})" if reason else ""
    return f"{name}: podCIDRs {pod_cidrs}, {NETWORK_UNAVAILABLE} {unavailable}{why}\n"


def _apply(row: NodeRow, node: ApiNode, api: Api) -> list[str]:
    """Change a Node object. Only the first attempt trusts what was read for the comparison."""
    known: list[ApiNode] = [node]

    def current() -> ApiNode | None:
        return known.pop() if known else api.node(row.node)

    def publish() -> None:
        found = current()
        if found is None or row.node_cidr in found.pod_cidrs:
            return
        if found.pod_cidrs:
            raise ApiError(
                f"another program has just set the podCIDR {found.pod_cidrs[0]} of Node {row.node}, to which the "
                f"ledger gives {row.node_cidr}: run kube-controller-manager with --allocate-node-cidrs=false, and run "
                f"the playbook again to read how to go on"
            )
        spec = {"podCIDR": row.node_cidr, "podCIDRs": [row.node_cidr]}
        known.append(node_of(api.patch(NODES, row.node, {**_precondition(found), "spec": spec})))

    def clear() -> None:
        found = current()
        if found is not None and found.network_unavailable != "False":
            body = {**_precondition(found), "status": {"conditions": [_condition()]}}
            api.patch(NODE_STATUS, row.node, body, strategic=True)

    if row.publish:
        retried(f"Node {row.node}", publish)
    if row.clear:
        retried(f"the status of Node {row.node}", clear)
    return []


def _precondition(node: ApiNode) -> dict[str, t.Any]:
    return {"metadata": {"resourceVersion": node.resource_version}}


def _condition() -> dict[str, str]:
    time = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": NETWORK_UNAVAILABLE,
        "status": "False",
        "reason": REASON,
        "message": MESSAGE,
        "lastHeartbeatTime": time,
        "lastTransitionTime": time,
    }

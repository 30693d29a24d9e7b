# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether every running Pod is on the Pod bridge, with an address of the host's node CIDR. Nothing is changed.

Which link belongs to a Pod is known from one of two sources. Container runtimes keep the result of each CNI call
(libcni's cache) with the name of the link and of the Pod. Without such a record, the addresses at the other end of the
link show it, if ``ip netns`` lists the name of its network namespace. Other programs name their links like the CNI
plugin ``bridge``, so a name alone is no evidence, and neither is a reservation of host-local, which can outlive its
Pod.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import some_of
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import Row, find_link
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, listed_together
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni import NETWORK
from ansible_collections.tke.overlay.plugins.module_utils._host.node.cni_checks import reserved_addresses
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodFinding, PodNetwork
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import names_in

CACHES = ("/var/lib/cni/results", "/var/lib/cni/cache/results")
"""Where libcni keeps results: of containerd and CRI-O, and of the former dockershim and cri-dockerd."""

MOST_NAMED = 3
"""Pods that a finding names."""

MOST_ENTERED = 32
"""Network namespaces that are read at the same time."""

_CNI_LINK = re.compile(r"veth[0-9a-f]{8}")
"""The host's end of a link that the CNI plugin bridge has created. LXD and others use such names, too."""

_PORT_SETTINGS = {"isolated": False, "hairpin": True, "bcast_flood": True}
"""Settings of a port that its Pod needs."""

_PORT_EFFECTS = {
    "isolated": ("isolated from the other Pods of this host", "isolated off"),
    "hairpin": ("without hairpin mode: a Pod does not reach itself by a Service", "hairpin on"),
    "bcast_flood": ("without broadcasts: nobody finds the Pod by ARP", "bcast_flood on"),
    "state": ("blocked: packets of these Pods are dropped", "state 3"),
}
"""What a wrong setting means, and the setting that is right."""


class PodRecord(t.NamedTuple):
    """A Pod of the overlay, as its container runtime has recorded it."""

    path: str
    pod: str  # namespace/name, or the start of the container's ID
    link: str  # of the host
    addresses: t.Sequence[str]
    sandbox: str  # path of the network namespace


def check_ports(network: PodNetwork, links: t.Sequence[Row], run: Run) -> list[PodFinding]:
    """Return the Pods whose links do not carry packets, and those with an address of another node CIDR."""
    records = pod_records()
    old = list(_old_addresses(network, links, records, run))
    own = _own_reservations(network)
    return [
        # The first Pod of a new node CIDR sets the address of the bridge.
        *_bridge(network, links, gateway=bool(own or not old)),
        *_settings(network, links),
        *_off_the_bridge(network, links, records, run),
        *_without_link(links, records),
        *old,
    ]


def ports_of(bridge: str, links: t.Iterable[Row]) -> list[Row]:
    """Return the links of Pods on the bridge."""
    return [row for row in links if row.get("master") == bridge and _kind(row) == "veth"]


def pod_records() -> list[PodRecord]:
    """Return the records of all container runtimes. A record can outlive its Pod."""
    records = []
    for directory in CACHES:
        for name in names_in(directory):
            if name.startswith(f"{NETWORK}-"):
                record = _record(f"{directory}/{name}")
                records += [record] if record else []
    return records


def _record(path: str) -> PodRecord | None:
    try:
        cached = json.loads(files.read_foreign(path))
        interfaces = cached["result"]["interfaces"]
        words = dict(cached.get("cniArgs") or [])
        name = f"{words['K8S_POD_NAMESPACE']}/{words['K8S_POD_NAME']}" if "K8S_POD_NAME" in words else ""
        # The bridge comes first, then the host's end of the Pod's link.
        (_bridge_name, link, *_rest) = [each["name"] for each in interfaces if not each.get("sandbox")]
        return PodRecord(
            path=path,
            pod=name or str(cached["containerId"])[:12],
            link=link,
            addresses=[each["address"].partition("/")[0] for each in cached["result"].get("ips", [])],
            sandbox=next((each["sandbox"] for each in interfaces if each.get("sandbox")), ""),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # of another version, or just removed


def _kind(row: Row) -> str:
    return str(row.get("linkinfo", {}).get("info_kind", ""))


def _is_up(row: Row) -> bool:
    return "UP" in row.get("flags", ())


# --- the bridge and its ports ---


def _own_reservations(network: PodNetwork) -> list[str]:
    """Return the addresses of the node CIDR that host-local has reserved."""
    return [address for address in reserved_addresses() if _is_inside(address, [network.node_cidr])]


def _bridge(network: PodNetwork, links: t.Sequence[Row], gateway: bool) -> t.Iterator[PodFinding]:
    """Yield what the next start of a Pod would set right, but the running Pods need now.

    :param gateway: check the address of the bridge, too.
    """
    row, address = find_link(network.bridge, links), f"{network.gateway}/{network.node_cidr.partition('/')[2]}"
    if row is None or not ports_of(network.bridge, links):
        return
    if not _is_up(row):
        yield PodFinding(
            "bridge",
            f"the Pod bridge {network.bridge} is down: no Pod of this host reaches anything",
            f"ip link set {network.bridge} up",
        )
    if gateway and address not in [f"{info['local']}/{info['prefixlen']}" for info in row.get("addr_info", [])]:
        yield PodFinding(
            "bridge",
            f"the Pod bridge {network.bridge} has no address {address}, the gateway of the Pods: Pods reach only "
            f"other Pods of this host",
            f"ip address add {address} dev {network.bridge}",
        )


def _settings(network: PodNetwork, links: t.Sequence[Row]) -> t.Iterator[PodFinding]:
    """Yield ports that are on the bridge and do not pass all packets."""
    bridge = find_link(network.bridge, links)
    if bridge is None or not _is_up(bridge):
        return
    down = [row["ifname"] for row in ports_of(network.bridge, links) if not _is_up(row)]
    if down:
        yield PodFinding(
            "port",
            f"{_links(down)} down, on the Pod bridge {network.bridge}: {_pods(down)} nothing",
            _commands("ip link set {} up", down),
        )
    blocked: dict[str, list[str]] = {}
    for row in ports_of(network.bridge, links):
        settings = row.get("linkinfo", {}).get("info_slave_data", {})
        for name, wanted in _PORT_SETTINGS.items():
            if settings.get(name, wanted) is not wanted:
                blocked.setdefault(name, []).append(row["ifname"])
        if settings.get("state") == "blocking":  # "disabled" is what a port is until the kernel sees its carrier
            blocked.setdefault("state", []).append(row["ifname"])
    for name, names in blocked.items():
        effect, command = _PORT_EFFECTS[name]
        yield PodFinding(
            "port",
            f"{_links(names)} on the Pod bridge {network.bridge}, but {effect}",
            _commands(f"bridge link set dev {{}} {command}", names),
        )


def _pods(names: t.Sized) -> str:
    return "this Pod reaches" if len(names) == 1 else "these Pods reach"


def _links(names: t.Sequence[str]) -> str:
    return f"{'the link' if len(names) == 1 else 'the links'} {some_of(names, MOST_NAMED)} {_are(names)}"


def _are(names: t.Sized) -> str:
    return "is" if len(names) == 1 else "are"


def _commands(command: str, names: t.Sequence[str]) -> str:
    more = f" (and the {len(names) - MOST_NAMED} others)" if len(names) > MOST_NAMED else ""
    return " && ".join(command.format(name) for name in names[:MOST_NAMED]) + more


# --- Pods that are not on the bridge ---


def _off_the_bridge(
    network: PodNetwork, links: t.Sequence[Row], records: t.Sequence[PodRecord], run: Run
) -> t.Iterator[PodFinding]:
    recorded = {record.link: record for record in records}
    apart = [row for row in links if _kind(row) == "veth" and row.get("master") != network.bridge]
    unknown = [row for row in apart if row["ifname"] not in recorded and _CNI_LINK.fullmatch(row["ifname"])]
    unknown.sort(key=lambda row: "master" in row)
    addresses = {row["ifname"]: recorded[row["ifname"]].addresses for row in apart if row["ifname"] in recorded}
    addresses.update(addresses_behind(unknown[:MOST_ENTERED], run))
    owned = {
        name: [address for address in each if _is_inside(address, network.container_cidrs)]
        for name, each in addresses.items()
    }
    names = [row["ifname"] for row in apart if owned.get(row["ifname"]) and not _leads_to_a_pod(row, network)]
    if not names:
        return
    named = [f"{name} ({_pod_text(owned[name][0], recorded.get(name))})" for name in names]
    what = f"{_links(named)} not on the Pod bridge {network.bridge}: {_pods(names)} nothing"
    if find_link(network.bridge, links) is None:
        yield PodFinding(
            "port",
            f"the Pod bridge {network.bridge} is missing. {what}",
            "sh /etc/tke-overlay/restore; delete those of these Pods that it does not put on the bridge",
        )
    else:
        yield PodFinding("port", what, _commands(f"ip link set {{}} master {network.bridge}", names))


def _leads_to_a_pod(row: Row, network: PodNetwork) -> bool:
    """Whether the link has an address of the container CIDR, as the CNI plugin ptp gives it, which needs no bridge."""
    return any(_is_inside(info["local"], network.container_cidrs) for info in row.get("addr_info", []))


def _is_inside(address: str, cidrs: t.Iterable[str]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed in ipaddress.ip_network(cidr) for cidr in cidrs)


def _pod_text(address: str, record: PodRecord | None) -> str:
    return f"Pod {record.pod}, {address}" if record else f"Pod address {address}"


def addresses_behind(rows: t.Sequence[Row], run: Run) -> dict[str, list[str]]:
    """Return the IPv4 addresses at the other ends of links, by the name of the link on this host.

    Ends in network namespaces without a name are left out.
    """
    rows = [row for row in rows if "link_netnsid" in row]
    if not rows:
        return {}
    names = {row["id"]: row["name"] for row in _rows(("ip", "-json", "netns", "list"), run) if "id" in row}
    found = {}
    for start in range(0, len(rows), MOST_ENTERED):
        some = [row for row in rows[start : start + MOST_ENTERED] if row["link_netnsid"] in names]
        commands = {row["ifname"]: _listing_in(names[row["link_netnsid"]]) for row in some}
        recall = listed_together(list(dict.fromkeys(commands.values())), run)
        listed = {command: _rows(command, recall) for command in dict.fromkeys(commands.values())}
        for row in some:
            ends = [end for end in listed[commands[row["ifname"]]] if end.get("ifindex") == row.get("link_index")]
            found[row["ifname"]] = [info["local"] for end in ends for info in end.get("addr_info", [])]
    return found


def _listing_in(namespace: str) -> tuple[str, ...]:
    return ("ip", "-n", namespace, "-json", "-4", "address", "show")


def _rows(command: t.Sequence[str], run: Run) -> list[dict[str, t.Any]]:
    """Return the rows of a listing, none if it fails: a Pod can end at any time."""
    code, out, _errors = run(command, None)
    try:
        return [row for row in json.loads(out or "[]") if row] if code == 0 else []
    except ValueError:
        return []


def _without_link(links: t.Sequence[Row], records: t.Sequence[PodRecord]) -> t.Iterator[PodFinding]:
    """Yield the Pods whose link was deleted while they run."""
    present = {row["ifname"] for row in links}
    lost = [record for record in records if record.link not in present and _exists(record.sandbox)]
    if lost:
        time.sleep(1)  # a Pod that is just being deleted loses its link first, then its record
        lost = [record for record in lost if _exists(record.path) and _exists(record.sandbox)]
    if lost:
        named = some_of([f"{record.pod} ({record.link})" for record in lost], MOST_NAMED)
        yield PodFinding(
            "port",
            f"the link of these Pods was deleted, so they reach nothing: {named}",
            f"Delete these Pods: {_delete_command(lost)}",
        )


def _exists(path: str) -> bool:
    return bool(path) and os.path.exists(files.ROOT + path)


def _delete_command(records: t.Sequence[PodRecord]) -> str:
    pods = [record.pod.split("/") for record in records if "/" in record.pod]
    commands = [f"kubectl delete pod -n {namespace} {name}" for namespace, name in pods[:MOST_NAMED]]
    return " && ".join(commands) or "kubectl get pods -A -o wide"


# --- addresses of another node CIDR ---


def _old_addresses(
    network: PodNetwork, links: t.Sequence[Row], records: t.Sequence[PodRecord], run: Run
) -> t.Iterator[PodFinding]:
    """Yield the running Pods that keep an address which this host had before it got its node CIDR."""

    def is_old(address: str) -> bool:
        inside = _is_inside(address, network.container_cidrs)
        return inside and not _is_inside(address, [network.node_cidr])

    present = {row["ifname"] for row in links}
    by_address = {
        address: record for record in records if record.link in present for address in filter(is_old, record.addresses)
    }
    found = set(by_address)
    ports = ports_of(network.bridge, links)
    if len(ports) > len(_own_reservations(network)) or set(filter(is_old, reserved_addresses())) - found:
        behind = addresses_behind(ports, run)
        found.update(address for addresses in behind.values() for address in filter(is_old, addresses))
    if not found:
        return
    addresses = sorted(found, key=ipaddress.ip_address)
    named = [f"{address} ({by_address[address].pod})" if address in by_address else address for address in addresses]
    recorded = [by_address[address] for address in addresses if address in by_address]
    one = len(found) == 1
    yield PodFinding(
        "old_address",
        f"{len(found)} running {'Pod has an address that is' if one else 'Pods have addresses that are'} not of the "
        f"node CIDR {network.node_cidr} of this host, and no other node reaches {'it' if one else 'them'}: "
        f"{some_of(named, MOST_NAMED)}",
        f"Delete {'this Pod: its successor gets an address' if one else 'these Pods: their successors get addresses'} "
        f"of the node CIDR. {'' if recorded else 'To find the names: '}"
        f"{_delete_command(recorded)}",
    )

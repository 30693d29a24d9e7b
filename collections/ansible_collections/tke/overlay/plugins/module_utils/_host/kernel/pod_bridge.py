# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Pod bridge as Pods need it: up, with the gateway of the node CIDR, its connected route, and the Pods' links.

CNI's bridge plugin creates the bridge with the first Pod, and nothing restores it
afterwards. A network manager that manages the links takes the gateway address from
the bridge, and the Pods' links off it, or the bridge is deleted; then the Pods reach
nothing. A bridge that is missing is created if there are links of Pods that need it.

The gateway address of a former node CIDR of the host is removed: the plugin starts
no Pods while the bridge has another one. Besides, the connected route of the former
node CIDR would make the node that has it now unreachable from this host.

A Pod's link belongs to the bridge if all of this is true: it is a veth with a name
of the plugin and without a bridge; its other end is in a named network namespace,
where it has an address of the node CIDR with the prefix length of the node CIDR; and
no route of the host leads to a Pod through it, as with CNI's plugin ptp.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import gateway_address
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    Row,
    find_link,
    kind_of,
    read_links,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    ActualEntry,
    Desired,
    Run,
    Wanted,
    read_json,
)

PORT_PREFIX = "veth"
"""The beginning of the names of the Pods' links on the host, as CNI's bridge plugin creates them."""

_STATE = "state"

BRIDGE_TYPE = "type bridge"
"""The specification of the bridge itself."""


class BridgeTable:
    """What Pods need of the bridge, and the addresses of the bridge in the container CIDR.

    ===================  =======================================================================
    key                  specification
    ===================  =======================================================================
    ``link BRIDGE``      ``type bridge``: wanted if it is missing, and Pods' links are there; not listed otherwise
    ``state``            ``up`` or ``down``; without a bridge and Pods' links the table is empty
    ``ADDRESS/PREFIX``   ``dev BRIDGE``: the gateway of the node CIDR, or a leftover
    ``route NODE_CIDR``  ``dev BRIDGE src GATEWAY``: the connected route
    ``port VETH``        ``master BRIDGE`` or ``master none``: a Pod's link that is off the bridge
    ``hairpin VETH``     ``on`` or ``off``: with ``on`` a Pod reaches itself through a Service
    ===================  =======================================================================

    :param container_cidr: the container CIDRs.
    :param node_cidr: the node CIDR of this host.
    """

    name = "bridge"
    of_device = False  # the CNI plugin creates the bridge with the first Pod
    program = ("ip",)

    def __init__(self, bridge: str, container_cidr: t.Sequence[str], node_cidr: str) -> None:
        self.bridge = bridge
        self.container = [ipaddress.ip_network(cidr) for cidr in container_cidr]
        self.node_cidr = node_cidr
        self.gateway = gateway_address(node_cidr)
        self.prefix_length = ipaddress.ip_network(node_cidr).prefixlen

    def listings(self) -> list[t.Sequence[str]]:
        """Return no command: a caller that reads several tables has the links already, for :meth:`among`."""
        return []

    def read(self, run: Run, wanted: Wanted | None = None) -> dict[str, ActualEntry]:
        """Return the actual entries, by key.

        :raises KernelError: the links or the route cannot be read.
        """
        links = read_links(run)
        return {**self.among(links), **self.beyond(links, run)}

    def among(self, links: t.Sequence[Row]) -> dict[str, ActualEntry]:
        """Return state, addresses and hairpin mode of the bridge, from links that were read before."""
        row = find_link(self.bridge, links)
        if row is None or kind_of(row) != "bridge":
            return {}
        specs = {_STATE: "up" if "UP" in row.get("flags", ()) else "down"}
        for info in row.get("addr_info", []):
            if any(ipaddress.ip_address(info["local"]) in network for network in self.container):
                specs[f"{info['local']}/{info['prefixlen']}"] = f"dev {self.bridge}"
        for port in links:
            hairpin = port.get("linkinfo", {}).get("info_slave_data", {}).get("hairpin")
            if port.get("master") == self.bridge and _is_pod_link(port) and hairpin is not None:
                specs[f"hairpin {port['ifname']}"] = "on" if hairpin else "off"
        return _managed(specs)

    def beyond(self, links: t.Sequence[Row], run: Run) -> dict[str, ActualEntry]:
        """Return what the links do not show: the connected route, and the Pods' links that are off the bridge.

        :raises KernelError: the route cannot be read.
        """
        row = find_link(self.bridge, links)
        specs: dict[str, str] = {}
        if kind_of(row) == "bridge":
            show = ["ip", "-json", "-4", "route", "show", "table", "main", "exact", self.node_cidr, "dev", self.bridge]
            specs = {f"route {self.node_cidr}": self._route for _row in read_json(show, run)[:1]}
        elif row is not None:
            return {}
        if any(_is_pod_link(row) and "master" not in row for row in links):
            for port in self._stray_ports(run):
                specs.update({f"port {port}": "master none", f"hairpin {port}": "off"})
        return _managed(specs)

    def _stray_ports(self, run: Run) -> t.Iterator[str]:
        """Yield the names of the Pods' links that are off the bridge."""
        # As text: with -json, ip prints the number of a namespace and not its name.
        _code, listing, _errors = run(["ip", "-o", "link", "show", "type", "veth"], None)
        for line in listing.splitlines():
            found = _OFF_BRIDGE.match(line)
            if found is not None and self._is_pods(found["netns"], int(found["peer"]), found["port"], run):
                yield found["port"]

    def _is_pods(self, netns: str, peer: int, port: str, run: Run) -> bool:
        """Return whether the other end has an address of a Pod of this host, and no route leads through the link."""
        show = ["ip", "-n", netns, "-json", "-4", "address", "show", "to", self.node_cidr]
        through = ["ip", "-4", "route", "show", "table", "main", "root", self.node_cidr, "dev", port]
        try:
            addresses = [
                info["prefixlen"]
                for row in read_json(show, run)
                if row.get("ifindex") == peer
                for info in row.get("addr_info", [])
            ]
        except KernelError:  # the Pod has just ended
            return False
        return self.prefix_length in addresses and not run(through, None)[1].strip()

    @property
    def _route(self) -> str:
        return f"dev {self.bridge} src {self.gateway}"

    @property
    def _gateway_key(self) -> str:
        return f"{self.gateway}/{self.prefix_length}"

    def wanted(self, actual: t.Mapping[str, ActualEntry]) -> Desired:
        """Return the desired entries of a host with these actual ones: none without a bridge and Pods' links."""
        if not actual:
            return {}
        wanted = {} if _STATE in actual else {f"link {self.bridge}": BRIDGE_TYPE}
        wanted.update({self._gateway_key: f"dev {self.bridge}", _STATE: "up"})
        if _STATE in actual and actual[_STATE].spec == "up" and self._gateway_key in actual:
            wanted[f"route {self.node_cidr}"] = self._route  # otherwise it comes with the state and the address
        wanted.update({key: f"master {self.bridge}" for key in actual if key.startswith("port ")})
        wanted.update({key: "on" for key in actual if key.startswith("hairpin ")})
        return wanted

    def put(self, key: str, spec: str) -> str:
        """Return the line that creates or changes an entry."""
        kind, _space, name = key.rpartition(" ")
        if key == _STATE:
            return f"link set {self.bridge} {spec}"
        if kind == "link":
            return f"link add {name} {spec}"
        if kind == "route":
            return f"route replace {name} {spec} proto kernel scope link"
        if kind == "port":
            return f"link set {name} {spec} up"
        if kind == "hairpin":
            return f"link set {name} type bridge_slave hairpin {spec}"
        return f"address replace {key} brd + {spec}"

    def drop(self, key: str, spec: str) -> str:
        """Return the line that removes the bridge, an address or a route. Every other entry is only changed."""
        kind, _space, name = key.rpartition(" ")
        if kind == "link":
            return f"link del {name}"
        return f"route del {name} {spec}" if kind == "route" else f"address del {key} {spec}"

    def parse(self, line: str) -> tuple[str, str] | None:
        """Return key and specification of a line of :meth:`put`, ``None`` for every other line."""
        for pattern, key in _LINES:
            found = pattern.fullmatch(line)
            if found is not None:
                entry = key.format(**found.groupdict()), found["spec"]
                return entry if self._has(entry) and self.put(*entry) == line else None
        return None

    def _has(self, entry: tuple[str, str]) -> bool:
        """Return whether an entry is about this bridge; the line of a port's hairpin mode does not name the bridge."""
        words = entry[1].split()
        if entry[1] == BRIDGE_TYPE:
            return entry[0] == f"link {self.bridge}"
        return words[0] not in ("dev", "master") or words[1] == self.bridge


class FormerBridgeTable(BridgeTable):
    """The Pod bridge of a host without Pods: it must not exist.

    It can be left over from when the host had Pods, or from a Pod that started while that was changed. A bridge of
    another program that happens to have the configured name has no address of the container CIDR, and stays.

    ===================  =======================================================================
    key                  specification
    ===================  =======================================================================
    ``link BRIDGE``      ``type bridge``; without such a bridge the table is empty
    ===================  =======================================================================
    """

    def among(self, links: t.Sequence[Row]) -> dict[str, ActualEntry]:
        """Return the bridge, from links that were read before."""
        addresses = [key for key in super().among(links) if key != _STATE and not key.startswith("hairpin ")]
        return _managed({f"link {self.bridge}": BRIDGE_TYPE} if addresses else {})

    def beyond(self, links: t.Sequence[Row], run: Run) -> dict[str, ActualEntry]:
        """Return nothing: the connected route goes with the bridge."""
        return {}

    def wanted(self, actual: t.Mapping[str, ActualEntry]) -> Desired:
        """Return nothing."""
        return {}

    def parse(self, line: str) -> tuple[str, str] | None:
        """Return key and specification of the line that creates the bridge, ``None`` for every other line."""
        entry = super().parse(line)
        return entry if entry is not None and entry[1] == BRIDGE_TYPE else None


_OFF_BRIDGE = re.compile(
    rf"\d+: (?P<port>{PORT_PREFIX}[^@\s]*)@if(?P<peer>\d+): (?!.* master ).* link-netns (?P<netns>[^\s\\]+)"
)
"""A veth without a bridge, whose other end is in a named namespace, as ``ip -o link show`` lists it."""

_LINES = [
    (re.compile(r"link add (?P<name>\S+) (?P<spec>type bridge)"), "link {name}"),
    (re.compile(r"link set (?P<bridge>\S+) (?P<spec>up|down)"), _STATE),
    (re.compile(r"route replace (?P<name>\S+/\d+) (?P<spec>dev \S+ src \S+) proto kernel scope link"), "route {name}"),
    (re.compile(r"link set (?P<name>\S+) (?P<spec>master \S+) up"), "port {name}"),
    (re.compile(r"link set (?P<name>\S+) type bridge_slave hairpin (?P<spec>on|off)"), "hairpin {name}"),
    (re.compile(r"address replace (?P<name>\S+/\d+) brd \+ (?P<spec>dev \S+)"), "{name}"),
]
"""What :meth:`BridgeTable.put` writes, with the key of each line."""


def _is_pod_link(row: Row) -> bool:
    return kind_of(row) == "veth" and str(row.get("ifname")).startswith(PORT_PREFIX)


def _managed(specs: t.Mapping[str, str]) -> dict[str, ActualEntry]:
    return {key: ActualEntry(spec, managed=True) for key, spec in specs.items()}

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The description of a lab: networks, hosts with one address each, and the flows that the router forwards."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Any

from .system import PREFIX, LabError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ROUTER = PREFIX + "router"
CONTROLLER = "controller"
RESERVED = ("router", CONTROLLER)
# The name is also the hostname.
HOST_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,48}[a-zA-Z0-9])?")
SUITE = re.compile(r"[a-z]+")
DEFAULT_SUITE = "bookworm"
KUBERNETES = "+kubernetes"  # of the name of a tree
NETWORK_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,11}")  # "br-" and the name form the name of an interface


def netns_name(host: str) -> str:
    """Return the name of a host's network namespace."""
    return PREFIX + host


def port_name(host: str) -> str:
    """Return the name of the router's end of a host's link, of at most 15 characters."""
    if len(host) <= 13:
        return f"p-{host}"
    return f"p-{hashlib.sha256(host.encode()).hexdigest()[:12]}"


def mac_of(text: str) -> str:
    """Return a locally administered unicast MAC that is derived from a text."""
    digest = hashlib.sha256(text.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


@dataclass(frozen=True)
class Network:
    """A network of the lab: a bridge of the router."""

    name: str
    subnet: IPNetwork
    mtu: int
    subnet6: ipaddress.IPv6Network | None = None  # if hosts also have an IPv6 address
    nat: bool = False  # the router replaces the addresses of its hosts, and rejects connections to them

    @property
    def bridge(self) -> str:
        return f"br-{self.name}"

    @property
    def gateway(self) -> IPAddress:
        return self.subnet[1]

    @property
    def mac(self) -> str:
        return mac_of(self.bridge)

    @property
    def subnets(self) -> list[IPNetwork]:
        return [self.subnet, *([self.subnet6] if self.subnet6 else [])]

    @property
    def gateways(self) -> list[IPAddress]:
        """The addresses of the router in this network, one per IP version."""
        return self.both(self.gateway)

    def both(self, address: IPAddress) -> list[IPAddress]:
        """Return an address and its IPv6 counterpart, whose last number reads the same: 10.0.1.11 and ::11."""
        if self.subnet6 is None:
            return [address]
        number = int(address) - int(self.subnet.network_address)
        return [address, self.subnet6[int(str(number), 16)]]

    def interface(self, address: IPAddress) -> str:
        """Return an address with the prefix length of its subnet."""
        subnet = next(subnet for subnet in self.subnets if address in subnet)
        return f"{address}/{subnet.prefixlen}"


@dataclass(frozen=True)
class Host:
    """A member of a network: an inventory host, or the controller."""

    name: str
    address: IPAddress
    network: Network
    suite: str = DEFAULT_SUITE
    programs: str = ""  # the directory of the Kubernetes programs, if the host can run them

    @property
    def tree(self) -> str:
        """The name of its base tree: the suite, and the further packages of a host that can run Kubernetes."""
        return self.suite + (KUBERNETES if self.programs else "")

    @property
    def netns(self) -> str:
        return netns_name(self.name)

    @property
    def addresses(self) -> list[IPAddress]:
        """The address of the host, and its IPv6 counterpart if the network has a subnet6."""
        return self.network.both(self.address)

    @property
    def port(self) -> str:
        return port_name(self.name)

    @property
    def mac(self) -> str:
        """The MAC, which stays the same over a reboot like that of a network card."""
        return mac_of(f"{self.name} {self.address}")


@dataclass(frozen=True)
class Flow:
    """Traffic that may pass from some networks to others: all of it, or one port."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    protocol: str = ""
    port: int = 0


@dataclass(frozen=True)
class Line:
    """What carries packets between two networks, if it carries less than both of them."""

    ends: tuple[str, str]
    mtu: int


@dataclass(frozen=True)
class Lab:
    """A lab: its networks, hosts, controller, and the flows and lines between the networks."""

    networks: dict[str, Network]
    hosts: dict[str, Host]
    controller: Host
    flows: tuple[Flow, ...]
    lines: tuple[Line, ...]
    document: dict[str, Any]  # the source, which later commands read again

    def host(self, name: str) -> Host:
        """Return the host of that name.

        :raises LabError: when the lab has no such host; the error lists all hosts.
        """
        if name not in self.hosts:
            raise LabError(f"the lab has no host {name!r}; it has: {', '.join(self.hosts)}")
        return self.hosts[name]


def build(document: dict[str, Any]) -> Lab:
    """Return the lab that a document describes.

    :param document: `networks` (name -> subnet, mtu, optionally subnet6 and nat), `hosts` (name -> address), `suites`
        (name -> Debian suite, of hosts with another one than DEFAULT_SUITE), `kubernetes` (the names of hosts that can
        run it) and `programs` (the directory of its programs), `controller` (an address), `policy` (a list of from, to,
        and tcp or udp) and `lines` (a list of between, two networks, and mtu).
    :raises LabError: when the document is invalid; the error lists all problems.
    """
    faults: list[str] = []
    networks = _networks(document["networks"], faults)
    hosts = _hosts(document["hosts"], document.get("suites", {}), networks, faults)
    hosts = _with_programs(hosts, document.get("kubernetes", []), document.get("programs", ""), faults)
    controller = _place(CONTROLLER, document["controller"], networks, faults)
    _clashes([*hosts.values(), *([controller] if controller else [])], faults)
    flows = tuple(_flow(entry, networks, faults) for entry in document["policy"])
    lines = tuple(_line(entry, networks, faults) for entry in document.get("lines", []))
    if not hosts and not faults:
        faults.append("no host of the inventory has an ansible_host in one of lab_networks")
    if faults or controller is None:
        raise LabError("this inventory does not describe a valid lab:\n" + "\n".join(f"  - {f}" for f in faults))
    return Lab(networks, hosts, controller, flows, lines, document)


def _networks(entries: dict[str, Any], faults: list[str]) -> dict[str, Network]:
    networks: dict[str, Network] = {}
    for name, entry in entries.items():
        try:
            network = Network(
                name,
                ipaddress.ip_network(entry["subnet"]),
                int(entry["mtu"]),
                _subnet6(name, entry, faults),
                bool(entry.get("nat")),
            )
        except (KeyError, TypeError, ValueError) as error:
            faults.append(f"network {name}: needs a subnet and an mtu ({error})")
            continue
        if not NETWORK_NAME.fullmatch(name):
            faults.append(f"network {name}: the name must have at most 12 characters of a-z, 0-9 and '-'")
        faults.extend(
            f"networks {other.name} ({taken}) and {name} ({subnet}) overlap"
            for other in networks.values()
            for taken in other.subnets
            for subnet in network.subnets
            if subnet.version == taken.version and subnet.overlaps(taken)
        )
        networks[name] = network
    return networks


def _subnet6(name: str, entry: dict[str, Any], faults: list[str]) -> ipaddress.IPv6Network | None:
    text = entry.get("subnet6")
    try:
        subnet = ipaddress.IPv6Network(text) if text is not None else None
    except ValueError as error:
        faults.append(f"network {name}: subnet6 must be an IPv6 network ({error})")
        return None
    if subnet and (subnet.prefixlen > 64 or ipaddress.ip_network(entry["subnet"]).version == 6):
        faults.append(f"network {name}: subnet6 {subnet} requires an IPv4 subnet, and a prefix of /64 or shorter")
        return None
    return subnet


def _hosts(
    entries: dict[str, Any], suites: dict[str, str], networks: dict[str, Network], faults: list[str]
) -> dict[str, Host]:
    hosts = {}
    for name, address in entries.items():
        suite = suites.get(name, DEFAULT_SUITE)
        if not SUITE.fullmatch(suite):
            faults.append(f"host {name}: lab_suite {suite!r} is not the code name of a Debian suite")
        if name in RESERVED:
            faults.append(f"host {name}: the name is reserved for the {name} of the lab")
        elif not HOST_NAME.fullmatch(name):
            faults.append(f"host {name}: the name is not a valid hostname")
        elif host := _place(name, address, networks, faults):
            hosts[name] = replace(host, suite=suite)
    return hosts


def _with_programs(hosts: dict[str, Host], names: list[str], programs: str, faults: list[str]) -> dict[str, Host]:
    """Return the hosts, those of the list with the directory of the Kubernetes programs."""
    if names and not programs:
        faults.append(
            f"hosts {', '.join(names)} have lab_kubernetes: set KUBERNETES_BIN to a directory with the programs of"
            " Kubernetes (docs/testing.md)"
        )
    return {name: replace(host, programs=programs) if name in names else host for name, host in hosts.items()}


def _place(name: str, text: Any, networks: dict[str, Network], faults: list[str]) -> Host | None:
    """Return the host in the network that contains its address, or None if there is no such network."""
    try:
        address = ipaddress.ip_address(str(text))
    except ValueError:
        faults.append(f"host {name}: {text!r} is not a numeric address")
        return None
    for network in networks.values():
        if address in network.subnet:
            if address == network.gateway:
                faults.append(f"host {name}: {address} is the gateway of network {network.name}")
            return Host(name, address, network)
    known = ", ".join(f"{n.name} {n.subnet}" for n in networks.values())
    faults.append(f"host {name}: {address} is outside of all lab networks ({known})")
    return None


def _clashes(hosts: list[Host], faults: list[str]) -> None:
    owners: dict[IPAddress, list[str]] = {}
    for host in hosts:
        owners.setdefault(host.address, []).append(host.name)
    faults.extend(
        f"hosts {' and '.join(names)}: have the same address {address}"
        for address, names in owners.items()
        if len(names) > 1
    )


def _flow(entry: Any, networks: dict[str, Network], faults: list[str]) -> Flow:
    if not isinstance(entry, dict) or not {"from", "to"} <= set(entry):
        faults.append(f"lab_policy: {entry} needs `from` and `to`")
        return Flow((), ())
    unknown = sorted({*entry["from"], *entry["to"]} - set(networks))
    if unknown:
        faults.append(f"lab_policy: {entry} names unknown networks: {', '.join(unknown)}")
    protocols = sorted(set(entry) - {"from", "to"})
    if protocols not in ([], ["tcp"], ["udp"]):
        faults.append(f"lab_policy: {entry} may have either `tcp` or `udp`, and no other key")
        return Flow((), ())
    if not protocols:
        return Flow(tuple(entry["from"]), tuple(entry["to"]))
    port = entry[protocols[0]]
    if not isinstance(port, int) or not 0 < port < 65536:
        faults.append(f"lab_policy: {entry}: {port!r} is neither a port nor a variable that holds one")
        return Flow((), ())
    return Flow(tuple(entry["from"]), tuple(entry["to"]), protocols[0], port)


def _line(entry: Any, networks: dict[str, Network], faults: list[str]) -> Line:
    try:
        one, other = entry["between"]
        line = Line((one, other), int(entry["mtu"]))
    except (KeyError, TypeError, ValueError):
        faults.append(f"lab_lines: {entry} needs `between`, two networks, and an `mtu`")
        return Line(("", ""), 0)
    unknown = sorted(set(line.ends) - set(networks))
    if unknown:
        faults.append(f"lab_lines: {entry} names unknown networks: {', '.join(unknown)}")
    return line

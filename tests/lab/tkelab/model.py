# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What a lab is: networks, hosts with an address each, and what the router forwards."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from .system import PREFIX, LabError

IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ROUTER = PREFIX + "router"
CONTROLLER = "controller"
RESERVED = ("router", CONTROLLER)
# The lab's own name for the host must do as its hostname, too.
HOST_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]{0,48}[a-zA-Z0-9])?")
NETWORK_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,11}")  # with "br-", it names an interface


def netns_name(host: str) -> str:
    return PREFIX + host


def port_name(host: str) -> str:
    """The router's end of a host's link; 15 characters are all an interface can have."""
    if len(host) <= 13:
        return f"p-{host}"
    return f"p-{hashlib.sha256(host.encode()).hexdigest()[:12]}"


def mac_of(text: str) -> str:
    """A locally administered unicast address that follows from a text."""
    digest = hashlib.sha256(text.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x02, *digest[:5]))


@dataclass(frozen=True)
class Network:
    name: str
    subnet: IPNetwork
    mtu: int
    subnet6: ipaddress.IPv6Network | None = None  # where hosts have an IPv6 address beside

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
        """The router's addresses here, one of each IP version."""
        return self.beside(self.gateway)

    def beside(self, address: IPAddress) -> list[IPAddress]:
        """An address, and its IPv6 twin: 10.0.1.11 of 10.0.1.0/24 is ::11 of subnet6, so that people can read it."""
        if self.subnet6 is None:
            return [address]
        number = int(address) - int(self.subnet.network_address)
        return [address, self.subnet6[int(str(number), 16)]]

    def interface(self, address: IPAddress) -> str:
        subnet = next(subnet for subnet in self.subnets if address in subnet)
        return f"{address}/{subnet.prefixlen}"


@dataclass(frozen=True)
class Host:
    """A member of a network: an inventory host, or the controller."""

    name: str
    address: IPAddress
    network: Network

    @property
    def netns(self) -> str:
        return netns_name(self.name)

    @property
    def addresses(self) -> list[IPAddress]:
        """Its own, and the IPv6 one beside it."""
        return self.network.beside(self.address)

    @property
    def port(self) -> str:
        return port_name(self.name)

    @property
    def mac(self) -> str:
        """Always the same, as that of a network card: neighbours remember it over a reboot."""
        return mac_of(f"{self.name} {self.address}")


@dataclass(frozen=True)
class Flow:
    """What may pass from some networks to others: everything, or one port."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    protocol: str = ""
    port: int = 0


@dataclass(frozen=True)
class Lab:
    networks: dict[str, Network]
    hosts: dict[str, Host]
    controller: Host
    flows: tuple[Flow, ...]
    document: dict[str, Any]  # what it was made from; kept so that later commands know it

    def host(self, name: str) -> Host:
        if name not in self.hosts:
            raise LabError(f"the lab has no host {name!r}; it has: {', '.join(self.hosts)}")
        return self.hosts[name]


def build(document: dict[str, Any]) -> Lab:
    """The lab that a document describes, or one error with everything that is wrong with it.

    The document has `networks` (name -> subnet, mtu, perhaps subnet6), `hosts` (name -> address), `controller`
    (an address) and `policy` (a list of from, to, and tcp or udp).
    """
    faults: list[str] = []
    networks = _networks(document["networks"], faults)
    hosts = _hosts(document["hosts"], networks, faults)
    controller = _place(CONTROLLER, document["controller"], networks, faults)
    _clashes([*hosts.values(), *([controller] if controller else [])], faults)
    flows = tuple(_flow(entry, networks, faults) for entry in document["policy"])
    if not hosts and not faults:
        faults.append("no host of the inventory has an ansible_host in one of lab_networks")
    if faults or controller is None:
        raise LabError("this inventory makes no lab:\n" + "\n".join(f"  - {f}" for f in faults))
    return Lab(networks, hosts, controller, flows, document)


def _networks(entries: dict[str, Any], faults: list[str]) -> dict[str, Network]:
    networks: dict[str, Network] = {}
    for name, entry in entries.items():
        try:
            network = Network(
                name, ipaddress.ip_network(entry["subnet"]), int(entry["mtu"]), _subnet6(name, entry, faults)
            )
        except (KeyError, TypeError, ValueError) as error:
            faults.append(f"network {name}: needs a subnet and an mtu ({error})")
            continue
        if not NETWORK_NAME.fullmatch(name):
            faults.append(f"network {name}: at most 12 of a-z, 0-9 and '-' make a name")
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
        faults.append(f"network {name}: subnet6 is an IPv6 network ({error})")
        return None
    if subnet and (subnet.prefixlen > 64 or ipaddress.ip_network(entry["subnet"]).version == 6):
        faults.append(f"network {name}: subnet6 {subnet} goes beside an IPv4 subnet, and is a /64 or wider")
        return None
    return subnet


def _hosts(entries: dict[str, Any], networks: dict[str, Network], faults: list[str]) -> dict[str, Host]:
    hosts = {}
    for name, address in entries.items():
        if name in RESERVED:
            faults.append(f"host {name}: the lab has a {name} of its own")
        elif not HOST_NAME.fullmatch(name):
            faults.append(f"host {name}: not a name that a host can have")
        elif host := _place(name, address, networks, faults):
            hosts[name] = host
    return hosts


def _place(name: str, text: Any, networks: dict[str, Network], faults: list[str]) -> Host | None:
    """The host in the network that its address lies in."""
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
    faults.append(f"host {name}: {address} is in no lab network ({known})")
    return None


def _clashes(hosts: list[Host], faults: list[str]) -> None:
    owners: dict[IPAddress, list[str]] = {}
    for host in hosts:
        owners.setdefault(host.address, []).append(host.name)
    faults.extend(
        f"hosts {' and '.join(names)}: all have the address {address}"
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
        faults.append(f"lab_policy: {entry} may have one of `tcp` and `udp`, and nothing else")
        return Flow((), ())
    if not protocols:
        return Flow(tuple(entry["from"]), tuple(entry["to"]))
    port = entry[protocols[0]]
    if not isinstance(port, int) or not 0 < port < 65536:
        faults.append(f"lab_policy: {entry}: {port!r} is neither a port nor a variable with one")
        return Flow((), ())
    return Flow(tuple(entry["from"]), tuple(entry["to"]), protocols[0], port)

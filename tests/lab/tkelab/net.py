# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The network between the hosts: the router's namespace, its bridges and rules, the links.

Links are made inside the namespaces they join, so that the machine's own namespace never sees one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .model import ROUTER, Host, IPAddress, Lab, Network, netns_name, port_name
from .system import NETNS, PREFIX, RUN, call, inside, mounts_below, write_whole

_APPLIED = RUN / "router.nft"
_NETNS_BEFORE = RUN / "netns-before"


def ip(netns: str, *words: str) -> str:
    return call("ip", "-n", netns, *words)


def ip_json(netns: str, *words: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(call("ip", "-j", "-n", netns, *words) or "[]")
    return entries


# --- namespaces ------------------------------------------------------------------------------


def namespaces() -> set[str]:
    """The lab's namespaces: names that really have one behind them."""
    return {point.name for point in mounts_below(NETNS) if point.name.startswith(PREFIX)}


def add_namespace(name: str) -> None:
    delete_namespace(name)
    call("ip", "netns", "add", name)
    ip(name, "link", "set", "lo", "up")


def delete_namespace(name: str) -> None:
    """Also what a killed `ip netns add` leaves: a name without a namespace."""
    if (NETNS / name).exists():
        call("ip", "netns", "del", name)


def remember_netns_directory() -> None:
    """Write down, before the first `ip netns add`, what it will add to the machine's mounts."""
    if not _NETNS_BEFORE.exists():
        before = "mount" if NETNS in mounts_below(NETNS) else "dir" if NETNS.exists() else ""
        write_whole(_NETNS_BEFORE, before)


def restore_netns_directory() -> None:
    """Put /run/netns back to what it was, unless somebody else uses it by now."""
    if not _NETNS_BEFORE.exists() or not NETNS.exists() or any(NETNS.iterdir()):
        return
    before = _NETNS_BEFORE.read_text()
    if before != "mount":
        for point in mounts_below(NETNS):
            call("umount", str(point))
    if before == "":
        NETNS.rmdir()


# --- the router ------------------------------------------------------------------------------


def ensure_router(lab: Lab) -> bool:
    """Make the router what the lab says; true if anything had to be changed."""
    changed = ROUTER not in namespaces()
    if changed:
        _APPLIED.unlink(missing_ok=True)
        add_namespace(ROUTER)
        with inside(ROUTER):
            _forward()
            call("nft", "-f", "-", text=_CUT_TABLE)
    changed |= _ensure_bridges(lab)
    # Compared with what was applied, not with what is there: a test that has opened a port for
    # a while shall keep it.
    rules = ruleset(lab)
    if not _APPLIED.exists() or _APPLIED.read_text() != rules:
        with inside(ROUTER):
            call("nft", "-f", "-", text=rules)
        write_whole(_APPLIED, rules)
        changed = True
    return changed


def _forward() -> None:
    """In the router's namespace: forward, and do not filter what stays on one bridge."""
    for key, value in (
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-ip6tables", "0"),
    ):
        setting = Path("/proc/sys/net", key)
        if setting.exists():
            setting.write_text(value)


def _ensure_bridges(lab: Lab) -> bool:
    present = {link["ifname"]: link for link in ip_json(ROUTER, "addr", "show")}
    wanted = {network.bridge: network for network in lab.networks.values()}
    right = {name for name, network in wanted.items() if _is_bridge(present.get(name), network)}
    for name in present:
        if name.startswith("br-") and name not in right:
            ip(ROUTER, "link", "del", name)
    for name, network in wanted.items():
        if name not in right:
            # A bridge without a MAC of its own takes that of a port, and so another one when hosts reboot: its
            # neighbours, of which IPv6 ones are not told, would send to the old one for a minute.
            ip(ROUTER, "link", "add", name, "mtu", str(network.mtu), "address", network.mac, "type", "bridge")
            for gateway in network.gateways:
                ip(ROUTER, "addr", "add", network.interface(gateway), "dev", name, *_at_once(gateway))
            ip(ROUTER, "link", "set", name, "up")
    return right != set(wanted)


def _is_bridge(link: dict[str, Any] | None, network: Network) -> bool:
    return (
        link is not None
        and (link["mtu"], link["address"]) == (network.mtu, network.mac)
        and {str(gateway) for gateway in network.gateways} <= {entry["local"] for entry in link["addr_info"]}
    )


def _at_once(address: IPAddress) -> list[str]:
    """No search for duplicates: an IPv6 address could not be used for a second after it was given."""
    return ["nodad"] if address.version == 6 else []


def ruleset(lab: Lab) -> str:
    """What the router forwards, as text for nft. It matches interfaces, not addresses: what a
    host claims to be does not help it."""
    untracked, forward = [], []
    for flow in lab.flows:
        way = f"iifname {_bridges(lab, flow.sources)}"
        port = f" {flow.protocol} dport {flow.port}" if flow.protocol else ""
        if flow.protocol == "udp":
            untracked.append(f"    {way}{port} notrack")
        forward.append(f"    {way} oifname {_bridges(lab, flow.targets)}{port} accept")
    return "\n".join(
        [
            "table inet lab",
            "delete table inet lab",
            "table inet lab {",
            "  chain untracked {",
            "    type filter hook prerouting priority raw; policy accept;",
            *untracked,
            "  }",
            "  chain forward {",
            "    type filter hook forward priority filter; policy drop;",
            "    ct state established,related accept",
            # ICMP and ICMPv6 by number: a minimal Debian has no /etc/protocols to look the names up in.
            "    meta l4proto { 1, 58 } accept",
            *forward,
            "  }",
            "}",
            "",
        ]
    )


def _bridges(lab: Lab, networks: tuple[str, ...]) -> str:
    return "{ " + ", ".join(f'"{lab.networks[name].bridge}"' for name in networks) + " }"


# --- links -----------------------------------------------------------------------------------


def ports() -> dict[str, dict[str, Any]]:
    """The router's ends of the hosts' links."""
    if ROUTER not in namespaces():
        return {}
    links = ip_json(ROUTER, "link", "show")
    return {link["ifname"]: link for link in links if link["ifname"].startswith("p-")}


def is_linked(host: Host, port: dict[str, Any] | None) -> bool:
    return (
        port is not None
        and port.get("master") == host.network.bridge
        and port["mtu"] == host.network.mtu
        and host.netns in namespaces()
    )


def link(host: Host) -> None:
    """Give the host a namespace of its own, as new, and a link to its network."""
    unlink(host.name)
    add_namespace(host.netns)
    mtu = str(host.network.mtu)
    ip(
        ROUTER, "link", "add", host.port, "mtu", mtu, "type", "veth",
        "peer", "name", "eth0", "mtu", mtu, "address", host.mac, "netns", host.netns,
    )  # fmt: skip
    for address in host.addresses:
        ip(host.netns, "addr", "add", host.network.interface(address), "dev", "eth0", *_at_once(address))
    ip(host.netns, "link", "set", "eth0", "up")
    for gateway in host.network.gateways:
        ip(host.netns, "route", "add", "default", "via", str(gateway))
    ip(ROUTER, "link", "set", host.port, "master", host.network.bridge, "up")


def unlink(name: str) -> None:
    """Take a host's link and namespace away; its name is enough."""
    # The link goes by its router's end: some process may keep the old namespace alive.
    if port_name(name) in ports():
        ip(ROUTER, "link", "del", port_name(name))
    delete_namespace(netns_name(name))


# --- partitions ------------------------------------------------------------------------------

# By the names of the router's ports, in the bridges' own filter: silent (the carrier stays), and
# still in force when the host flaps its link or reboots. (The state of a bridge port is not: the
# kernel forwards again as soon as the carrier comes back.)
_CUT_TABLE = """\
table bridge lab {
  set cut {
    type ifname
  }
  chain from_host {
    type filter hook prerouting priority -300; policy accept;
    iifname @cut drop
  }
  chain to_host {
    type filter hook postrouting priority 300; policy accept;
    oifname @cut drop
  }
}
"""


def cuts() -> set[str]:
    """The ports behind which a host is cut off."""
    if ROUTER not in namespaces():
        return set()
    with inside(ROUTER):
        listing = json.loads(call("nft", "-j", "list", "set", "bridge", "lab", "cut"))
    return {name for entry in listing["nftables"] for name in entry.get("set", {}).get("elem", [])}


def set_cut(host: Host, cut: bool) -> bool:
    """Partition a host, or end it; true if that changed anything."""
    if (host.port in cuts()) == cut:
        return False
    verb = "add" if cut else "delete"
    with inside(ROUTER):
        call("nft", verb, "element", "bridge", "lab", "cut", "{", f'"{host.port}"', "}")
    return True

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The network between the hosts: the router's namespace, its bridges and rules, the links.

Links are created inside the namespaces that they connect, so they never appear in the machine's own namespace.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .model import ROUTER, Host, IPAddress, Lab, Network, netns_name, port_name
from .system import NETNS, PREFIX, RUN, call, inside, mounts_below, write_atomically

_APPLIED = RUN / "router.nft"
_NETNS_BEFORE = RUN / "netns-before"


def ip(netns: str, *words: str) -> str:
    """Run `ip` for a namespace and return its output."""
    return call("ip", "-n", netns, *words)


def ip_json(netns: str, *words: str) -> list[dict[str, Any]]:
    """Run `ip -j` for a namespace and return the list that it prints."""
    entries: list[dict[str, Any]] = json.loads(call("ip", "-j", "-n", netns, *words) or "[]")
    return entries


# --- namespaces ------------------------------------------------------------------------------


def namespaces() -> set[str]:
    """Return the names of the lab's namespaces that exist: a file in /run/netns may have no namespace."""
    return {point.name for point in mounts_below(NETNS) if point.name.startswith(PREFIX)}


def add_namespace(name: str) -> None:
    """Create a namespace; replace one of the same name."""
    delete_namespace(name)
    call("ip", "netns", "add", name)
    ip(name, "link", "set", "lo", "up")


def delete_namespace(name: str) -> None:
    """Delete a namespace, or the name without a namespace that a killed `ip netns add` leaves."""
    if (NETNS / name).exists():
        call("ip", "netns", "del", name)


def remember_netns_directory() -> None:
    """Record the state of /run/netns before the first `ip netns add`, which may create and mount it."""
    if not _NETNS_BEFORE.exists():
        before = "mount" if NETNS in mounts_below(NETNS) else "dir" if NETNS.exists() else ""
        write_atomically(_NETNS_BEFORE, before)


def restore_netns_directory() -> None:
    """Restore the recorded state of /run/netns, unless it contains namespaces of other programs."""
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
    """Set the router up as the lab describes it; return True if anything changed."""
    changed = ROUTER not in namespaces()
    if changed:
        _APPLIED.unlink(missing_ok=True)
        add_namespace(ROUTER)
        with inside(ROUTER):
            _forward()
            call("nft", "-f", "-", text=_CUT_TABLE)
    changed |= _ensure_bridges(lab)
    # Compared with the rules that were applied, not with the current ones, so that a port that a test has opened
    # stays open.
    rules, lines = ruleset(lab), line_routes(lab)
    applied = rules + lines
    if changed or not _APPLIED.exists() or _APPLIED.read_text() != applied:
        with inside(ROUTER):
            call("nft", "-f", "-", text=rules)
        _delete_line_rules()
        call("ip", "-n", ROUTER, "-batch", "-", text=lines)
        write_atomically(_APPLIED, applied)
        changed = True
    return changed


def _forward() -> None:
    """Enable forwarding in the current namespace, and disable iptables for traffic within a bridge."""
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
            # A bridge without a fixed MAC takes that of a port, so it changes when hosts reboot. IPv6 neighbours are
            # not notified of the change and would send to the old MAC for a minute.
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
    """Disable duplicate address detection, during which an IPv6 address cannot be used for a second."""
    return ["nodad"] if address.version == 6 else []


def ruleset(lab: Lab) -> str:
    """Return the rules of the router as text for nft. They match interfaces, because a host can forge addresses."""
    untracked, forward = [], []
    hidden = tuple(name for name, network in lab.networks.items() if network.nat)
    for flow in lab.flows:
        port = f" {flow.protocol} dport {flow.port}" if flow.protocol else ""
        tracked = [name for name in flow.sources if name in hidden]
        if flow.protocol == "udp" and not tracked:
            # An answer to a host behind NAT goes to an address of the router, which must find the connection.
            answers = " fib daddr type != local" if hidden else ""
            untracked.append(f"    iifname {_bridges(lab, flow.sources)}{answers}{port} notrack")
        forward.append(f"    iifname {_bridges(lab, flow.sources)} oifname {_bridges(lab, flow.targets)}{port} accept")
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
            *forward,
            *([f"    oifname {_bridges(lab, hidden)} drop"] if hidden else []),
            # ICMP and ICMPv6 by number, because a minimal Debian has no /etc/protocols with the names.
            "    meta l4proto { 1, 58 } accept",
            "  }",
            *_nat(lab, hidden),
            *_line_marks(lab),
            "}",
            *_line_table(lab),
            "",
        ]
    )


def _nat(lab: Lab, hidden: tuple[str, ...]) -> list[str]:
    """Return the chain that gives packets of the hosts behind NAT the address that the router has at the target."""
    if not hidden:
        return []
    inside_out = f"iifname {_bridges(lab, hidden)} oifname != {_bridges(lab, hidden)}"
    return ["  chain nat {", "    type nat hook postrouting priority srcnat;", f"    {inside_out} masquerade", "  }"]


# --- lines: paths between two networks that carry less than both -------------------------------

_LINE_PRIORITY = "100"  # of the routing rules
_LINE_MARK = "0x6c"  # of the packets on a line; the kernel gives it to their fragments


def line_routes(lab: Lab) -> str:
    """Return the routing rules and routes with the MTU of each line, as text for `ip -batch`."""
    lines = []
    for number, (source, target, mtu) in enumerate(_directions(lab), 1000):
        lines += [
            f"rule add pref {_LINE_PRIORITY} iif {source.bridge} to {target.subnet} lookup {number}",
            f"route replace {target.subnet} dev {target.bridge} mtu {mtu} table {number}",
        ]
    return "".join(f"{line}\n" for line in lines)


def _directions(lab: Lab) -> list[tuple[Network, Network, int]]:
    pairs = [(one, other, line.mtu) for line in lab.lines for one, other in (line.ends, line.ends[::-1])]
    return [(lab.networks[one], lab.networks[other], mtu) for one, other, mtu in pairs]


def _delete_line_rules() -> None:
    for rule in ip_json(ROUTER, "rule", "show"):
        if str(rule["priority"]) == _LINE_PRIORITY:
            ip(ROUTER, "rule", "del", "pref", _LINE_PRIORITY)


def _line_marks(lab: Lab) -> list[str]:
    marks = [
        f'    iifname "{source.bridge}" oifname "{target.bridge}" meta mark set {_LINE_MARK}'
        for source, target, _mtu in _directions(lab)
    ]
    begin = ["  chain lines {", "    type filter hook forward priority mangle; policy accept;"]
    return [*begin, *marks, "  }"] if marks else []


def _line_table(lab: Lab) -> list[str]:
    """Return the table that drops and counts fragments on lines, where they would hide an MTU that is too large."""
    table = ["table bridge lab_lines", "delete table bridge lab_lines"]
    if not lab.lines:
        return table
    return [
        *table,
        "table bridge lab_lines {",
        "  counter fragments {",
        "  }",
        "  chain fragments {",
        "    type filter hook postrouting priority 0; policy accept;",
        f"    meta mark {_LINE_MARK} ip frag-off & 0x3fff != 0 counter name fragments drop",
        "  }",
        "}",
    ]


def fragments() -> int:
    """Return the number of fragments that the lines have dropped."""
    with inside(ROUTER):
        listing = json.loads(call("nft", "-j", "list", "counter", "bridge", "lab_lines", "fragments"))
    return sum(entry["counter"]["packets"] for entry in listing["nftables"] if "counter" in entry)


def _bridges(lab: Lab, networks: tuple[str, ...]) -> str:
    return "{ " + ", ".join(f'"{lab.networks[name].bridge}"' for name in networks) + " }"


# --- links -----------------------------------------------------------------------------------


def ports() -> dict[str, dict[str, Any]]:
    """Return the router's ends of the hosts' links, by interface name."""
    if ROUTER not in namespaces():
        return {}
    links = ip_json(ROUTER, "link", "show")
    return {link["ifname"]: link for link in links if link["ifname"].startswith("p-")}


def is_linked(host: Host, port: dict[str, Any] | None) -> bool:
    """Return whether the host has its namespace and a link to its network."""
    return (
        port is not None
        and port.get("master") == host.network.bridge
        and port["mtu"] == host.network.mtu
        and host.netns in namespaces()
    )


def link(host: Host) -> None:
    """Create a new namespace for the host and a link to its network."""
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
    """Remove the link and the namespace of a host, which are found by its name."""
    # The router's end of the link is deleted, because a process may keep the old namespace alive.
    if port_name(name) in ports():
        ip(ROUTER, "link", "del", port_name(name))
    delete_namespace(netns_name(name))


# --- partitions ------------------------------------------------------------------------------

# The bridge filter drops packets by the name of the router's port. The carrier stays, and the cut persists when the
# host flaps its link or reboots. (The state of a bridge port does not persist: the kernel forwards again as soon as
# the carrier returns.)
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
    """Return the router's ports of the hosts that are cut off."""
    if ROUTER not in namespaces():
        return set()
    with inside(ROUTER):
        listing = json.loads(call("nft", "-j", "list", "set", "bridge", "lab", "cut"))
    return {name for entry in listing["nftables"] for name in entry.get("set", {}).get("elem", [])}


def set_cut(host: Host, cut: bool) -> bool:
    """Cut a host off or reconnect it; return True if that changed anything."""
    if (host.port in cuts()) == cut:
        return False
    verb = "add" if cut else "delete"
    with inside(ROUTER):
        call("nft", verb, "element", "bridge", "lab", "cut", "{", f'"{host.port}"', "}")
    return True

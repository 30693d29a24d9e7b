# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find what on this host itself keeps packets from an address of the load balancer, when the check of it has failed.

Without this, a failure that begins on the node looks like one of the load balancer: an
address on a link of this host, a route that discards, a firewall rule, a neighbour that
does not answer.
"""

from __future__ import annotations

import ipaddress
import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, some_of
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.arp import macs_of
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, read_json
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE

IPVS_LINK = "kube-ipvs0"
"""The link to which kube-proxy in IPVS mode binds the addresses of Services."""

_DISCARDING = ("blackhole", "unreachable", "prohibit")
_VIRTUAL = ("dummy", "vxlan", "ipip", "wireguard", "geneve")
_BRIDGES = ("docker", "br-", "cni", "virbr", "lxc", "podman", "nerdctl", "tke-")
_VERDICT = re.compile(r"\b(drop|reject|dnat|redirect|tproxy|DROP|REJECT|DNAT|REDIRECT|TPROXY)\b")
_ADDRESS = re.compile(r"(?<![\w.:/])(\d+\.\d+\.\d+\.\d+(?:/\d+)?|[0-9a-fA-F]*:[0-9a-fA-F:]+(?:/\d+)?)(?![\w.:/])")
_MOST_RULES = 3

Row = t.Dict[str, t.Any]


def find_obstacles(address: str, port: int, run: Run) -> list[str]:
    """Return a sentence for each thing on this host that keeps packets from an address; empty if nothing is found."""
    row = _rows(["route", "get", address], address, run)[:1]
    if row and row[0].get("type") == "local":
        return [_local_address(address, run)]
    return [
        *_discarding_routes(address, run),
        *([] if row else _discarding_rules(address, run)),
        *(_link_of_route(address, row[0], run) if row else []),
        *(_neighbour(address, row[0], run) if row else []),
        *(_duplicates(address, row[0]) if row else []),
        *_firewall_rules(address, port, run),
    ]


def local_warning(address: str, run: Run) -> list[str]:
    """Return a warning if an address that answers is one of this host, and this is no host of the load balancer."""
    if _of_pair():
        return []
    row = _rows(["route", "get", address], address, run)[:1]
    return [_local_address(address, run)] if row and row[0].get("type") == "local" else []


def _of_pair() -> bool:
    return os.path.isdir(f"{files.ROOT}{STATE}/clb")


def _local_address(address: str, run: Run) -> str:
    links = [str(row["ifname"]) for row in _rows(["address", "show", "to", address], address, run) if "ifname" in row]
    if not links:
        routes = _rows(["route", "show", "table", "local", "match", address], address, run)
        shown = some_of([_route_text(row) for row in routes if row.get("type") == "local"], _MOST_RULES, "; ")
        return (
            f"the packets to {address} do not leave this host, because of its route {shown or 'of type local'} "
            f"(ip route show table local): remove that route"
        )
    link = links[0]
    if _of_pair():
        return f"{address} is on link {link} of this host, which is one of the pair: HAProxy does not answer here"
    if link == IPVS_LINK:
        remedy = (
            f"kube-proxy in IPVS mode binds the addresses of Services there: find the Service with "
            f"'kubectl get services -A -o wide | grep -w {address}' and remove the address from its externalIPs or "
            f"status.loadBalancer"
        )
    else:
        remedy = (
            f"remove it there ('ip address del {address} dev {link}', and where it is configured), or choose another "
            f"VIP (overlay_clb_vips)"
        )
    return (
        f"{address} is an address of link {link} of this host itself, so its packets do not leave the host and never "
        f"reach the load balancer: {remedy}"
    )


def _discarding_routes(address: str, run: Run) -> t.Iterator[str]:
    for row in _rows(["route", "show", "table", "all", "match", address], address, run):
        if row.get("type") in _DISCARDING:
            yield f"the route '{_route_text(row)}' of this host discards the packets to {address}: remove it"


def _discarding_rules(address: str, run: Run) -> t.Iterator[str]:
    for row in _rows(["rule", "show"], address, run):
        target = f"{row.get('dst', 'all')}/{row['dstlen']}" if "dstlen" in row else str(row.get("dst", "all"))
        if row.get("action") in _DISCARDING and (target == "all" or _covers(target, address)):
            yield (
                f"the rule with priority {row.get('priority')} of this host (ip rule: to {target} {row['action']}) "
                f"discards the packets to {address}: remove it"
            )


def _link_of_route(address: str, route: Row, run: Run) -> t.Iterator[str]:
    link = str(route.get("dev", ""))
    for row in _rows(["-d", "link", "show", "dev", link], address, run):
        kind, flags = str(row.get("linkinfo", {}).get("info_kind", "")), row.get("flags", [])
        if "NO-CARRIER" in flags or "UP" not in flags:
            yield f"link {link}, by which the packets to {address} leave, is down or has no carrier"
        if "gateway" not in route and (kind in _VIRTUAL or (kind == "bridge" and link.startswith(_BRIDGES))):
            yield (
                f"the packets to {address} leave by {link}, a link of type {kind} for Pods or containers: does a "
                f"subnet there overlap the load balancer's?"
            )


def _neighbour(address: str, route: Row, run: Run) -> t.Iterator[str]:
    hop, link = str(route.get("gateway", address)), str(route.get("dev", ""))
    for row in _rows(["neigh", "show", "to", hop, "dev", link], address, run):
        states = row.get("state", [])
        if "PERMANENT" in states:
            yield f"a permanent neighbour entry on {link} gives {hop} the MAC {row.get('lladdr')}: is it the right one?"
        elif "FAILED" in states or "INCOMPLETE" in states:
            who = (
                "the gateway is down, or not in this network"
                if hop != address
                else "no host of the pair holds it, or it is in another network than this link"
            )
            yield f"nothing answers for {hop} on {link}: {who}"


def _duplicates(address: str, route: Row) -> t.Iterator[str]:
    link, source = str(route.get("dev", "")), str(route.get("prefsrc", ""))
    if "gateway" in route or ":" in address or not source:
        return
    macs = macs_of(address, link, source)
    if len(macs) > 1:
        yield (
            f"{len(macs)} hosts answer for {address} on {link}, with the MACs {some_of(macs, 4)}: another machine has "
            f"that address, or both hosts of the pair hold it (tke.overlay.status)"
        )


def _firewall_rules(address: str, port: int, run: Run) -> list[str]:
    found = [*_nft_rules(address, port, run), *_legacy_rules(address, run)]
    if not found:
        return []
    return [f"firewall rules of this host concern {address}: {some_of(found, _MOST_RULES, '; ')}"]


def _nft_rules(address: str, port: int, run: Run) -> t.Iterator[str]:
    """Yield the foreign rules with a verdict about this address, or about its port on the way out; and sets with it."""
    code, out, _errors = run(["nft", "-s", "list", "ruleset"], None)
    table = chain = hook = ""
    for line in out.splitlines() if code == 0 else []:
        words = line.split()
        if words[:1] == ["table"]:
            table = " ".join(words[1:3])
        elif words[:1] and words[0] in ("chain", "set", "map"):
            chain, hook = " ".join(words[:2]), ""
        elif words[:1] == ["type"] and "hook" in words:
            hook = words[words.index("hook") + 1]
        elif "tke_overlay" in table:
            continue
        elif _concerns(line, address, port, hook, chain):
            yield f"table {table}, {chain}: {' '.join(words)[:120]}"


def _concerns(line: str, address: str, port: int, hook: str, place: str) -> bool:
    if place.startswith("chain"):
        if not _VERDICT.search(line):
            return False
        if hook == "output" and "daddr" not in line and re.search(rf"\bdport {port}\b", line):
            return True
        if "daddr" not in line:
            return False
    return any(_covers(text, address) for text in _ADDRESS.findall(line))


def _legacy_rules(address: str, run: Run) -> t.Iterator[str]:
    """Yield the rules of the former iptables, which nft does not list."""
    if not os.path.exists("/proc/net/ip_tables_names"):
        return
    _code, out, _errors = run(["iptables-legacy-save"], None)
    table = ""
    for line in out.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif (
            " -d " in line and _VERDICT.search(line) and any(_covers(text, address) for text in _ADDRESS.findall(line))
        ):
            yield f"iptables -t {table} {line}"


def _covers(network: str, address: str) -> bool:
    """Whether a network, but not the whole Internet, contains an address."""
    try:
        found = ipaddress.ip_network(network, strict=False)
        return found.prefixlen > 0 and ipaddress.ip_address(address) in found
    except ValueError:
        return False


def _route_text(row: Row) -> str:
    words = [str(row[key]) for key in ("type", "dst") if row.get(key) not in (None, "unicast")]
    more = [f"{word} {row[word]}" for word in ("dev", "table") if row.get(word) not in (None, "main")]
    return " ".join([*words, *more])


def _rows(words: t.Sequence[str], address: str, run: Run) -> list[Row]:
    """Return the rows of a listing of iproute2, or none if it fails: this only adds to an error."""
    try:
        return read_json(["ip", "-6" if ":" in address else "-4", "-json", *words], run)
    except KernelError:
        return []

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The underlay addresses that a run would use: where they come from, and which of them look wrong.

Inventories of other tools have the public address of a host in ``ansible_host``, by which the controller reaches it,
and its private address in another variable. Nodes must reach each other without address translation, so the private one
is often meant.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import BAD, PLAIN, Line, some

_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
"""RFC 1918, the shared address space of RFC 6598, and the unique local addresses of RFC 4193."""

_SITE_PREFIX = {4: 24, 6: 64}

EXPLICIT = "overlay_underlay_ip"
"""The variable that a user sets for this purpose."""


class Underlay(t.NamedTuple):
    """The underlay address of a node, the variable that has it, and another address that the inventory has."""

    address: str
    source: str
    other: str = ""
    other_source: str = ""


def is_private(address: str) -> bool:
    """Return whether an address is for private networks only."""
    parsed = ipaddress.ip_address(address)
    return any(parsed in network for network in _PRIVATE)


def network_of(address: str) -> str:
    """Return the network that hosts of one site often share: a /24, or a /64 of IPv6."""
    prefix = _SITE_PREFIX[ipaddress.ip_address(address).version]
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False))


def warnings(nodes: t.Mapping[str, Underlay]) -> tuple[list[Line], list[str]]:
    """Return the lines about addresses that look wrong, and the next steps."""
    public = [host for host, each in nodes.items() if not is_private(each.address)]
    private = [host for host in nodes if host not in set(public)]
    lines, steps = _other_addresses(nodes)
    if public and private:
        one, two = nodes[public[0]].address, nodes[private[0]].address
        lines.append(
            Line(
                f"underlay addresses of two kinds: public for {some(public)} ({one}), private for {some(private)} "
                f"({two}); a node sends to these addresses, and drops packets from all others",
                BAD,
            )
        )
        steps.append(f"set {EXPLICIT} of each node to the address at which all others reach it without translation")
    elif public and not lines:
        lines.append(
            Line("the underlay addresses are public: each must be an address of the host itself, not of a translation")
        )
        steps.append("ansible overlay_nodes -a 'ip -brief address' shows the addresses that each host has")
    return lines, steps


def _other_addresses(nodes: t.Mapping[str, Underlay]) -> tuple[list[Line], list[str]]:
    """Return the lines about nodes for which the inventory has another address, by variable."""
    hosts: dict[tuple[str, str], list[str]] = {}
    for host, each in nodes.items():
        if each.other and each.source != EXPLICIT:
            hosts.setdefault((each.source, each.other_source), []).append(host)
    lines, steps = [], []
    for (source, variable), names in hosts.items():
        first = nodes[names[0]]
        crossed = any(is_private(nodes[name].other) and not is_private(nodes[name].address) for name in names)
        lines.append(
            Line(
                f"{some(names)}: the underlay address is {source} ({first.address}), and the inventory has another "
                f"address in {variable} ({first.other})",
                BAD if crossed else PLAIN,
            )
        )
        steps.append(f'if the nodes reach each other by {variable}, set {EXPLICIT}: "{{{{ {variable} }}}}" for them')
    return lines, steps

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find foreign firewall rules that can drop what the probes of other nodes send to this host. Nothing is changed.

A probe passes the host's firewall twice: as a packet of the tunnel (UDP) and, taken out of the
tunnel, as an ICMP echo or a TCP segment to the VTEP's address. A firewall that accepts the first
two and not the third makes TCP fail alone, which looks like a fault of the network card. Packets
of Pods are forwarded and meet other rules: see :mod:`foreign_firewalls`.

The rules are read as text, so the result is a suspicion: it explains a probe that has failed, and
says nothing about one that has succeeded.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NodeDocument, parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import TABLE
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.foreign_firewalls import (
    DORMANT,
    drops_rest,
    legacy_drops_rest,
    read_legacy_rules,
)
from ansible_collections.tke.overlay.plugins.module_utils._links import (
    VXLAN,
    WIREGUARD,
    links_of,
    wireguard_device,
    wireguard_port,
)

TUNNEL, PING, TCP = "tunnel", "ping", "tcp"
"""What a filter drops: packets of the tunnel, and out of the tunnel echo requests or TCP to the echo responder."""

_TABLE = re.compile(r"^table (\S+ \S+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_CHAIN = re.compile(r"^\tchain (\S+) \{\n(.*?)^\t\}", re.MULTILINE | re.DOTALL)
_HOOK = re.compile(r"\ttype (\w+) hook (\w+) .*?(?:policy (\w+);)?\s*$", re.MULTILINE)
_DROPS = re.compile(r"\b(drop|reject)\b(?! packets)")
_REJECT_REASON = re.compile(r"reject.with .*")
_COUNTER = re.compile(r"counter packets \d+ bytes \d+ ")


class Filter(t.NamedTuple):
    """A chain or rule of another program: what it can drop, the sentence that names it, and how to open it.

    ``some`` is whether it is a rule that can concern some peers only; a chain that is closed concerns all.
    ``transport`` is that of the links whose packets it can drop.
    """

    drops: tuple[str, ...]
    text: str
    remedy: str
    some: bool = False
    transport: str = VXLAN


class TunnelEnds(t.NamedTuple):
    """What a firewall must accept: the device and the UDP port of a tunnel, the TCP port of the echo responder."""

    device: str
    port: int
    tcp_port: int
    transport: str = VXLAN


class _Chain(t.NamedTuple):
    """A chain: its table, its hook (empty for a chain that others jump to), its policy, and its rules."""

    table: str
    name: str
    hook: str
    policy: str
    rules: t.Sequence[str]


def tunnels_of(document: NodeDocument, tcp_port: int) -> list[TunnelEnds]:
    """Return the tunnels that the links of a host need. A direct link has none.

    :raises ValidationError: see :func:`_links.links_of`.
    """
    own = parse_fleet(document["fleet"])[document["node"]]
    transports = {link.transport for link in links_of(document).of_site(own.site)}
    ends = []
    if VXLAN in transports:
        ends.append(TunnelEnds(document["device"], document["port"], tcp_port))
    if WIREGUARD in transports:
        generation = document["wireguard_generation"]
        port = wireguard_port(document["wireguard_port"], generation)
        ends.append(TunnelEnds(wireguard_device(generation), port, tcp_port, WIREGUARD))
    return ends


def tunnel_filters(ends: TunnelEnds, run: Run) -> list[Filter]:
    """Return the filters in the way of probes through a tunnel, without those that name what they let pass."""
    _code, listing, _errors = run(("nft", "-t", "list", "ruleset"), None)
    filters: list[Filter] = []
    for table, body in _TABLE.findall(listing):
        if table != TABLE and not DORMANT.search(body):
            chains = [_chain_of(table, name, text) for name, text in _CHAIN.findall(body)]
            filters += [*_closed(chains, body, ends), *_dropping_rules(chains, ends)]
    return [each._replace(transport=ends.transport) for each in (*filters, *_closed_legacy(ends, run))]


def _chain_of(table: str, name: str, text: str) -> _Chain:
    found = _HOOK.search(text)
    kind, hook, policy = found.groups(default="") if found else ("", "", "")
    rules = [line.strip() for line in text.splitlines() if line.strip() and not _HOOK.match(line)]
    return _Chain(table, name, hook if kind in ("", "filter") else "nat", policy, rules)


def _closed(chains: t.Sequence[_Chain], body: str, ends: TunnelEnds) -> t.Iterator[Filter]:
    """Yield the chains that drop what no rule of their table accepts."""
    rules = {chain.name: chain.rules for chain in chains}
    for chain in chains:
        closed = chain.policy == "drop" or drops_rest(chain.rules, lambda further: rules.get(further, ()))
        if chain.hook in ("input", "prerouting") and closed:
            where = f"chain {chain.name} of the nftables table {chain.table}"
            yield from _of_closed(where, body, ends, _remedy(chain.table, body, ends))


def _of_closed(where: str, accepted: str, ends: TunnelEnds, remedy: str) -> t.Iterator[Filter]:
    device, names_icmp = _names(ends.device, accepted), "icmp" in _REJECT_REASON.sub("", accepted)
    if not _names(str(ends.port), accepted):
        yield Filter((TUNNEL,), f"{where} drops what it does not name, such as UDP port {ends.port}", remedy)
    elif not device and not _names(str(ends.tcp_port), accepted):
        drops = (TCP,) if names_icmp else (PING, TCP)
        what = f"TCP port {ends.tcp_port}" if names_icmp else f"ICMP echo requests and TCP port {ends.tcp_port}"
        yield Filter(drops, f"{where} drops what it does not name, such as {what} on {ends.device}", remedy)


def _names(word: str, text: str) -> bool:
    return re.search(rf"(?<![\w.:-]){re.escape(word)}(?![\w.:-])", text) is not None


def _dropping_rules(chains: t.Sequence[_Chain], ends: TunnelEnds) -> t.Iterator[Filter]:
    """Yield the rules that name the tunnel's port or the device, and drop. Rules for forwarded packets are left out."""
    for chain in chains:
        if chain.hook in ("forward", "postrouting", "nat"):
            continue
        for rule in chain.rules:
            match, _verb, _reason = _DROPS.split(rule, 1) if _DROPS.search(rule) else ("", "", "")
            drops = _dropped_by(match, ends)
            if drops:
                text = f"a rule in chain {chain.name} of the nftables table {chain.table}: {_COUNTER.sub('', rule)}"
                yield Filter(drops, text, "remove or narrow that rule", some=True)


def _dropped_by(match: str, ends: TunnelEnds) -> tuple[str, ...]:
    if re.search(rf"udp dport \{{?[^}}]*(?<!\d){ends.port}(?!\d)", match):
        return (TUNNEL,)
    if re.search(rf"tcp dport \{{?[^}}]*(?<!\d){ends.tcp_port}(?!\d)", match):
        return (TCP,)
    if _names(ends.device, match) and "oif" not in match:
        return (TCP,) if "tcp" in match else (PING,) if "icmp" in match else (PING, TCP)
    return ()


def _closed_legacy(ends: TunnelEnds, run: Run) -> t.Iterator[Filter]:
    """Yield the same for the legacy iptables, which nft does not list."""
    text = read_legacy_rules(run)
    if legacy_drops_rest("INPUT", text):
        yield from _of_closed("chain INPUT of iptables-legacy", text, ends, _remedy("legacy", text, ends))


def _remedy(table: str, text: str, ends: TunnelEnds) -> str:
    """Return the commands that open the firewall, if the program that manages the table is known."""
    if table == "inet firewalld":
        options = [f"--zone=trusted --add-interface={ends.device}", f"--add-port={ends.port}/udp"]
        commands = [*(f"firewall-cmd --permanent {option}" for option in options), "firewall-cmd --reload"]
    elif "ufw-" in text:
        commands = [f"ufw allow {ends.port}/udp", f"ufw allow in on {ends.device}"]
    elif table in ("ip filter", "legacy"):
        program = "iptables" if table == "ip filter" else "iptables-legacy"
        matches = (f"-p udp --dport {ends.port}", f"-i {ends.device}")
        commands = [f"{program} -I INPUT {match} -j ACCEPT" for match in matches]
    else:
        return f"let it accept UDP port {ends.port} from the peers, and packets from {ends.device}"
    return " && ".join(commands)

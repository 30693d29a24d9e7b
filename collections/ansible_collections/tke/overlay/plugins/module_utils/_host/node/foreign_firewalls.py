# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find foreign firewalls (Docker, firewalld, ...) that drop the packets of Pods. Nothing is changed.

A packet must pass all tables of the kernel: what one table drops, no other table can accept. Docker sets the policy of
iptables' FORWARD chain to drop if it is the program that turns forwarding on, and firewalld rejects packets from one of
its zones to another. With either of them, all tunnels and tables can be correct while no Pod reaches another one, not
even on the same host.

Only a rule in the chains of that firewall could accept the packets. Such a rule would be lost with the next reload of
the firewall, and it would open a host whose forwarding an administrator has closed on purpose. This collection
therefore only reports the firewall and the command that opens it. It stops reporting as soon as the firewall names the
Pod bridge or the container CIDR, because then an administrator has decided.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import TABLE
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import DEVICES
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodFinding, PodNetwork

CHAINS = ("nft", "list", "chains")

LEGACY_TABLES = "/proc/net/ip_tables_names"
LEGACY_PROGRAM = "/usr/sbin/iptables-legacy"
LEGACY = "legacy"
"""Stands for the table of the legacy iptables."""

_TABLE = re.compile(r"^table (\S+ \S+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_CHAIN = re.compile(
    r"^\tchain (\S+) \{\n(?:\t\tcomment .*\n)?"
    r"\t\ttype filter hook (\w+) (?:device \S+ )?priority [^;]*; policy (\w+);",
    re.MULTILINE,
)
DORMANT = re.compile(r"^\tflags (?:.*,)?dormant", re.MULTILINE)
"""A table with this flag: the kernel passes over it."""

_HOOKS = {"bridge": ("forward", "input", "output")}
"""Hooks that all packets of Pods pass, by family; of other families ``forward``."""

_HOOKS_OF_ALL = ("prerouting", "postrouting")
"""Hooks that packets of the host itself pass, too: only a rule about Pods matters there."""

_NOTES = (
    r"(?:(?:counter(?: packets \d+ bytes \d+)?"
    r'|log(?: prefix "[^"]*"| (?:level|group|flags|snaplen|queue-threshold) \S+)*) )*'
)
"""What a rule does before its verdict, for every packet: count and log."""

_DROP = _NOTES + r'(?:drop|reject(?: with [^"]*)?)(?: comment ".*")?'
_DROPS_ALL = re.compile(_DROP)
_GOES_ON = re.compile(_NOTES + r'(?:jump|goto) (\S+)(?: comment ".*")?')
_LEGACY_COMMENT = r"(?: -m comment --comment (?:\"[^\"]*\"|\S+))?"
_DROPS_PODS = (
    r"(?:[io]ifname \"(?:{0})\"|ip [sd]addr (?:{0})) "
    + _DROP
    + rf"|-A FORWARD -[iosd] (?:{{0}}){_LEGACY_COMMENT} -j (?:DROP|REJECT)\b.*"
)
"""A rule whose only condition is a device of the overlay or a container CIDR."""


def blocking_firewalls(network: PodNetwork, run: Run) -> list[PodFinding]:
    """Return each foreign firewall that drops forwarded packets of Pods.

    It drops all packets that it does not name, and does not name the Pods; or one of its rules drops all packets of
    the Pod bridge or the container CIDR. A rule about one port, one address or one Pod is a policy and no fault.
    """
    names = [network.bridge, *network.container_cidrs]
    named = re.compile("|".join(rf"(?<![\w.:-]){re.escape(name)}(?![\w.:-])" for name in names))
    chains = [*_forwarding_chains(network.container_cidrs, run), *_legacy_chain(run)]
    closed = [
        PodFinding(
            "firewall",
            f"{chain.what} forwards only what it names, and it names neither the Pod bridge {network.bridge} nor the "
            f"container CIDR: Pods of this host reach no other Pod and are unreachable",
            _remedy(chain, network),
        )
        for chain in chains
        if chain.closed and not named.search(chain.text)
    ]
    targets = "|".join(map(re.escape, (network.device, *DEVICES, *names)))
    drops_pods = re.compile(_DROPS_PODS.format(targets))
    return closed + [
        PodFinding("firewall", f"a rule of {chain.what} drops packets of Pods: {rule}", "Remove or narrow this rule")
        for chain in chains
        for rule in chain.rules
        if drops_pods.fullmatch(rule) and not DORMANT.search(_table(chain.table, run))
    ]


class _Chain(t.NamedTuple):
    """A chain that forwarded packets pass."""

    what: str
    table: str
    text: str  # of the table, for a closed chain
    rules: t.Sequence[str]
    closed: bool  # it drops what no rule accepts


def _forwarding_chains(cidrs: t.Sequence[str], run: Run) -> t.Iterator[_Chain]:
    families = {"bridge", "inet", *("ip6" if ":" in cidr else "ip" for cidr in cidrs)}
    _code, chains, _errors = run(CHAINS, None)
    for table, body in _TABLE.findall(chains):
        family = table.partition(" ")[0]
        if table == TABLE or family not in families:
            continue
        for chain, hook, policy in _CHAIN.findall(body):
            if hook in _HOOKS.get(family, ("forward",)):
                yield _chain(table, chain, policy, run)
            elif hook in _HOOKS_OF_ALL:
                yield _chain(table, chain, policy, run)._replace(closed=False)


def _chain(table: str, chain: str, policy: str, run: Run) -> _Chain:
    rules = _rules(table, chain, run)
    closed = policy == "drop" or drops_rest(rules, lambda further: _rules(table, further, run))
    text = _table(table, run) if closed else ""
    closed = closed and not DORMANT.search(text)
    return _Chain(f"chain {chain} of the nftables table {table}", table, text, rules, closed)


def _rules(table: str, chain: str, run: Run) -> list[str]:
    _code, text, _errors = run(("nft", "list", "chain", *table.split(), chain), None)
    return [line.strip() for line in text.splitlines() if line.startswith("\t\t") and " hook " not in line]


def _table(table: str, run: Run) -> str:
    return "" if table == LEGACY else run(("nft", "list", "table", *table.split()), None)[1]


def drops_rest(rules: t.Sequence[str], rules_of: t.Callable[[str], t.Sequence[str]]) -> bool:
    """Return whether the last rule drops every packet, also in a chain to which the last rule leads.

    :param rules_of: returns the rules of another chain of the table. The kernel accepts no loop of chains.
    """
    while rules:
        if _DROPS_ALL.fullmatch(rules[-1]):
            return True
        further = _GOES_ON.fullmatch(rules[-1])
        rules = rules_of(further[1]) if further else ()
    return False


def _legacy_chain(run: Run) -> t.Iterator[_Chain]:
    """Yield the same for the legacy iptables, which nft does not list."""
    text = read_legacy_rules(run)
    if text:
        rules = [line for line in text.splitlines() if line.startswith("-A FORWARD ")]
        yield _Chain("chain FORWARD of iptables-legacy", LEGACY, text, rules, legacy_drops_rest("FORWARD", text))


def legacy_drops_rest(chain: str, text: str) -> bool:
    """Return whether a chain of the legacy iptables drops what none of its rules accepts."""
    lines = text.splitlines()
    last = next((line for line in reversed(lines) if line.startswith(f"-A {chain} ")), "")
    end = re.fullmatch(rf"-A {chain}{_LEGACY_COMMENT} -j (?:DROP|REJECT)\b.*", last)
    return f"-P {chain} DROP" in lines or end is not None


def read_legacy_rules(run: Run) -> str:
    """Return the rules of the legacy iptables' table filter as its program prints them, empty if it is not in use.

    The program runs only if its tables are in use, because running it loads them into the kernel.
    """
    try:
        with open(LEGACY_TABLES, encoding="ascii") as stream:
            in_use = "filter" in stream.read().split()
    except OSError:
        return ""
    if not (in_use and os.path.exists(LEGACY_PROGRAM)):
        return ""
    return run((LEGACY_PROGRAM, "-S"), None)[1]


def _remedy(chain: _Chain, network: PodNetwork) -> str:
    """Return how to open the firewall: commands, if the program that manages the table is known."""
    device, bridge, table = network.device, network.bridge, chain.table
    if table == "inet firewalld":
        options = [f"--zone=trusted --add-interface={name}" for name in (bridge, device)]
        options += [f"--add-port={network.port}/udp"]
        commands = [*(f"firewall-cmd --permanent {option}" for option in options), "firewall-cmd --reload"]
    elif "ufw-before-forward" in chain.text:
        commands = [f"ufw route allow {option} on {bridge}" for option in ("in", "out")]
    elif table in ("ip filter", LEGACY):
        program = "iptables" if table == "ip filter" else "iptables-legacy"
        place = "DOCKER-USER" if "DOCKER-USER" in chain.text else "FORWARD"
        commands = [f"{program} -I {place} {option} {bridge} -j ACCEPT" for option in ("-i", "-o")]
    else:
        return "Let it accept packets from the bridge and to the bridge"
    return f"To open it: {' && '.join(commands)}"

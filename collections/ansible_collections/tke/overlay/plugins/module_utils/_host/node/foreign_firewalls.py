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
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodFinding, PodNetwork

CHAINS = ("nft", "list", "chains")

LEGACY_TABLES = "/proc/net/ip_tables_names"
LEGACY_PROGRAM = "/usr/sbin/iptables-legacy"

_TABLE = re.compile(r"^table (\S+ \S+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_CHAIN = re.compile(r"^\tchain (\S+) \{\n\t\ttype filter hook forward priority [^;]*; policy (\w+);", re.MULTILINE)
_DROPS_ALL = re.compile(r"\s*(counter packets \d+ bytes \d+ )?(drop|reject( with .*)?)\s*")
_DROPS_ALL_LEGACY = re.compile(r"-A FORWARD -j (DROP|REJECT)\b.*")


def blocking_firewalls(network: PodNetwork, run: Run) -> list[PodFinding]:
    """Return each foreign firewall that drops forwarded packets by default and does not name the Pods."""
    cidrs = network.container_cidrs
    names = re.compile("|".join(rf"(?<![\w.:-]){re.escape(name)}(?![\w.:-])" for name in (network.bridge, *cidrs)))
    closed = [*_closed_tables(cidrs, run), *_closed_legacy(run)]
    return [
        PodFinding(
            "firewall",
            f"{what} forwards only what it names, and it names neither the Pod bridge {network.bridge} nor the "
            f"container CIDR: Pods of this host reach no other Pod and are unreachable",
            _remedy(table, text, network),
        )
        for what, table, text in closed
        if not names.search(text)
    ]


def _closed_tables(cidrs: t.Sequence[str], run: Run) -> t.Iterator[tuple[str, str, str]]:
    """Yield a description of each closed chain, its table, and the text of the table."""
    families = {"inet", *("ip6" if ":" in cidr else "ip" for cidr in cidrs)}
    _code, chains, _errors = run(CHAINS, None)
    for table, body in _TABLE.findall(chains):
        if table == TABLE or table.split()[0] not in families:
            continue
        for chain, policy in _CHAIN.findall(body):
            if policy == "drop" or _DROPS_ALL.fullmatch(_last_rule(table, chain, run)):
                _code, text, _errors = run(("nft", "list", "table", *table.split()), None)
                yield f"chain {chain} of the nftables table {table}", table, text


def _last_rule(table: str, chain: str, run: Run) -> str:
    _code, text, _errors = run(("nft", "list", "chain", *table.split(), chain), None)
    rules = [line for line in text.splitlines() if line.startswith("\t\t")]
    return rules[-1] if rules else ""


def _closed_legacy(run: Run) -> t.Iterator[tuple[str, str, str]]:
    """Yield the same for the legacy iptables, which nft does not list.

    Its program runs only if its tables are in use, because running it loads them into the kernel.
    """
    try:
        with open(LEGACY_TABLES, encoding="ascii") as stream:
            in_use = "filter" in stream.read().split()
    except OSError:
        return
    if not (in_use and os.path.exists(LEGACY_PROGRAM)):
        return
    _code, text, _errors = run((LEGACY_PROGRAM, "-S"), None)
    rules = [line for line in text.splitlines() if line.startswith("-A FORWARD ")]
    if "-P FORWARD DROP" in text.splitlines() or (rules and _DROPS_ALL_LEGACY.fullmatch(rules[-1])):
        yield "chain FORWARD of iptables-legacy", "legacy", text


def _remedy(table: str, text: str, network: PodNetwork) -> str:
    """Return how to open the firewall: commands, if the program that manages the table is known."""
    device, bridge = network.device, network.bridge
    if table == "inet firewalld":
        options = [f"--zone=trusted --add-interface={name}" for name in (bridge, device)]
        options += [f"--add-port={network.port}/udp"]
        commands = [*(f"firewall-cmd --permanent {option}" for option in options), "firewall-cmd --reload"]
    elif "ufw-before-forward" in text:
        commands = [f"ufw route allow {option} on {bridge}" for option in ("in", "out")]
    elif table in ("ip filter", "legacy"):
        program = "iptables" if table == "ip filter" else "iptables-legacy"
        chain = "DOCKER-USER" if "DOCKER-USER" in text else "FORWARD"
        commands = [f"{program} -I {chain} {option} {bridge} -j ACCEPT" for option in ("-i", "-o")]
    else:
        return "Let it accept packets from the bridge and to the bridge"
    return f"To open it: {' && '.join(commands)}"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: firewalls of others that do not forward what is for Pods.

What one table of the kernel drops, no other table can let pass: a packet must get through all of them. Docker sets the
policy of iptables' FORWARD chain to drop where it was the one to turn forwarding on, and firewalld rejects what goes
from one of its zones to another; beside either, all tunnels and tables can be right and no Pod reaches any other, not
even on the same host.

A rule against that could only stand in their own chains. It would be gone with their next reload, and whoever closed
forwarding on a host on purpose would find it open. So it is only told, with the command that mends it, and not any more
once the other firewall names the Pod bridge or the container CIDR: then somebody has decided.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import TABLE
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run

LEGACY_TABLES = "/proc/net/ip_tables_names"
LEGACY_PROGRAM = "/usr/sbin/iptables-legacy"

_TABLE = re.compile(r"^table (\S+ \S+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_CHAIN = re.compile(r"^\tchain (\S+) \{\n\t\ttype filter hook forward priority [^;]*; policy (\w+);", re.MULTILINE)
_REFUSES_ALL = re.compile(r"\s*(counter packets \d+ bytes \d+ )?(drop|reject( with .*)?)\s*")
_REFUSES_ALL_LEGACY = re.compile(r"-A FORWARD -j (DROP|REJECT)\b.*")


def blocking_firewalls(device: str, port: int, bridge: str, cidrs: t.Sequence[str], run: Run) -> list[str]:
    """A sentence for each firewall of others that forwards nothing it does not know, and does not know our Pods.

    :param device: the VXLAN device.
    :param port: its UDP port.
    :param cidrs: the container CIDRs.
    """
    names = re.compile("|".join(rf"(?<![\w.:-]){re.escape(name)}(?![\w.:-])" for name in (bridge, *cidrs)))
    closed = [*_closed_tables(cidrs, run), *_closed_legacy(run)]
    return [
        f"{what} forwards nothing but what it knows, and it names neither the Pod bridge {bridge} nor the container "
        f"CIDR: Pods of this host reach nobody and are reached by nobody.{_advice(table, text, device, port, bridge)}"
        for what, table, text in closed
        if not names.search(text)
    ]


def _closed_tables(cidrs: t.Sequence[str], run: Run) -> t.Iterator[tuple[str, str, str]]:
    """What it is, the table, and all that this holds."""
    families = {"inet", *("ip6" if ":" in cidr else "ip" for cidr in cidrs)}
    _code, chains, _errors = run(("nft", "list", "chains"), None)
    for table, body in _TABLE.findall(chains):
        if table == TABLE or table.split()[0] not in families:
            continue
        for chain, policy in _CHAIN.findall(body):
            if policy == "drop" or _REFUSES_ALL.fullmatch(_last_rule(table, chain, run)):
                _code, text, _errors = run(("nft", "list", "table", *table.split()), None)
                yield f"chain {chain} of the nftables table {table}", table, text


def _last_rule(table: str, chain: str, run: Run) -> str:
    _code, text, _errors = run(("nft", "list", "chain", *table.split(), chain), None)
    rules = [line for line in text.splitlines() if line.startswith("\t\t")]
    return rules[-1] if rules else ""


def _closed_legacy(run: Run) -> t.Iterator[tuple[str, str, str]]:
    """The same of the old iptables, which nft does not show. Asked only if it is in use: it would load its tables."""
    try:
        with open(LEGACY_TABLES, encoding="ascii") as stream:
            in_use = "filter" in stream.read().split()
    except OSError:
        return
    if not (in_use and os.path.exists(LEGACY_PROGRAM)):
        return
    _code, text, _errors = run((LEGACY_PROGRAM, "-S"), None)
    rules = [line for line in text.splitlines() if line.startswith("-A FORWARD ")]
    if "-P FORWARD DROP" in text.splitlines() or (rules and _REFUSES_ALL_LEGACY.fullmatch(rules[-1])):
        yield "chain FORWARD of iptables-legacy", "legacy", text


def _advice(table: str, text: str, device: str, port: int, bridge: str) -> str:
    """What to do about it, as far as it is known whose table that is."""
    if table == "inet firewalld":
        options = [f"--zone=trusted --add-interface={name}" for name in (bridge, device)] + [f"--add-port={port}/udp"]
        commands = [*(f"firewall-cmd --permanent {option}" for option in options), "firewall-cmd --reload"]
    elif table in ("ip filter", "legacy"):
        program = "iptables" if table == "ip filter" else "iptables-legacy"
        chain = "DOCKER-USER" if "DOCKER-USER" in text else "FORWARD"
        commands = [f"{program} -I {chain} {way} {bridge} -j ACCEPT" for way in ("-i", "-o")]
    else:
        return " Let it accept what comes from the bridge and what goes to it."
    return f" To open it: {' && '.join(commands)}"

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A host of a small fleet, and changes by hand that both Ansible and the restore script must correct."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from typing import Any

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, fleet_text, vtep_mac
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run

RULESET = ("nft", "-s", "list", "ruleset")

PEERS = [Peer("me", "10.244.0.0/24", "10.0.1.11")] + [
    Peer(f"peer{number}", f"10.244.{number}.0/24", f"10.0.1.{100 + number}") for number in range(1, 6)
]


def document(peers: Sequence[Peer] = PEERS, **changes: Any) -> Any:
    """Return the node document of the host ``me``."""
    base = {
        "schema": 1,
        "cluster": "demo",
        "node": "me",
        "device": "tke0",
        "vni": 1,
        "port": 8472,
        "mtu": 1450,
        "bridge": "tke-br0",
        "container_cidr": ["10.244.0.0/16"],
        "service_cidr": "10.244.255.0/24",
        "fleet": fleet_text(peers),
    }
    return {**base, **changes}


def everything(run: Run) -> dict[str, list[str]]:
    """Return everything that the kernel lists, by command, foreign objects included, without what changes by itself."""
    commands = [
        ["ip", "-json", "-details", "address", "show"],
        ["ip", "-json", "route", "show", "table", "all"],
        ["ip", "-json", "neigh", "show"],
        ["bridge", "-json", "fdb", "show"],
        ["ip", "-json", "rule", "show"],
    ]
    listing = {}
    for command in commands:
        code, out, errors = run(command)
        assert code == 0, errors
        listing[" ".join(command)] = sorted(json.dumps(lasting(row), sort_keys=True) for row in json.loads(out or "[]"))
    return {**listing, " ".join(RULESET): sorted(rules_of(run))}


def rules_of(run: Run) -> list[str]:
    """Return the lines of all rules, an element of a set in each. The JSON of nft 1.0.6 can end in the middle."""
    code, out, errors = run(RULESET)
    assert code == 0, errors
    apart = re.sub(r"elements = \{([^}]*)\}", lambda elements: elements[1].replace(",", "\n"), out)
    return [line.strip() for line in apart.splitlines() if line.strip()]


def lasting(row: Any) -> Any:
    """Return a row without what changes by itself: timers of a bridge, handles, counters and the carrier state."""
    if isinstance(row, dict):
        changing = ("operstate", "handle", "packets", "bytes")
        return {k: lasting(value) for k, value in row.items() if k not in changing and not k.endswith("_timer")}
    return row


OF_LINK = [
    "ip link del tke0",
    "ip link set tke0 down",
    "ip link set tke0 mtu 1300",
    "ip link set tke0 address 02:00:00:00:00:77",
    "ip link set tke0 type vxlan local 10.0.1.99",
    "ip link set tke0 type vxlan learning",
    "ip address del 10.244.0.0/32 dev tke0",
    "ip address add 10.244.0.7/24 dev tke0",
    "ip address add 10.244.0.8/32 dev tke0",
    "ip address add 10.244.0.9/32 dev tke0 scope link",
    "ip link set tke0 type vxlan remote 10.0.1.66",
    *(
        f"ip link del tke0 && ip link add tke0 type vxlan id {vni} dstport {port} local 10.0.1.11 nolearning && "
        "ip link set tke0 alias tke.overlay && ip link set tke0 up"
        for vni, port in ((1, 4789), (7, 8472))
    ),
    "ip link set tke0 alias other",
]
OF_TABLES = [
    "ip route del 10.244.1.0/24",
    "ip route replace 10.244.2.0/24 via 10.244.3.0 dev tke0 onlink proto 144",
    "ip route replace 10.244.2.0/24 via 10.244.3.0 dev tke0 onlink proto static",
    "ip route prepend 10.244.2.0/24 via 10.244.3.0 dev tke0 onlink proto 144",
    "ip route add 10.244.77.0/24 via 10.244.77.0 dev tke0 onlink proto 144",
    "ip route add 10.99.0.0/24 via 10.244.1.0 dev tke0 onlink proto 144",
    "ip route add blackhole 10.244.78.0/24 metric 4096 proto 144",
    "ip route del blackhole 10.244.0.0/24 metric 4096",
    "ip route flush proto 144",
    "ip neigh del 10.244.1.0 dev tke0",
    "ip neigh add 10.244.77.0 lladdr 02:00:00:00:00:01 dev tke0 nud permanent",
    "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:77 dev tke0 nud permanent",
    "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:77 dev tke0 nud stale",
    "ip neigh flush dev tke0 nud permanent",
    f"bridge fdb del {vtep_mac(PEERS[1].node_cidr)} dev tke0 self",
    f"bridge fdb replace {vtep_mac(PEERS[2].node_cidr)} dev tke0 dst 10.0.1.66 self permanent",
    f"bridge fdb replace {vtep_mac(PEERS[2].node_cidr)} dev tke0 dst 10.0.1.66 port 4789 self permanent",
    f"bridge fdb replace {vtep_mac(PEERS[3].node_cidr)} dev tke0 dst 10.0.1.103 self static",
    "bridge fdb append 00:00:00:00:00:00 dev tke0 dst 10.0.1.50 self permanent",
    "bridge fdb add 02:00:00:00:00:02 dev tke0 dst 10.0.1.50 self permanent",
]
OF_RULES = [
    "nft delete table inet tke_overlay",
    "nft flush ruleset",
    "nft flush table inet tke_overlay",
    "nft flush chain inet tke_overlay prerouting",
    "nft flush set inet tke_overlay peers4",
    "nft delete element inet tke_overlay peers4 { 10.0.1.101 }",
    "nft add element inet tke_overlay peers4 { 10.0.1.66 }",
    "nft add element inet tke_overlay pods4 { 192.0.2.0/24 }",
    "nft delete element inet tke_overlay pods4 { 10.244.0.0/16 }",
    "nft add rule inet tke_overlay input udp dport 8472 accept",
    "nft insert rule inet tke_overlay input udp dport 8472 accept",
    "nft add rule inet tke_overlay nat masquerade",
    "nft chain inet tke_overlay input { policy drop; }",
    "nft add chain inet tke_overlay mine",
    "nft add set inet tke_overlay mine { type ipv4_addr; }",
    "nft add table inet tke_overlay { flags dormant; }",
]
OF_SYSCTLS = [
    "sysctl net/ipv4/ip_forward 0",
    "sysctl net/ipv4/conf/tke0/rp_filter 1",
    "sysctl net/ipv4/conf/tke0/forwarding 0",
    "sysctl net/bridge/bridge-nf-call-iptables 0",
]

KINDS = {"link": OF_LINK, "tables": OF_TABLES, "rules": OF_RULES, "sysctls": OF_SYSCTLS}
BREAKAGES = [line for lines in KINDS.values() for line in lines]
COMBINABLE = [line for line in BREAKAGES if not line.endswith("alias other")]
"""The breakages that can be combined: a link without the alias that must be created again is not corrected."""


def broken(run: Run, breakage: str) -> None:
    """Apply one breakage. It has no effect if a previous one has removed what it changes."""
    for line in breakage.split(" && "):
        program, *words = line.split()
        if program == "sysctl":
            with contextlib.suppress(FileNotFoundError), open(f"/proc/sys/{words[0]}", "w", encoding="ascii") as stream:
                stream.write(words[1])
        else:
            run([program, *words])

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Record the listings of nft for the unit tests of ``_host/kernel`` and ``_host/node``: see docs/testing.md.

    data=collections/ansible_collections/tke/overlay/tests/unit/plugins/module_utils/_host/kernel/data
    python tests/tools/record_nft.py > $data/nft-1.0.6.txt

It runs the nft of PATH in a new network namespace, loads the rules of a node, those of a host of the pair, and three
tables of other programs, lets a packet of each kind be dropped, and prints each command that reads rules, with its
output.
"""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "collections"))

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.obstacles import find_obstacles
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    RulesSpec,
    RulesTable,
    counter_values,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer import config
from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.spec import PairHost, PairSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.node.foreign_firewalls import blocking_firewalls
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import NAT
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodNetwork
from ansible_collections.tke.overlay.plugins.module_utils._host.node.tunnel_filters import TunnelEnds, tunnel_filters

PEERS = ["10.0.1.12", "10.0.1.13"]
SPEC = RulesSpec("tke0", "tke-br0", 8472, 1450, "10.244.0.0/24", ["10.244.0.0/16"], PEERS)
FOREIGN = """\
table ip filter {
    chain FORWARD { type filter hook forward priority filter; policy drop; }
}
table inet other {
    chain forward { type filter hook forward priority filter; policy accept; tcp dport 80 accept; counter drop; }
}
table inet third {
    chain input {
        type filter hook input priority filter; policy accept
        udp dport { 4789, 8472 } counter drop
        iifname "tke0" tcp dport 8473 reject
    }
    chain output {
        type filter hook output priority filter; policy accept
        ip daddr 10.0.2.0/24 tcp dport 6443 counter reject with tcp reset
    }
}
"""
PAIR = PairSpec(
    own=PairHost("clb1", "10.0.2.11"),
    peer=PairHost("clb2", "10.0.2.12"),
    preferred_vip="apiserver",
    vips={"apiserver": "10.0.2.2", "services": "10.0.2.3"},
    subnet="10.0.2.0/24",
    apiservers={"api1": "10.0.1.21:6443"},
    api_port=6443,
    services=[],
    listeners=[],
    ca="",
    metrics_port=8405,
    vrid=84,
)
PAIR_LISTING = ("nft", "-s", "list", "table", *config.TABLE.split())


def main() -> None:
    """Load the rules, read all tables, and print each command with its output."""
    if sys.argv[1:] != ["inside"]:
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, "inside"])
    outputs: dict[str, str] = {}

    def run(command: Sequence[str], text: str | None) -> tuple[int, str, str]:
        done = subprocess.run([*command], input=text or "", capture_output=True, text=True, check=False)
        if text is None and command[0] == "nft":
            outputs[" ".join(command)] = done.stdout.rstrip("\n")
        return done.returncode, done.stdout, done.stderr

    with tempfile.TemporaryDirectory() as root:
        files.ROOT = root
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["nft", "-f", "-"], input=FOREIGN, text=True, check=True)
        rules = RulesTable(SPEC)
        rules.replace(run)
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", SPEC.port))
        rules.read(run)
    subprocess.run(["nft", "-f", "-"], input=config.rules(PAIR), text=True, check=True)
    outputs[f"# before a packet: {' '.join(PAIR_LISTING)}"] = run(PAIR_LISTING, None)[1].rstrip("\n")
    advert = bytes((0x31, PAIR.vrid, 255, 1))  # of VRRP, from a host that is not the peer
    socket.socket(socket.AF_INET, socket.SOCK_RAW, 112).sendto(advert, ("127.0.0.1", 0))
    run(PAIR_LISTING, None)
    run(NAT, None)
    tunnel_filters(TunnelEnds(SPEC.device, SPEC.port, 8473), run)
    find_obstacles("10.0.2.2", 6443, run)
    counter_values(run)
    blocking_firewalls(PodNetwork(SPEC.device, SPEC.bridge, SPEC.port, SPEC.node_cidr, SPEC.container_cidrs), run)
    # REUSE-IgnoreStart
    print("# SPDX-License-Identifier: GPL-3.0-or-later")
    print("# Copyright: (c) 2026, tke.overlay contributors")
    # REUSE-IgnoreEnd
    print("# Recorded by tests/tools/record_nft.py, which has the rules. Each command with its output.")
    for command, output in outputs.items():
        print(f"\n$ {command}\n{output}")


if __name__ == "__main__":
    main()

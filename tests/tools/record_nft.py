# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Record the listings of nft for the unit tests of ``_host/kernel`` and ``_host/node``: see docs/testing.md.

    data=collections/ansible_collections/tke/overlay/tests/unit/plugins/module_utils/_host/kernel/data
    python tests/tools/record_nft.py > $data/nft-1.0.6.txt

It runs the nft of PATH in a new network namespace, loads the rules of a node and two tables of other programs, lets one
packet be dropped, and prints each command that reads rules, with its output.
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
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    RulesSpec,
    RulesTable,
    counter_values,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.foreign_firewalls import blocking_firewalls
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodNetwork

PEERS = ["10.0.1.12", "10.0.1.13"]
SPEC = RulesSpec("tke0", "tke-br0", 8472, 1450, "10.244.0.0/24", ["10.244.0.0/16"], PEERS)
FOREIGN = """\
table ip filter {
    chain FORWARD { type filter hook forward priority filter; policy drop; }
}
table inet other {
    chain forward { type filter hook forward priority filter; policy accept; tcp dport 80 accept; counter drop; }
}
"""


def main() -> None:
    """Load the rules, read all tables, and print each command with its output."""
    if sys.argv[1:] != ["inside"]:
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, "inside"])
    outputs: dict[str, str] = {}

    def run(command: Sequence[str], text: str | None) -> tuple[int, str, str]:
        done = subprocess.run([*command], input=text or "", capture_output=True, text=True, check=False)
        if text is None:
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

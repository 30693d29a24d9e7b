# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Record the listings of ip and bridge for the unit tests of ``_host/kernel``: see docs/testing.md.

    data=collections/ansible_collections/tke/overlay/tests/unit/plugins/module_utils/_host/kernel/data
    python tests/tools/record_iproute2.py > $data/iproute2-6.1.txt

It runs the ip and bridge of PATH in a new network namespace, creates one object of each kind that the tables
distinguish, and prints each command that reads a table, with its output.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "collections"))

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import BridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import RouteTable

OBJECTS = """\
ip link add eth0 address 02:00:00:00:00:01 mtu 1500 type veth peer name far address 02:00:00:00:00:02
ip address add 10.0.1.11/24 dev eth0
ip address add 2001:db8::11/64 dev eth0 nodad
ip link set lo up
ip link set eth0 up
ip link set far up
ip link add tke0 address 0a:58:0a:f4:00:00 mtu 1400 type vxlan id 1 dstport 8472 local 10.0.1.11 nolearning
ip link set tke0 addrgenmode none
ip link set tke0 alias tke.overlay
ip link set tke0 up
ip address add 10.244.0.0/32 dev tke0
ip link add tke6 address 0a:58:0a:f4:00:06 mtu 1380 type vxlan id 6 dstport 8472 local 2001:db8::11 nolearning
ip link set tke6 addrgenmode none
ip link set tke6 up
ip link add tke7 address 0a:58:0a:f4:00:07 type vxlan id 7 dstport 4789 group 239.1.1.1 dev eth0
ip link add tke-br0 address 0a:58:0a:f4:00:01 type bridge
ip link set tke-br0 addrgenmode none
ip address add 10.244.0.1/24 dev tke-br0
ip address add 10.244.9.1/24 dev tke-br0
ip link set tke-br0 up
bridge fdb add 0a:58:0a:f4:01:00 dev tke0 dst 10.0.1.12 self permanent
bridge fdb add 0a:58:0a:f4:02:00 dev tke0 dst 10.0.1.13 self static
bridge fdb add 0a:58:0a:f4:03:00 dev tke0 dst 10.0.1.14 self dynamic
bridge fdb add 0a:58:0a:f4:04:00 dev tke0 dst 10.0.1.15 port 4789 vni 7 via eth0 self permanent
bridge fdb append 00:00:00:00:00:00 dev tke0 dst 10.0.1.50 self permanent
bridge fdb append 00:00:00:00:00:00 dev tke0 dst 10.0.1.51 self permanent
ip nexthop add id 10 via 10.0.1.16 fdb
ip nexthop add id 11 group 10 fdb
bridge fdb add 0a:58:0a:f4:05:00 dev tke0 nhid 11 self permanent
bridge fdb add 0a:58:0a:f4:01:00 dev tke6 dst 2001:db8::12 self permanent
ip neigh add 10.244.1.0 lladdr 0a:58:0a:f4:01:00 dev tke0 nud permanent
ip neigh add 10.244.2.0 lladdr 0a:58:0a:f4:02:00 dev tke0 nud stale
ip neigh add 10.244.3.0 dev tke0 nud failed
ip neigh add 2001:db8:1::1 lladdr 0a:58:0a:f4:01:00 dev tke0 nud permanent
ip neigh add 2001:db8:2::1 lladdr 0a:58:0a:f4:02:00 dev tke0 nud stale
ip route add 10.244.1.0/24 via 10.244.1.0 dev tke0 onlink proto 144
ip route add 10.244.2.0/24 via 10.244.2.0 dev tke0 onlink proto 144
ip route prepend 10.244.2.0/24 via 10.244.9.0 dev tke0 onlink proto 144
ip route add 10.244.3.0/24 dev tke0 proto static metric 7
ip route add blackhole 10.244.0.0/24 metric 4096 proto 144
ip route add 10.244.4.4 via 10.0.1.1 dev eth0 tos 0x10 proto static
ip route add 10.7.0.0/16 proto static nexthop via 10.0.1.1 dev eth0 nexthop via 10.0.1.2 dev eth0 weight 2
ip route add 10.244.6.0/24 via 10.0.1.1 dev eth0 src 10.0.1.11 mtu 1300
ip route add unreachable 10.244.7.0/24
ip route add 10.8.0.0/24 via 10.0.1.1 dev eth0 proto 144
ip route add blackhole 10.9.0.0/24 proto 144
ip route add default via 10.0.1.1 dev eth0
ip -6 route add 2001:db8:1::/64 via 2001:db8:1::1 dev tke0 onlink proto 144
ip -6 route add 2001:db8:2::2 via 2001:db8::1 dev eth0 metric 7 proto static
ip -6 route add blackhole 2001:db8:3::/64 metric 4096 proto 144
ip -6 route add default via 2001:db8::1 dev eth0
"""


RESTORE = """\
ip -o -d link show dev tke0
ip -o address show dev tke0
ip -4 route show table main proto 144
ip -4 route show table main root 10.244.0.0/16 proto 144 type blackhole
ip -4 route show table main
ip -4 route show table main exact 10.8.0.0/24 proto 144
ip -4 neigh show dev tke0 nud permanent
bridge fdb show dev tke0
"""
"""What the restore script runs."""


def call(command: list[str]) -> str:
    """Return the output of a command, which must succeed."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Create the objects, read all tables, and print each command with its output."""
    if sys.argv[1:] != ["inside"]:
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, "inside"])
    pathlib.Path("/proc/sys/net/ipv6/conf/default/addr_gen_mode").write_text("1", encoding="ascii")
    rejected = [line for line in OBJECTS.splitlines() if subprocess.run(line.split(), check=False).returncode != 0]
    outputs: dict[str, str] = {}

    def run(command: Sequence[str], _text: str | None) -> tuple[int, str, str]:
        line = " ".join(command)
        outputs.setdefault(line, call([*command]).strip())
        return 0, outputs[line], ""

    read_links(run)
    BridgeTable("tke-br0", ["10.244.0.0/16"], "10.244.0.0/24").among(read_links(run))
    for device in ("tke0", "tke6"):
        FdbTable(device).read(run)
    for version, within in ((4, ["10.244.0.0/16"]), (6, ["2001:db8::/32"])):
        NeighborTable("tke0", version).read(run)
        for cidrs in ([], within):
            with contextlib.suppress(KernelError):  # iproute2 before 5.5 prints a multipath route as no JSON
                RouteTable("tke0", version, within=cidrs).read(run)
    for line in RESTORE.splitlines():
        run(line.split(), None)
    # REUSE-IgnoreStart
    print("# SPDX-License-Identifier: GPL-3.0-or-later")
    print("# Copyright: (c) 2026, tke.overlay contributors")
    # REUSE-IgnoreEnd
    print("# Recorded by tests/tools/record_iproute2.py, which lists the objects. Each command with its output.")
    for line in rejected:
        print(f"# This version rejects: {line}")
    for command, output in outputs.items():
        print(f"\n$ {command}\n{output}")


if __name__ == "__main__":
    main()

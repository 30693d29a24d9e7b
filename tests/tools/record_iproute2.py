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
import socket
import subprocess
import sys
from collections.abc import Sequence

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "collections"))

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.obstacles import find_obstacles
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.route import find_route
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkSpec, check_conflicts, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.pod_bridge import BridgeTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import RouteTable
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.underlay import underlay_routes
from ansible_collections.tke.overlay.plugins.module_utils._host.node.outward_links import outward_links
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_checks import pod_findings
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodNetwork

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
ip link add lan1 address 02:00:00:00:00:03 type veth peer name far1 address 02:00:00:00:00:04
ip address add 10.0.3.11/24 dev lan1
ip link set lan1 up
ip link set far1 up
ip route add default metric 50 nexthop via 10.0.1.1 dev eth0 nexthop via 10.0.3.1 dev lan1
ip neigh replace 10.0.1.1 dev eth0 nud failed
ip netns add pod-1
ip netns add pod-2
ip netns add pod-3
ip netns add pod-4
ip link add vethaaaa0001 address 02:00:00:00:01:01 type veth peer name eth0 netns pod-1
ip link add vethbbbb0001 address 02:00:00:00:01:02 type veth peer name eth0 netns pod-2
ip link add vethbbbb0002 address 02:00:00:00:01:03 type veth peer name eth0 netns pod-3
ip link add vethbbbb0003 address 02:00:00:00:01:04 type veth peer name eth0 netns pod-4
ip link add vethcccc0001 address 02:00:00:00:01:05 type veth peer name vethcccc0002 address 02:00:00:00:01:06
ip link add tke-br1 address 0a:58:0a:f5:00:01 type bridge
ip address add 10.245.0.1/24 dev tke-br1
ip link set tke-br1 up
ip link add tke-br2 address 0a:58:0a:f6:00:01 type bridge
ip link set vethaaaa0001 master tke-br0
ip link set vethaaaa0001 type bridge_slave hairpin on
ip link set vethbbbb0001 master tke-br1
ip link set vethaaaa0001 up
ip link set vethbbbb0001 up
ip link set vethbbbb0003 up
ip -n pod-1 address add 10.244.0.2/24 dev eth0
ip -n pod-2 address add 10.245.0.2/24 dev eth0
ip -n pod-3 address add 10.245.0.3/24 dev eth0
ip -n pod-4 address add 10.245.0.4/24 dev eth0
ip -n pod-1 link set eth0 up
ip -n pod-2 link set eth0 up
ip -n pod-3 link set eth0 up
ip -n pod-4 link set eth0 up
ip route add 10.245.0.4 dev vethbbbb0003
ip route del 10.245.0.0/24 dev tke-br1
"""

BRIDGES = {"tke-br0": "10.244.0.0/24", "tke-br1": "10.245.0.0/24", "tke-br2": "10.246.0.0/24"}
"""Bridge -> node CIDR: one without a difference; one without its route, with links of Pods off it; one that is down."""

HOLDER = 8473
"""A UDP port that a program holds."""


RESTORE = """\
ip -o -d link show dev tke0
ip -o address show dev tke0
ip -4 route show table main proto 144
ip -4 route show table main root 10.244.0.0/16 proto 144 type blackhole
ip -4 route show table main
ip -4 route show table main exact 10.8.0.0/24 proto 144
ip -4 neigh show dev tke0 nud permanent
bridge fdb show dev tke0
ip -4 route show table main exact 10.8.0.0/24
ip -o address show to 10.0.1.11
ip -o address show to 10.0.1.99
ip -4 route show default
ip -o -d link show type veth
"""
"""What the restore script runs, besides the commands about its Pod bridge."""

RESTORE_BRIDGE = """\
ip -o -d link show dev {bridge}
ip -o -4 address show dev {bridge}
ip -4 route show table main exact {node_cidr} dev {bridge}
ip -n pod-1 -o -4 address show to {node_cidr}
ip -n pod-2 -o -4 address show to {node_cidr}
ip -n pod-3 -o -4 address show to {node_cidr}
ip -n pod-4 -o -4 address show to {node_cidr}
ip -4 route show table main root {node_cidr} dev vethbbbb0002
ip -4 route show table main root {node_cidr} dev vethbbbb0003
"""


def recording(outputs: dict[str, str]) -> Run:
    """Return a run that also notes the output of each command, or "! code: error" if there is none.

    Only the programs of iproute2 run.
    """

    def run(command: Sequence[str], text: str | None) -> tuple[int, str, str]:
        if command[0] not in ("ip", "bridge", "ss"):
            return 1, "", "not recorded"
        done = subprocess.run([*command], input=text or "", capture_output=True, text=True, check=False)
        failed = done.returncode != 0 and not done.stdout
        failure = f"! {done.returncode}: {done.stderr.strip()}"
        outputs.setdefault(" ".join(command), failure if failed else done.stdout.strip("\n"))
        return done.returncode, done.stdout, done.stderr

    return run


def read_tables(run: Run) -> None:
    """Read what the modules converge."""
    links = read_links(run)
    for bridge, node_cidr in BRIDGES.items():
        BridgeTable(bridge, [node_cidr], node_cidr).beyond(links, run)
    for device in ("tke0", "tke6"):
        FdbTable(device).read(run)
    for version, within in ((4, ["10.244.0.0/16"]), (6, ["2001:db8::/32"])):
        NeighborTable("tke0", version).read(run)
        for cidrs in ([], within):
            with contextlib.suppress(KernelError):  # iproute2 before 5.5 prints a multipath route as no JSON
                RouteTable("tke0", version, within=cidrs).read(run)


def read_probes(run: Run) -> None:
    """Read what the checks of the host, of Pods and of the API endpoint ask."""
    links = read_links(run)
    underlay_routes("10.0.1.11", ["10.0.1.12", "10.244.6.5", "10.244.7.5", "192.0.2.1"], run)
    outward_links("10.0.1.11", links, run)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder, contextlib.suppress(ValidationError):
        holder.bind(("0.0.0.0", HOLDER))
        check_conflicts(LinkSpec("tke9", 9, HOLDER, "10.0.1.11"), links, run)
    for bridge, node_cidr in BRIDGES.items():
        pod_findings(PodNetwork("tke0", bridge, 8472, node_cidr, ["10.244.0.0/15"], "10.244.1.0/24"), run, links)
    find_route("", "10.8.0.0/24", "10.0.1.1", run)
    for address in ("10.8.0.9", "10.244.7.5", "10.244.9.1"):
        find_obstacles(address, 6443, run)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:  # a packet for the counters
        sender.sendto(b"x", ("10.244.1.9", HOLDER))
    for line in ("ip link show dev tke0", "ip -s -json link show dev tke0"):
        run(line.split(), None)


def main() -> None:
    """Create the objects, read all tables, and print each command with its output."""
    if sys.argv[1:] != ["inside"]:
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, __file__, "inside"])
    pathlib.Path("/run/netns").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run/netns"], check=True)
    pathlib.Path("/proc/sys/net/ipv6/conf/default/addr_gen_mode").write_text("1", encoding="ascii")
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    rejected = [line for line in OBJECTS.splitlines() if subprocess.run(line.split(), check=False).returncode != 0]
    outputs: dict[str, str] = {}
    run = recording(outputs)
    read_tables(run)
    for line in RESTORE.splitlines():
        run(line.split(), None)
    for bridge, node_cidr in BRIDGES.items():
        for line in RESTORE_BRIDGE.format(bridge=bridge, node_cidr=node_cidr).splitlines():
            run(line.split(), None)
    read_probes(run)
    # REUSE-IgnoreStart
    print("# SPDX-License-Identifier: GPL-3.0-or-later")
    print("# Copyright: (c) 2026, tke.overlay contributors")
    # REUSE-IgnoreEnd
    print(
        "# Recorded by tests/tools/record_iproute2.py, which lists the objects. Each command with its output; failures"
    )
    print("# begin with an exclamation mark.")
    for line in rejected:
        print(f"# This version rejects: {line}")
    for command, output in outputs.items():
        print(f"\n$ {command}\n{output}".rstrip("\n"))


if __name__ == "__main__":
    main()

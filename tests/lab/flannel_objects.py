# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What flanneld leaves on a host, as shell scripts and texts of files, without the daemon.

The objects are those of flannel 0.26 with its published manifest: the backend vxlan with its defaults (VNI 1, port
8472, a MAC chosen by the kernel), with DirectRouting also routes by the underlay inside a site, as host-gw has them
everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

NETWORK = "10.244.0.0/16"
CNI_FILE = "/etc/cni/net.d/10-flannel.conflist"
SUBNET_FILE = "/run/flannel/subnet.env"
DELEGATE = {"hairpinMode": True, "isDefaultGateway": True}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
CNI: dict[str, Any] = {
    "name": "cbr0",
    "cniVersion": "0.3.1",
    "plugins": [{"type": "flannel", "delegate": DELEGATE}, PORTMAP],
}


def mac(name: str) -> str:
    """Return the MAC of a host's VTEP. All begin with the same three bytes."""
    return "be:7c:1d:" + hashlib.sha256(name.encode()).digest()[:3].hex(":")


def same_site(one: str, other: str) -> bool:
    """Return whether two hosts of the lab are in the same site, by their names."""
    return one.rstrip("0123456789") == other.rstrip("0123456789")


def vtep(name: str, pod_cidrs: Mapping[str, str]) -> str:
    """Return the address of flannel.1 on a host."""
    return pod_cidrs[name].partition("/")[0]


def objects(name: str, pod_cidrs: Mapping[str, str], underlays: Mapping[str, str], direct: bool) -> str:
    """Return the script that makes the link, and the entries of each peer.

    :param pod_cidrs: the podCIDRs of all hosts of the cluster.
    :param direct: whether DirectRouting is on.
    """
    vxlan = f"type vxlan id 1 local {underlays[name]} dstport 8472 nolearning"
    lines = [
        "mtu=$(($(cat /sys/class/net/eth0/mtu) - 50))",
        f"ip link add flannel.1 address {mac(name)} mtu $mtu {vxlan}",
        f"ip address add {vtep(name, pod_cidrs)}/32 dev flannel.1",
        "ip link set flannel.1 up",
    ]
    for peer in sorted(set(pod_cidrs) - {name}):
        gateway = vtep(peer, pod_cidrs)
        if direct and same_site(name, peer):
            lines.append(f"ip route add {pod_cidrs[peer]} via {underlays[peer]} dev eth0")
            continue
        lines += [
            f"ip neigh add {gateway} lladdr {mac(peer)} dev flannel.1 nud permanent",
            f"bridge fdb add {mac(peer)} dev flannel.1 dst {underlays[peer]} self permanent",
            f"ip route add {pod_cidrs[peer]} via {gateway} dev flannel.1 onlink",
        ]
    return "\n".join(["set -e", *lines, ""])


def rules(pod_cidr: str) -> str:
    """Return the script that makes flannel's iptables chains."""
    forward, masq = ("-m comment --comment 'flanneld " + word + "' -j" for word in ("forward", "masq"))
    return "\n".join([
        "iptables -N FLANNEL-FWD",
        f"iptables -A FLANNEL-FWD -s {NETWORK} {forward} ACCEPT",
        f"iptables -A FLANNEL-FWD -d {NETWORK} {forward} ACCEPT",
        f"iptables -A FORWARD {forward} FLANNEL-FWD",
        "iptables -t nat -N FLANNEL-POSTRTG",
        f"iptables -t nat -A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {masq} RETURN",
        f"iptables -t nat -A FLANNEL-POSTRTG -s {pod_cidr} -d {NETWORK} {masq} RETURN",
        f"iptables -t nat -A FLANNEL-POSTRTG -s {NETWORK} -d {pod_cidr} {masq} RETURN",
        f"iptables -t nat -A FLANNEL-POSTRTG ! -s {NETWORK} -d {pod_cidr} {masq} RETURN",
        f"iptables -t nat -A FLANNEL-POSTRTG -s {NETWORK} ! -d 224.0.0.0/4 {masq} MASQUERADE --random-fully",
        f"iptables -t nat -A FLANNEL-POSTRTG ! -s {NETWORK} -d {NETWORK} {masq} MASQUERADE --random-fully",
        f"iptables -t nat -A POSTROUTING {masq} FLANNEL-POSTRTG",
        "",
    ])  # fmt: skip


def subnet_file(pod_cidr: str, mtu: str) -> str:
    """Return the file that flanneld writes for its CNI plugin."""
    gateway = pod_cidr.replace(".0/", ".1/")
    return f"FLANNEL_NETWORK={NETWORK}\nFLANNEL_SUBNET={gateway}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n"

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""flannel on the hosts of the lab: the objects that flanneld and its CNI plugin leave, without the daemon.

The objects are those of flannel 0.26 with its published manifest: the backend vxlan with its defaults (VNI 1, port
8472, a MAC chosen by the kernel), with DirectRouting also routes by the underlay inside a site, as host-gw has them
everywhere.
"""

from __future__ import annotations

import json

from stories import NODES, lab, on

NETWORK = "10.244.0.0/16"
POD_CIDRS = {name: f"10.244.{number}.0/24" for name, number in zip(NODES, (9, 2, 7, 4), strict=True)}
MACS = {name: f"be:7c:1d:4{number}:5e:0{number}" for number, name in enumerate(NODES)}

CNI_FILE = "/etc/cni/net.d/10-flannel.conflist"
DELEGATE = {"hairpinMode": True, "isDefaultGateway": True}
PORTMAP = {"type": "portmap", "capabilities": {"portMappings": True}}
CNI = {"name": "cbr0", "cniVersion": "0.3.1", "plugins": [{"type": "flannel", "delegate": DELEGATE}, PORTMAP]}
DELEGATE_FILE = "/run/lab-delegate.conflist"
"""What the plugin flannel passes on; Debian does not have that plugin."""

PODS = ("pod-1", "pod-2")


def same_site(one: str, other: str) -> bool:
    return one.rstrip("0123456789") == other.rstrip("0123456789")


def vtep(name: str, pod_cidrs: dict[str, str]) -> str:
    return pod_cidrs[name].partition("/")[0]


def objects(name: str, pod_cidrs: dict[str, str], underlays: dict[str, str], direct: bool) -> str:
    """Return the script that makes the link, and the entries of each peer.

    :param direct: whether DirectRouting is on.
    """
    vxlan = f"type vxlan id 1 local {underlays[name]} dstport 8472 nolearning"
    lines = [
        "mtu=$(($(cat /sys/class/net/eth0/mtu) - 50))",
        f"ip link add flannel.1 address {MACS[name]} mtu $mtu {vxlan}",
        f"ip address add {vtep(name, pod_cidrs)}/32 dev flannel.1",
        "ip link set flannel.1 up",
    ]
    for peer in sorted(set(NODES) - {name}):
        gateway = vtep(peer, pod_cidrs)
        if direct and same_site(name, peer):
            lines.append(f"ip route add {pod_cidrs[peer]} via {underlays[peer]} dev eth0")
            continue
        lines += [
            f"ip neigh add {gateway} lladdr {MACS[peer]} dev flannel.1 nud permanent",
            f"bridge fdb add {MACS[peer]} dev flannel.1 dst {underlays[peer]} self permanent",
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


def delegate(pod_cidr: str, mtu: str) -> str:
    """Return the configuration that the plugin flannel passes on to bridge and host-local, as a CNI file."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": pod_cidr}]], "routes": [{"dst": NETWORK}]}
    own = {"type": "bridge", "mtu": int(mtu), "isGateway": True, "ipMasq": False, "ipam": ipam}
    return json.dumps({**CNI, "plugins": [{**own, **DELEGATE}, PORTMAP]})


def install(name: str, underlays: dict[str, str], direct: bool) -> dict[str, str]:
    """Make flannel's objects on a host that is no node of the overlay, start Pods, and return their addresses."""
    pod_cidr = POD_CIDRS[name]
    gateway = pod_cidr.replace(".0/", ".1/")
    on(name, objects(name, POD_CIDRS, underlays, direct) + rules(pod_cidr))
    mtu = on(name, "cat /sys/class/net/flannel.1/mtu").strip()
    environment = f"FLANNEL_NETWORK={NETWORK}\nFLANNEL_SUBNET={gateway}\nFLANNEL_MTU={mtu}\nFLANNEL_IPMASQ=true\n"
    for path, text in (
        ("/run/flannel/subnet.env", environment),
        (DELEGATE_FILE, delegate(pod_cidr, mtu)),
        (CNI_FILE, json.dumps(CNI, indent=2)),
    ):
        on(name, f"mkdir -p $(dirname {path}) && cat > {path} <<'END'\n{text}\nEND\n")
    on(name, "sysctl -qw net.ipv4.ip_forward=1")
    started = json.loads(on(name, f"LAB_POD_CONFLIST={DELEGATE_FILE} lab-pod sync {' '.join(PODS)}"))
    pods: dict[str, str] = started["pods"]
    return pods


def forget_pods(name: str) -> None:
    """Delete all Pods of a host, their bridges and what host-local has recorded."""
    listed = " ".join(json.loads(on(name, "lab-pod list")))
    on(name, f"lab-pod del {listed}; for each in cni0 tke-br0; do ip link del $each 2>/dev/null; done; true")
    lab("exec", name, "--", "rm", "-rf", "/var/lib/cni/networks/cbr0", "/var/lib/cni/networks/tke-overlay")


def remove(name: str) -> None:
    """Remove what a failed test has left of flannel."""
    on(
        name,
        "ip link del flannel.1 2>/dev/null; rm -rf /run/flannel /etc/cni/net.d/10-flannel.conflist; "
        "ip route show proto boot | grep '^10.244' | while read -r route; do ip route del $route; done; "
        "iptables -D FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD 2>/dev/null && "
        "iptables -F FLANNEL-FWD && iptables -X FLANNEL-FWD; "
        "iptables -t nat -D POSTROUTING -m comment --comment 'flanneld masq' -j FLANNEL-POSTRTG 2>/dev/null && "
        "iptables -t nat -F FLANNEL-POSTRTG && iptables -t nat -X FLANNEL-POSTRTG; true",
    )

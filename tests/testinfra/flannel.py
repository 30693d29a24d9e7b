# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""flannel on the hosts of the lab: its objects (`flannel_objects`), and Pods that its CNI plugin would start."""

from __future__ import annotations

import json

from flannel_objects import CNI, CNI_FILE, DELEGATE, NETWORK, PORTMAP, SUBNET_FILE, mac, objects, rules, subnet_file

from stories import NODES, lab, on

POD_CIDRS = {name: f"10.244.{number}.0/24" for name, number in zip(NODES, (9, 2, 7, 4), strict=True)}
MACS = {name: mac(name) for name in NODES}

DELEGATE_FILE = "/run/lab-delegate.conflist"
"""What the plugin flannel passes on; Debian does not have that plugin."""

PODS = ("pod-1", "pod-2")


def delegate(pod_cidr: str, mtu: str) -> str:
    """Return the configuration that the plugin flannel passes on to bridge and host-local, as a CNI file."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": pod_cidr}]], "routes": [{"dst": NETWORK}]}
    own = {"type": "bridge", "mtu": int(mtu), "isGateway": True, "ipMasq": False, "ipam": ipam}
    return json.dumps({**CNI, "plugins": [{**own, **DELEGATE}, PORTMAP]})


def install(name: str, underlays: dict[str, str], direct: bool) -> dict[str, str]:
    """Make flannel's objects on a host that is no node of the overlay, start Pods, and return their addresses."""
    pod_cidr = POD_CIDRS[name]
    on(name, objects(name, POD_CIDRS, underlays, direct) + rules(pod_cidr))
    mtu = on(name, "cat /sys/class/net/flannel.1/mtu").strip()
    for path, text in (
        (SUBNET_FILE, subnet_file(pod_cidr, mtu)),
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

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A Kubernetes cluster with flannel and without the collection: kubeadm with podSubnet, and one API server.

kube-controller-manager allocates the podCIDRs. flanneld is not there; `flannel_objects` makes what it leaves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flannel_objects as flannel
import yaml

from . import bootstrap
from .bootstrap import Settings
from .hosts import CONTROL, FILES, apply, each, filled, inventory, kubectl, objects, on, send, until, write

NODES = ("api1", "cloud1", "cloud2", "idc1", "idc2")
PRESET = {"idc2": "10.244.77.0/24"}
"""A node whose podCIDR was chosen before it joined."""


def documents(version: str, address: str) -> str:
    """Return the file for `kubeadm init`, with the fields that the lab needs from its inventory."""
    variables = inventory()["_meta"]["hostvars"][CONTROL]
    extra: dict[str, dict[str, Any]] = variables["overlay_kubernetes_extra"]
    registration, timeouts = variables["lab_registration"], variables["lab_timeouts"]
    kubeadm = "kubeadm.k8s.io/v1beta4"
    token = {"token": variables["overlay_kubernetes_token"], "ttl": "24h0m0s"}
    found = [
        {
            "apiVersion": kubeadm, "kind": "InitConfiguration", "bootstrapTokens": [token],
            "localAPIEndpoint": {"advertiseAddress": address}, "nodeRegistration": registration, "timeouts": timeouts,
        },
        {
            **extra["ClusterConfiguration"], "apiVersion": kubeadm, "kind": "ClusterConfiguration",
            "kubernetesVersion": version, "networking": {"podSubnet": flannel.NETWORK},
        },
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            **extra["KubeletConfiguration"],
        },
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
            **extra["KubeProxyConfiguration"],
        },
    ]  # fmt: skip
    return yaml.safe_dump_all(found)


def build(settings: Settings, node_images: Path, control_images: Path) -> dict[str, str]:
    """Make the cluster, with flannel on all nodes, and return the podCIDRs of its nodes."""
    each(lambda name: bootstrap.prepare(name, node_images), NODES)
    bootstrap.start_etcd(settings.addresses[CONTROL])
    send(CONTROL, control_images, "ctr -n k8s.io images import -")
    write(CONTROL, "/root/kubeadm.yaml", documents(settings.version, settings.addresses[CONTROL]))
    bootstrap.kubeadm(CONTROL, "init --config /root/kubeadm.yaml --skip-phases=addon/coredns")
    for name, pod_cidr in PRESET.items():
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDR": pod_cidr}}
        apply(json.dumps(node))
    command = bootstrap.kubeadm(CONTROL, "token create --print-join-command").splitlines()[-1]
    each(lambda name: join(name, command), NODES[1:])
    until("every Node has a podCIDR", lambda: all(pod_cidrs().get(name) for name in NODES), 60)
    found = pod_cidrs()
    each(lambda name: install(name, found, settings.addresses), NODES)
    bootstrap.await_ready([*NODES])
    kubectl("create namespace kube-flannel")
    apply(filled("kube-flannel.yaml"))
    return found


def join(name: str, command: str) -> None:
    """Join a node with the command that `kubeadm token create --print-join-command` has printed."""
    bootstrap.kubeadm(name, f"{command.removeprefix('kubeadm ')} --ignore-preflight-errors=all")


def pod_cidrs() -> dict[str, str]:
    """Return the podCIDR of each Node object, as kubectl prints it."""
    template = '{range .items[*]}{.metadata.name} {.spec.podCIDR}{"\\n"}{end}'
    rows = kubectl(f"get nodes -o jsonpath='{template}'").splitlines()
    return {name: pod_cidr for name, _space, pod_cidr in (row.partition(" ") for row in rows)}


def install(name: str, found: dict[str, str], addresses: dict[str, str]) -> None:
    """Make what flanneld makes on a node, and install its CNI plugin and file."""
    members = {node: addresses[node] for node in found}
    on(name, "modprobe br_netfilter 2>/dev/null; sysctl -qw net.ipv4.ip_forward=1")
    on(name, flannel.objects(name, found, members, direct=True) + flannel.rules(found[name]))
    mtu = on(name, "cat /sys/class/net/flannel.1/mtu").strip()
    write(name, flannel.SUBNET_FILE, flannel.subnet_file(found[name], mtu))
    write(name, "/usr/lib/cni/flannel", (FILES / "flannel_cni.py").read_text())
    on(name, "chmod +x /usr/lib/cni/flannel")
    write(name, flannel.CNI_FILE, json.dumps(flannel.CNI, indent=2))


def pod_addresses() -> dict[str, str]:
    """Return the address of each Pod of the overlay by its name; those on the host's network have none of it."""
    return {
        item["metadata"]["name"]: item["status"].get("podIP", "")
        for item in objects("pods --all-namespaces")["items"]
        if not item["spec"].get("hostNetwork")
    }

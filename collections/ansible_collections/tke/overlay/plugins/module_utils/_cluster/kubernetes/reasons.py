# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why each value is in a configuration: the comments in the files, and the table of the guide ``kubernetes.md``."""

from __future__ import annotations

import typing as t


class Reason(t.NamedTuple):
    """What a value is, in words, and why it is that."""

    what: str
    why: str


REASONS = {
    "endpoint": Reason(
        "the API server's name and port (`overlay_api_name`, `overlay_api_port`)",
        "Every node reaches the API servers by this name, so one API server or load balancer host can fail. It "
        "cannot change later without new certificates and kubeconfigs.",
    ),
    "cert_sans": Reason(
        "the API server's name and the VIP",
        "The certificate of each API server must be valid for every name and address at which clients reach it.",
    ),
    "service_range": Reason(
        "the Service range",
        "Services get addresses of this range. No node CIDR is allocated from it, and the rules of every node "
        "treat it as a part of the cluster.",
    ),
    "pod_range": Reason(
        "the container CIDR; of a list, the first",
        "kube-proxy takes packets with another source for traffic from outside, and masquerades them on their way "
        "to a Service.",
    ),
    "no_pod_subnet": Reason(
        "not set",
        "With podSubnet, kubeadm makes kube-controller-manager allocate node CIDRs, and it refuses a podSubnet "
        "that overlaps serviceSubnet.",
    ),
    "allocate": Reason(
        "`false`",
        "The ledger allocates the node CIDRs. Kubernetes would choose others, and Node.spec.podCIDR cannot change "
        "later.",
    ),
    "aggregator": Reason(
        "`true`",
        "Requests for aggregated APIs then go to the Pods themselves and not to the address of a Service. The API "
        "server must be a node of the overlay to reach them.",
    ),
    "reconciler": Reason(
        "`none`, with `overlay_api_service: vip`",
        "tke.overlay.kubernetes makes the Service kubernetes lead to the VIP. The API servers would write their "
        "own addresses, which the data centre does not reach.",
    ),
    "anonymous": Reason(
        "`true`, with the pair of this collection",
        "The pair asks each API server for /readyz without a certificate. k3s and RKE2 would answer 401, and no API "
        "server would be up. RBAC then allows anonymous clients only health and version, as in kubeadm's clusters.",
    ),
    "advertise": Reason(
        "the API server's underlay address",
        "kubeadm would take the address of the default route, which may be another one. etcd uses this address, too.",
    ),
    "bind_port": Reason(
        "`overlay_api_port`",
        "The load balancer connects to this port of each API server.",
    ),
    "node_name": Reason(
        "the host's name in the inventory, or `overlay_kubernetes_node`",
        "tke.overlay.kubernetes finds the Node of a host by this name.",
    ),
    "node_ip": Reason(
        "the host's underlay address, or `overlay_kubernetes_node_ip`",
        "kubelet would take the address of the default route. API servers connect to kubelet (TCP 10250) at this one.",
    ),
    "max_pods": Reason(
        "110, or the usable addresses of a node CIDR if these are fewer; or `overlay_kubernetes_max_pods`",
        "Each Pod needs an address of the node CIDR; kubelet would start Pods for which there is none.",
    ),
    "dns": Reason(
        "the tenth address of the Service range, or `overlay_kubernetes_dns`",
        "The DNS service gets this address, and kubelet writes it into each Pod's resolv.conf.",
    ),
    "detect_mode": Reason(
        "`ClusterCIDR`; with a list of container CIDRs `BridgeInterface`",
        "kube-proxy must recognise the traffic of Pods. Otherwise it does not masquerade requests of a node to a "
        "Service, and the nodes of the Pods drop them (counter inner_source). ClusterCIDR takes only one CIDR.",
    ),
    "detect_cidr": Reason(
        "the container CIDR",
        "A packet from this range is traffic of a Pod.",
    ),
    "detect_bridge": Reason(
        "the Pod bridge, with a list of container CIDRs",
        "A packet from this bridge is traffic of a Pod of this node.",
    ),
    "proxy_mode": Reason(
        "`overlay_kubernetes_proxy_mode`",
        "The network works with both modes of kube-proxy.",
    ),
    "token": Reason(
        "`overlay_kubernetes_token`",
        "The secret with which hosts join. Keep it out of version control.",
    ),
    "ca_hashes": Reason(
        "`overlay_kubernetes_ca_hashes`, or computed from `overlay_api_ca`",
        "A joining host accepts only API servers with this CA.",
    ),
    "certificate_key": Reason(
        "`overlay_kubernetes_certificate_key`",
        "With 'kubeadm init --upload-certs', further API servers get the certificates of the cluster from the API.",
    ),
    "begin": Reason(
        "`true` on the first API server",
        "This host begins the cluster, with an etcd that further API servers join.",
    ),
    "server": Reason(
        "the API server's name and port; with RKE2 port 9345",
        "The host joins the cluster at this address.",
    ),
    "no_cni": Reason(
        "`none`",
        "The overlay is the network. Flannel or canal would use the same UDP port, and their CNI file another range.",
    ),
    "no_policy": Reason(
        "`true`",
        "The network policy controller of k3s expects flannel and Node.spec.podCIDR.",
    ),
    "egress": Reason(
        "`disabled`",
        "API servers connect to kubelets directly, as the overlay expects. Nodes of the data centre reach only the "
        "VIP, so they could not open a tunnel to each API server.",
    ),
    "agent_lb": Reason(
        "`true`, with a VIP",
        "The load balancer of k3s would connect to each API server, and the data centre reaches only the VIP.",
    ),
}
"""Key -> reason. The guide lists them in this order."""

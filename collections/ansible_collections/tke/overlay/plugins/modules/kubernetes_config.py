#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: kubernetes_config
short_description: Write the configuration of kubeadm, k3s or RKE2 for each host
version_added: 1.1.0
description:
  - Computes from the plan and the inventory the values with which Kubernetes works on this network, such as the Service
    range, the addresses of the hosts, the name of the API server and the flags of kube-proxy. The module runs on the
    controller and contacts no host.
  - Writes one file for each host, which C(kubeadm init --config), C(kubeadm join --config), k3s or RKE2 reads. A
    comment above each value says why it is that value.
  - Values that cannot work are an error before anything is written, such as more Pods than a node CIDR has addresses,
    or a certificate that lacks the name of the API server.
  - Which host becomes what follows from the groups. The first host of O(server_group) begins the cluster, its other
    hosts become further API servers, and all other hosts of O(group) become nodes.
  - Of each host, the module reads the variables C(overlay_underlay_ip), C(overlay_kubernetes_node_ip),
    C(overlay_kubernetes_node), C(overlay_kubernetes_extra) and C(overlay_pods).
  - The files hold the secrets with which hosts join, so only their owner can read them (mode 0600). Secrets are hidden
    in the diff.
  - Files that this module has not written are never overwritten.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
options:
  plan:
    description: The result of M(tke.overlay.plan).
    type: dict
    required: true
  vips:
    description: The VIPs by name, as M(tke.overlay.clb_vips) returns them. Without a load balancer it is empty.
    type: dict
    default: {}
  provider:
    description: Whether the pair of this collection or another load balancer has the VIPs.
    type: str
    choices: [pair, external]
    default: pair
  listeners:
    description:
      - The further ports of the pair, as for M(tke.overlay.clb). With O(distribution=rke2), one must be port 9345 of
        the VIP V(apiserver), at which hosts register.
    type: list
    elements: dict
    default: []
  distribution:
    description: What installs Kubernetes.
    type: str
    choices: [kubeadm, k3s, rke2]
    default: kubeadm
  kubeadm_api:
    description: The version of kubeadm's configuration. Kubernetes 1.31 and later know V(v1beta4).
    type: str
    choices: [v1beta4, v1beta3]
    default: v1beta4
  dest:
    description:
      - The directory of the files C(HOST.yaml) on the controller, which is created if its parent exists.
      - Do not use an inventory directory, because Ansible reads every file in it as an inventory.
      - Without this option, the module writes nothing and returns RV(documents).
    type: path
  api_name:
    description:
      - The name of the API server. With a VIP, the default is C(api.CLUSTER.internal). A single API server without a
        VIP is reached by its address.
    type: str
  api_port:
    description: The port of the API servers and of their VIP.
    type: int
    default: 6443
  api_service:
    description:
      - With V(vip), the playbook C(tke.overlay.kubernetes) makes the Service C(kubernetes) lead to the VIP, so the API
        servers must not write its endpoints (C(--endpoint-reconciler-type=none)).
      - With V(unmanaged), they write their own addresses, which is the default of Kubernetes.
    type: str
    choices: [unmanaged, vip]
    default: unmanaged
  api_ca:
    description:
      - A file on the controller with the CA of the API servers, from which O(ca_hashes) is computed when that is not
        set.
    type: str
  max_pods:
    description:
      - The largest number of Pods of a node. It must not exceed the usable addresses of a node CIDR.
      - The default is 110, or that number of addresses if it is smaller.
    type: int
  dns:
    description: The address of the DNS service, in the Service range. The default is its tenth address.
    type: str
  cert_sans:
    description:
      - The names and addresses for which the certificates of the API servers are valid. It must have the name of the
        API server and the VIP, which are the default.
    type: list
    elements: str
  proxy_mode:
    description: The mode of kube-proxy. The default is that of the distribution.
    type: str
    choices: [iptables, nftables]
  token:
    description:
      - The secret with which hosts join. Without it, the files of the joining hosts lack it, with a warning.
    type: str
  ca_hashes:
    description: The hashes of the CA for C(kubeadm join), such as C(sha256:...).
    type: list
    elements: str
  certificate_key:
    description:
      - The key with which C(kubeadm init --upload-certs) encrypts the certificates for further API servers.
    type: str
  group:
    description: The inventory group of all nodes of the overlay.
    type: str
    default: overlay_nodes
  server_group:
    description: The inventory group of the API servers.
    type: str
    default: apiserver
seealso:
  - module: tke.overlay.plan
  - module: tke.overlay.clb_vips
"""

EXAMPLES = r"""
- name: Plan without a change of the ledger
  tke.overlay.plan:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
  check_mode: true
  run_once: true
  register: plan_result

- name: Write the files for kubeadm
  tke.overlay.kubernetes_config:
    plan: "{{ plan_result }}"
    vips: {apiserver: 10.0.2.8, services: 10.0.2.9}
    dest: "{{ inventory_dir }}/kubernetes"
    token: "{{ vault_kubeadm_token }}"
    api_ca: "{{ inventory_dir }}/api-ca.crt"
  run_once: true

- name: Return the configuration of k3s, and write no file
  tke.overlay.kubernetes_config:
    plan: "{{ plan_result }}"
    distribution: k3s
    api_name: api.example.net
  run_once: true
  no_log: true
  register: k3s
"""

RETURN = r"""
dest:
  description: The directory of the files.
  returned: with O(dest)
  type: str
  sample: /srv/inventory/kubernetes
files:
  description: The files, one for each host.
  returned: with O(dest)
  type: list
  elements: str
  sample: [/srv/inventory/kubernetes/api1.yaml, /srv/inventory/kubernetes/idc1.yaml]
documents:
  description: The text of each host's file, with the secrets in it. Use C(no_log) for the task.
  returned: without O(dest)
  type: dict
  sample:
    idc1: "kind: JoinConfiguration\n"
hosts:
  description:
    - What each host becomes. V(first) is the API server that begins the cluster, V(server) a further one, V(node) a
      node.
  returned: success
  type: dict
  sample: {api1: first, api2: server, idc1: node}
values:
  description: The values of the cluster. Without a load balancer, C(vip) is empty.
  returned: success
  type: dict
  sample:
    endpoint: api.demo.internal:6443
    vip: 10.0.2.8
    service_cidr: 10.244.255.0/24
    container_cidr: [10.244.0.0/16]
    dns: 10.244.255.10
    max_pods: 110
    cert_sans: [api.demo.internal, 10.0.2.8]
"""

#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node_cidr
short_description: Assigns a node CIDR of the container CIDR to each node, or releases it
version_added: 1.0.0
description:
  - Maintains the ledger, the record of which node has which node CIDR. It runs on the controller and contacts no host.
  - Node CIDRs are allocated in ascending order, cyclically, from a cursor that is part of the ledger.
  - A node keeps its node CIDR until it is released, also when it is not in O(nodes).
  - All conflicts are reported at once, before anything is written.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
  - tke.overlay._cluster
options:
  nodes:
    description:
      - The nodes, each as a name or as a dictionary with C(name) and, optional, C(node_cidr) and C(underlay_ip).
      - With C(node_cidr) the node gets exactly that node CIDR, for instance because it already uses it. Such node CIDRs
        are occupied before any other node CIDR is allocated.
    type: list
    elements: raw
    default: []
  state:
    description:
      - With V(present), each node gets a node CIDR.
      - With V(absent), the node CIDRs of these nodes are released; names without a node CIDR are skipped.
    type: str
    choices: [present, absent]
    default: present
  pending_on:
    description:
      - With O(state=absent), the hosts that must drop a released node CIDR before it is free again.
      - List these hosts in O(acknowledged_by) when they have dropped it.
    type: list
    elements: str
    default: []
  acknowledged_by:
    description: Hosts that have dropped the node CIDRs that were pending on them.
    type: list
    elements: str
    default: []
  forget_keys_of:
    description:
      - Nodes without the overlay, whose WireGuard keys are deleted. The ledger forgets the public keys, so that the
        next run of C(tke.overlay.site) records new ones.
    type: list
    elements: str
    default: []
seealso:
  - module: tke.overlay.plan
"""

EXAMPLES = r"""
- name: Assign node CIDRs to three nodes, one of which already has one
  tke.overlay.node_cidr:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
    max_pods_per_node: 256
    max_services: 256
    networks:
      vpc: [10.0.0.0/16]
      idc: [192.168.0.0/16]
    nodes:
      - cloud1
      - {name: idc1, node_cidr: 10.244.9.0/24, underlay_ip: 192.168.1.11}
      - idc2
  run_once: true

- name: Release a node; its node CIDR is free when cloud1 and idc1 have dropped it
  tke.overlay.node_cidr:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
    nodes: [idc2]
    state: absent
    pending_on: [cloud1, idc1]
  run_once: true
"""

RETURN = r"""
assignments:
  description: All nodes of the ledger with their node CIDRs.
  returned: success
  type: dict
  sample: {cloud1: 10.244.0.0/24, idc1: 10.244.1.0/24}
service_cidr:
  description: The Service range.
  returned: success
  type: str
  sample: 10.244.255.0/24
capacity:
  description: The size of the pool and its use.
  returned: success
  type: dict
  sample: {max_nodes: 255, used: 2, free: 253, usable_pods_per_node: 253, usable_services: 251}
pending:
  description: Released node CIDRs that are not free yet, with the hosts that have not dropped them.
  returned: success
  type: dict
  sample: {10.244.7.0/24: [cloud1]}
released:
  description: The node CIDRs that this task released, by node.
  returned: success
  type: dict
  sample: {idc2: 10.244.7.0/24}
"""

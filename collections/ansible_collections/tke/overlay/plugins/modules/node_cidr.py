#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node_cidr
short_description: Gives each node its node CIDR of the container CIDR, or takes it back
version_added: 1.0.0
description:
  - Keeps the record of which node has which node CIDR, the ledger. It runs on the controller and contacts no host.
  - Node CIDRs are handed out cyclically and sequentially, from a cursor that is part of the ledger.
  - A node keeps its node CIDR for as long as it is not released; a node that is not named here keeps it too.
  - All conflicts are found before anything is written, and reported at once.
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
      - With C(node_cidr) the node gets exactly that node CIDR, as it already runs with it. Such nodes go
        in before any node CIDR is handed out.
    type: list
    elements: raw
    default: []
  state:
    description:
      - With V(present) each node has a node CIDR.
      - With V(absent) the node CIDRs of these nodes go back to the pool; names without a node CIDR are passed over.
    type: str
    choices: [present, absent]
    default: present
  pending_on:
    description:
      - With O(state=absent), the hosts that must drop a released node CIDR before it is free again.
      - Report them with O(acknowledged_by) when they have.
    type: list
    elements: str
    default: []
  acknowledged_by:
    description: Hosts that have dropped what was pending on them.
    type: list
    elements: str
    default: []
seealso:
  - module: tke.overlay.plan
"""

EXAMPLES = r"""
- name: Node CIDRs for three nodes, one of which runs already
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

- name: A node is gone; its node CIDR is free when cloud1 and idc1 have dropped it
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
  description: How much fits, and how much of it is used.
  returned: success
  type: dict
  sample: {max_nodes: 255, used: 2, free: 253, usable_pods_per_node: 253, usable_services: 251}
pending:
  description: Released node CIDRs that may not be handed out yet, with the hosts that have yet to drop them.
  returned: success
  type: dict
  sample: {10.244.7.0/24: [cloud1]}
released:
  description: The node CIDRs that this task took back, by node.
  returned: success
  type: dict
  sample: {idc2: 10.244.7.0/24}
"""

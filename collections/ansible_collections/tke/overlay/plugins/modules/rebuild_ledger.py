#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rebuild_ledger
short_description: Rebuilds a lost ledger from the saved states of the hosts
version_added: 1.0.0
description:
  - Every host of the overlay saves its own node CIDR and those of all other nodes. This module builds a ledger from
    them, with which the next run of the site playbook changes nothing. It runs on the controller.
  - It never overwrites a ledger. One that has the same nodes with the same node CIDRs and underlay addresses stays as
    it is; another one is an error. In check mode it shows what it would write.
  - The saved state of a host determines its own node CIDR. A host without a saved state keeps the node CIDR that all
    other hosts have for it.
  - Every contradiction is an error that names the hosts - two hosts with one node CIDR, a peer with another node CIDR
    than in its own state, a node that only some hosts have, another cluster, container CIDR or Service range.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
  - tke.overlay._cluster
options:
  saved:
    description: The results of M(tke.overlay.saved_state) by host name; empty for unreachable hosts.
    type: dict
    required: true
  fleets:
    description: The fleets by their identifier, which M(tke.overlay.saved_state) returns as C(view).
    type: dict
    required: true
  without:
    description:
      - Hosts with an outdated fleet. Only their own node CIDR counts, not what they have saved of other nodes.
      - A node CIDR that only these hosts have saved is recorded as released and pending on them.
    type: list
    elements: str
    default: []
  group:
    description: The inventory group of all nodes.
    type: str
    default: overlay_nodes
seealso:
  - module: tke.overlay.saved_state
"""

EXAMPLES = r"""
- name: Rebuild the ledger
  tke.overlay.rebuild_ledger:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
    saved: "{{ overlay_records }}"
    fleets: "{{ overlay_fleets }}"
  run_once: true
"""

RETURN = r"""
assignments:
  description: All nodes with their node CIDRs.
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
  description: Node CIDRs that only hosts of O(without) have saved, with these hosts.
  returned: success
  type: dict
  sample: {}
silent:
  description: Nodes without a saved state, which are known from other hosts.
  returned: success
  type: list
  elements: str
  sample: [idc2]
unknown:
  description: What the hosts do not save, so that the new ledger lacks it.
  returned: success
  type: str
  sample: "The hosts do not save, so the new ledger does not contain: released node CIDRs"
"""

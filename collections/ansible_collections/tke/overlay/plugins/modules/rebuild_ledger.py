#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: rebuild_ledger
short_description: Makes a lost ledger anew from what the hosts have saved
version_added: 1.0.0
description:
  - Every host of the overlay has saved its own node CIDR and those of all others. From that, this makes a ledger with
    which the next run of the site playbook changes nothing. It runs on the controller.
  - It writes only where there is no ledger. In check mode it shows what it would write.
  - A host is believed what it says of itself. A host that was not reached keeps the node CIDR that all others give it.
  - A difference is an error that names all of them - two hosts with one node CIDR, a peer seen otherwise
    than it sees itself, a node that only some know, another cluster, another container CIDR or Service range.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
  - tke.overlay._cluster
options:
  saved:
    description: By name of the host, what M(tke.overlay.saved_state) returned; nothing for hosts not reached.
    type: dict
    required: true
  fleets:
    description: By name of the view, the fleet of a host that has it.
    type: dict
    required: true
  without:
    description:
      - Hosts that know the fleet as it was before. Of what they say only their own node CIDR counts.
      - A node CIDR that only they still know is noted as released and pending on them.
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
- name: A ledger from what the hosts know
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
  description: How much fits, and how much of it is used.
  returned: success
  type: dict
  sample: {max_nodes: 255, used: 2, free: 253, usable_pods_per_node: 253, usable_services: 251}
pending:
  description: Node CIDRs that only hosts of O(without) know, with these hosts.
  returned: success
  type: dict
  sample: {}
silent:
  description: Nodes that were not asked or did not answer, known from the others.
  returned: success
  type: list
  elements: str
  sample: [idc2]
unknown:
  description: What no host could tell.
  returned: success
  type: str
  sample: "No host knows, so the new ledger does not: which node CIDRs were released"
"""

#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: plan
short_description: Plans the whole overlay from the inventory and the ledger
version_added: 1.0.0
description:
  - Reads the variables of all nodes in one pass, finds every conflict, allocates missing node CIDRs, and
    returns the document from which M(tke.overlay.node) makes each host what it must be.
  - It runs on the controller and contacts no host. In check mode it is a preflight that writes nothing.
  - The whole inventory group counts, whatever C(--limit) says, so no peer is ever forgotten by a partial run.
  - A node that is in the ledger and not in the inventory stays a peer until it is released.
  - "Variables of a node: C(overlay_underlay_ip) (default C(ansible_host)), a numeric address that all other nodes reach
    without NAT; C(overlay_underlay_mtu) (default 1500); C(overlay_node_cidr), to choose its node CIDR."
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay.attributes
  - tke.overlay.attributes.controller
  - tke.overlay.cluster
options:
  group:
    description: The inventory group of all nodes. Each must also be in exactly one of the groups C(cloud) and C(idc).
    type: str
    default: overlay_nodes
  clb_subnet:
    description: The subnet of the private load balancer, which the container CIDR must not overlap either.
    type: str
  require_idc:
    description:
      - Whether a fleet without IDC nodes is an error. By default it is a warning.
      - TKE refuses this mode for clusters that have only cloud nodes.
    type: bool
    default: false
  device:
    description: The name of the VXLAN link.
    type: str
    default: tke0
  vni:
    description: The VXLAN network identifier.
    type: int
    default: 1
  port:
    description: The UDP port of the tunnel.
    type: int
    default: 8472
  bridge:
    description: The name of the Pod bridge.
    type: str
    default: tke-br0
  release:
    description:
      - Nodes that leave for good. Their node CIDRs go back to the pool, as soon as all nodes that are left have dropped
        them (see O(tke.overlay.node_cidr#module:acknowledged_by)), and the plan is one without them.
      - With it, nobody is added; a host of the inventory that has no node CIDR stays without.
      - A node that was released already is passed over; a name that nobody has ever had is an error.
    type: list
    elements: str
  release_force:
    description:
      - Release also a host of group C(clb), the last one of group C(apiserver), the last node of a site, or several
        nodes that are more than a fifth of the fleet. Without it each is an error that says what hangs on it.
    type: bool
    default: false
seealso:
  - module: tke.overlay.node
  - module: tke.overlay.node_cidr
"""

EXAMPLES = r"""
- name: Plan the overlay
  tke.overlay.plan:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
    networks:
      vpc: [10.0.0.0/16]
      idc: [192.168.0.0/16]
  run_once: true
  register: plan_result

- name: Only look for conflicts
  tke.overlay.plan:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
  run_once: true
  check_mode: true
"""

RETURN = r"""
document:
  description: What every host must be; the same for all, as each finds itself by its name.
  returned: success
  type: dict
  sample:
    schema: 1
    cluster: demo
    device: tke0
    vni: 1
    port: 8472
    mtu: 1400
    bridge: tke-br0
    container_cidr: [10.244.0.0/16]
    service_cidr: 10.244.255.0/24
    fleet: "cloud1 10.244.0.0/24 10.0.1.11\nidc1 10.244.1.0/24 192.168.1.11\n"
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
forecast:
  description: How long the pool will last, in one sentence.
  returned: success
  type: str
  sample: >-
    10.244.0.0/16 has room for 255 nodes of 253 Pods: 4 used, 251 free; node 256 needs another container CIDR.
    Services: 10.244.255.0/24, 251 usable.
released:
  description: The node CIDRs that O(release) took back, by node.
  returned: success
  type: dict
  sample: {idc7: 10.244.9.0/24}
fresh:
  description: Nodes that had no node CIDR before. In check mode they have none yet.
  returned: success
  type: list
  elements: str
  sample: [idc2]
sites:
  description: The nodes of the inventory by site, those of each in one string with blanks between.
  returned: success
  type: dict
  sample: {cloud: cloud1 cloud2, idc: idc1 idc2}
vips:
  description: The addresses of the private load balancer, as far as the ledger has them.
  returned: success
  type: dict
  sample: {apiserver: 10.0.2.2, services: 10.0.2.3}
orphans:
  description: Nodes of the ledger that are not in the inventory. They keep their node CIDRs and stay peers.
  returned: success
  type: list
  elements: str
  sample: []
"""

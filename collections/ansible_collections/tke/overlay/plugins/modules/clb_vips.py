#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clb_vips
short_description: Chooses the two VIPs of the private load balancer and keeps them in the ledger
version_added: 1.0.0
description:
  - Chooses two free addresses of a subnet, one for the API servers and one for the services, and records them in the
    ledger. It runs on the controller and contacts no host.
  - It never chooses the network address, the broadcast address, the gateway, a reserved address, or the address of a
    host of the inventory (numeric C(ansible_host) and C(overlay_underlay_ip)) or of the ledger.
  - A chosen address never changes. If another host gets the address later, the error names both.
  - All conflicts are reported at once, before anything is written.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
  - tke.overlay._cluster
options:
  provider:
    description:
      - The load balancer that has the two addresses.
      - With V(pair), the two hosts of O(group) have the addresses, which are in O(subnet).
      - With V(external), a load balancer that this collection does not manage has them. O(vips) must then contain both
        addresses, which are checked and recorded in the ledger; O(subnet) and O(subnet_reserved) are ignored.
    type: str
    choices: [pair, external]
    default: pair
  subnet:
    description: The subnet of the load balancer, an IPv4 network. Required with O(provider=pair).
    type: str
  subnet_gateway:
    description: The gateway of O(subnet). The default is its first address.
    type: str
  subnet_reserved:
    description: Addresses and networks of O(subnet) that are never chosen.
    type: list
    elements: str
    default: []
  vips:
    description: Addresses to use instead of chosen ones, by the names V(apiserver) and V(services).
    type: dict
    default: {}
  api_ca:
    description:
      - The CA of the API server's certificate, a file on the controller. It is only checked here, before any host is
        changed.
    type: str
  group:
    description: The inventory group of the pair. With O(provider=pair) it must have exactly two hosts.
    type: str
    default: clb
  nodes_group:
    description: The inventory group of the nodes, which must have the same cluster-wide variables as the pair.
    type: str
    default: overlay_nodes
  state:
    description:
      - With V(absent), both addresses are released. Use it only when no host or client uses them any more.
      - With V(absent), it is an error in check mode, too, if the ledger cannot be written.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: tke.overlay.clb
  - module: tke.overlay.plan
"""

EXAMPLES = r"""
- name: Choose two addresses for the pair
  tke.overlay.clb_vips:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
    subnet: 10.0.2.0/24
    subnet_reserved: [10.0.2.64/26]
  run_once: true
  register: clb_vips_result

- name: Record the two addresses of a load balancer of the cloud provider
  tke.overlay.clb_vips:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
    provider: external
    vips: {apiserver: 10.0.9.4, services: 10.0.9.5}
  run_once: true
"""

RETURN = r"""
apiserver:
  description: The VIP of the API servers; empty with O(state=absent).
  returned: success
  type: str
  sample: 10.0.2.2
services:
  description: The VIP of the services; empty with O(state=absent).
  returned: success
  type: str
  sample: 10.0.2.3
"""

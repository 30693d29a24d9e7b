#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: clb_vips
short_description: Keeps the two addresses of the private load balancer
version_added: 1.0.0
description:
  - Chooses two free addresses of a subnet, one for the API servers and one for the services, and keeps them in the
    ledger. It runs on the controller and contacts no host.
  - Never chosen are the network's own address, the broadcast address, the gateway, what is reserved, and the address of
    any host of the inventory (its C(ansible_host) and C(overlay_underlay_ip), as far as they are numbers) or of the
    ledger.
  - What was chosen once stays for ever. If it becomes somebody else's address later, that is an error that names both.
  - All conflicts are found before anything is written, and reported at once.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
  - tke.overlay._cluster
options:
  provider:
    description:
      - Who carries the two addresses.
      - With V(pair) it is the two hosts of O(group), and the addresses are of O(subnet).
      - With V(external) it is a load balancer that is not managed here. O(vips) must then have both addresses, which
        are checked and kept in the ledger like others; O(subnet) and O(subnet_reserved) do not matter.
    type: str
    choices: [pair, external]
    default: pair
  subnet:
    description: The subnet of the load balancer, an IPv4 network. Required with O(provider=pair).
    type: str
  subnet_gateway:
    description: The gateway of O(subnet). By default that is its first address.
    type: str
  subnet_reserved:
    description: Addresses and networks of O(subnet) that are never chosen.
    type: list
    elements: str
    default: []
  vips:
    description: The addresses you choose yourself, by the names V(apiserver) and V(services).
    type: dict
    default: {}
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
      - With V(absent) both addresses are given back. Do that only when nobody uses them any more.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: tke.overlay.clb
  - module: tke.overlay.plan
"""

EXAMPLES = r"""
- name: Two addresses for the pair
  tke.overlay.clb_vips:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
    subnet: 10.0.2.0/24
    subnet_reserved: [10.0.2.64/26]
  run_once: true
  register: clb_vips_result

- name: The two addresses of a load balancer that the cloud runs
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
  description: The address before the API servers; empty with O(state=absent).
  returned: success
  type: str
  sample: 10.0.2.2
services:
  description: The address before the services; empty with O(state=absent).
  returned: success
  type: str
  sample: 10.0.2.3
"""

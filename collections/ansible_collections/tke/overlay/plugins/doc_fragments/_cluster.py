# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the plugins that work on the ledger."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment tke.overlay._cluster."""

    DOCUMENTATION = r"""
options:
  ledger:
    description:
      - The location of the ledger, as a path on the controller or as C(etcd://host:2379,host:2379/prefix) (C(etcds://)
        for TLS). The first run creates the ledger.
      - Keep it beside the inventory, under version control; it is the only record of which node has which node CIDR.
    type: str
    required: true
  cluster:
    description: The identity of the cluster. A ledger of another cluster is rejected.
    type: str
    required: true
  container_cidr:
    description:
      - The container CIDR that all nodes share, inside C(10.0.0.0/8), C(172.16.0.0/12) or C(192.168.0.0/16).
      - To grow the pool, append a further CIDR to the list; this is possible at any time.
      - The Service range stays at the end of the first CIDR.
    type: list
    elements: str
    required: true
  max_pods_per_node:
    description:
      - The number of addresses of one node CIDR, rounded up to a power of two.
      - Three of them (VTEP, gateway and the last address) are not available to Pods.
    type: int
    default: 256
  max_services:
    description:
      - The number of addresses of the Service range, which is the end of the (first) container CIDR.
      - The number is rounded up to a power of two.
    type: int
    default: 256
  networks:
    description:
      - Networks that must not overlap the container CIDR, as a dictionary from a name to a list of CIDRs.
      - The names appear in errors.
    type: dict
    default: {}
  reserved:
    description: Parts of the container CIDR from which no node CIDR is allocated.
    type: list
    elements: str
    default: []
"""

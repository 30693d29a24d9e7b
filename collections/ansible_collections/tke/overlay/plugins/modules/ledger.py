#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ledger
short_description: Moves a ledger to another place
version_added: 1.0.0
description:
  - Moves the record of which node has which node CIDR from a file to etcd, from etcd to a file, or between two places
    of a kind. It arrives byte for byte as it was. It runs on the controller and contacts no host.
  - At every instant at most one of the two places has a ledger that can be used. First the source is marked as being
    moved; then the ledger is written to the target and read back; then the source is marked as moved.
  - Whatever loads a ledger refuses a mark with the name of the new place, so a run with an old O(dest) or
    C(overlay_ledger) cannot hand out a node CIDR a second time.
  - A run that ends in between leaves a ledger that nobody can use until the same task has been run again.
  - The ledger as it was stays at the source as a previous version.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
options:
  src:
    description: Where the ledger is, as a path on the controller or as C(etcd://host:2379,host:2379/prefix).
    type: str
    required: true
  dest:
    description:
      - Where it goes, likewise.
      - There must be nothing yet, the same ledger already, or the mark of a ledger that was moved away from there.
        A different ledger is never overwritten.
    type: str
    required: true
  cluster:
    description: The identity of the cluster. A ledger of another cluster is refused. Without it, any is moved.
    type: str
seealso:
  - plugin: tke.overlay.ledger
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Move the ledger into etcd
  tke.overlay.ledger:
    src: "{{ inventory_dir }}/overlay-ledger.json"
    dest: etcd://192.0.2.11:2379,192.0.2.12:2379,192.0.2.13:2379/demo
    cluster: demo
  run_once: true

- name: Move it back
  tke.overlay.ledger:
    src: etcd://192.0.2.11:2379,192.0.2.12:2379,192.0.2.13:2379/demo
    dest: "{{ inventory_dir }}/overlay-ledger.json"
  run_once: true
"""

RETURN = r"""
src:
  description: The place that the ledger was moved from.
  returned: success
  type: str
  sample: /srv/inventory/overlay-ledger.json
dest:
  description: The place where the ledger is now; C(overlay_ledger) must name it.
  returned: success
  type: str
  sample: etcd://192.0.2.11:2379/demo
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
"""

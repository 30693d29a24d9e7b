#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ledger
short_description: Moves a ledger to another store
version_added: 1.0.0
description:
  - Moves the ledger, the record of which node has which node CIDR, from a file to etcd, from etcd to a file, or between
    two files or two etcd clusters, without changing a byte. It runs on the controller and contacts no host.
  - At most one of the two places has a usable ledger at any time. First a tombstone with the ledger replaces the
    source; then the ledger is written to the target and read back; then the tombstone is marked as finished.
  - Loading a tombstone is an error that names the new place, so a run with an old O(dest) or C(overlay_ledger) cannot
    allocate a node CIDR a second time.
  - After an interrupted run the ledger is not usable until the same task runs again.
  - The ledger as it was stays at the source as a previous version.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
options:
  src:
    description: The present place of the ledger, as a path on the controller or as C(etcd://host:2379,host:2379/prefix).
    type: str
    required: true
  dest:
    description:
      - The new place of the ledger, in the same notation.
      - It must be empty, or have the same ledger, or the tombstone of a ledger that was moved away from it.
        A different ledger is never overwritten. Another name of O(src), such as a link to the file or another member of
        the same etcd, is an error.
      - The module tries whether both places can be written before it changes one, also in check mode.
    type: str
    required: true
  cluster:
    description: The identity of the cluster. A ledger of another cluster is an error. Without this option, any
      ledger is moved.
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
  description: The size of the pool and its use.
  returned: success
  type: dict
  sample: {max_nodes: 255, used: 2, free: 253, usable_pods_per_node: 253, usable_services: 251}
pending:
  description: Released node CIDRs that are not free yet, with the hosts that have not dropped them.
  returned: success
  type: dict
  sample: {10.244.7.0/24: [cloud1]}
"""

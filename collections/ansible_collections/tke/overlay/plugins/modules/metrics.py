#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: metrics
short_description: Write metrics of the ledger and of a run for Prometheus
version_added: 1.1.0
description:
  - Writes the node CIDRs of the ledger by state, its capacity, when it is full, pending node CIDRs and orphans, the
    time of the run, and the number of hosts that it did not reach, for the textfile collector of node_exporter. The
    module runs on the controller and contacts no host.
  - Each cluster has a file of its own, and so has each playbook. They are replaced atomically, and everybody may read
    them.
  - What prevents that is a warning and not an error. The time of the last run then stays as it was, for which the
    collection has an alert.
  - The task never reports a change, because every run has another time.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
attributes:
  diff_mode:
    description: The files are measurements, of which there is no diff.
    support: none
options:
  ledger:
    description: Where the ledger is stored, as a path on the controller or as C(etcd://host:2379,host:2379/prefix).
    type: str
    required: true
  cluster:
    description:
      - The identity of the cluster. Of the ledger of another cluster, nothing is written. Without this option, the
        module accepts any ledger.
    type: str
  dest:
    description: The directory of the textfile collector, on the controller. It must exist.
    type: path
    required: true
  playbook:
    description: The value of the label C(playbook) of the metrics of the run.
    type: str
    required: true
  results:
    description:
      - The names of the variables in which results are registered on the hosts of the play. A host counts as not
        reached if one of them shows that.
    type: list
    elements: str
    default: []
  group:
    description: The inventory group of all nodes. Other nodes of the ledger count as orphans.
    type: str
    default: overlay_nodes
  reserved:
    description: Parts of the container CIDR from which no node CIDR is allocated, as for M(tke.overlay.plan).
    type: list
    elements: str
    default: []
seealso:
  - module: tke.overlay.plan
  - module: tke.overlay.report
"""

EXAMPLES = r"""
- name: Write the metrics of the controller
  tke.overlay.metrics:
    ledger: "{{ overlay_ledger }}"
    cluster: "{{ overlay_cluster }}"
    dest: /var/lib/prometheus/node-exporter
    playbook: nightly
    results: [overlay_status]
  run_once: true
"""

RETURN = r"""
files:
  description: The files. In check mode, those that a real run would write. Empty if they could not be written.
  returned: always
  type: list
  elements: str
  sample:
    - /var/lib/prometheus/node-exporter/tke_overlay_controller_demo.prom
    - /var/lib/prometheus/node-exporter/tke_overlay_controller_demo_status.prom
"""

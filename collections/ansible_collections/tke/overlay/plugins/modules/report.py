#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: report
short_description: Write a report of the overlay as an HTML page and a JSON document
version_added: 1.0.0
description:
  - Writes the ledger, the inventory, and the results of M(tke.overlay.overlay_info) and M(tke.overlay.probe) to one
    HTML file that loads nothing, and to a JSON document beside it. The module runs on the controller and contacts no
    host.
  - Hosts without results are shown as not observed. The ledger and the inventory are enough for a report.
  - The page is for people, the document for programs. The document has a C(schema), which is incremented when a key
    changes its meaning or is removed.
  - Every run writes both files, because they contain the time of the run and its measurements. The task reports a
    change only if the new report differs from the existing files in more than times and measurements.
  - Only files of an earlier report are overwritten.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
options:
  ledger:
    description: Where the ledger is stored, as a path on the controller or as C(etcd://host:2379,host:2379/prefix).
    type: str
    required: true
  cluster:
    description:
      - The identity of the cluster. A ledger of another cluster is an error. Without this option, the module accepts
        any ledger.
    type: str
  dest:
    description:
      - The page, a file on the controller that ends in C(.html). The document is written beside it, with the ending
        C(.json).
      - Do not use an inventory directory, because Ansible reads every file in it as an inventory.
    type: path
    required: true
  info:
    description: The variable in which each host's result of M(tke.overlay.overlay_info) is registered.
    type: str
    default: overlay_report_info
  probe:
    description: The variable in which each host's result of M(tke.overlay.probe) is registered.
    type: str
    default: overlay_report_probe
  problem:
    description: The error that prevented the plan, if any. The report shows it as a finding.
    type: str
  group:
    description: The inventory group of all nodes.
    type: str
    default: overlay_nodes
  clb_group:
    description: The inventory group of the hosts that run the private load balancer.
    type: str
    default: clb
  sites:
    description:
      - The inventory groups that are the sites, in the order of the report.
      - The default is the child groups of O(group).
    type: list
    elements: str
  reserved:
    description: Parts of the container CIDR from which no node CIDR is allocated, as for M(tke.overlay.plan).
    type: list
    elements: str
    default: []
  title:
    description: The heading of the page. The default names the cluster.
    type: str
  history:
    description: How many of the ledger's last changes to show.
    type: int
    default: 20
  prometheus:
    description:
      - The address of a Prometheus that scrapes the metrics of the nodes, such as C(http://host:9090). The report then
        shows the past day.
      - If it does not answer, the task warns, and the report shows why it has no past day.
    type: str
    version_added: 1.1.0
  links:
    description: The links between the sites, as M(tke.overlay.plan) returns them. The page shows a table of them.
    type: list
    elements: dict
    default: []
    version_added: 1.1.0
    suboptions:
      sites:
        description: The two sites; twice the same for a link inside a site.
        type: list
        elements: str
        required: true
      nodes:
        description: The numbers of nodes of the two sites.
        type: list
        elements: int
        required: true
      transport:
        description: How packets of Pods travel.
        type: str
        choices: [direct, vxlan, wireguard]
        required: true
      mtu:
        description: The largest packet of a Pod, in bytes.
        type: int
        required: true
seealso:
  - module: tke.overlay.overlay_info
  - module: tke.overlay.probe
  - module: tke.overlay.plan
"""

EXAMPLES = r"""
- name: Read the state of this host
  tke.overlay.overlay_info:
  register: overlay_report_info
  ignore_unreachable: true

- name: Build the report
  tke.overlay.report:
    ledger: "{{ overlay_ledger }}"
    cluster: "{{ overlay_cluster }}"
    dest: /srv/www/overlay.html
  run_once: true

- name: Build a report of the ledger and the inventory only
  tke.overlay.report:
    ledger: etcd://192.0.2.11:2379/demo
    dest: ~/overlay.html
    title: Production, according to the ledger
    prometheus: http://192.0.2.20:9090
  run_once: true
"""

RETURN = r"""
dest:
  description: The page.
  returned: success
  type: str
  sample: /srv/www/overlay.html
data:
  description: The document.
  returned: success
  type: str
  sample: /srv/www/overlay.json
digest:
  description: A hash of the report without times and measurements. Reports with the same digest have the same content.
  returned: success
  type: str
  sample: 3b1f0c9d2a77
verdict:
  description:
    - The result in one sentence. C(state) is V(healthy), V(warn) (healthy with warnings), V(partial) (the observed part
      is healthy), V(bad), or V(unobserved) (no node was observed).
  returned: success
  type: dict
  sample:
    state: healthy
    text: The network is healthy.
    detail: 4 of 4 nodes observed; 12 of 12 probes answered.
findings:
  description:
    - The problems and their remedies, the most severe first. C(severity) is V(bad), V(warn) or V(note); C(kind) is a
      keyword for programs; C(hosts) lists all affected hosts.
  returned: success
  type: list
  elements: dict
  sample:
    - severity: warn
      kind: orphan
      hosts: [idc9]
      text: >-
        idc9 has a node CIDR, but is not in the inventory. Removing a node from the inventory does not release it: the
        other nodes keep the peer.
      remedy: >-
        Put it back into the inventory, or release it: ansible-playbook tke.overlay.release -e overlay_release=idc9
"""

#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: report
short_description: Draws the whole overlay as one HTML page, with the same as data beside it
version_added: 1.0.0
description:
  - Draws the ledger, the inventory, and what M(tke.overlay.overlay_info) and M(tke.overlay.probe) found on the hosts,
    into one HTML file that loads nothing, and into a JSON document beside it. It runs on the controller and contacts no
    host.
  - Whatever was not gathered is shown as not looked at. The ledger and the inventory alone are enough for a page.
  - The page is for people, the document for programs. The document has a C(schema), which is raised when a key changes
    its meaning or goes away.
  - Both files are written anew by every run, as they say when it was looked and what was measured. The task is changed
    only if something else than times and measurements differs from the files that were there.
  - Only files that an earlier report wrote are overwritten.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
options:
  ledger:
    description: Where the ledger is kept, as a path on the controller or as C(etcd://host:2379,host:2379/prefix).
    type: str
    required: true
  cluster:
    description: The identity of the cluster. A ledger of another cluster is refused. Without it, any is drawn.
    type: str
  dest:
    description:
      - The page, a file on the controller that ends in C(.html). The document goes beside it and ends in C(.json).
      - Not into an inventory that is a directory, as Ansible takes every file in it for an inventory.
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
    description: Why no plan could be made, if so. It becomes a finding.
    type: str
  group:
    description: The inventory group of all nodes.
    type: str
    default: overlay_nodes
  clb_group:
    description: The inventory group of the hosts that carry the private load balancer.
    type: str
    default: clb
  sites:
    description:
      - The inventory groups that are the sites, in the order in which they are shown.
      - The default is the groups right below O(group).
    type: list
    elements: str
  reserved:
    description: Parts of the container CIDR from which no node CIDR is given to anybody, as for M(tke.overlay.plan).
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
seealso:
  - module: tke.overlay.overlay_info
  - module: tke.overlay.probe
  - module: tke.overlay.plan
"""

EXAMPLES = r"""
- name: Look at this host
  tke.overlay.overlay_info:
  register: overlay_report_info
  ignore_unreachable: true

- name: Draw
  tke.overlay.report:
    ledger: "{{ overlay_ledger }}"
    cluster: "{{ overlay_cluster }}"
    dest: /srv/www/overlay.html
  run_once: true

- name: Draw the ledger and the inventory only
  tke.overlay.report:
    ledger: etcd://192.0.2.11:2379/demo
    dest: ~/overlay.html
    title: Production, as it was recorded
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
picture:
  description: A name for what is shown, times and measurements aside. Pictures of one name show the same.
  returned: success
  type: str
  sample: 3b1f0c9d2a77
verdict:
  description:
    - The answer at a glance. C(state) is V(whole), V(warn) (whole, but something wants attention), V(partial) (nothing
      is broken as far as was looked), V(bad), or V(unseen) (nobody was asked).
  returned: success
  type: dict
  sample:
    state: whole
    text: The network is whole.
    detail: 4 of 4 nodes were seen; 12 of 12 questions to peers were answered.
findings:
  description:
    - What is wrong and what to do, the worst first. C(severity) is V(bad), V(warn) or V(note); C(kind) is a word for
      programs; C(hosts) are all that it concerns.
  returned: success
  type: list
  elements: dict
  sample:
    - severity: warn
      kind: orphan
      hosts: [idc9]
      text: "idc9 has a node CIDR, and the inventory lacks it. Absence is not release: the others keep the peer."
      remedy: "Put it back into the inventory, or: ansible-playbook tke.overlay.release -e overlay_release=idc9"
"""

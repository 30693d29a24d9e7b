#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node
short_description: Makes one host a node of the overlay
version_added: 0.1.0
description:
  - Gives the host all that the plan says it must have, in one call - the VXLAN link with its MAC, MTU and address;
    neighbour, FDB entry and route of every peer; the blackhole route of its own segment; forwarding; the CNI
    configuration of its Pods.
  - Reads the kernel's tables, compares, applies one batch for each, and reads back.
  - Nothing that is not ours is touched. What is in the way and not ours is an error, before anything has changed.
  - Facts of other hosts are not needed, so O(name) can be alone in a run, and a dead peer stops nobody.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay.attributes
  - tke.overlay.attributes.host
options:
  name:
    description: The name of this host in the plan.
    type: str
    required: true
  document:
    description: The document that M(tke.overlay.plan) returned. It is the same for all hosts.
    type: dict
    required: true
    suboptions:
      schema:
        description: The version of the document.
        type: int
        required: true
      cluster:
        description: The identity of the cluster.
        type: str
        required: true
      device:
        description: The name of the VXLAN link.
        type: str
        required: true
      vni:
        description: The VXLAN network identifier.
        type: int
        required: true
      port:
        description: The UDP port of the tunnel.
        type: int
        required: true
      mtu:
        description: The MTU of the overlay, in bytes.
        type: int
        required: true
      bridge:
        description: The name of the Pod bridge.
        type: str
        required: true
      container_cidr:
        description: The container CIDRs.
        type: list
        elements: str
        required: true
      service_cidr:
        description: The Service range.
        type: str
        required: true
      fleet:
        description: All nodes, a line each, with name, segment and underlay address.
        type: str
        required: true
seealso:
  - module: tke.overlay.plan
"""

EXAMPLES = r"""
- name: Plan the overlay
  tke.overlay.plan:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
  run_once: true
  register: plan_result

- name: Make this host what the plan says
  tke.overlay.node:
    name: "{{ inventory_hostname }}"
    document: "{{ plan_result.document }}"
"""

RETURN = r"""
changes:
  description:
    - What was added, changed and removed in each table, an entry a line, in the words of iproute2.
    - Entries on our device that belong to somebody else are listed as C(foreign); they are left alone.
  returned: success
  type: dict
  sample:
    link: {before: {}, after: {}}
    route: {added: ["10.244.4.0/24 via 10.244.4.0 dev tke0 onlink"], changed: [], removed: [], foreign: []}
    fdb: {added: ["0a:58:0a:f4:04:00 dst 192.168.1.13"], changed: [], removed: [], foreign: []}
    neighbor: {added: ["10.244.4.0 lladdr 0a:58:0a:f4:04:00"], changed: [], removed: [], foreign: []}
    files: [/etc/cni/net.d/10-tke-overlay.conflist]
    sysctls: [net.ipv4.ip_forward]
recreated:
  description: Why the device had to be made anew. Its table entries were put back in the same call.
  returned: when the link was there and was made anew
  type: str
  sample: port 4789 -> 8472 cannot be changed on a living device
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge
from ansible_collections.tke.overlay.plugins.module_utils._host.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, diff_of, run_module

DOCUMENT = {
    "schema": {"type": "int", "required": True},
    "cluster": {"type": "str", "required": True},
    "device": {"type": "str", "required": True},
    "vni": {"type": "int", "required": True},
    "port": {"type": "int", "required": True},
    "mtu": {"type": "int", "required": True},
    "bridge": {"type": "str", "required": True},
    "container_cidr": {"type": "list", "elements": "str", "required": True},
    "service_cidr": {"type": "str", "required": True},
    "fleet": {"type": "str", "required": True},
}
ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "document": {"type": "dict", "required": True, "options": DOCUMENT},
}


def work(module: AnsibleModule, run: Run) -> Result:
    """One host, from its document to the report of what was different."""
    document = {**module.params["document"], "node": module.params["name"]}
    outcome = converge(document, run, module.check_mode)
    changes = {
        "link": {"before": outcome.link.before, "after": outcome.link.after},
        **{name: delta.lines() for name, delta in outcome.tables.items()},
        "files": [diff.name for diff in outcome.files],
        "sysctls": [diff.name for diff in outcome.sysctls],
    }
    result = {"changed": outcome.changed, "changes": changes, **diff_of(module, outcome.diffs())}
    return {**result, "recreated": outcome.link.recreated} if outcome.link.recreated else result


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work)


if __name__ == "__main__":
    main()

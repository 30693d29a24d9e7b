#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: saved_state
short_description: Tells what a host has saved of itself and of the fleet
version_added: 1.0.0
description:
  - Reads what M(tke.overlay.node) has left below C(/etc/tke-overlay), from which M(tke.overlay.rebuild_ledger) makes a
    ledger that was lost. It changes nothing.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay.attributes
  - tke.overlay.attributes.host
options:
  fleet:
    description: Return the whole fleet, too. Of many hosts that name one C(view), one is enough to ask.
    type: bool
    default: false
seealso:
  - module: tke.overlay.rebuild_ledger
"""

EXAMPLES = r"""
- name: What each host knows
  tke.overlay.saved_state:
  register: overlay_saved
"""

RETURN = r"""
saved:
  description: What the host says; empty where it is no node of an overlay.
  returned: success
  type: dict
  contains:
    node: {description: The name of the host in the plan., returned: a node, type: str}
    cluster: {description: The identity of the cluster., returned: a node, type: str}
    node_cidr: {description: The node CIDR of the host., returned: a node, type: str}
    underlay: {description: The underlay address of the host., returned: a node, type: str}
    port: {description: The UDP port of the tunnel., returned: a node, type: int}
    container_cidr: {description: The container CIDRs., returned: a node, type: list, elements: str}
    service_cidr: {description: The Service range., returned: a node, type: str}
    mtu: {description: The MTU of the overlay., returned: a node, type: int}
    api: {description: "The VIP of the API servers, if the host knows one.", returned: a node, type: str}
    view: {description: The name of what the host knows of all nodes., returned: a node, type: str}
    fleet: {description: "All nodes, a line each; empty without O(fleet).", returned: a node, type: str}
  sample:
    node: idc1
    cluster: demo
    node_cidr: 10.244.2.0/24
    underlay: 192.168.1.11
    port: 8472
    container_cidr: [10.244.0.0/16]
    service_cidr: 10.244.255.0/24
    mtu: 1400
    api: 10.0.2.2
    view: 0b1d4a1c7e22
    fleet: ""
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.fleet import read_saved
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, run_module


def main() -> None:
    """Entry point."""

    def work(module: AnsibleModule, _run: Run) -> Result:
        saved = read_saved()
        if saved is None:
            return {"changed": False, "saved": {}}
        return {"changed": False, "saved": saved if module.params["fleet"] else {**saved, "fleet": ""}}

    run_module({"fleet": {"type": "bool", "default": False}}, work)


if __name__ == "__main__":
    main()

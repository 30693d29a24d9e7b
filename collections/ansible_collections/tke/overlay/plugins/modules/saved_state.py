#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: saved_state
short_description: Returns the saved state of a host and its copy of the fleet
version_added: 1.0.0
description:
  - Reads the files that M(tke.overlay.node) saved below C(/etc/tke-overlay). M(tke.overlay.rebuild_ledger) rebuilds a
    lost ledger from them. The module changes nothing.
  - The action plugin fetches the files with one command of a shell, which costs a host much less than a module. It runs
    the module on the host only if that command fails.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
options:
  fleet:
    description:
      - Also return the fleet, which is all nodes of the plan. Hosts with the same C(view) have the same fleet, so it is
        sufficient to read it from one of them.
    type: bool
    default: false
seealso:
  - module: tke.overlay.rebuild_ledger
"""

EXAMPLES = r"""
- name: Read the saved state of each host
  tke.overlay.saved_state:
  register: overlay_saved
"""

RETURN = r"""
clb_cluster:
  description: The cluster whose load balancer this host carries; empty if it carries none.
  returned: success
  type: str
  sample: ""
saved:
  description: The saved state; empty on a host that is not a node of an overlay.
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
    api: {description: "The VIP of the API servers; empty without an API endpoint.", returned: a node, type: str}
    view: {description: "The checksum of the fleet, for comparing hosts.", returned: a node, type: str}
    fleet: {description: "All nodes, one per line; empty without O(fleet).", returned: a node, type: str}
    ledger_version: {description: The version of the ledger when it was planned., returned: a node, type: str}
    links: {description: The links of its site., returned: in a cluster with links, type: str}
    wireguard_generation: {description: How often all keys have changed., returned: with WireGuard, type: int}
    wireguard_port: {description: The UDP port of WireGuard in its plan., returned: with WireGuard, type: int}
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
    ledger_version: 41-3fa9c2d1
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.state.fleet import saved_result
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, run_module


def main() -> None:
    """Run the module."""

    def work(module: AnsibleModule, _run: Run) -> Result:
        return saved_result(module.params["fleet"])

    run_module({"fleet": {"type": "bool", "default": False}}, work)


if __name__ == "__main__":
    main()

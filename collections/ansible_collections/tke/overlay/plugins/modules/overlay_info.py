#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: overlay_info
short_description: Returns the state of the overlay on a host, and its drift from what was last applied
version_added: 1.0.0
description:
  - Compares the kernel's tables with what M(tke.overlay.node) saved on the host, and returns the counters that indicate
    faults. It needs neither the ledger nor a plan.
  - Compares files by the checksums of what was applied, also those of M(tke.overlay.api_endpoint) and
    M(tke.overlay.clb); the block in C(/etc/hosts), the servers of kubeconfigs, the units, the nftables rules and the
    running configurations of the load balancer.
  - With O(document) it also returns whether the host has the current plan; if it has, files and units are compared with
    the plan, too.
  - Changes nothing. On a host that is no node the values are empty.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
  - tke.overlay._document
  - tke.overlay._pods
options:
  vips:
    description: Addresses to check; those that this host holds now are returned.
    type: list
    elements: str
    default: []
  load_balancer:
    description: Whether this host should be one of the pair of the load balancer. If it has none of it, that is drift.
    type: bool
    default: false
  pods:
    description: Whether this host should have Pods, see the option O(tke.overlay.node#module:pods) of
      M(tke.overlay.node). If it was configured otherwise, that is drift. Without a value this is not compared.
    type: bool
seealso:
  - module: tke.overlay.node
  - module: tke.overlay.api_endpoint
  - module: tke.overlay.clb
  - module: tke.overlay.probe
"""

EXAMPLES = r"""
- name: Read the state of the overlay
  tke.overlay.overlay_info:
  register: result

- name: Fail if the host has drift
  ansible.builtin.assert:
    that: not result.overlay.drift
    fail_msg: "{{ result.overlay.drift | join('; ') }}"
"""

RETURN = r"""
overlay:
  description:
    - The state of the overlay on the host. C(node) is null on a host that is no node.
    - C(drift) has one sentence for each difference from what was applied; for more than three entries of a table, only
      their number.
    - C(load_balancer) is null on a host that is not one of the pair of the load balancer; otherwise its C(timer) is the
      state of the timer that keeps the rules loaded.
    - C(plan.current) is null without O(document).
    - C(has_pods) is whether the host was configured for Pods; null on a host that is no node.
    - C(pods) lists what prevents Pods of the host from talking. C(check) is a keyword - V(forwarding),
      V(bridge_netfilter), V(bridge), V(port), V(route), V(rules), V(conntrack), V(firewall), V(foreign_cni),
      V(cni_file), V(plugins), V(addresses), V(max_pods) or V(old_address). C(text) is one sentence and C(remedy)
      another one or a command. With the C(severity) V(bad), Pods cannot talk, or new ones cannot start. V(warn) is
      something that will keep further Pods from starting. V(note) is something that Pods will need on a host that has
      none, that only few of them need, or that could not be checked. A host without Pods has no findings.
    - C(notes) has one sentence for each kubeconfig that M(tke.overlay.api_endpoint) did not find and that is not there
      yet, or is there now and leads to another server.
    - C(wireguard) exists on a host with WireGuard links. It has the devices with their generation of keys, UDP port,
      public key and number of peers; C(answering) is how many of these have shaken hands in the last three minutes. A
      peer to which nothing is sent does not shake hands.
    - C(counters.rules) is the number of packets that each rule of the nftables table C(inet tke_overlay) has dropped.
  returned: success
  type: dict
  sample:
    node: idc1
    node_cidr: 10.244.2.0/24
    vtep: {address: 10.244.2.0, mac: "0a:58:0a:f4:02:00", device: tke0, state: up}
    underlay: 192.168.1.11
    port: 8472
    vni: 1
    mtu: 1400
    peers: 3
    plan: {applied: 6fe3b1a0c2d4, wanted: 6fe3b1a0c2d4, current: true}
    drift: ["route: missing 10.244.3.0/24 via 10.244.3.0 dev tke0 onlink"]
    counters:
      rx_packets: 1204
      rx_bytes: 90120
      rx_dropped: 0
      rx_errors: 0
      tx_packets: 1310
      tx_bytes: 98000
      tx_dropped: 0
      tx_errors: 0
      rules: {not_a_peer: 0, to_pods: 0, from_pods: 0, inner_source: 0, forwarded_to_vtep: 0, unrouted: 0}
    timer: active
    load_balancer: null
    vips: []
    has_pods: true
    pods: []
    notes: []
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import pods_drift, read_status
from ansible_collections.tke.overlay.plugins.module_utils._module import DOCUMENT, Result, document_of, run_module

ARGUMENTS = {
    "name": {"type": "str"},
    "document": {"type": "dict", "options": DOCUMENT},
    "vips": {"type": "list", "elements": "str", "default": []},
    "load_balancer": {"type": "bool", "default": False},
    "cni_bin_dirs": {"type": "list", "elements": "str", "default": []},
    "pods": {"type": "bool"},
}


def main() -> None:
    """Run the module."""

    def work(module: AnsibleModule, run: Run) -> Result:
        params = module.params
        document = None if params["document"] is None else document_of(params)
        overlay = read_status(run, document, params["vips"], params["load_balancer"], params["cni_bin_dirs"])
        overlay["drift"] += pods_drift(overlay["has_pods"], params["pods"])
        return {"changed": False, "overlay": overlay}

    run_module(ARGUMENTS, work, required_by={"document": "name"})


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: plan
short_description: Plans the overlay from the inventory and the ledger
version_added: 1.0.0
description:
  - Reads the variables of all nodes in one pass, reports every conflict, allocates missing node CIDRs, and
    returns the document that M(tke.overlay.node) applies to each host.
  - It runs on the controller and contacts no host. In check mode it checks everything and writes nothing.
  - The plan always contains all hosts of the inventory group, also with C(--limit), so a partial run omits no peer.
  - A node that is in the ledger but not in the inventory stays a peer until it is released.
  - "Variables of a node: C(overlay_underlay_ip) (default C(ansible_host)), a numeric address that all other nodes reach
    without NAT, C(overlay_underlay_mtu) (default 1500), and C(overlay_node_cidr) to choose the node CIDR.
    In a cluster with O(links): C(overlay_site) (default C(cloud) or C(idc)) and C(overlay_wireguard_endpoint)."
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.controller
  - tke.overlay._cluster
options:
  group:
    description: The inventory group of all nodes. Each must also be in exactly one of the groups C(cloud) and C(idc).
    type: str
    default: overlay_nodes
  clb_subnet:
    description: The subnet of the private load balancer, which the container CIDR must not overlap.
    type: str
  require_idc:
    description:
      - Whether an inventory without IDC nodes is an error. By default it is a warning.
      - TKE rejects this mode for clusters that have only cloud nodes.
    type: bool
    default: false
  device:
    description: The name of the VXLAN link.
    type: str
    default: tke0
  vni:
    description: The VXLAN network identifier.
    type: int
    default: 1
  port:
    description: The UDP port of the tunnel.
    type: int
    default: 8472
  bridge:
    description: The name of the Pod bridge.
    type: str
    default: tke-br0
  links:
    description:
      - How sites reach each other, and the nodes of a site each other. What is not listed is V(vxlan).
      - Without this option, VXLAN connects all nodes with one MTU. With it, the document has a link for every pair of
        sites, each with an MTU of its own.
      - An unknown site, a pair that is listed twice, an MTU that leaves Pods too little or is more than both ends have,
        and a link that cannot cross NAT (C(overlay_wireguard_endpoint) V(none)) are errors.
    type: list
    elements: dict
    suboptions:
      sites:
        description: The two sites of the link, or one for the link between its own nodes.
        type: list
        elements: str
        required: true
      transport:
        description: How packets of Pods cross the link.
        type: str
        choices: [vxlan, direct, wireguard]
        default: vxlan
      mtu:
        description: What the line between the sites carries, in bytes, if it is less than both ends carry.
        type: int
  wireguard_port:
    description:
      - The UDP port of WireGuard; while keys change, and after every second change, the next one.
      - Nodes that have keys keep the port that the ledger has. Their next keys, which O(wireguard_rotation=prepare)
        records, get this port.
    type: int
    default: 51820
  wireguard_keys:
    description:
      - The public WireGuard keys that hosts have, by host name, from M(tke.overlay.wireguard_key); V(-) for a host
        without one. The ledger records the key of a host that it has not met before.
      - Another key than the ledger has for a host is an error.
    type: dict
    default: {}
  wireguard_rotation:
    description:
      - A step of a change of all WireGuard keys, which C(tke.overlay.rotate_keys) runs.
      - V(prepare) records O(wireguard_keys), which are then those of the next generation, beside the present keys, so
        that hosts accept both. V(cutover) makes them the present ones.
      - All nodes with WireGuard must be in the inventory and take part; otherwise it is an error that names them.
    type: str
    choices: [prepare, cutover]
  release:
    description:
      - Nodes to release. The plan does not contain them. Their node CIDRs return to the pool when all remaining nodes
        have dropped them (see O(tke.overlay.node_cidr#module:acknowledged_by)).
      - With this option no node is added, so a host of the inventory without a node CIDR does not get one.
      - A node that is already released is skipped. An unknown name is an error.
    type: list
    elements: str
  release_force:
    description:
      - Release also a host of group C(clb), the last host of group C(apiserver), the last node of a site, or several
        nodes that are more than 20% of all nodes, or a node that C(--limit) excludes. Without this option each of these
        is an error.
    type: bool
    default: false
  saved:
    description:
      - What hosts have saved, by host name, from M(tke.overlay.saved_state) with C(fleet=true).
      - A plan that contradicts it, or is made from an older ledger, is an error, before the ledger is written - the
        ledger was lost, is an outdated copy, or belongs to another cluster. The error names the hosts, both node CIDRs
        or both versions, and a previous version that agrees.
    type: dict
    default: {}
  saved_clb:
    description:
      - The cluster whose load balancer a host carries, by host name, from M(tke.overlay.saved_state).
      - Another cluster than O(cluster) is an error, unless it is in O(take_over).
    type: dict
    default: {}
  renumber:
    description:
      - Hosts of O(saved) that may get another node CIDR than they have applied, without a release in the ledger; V(all)
        for every host. Their Pods lose their addresses.
    type: list
    elements: str
    default: []
  take_over:
    description: Other clusters, by name, whose hosts may become nodes of this one.
    type: list
    elements: str
    default: []
  older_ledger:
    description:
      - The version of the ledger, as an error has named it, or V(none). If hosts of O(saved) have applied a newer
        version than this one, the ledger is used all the same, and continues after their version.
      - Other versions of the ledger are not accepted. Node CIDRs are compared as always.
    type: str
  adopt:
    description:
      - With V(kubernetes), a node without a node CIDR gets the podCIDR of its Node object in the running cluster, as a
        pin, so that its Pods keep their addresses. New nodes get the node CIDRs after the last podCIDR.
      - A podCIDR that cannot be a node CIDR, that several Nodes have, or that contradicts the ledger or
        C(overlay_node_cidr) is an error before anything changes. The podCIDRs of Nodes that are in no inventory are not
        allocated.
      - The Node object of a host is named by C(overlay_kubernetes_node); by default it has the name of the host, or its
        underlay address as an InternalIP.
      - With O(release) it is ignored.
    type: str
    choices: [kubernetes]
  kubeconfig:
    description: The kubeconfig of a user who may list Nodes, a file on the controller. O(adopt) requires it.
    type: path
  kubeconfig_context:
    description: The context of O(kubeconfig). By default its current one.
    type: str
  require_writable:
    description:
      - In check mode, try also whether the ledger can be written, without leaving a trace. Without check mode the
        ledger is opened for writing anyway.
      - In a file, the directory must exist, be writable, have space and support locks. In etcd, the user must have the
        permission to write.
    type: bool
    default: false
seealso:
  - module: tke.overlay.node
  - module: tke.overlay.node_cidr
"""

EXAMPLES = r"""
- name: Plan the overlay
  tke.overlay.plan:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
    networks:
      vpc: [10.0.0.0/16]
      idc: [192.168.0.0/16]
  run_once: true
  register: plan_result

- name: Only check for conflicts
  tke.overlay.plan:
    ledger: "{{ inventory_dir }}/overlay-ledger.json"
    cluster: demo
    container_cidr: 10.244.0.0/16
  run_once: true
  check_mode: true
"""

RETURN = r"""
document:
  description: The plan. It is the same for all hosts; each host finds its own entry by its name.
  returned: success
  type: dict
  sample:
    schema: 1
    cluster: demo
    device: tke0
    vni: 1
    port: 8472
    mtu: 1400
    bridge: tke-br0
    container_cidr: [10.244.0.0/16]
    service_cidr: 10.244.255.0/24
    fleet: "cloud1 10.244.0.0/24 10.0.1.11\nidc1 10.244.1.0/24 192.168.1.11\n"
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
applied:
  description: Whether a host has applied a plan of this ledger. Until then, the container CIDR may change.
  returned: success
  type: bool
  sample: true
new_ledger:
  description: A warning if there was no ledger before this run, otherwise empty.
  returned: success
  type: str
  sample: ""
forecast:
  description: The size and use of the pool as a text.
  returned: success
  type: str
  sample: >-
    10.244.0.0/16 has room for 255 nodes of 253 Pods: 4 used, 251 free; node 256 needs another container CIDR.
    Services: 10.244.255.0/24, 251 usable.
released:
  description: The node CIDRs that O(release) released, by node.
  returned: success
  type: dict
  sample: {idc7: 10.244.9.0/24}
writable:
  description: Whether this run has tried to write the ledger, so that it can be written.
  returned: success
  type: bool
  sample: true
fresh:
  description: Nodes that get a node CIDR in this run.
  returned: success
  type: list
  elements: str
  sample: [idc2]
given:
  description: The variables of the collection that some host of the inventory has.
  returned: success
  type: list
  elements: str
  sample: [overlay_cluster, overlay_container_cidr]
adopted:
  description: The podCIDRs that O(adopt) enters into the ledger in this run, by host.
  returned: success
  type: dict
  sample: {cloud1: 10.244.0.0/24}
sites:
  description: The nodes of the inventory by site, as one string of names separated by spaces.
  returned: success
  type: dict
  sample: {cloud: cloud1 cloud2, idc: idc1 idc2}
vips:
  description: The VIPs of the private load balancer that the ledger has.
  returned: success
  type: dict
  sample: {apiserver: 10.0.2.2, services: 10.0.2.3}
links:
  description: The link of every pair of sites, and of each site with itself.
  returned: with O(links)
  type: list
  elements: dict
  contains:
    sites: {description: The two sites., returned: always, type: list, elements: str}
    nodes: {description: How many nodes each of them has., returned: always, type: list, elements: int}
    transport: {description: How packets of Pods cross the link., returned: always, type: str}
    mtu: {description: "The largest packet of a Pod, in bytes.", returned: always, type: int}
  sample:
    - {sites: [cloud, idc], nodes: [2, 3], transport: wireguard, mtu: 1440}
wireguard:
  description: The nodes of sites with WireGuard, as names separated by spaces.
  returned: with O(links)
  type: dict
  contains:
    generation: {description: How often all keys have changed., returned: always, type: int}
    rotating:
      description: Whether the ledger has keys of the next generation beside these, as between the steps of a change.
      returned: always
      type: bool
    nodes: {description: All these nodes., returned: always, type: str}
    recorded: {description: Those whose public key the ledger has., returned: always, type: str}
  sample: {generation: 0, rotating: false, nodes: cloud1 cloud2 idc1, recorded: cloud1 cloud2}
orphans:
  description: Nodes of the ledger that are not in the inventory. They keep their node CIDRs and stay peers.
  returned: success
  type: list
  elements: str
  sample: []
"""

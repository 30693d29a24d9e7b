#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: kubernetes
short_description: Publishes node CIDRs and the state of the network in Kubernetes
version_added: 1.1.0
description:
  - Compares Node objects with the plan, sets C(spec.podCIDR) and C(spec.podCIDRs) where they are empty, and the
    condition C(NetworkUnavailable) to C(False) on the nodes that have converged. It reports settings of kube-proxy by
    which it does not recognise the traffic of Pods. On request it leads the Service
    C(default/kubernetes) to the VIP of the API servers, and writes the API endpoint into the ConfigMaps
    C(kube-public/cluster-info) and C(kube-system/kube-proxy).
  - A Node object with another C(podCIDR) than its host has in the ledger is an error before anything is changed,
    because the field is immutable. All of them are reported at once.
  - A host without a Node object has not joined the cluster yet, which is no error.
  - The module runs on the controller, and contacts the API server only. Run it once (C(run_once)).
  - The file C(roles/kubernetes/files/rbac.yml) of this collection has the roles that the user of the kubeconfig needs.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
attributes:
  action:
    description: Runs as an action plugin in the process of the controller.
    support: full
  platform:
    description: The module runs on the controller only.
    support: full
    platforms: the controller
requirements:
  - kubernetes 24.2 or later, the official client (on the controller)
options:
  kubeconfig:
    description: A kubeconfig on the controller.
    type: path
    required: true
  context:
    description: The context of O(kubeconfig). The default is its current context.
    type: str
  plan:
    description: The registered result of M(tke.overlay.plan).
    type: dict
    required: true
  recorded:
    description:
      - Whether the ledger has all node CIDRs of O(plan). After a plan in check mode it does not have those of new
        nodes, which are then compared, but not published.
    type: bool
    default: true
  results:
    description:
      - The name of the variable in which the result of M(tke.overlay.node) or M(tke.overlay.overlay_info) is
        registered on each host. The condition is set for the hosts whose result shows that they have the current plan.
      - Without it, no condition is set.
    type: str
  api:
    description: The API endpoint. Without a VIP, no ConfigMap is compared.
    type: dict
    suboptions:
      name:
        description: The name of the API servers.
        type: str
      vip:
        description: The VIP of the API servers; empty without a load balancer.
        type: str
      port:
        description: The port on the VIP.
        type: int
  service:
    description:
      - With V(vip), the Endpoints and the EndpointSlice of the Service C(default/kubernetes) have the VIP as their only
        address. Every API server must run with C(--endpoint-reconciler-type=none). If one of them puts its own address
        back, the task fails.
      - With V(unmanaged), they are neither read nor changed.
    type: str
    choices: [unmanaged, vip]
    default: unmanaged
  service_wait:
    description: The seconds for which a change of the Service is observed. API servers put their addresses back every
      10 s.
    type: float
    default: 12.0
  update:
    description:
      - The ConfigMaps whose server is replaced by the API endpoint. The others are compared only.
      - V(cluster-info) is C(kube-public/cluster-info), from which C(kubeadm join) takes the server. Its signatures are
        removed with the change; kube-controller-manager signs it again.
      - V(kube-proxy) is C(kube-system/kube-proxy). Restart kube-proxy after the change.
    type: list
    elements: str
    choices: [cluster-info, kube-proxy]
    default: []
  state:
    description:
      - With V(present), what is missing is published.
      - With V(compared), nothing is changed, and the task only fails where Kubernetes contradicts the ledger.
    type: str
    choices: [present, compared]
    default: present
seealso:
  - module: tke.overlay.plan
  - module: tke.overlay.node
  - module: tke.overlay.overlay_info
"""

EXAMPLES = r"""
- name: Publish the node CIDRs
  tke.overlay.kubernetes:
    kubeconfig: ~/.kube/config
    plan: "{{ plan_result }}"
    results: node_result
  delegate_to: localhost
  run_once: true

- name: Lead the Service kubernetes to the VIP
  tke.overlay.kubernetes:
    kubeconfig: ~/.kube/config
    plan: "{{ plan_result }}"
    api: {name: api.demo.internal, vip: "{{ clb_vips_result.apiserver }}", port: 6443}
    service: vip
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
server:
  description: The API server of the kubeconfig.
  returned: success
  type: str
  sample: https://10.0.1.3:6443
nodes:
  description:
    - One entry for each node of the inventory. C(node) is the name of its Node object, empty if it has not joined yet.
    - C(publish) and C(clear) are whether the Node object lacks its C(podCIDR), and whether the condition
      C(NetworkUnavailable) becomes C(False). C(available) is whether it was C(False) before. C(recorded) is whether the
      ledger has the node CIDR.
  returned: success
  type: list
  elements: dict
  sample:
    - {host: idc1, node_cidr: 10.244.2.0/24, node: idc1, publish: true, clear: true, available: false,
       recorded: true}
servers:
  description:
    - One entry for each ConfigMap, if there is a VIP. C(servers) is empty if it does not exist. C(differs) is whether
      one of them was not the API endpoint, and C(update) whether O(update) has it.
  returned: success
  type: list
  elements: dict
  sample:
    - source: cluster-info
      where: kube-public/cluster-info
      servers: ["https://10.0.1.3:6443"]
      wanted: https://api.demo.internal:6443
      differs: true
      update: false
kube_proxy:
  description:
    - How kube-proxy recognises the traffic of Pods by its ConfigMap C(kube-system/kube-proxy); empty if there is none.
      C(mode) is its C(detectLocalMode), and C(value) the CIDR, the bridge or the prefix for that mode.
    - C(fault) and C(remedy) are empty where that agrees with the container CIDR and the Pod bridge.
  returned: success
  type: dict
  sample: {mode: ClusterCIDR, value: 10.244.0.0/16, fault: "", remedy: ""}
service:
  description: Where the Service C(default/kubernetes) leads; empty with O(service=unmanaged).
  returned: success
  type: str
  sample: 10.0.2.2:6443
service_changed:
  description: Whether its endpoints were changed.
  returned: success
  type: bool
  sample: false
notes:
  description: What a user should know about the changes. Each note is also a warning.
  returned: success
  type: list
  elements: str
  sample: []
"""

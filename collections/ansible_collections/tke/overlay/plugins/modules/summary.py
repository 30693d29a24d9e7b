#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: summary
short_description: Prints the last screen of a playbook from the results of all hosts
version_added: 1.0.0
description:
  - Prints a table or a few lines from the results that earlier tasks have registered on all hosts of the play, and the
    next steps.
  - The module runs on the controller and contacts no host. Run it once (C(run_once)). Set C(ignore_unreachable) on the
    play or on the earlier tasks, so that unreachable hosts stay in the play.
  - The playbooks of this collection end with this module.
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
options:
  of:
    description:
      - The playbook whose screen is printed.
      - With V(verify), the task fails if a node does not reach another node, if something on a node prevents Pods from
        talking, or if a node does not reach the API server or a service through the load balancer.
      - With V(rollout), which prints the result of one batch, the task fails if a node of the batch failed, does not
        reach a peer that it probed, or something on it prevents Pods from talking.
      - With V(site), the task fails if no node was configured, if a node does not reach the API server through the load
        balancer, or if acknowledgements could not be recorded.
      - With V(site) and V(kubernetes), the task fails if something could not be published in Kubernetes.
      - With V(reset), the task fails if the overlay was not removed from every host.
      - With V(conformance), the task fails if a test of a path failed, a Pod did not start, or something on a node
        prevents Pods from talking.
    type: str
    choices: [verify, rollout, status, site, reset, preflight, conformance, kubernetes]
    required: true
  plan:
    description: The registered result of M(tke.overlay.plan). Only V(reset) works without it.
    type: dict
  results:
    description:
      - The name of the variable in which the result of each host is registered.
      - The result is that of M(tke.overlay.probe) with V(verify) and V(rollout), of M(tke.overlay.overlay_info) with
        V(status), of M(tke.overlay.node) with V(site) and V(reset), and of M(tke.overlay.conformance) with
        O(tke.overlay.conformance#module:state=probed) with V(conformance). V(preflight) needs none.
    type: str
  answering:
    description:
      - With V(verify) and V(rollout), the name of the variable in which the result of M(tke.overlay.probe) with
        O(tke.overlay.probe#module:answer) is registered.
      - With V(conformance), that of M(tke.overlay.conformance) with O(tke.overlay.conformance#module:state=present).
    type: str
  endpoint:
    description:
      - With V(verify) and V(site), the name of the variable in which the result of M(tke.overlay.api_endpoint) is
        registered.
      - Hosts on which that task was skipped are left out of the check of the load balancer.
    type: str
  converged:
    description:
      - With V(rollout), the name of the variable in which the result of M(tke.overlay.node) is registered.
      - With V(conformance), that of M(tke.overlay.conformance) with O(tke.overlay.conformance#module:state=absent).
    type: str
  acknowledged:
    description:
      - With V(site), the name of the variable in which the result of M(tke.overlay.node_cidr) with
        O(tke.overlay.node_cidr#module:acknowledged_by) is registered.
    type: str
  vips:
    description:
      - With V(preflight), the name of the variable in which the result of M(tke.overlay.clb_vips) is registered. With
        C(--diff) the screen shows what both modules would write to the ledger.
    type: str
  kubernetes:
    description:
      - With V(site), V(preflight) and V(kubernetes), the name of the variable in which the result of
        M(tke.overlay.kubernetes) is registered.
    type: str
  not_done:
    description:
      - With V(site), host to reason. The hosts of the load balancer in it are printed below the table of the nodes.
    type: dict
    default: {}
  hosts:
    description: The hosts whose results are evaluated. The default is all hosts of the play.
    type: list
    elements: str
seealso:
  - module: tke.overlay.probe
  - module: tke.overlay.overlay_info
"""

EXAMPLES = r"""
- name: Print the summary
  tke.overlay.summary:
    of: site
    plan: "{{ plan_result }}"
    results: node_result
  run_once: true
"""

RETURN = r"""
conformance:
  description:
    - Whether all tests passed, their number, and for each path the number of tests and failures, and what was not asked
      (reason to hosts).
  returned: with of=conformance
  type: dict
  sample:
    healthy: true
    asked: 24
    failed: 0
    paths:
      pod: {asked: 24, failed: 0, not_asked: {}}
lines:
  description: The printed lines.
  returned: on success; on failure only with a callback that prints JSON, because other callbacks would print them twice
  type: list
  elements: str
  sample:
    - >-
      healthy: 12 of 12 pairs reachable (small, full-size of 1400 bytes and TCP);
      worst round trip 0.8 ms cloud1 -> idc2
"""

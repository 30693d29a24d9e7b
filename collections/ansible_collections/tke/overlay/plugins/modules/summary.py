#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: summary
short_description: Print the last screen of a playbook from the results of all its hosts
version_added: 1.0.0
description:
  - Turns the results that the tasks before it have registered on all hosts of the play into a table, a verdict and the
    next steps, and prints them.
  - It runs on the controller and contacts no host. Run it once, in a play that keeps unreachable hosts
    (C(ignore_unreachable)).
  - The playbooks of this collection end with it, and its options follow their needs.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
attributes:
  action:
    description: Has an action plugin, so it runs in the controller's process.
    support: full
  platform:
    description: Where it runs.
    support: full
    platforms: the controller
options:
  of:
    description:
      - The playbook whose last screen is printed.
      - With V(verify) it fails if not all probed pairs of nodes are reachable, or if a node does not reach the API
        server or a service through the load balancer.
      - With V(rollout), the end of one batch, it fails if a host of the batch has failed or does not reach a
        peer that it probed.
      - With V(site) it fails if a node does not reach the API server through the load balancer.
    type: str
    choices: [verify, rollout, status, site, preflight]
    required: true
  plan:
    description: The result of M(tke.overlay.plan).
    type: dict
    required: true
  results:
    description:
      - The name of the registered variable with the result of each host - of M(tke.overlay.probe) for V(verify) and
        V(rollout), of M(tke.overlay.overlay_info) for V(status), of M(tke.overlay.node) for V(site).
    type: str
  answering:
    description:
      - With V(verify) and V(rollout), the name of the registered variable with the result of
        O(tke.overlay.probe#module:answer), which starts the echo responder.
    type: str
  endpoint:
    description:
      - With V(verify) and V(site), the name of the registered variable with the result of
        M(tke.overlay.api_endpoint).
      - A host on which it was skipped has no load balancer to reach.
    type: str
  converged:
    description: With V(rollout), the name of the registered variable with the result of M(tke.overlay.node).
    type: str
  hosts:
    description: The hosts whose results are evaluated; by default all hosts of the play.
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
lines:
  description: The printed lines.
  returned: success; on failure only with a callback that prints JSON, because others print the result of a failed task
  type: list
  elements: str
  sample: ["healthy: 12 of 12 pairs reachable (small, full-size of 1400 bytes and TCP)"]
"""

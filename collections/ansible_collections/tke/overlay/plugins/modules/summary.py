#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: summary
short_description: Prints the end of a playbook, from the results of all its hosts
version_added: 1.0.0
description:
  - Turns what the tasks before it have registered on all hosts of the play into a table and a few sentences, and says
    what to do next.
  - It runs on the controller and contacts no host. Run it once, on hosts that are kept in the play where they are
    unreachable (C(ignore_unreachable)).
  - The playbooks of this collection end with it. Its options follow what they need.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
attributes:
  action:
    description: Has an action plugin, by which it runs in the controller's own process.
    support: full
  platform:
    description: Where it runs.
    support: full
    platforms: the controller
options:
  of:
    description:
      - Which playbook it is the end of.
      - With V(verify) it fails where the nodes do not all reach each other. With V(rollout), the end of one batch, it
        fails where those of the batch do not reach whom they asked, or one of them failed.
      - With V(site) it fails where a node does not reach the load balancer.
    type: str
    choices: [verify, rollout, status, site, preflight]
    required: true
  plan:
    description: The result of M(tke.overlay.plan).
    type: dict
    required: true
  results:
    description:
      - The name of the variable in which each host's result is registered - of M(tke.overlay.probe) for V(verify) and
        V(rollout), of M(tke.overlay.overlay_info) for V(status), of M(tke.overlay.node) for V(site).
    type: str
  answering:
    description:
      - With V(verify) and V(rollout), the name of the variable with the result of O(tke.overlay.probe#module:answer).
    type: str
  endpoint:
    description:
      - With V(verify) and V(site), the name of the variable with the result of M(tke.overlay.api_endpoint).
      - Hosts on which it was skipped have no load balancer to reach.
    type: str
  converged:
    description: With V(rollout), the name of the variable with the result of M(tke.overlay.node).
    type: str
  hosts:
    description: The hosts whose results count; by default all of the play.
    type: list
    elements: str
seealso:
  - module: tke.overlay.probe
  - module: tke.overlay.overlay_info
"""

EXAMPLES = r"""
- name: Say what was done
  tke.overlay.summary:
    of: site
    plan: "{{ plan_result }}"
    results: node_result
  run_once: true
"""

RETURN = r"""
lines:
  description: What was printed.
  returned: success; on failure only with a callback that prints JSON, as others print the result of a failed task
  type: list
  elements: str
  sample: ["whole: 12 of 12 pairs, small, full (1400 bytes) and TCP; worst round trip 0.8 ms cloud1 -> idc2"]
"""

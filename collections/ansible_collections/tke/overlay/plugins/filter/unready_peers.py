# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: unready_peers
short_description: Select the peers that cannot be expected to answer a host during a roll-out
version_added: 1.0.0
description:
  - Returns the nodes of the plan that have not converged in this roll-out and lack this host in their fleet file.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: The name of the host that probes.
    type: str
    required: true
  plan:
    description: The result of M(tke.overlay.plan).
    type: dict
    required: true
  converged:
    description: The hosts that have converged in this roll-out.
    type: list
    elements: str
    required: true
  versions:
    description: Version of the fleet file to its hosts, as P(tke.overlay.fleet_versions#filter) returns it.
    type: dict
    required: true
  fleets:
    description: Version of the fleet file to its text.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show which peers are not probed
  ansible.builtin.debug:
    msg: >-
      {{ inventory_hostname
         | tke.overlay.unready_peers(plan_result, converged, versions, fleets) }}
"""

RETURN = r"""
_value:
  description: Names of nodes.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.rollout import unready_peers


class FilterModule:
    """The filter unready_peers."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"unready_peers": unready_peers}

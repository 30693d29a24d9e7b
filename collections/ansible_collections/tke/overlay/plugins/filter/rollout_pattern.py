# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: rollout_pattern
short_description: Select the hosts of a roll-out after the first ones
version_added: 1.0.0
description:
  - Returns the pattern of the hosts that do not come first, one site after the other.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: The groups of the inventory, with those of P(tke.overlay.rollout_parts#filter).
    type: dict
    required: true
  first:
    description: The hosts and groups that come first, separated by commas.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Configure the other nodes
  hosts: "{{ groups | tke.overlay.rollout_pattern('cloud') }}"
  tasks: []
"""

RETURN = r"""
_value:
  description: A pattern of hosts.
  type: str
"""

import typing as t

from ansible_collections.tke.overlay.plugins.plugin_utils._rollout import rollout_pattern


class FilterModule:
    """The filter rollout_pattern."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"rollout_pattern": rollout_pattern}

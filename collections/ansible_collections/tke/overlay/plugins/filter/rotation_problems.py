# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: rotation_problems
short_description: Find why the WireGuard keys cannot change
version_added: 1.0.0
description:
  - The keys of all nodes with WireGuard change together. Returns the problems of nodes that are not in the inventory or
    not in the run, or whose key the ledger does not have.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: The nodes with WireGuard.
    type: list
    elements: str
    required: true
  plan:
    description: The result of M(tke.overlay.plan).
    type: dict
    required: true
  nodes:
    description: The nodes of the inventory.
    type: list
    elements: str
    required: true
  playing:
    description: The hosts of the run.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show why the keys cannot change
  ansible.builtin.debug:
    msg: "{{ names | tke.overlay.rotation_problems(plan_result, groups.overlay_nodes, ansible_play_hosts_all) }}"
"""

RETURN = r"""
_value:
  description: One sentence for each problem; empty if there is none.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.keys import rotation_problems


class FilterModule:
    """The filter rotation_problems."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"rotation_problems": rotation_problems}

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: rollout_parts
short_description: Group the hosts of a roll-out by site
version_added: 1.0.0
description:
  - Returns a group for each host that does not come first in a roll-out. The groups are numbered in the order of the
    sites. Without several sites, there is no need for groups, and the list is empty.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: The sites of the result of M(tke.overlay.plan), each with the names of its nodes in one text.
    type: dict
    required: true
  hosts:
    description: The hosts of the run that do not come first.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Group the other hosts by site
  ansible.builtin.add_host:
    name: "{{ item.name }}"
    groups: "{{ item.group }}"
  loop: "{{ plan_result.sites | tke.overlay.rollout_parts(['idc1', 'branch1']) }}"
"""

RETURN = r"""
_value:
  description: Dictionaries with V(name) and V(group).
  type: list
  elements: dict
"""

import typing as t

from ansible_collections.tke.overlay.plugins.plugin_utils._rollout import rollout_parts


class FilterModule:
    """The filter rollout_parts."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"rollout_parts": rollout_parts}

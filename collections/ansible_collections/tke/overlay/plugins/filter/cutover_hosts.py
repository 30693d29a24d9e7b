# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: cutover_hosts
short_description: Select the hosts that can take a plan only together with all others
version_added: 1.0.0
description:
  - Returns the hosts whose saved state has another port than the plan, another underlay address of their own, or
    another transport of a link.
  - Such a change needs all hosts at once and cannot be rolled out site by site.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: By host, what M(tke.overlay.saved_state) returned as RV(tke.overlay.saved_state#module:saved).
    type: dict
    required: true
  plan:
    description: The result of M(tke.overlay.plan).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show the hosts that stand against a roll-out
  ansible.builtin.debug:
    msg: "{{ overlay_rollout_saved | tke.overlay.cutover_hosts(plan_result) }}"
"""

RETURN = r"""
_value:
  description: Names of hosts.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.rollout import cutover_hosts


class FilterModule:
    """The filter cutover_hosts."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"cutover_hosts": cutover_hosts}

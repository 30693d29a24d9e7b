# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: fleet_versions
short_description: Group hosts by the version of the fleet file that they have
version_added: 1.0.0
description:
  - Groups hosts by RV(tke.overlay.saved_state#module:saved.view), the hash of the fleet file of a host.
  - A host whose saved line differs from the plan is left out, because its peers do not accept it under the plan.
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
- name: Show how many versions of the fleet file there are
  ansible.builtin.debug:
    msg: "{{ overlay_rollout_saved | tke.overlay.fleet_versions(plan_result) | length }}"
"""

RETURN = r"""
_value:
  description: Version to names of hosts.
  type: dict
"""

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.rollout import fleet_versions


class FilterModule:
    """The filter fleet_versions."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"fleet_versions": fleet_versions}

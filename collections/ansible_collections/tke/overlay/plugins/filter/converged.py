# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: converged
short_description: Select the hosts that have the plan
version_added: 1.0.0
description:
  - Returns the hosts on which the module M(tke.overlay.node) ran and succeeded, as P(tke.overlay.succeeded#filter)
    does, without those that the role P(tke.overlay.node#role) lets wait for others. Such a host accepts the new plan
    as well, and still sends by the former one.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: Names of hosts.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars) of Ansible.
    type: dict
    required: true
  name:
    description: The variable in which the result is registered. The role uses C(node_result).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the hosts that have converged
  ansible.builtin.debug:
    msg: "{{ ansible_play_batch | tke.overlay.converged(hostvars, 'node_result') }}"
"""

RETURN = r"""
_value:
  description: These hosts, in the order given.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import converged


class FilterModule:
    """The filter converged."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"converged": converged}

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: succeeded
short_description: Select the hosts on which a task ran and succeeded
version_added: 1.0.0
description:
  - Returns the hosts on which a registered task ran and neither failed, was skipped nor left the host unreached.
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
    description: The name of the registered variable.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the hosts that have converged
  ansible.builtin.debug:
    msg: "{{ ansible_play_batch | tke.overlay.succeeded(hostvars, 'node_result') }}"
"""

RETURN = r"""
_value:
  description: These hosts, in the order given.
  type: list
  elements: str
"""

import typing as t

from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import succeeded


class FilterModule:
    """The filter succeeded."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"succeeded": succeeded}

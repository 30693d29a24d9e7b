# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: registered
short_description: Collect a return value that a task registered on several hosts
version_added: 1.0.0
description:
  - Returns, by host, one key of the result that a task has registered under a name.
  - Hosts that were not reached, on which the task did not run, or whose value is empty are left out.
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
  key:
    description: The key of the result.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Show the saved state of all hosts that have one
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | tke.overlay.registered(hostvars, 'overlay_saved', 'saved') }}"
"""

RETURN = r"""
_value:
  description: Host to value, in the order of the hosts.
  type: dict
"""

import typing as t

from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import registered


class FilterModule:
    """The filter registered."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"registered": registered}

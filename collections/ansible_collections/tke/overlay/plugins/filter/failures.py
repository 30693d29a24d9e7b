# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: failures
short_description: Select the hosts that are not done, with the reason
version_added: 1.0.0
description:
  - Returns the hosts for which one of the registered results failed or was unreachable.
  - For an unreachable host, the reason names the cause that the message of SSH shows, and its remedy.
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
  names:
    description: The names of the registered variables, in the order of their tasks.
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Show the hosts that are not done
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | tke.overlay.failures(hostvars, ['node_result']) }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: Host to reason.
  type: dict
"""

import typing as t

from ansible_collections.tke.overlay.plugins.plugin_utils._results import failures


class FilterModule:
    """The filter failures."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"failures": failures}

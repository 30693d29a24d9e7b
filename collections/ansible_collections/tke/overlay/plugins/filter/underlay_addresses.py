# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: underlay_addresses
short_description: Look up the underlay addresses of hosts
version_added: 1.0.0
description:
  - Returns, by host, C(overlay_underlay_ip), else C(ansible_host), else the name of the host, as the planner does.
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
  port:
    description: A port to append to each address; an IPv6 address is put into brackets then.
    type: int
"""

EXAMPLES = r"""
- name: Show the addresses of the API servers
  ansible.builtin.debug:
    msg: "{{ groups.apiserver | tke.overlay.underlay_addresses(hostvars, port=6443) }}"
"""

RETURN = r"""
_value:
  description: Host to address, in the order of the hosts.
  type: dict
"""

import typing as t

from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import underlay_addresses


class FilterModule:
    """The filter underlay_addresses."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"underlay_addresses": underlay_addresses}

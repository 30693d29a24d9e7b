# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: required_hosts
short_description: Fail where a play would run on no host
version_added: 1.0.0
description:
  - Returns the pattern, for C(hosts) of a play. Ansible skips a play without hosts and reports success; this filter
    makes that an error before anything is done.
  - It is an error if the inventory has no hosts, if the group C(overlay_nodes) is missing or empty or has names of
    groups as hosts, and if the pattern matches no host.
  - An empty pattern, and one that only leaves out hosts, is an error, because Ansible then takes all hosts. So is an
    empty C(--limit).
  - Where a playbook of this collection is run by its name or path, a C(--limit) that leaves no host of the pattern is
    an error, and so are C(--tags), C(--skip-tags) and C(--start-at-task) if they skip tasks. A playbook that imports it
    can use all of them.
  - C(--syntax-check), C(--list-hosts), C(--list-tasks) and C(--list-tags) work without hosts.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: A pattern of hosts, or a list of patterns.
    type: raw
    required: true
  groups:
    description: The variable C(groups) of Ansible.
    type: dict
    required: true
  also:
    description: A group. With C(--limit), its hosts are enough.
    type: str
    default: ""
  variable:
    description: The variable that has the pattern, for messages.
    type: str
    default: hosts
"""

EXAMPLES = r"""
- name: Do something on all nodes
  hosts: "{{ 'overlay_nodes' | tke.overlay.required_hosts(groups) }}"
  gather_facts: false
  tasks: []
"""

RETURN = r"""
_value:
  description: The pattern.
  type: raw
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._playbook import require_hosts


def required_hosts(
    pattern: t.Any, groups: t.Mapping[str, t.Sequence[str]], also: str = "", variable: str = "hosts"
) -> t.Any:
    """Return the pattern, or raise Ansible's error of a filter."""
    try:
        return require_hosts(pattern, groups, also, variable)
    except ValidationError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filter required_hosts."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"required_hosts": required_hosts}

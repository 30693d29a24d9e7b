# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: conformance_nodes
short_description: Choose the nodes that start Pods for a conformance test
version_added: 1.0.0
description:
  - Chooses the named nodes, or else the first nodes of each site in the natural order of their names, so that each run
    chooses the same ones.
  - Nodes without a node CIDR, and hosts that are not in the play, are left out.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: The hosts of the play.
    type: list
    elements: str
    required: true
  hostvars:
    description: The variable C(hostvars) of Ansible.
    type: dict
    required: true
  plan:
    description: The result of M(tke.overlay.plan).
    type: dict
    required: true
  named:
    description: Names of nodes. If it is empty, nodes of each site are chosen.
    type: list
    elements: str
    required: true
  per_site:
    description: How many nodes of each site to choose.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Show the nodes
  ansible.builtin.debug:
    msg: "{{ ansible_play_hosts_all | tke.overlay.conformance_nodes(hostvars, plan_result, [], 2) }}"
"""

RETURN = r"""
_value:
  description:
    - The nodes that start Pods (C(pods)), and the hosts of the play that are members without Pods (C(members)).
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils import _conformance


def conformance_nodes(
    playing: t.Sequence[str],
    hostvars: t.Mapping[str, t.Any],
    plan: t.Mapping[str, t.Any],
    named: t.Any,
    per_site: t.Any,
) -> dict[str, list[str]]:
    """Return the nodes, or raise Ansible's error of a filter."""
    try:
        return _conformance.conformance_nodes(playing, hostvars, plan, named, per_site)
    except ValidationError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filter conformance_nodes."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"conformance_nodes": conformance_nodes}

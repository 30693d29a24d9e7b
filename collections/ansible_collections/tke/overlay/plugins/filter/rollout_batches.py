# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: rollout_batches
short_description: Divide the sites of a roll-out into batches
version_added: 1.0.0
description:
  - Returns the C(serial) of a play whose hosts are those of P(tke.overlay.rollout_pattern#filter), so that no batch has
    hosts of two sites.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: The groups of the inventory with their hosts.
    type: dict
    required: true
  serial:
    description: The size of a batch, as in a play. A percentage is one of the site.
    type: raw
    required: true
"""

EXAMPLES = r"""
- name: Configure the other nodes
  hosts: "{{ groups | tke.overlay.rollout_pattern('cloud') }}"
  serial: "{{ groups | tke.overlay.rollout_batches('50%') }}"
  tasks: []
"""

RETURN = r"""
_value:
  description: Numbers of hosts, or the given size where there is only one site.
  type: list
  elements: raw
"""

import typing as t

from ansible_collections.tke.overlay.plugins.plugin_utils._rollout import rollout_batches


class FilterModule:
    """The filter rollout_batches."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"rollout_batches": rollout_batches}

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: too_many_failed
short_description: Decide whether a batch is a reason not to start the next one
version_added: 1.0.0
description:
  - Returns true if no host of the batch has succeeded, or if more than a percentage of its hosts has failed.
  - An unreachable host counts as not succeeded, but not as failed.
author:
  - tke.overlay contributors (@tke-overlay)
options:
  _input:
    description: The hosts of the batch.
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
  percentage:
    description: The share of hosts that may fail, from 0 to 100.
    type: float
    required: true
"""

EXAMPLES = r"""
- name: Stop before the next batch
  ansible.builtin.meta: end_play
  when: ansible_play_batch | tke.overlay.too_many_failed(hostvars, 'node_result', 20)
"""

RETURN = r"""
_value:
  description: Whether to stop.
  type: bool
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils import _results


def too_many_failed(hosts: t.Sequence[str], hostvars: t.Mapping[str, t.Any], name: str, percentage: t.Any) -> bool:
    """Return whether to stop, or raise Ansible's error of a filter."""
    try:
        return _results.too_many_failed(hosts, hostvars, name, percentage)
    except ValidationError as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filter too_many_failed."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filter by its name."""
        return {"too_many_failed": too_many_failed}

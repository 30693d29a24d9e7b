#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: vxlan
short_description: Manages one VXLAN link
version_added: 1.0.0
description:
  - Creates, changes and removes one VXLAN link with its MAC, MTU, outer source address and addresses.
  - Only given attributes are compared and changed. Learning is always off, because all peers are configured.
  - Attributes are changed in place where the kernel supports it. A new VNI or port requires a new device,
    which starts with empty tables; the module reports this in RV(recreated).
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
options:
  name:
    description: The name of the link.
    type: str
    required: true
  state:
    description: Whether the link exists. The module removes VXLAN links only.
    type: str
    choices: [present, absent]
    default: present
  vni:
    description: The VXLAN network identifier, 1 to 16777215. Required with O(state=present).
    type: int
  port:
    description: The UDP port of the tunnel, the same on all hosts.
    type: int
    default: 8472
  local:
    description:
      - The outer source address, which must be an address of this host. Required with O(state=present).
      - It is required because the choice of the kernel is wrong on hosts with several addresses.
    type: str
  dev:
    description: The underlay link. By default, routing selects it for each packet.
    type: str
  mac:
    description: The MAC of the link. It is set at creation, so that udev does not set another one.
    type: str
  mtu:
    description: The MTU of the link, in bytes.
    type: int
  addresses:
    description: The addresses of the link, with prefix. All others are removed, except IPv6 link-local addresses.
    type: list
    elements: str
seealso:
  - module: tke.overlay.node
"""

EXAMPLES = r"""
- name: Create a VXLAN link
  tke.overlay.vxlan:
    name: tke0
    vni: 1
    local: 10.0.1.11
    mac: 0a:58:0a:f4:03:00
    mtu: 1400
    addresses: [10.244.3.0/32]

- name: Remove a VXLAN link
  tke.overlay.vxlan:
    name: tke0
    state: absent
"""

RETURN = r"""
before:
  description: The attributes that differed, before the change. Empty when the link did not exist.
  returned: success
  type: dict
  sample: {mtu: "1450"}
after:
  description: The same attributes after the change. Empty when the link was removed.
  returned: success
  type: dict
  sample: {mtu: "1400"}
recreated:
  description: Why the device had to be created again, which removed its table entries.
  returned: when an existing link was created again
  type: str
  sample: vni 1 -> 2 cannot be changed in place
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    FieldLabels,
    LinkSpec,
    attributes_text,
    converge_link,
    remove_link,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run
from ansible_collections.tke.overlay.plugins.module_utils._module import Result, diff_of, run_module

ARGUMENTS = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "vni": {"type": "int"},
    "port": {"type": "int", "default": 8472},
    "local": {"type": "str"},
    "dev": {"type": "str"},
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
    "addresses": {"type": "list", "elements": "str"},
}


LABELS = FieldLabels(name="name", vni="vni", port="port", local="local", mtu="set mtu to {overlay} or less")
"""Errors name the options of this module instead of the variables of the inventory."""


def work(module: AnsibleModule, run: Run) -> Result:
    """Create, change or remove the link; return the difference."""
    params = module.params
    if params["state"] == "present":
        spec = LinkSpec(**{name: params[name] for name in LinkSpec._fields})
        change = converge_link(spec, run, module.check_mode, LABELS)
    else:
        change = remove_link(params["name"], run, module.check_mode)
    result = {"changed": bool(change), "before": change.before, "after": change.after}
    if change.recreated:
        result["recreated"] = change.recreated
    diff = Diff(f"link {params['name']}", attributes_text(change.before), attributes_text(change.after))
    return {**result, **diff_of(module, [diff] if change else [])}


def main() -> None:
    """Run the module."""
    run_module(ARGUMENTS, work, required_if=[("state", "present", ("vni", "local"))])


if __name__ == "__main__":
    main()

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
  - Only attributes that are given are compared and changed. Learning is always off, as peers are configured.
  - Everything that the kernel can change in place is changed in place. A new VNI or port needs a new device,
    which starts with empty tables; the result says so in RV(recreated).
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay.attributes
  - tke.overlay.attributes.host
options:
  name:
    description: The name of the link.
    type: str
    required: true
  state:
    description: Whether the link is there. Only a VXLAN link is ever removed.
    type: str
    choices: [present, absent]
    default: present
  vni:
    description: The VXLAN network identifier, 1 to 16777215. Required with O(state=present).
    type: int
  port:
    description: The UDP port of the tunnel, on all hosts alike.
    type: int
    default: 8472
  local:
    description:
      - The outer source address, which must be on a link of this host. Required with O(state=present).
      - It is never left to the kernel, whose choice is wrong on hosts with several addresses.
    type: str
  dev:
    description: The link to send from. By default routing decides for each packet.
    type: str
  mac:
    description: The MAC of the link. Given at creation, so that udev does not set one of its own.
    type: str
  mtu:
    description: The MTU of the link, in bytes.
    type: int
  addresses:
    description: The addresses of the link, with prefix, and no others (IPv6 link-local ones apart).
    type: list
    elements: str
seealso:
  - module: tke.overlay.node
"""

EXAMPLES = r"""
- name: One VXLAN link
  tke.overlay.vxlan:
    name: tke0
    vni: 1
    local: 10.0.1.11
    mac: 0a:58:0a:f4:03:00
    mtu: 1400
    addresses: [10.244.3.0/32]

- name: No such link
  tke.overlay.vxlan:
    name: tke0
    state: absent
"""

RETURN = r"""
before:
  description: The attributes that differed, as they were. Empty when the link was not there.
  returned: success
  type: dict
  sample: {mtu: "1450"}
after:
  description: The same attributes as they are now. Empty when the link was removed.
  returned: success
  type: dict
  sample: {mtu: "1400"}
recreated:
  description: Why the device had to be made anew, and with it lost its table entries.
  returned: when the link was there and was made anew
  type: str
  sample: vni 1 -> 2 cannot be changed on a living device
"""

from ansible.module_utils.basic import AnsibleModule

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


WORDS = FieldLabels(name="name", vni="vni", port="port", local="local", mtu="set mtu to {overlay} or less")
"""Errors name the options of this module, not the variables of the inventory."""


def work(module: AnsibleModule, run: Run) -> Result:
    """One link, and what was different about it."""
    params = module.params
    if params["state"] == "present":
        spec = LinkSpec(**{name: params[name] for name in LinkSpec._fields})
        change = converge_link(spec, run, module.check_mode, WORDS)
    else:
        change = remove_link(params["name"], run, module.check_mode)
    result = {"changed": bool(change), "before": change.before, "after": change.after}
    if change.recreated:
        result["recreated"] = change.recreated
    diff = Diff(f"link {params['name']}", attributes_text(change.before), attributes_text(change.after))
    return {**result, **diff_of(module, [diff] if change else [])}


def main() -> None:
    """Entry point."""
    run_module(ARGUMENTS, work, required_if=[("state", "present", ("vni", "local"))])


if __name__ == "__main__":
    main()

#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: fdb
short_description: Manages the FDB of a VXLAN device in bulk
version_added: 1.0.0
description:
  - Manages the permanent forwarding entries of one VXLAN device, from the MAC of a peer's VTEP to its underlay address.
  - All entries of a task are passed to the kernel in one batch, so thousands cost little more than one.
  - Learned, dynamic and static entries are foreign; they are returned as RV(foreign) and never removed.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
  - tke.overlay._bulk
options:
  device:
    description: The VXLAN device.
    type: str
    required: true
  entries:
    description: The entries.
    type: list
    elements: dict
    default: []
    suboptions:
      mac:
        description: The MAC of the peer's VTEP.
        type: str
        required: true
      dst:
        description: The numeric underlay address of the peer.
        type: str
        required: true
seealso:
  - module: tke.overlay.node
"""

EXAMPLES = r"""
- name: Set the FDB entries of exactly two peers
  tke.overlay.fdb:
    device: tke0
    purge: true
    entries:
      - {mac: "0a:58:0a:f4:01:00", dst: 10.0.1.12}
      - {mac: "0a:58:0a:f4:02:00", dst: 192.168.1.11}

- name: Remove the FDB entry of one peer
  tke.overlay.fdb:
    device: tke0
    state: absent
    entries:
      - {mac: "0a:58:0a:f4:02:00", dst: 192.168.1.11}
"""

RETURN = r"""
added:
  description: The entries that were added.
  returned: success
  type: list
  elements: str
  sample: ["0a:58:0a:f4:01:00 dst 10.0.1.12"]
changed_entries:
  description: The entries that differed, before and after.
  returned: success
  type: list
  elements: str
  sample: ["0a:58:0a:f4:02:00 dst 192.168.1.11 -> dst 192.168.1.12"]
removed:
  description: The entries that were removed.
  returned: success
  type: list
  elements: str
  sample: []
foreign:
  description: Foreign entries on the device. They are not changed.
  returned: success
  type: list
  elements: str
  sample: ["0a:58:0a:f4:09:00 dst 10.0.1.19 dynamic"]
"""

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.entries import fdb_tasks
from ansible_collections.tke.overlay.plugins.module_utils._module import run_bulk_module

ENTRY = {
    "mac": {"type": "str", "required": True},
    "dst": {"type": "str", "required": True},
}


def main() -> None:
    """Run the module."""
    run_bulk_module(ENTRY, fdb_tasks)


if __name__ == "__main__":
    main()

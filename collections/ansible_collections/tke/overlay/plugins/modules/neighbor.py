#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: neighbor
short_description: Manages permanent neighbour entries of a device in bulk
version_added: 1.0.0
description:
  - Manages the permanent neighbour entries of one device, from the VTEP address of a peer to its MAC.
  - IPv4 and IPv6 are supported.
  - All entries of a task are passed to the kernel in one batch, so thousands cost little more than one.
  - Entries of ARP and neighbour discovery are foreign; they are returned as RV(foreign) and never removed.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
  - tke.overlay._bulk
options:
  device:
    description: The device through which the peers are reached.
    type: str
    required: true
  entries:
    description: The entries.
    type: list
    elements: dict
    default: []
    suboptions:
      address:
        description: The VTEP address of the peer.
        type: str
        required: true
      mac:
        description: The MAC of the peer's VTEP.
        type: str
        required: true
seealso:
  - module: tke.overlay.node
"""

EXAMPLES = r"""
- name: Set the neighbour entries of exactly two peers
  tke.overlay.neighbor:
    device: tke0
    purge: true
    entries:
      - {address: 10.244.1.0, mac: "0a:58:0a:f4:01:00"}
      - {address: 10.244.2.0, mac: "0a:58:0a:f4:02:00"}
"""

RETURN = r"""
added:
  description: The entries that were added.
  returned: success
  type: list
  elements: str
  sample: ["10.244.1.0 lladdr 0a:58:0a:f4:01:00"]
changed_entries:
  description: The entries that differed, before and after.
  returned: success
  type: list
  elements: str
  sample: ["10.244.2.0 lladdr 0a:58:0a:f4:07:00 -> lladdr 0a:58:0a:f4:02:00"]
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
  sample: ["10.244.9.0 lladdr 0a:58:0a:f4:09:00 stale"]
"""

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.entries import neighbor_tasks
from ansible_collections.tke.overlay.plugins.module_utils._module import run_bulk_module

ENTRY = {
    "address": {"type": "str", "required": True},
    "mac": {"type": "str", "required": True},
}


def main() -> None:
    """Run the module."""
    run_bulk_module(ENTRY, neighbor_tasks)


if __name__ == "__main__":
    main()

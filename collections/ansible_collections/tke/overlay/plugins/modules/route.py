#!/usr/bin/python
# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: route
short_description: Manages routes to the node CIDRs of peers in bulk
version_added: 1.0.0
description:
  - Manages routes of the main table with the protocol number 144, for IPv4 and IPv6.
  - All entries of a task are passed to the kernel in one batch, so thousands cost little more than one.
  - Routes of any other protocol are foreign. Those on the device are returned as RV(foreign); one on another device
    with the destination of a given route is an error. Neither is ever removed.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay._attributes
  - tke.overlay._attributes.host
  - tke.overlay._bulk
options:
  device:
    description: The device that the routes lead to.
    type: str
    required: true
  entries:
    description: The entries.
    type: list
    elements: dict
    default: []
    suboptions:
      dst:
        description: The destination network, for instance the node CIDR of a peer.
        type: str
        required: true
      via:
        description:
          - The next hop, for instance the VTEP address of the peer. It does not need to be in a connected network.
          - Required unless the route is a blackhole.
        type: str
      metric:
        description: The metric. Destination and metric identify a route.
        type: int
        default: 0
      type:
        description: Whether the route forwards packets (V(unicast)) or drops them (V(blackhole)).
        type: str
        choices: [unicast, blackhole]
        default: unicast
seealso:
  - module: tke.overlay.node
"""

EXAMPLES = r"""
- name: Set the routes to two node CIDRs, and drop packets to unused addresses of the own one
  tke.overlay.route:
    device: tke0
    purge: true
    entries:
      - {dst: 10.244.1.0/24, via: 10.244.1.0}
      - {dst: 10.244.2.0/24, via: 10.244.2.0}
      - {dst: 10.244.3.0/24, type: blackhole, metric: 4096}
"""

RETURN = r"""
added:
  description: The entries that were added.
  returned: success
  type: list
  elements: str
  sample: ["10.244.1.0/24 via 10.244.1.0 dev tke0 onlink"]
changed_entries:
  description: The entries that differed, before and after.
  returned: success
  type: list
  elements: str
  sample: ["10.244.2.0/24 via 10.244.7.0 dev tke0 onlink -> via 10.244.2.0 dev tke0 onlink"]
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
  sample: ["10.9.0.0/16 dev tke0 proto static"]
"""

from ansible_collections.tke.overlay.plugins.module_utils import _import_once  # noqa: F401 # pylint: disable=unused-import
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.entries import route_tasks
from ansible_collections.tke.overlay.plugins.module_utils._module import run_bulk_module

ENTRY = {
    "dst": {"type": "str", "required": True},
    "via": {"type": "str"},
    "metric": {"type": "int", "default": 0},
    "type": {"type": "str", "choices": ["unicast", "blackhole"], "default": "unicast"},
}


def main() -> None:
    """Run the module."""
    run_bulk_module(ENTRY, route_tasks)


if __name__ == "__main__":
    main()

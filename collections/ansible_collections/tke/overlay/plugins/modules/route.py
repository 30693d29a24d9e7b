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
  - Keeps routes of the main table that carry our protocol number, 84. IPv4 and IPv6 alike.
  - All entries of a task go to the kernel in one batch, so thousands cost little more than one.
  - Routes of any other protocol belong to somebody else. Those on the device are returned as RV(foreign); one that is
    elsewhere and takes the place of a wanted route is an error. Neither is ever removed.
author:
  - tke.overlay contributors (@tke-overlay)
extends_documentation_fragment:
  - tke.overlay.attributes
  - tke.overlay.attributes.host
  - tke.overlay.bulk
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
          - The next hop, for instance the VTEP address of the peer. It need not be in a connected network.
          - Required unless the route is a blackhole.
        type: str
      metric:
        description: The metric. A route is known by destination and metric.
        type: int
        default: 0
      type:
        description: Whether the route leads somewhere (V(unicast)) or drops what it takes (V(blackhole)).
        type: str
        choices: [unicast, blackhole]
        default: unicast
seealso:
  - module: tke.overlay.node
"""

EXAMPLES = r"""
- name: Exactly these node CIDRs, and the own one closed
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
  description: The entries that were not there.
  returned: success
  type: list
  elements: str
  sample: ["10.244.1.0/24 via 10.244.1.0 dev tke0 onlink"]
changed_entries:
  description: The entries that were otherwise, before and after.
  returned: success
  type: list
  elements: str
  sample: ["10.244.2.0/24 via 10.244.7.0 dev tke0 onlink -> via 10.244.2.0 dev tke0 onlink"]
removed:
  description: The entries that were there and should not be.
  returned: success
  type: list
  elements: str
  sample: []
foreign:
  description: Entries on the device that belong to somebody else. They are left alone.
  returned: success
  type: list
  elements: str
  sample: ["10.9.0.0/16 dev tke0 proto static"]
"""

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.entries import route_jobs
from ansible_collections.tke.overlay.plugins.module_utils._module import run_bulk_module

ENTRY = {
    "dst": {"type": "str", "required": True},
    "via": {"type": "str"},
    "metric": {"type": "int", "default": 0},
    "type": {"type": "str", "choices": ["unicast", "blackhole"], "default": "unicast"},
}


def main() -> None:
    """Entry point."""
    run_bulk_module(ENTRY, route_jobs)


if __name__ == "__main__":
    main()

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attributes of the plugins of this collection."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment tke.overlay._attributes, with one sub-fragment for where a module runs."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the result that a real run would, without changing anything.
    support: full
  diff_mode:
    description: In diff mode, returns what has changed, or in C(check_mode) what would change.
    support: full
  idempotent:
    description: A second run with the same arguments changes nothing and reports no change.
    support: full
"""

    CONTROLLER = r"""
options: {}
attributes:
  action:
    description: Has a corresponding action plugin, which runs in the process of the controller.
    support: full
  platform:
    description: Where the plugin runs.
    support: full
    platforms: the controller
requirements:
  - netaddr (on the controller)
  - etcd3gw (on the controller; for a ledger in etcd only)
"""

    HOST = r"""
options: {}
attributes:
  platform:
    description: Where the plugin runs.
    support: full
    platforms: Linux
requirements:
  - iproute2 5.0 or later (5.5 on hosts with multipath routes) and nftables, on the managed host; no Python packages
"""

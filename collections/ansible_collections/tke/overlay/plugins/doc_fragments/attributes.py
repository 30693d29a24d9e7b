# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the plugins of this collection behave."""

from __future__ import annotations


class ModuleDocFragment:
    """Fragment tke.overlay.attributes, with one sub-fragment for where a module runs."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the status that a real run would, without changing anything.
    support: full
  diff_mode:
    description: Returns what has changed, or would be changed in C(check_mode), when in diff mode.
    support: full
  idempotent:
    description: A second run with the same arguments changes nothing and reports nothing changed.
    support: full
"""

    CONTROLLER = r"""
options: {}
attributes:
  action:
    description: Has an action plugin, by which it runs in the controller's own process.
    support: full
  platform:
    description: Where it runs.
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
    description: Where it runs.
    support: full
    platforms: Linux
requirements:
  - iproute2 5.0 or later (5.5 where there are multipath routes) and nftables, on the managed host; nothing from pip
"""

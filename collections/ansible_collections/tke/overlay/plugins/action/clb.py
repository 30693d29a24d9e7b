# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module clb (documented in plugins/modules/clb.py)."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.plugin_utils._host_action import HostAction


class ActionModule(HostAction):
    """Run the module on the host."""

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module probe (documented in plugins/modules/probe.py)."""

from __future__ import annotations

import typing as t

from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.tke.overlay.plugins.plugin_utils._long_arguments import omit_long_arguments


class ActionModule(NormalAction):  # type: ignore[misc]  # ansible-core is not typed
    """Run the module on the host."""

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result."""
        try:
            result: dict[str, t.Any] = super().run(tmp, task_vars)
        finally:
            omit_long_arguments(self._task)
        return result

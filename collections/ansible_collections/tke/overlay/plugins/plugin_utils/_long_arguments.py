# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the plan of the whole fleet out of what the controller remembers of each host."""

from __future__ import annotations

import typing as t

from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.tke.overlay.plugins.plugin_utils._workers import share_memory_with_workers

share_memory_with_workers()

LONG_ARGUMENTS = ("document", "sites", "skip", "unreached")
"""Arguments of modules whose length grows with the number of hosts."""

OMITTED = "(omitted)"


def omit_long_arguments(task: t.Any) -> None:
    """Shorten the arguments of a task of Ansible, after its module has run on a host.

    The process that runs a task for one host returns its arguments with the result, and the main process keeps them
    until the task has ended on all hosts: 5,000 times the plan of 5,000 hosts is more than 1 GB. A task that may run
    again keeps its arguments.
    """
    if task.until or task.retries:
        return
    task.args = {name: OMITTED if name in LONG_ARGUMENTS and value else value for name, value in task.args.items()}


class HostAction(NormalAction):  # type: ignore[misc]  # ansible-core is not typed
    """Runs a module on the host, and forgets its long arguments."""

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result."""
        try:
            result: dict[str, t.Any] = super().run(tmp, task_vars)
        finally:
            omit_long_arguments(self._task)
        return result

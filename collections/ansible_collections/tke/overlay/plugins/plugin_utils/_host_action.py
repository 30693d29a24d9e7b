# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module on a host: say why the host is not reached, and do not keep the plan of the fleet for each host."""

from __future__ import annotations

import re
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase
from ansible.plugins.action.normal import ActionModule as NormalAction

from ansible_collections.tke.overlay.plugins.plugin_utils._workers import share_memory_with_workers

share_memory_with_workers()

LONG_ARGUMENTS = ("document", "sites", "skip", "unreached")
"""Arguments of modules whose length grows with the number of hosts."""

OMITTED = "(omitted)"

_UNSENT = re.compile(r"Data could not be sent to remote host .* over (?i:ssh)(\.$|: \[Errno)")
"""What Ansible says where ssh takes no more of the module, but has not ended yet. The message of ssh is lost then."""


def omit_long_arguments(task: t.Any) -> None:
    """Shorten the arguments of a task of Ansible, after its module has run on a host.

    The process that runs a task for one host returns its arguments with the result, and the main process keeps them
    until the task has ended on all hosts: 5,000 times the plan of 5,000 hosts is more than 1 GB. A task that may run
    again keeps its arguments.
    """
    if task.until or task.retries:
        return
    task.args = {name: OMITTED if name in LONG_ARGUMENTS and value else value for name, value in task.args.items()}


class ConnectingAction(ActionBase):  # type: ignore[misc]  # ansible-core is not typed
    """An action plugin whose module can fail to reach the host. The failure has the message of ssh."""

    def _execute_module(self, *arguments: t.Any, **options: t.Any) -> dict[str, t.Any]:
        try:
            result: dict[str, t.Any] = super()._execute_module(*arguments, **options)
        except AnsibleConnectionFailure as error:
            if _UNSENT.search(str(error)):
                # This command has no input, so that Ansible waits until ssh ends, and raises with the message of ssh.
                self._connection.exec_command("true", in_data=None, sudoable=False)
            raise
        return result


class HostAction(ConnectingAction, NormalAction):  # type: ignore[misc]  # ansible-core is not typed
    """Runs a module on the host, and forgets its long arguments."""

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result."""
        try:
            result: dict[str, t.Any] = super().run(tmp, task_vars)
        finally:
            omit_long_arguments(self._task)
        return result

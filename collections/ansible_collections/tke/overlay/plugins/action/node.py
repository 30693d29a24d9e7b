# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module node (documented in plugins/modules/node.py): it confirms what the module changed.

An open connection can survive a change that prevents every new connection. The action plugin therefore closes the
connection and runs the host's own script over a new one; the script saves the change. Without that, the host rolls the
change back by itself, and the action plugin reports the outcome when the host is reachable again.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure

from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    CHANGE_STARTED,
    COMPLETE,
    CONFIRM_SECONDS,
    PENDING,
    RECORD,
    ROLLBACK_UNIT,
    rollback_summary,
)
from ansible_collections.tke.overlay.plugins.plugin_utils._host_action import ConnectingAction, omit_long_arguments

ROLL_BACK_SECONDS = 15
"""How long after the deadline a host may take to roll a change back and to be reachable again."""

NOT_PENDING = 3
"""Exit code of the script on the host: the change is not pending any more."""

PAUSE_SECONDS = 0.5
"""Between two connection attempts."""

REMEDY = (
    "Check what in the plan lies between the controller and the host (the container CIDR, the tunnel's port, "
    "a firewall), or allow more time (overlay_confirm_timeout)"
)


class ActionModule(ConnectingAction):
    """Run the module, then confirm its change."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False
    _reached = False  # whether the host has run any command of this task

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Return the module's result, or the failure to confirm its change."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        token = secrets.token_hex(8)
        arguments = {**self._task.args, "confirmation": token}
        started = time.monotonic()
        try:
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        except AnsibleConnectionFailure as error:
            if not self._confirm_timeout() or not (self._reached or CHANGE_STARTED in str(error)):
                raise  # no confirmation is needed, or the host was unreachable from the start
            result.update(self._connection_lost(token, error))
        else:
            seconds = result.pop("seconds_to_confirm", None)
            if seconds is not None:
                result.update(self._confirm(token, time.monotonic() + seconds, started))
        finally:
            omit_long_arguments(self._task)
        if result.get("failed"):
            for name in ("changes", "counts", "diff", "recreated"):  # rolled back, so not true any more
                result.pop(name, None)
        return result

    def _low_level_execute_command(self, *arguments: t.Any, **options: t.Any) -> dict[str, t.Any]:
        done: dict[str, t.Any] = super()._low_level_execute_command(*arguments, **options)
        self._reached = True
        return done

    def _confirm(self, token: str, deadline: float, started: float) -> dict[str, t.Any]:
        """Make the host save the change, over a new connection."""
        command = f"test -e {PENDING}/confirm || exit {NOT_PENDING}; sh {PENDING}/confirm {token}"
        done, fault = self._run_on_new_connection(command, deadline)
        if done is not None and done["rc"] == 0:
            return {"confirmed": True}
        if done is None:
            reason = f"the change cut the host off from the controller: every new connection failed {fault}"
        elif done["rc"] == NOT_PENDING:
            elapsed = time.monotonic() - started
            reason = f"the change cut the host off from the controller for too long: {elapsed:.0f} s"
        else:
            # On a terminal, which ssh may have requested, errors are part of the output.
            output = " ".join((done["stdout"].strip() or done["stderr"]).split())
            reason = f"the host could not save the change: {output or done['rc']}"
        return self._failure(token, deadline, reason)

    def _connection_lost(self, token: str, error: Exception) -> dict[str, t.Any]:
        """Roll the change back: the connection broke before the result came, so the change may be incomplete."""
        deadline = time.monotonic() + self._confirm_timeout()
        script = f"{PENDING}/roll-back"
        command = f"test ! -e {script} || sh {script} 'the connection to the controller broke'"
        done, _fault = self._run_on_new_connection(command, deadline)
        reason = f"the connection broke during the change ({_one_line(error)})"
        if done is not None and rollback_summary(self._record(token, 0), token) is None:
            msg = f"{reason}; no change is pending on the host, so nothing was changed. Run the playbook again"
            return {"failed": True, "changed": False, "msg": msg}
        return self._failure(token, deadline, reason)

    def _confirm_timeout(self) -> int:
        try:
            return int(self._task.args.get("confirm_timeout", CONFIRM_SECONDS))
        except (TypeError, ValueError, OverflowError):  # the module has rejected it
            return 0

    def _failure(self, token: str, deadline: float, reason: str) -> dict[str, t.Any]:
        """Return what the user reads: what happened, the present state of the host, and the remedy."""
        record = self._record(token, deadline + ROLL_BACK_SECONDS)
        summary = rollback_summary(record, token) if record else None
        complete = summary is not None and record.splitlines()[1] == COMPLETE
        outcome = summary or (
            "the host rolls the change back by itself, but was unreachable for the check: check it on its console, "
            f"for instance with journalctl -u {ROLLBACK_UNIT}.service"
        )
        return {"failed": True, "changed": False, "rolled_back": complete, "msg": f"{reason}; {outcome}. {REMEDY}"}

    def _record(self, token: str, deadline: float) -> str:
        """Return the host's record of the rollback of this change, as soon as there is one."""
        while True:
            done, _fault = self._run_on_new_connection(f"cat {RECORD}", deadline)
            # The line break after a password of sudo, or what a profile prints, comes first.
            text = str(done["stdout"]) if done is not None else ""
            text = text[max(text.find(token), 0) :].lstrip()
            if rollback_summary(text, token) is not None or time.monotonic() > deadline:
                return text
            time.sleep(PAUSE_SECONDS)

    def _run_on_new_connection(self, command: str, deadline: float) -> tuple[dict[str, t.Any] | None, str]:
        """Return the result of a command, or ``None`` and the reason; try at least once."""
        while True:
            with contextlib.suppress(AttributeError, AnsibleConnectionFailure):  # not every connection can be closed
                self._connection.reset()
            try:
                return self._low_level_execute_command(command), ""
            except AnsibleConnectionFailure as error:
                if time.monotonic() > deadline:
                    return None, f"({_one_line(error)})"
                time.sleep(PAUSE_SECONDS)


def _one_line(error: Exception) -> str:
    """Return the text of an error on one line, without the module's own notice in it."""
    return " ".join(str(error).replace(CHANGE_STARTED, "").split())

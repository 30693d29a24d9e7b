# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module node, whose documentation stands in plugins/modules/node.py: confirms what the module changed.

A connection that was open before a change can outlive it where no new one comes through. So the kept connection is
closed, and the host's own script saves the change when it is called over a new one. Whoever does not call it in time
has lost the host; the host knows that by itself, and is back at its old plan by the time that is reported here.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import typing as t

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    CHANGE_STARTED,
    CONFIRM_SECONDS,
    PENDING,
    RECORD,
    ROLLBACK_UNIT,
    rollback_summary,
)

ROLL_BACK_SECONDS = 15
"""How long a host may take to undo a change, and to be reachable again, after the time for its confirmation."""

GONE = 3
"""The exit code by which the host says that the change does not wait any more."""

PAUSE = 0.5
"""Seconds between two attempts."""

WHAT_TO_DO = (
    "Look for what in the plan lies across the way between controller and host (the container CIDR, the tunnel's port, "
    "a firewall), or give it more time (overlay_confirm_timeout)"
)


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core is not typed
    """Runs the module, then confirms its change."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False
    _answered = False  # whether the host has answered to any command of this task

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """The module's result, or the failure to confirm it."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        token = secrets.token_hex(8)
        arguments = {**self._task.args, "confirmation": token}
        begun = time.monotonic()
        try:
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars))
        except AnsibleConnectionFailure as error:
            if not self._seconds() or not (self._answered or CHANGE_STARTED in str(error)):
                raise  # nothing waits for a confirmation, or the host was not there to begin with
            result.update(self._lost(token, error))
        else:
            left = result.pop("waits", None)
            if left is not None:
                result.update(self._confirm(token, time.monotonic() + left, begun))
        if result.get("failed"):
            for name in ("changes", "counts", "diff", "recreated"):  # they are not so any more
                result.pop(name, None)
        return result

    def _low_level_execute_command(self, *arguments: t.Any, **options: t.Any) -> dict[str, t.Any]:
        done: dict[str, t.Any] = super()._low_level_execute_command(*arguments, **options)
        self._answered = True
        return done

    def _confirm(self, token: str, deadline: float, begun: float) -> dict[str, t.Any]:
        """Has the host save the change, over a new connection."""
        done, fault = self._ask(f"test -e {PENDING}/confirm || exit {GONE}; sh {PENDING}/confirm {token}", deadline)
        if done is not None and done["rc"] == 0:
            return {"confirmed": True}
        if done is None:
            what = f"the change cut the host off from its controller: no new connection came through {fault}"
            return self._failure(token, deadline, what)
        if done["rc"] == GONE:
            what = f"the change cut the host off from its controller for too long: {time.monotonic() - begun:.0f} s"
        else:
            # On a terminal, which ssh may have asked for, errors are among the output.
            words = " ".join((done["stdout"].strip() or done["stderr"]).split())
            what = f"the host could not save the change: {words or done['rc']}"
        return self._failure(token, deadline, what)

    def _lost(self, token: str, error: Exception) -> dict[str, t.Any]:
        """The connection broke, and took the result with it: the change is not known to be whole, so away with it."""
        deadline = time.monotonic() + self._seconds()
        reason = "the connection to the controller broke"
        done, _fault = self._ask(f"test ! -e {PENDING}/undo || sh {PENDING}/undo '{reason}'", deadline)
        what = f"the connection broke while the host was being changed ({_words(error)})"
        if done is not None and rollback_summary(self._record(token, 0), token) is None:
            msg = f"{what}; no change of its tables waits there, so none was made. Run it again"
            return {"failed": True, "changed": False, "msg": msg}
        return self._failure(token, deadline, what)

    def _seconds(self) -> int:
        try:
            return int(self._task.args.get("confirm_timeout", CONFIRM_SECONDS))
        except (TypeError, ValueError, OverflowError):  # the module has refused it
            return 0

    def _failure(self, token: str, deadline: float, what: str) -> dict[str, t.Any]:
        """What the user reads: what happened, how the host is now, and what to do."""
        record = self._record(token, deadline + ROLL_BACK_SECONDS)
        verdict = rollback_summary(record, token) if record else None
        whole = verdict is not None and record.splitlines()[1] == "whole"
        how = verdict or (
            "the host rolls it back by itself, but it could not be asked whether it has: look at its console, "
            f"for instance with journalctl -u {ROLLBACK_UNIT}.service"
        )
        return {"failed": True, "changed": False, "rolled_back": whole, "msg": f"{what}; {how}. {WHAT_TO_DO}"}

    def _record(self, token: str, deadline: float) -> str:
        """What the host has noted of the roll-back of this change, as soon as it is over."""
        while True:
            done, _fault = self._ask(f"cat {RECORD}", deadline)
            # Where sudo asked for a password, on a terminal, the line break after it comes first.
            text = str(done["stdout"]).lstrip() if done is not None else ""
            if rollback_summary(text, token) is not None or time.monotonic() > deadline:
                return text
            time.sleep(PAUSE)

    def _ask(self, command: str, deadline: float) -> tuple[dict[str, t.Any] | None, str]:
        """What a command answers over a new connection, or why there was none; tried at least once."""
        while True:
            with contextlib.suppress(AttributeError, AnsibleConnectionFailure):  # not every connection can be closed
                self._connection.reset()
            try:
                return self._low_level_execute_command(command), ""
            except AnsibleConnectionFailure as error:
                if time.monotonic() > deadline:
                    return None, f"({_words(error)})"
                time.sleep(PAUSE)


def _words(error: Exception) -> str:
    """An error on one line, without our own words in it."""
    return " ".join(str(error).replace(CHANGE_STARTED, "").split())

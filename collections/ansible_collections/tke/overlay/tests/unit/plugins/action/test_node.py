# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of the module node: every order in which connections break and hosts roll back."""

from __future__ import annotations

import types

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from ansible_collections.tke.overlay.plugins.action import node
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    CHANGE_STARTED,
    PENDING,
    RECORD,
)

TOKEN = "0123456789abcdef"
CHANGED = {"changed": True, "changes": {"files": []}, "diff": [], "seconds_to_confirm": 20.0}
COMPLETE = (0, f"\r\n{TOKEN}\r\ncomplete\r\nit was not confirmed\r\n")
NO_RECORD = (1, "")
UNREACHABLE = None
NO_ROUTE = "no route to the host"


class Host:
    """A host that answers commands from a table: a part of the command, until which second, and the answer or none."""

    def __init__(self, answers):
        self.answers, self.now, self.commands, self.resets = answers, 100.0, [], 0

    def sleep(self, seconds):
        self.now += seconds

    def answer(self, command):
        self.commands.append(command)
        self.now += 0.1
        for word, until, reply in self.answers:
            if word in command and self.now < 100 + until:
                if reply is None:
                    self.now += 10
                    raise AnsibleConnectionFailure(NO_ROUTE)
                return {"rc": reply[0], "stdout": reply[1], "stderr": "Shared connection to host closed."}
        raise AssertionError(f"unexpected command {command} at {self.now}")


@pytest.fixture
def act(monkeypatch):
    """Run the action with a result of the module and the answers of the host after it."""

    def acted(module, answers, **arguments):
        host = Host(answers)
        action = object.__new__(node.ActionModule)
        action._task = types.SimpleNamespace(args={"name": "idc1", **arguments}, until=[], retries=None)

        def reset():
            host.resets += 1
            raise AnsibleConnectionFailure("no connection to close")

        def execute(module_args, task_vars):
            assert module_args == {**action._task.args, "confirmation": TOKEN}
            if isinstance(module, Exception):
                raise module
            return dict(module)

        action._connection = types.SimpleNamespace(reset=reset)
        monkeypatch.setattr(action, "_execute_module", execute)
        monkeypatch.setattr(ActionBase, "run", lambda *_: {})
        monkeypatch.setattr(ActionBase, "_low_level_execute_command", host.answer)
        monkeypatch.setattr(node.secrets, "token_hex", lambda _: TOKEN)
        monkeypatch.setattr(node, "time", types.SimpleNamespace(monotonic=lambda: host.now, sleep=host.sleep))
        return action.run(None, {}), host

    return acted


@pytest.mark.parametrize(
    "module", [{"changed": False}, {"changed": True, "changes": {}}, {"failed": True, "msg": "no"}]
)
def test_does_not_contact_the_host_without_a_pending_change(act, module):
    result, host = act(module, [])
    assert result == module
    assert (host.commands, host.resets) == ([], 0)


def test_confirms_over_a_new_connection(act):
    result, host = act(CHANGED, [("confirm", 99, (0, ""))])
    assert result == {"changed": True, "changes": {"files": []}, "diff": [], "confirmed": True}
    assert host.resets == 1
    assert host.commands[0].endswith(f"{PENDING}/confirm {TOKEN}")


def test_confirms_when_the_host_is_reachable_again_in_time(act):
    result, _host = act(CHANGED, [("confirm", 9, UNREACHABLE), ("confirm", 99, (0, ""))])
    assert result["confirmed"]


def test_reports_the_rollback_if_no_connection_came_in_time(act):
    result, host = act(CHANGED, [("confirm", 99, UNREACHABLE), ("cat", 30, UNREACHABLE), ("cat", 99, COMPLETE)])
    assert result["failed"]
    assert not result["changed"]
    assert result["rolled_back"]
    assert "changes" not in result
    assert "cut the host off from the controller: every new connection failed (no route to the host)" in result["msg"]
    assert "the change was rolled back, and the host is as it was before" in result["msg"]
    assert "overlay_confirm_timeout" in result["msg"]
    assert f"cat {RECORD}" in host.commands


def test_reports_a_host_that_stays_unreachable(act):
    result, host = act(CHANGED, [("", 999, UNREACHABLE)])
    assert result["failed"]
    assert not result["rolled_back"]
    assert "was unreachable for the check: check it on its console" in result["msg"]
    assert "tke-overlay-rollback.service" in result["msg"]
    assert host.now < 100 + 20 + node.ROLL_BACK_SECONDS + 3 * 10, "it does not wait for ever"


def test_reports_a_change_that_was_already_rolled_back(act):
    result, _host = act(CHANGED, [("confirm", 99, (node.NOT_PENDING, "")), ("cat", 99, COMPLETE)])
    assert result["rolled_back"]
    assert "cut the host off from the controller for too long" in result["msg"]


def test_reports_why_the_host_could_not_save_the_change(act):
    result, _host = act(CHANGED, [("confirm", 99, (1, "cp: no space\r\n")), ("cat", 99, COMPLETE)])
    assert "the host could not save the change: cp: no space; the change was rolled back" in result["msg"]
    assert "as it was before" in result["msg"]


def test_reports_what_the_rollback_could_not_restore(act):
    left = (0, f"{TOKEN}\nroute 10.244.1.0/24: missing\nwhy\n")
    result, _host = act(CHANGED, [("confirm", 99, (node.NOT_PENDING, "")), ("cat", 99, left)])
    assert not result["rolled_back"]
    assert "the host is not as it was before: route 10.244.1.0/24: missing" in result["msg"]


def test_ignores_the_record_of_another_change(act):
    other = (0, "other\nwhole\nwhy\n")
    result, _host = act(CHANGED, [("confirm", 99, (node.NOT_PENDING, "")), ("cat", 99, other)])
    assert not result["rolled_back"]
    assert "was unreachable for the check" in result["msg"]


def test_host_unreachable_from_the_start_stays_unreachable(act):
    with pytest.raises(AnsibleConnectionFailure):
        act(AnsibleConnectionFailure(NO_ROUTE), [])


def test_broken_connection_without_confirmation_is_unreachable(act):
    with pytest.raises(AnsibleConnectionFailure):
        act(AnsibleConnectionFailure(CHANGE_STARTED), [], confirm_timeout=0)


def test_rolls_back_if_the_connection_breaks_during_the_change(act):
    broken = AnsibleConnectionFailure(f"Timeout, server not responding.\n{CHANGE_STARTED}\n")
    result, host = act(broken, [("roll-back", 12, UNREACHABLE), ("roll-back", 99, (0, "")), ("cat", 99, COMPLETE)])
    assert result["failed"]
    assert result["rolled_back"]
    assert "the connection broke during the change (Timeout, server not responding.)" in result["msg"]
    assert any(f"sh {PENDING}/roll-back" in command for command in host.commands), "the change does not stay pending"


def test_reports_a_connection_that_broke_before_the_change(act):
    broken = AnsibleConnectionFailure(f"Timeout {CHANGE_STARTED}")
    result, _host = act(broken, [("roll-back", 99, (0, "")), ("cat", 99, NO_RECORD)])
    assert result["failed"]
    assert "no change is pending on the host, so nothing was changed. Run the playbook again" in result["msg"]


def test_host_that_ran_a_command_was_reachable(act, monkeypatch):
    monkeypatch.setattr(node.ActionModule, "_reached", True)
    result, _host = act(AnsibleConnectionFailure("Timeout"), [("roll-back", 99, (0, "")), ("cat", 99, COMPLETE)])
    assert result["rolled_back"]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller says when a host does not come back, in every order of events."""

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
CHANGED = {"changed": True, "changes": {"files": []}, "diff": [], "waits": 20.0}
WHOLE = (0, f"\r\n{TOKEN}\r\nwhole\r\nnobody confirmed it\r\n")
NOTHING = (1, "")
LOST = None
NO_WAY = "no way to the host"


class Host:
    """Answers commands by a table of what begins how, until which second; without an answer it cannot be reached."""

    def __init__(self, answers):
        self.answers, self.now, self.asked, self.resets = answers, 100.0, [], 0

    def sleep(self, seconds):
        self.now += seconds

    def answer(self, command):
        self.asked.append(command)
        self.now += 0.1
        for word, until, reply in self.answers:
            if word in command and self.now < 100 + until:
                if reply is None:
                    self.now += 10
                    raise AnsibleConnectionFailure(NO_WAY)
                return {"rc": reply[0], "stdout": reply[1], "stderr": "Shared connection to host closed."}
        raise AssertionError(f"nobody expected {command} at {self.now}")


@pytest.fixture
def act(monkeypatch):
    """Runs the action with what the module does, and how the host answers afterwards."""

    def acted(module, answers, **arguments):
        host = Host(answers)
        action = object.__new__(node.ActionModule)
        action._task = types.SimpleNamespace(args={"name": "idc1", **arguments})

        def reset():
            host.resets += 1
            raise AnsibleConnectionFailure("there was none to close")

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
def test_where_nothing_waits_nobody_is_asked(act, module):
    result, host = act(module, [])
    assert result == module
    assert (host.asked, host.resets) == ([], 0)


def test_confirmed_over_a_new_connection(act):
    result, host = act(CHANGED, [("confirm", 99, (0, ""))])
    assert result == {"changed": True, "changes": {"files": []}, "diff": [], "confirmed": True}
    assert host.resets == 1
    assert host.asked[0].endswith(f"{PENDING}/confirm {TOKEN}")


def test_a_connection_that_comes_late_is_enough(act):
    result, _host = act(CHANGED, [("confirm", 9, LOST), ("confirm", 99, (0, ""))])
    assert result["confirmed"]


def test_no_connection_in_time_and_the_host_is_back(act):
    result, host = act(CHANGED, [("confirm", 99, LOST), ("cat", 30, LOST), ("cat", 99, WHOLE)])
    assert result["failed"]
    assert not result["changed"]
    assert result["rolled_back"]
    assert "changes" not in result
    assert "cut the host off from its controller: no new connection came through (no way to the host)" in result["msg"]
    assert "the change was rolled back, and the host is as it was before" in result["msg"]
    assert "overlay_confirm_timeout" in result["msg"]
    assert f"cat {RECORD}" in host.asked


def test_no_connection_at_all(act):
    result, host = act(CHANGED, [("", 999, LOST)])
    assert result["failed"]
    assert not result["rolled_back"]
    assert "could not be asked whether it has: look at its console" in result["msg"]
    assert "tke-overlay-undo.service" in result["msg"]
    assert host.now < 100 + 20 + node.ROLL_BACK_SECONDS + 3 * 10, "it does not wait for ever"


def test_the_host_was_quicker(act):
    result, _host = act(CHANGED, [("confirm", 99, (node.GONE, "")), ("cat", 99, WHOLE)])
    assert result["rolled_back"]
    assert "cut the host off from its controller for too long" in result["msg"]


def test_a_change_that_cannot_be_saved_is_told_in_the_words_of_the_host(act):
    result, _host = act(CHANGED, [("confirm", 99, (1, "cp: no space\r\n")), ("cat", 99, WHOLE)])
    assert "the host could not save the change: cp: no space; the change was rolled back" in result["msg"]
    assert "as it was before" in result["msg"]


def test_what_is_not_as_before_is_told(act):
    left = (0, f"{TOKEN}\nroute 10.244.1.0/24: missing\nwhy\n")
    result, _host = act(CHANGED, [("confirm", 99, (node.GONE, "")), ("cat", 99, left)])
    assert not result["rolled_back"]
    assert "the host is not as it was before: route 10.244.1.0/24: missing" in result["msg"]


def test_the_record_of_an_earlier_change_is_none_of_this_one(act):
    other = (0, "other\nwhole\nwhy\n")
    result, _host = act(CHANGED, [("confirm", 99, (node.GONE, "")), ("cat", 99, other)])
    assert not result["rolled_back"]
    assert "could not be asked whether it has" in result["msg"]


def test_a_host_that_was_never_there_stays_unreachable(act):
    with pytest.raises(AnsibleConnectionFailure):
        act(AnsibleConnectionFailure(NO_WAY), [])


def test_a_connection_that_breaks_with_nothing_to_confirm_is_unreachable(act):
    with pytest.raises(AnsibleConnectionFailure):
        act(AnsibleConnectionFailure(CHANGE_STARTED), [], confirm_timeout=0)


def test_a_connection_that_breaks_during_the_change_is_no_unreachable_host(act):
    broken = AnsibleConnectionFailure(f"Timeout, server not responding.\n{CHANGE_STARTED}\n")
    result, host = act(broken, [("undo", 12, LOST), ("undo", 99, (0, "")), ("cat", 99, WHOLE)])
    assert result["failed"]
    assert result["rolled_back"]
    assert "the connection broke while the host was being changed (Timeout, server not responding.)" in result["msg"]
    assert any(f"sh {PENDING}/undo" in command for command in host.asked), "it is not left waiting"


def test_a_connection_that_breaks_before_the_first_change(act):
    broken = AnsibleConnectionFailure(f"Timeout {CHANGE_STARTED}")
    result, _host = act(broken, [("undo", 99, (0, "")), ("cat", 99, NOTHING)])
    assert result["failed"]
    assert "no change of its tables waits there, so none was made. Run it again" in result["msg"]


def test_on_a_terminal_a_host_that_has_answered_once_is_known_to_have_been_there(act, monkeypatch):
    monkeypatch.setattr(node.ActionModule, "_answered", True)
    result, _host = act(AnsibleConnectionFailure("Timeout"), [("undo", 99, (0, "")), ("cat", 99, WHOLE)])
    assert result["rolled_back"]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller keeps of the arguments of a task for each host, and what it says of one it does not reach."""

from __future__ import annotations

import types

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase, normal

from ansible_collections.tke.overlay.plugins.action import api_endpoint, clb, node, overlay_info, probe, wireguard_key
from ansible_collections.tke.overlay.plugins.plugin_utils._host_action import OMITTED, omit_long_arguments

ARGUMENTS = {
    "name": "idc1",
    "document": {"fleet": "idc1 10.0.0.0/24 192.168.1.1\n"},
    "sites": {"idc": "idc1"},
    "skip": [],
}


def test_the_plan_is_omitted_and_short_arguments_stay():
    task = types.SimpleNamespace(args=ARGUMENTS, until=[], retries=None)
    omit_long_arguments(task)
    assert task.args == {"name": "idc1", "document": OMITTED, "sites": OMITTED, "skip": []}


@pytest.mark.parametrize("again", [{"until": ["result is success"]}, {"retries": 3}])
def test_a_task_that_may_run_again_keeps_its_arguments(again):
    task = types.SimpleNamespace(args=ARGUMENTS, **{"until": [], "retries": None, **again})
    omit_long_arguments(task)
    assert task.args == ARGUMENTS


@pytest.mark.parametrize("action", [api_endpoint, clb, overlay_info, probe, wireguard_key])
@pytest.mark.parametrize("fails", [False, True])
def test_actions_omit_the_plan_after_the_module(monkeypatch, action, fails):
    seen = []

    def run(module, _tmp=None, task_vars=None):
        seen.append((module, task_vars, dict(task.args)))
        if fails:
            raise ConnectionError("not reached")
        return {"changed": False}

    monkeypatch.setattr(normal.ActionModule, "run", run)
    task = types.SimpleNamespace(args=ARGUMENTS, until=[], retries=None)
    module = action.ActionModule(task, None, None, None, None, None)
    try:
        assert module.run(task_vars={"a": 1}) == {"changed": False}
    except ConnectionError:
        assert fails
    assert seen == [(module, {"a": 1}, ARGUMENTS)]
    assert task.args["document"] == OMITTED


UNSENT = (
    "Data could not be sent to remote host '10.0.2.11'. Make sure this host can be reached over SSH: [Errno 32] Broken "
    "pipe"
)
UNSENT_BEFORE_2_19 = (
    'Data could not be sent to remote host "10.0.2.11". Make sure this host can be reached over ssh: [Errno 32] Broken '
    "pipe"
)
SENT = 'Data could not be sent to remote host "10.0.2.11". Make sure this host can be reached over ssh: {}'
UNKNOWN_KEY = "Failed to connect to the host via ssh: Host key verification failed."


@pytest.mark.parametrize("action", [api_endpoint, clb, node, overlay_info, probe, wireguard_key])
@pytest.mark.parametrize(
    ("message", "asked", "raised"),
    [
        (UNSENT, UNKNOWN_KEY, UNKNOWN_KEY),
        (UNSENT_BEFORE_2_19, UNKNOWN_KEY, UNKNOWN_KEY),
        (UNSENT.replace(": [Errno 32] Broken pipe", "."), UNKNOWN_KEY, UNKNOWN_KEY),
        (UNSENT, None, UNSENT),  # it is reached now
        (SENT.format("Host key verification failed."), AssertionError, SENT.format("Host key verification failed.")),
        (SENT.format("Shared connection to 10.0.2.11 closed."), AssertionError, "Shared connection to 10.0.2.11"),
        ("Timeout (12s) waiting for privilege escalation prompt: ", AssertionError, "Timeout"),
    ],
)
def test_a_host_that_is_not_reached_says_why(monkeypatch, action, message, asked, raised):
    def answer(command, in_data, sudoable):
        assert (command, in_data, sudoable) == ("true", None, False)
        if asked is AssertionError:
            raise AssertionError("the message of ssh is known")
        if asked:
            raise AnsibleConnectionFailure(asked)
        return 0, b"", b""

    def execute(*_arguments, **_options):
        raise AnsibleConnectionFailure(message)

    monkeypatch.setattr(ActionBase, "_execute_module", execute)
    module = object.__new__(action.ActionModule)
    module._connection = types.SimpleNamespace(exec_command=answer)
    with pytest.raises(AnsibleConnectionFailure) as caught:
        module._execute_module(task_vars={})
    assert raised in str(caught.value)

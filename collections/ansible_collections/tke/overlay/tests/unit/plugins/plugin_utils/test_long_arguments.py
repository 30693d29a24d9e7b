# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller keeps of the arguments of a task for each host."""

from __future__ import annotations

import types

import pytest
from ansible.plugins.action import normal

from ansible_collections.tke.overlay.plugins.action import overlay_info, probe
from ansible_collections.tke.overlay.plugins.plugin_utils._long_arguments import OMITTED, omit_long_arguments

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


@pytest.mark.parametrize("action", [overlay_info, probe])
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

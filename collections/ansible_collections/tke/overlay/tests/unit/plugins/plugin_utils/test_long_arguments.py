# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the controller keeps of the arguments of a task for each host."""

from __future__ import annotations

import types

import pytest

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

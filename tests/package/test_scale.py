# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What would make the controller's work grow with the square of the number of hosts stays out of the playbooks."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from product import COLLECTION

TASK_FILES = [*COLLECTION.glob("playbooks/*.yml"), *COLLECTION.glob("roles/*/tasks/*.yml")]
ALL_NAMES = re.compile(r"inventory_hostname (?:not )?in (?:groups\.overlay_nodes|\S+ \| split)")


def tasks_of(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all tasks in plays, blocks and files of tasks."""
    for each in value if isinstance(value, list) else []:
        parts = [each[key] for key in ("tasks", "block", "rescue", "always") if key in each]
        if parts:
            for part in parts:
                yield from tasks_of(part)
        else:
            yield each


def runs_on_each_host(path: pathlib.Path) -> bool:
    """Whether a file of tasks has one that does not run once for all hosts."""
    for task in tasks_of(yaml.safe_load(path.read_text())):
        role, tasks = task.get("ansible.builtin.import_role"), task.get("ansible.builtin.import_tasks")
        if role or tasks:
            imported = role_file(role) if role else path.parent / tasks
            if runs_on_each_host(imported):
                return True
        elif not task.get("run_once"):
            return True
    return False


def role_file(role: dict[str, Any]) -> pathlib.Path:
    """Return the file of tasks that ``import_role`` reads."""
    name = role["name"].rpartition(".")[2]
    return COLLECTION / "roles" / name / "tasks" / f"{role.get('tasks_from', 'main')}.yml"


@pytest.mark.parametrize("name", ["preflight", "site", "verify", "status", "report"])
def test_a_role_that_runs_once_has_no_task_for_each_host(name):
    plays = yaml.safe_load((COLLECTION / f"playbooks/{name}.yml").read_text())
    roles = [task["ansible.builtin.import_role"] for task in tasks_of(plays) if "ansible.builtin.import_role" in task]
    once = [role for role in roles if not runs_on_each_host(role_file(role))]
    assert not once, "import_role ends in an implicit task for every host: import the file of its tasks"


def test_no_host_looks_itself_up_in_a_list_of_all_hosts():
    found = [
        f"{path.name}: {line.strip()}"
        for path in TASK_FILES
        for line in path.read_text().splitlines()
        if ALL_NAMES.search(line)
    ]
    assert not found, "Ansible inspects each name of such a list for each host"

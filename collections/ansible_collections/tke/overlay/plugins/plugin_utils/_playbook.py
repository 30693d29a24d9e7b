# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The hosts of a playbook of this collection: an error instead of a run that does nothing.

Ansible evaluates the hosts of a play before it selects any, whatever ``--limit``, ``--tags`` and ``--start-at-task``
are. A task could not check this: with no host, or with a tag that no task has, no task runs.
"""

from __future__ import annotations

import os
import typing as t

from ansible import context
from ansible.inventory.manager import InventoryManager, split_host_pattern
from ansible.parsing.dataloader import DataLoader

from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.inventory import (
    NODES,
    Groups,
    problem_of_pattern,
    problems_of_groups,
    problems_of_options,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

COLLECTION = "tke.overlay"
PLAYBOOKS = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../playbooks"))

INSPECTIONS = ("syntax", "listtasks", "listtags", "listhosts")
"""Options with which ansible-playbook runs nothing; they must work without an inventory."""


def require_hosts(pattern: t.Any, groups: Groups, also: str = "", variable: str = "hosts") -> t.Any:
    """Return the pattern: a text, or a list of texts.

    :param also: a group whose hosts are enough for the playbook when ``--limit`` selects no other.
    :param variable: the variable that has the pattern.
    :raises ValidationError: the inventory has no nodes, the pattern and ``--limit`` match no host, or other options
        would make Ansible skip the tasks.
    """
    if not _names_hosts(pattern):
        raise ValidationError(
            f"{variable} {shown(pattern)} names no host, and nothing was changed: name the hosts, as in "
            f"-e {variable}=idc7, or remove the variable"
        )
    options = context.CLIARGS
    if any(options.get(name) for name in INSPECTIONS):
        return pattern
    problems = problems_of_groups(groups, [str(source) for source in options.get("inventory") or ()])
    playbooks = [str(playbook) for playbook in options.get("args") or ()]
    # A playbook of a user that imports this one may have other hosts, tags and tasks, for which its options are meant.
    imported = not all(map(_is_of_collection, playbooks))
    limit = None if imported else options.get("subset")
    if not problems and (limit or pattern != NODES):
        problems += _problems_of_selection(pattern, groups, limit, also)
    if limit is not None and not split_host_pattern(limit):
        problems.append("--limit is empty, with which Ansible takes all hosts: name hosts, or remove --limit")
    if playbooks and not imported:
        chosen = (options.get("tags") or (), options.get("skip_tags") or (), options.get("start_at_task"))
        problems += problems_of_options(*chosen, playbook=" ".join(playbooks))
    if problems:
        raise ValidationError(*problems)
    return pattern


def _names_hosts(pattern: t.Any) -> bool:
    """Return whether a pattern names hosts to take. Ansible takes all hosts where it only has hosts to leave out."""
    parts = split_host_pattern(pattern) if isinstance(pattern, (str, list)) else []
    return any(not part.startswith(("!", "&")) for part in parts)


def _problems_of_selection(pattern: str, groups: Groups, limit: str | None, also: str) -> list[str]:
    wanted = f"{pattern}:{also}" if also and also in groups else pattern
    if matching(wanted, groups, limit):
        return []
    limited = limit if limit and matching(wanted, groups, None) else None
    return [problem_of_pattern(wanted, limited, groups["all"])]


def matching(pattern: str, groups: Groups, limit: str | None) -> list[str]:
    """Return the hosts that Ansible selects."""
    inventory = InventoryManager(loader=DataLoader(), sources=None, parse=False)
    for group, hosts in groups.items():
        inventory.add_group(group)
        for host in hosts:
            inventory.add_host(host, group=group)
    if limit:
        inventory.subset(limit)
    return [host.name for host in inventory.get_hosts(pattern)]


def _is_of_collection(playbook: str) -> bool:
    """Return whether a playbook of the command line is one of this collection, and not one that imports it."""
    return playbook.startswith(f"{COLLECTION}.") or os.path.dirname(os.path.realpath(playbook)) == PLAYBOOKS

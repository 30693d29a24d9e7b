# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that an inventory has nodes. Without them Ansible skips every play, and a playbook would succeed without work.

Groups are given as Ansible's variable ``groups``: name -> hosts, with those of all child groups.
"""

from __future__ import annotations

import difflib
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import KINDS
from ansible_collections.tke.overlay.plugins.module_utils._errors import some_of

Groups = t.Mapping[str, t.Sequence[str]]

NODES = "overlay_nodes"
"""The group of all nodes."""

CHILDREN = f"[{NODES}:children] in an INI file, {NODES} with 'children' in a YAML file"
"""How a group gets child groups."""

MOST = 8
"""Names in a message."""


def problems_of_groups(groups: Groups, sources: t.Sequence[str] = ()) -> list[str]:
    """Return why the inventory has no nodes; an empty list if it has.

    :param sources: the inventories of the run, as the user named them.
    """
    if not groups.get("all"):
        given = f" ({', '.join(sources)})" if sources else ""
        return [
            f"the inventory{given} has no hosts: name the right file with -i, and see the warnings of Ansible above"
        ]
    nodes = groups.get(NODES, [])
    confused = [name for name in nodes if (name in groups or name in KINDS) and name not in groups.get(name, [])]
    if confused:
        return [f"group {NODES} has {_list(confused)} as hosts, which are names of groups: write {CHILDREN}"]
    if nodes:
        return []
    state = "has no hosts" if NODES in groups else "is not in the inventory"
    return [f"group {NODES}, the group of all nodes, {state}: {_remedy(groups)}"]


def warnings_of_groups(groups: Groups, group: str = NODES) -> list[str]:
    """Return one warning about hosts that are in a site, and therefore seem to be nodes, but are none.

    A host of the pair or an API server needs to be no node.
    """
    known = {name for each in (group, "clb", "apiserver") for name in groups.get(each, [])}
    others = {kind: [name for name in groups.get(kind, []) if name not in known] for kind in KINDS}
    found = [f"{_list(names)} (group {kind})" for kind, names in others.items() if names]
    if not found:
        return []
    remedy = f"to make them nodes, make their group a child of {group}: {CHILDREN}"
    return [
        f"hosts that are not in {group}, so they are no nodes, which nothing configures: {'; '.join(found)}; {remedy}"
    ]


def problem_of_pattern(pattern: str, limit: str | None, hosts: t.Sequence[str]) -> str:
    """Return the error about a pattern, with ``--limit`` where one is set, that matches no host.

    :param hosts: all hosts of the inventory.
    """
    if limit:
        return (
            f"--limit {limit} leaves no host of {pattern}, on which this playbook runs: nothing would be done; "
            f"use another --limit"
        )
    return f"{pattern!r} matches no host: nothing would be done{_did_you_mean(nearest(pattern, hosts))}"


def problems_of_options(
    run_tags: t.Sequence[str], skip_tags: t.Sequence[str], start_at: str | None, playbook: str
) -> t.Iterator[str]:
    """Yield the options of ansible-playbook that would make it skip tasks of a playbook of this collection.

    :param playbook: its name in the messages.
    """
    if run_tags and not {"all", "untagged"} & set(run_tags):
        yield f"--tags {','.join(run_tags)} skips all tasks of {playbook}, which have no tags: remove --tags"
    if {"all", "untagged"} & set(skip_tags):
        yield f"--skip-tags {','.join(skip_tags)} skips all tasks of {playbook}, which have no tags: remove --skip-tags"
    if start_at:
        yield (
            f"--start-at-task {start_at!r} skips the first tasks of {playbook}, on whose results the others depend: "
            f"remove --start-at-task; a second run changes only what is not done yet"
        )


def nearest(name: str, names: t.Iterable[str]) -> str:
    """Return the name that is most similar, whatever its case and separators; an empty string if none is similar."""
    plain = {_plain(other): other for other in names}
    found = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=0.75)
    return plain[found[0]] if found else ""


def _remedy(groups: Groups) -> str:
    kinds = [name for name in KINDS if groups.get(name)]
    others = {name: hosts for name, hosts in groups.items() if hosts and name not in ("all", "ungrouped", NODES)}
    similar = nearest(NODES, [name for name in others if name not in KINDS])
    if similar:
        return f"rename group {similar} ({_hosts(groups[similar])}) to {NODES}"
    if kinds:
        return f"make {_list([_with_size(kind, groups) for kind in kinds])} its children: write {CHILDREN}"
    there = ", ".join(_with_size(name, groups) for name in list(others)[:MOST])
    more = f" and {len(others) - MOST} more" if len(others) > MOST else ""
    found = f"the inventory has the groups {there}{more}" if others else "no host of the inventory is in a group"
    return f"{found}; put the nodes into the groups {_list(KINDS)}, and these into {NODES}: write {CHILDREN}"


def _with_size(name: str, groups: Groups) -> str:
    return f"{name} ({_hosts(groups[name])})"


def _hosts(hosts: t.Sequence[str]) -> str:
    return f"{len(hosts):,} host{'s' * (len(hosts) != 1)}"


def _list(names: t.Sequence[str]) -> str:
    return " and ".join(names) if len(names) <= 2 else some_of(names, MOST)


def _did_you_mean(name: str) -> str:
    return f"; the most similar name is {name}" if name else ""


def _plain(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")

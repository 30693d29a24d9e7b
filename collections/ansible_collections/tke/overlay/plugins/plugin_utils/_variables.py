# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the variables of all hosts as a user set them, for the checks of ``_cluster.planning.variables``."""

from __future__ import annotations

import functools
import os
import pathlib
import re
import typing as t

import yaml

from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import (
    PLAYBOOK_VARIABLES,
    VariableSpec,
    VariableSurvey,
    describe_group_vars,
    problem_of_missing,
    spec_of,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import some_of
from ansible_collections.tke.overlay.plugins.module_utils._names import INVENTORY_NAME, INVENTORY_NAME_RULE, shown
from ansible_collections.tke.overlay.plugins.plugin_utils._host_variables import plain, variables_of

COLLECTION = pathlib.Path(__file__).parents[2]
PREFIX = "overlay_"
NODES = "overlay_nodes"

GROUPS = (NODES, "cloud", "idc", "clb", "apiserver")
"""The groups whose hosts get something, or whose names and addresses are written to hosts."""

MOST_FILES = 8

_FACT = re.compile(r"\bansible_(?!(?:host|user|port|connection|password|collections)\b|ssh_|become|play_|inventory_)\w")
"""A fact, in a template or in the error about it; not a variable of the connection or of the play."""


@functools.cache
def specs() -> dict[str, VariableSpec]:
    """Return the specifications of all variables of a user, from the roles and the playbooks."""
    found = dict(PLAYBOOK_VARIABLES)
    for path in sorted(COLLECTION.glob("roles/*/meta/argument_specs.yml")):
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values()
        for name, option in (each for entry in entries for each in (entry.get("options") or {}).items()):
            if name.startswith(PREFIX):
                found[name] = _richer(found.get(name), spec_of(option))
    return found


def _richer(one: VariableSpec | None, other: VariableSpec) -> VariableSpec:
    """Return the specification with more keys: a role describes only what it uses of a variable.

    What one role requires is required.
    """
    if one is None:
        return other
    richer = one if len(one.options) >= len(other.options) else other
    return richer._replace(required=one.required or other.required)


@functools.cache
def known_names() -> frozenset[str]:
    """Return every variable that a role or a playbook reads, registers or sets, and that users therefore can meet."""
    paths = [*COLLECTION.glob("playbooks/*.yml"), *COLLECTION.glob("roles/*/tasks/*.yml")]
    words = {word for path in paths for word in re.findall(r"\boverlay_\w+", path.read_text(encoding="utf-8"))}
    return frozenset(words - {NODES} | specs().keys())


class HostVariables:
    """The variables of one host. Reading them is slow, so it happens once for each host."""

    def __init__(self, hostvars: t.Any, host: str) -> None:
        self.mapping = variables_of(hostvars, host)
        self._raw = functools.partial(getattr(hostvars, "raw_get", hostvars.get), host)

    def raw(self, name: str) -> t.Any:
        """Return a value before its template is evaluated."""
        return self._raw().get(name)


def survey_host(found: VariableSurvey, host: str, variables: HostVariables) -> None:
    """Add the variables of one host to the survey."""
    found.host(host)
    for name in [each for each in variables.mapping if str(each).startswith(PREFIX)]:
        if name in found.specs:
            value = evaluated(found, variables, name)
            if value is not FAILED:
                found.value(name, value)
        elif name not in found.known:
            found.unknown(name)


FAILED = object()
"""The value of a variable that cannot be evaluated."""


def evaluated(found: VariableSurvey, variables: HostVariables, name: str) -> t.Any:
    """Return the value of a variable; :data:`FAILED` after a note in the survey if it cannot be evaluated."""
    try:
        value = plain(variables.mapping.get(name))
    except Exception as error:  # a template can raise anything; ansible-core 2.18 wraps only some of it
        reason = " ".join(str(error).split())
    else:
        # ansible-core 2.18 returns a template with an undefined variable as it is.
        if not (isinstance(value, str) and "{{" in value and value == variables.raw(name)):
            return value
        reason = f"{shown(value)} has an undefined variable"
    found.failure(name, reason, gathered=_FACT.search(f"{reason} {variables.raw(name)}") is not None)
    return FAILED


def problem_of_missing_variables(names: t.Sequence[str], group: str, task_vars: t.Mapping[str, t.Any]) -> str:
    """Return the problem of required variables that no host has, with the files that Ansible looked for them in."""
    hosts = task_vars["groups"].get(group) or ["localhost"]
    place = str(task_vars["hostvars"][hosts[0]].get("inventory_dir") or task_vars.get("inventory_dir") or ".")
    try:
        entries = os.listdir(os.path.join(place, "group_vars"))
    except OSError:
        entries = []
    described = describe_group_vars(entries, task_vars["groups"])
    return problem_of_missing(names, group, place, some_of(described, MOST_FILES, "; "))


def problems_of_names(group: str, groups: t.Mapping[str, t.Sequence[str]]) -> list[str]:
    """Return a problem for each host with an invalid name, except the nodes: the planner checks their names.

    :param group: the group of the nodes.
    :param groups: the hosts by group.
    """
    nodes, where = set(groups.get(group, [])), dict[str, list[str]]()
    for each in GROUPS:
        for name in groups.get(each, []):
            if name not in nodes and not INVENTORY_NAME.fullmatch(str(name)):
                where.setdefault(str(name), []).append(each)
    return [f"host {shown(name)} (group {', '.join(found)}): {INVENTORY_NAME_RULE}" for name, found in where.items()]

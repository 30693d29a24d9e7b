# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Who may do what: the roles and bindings of RBAC, as an API server evaluates them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Json = dict[str, Any]

MASTERS = "system:masters"
"""The group that may do everything, without a role."""


class User(NamedTuple):
    """Who sends a request."""

    name: str
    groups: Sequence[str] = ()


class Request(NamedTuple):
    """What a request does. ``resource`` has its subresource, as in ``nodes/status``."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def is_allowed(objects: Sequence[Json], user: User, request: Request) -> bool:
    """Whether the roles and bindings among the objects allow a request."""
    if MASTERS in user.groups:
        return True
    return any(_rule_allows(rule, request) for rule in _rules(objects, user, request.namespace))


def _rules(objects: Sequence[Json], user: User, namespace: str) -> Iterator[Json]:
    roles = {(each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): each for each in objects}
    for binding in objects:
        here = binding["metadata"].get("namespace", "")
        is_binding = binding["kind"] == "ClusterRoleBinding" or (
            binding["kind"] == "RoleBinding" and here == namespace != ""
        )
        if is_binding and any(_is_subject(subject, user) for subject in binding.get("subjects") or []):
            reference = binding["roleRef"]
            scope = here if reference["kind"] == "Role" else ""
            yield from roles.get((reference["kind"], scope, reference["name"]), {}).get("rules") or []


def _is_subject(subject: Mapping[str, str], user: User) -> bool:
    if subject["kind"] == "User":
        return subject["name"] == user.name
    return subject["kind"] == "Group" and subject["name"] in user.groups


def _rule_allows(rule: Json, request: Request) -> bool:
    """Whether one rule allows a request. A rule with names allows neither a list nor a creation, which have none."""
    names = rule.get("resourceNames") or []
    return (
        bool({request.verb, "*"} & set(rule["verbs"]))
        and bool({request.group, "*"} & set(rule.get("apiGroups") or []))
        and bool({request.resource, "*"} & set(rule.get("resources") or []))
        and (not names or request.name in names)
    )


def refusal(user: User, request: Request) -> str:
    """Return the message of a server that forbids a request."""
    name = f' "{request.name}"' if request.name else ""
    where = f'in the namespace "{request.namespace}"' if request.namespace else "at the cluster scope"
    plural = request.resource.partition("/")[0]
    group = f".{request.group}" if request.group else ""
    return (
        f'{plural}{group}{name} is forbidden: User "{user.name}" cannot {request.verb} resource "{request.resource}" '
        f'in API group "{request.group}" {where}'
    )

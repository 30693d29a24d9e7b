# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance test on the controller: who takes part, and what the tasks of the playbook have registered."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.conformance import (
    HostConformance,
    PathOutcome,
    choose_nodes,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._host_variables import variables_of
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import Variables, failure_of

FALSE = ("false", "no", "off", "0", "n", "f")
"""Texts that Ansible takes for false."""


def has_pods(variables: Variables) -> bool:
    """Return whether a node has Pods at all."""
    value = variables.get("overlay_pods", True)
    return value.strip().lower() not in FALSE if isinstance(value, str) else bool(value)


def conformance_nodes(
    playing: t.Sequence[str], hostvars: t.Mapping[str, Variables], plan: Variables, named: t.Any, per_site: t.Any
) -> dict[str, list[str]]:
    """Return the nodes that start Pods (``pods``), and the members of the run that have none (``members``).

    :raises ValidationError: see ``choose_nodes``.
    """
    nodes = {
        site: [name for name in names.split() if name not in plan["fresh"]] for site, names in plan["sites"].items()
    }
    sites = {site: [name for name in names if has_pods(variables_of(hostvars, name))] for site, names in nodes.items()}
    members = [
        name
        for names in nodes.values()
        for name in names
        if name in playing and not has_pods(variables_of(hostvars, name))
    ]
    names = [name.strip() for name in named.split(",")] if isinstance(named, str) else list(named)
    try:
        most = int(per_site)
    except (TypeError, ValueError):
        raise ValidationError(f"overlay_conformance_per_site is {per_site!r}: set a number from 1 to 1000") from None
    return {"pods": choose_nodes(sites, set(playing), [name for name in names if name], most), "members": members}


class Registered(t.NamedTuple):
    """What the three tasks of the playbook have registered on a host."""

    started: Variables
    probed: Variables
    removed: Variables


def outcome_of(registered: Registered) -> HostConformance | None:
    """Return the outcome of a host; ``None`` if it did not take part."""
    started, probed, removed = registered
    results = [each for each in registered if each and not each.get("skipped")]
    if not results:
        return None
    unreached = next((each for each in results if each.get("unreachable")), None)
    if unreached is not None and "paths" not in probed:
        return HostConformance(reached=False, connection=str(unreached.get("msg", "")))
    failures = {
        "could not start Pods": failure_of(started, "peer"),
        "could not ask the paths": failure_of(probed, "paths"),
        "could not remove the Pods": failure_of(removed, "removed"),
    }
    return HostConformance(
        errors=[f"{what}: {error}" for what, error in failures.items() if error],
        faults=started.get("faults", ()),
        reason=started.get("reason", ""),
        planned=started.get("planned", ""),
        paths=[PathOutcome(**each) for each in probed.get("paths", ())],
        pods=probed.get("pods", ()),
    )

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module plan; its documentation stands in plugins/modules/plan.py."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Refusal
from ansible_collections.tke.overlay.plugins.module_utils._cluster import plan as planner
from ansible_collections.tke.overlay.plugins.module_utils._cluster.departure import Leaving, release
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import Ledger, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.preflight import SITES, Node
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import (
    CLUSTER_OPTIONS,
    LedgerAction,
    facts_of,
    settings_of,
)

HOST_VARIABLES = {
    "underlay_ip": "overlay_underlay_ip",
    "underlay_mtu": "overlay_underlay_mtu",
    "pod_cidr": "overlay_pod_cidr",
}
DEFAULT_UNDERLAY_MTU = 1500

CLUSTER_VARIABLES = tuple(
    f"overlay_{name}"
    for name in (
        *("cluster", "container_cidr", "max_pods_per_node", "max_services", "networks", "reserved", "clb_subnet"),
        *("require_idc", "device", "vni", "port", "bridge", "ledger"),
    )
)
"""What role plan passes to the planner: it must be the same for every host."""


class ActionModule(LedgerAction):
    """Plans the whole overlay in one pass over the inventory."""

    options: t.ClassVar[dict[str, t.Any]] = {
        **CLUSTER_OPTIONS,
        "device": {"type": "str", "default": "tke0"},
        "vni": {"type": "int", "default": 1},
        "port": {"type": "int", "default": 8472},
        "bridge": {"type": "str", "default": "tke-br0"},
        "clb_subnet": {"type": "str"},
        "require_idc": {"type": "bool", "default": False},
        "group": {"type": "str", "default": "overlay_nodes"},
        "release": {"type": "list", "elements": "str"},
        "release_force": {"type": "bool", "default": False},
    }

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Reads the inventory, checks it, assigns what is missing, and plans."""
        settings, nodes = settings_of(given), inventory_nodes(given["group"], task_vars)
        before: dict[str, t.Any] = {}
        released: dict[str, str] = {}

        def change(text: str | None, where: str, now: str) -> Ledger:
            before.clear()  # a store may ask again, with another text
            released.clear()
            before.update(parse(text, where, settings.cluster).nodes if text is not None else {})
            if given["release"] is None:
                return planner.assign(settings, nodes, text, where, now)
            leaving = Leaving(given["release"], task_vars["groups"], given["release_force"])
            ledger, segments = release(settings, nodes, text, where, now, leaving)
            released.update(segments)
            return ledger

        ledger, result = self.change_ledger(given["ledger"], change)
        if given["release"] is not None:  # as if they were not in the inventory
            nodes = [node for node in nodes if node.name in ledger.nodes]
        plan = planner.plan(settings, nodes, ledger)
        return {
            **result,
            **facts_of(ledger),
            "document": {key: value for key, value in plan.document.items() if key != "node"},
            "forecast": plan.forecast,
            "fresh": sorted(ledger.nodes.keys() - before),
            "orphans": plan.orphans,
            "released": released,
            "sites": _names_by_site(nodes),
            "vips": dict(ledger.vips),
            "warnings": plan.warnings,
        }


def _names_by_site(nodes: t.Sequence[Node]) -> dict[str, str]:
    """The names of each site in one string: see :class:`NodeDocument` for what a list would cost."""
    return {site: " ".join(node.name for node in nodes if site in (node.sites or ())) for site in SITES}


def inventory_nodes(group: str, task_vars: dict[str, t.Any]) -> list[Node]:
    """The hosts of the group, in the order of the inventory, each visited once.

    :raises Refusal: the group is empty, a variable cannot be evaluated, or hosts differ in one of the cluster.
    """
    groups, hostvars = task_vars["groups"], task_vars["hostvars"]
    if not groups.get(group):
        raise Refusal(f"inventory group {group!r} has no hosts: put the nodes into its children 'cloud' and 'idc'")
    members = {site: set(groups.get(site, [])) for site in SITES}
    nodes, problems = [], []
    values: dict[str, dict[str, str]] = {variable: {} for variable in CLUSTER_VARIABLES}  # text -> a host that has it
    for name in groups[group]:
        try:
            variables, sites = hostvars[name], [site for site in SITES if name in members[site]]
            nodes.append(Node(name=name, sites=sites, **_variables(name, variables)))
            for variable in CLUSTER_VARIABLES:
                values[variable].setdefault(_as_text(variables.get(variable, _default(variable, variables))), name)
        except Exception as error:  # a template can raise anything; ansible-core 2.18 wraps only some of it
            problems.append(f"node {name}: a variable cannot be evaluated: {error}")
    problems += _problems_of_several_values(values)
    if problems:
        raise Refusal(*problems)
    return nodes


def _default(variable: str, variables: t.Mapping[str, t.Any]) -> t.Any:
    """What role plan takes where a host has no value. Only that of the ledger depends on the host."""
    return f"{variables.get('inventory_dir')}/overlay-ledger.json" if variable == "overlay_ledger" else None


def _as_text(value: t.Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _problems_of_several_values(values: t.Mapping[str, t.Mapping[str, str]]) -> t.Iterator[str]:
    """A run takes cluster-wide variables from the first of its hosts, so another --limit would plan another cluster."""
    for variable, found in values.items():
        if len(found) > 1:
            each = ", ".join(f"{text} for {name}" for text, name in found.items())
            yield (
                f"{variable} is one for the whole cluster, but it is {each}: "
                f"set it in one place, for instance in the group_vars of overlay_nodes"
            )


def _variables(name: str, variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    values = {field: variables.get(variable) for field, variable in HOST_VARIABLES.items()}
    if values["underlay_ip"] is None:
        values["underlay_ip"] = variables.get("ansible_host", name)
    if values["underlay_mtu"] is None:
        values["underlay_mtu"] = DEFAULT_UNDERLAY_MTU
    return values

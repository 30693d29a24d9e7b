# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module plan; its documentation stands in plugins/modules/plan.py."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleError

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Refusal
from ansible_collections.tke.overlay.plugins.module_utils._cluster import plan as planner
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import Ledger
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
    }

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Reads the inventory, checks it, assigns what is missing, and plans."""
        settings, nodes = settings_of(given), _nodes(given["group"], task_vars)

        def change(text: str | None, where: str, now: str) -> Ledger:
            return planner.assign(settings, nodes, text, where, now)

        ledger, result = self.change_ledger(given["ledger"], change)
        plan = planner.plan(settings, nodes, ledger)
        return {
            **result,
            **facts_of(ledger),
            "document": {key: value for key, value in plan.document.items() if key != "node"},
            "forecast": plan.forecast,
            "orphans": plan.orphans,
            "warnings": plan.warnings,
        }


def _nodes(group: str, task_vars: dict[str, t.Any]) -> list[Node]:
    """The hosts of the group, in the order of the inventory, each visited once.

    :raises Refusal: the group is empty, or a variable cannot be templated.
    """
    groups, hostvars = task_vars["groups"], task_vars["hostvars"]
    if not groups.get(group):
        raise Refusal(f"inventory group {group!r} has no hosts: put the nodes into its children 'cloud' and 'idc'")
    members = {site: set(groups.get(site, [])) for site in SITES}
    nodes, problems = [], []
    for name in groups[group]:
        try:
            sites = [site for site in SITES if name in members[site]]
            nodes.append(Node(name=name, sites=sites, **_variables(name, hostvars[name])))
        except AnsibleError as error:
            problems.append(f"node {name}: a variable cannot be evaluated: {error}")
    if problems:
        raise Refusal(*problems)
    return nodes


def _variables(name: str, variables: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    values = {field: variables.get(variable) for field, variable in HOST_VARIABLES.items()}
    if values["underlay_ip"] is None:
        values["underlay_ip"] = variables.get("ansible_host", name)
    if values["underlay_mtu"] is None:
        values["underlay_mtu"] = DEFAULT_UNDERLAY_MTU
    return values

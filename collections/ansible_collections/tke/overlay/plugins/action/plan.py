# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module plan; its documentation is in plugins/modules/plan.py."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import ApiError, connect
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import Matches, match
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import open_store
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import keys, links
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import plan as planner
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.adopt import KUBERNETES
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.release import ReleaseRequest, release
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.saved_plans import (
    SavedPlans,
    accept_older,
    check,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    KINDS,
    ClusterSettings,
    InventoryNode,
    problems_of_cluster,
    problems_of_nodes,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import (
    VariableSurvey,
    problems_of_api_name,
    problems_of_route,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._links import ENCAPSULATION, VXLAN, WIREGUARD_PORT
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import Inventory, node_host, read_inventory
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import (
    CLUSTER_OPTIONS,
    LedgerAction,
    facts_of,
    notice_of_new,
    now,
    problems_of_store,
    settings_of,
)
from ansible_collections.tke.overlay.plugins.plugin_utils._variables import problem_of_missing_variables
from ansible_collections.tke.overlay.plugins.plugin_utils._workers import share_memory_with_workers

share_memory_with_workers()

LINK_OPTIONS: dict[str, t.Any] = {
    "sites": {"type": "list", "elements": "str", "required": True},
    "transport": {"type": "str", "choices": list(ENCAPSULATION), "default": VXLAN},
    "mtu": {"type": "int"},
}
"""The keys of an item of ``overlay_links``."""


class ActionModule(LedgerAction):
    """Plans the overlay in one pass over the inventory."""

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
        "saved": {"type": "dict", "default": {}},
        "saved_clb": {"type": "dict", "default": {}},
        "renumber": {"type": "list", "elements": "str", "default": []},
        "take_over": {"type": "list", "elements": "str", "default": []},
        "older_ledger": {"type": "str"},
        "require_writable": {"type": "bool", "default": False},
        "links": {"type": "list", "elements": "dict", "options": LINK_OPTIONS},
        "wireguard_port": {"type": "int", "default": WIREGUARD_PORT},
        "wireguard_keys": {"type": "dict", "default": {}},
        "wireguard_rotation": {"type": "str", "choices": list(keys.STEPS)},
        "adopt": {"type": "str", "choices": [KUBERNETES]},
        "kubeconfig": {"type": "path"},
        "kubeconfig_context": {"type": "str"},
    }
    variables: t.ClassVar[dict[str, str]] = {
        **{name: f"overlay_{name}" for name in options},
        "release": "overlay_leaving",
        "require_writable": "overlay_ledger_writable",
        **{name: name for name in ("group", "saved", "saved_clb", "wireguard_keys", "wireguard_rotation")},
    }
    inventory = Inventory([], VariableSurvey({}, ()), [])  # until arguments() has read it

    def warnings(self, task_vars: dict[str, t.Any]) -> list[str]:
        """Return warnings about variables that the collection does not know, and about hosts that are no nodes."""
        return [*self.inventory.survey.warnings(task_vars["groups"]), *self.inventory.warnings]

    def arguments(self, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Read the inventory, and return the validated arguments.

        :raises ValidationError: names the problems of all variables and all nodes.
        """
        group = str(self._task.args.get("group") or self.options["group"]["default"])
        self.inventory = read_inventory(group, task_vars)
        survey, invalid = self.inventory.survey, self.invalid_arguments()
        problems = list(self.inventory.problems)
        for option, found in invalid.items():
            problems += found if self.variables[option] not in survey.invalid else []
        missing = [self.variables[option] for option in self.missing_arguments()]
        missing = [variable for variable in missing if variable not in survey.given]
        if missing:
            problems.append(problem_of_missing_variables(missing, group, task_vars))
        if "cluster" in self._task.args:
            problems += problems_of_api_name(str(self._task.args["cluster"]), survey.given)
        problems += problems_of_route(survey.given)
        if not problems:
            return super().arguments(task_vars)
        usable = {
            option: value
            for option, value in self._task.args.items()
            if option not in invalid and self.variables.get(option) not in survey.invalid
        }
        raise ValidationError(*problems, *self._further_problems(usable))

    def _further_problems(self, usable: t.Mapping[str, t.Any]) -> list[str]:
        """Return what the planner finds beside invalid variables, so that a user sees all problems at once."""
        known = all(usable.get(name) is not None for name in ("ledger", "cluster", "container_cidr"))
        placeholders = {} if known else {"ledger": "-", "cluster": "-", "container_cidr": []}
        given = ArgumentSpecValidator(self.options).validate({**usable, **placeholders}).validated_parameters
        settings, nodes = settings_of(given), self.inventory.nodes
        if not known or given["release"] is not None:
            return [*problems_of_cluster(settings), *problems_of_nodes(nodes, settings)]
        problems: list[str] = []
        try:
            store = open_store(given["ledger"])
            problems += problems_of_store(store) if given["require_writable"] else []
            planner.assign(settings, nodes, store.read(), store.where, now())
        except ValidationError as error:
            return [*error.problems, *problems]
        return problems

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Check the inventory, assign missing node CIDRs or release nodes, and return the plan."""
        nodes = self.inventory.nodes
        found_nodes, notes = self._node_objects(given, task_vars)
        settings = settings_of(given)._replace(adopted=found_nodes)
        before: dict[str, t.Any] = {}
        released: dict[str, str] = {}
        former: list[Ledger | None] = []
        found = _saved_plans(given)

        def change(text: str | None, where: str, now: str) -> Ledger:
            before.clear()  # a store may call this again with another text
            released.clear()
            present = parse(text, where, settings.cluster) if text is not None else None
            before.update(present.nodes if present else {})
            if given["wireguard_rotation"] is not None:
                ledger = planner.assign(settings._replace(wireguard_keys={}), nodes, text, where, now)
                keys.rotate(given["wireguard_rotation"], settings, nodes, ledger)
            elif given["release"] is None:
                ledger = planner.assign(settings, nodes, text, where, now)
            else:
                request = _release_request(given, task_vars, now)
                ledger, node_cidrs = release(settings, nodes, text, where, request)
                released.update(node_cidrs)
            check(ledger, found, where, is_new=text is None)
            accept_older(ledger, found)
            former[:] = [present]
            return ledger

        ledger, result = self.change_ledger(given["ledger"], change, found, given["require_writable"])
        (present,) = former
        new_ledger = "" if present else notice_of_new(open_store(given["ledger"]), settings.cluster)
        if given["release"] is not None:  # released nodes do not count as inventory nodes
            nodes = [node for node in nodes if node.name in ledger.nodes]
        plan = planner.plan(settings, nodes, ledger)
        return {
            **result,
            **facts_of(ledger),
            "applied": ledger.applied,
            "document": {key: value for key, value in plan.document.items() if key != "node"},
            "forecast": plan.forecast,
            "new_ledger": new_ledger,
            "fresh": sorted(ledger.nodes.keys() - before),
            "given": sorted(self.inventory.survey.given),
            "adopted": _adopted(found_nodes, ledger, before),
            "orphans": plan.orphans,
            "released": released,
            "sites": _names_by_site(nodes),
            "vips": dict(ledger.vips),
            **_links_of(settings, ledger),
            "warnings": [
                *filter(None, [new_ledger]),
                *notes,
                *self.warnings(task_vars),
                *planner.notices(present, ledger),
                *plan.warnings,
            ],
            "writable": given["require_writable"] or not self._task.check_mode,
        }

    def _node_objects(
        self, given: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any]
    ) -> tuple[Matches | None, list[str]]:
        """Return the Node objects of the cluster that is adopted, and warnings; nothing without an adoption.

        A playbook that only reads does not need them: it continues with a warning.

        :raises ValidationError: they cannot be read, or do not match the hosts.
        """
        if given["adopt"] is None or given["release"] is not None:
            return None, []
        if given["kubeconfig"] is None:
            raise ValidationError(
                "overlay_adopt is set, and overlay_kubeconfig is not: set it to a file on the controller"
            )
        hosts = [
            node_host(node.name, str(node.underlay_ip or ""), task_vars["hostvars"]) for node in self.inventory.nodes
        ]
        try:
            return match(hosts, connect(given["kubeconfig"], given["kubeconfig_context"]).nodes()), []
        except ApiError as error:
            if given["require_writable"] or not self._task.check_mode:
                raise
            return None, [f"the podCIDRs were not read (overlay_adopt): {problem}" for problem in error.problems]


def _saved_plans(given: t.Mapping[str, t.Any]) -> SavedPlans:
    records = {host: record for host, record in given["saved"].items() if record}
    return SavedPlans(records, given["renumber"], given["take_over"], given["saved_clb"], given["older_ledger"] or "")


def _adopted(found: Matches | None, ledger: Ledger, before: t.Container[str]) -> dict[str, str]:
    """Return the podCIDRs that this run enters into the ledger, by host."""
    hosts = found.nodes if found is not None else ()
    return {
        host: held.node_cidr
        for host, held in sorted(ledger.nodes.items())
        if host in hosts and host not in before and found and held.node_cidr in found.nodes[host].pod_cidrs
    }


def _release_request(given: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any], now: str) -> ReleaseRequest:
    groups, played = task_vars["groups"], task_vars.get("ansible_play_hosts_all", [])
    names = {name.strip() for name in given["release"]}
    # With --limit, the run does not reach the other hosts of the inventory.
    missing = names.intersection(groups[given["group"]]).difference(played) if task_vars.get("ansible_limit") else ()
    return ReleaseRequest(given["release"], groups, now, given["release_force"], sorted(missing))


def _links_of(settings: ClusterSettings, ledger: Ledger) -> dict[str, t.Any]:
    """Return what a result has only in a cluster with ``overlay_links``."""
    if settings.links is None:
        return {}
    names = links.wireguard_nodes(settings, ledger)
    wireguard = {
        "generation": ledger.wireguard_generation,
        "rotating": any(ledger.nodes[name].wireguard_next_key for name in names),
        "nodes": " ".join(names),
        "recorded": " ".join(name for name in names if ledger.nodes[name].wireguard_key),
    }
    return {"links": links.rows(settings, ledger), "wireguard": wireguard}


def _names_by_site(nodes: t.Sequence[InventoryNode]) -> dict[str, str]:
    """Return the names of each site in one string, because a list is slow (see :class:`NodeDocument`).

    The groups ``cloud`` and ``idc`` are sites, also empty ones, unless ``overlay_site`` gives other names.
    """
    members: dict[str, list[str]] = {site: [] for site in KINDS}
    for node in nodes:
        members.setdefault(node.place(), []).append(node.name)
    some = members if len(members) == len(KINDS) else {site: names for site, names in members.items() if names}
    return {site: " ".join(names) for site, names in some.items()}

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module kubernetes; its documentation is in plugins/modules/kubernetes.py."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase

from ansible_collections.tke.overlay.plugins.module_utils._addressing import parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes import record
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.api_service import Vip
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.changes import diffs
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.client import connect
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.node_record import LedgerNodes
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.nodes import (
    NodeHost,
    problems_of_node_name,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.proxy_settings import PodNetwork
from ansible_collections.tke.overlay.plugins.module_utils._cluster.kubernetes.servers import SOURCES, Endpoint
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import WAITS_FOR, node_host

PRESENT, COMPARED = "present", "compared"


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core is not typed
    """Publishes node CIDRs and the state of the network in Kubernetes. It contacts only the API server."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    options: t.ClassVar[dict[str, t.Any]] = {
        "kubeconfig": {"type": "path", "required": True},
        "context": {"type": "str"},
        "plan": {"type": "dict", "required": True},
        "recorded": {"type": "bool", "default": True},
        "results": {"type": "str"},
        "api": {"type": "dict", "options": {"name": {"type": "str"}, "vip": {"type": "str"}, "port": {"type": "int"}}},
        "service": {"type": "str", "choices": ["unmanaged", "vip"], "default": "unmanaged"},
        "service_wait": {"type": "float", "default": 12.0},
        "update": {"type": "list", "elements": "str", "choices": list(SOURCES), "default": []},
        "state": {"type": "str", "choices": [PRESENT, COMPARED], "default": PRESENT},
    }

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Compare, and publish unless the state is ``compared``; a validation error fails the task."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(argument_spec=self.options)
        try:
            result.update(self._work(given, task_vars or {}))
        except ValidationError as error:
            # Returned, not raised: ansible-core 2.18 shows a traceback for every exception of an action.
            result.update(failed=True, msg=str(error))
        return result

    def _work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        wanted = _wanted(given, task_vars)
        api = connect(given["kubeconfig"], given["context"])
        found = record.compare(api, wanted)
        changes = [] if given["state"] == COMPARED else list(found.changes)
        result: dict[str, t.Any] = {
            "changed": bool(changes),
            "server": api.address,
            "nodes": [row.to_dict() for row in found.rows],
            "servers": [{**row._asdict(), "where": row.where} for row in found.servers],
            "kube_proxy": found.proxy.to_dict() if found.proxy is not None else {},
            "service": str(wanted.service or ""),
            "service_changed": any(change.part == "service" for change in changes),
            "notes": [],
        }
        if self._task.diff and changes:
            result["diff"] = diffs(changes)
        if changes and not self._task.check_mode:
            result["notes"] = record.publish(api, changes)
            result["warnings"] = list(result["notes"])
        return result


def _wanted(given: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any]) -> record.Wanted:
    """Return what is to be published.

    :raises ValidationError: names each variable that cannot be used.
    """
    hosts = _hosts(given["plan"], task_vars)
    problems = [problem for host in hosts for problem in problems_of_node_name(host)]
    api = given["api"] or {}
    endpoint = Endpoint(api["name"], api["vip"], int(api["port"])) if api.get("vip") and api.get("name") else None
    if endpoint is None and given["service"] == "vip":
        problems.append(
            "overlay_api_service is vip, and there is no VIP of the API servers: set overlay_clb_subnet, or "
            "overlay_clb_provider and overlay_clb_vips, or remove overlay_api_service"
        )
    if endpoint is None and given["update"]:
        names = ", ".join(given["update"])
        problems.append(
            f"overlay_kubernetes_update is {names}, and there is no VIP of the API servers: set overlay_clb_subnet, or "
            f"overlay_clb_provider and overlay_clb_vips, or remove overlay_kubernetes_update"
        )
    if problems:
        raise ValidationError(*problems)
    plan = given["plan"]
    ledger = LedgerNodes(
        plan["assignments"],
        hosts,
        converged=_converged(given["results"], task_vars),
        fresh=[] if given["recorded"] else plan["fresh"],
        container_cidr=plan["document"].get("container_cidr", ()),
        underlays={name: peer.underlay for name, peer in parse_fleet(plan["document"]["fleet"]).items()},
    )
    vip = Vip(endpoint.vip, endpoint.port, given["service_wait"]) if endpoint and given["service"] == "vip" else None
    return record.Wanted(ledger, endpoint, vip, given["update"], _network(plan["document"]))


def _network(document: t.Mapping[str, t.Any]) -> PodNetwork | None:
    """Return what a Pod's traffic is on each node."""
    if "bridge" not in document:
        return None
    fleet = parse_fleet(document["fleet"])
    underlays = {name: peer.underlay for name, peer in fleet.items()}
    return PodNetwork(document["container_cidr"], document["bridge"], underlays)


def _hosts(plan: t.Mapping[str, t.Any], task_vars: t.Mapping[str, t.Any]) -> list[NodeHost]:
    """Return the nodes of the inventory, in the order of the plan, and what their variables say about Node objects."""
    fleet = parse_fleet(plan["document"]["fleet"])
    names = " ".join(plan["sites"].values()).split()
    underlays = {name: fleet[name].underlay if name in fleet else "" for name in names}
    return [node_host(name, underlay, task_vars["hostvars"]) for name, underlay in underlays.items()]


def _converged(results: str | None, task_vars: t.Mapping[str, t.Any]) -> set[str]:
    """Return the hosts that have the current plan, from the results of module node or overlay_info.

    In check mode, a host that would converge counts: the real run would publish it.
    """
    if not results:
        return set()
    found = {host: task_vars["hostvars"][host].get(results) or {} for host in task_vars["ansible_play_hosts_all"]}
    return {host for host, each in found.items() if _has_converged(each)}


def _has_converged(result: t.Mapping[str, t.Any]) -> bool:
    if any(result.get(word) for word in ("failed", "unreachable", "skipped", WAITS_FOR)):
        return False
    if "overlay" not in result:
        return "changes" in result
    overlay = result["overlay"]
    return overlay["node"] is not None and bool(overlay["plan"]["current"]) and not overlay["drift"]

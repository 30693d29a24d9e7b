# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of the module report, which is documented in plugins/modules/report.py."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger import document as ledgers
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import Store, open_store
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import KINDS
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.model import (
    LedgerVersions,
    ReportOptions,
    build,
    data_text,
    summary,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.page import page
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.reachability import ProbedHost
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._links import ENCAPSULATION
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import (
    HOST_VARIABLES,
    Variables,
    failure_of,
    results_of,
)
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import LedgerAction, good_text, now
from ansible_collections.tke.overlay.plugins.plugin_utils._prometheus import past_day
from ansible_collections.tke.overlay.plugins.plugin_utils._report_files import ReportFiles

SITE_VARIABLE = HOST_VARIABLES["site"]


LINK_OPTIONS: t.Mapping[str, t.Any] = {
    "sites": {"type": "list", "elements": "str", "required": True},
    "nodes": {"type": "list", "elements": "int", "required": True},
    "transport": {"type": "str", "choices": sorted(ENCAPSULATION), "required": True},
    "mtu": {"type": "int", "required": True},
}


class ActionModule(LedgerAction):
    """Writes the report to two files on the controller."""

    options: t.ClassVar[dict[str, t.Any]] = {
        "ledger": {"type": "str", "required": True},
        "cluster": {"type": "str"},
        "dest": {"type": "path", "required": True},
        "info": {"type": "str", "default": "overlay_report_info"},
        "probe": {"type": "str", "default": "overlay_report_probe"},
        "problem": {"type": "str"},
        "group": {"type": "str", "default": "overlay_nodes"},
        "clb_group": {"type": "str", "default": "clb"},
        "sites": {"type": "list", "elements": "str"},
        "reserved": {"type": "list", "elements": "str", "default": []},
        "title": {"type": "str"},
        "history": {"type": "int", "default": 20},
        "prometheus": {"type": "str"},
        "links": {"type": "list", "elements": "dict", "options": LINK_OPTIONS, "default": []},
    }
    variables: t.ClassVar[dict[str, str]] = {**LedgerAction.variables, "prometheus": "overlay_prometheus_url"}

    def work(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        """Build the report from the ledger and the registered results, and write it."""
        store = open_store(given["ledger"])
        files = ReportFiles(given["dest"], store.where)
        named = _named_sites(given, task_vars)
        sites = given["sites"] or _sites(given["group"], named, task_vars)
        versions = _versions(store, given["cluster"])
        asked = past_day(given["prometheus"], versions.ledger.cluster) if given["prometheus"] else None
        options = ReportOptions(
            at=now(),
            inventory=[str(source) for source in task_vars.get("ansible_inventory_sources") or ()],
            limit=task_vars.get("ansible_limit"),
            sites=sites,
            reserved=given["reserved"],
            title=given["title"],
            events=given["history"],
            problem=given["problem"],
            past_day=asked,
            links=given["links"],
        )
        report = build(versions, _hosts(given, sites, named, task_vars), options)
        before = files.current()
        changed = before is None or before["digest"] != report["digest"]
        if not self._task.check_mode:
            files.write(page(report, files.data_name), data_text(report))
        result = {
            "changed": changed,
            "dest": files.page,
            "data": files.data,
            "digest": report["digest"],
            "verdict": dict(report["verdict"]),
            "findings": [dict(finding) for finding in report["findings"]],
        }
        if asked and asked["problem"]:
            result["warnings"] = [f"the report has no past day: {asked['problem']}"]
        if self._task.diff and changed:
            result["diff"] = {
                "before_header": files.page,
                "after_header": files.page,
                "before": "" if before is None else summary(before),
                "after": summary(report),
            }
        return result


def _versions(store: Store, cluster: str | None) -> LedgerVersions:
    ledger = ledgers.parse(good_text(store, cluster), store.where, cluster)
    previous = []
    for version in store.previous():
        try:
            previous.append((os.path.basename(version.name), ledgers.parse(version.text, version.name, cluster)))
        except ValidationError:  # incomplete, or of another cluster: the report leaves this version out
            continue
    return LedgerVersions(ledger, store.where, previous)


def _children(group: str, task_vars: Variables) -> list[str]:
    """Return the child groups of a group: the sites. Only the inventory object has them, not the task variables."""
    inventory = getattr(task_vars["hostvars"], "_inventory", None)
    found = getattr(inventory, "groups", {}).get(group)
    return [child.name for child in found.child_groups] if found and found.child_groups else list(KINDS)


def _named_sites(given: Variables, task_vars: Variables) -> dict[str, str]:
    """Return ``overlay_site`` of each node and each host of the load balancer; empty where it is not set."""
    groups, hostvars = task_vars["groups"], task_vars["hostvars"]
    hosts = dict.fromkeys([*groups.get(given["group"], []), *groups.get(given["clb_group"], [])])
    return {name: str(hostvars[name].get(SITE_VARIABLE) or "") for name in hosts}


def _sites(group: str, named: t.Mapping[str, str], task_vars: Variables) -> list[str]:
    """Return the sites: those of ``overlay_site``, and the child groups with other nodes."""
    groups = task_vars["groups"]
    of_nodes = {name: named[name] for name in groups.get(group, [])}
    children = _children(group, task_vars)
    chosen = set(filter(None, of_nodes.values()))
    if not chosen:
        return children
    others = {name for name, site in of_nodes.items() if not site}
    kept = [child for child in children if child in chosen or others.intersection(groups.get(child, []))]
    return [*kept, *sorted(chosen.difference(kept))]


def _site_of(name: str, given: str, members: t.Mapping[str, t.Collection[str]]) -> str:
    """Return the site of a host: ``overlay_site``, by default the child group that has it."""
    return given if given in members else next((site for site, names in members.items() if name in names), "")


def _hosts(
    given: Variables, sites: t.Sequence[str], named: t.Mapping[str, str], task_vars: Variables
) -> list[ProbedHost]:
    groups = task_vars["groups"]
    nodes = set(groups.get(given["group"], []))
    if not nodes:
        raise ValidationError(
            f"inventory group {given['group']!r} has no hosts: add the nodes to it, or set the option group"
        )
    members = {site: set(groups.get(site, [])) for site in sites}
    selected = set(task_vars.get("ansible_play_hosts_all", []))
    found = results_of(
        [name for name in named if name in selected], task_vars["hostvars"], [given["info"], given["probe"]]
    )
    hosts = []
    for name in named:
        results = [found[given[which]].get(name, {}) for which in ("info", "probe")]
        info, probe = results
        hosts.append(
            ProbedHost(
                name=name,
                site=_site_of(name, named[name], members),
                node=name in nodes,
                selected=name in selected,
                unreachable=any(result.get("unreachable") for result in results),
                connection=next((str(each.get("msg", "")) for each in results if each.get("unreachable")), ""),
                failures=list(dict.fromkeys(filter(None, [_failure(info, "overlay"), _failure(probe, "findings")]))),
                overlay=info.get("overlay"),
                probe=probe if "findings" in probe and probe.get("asked") else None,
            )
        )
    return hosts


def _failure(result: Variables, key: str) -> str:
    """Return the last line of a failure; the lines before it may be a traceback."""
    return failure_of(result, key).rpartition("\n")[2][:500]

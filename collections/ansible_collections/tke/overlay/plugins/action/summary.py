# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action of the module summary; its documentation stands in plugins/modules/summary.py."""

from __future__ import annotations

import typing as t

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.tke.overlay.plugins.module_utils._addressing import overhead_on, parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis import endpoints, rollout
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis import host_tables as overview
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis import root_cause as causes
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis import verify as verdict
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import BAD, GOOD, Line, steps
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import failure_of

COLORS = {GOOD: constants.COLOR_OK, BAD: constants.COLOR_ERROR}

NOT_WHOLE = {
    "verify": "The overlay is not whole; what is wrong, and what to do, stands above.",
    "rollout": "The roll-out has stopped; what is wrong, and what to do, stands above.",
    "site": "Not every node reaches the load balancer; what was seen stands above. tke.overlay.status shows its VIPs.",
}

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core is not typed
    """Prints the end of a playbook, from what the tasks before it have registered. No host is contacted."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    options: t.ClassVar[dict[str, t.Any]] = {
        "of": {"type": "str", "required": True, "choices": ["verify", "rollout", "status", "site", "preflight"]},
        "plan": {"type": "dict", "required": True},
        "results": {"type": "str"},
        "answering": {"type": "str"},
        "endpoint": {"type": "str"},
        "converged": {"type": "str"},
        "hosts": {"type": "list", "elements": "str"},
    }

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Judges, prints, and fails where the playbook has found that something is wrong."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(argument_spec=self.options)
        lines, whole = self._lines(given, task_vars or {})
        result["changed"] = False
        if not whole:
            result.update(failed=True, msg=NOT_WHOLE[given["of"]])
        shown = _show(lines)
        if whole or not shown:  # of a failed task the whole result is printed: not twice
            result["lines"] = [line.text for line in lines]
        return result

    def _lines(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> tuple[list[Line], bool]:
        plan, hosts = given["plan"], _Results(task_vars, given["hosts"])
        sites = {name: site for site, names in plan["sites"].items() for name in names.split()}
        planned = overview.PlannedCluster(plan["assignments"], plan["fresh"], plan["orphans"], plan["forecast"])
        if given["of"] == "preflight":
            return overview.preflight(sites, planned), True
        results = hosts.of(given["results"])
        if given["of"] == "site":
            seen = {host: _seen(sites[host], each, "changes") for host, each in results.items() if host in sites}
            reach, reached = _reach(hosts.of(given["endpoint"]), endpoints.API_SERVER)
            return overview.site(seen, planned, self._task.check_mode, reach), reached
        if given["of"] == "status":
            seen = {host: _seen(sites.get(host, ""), each, "overlay") for host, each in results.items()}
            # Hosts that are no nodes are there for their VIPs only, and were not asked where there are none.
            shown = {host: each for host, each in seen.items() if host in sites or each.result or each.failure}
            return overview.status(shown, planned), True
        first = hosts.of(given["answering"])
        if given["of"] == "rollout":
            batch = _batch(hosts.of(given["converged"]), task_vars["ansible_play_batch"])
            # Others were told to answer long ago: they may have ended, and that is no fault.
            fleet = _fleet(plan, sites, {host: first[host] for host in batch.changed})._replace(fresh=[], orphans=[])
            judged = rollout.after(batch, fleet, {host: _answers(results[host], check=False) for host in batch.changed})
            return [*judged.lines, *steps(judged.todo)], judged.whole
        fleet = _fleet(plan, sites, first)
        # A host that could not be told to answer was not even asked to ask.
        answers = {
            host: _answers(first[host] if each.get("skipped") else each, self._task.check_mode)
            for host, each in results.items()
        }
        judged = verdict.judge(fleet, answers)
        reach, reached = _reach(hosts.of(given["endpoint"]), endpoints.EVERYTHING)
        return [*reach, *judged.lines, *steps(judged.todo)], judged.whole and reached


class _Results:
    """What tasks of all hosts of the play have registered."""

    def __init__(self, task_vars: dict[str, t.Any], hosts: list[str] | None = None) -> None:
        self.hosts: list[str] = task_vars.get("ansible_play_hosts_all", []) if hosts is None else hosts
        self.hostvars = task_vars["hostvars"]

    def of(self, name: str | None) -> dict[str, t.Mapping[str, t.Any]]:
        """Host -> result; of a host without one an empty one."""
        return {host: self.hostvars[host].get(name) or {} for host in self.hosts}


def _reach(results: t.Mapping[str, t.Mapping[str, t.Any]], what: str) -> tuple[list[Line], bool]:
    """How hosts reach the load balancer. Whom Ansible does not reach is named already; check mode may ask nobody."""
    told = {host: (failure_of(each, "backups"), "stages" in each) for host, each in results.items()}
    return endpoints.judge({host: failure for host, (failure, asked) in told.items() if failure or asked}, what)


def _fleet(plan: t.Mapping[str, t.Any], sites: t.Mapping[str, str], answering: t.Mapping[str, t.Any]) -> causes.Fleet:
    """Who there is, and who was to answer by TCP."""
    document = plan["document"]
    return causes.Fleet(
        sites=sites,
        size=document["mtu"],
        port=document["port"],
        device=document["device"],
        overhead=overhead_on("".join(each.underlay for each in list(parse_fleet(document["fleet"]).values())[:1])),
        fresh=plan["fresh"],
        orphans=plan["orphans"],
        answering={host for host, each in answering.items() if "tcp" in each},
        mute={host: failure_of(each, "tcp") for host, each in answering.items() if failure_of(each, "tcp")},
    )


def _batch(converged: t.Mapping[str, t.Mapping[str, t.Any]], here: t.Sequence[str]) -> rollout.Batch:
    """A roll-out as it stands; an earlier batch with a failed host would have ended it."""
    return rollout.Batch(
        changed={host: bool(converged[host]["changed"]) for host in here},
        failed={host: failure_of(each, "changes") for host, each in converged.items() if failure_of(each, "changes")},
        left=[host for host, each in converged.items() if not each],
    )


def _seen(site: str, result: t.Mapping[str, t.Any], key: str) -> overview.HostStatus:
    good = result if key in result else None
    return overview.HostStatus(site, good, failure_of(result, key), not result.get("unreachable"))


def _answers(result: t.Mapping[str, t.Any], check: bool) -> causes.Answers:
    reached, failure = not result.get("unreachable"), failure_of(result, "findings")
    if "findings" not in result:
        return causes.Answers(reached, failure if reached else "")
    return causes.Answers(
        reached=True,
        rtt_ms=result["rtt_ms"],
        findings=result["findings"],
        refused=result["tcp"]["refused"],
        tcp=not check,
        plan_current=result.get("plan_current", True),
    )


def _show(lines: t.Sequence[Line]) -> bool:
    """As they are, on the terminal: what a callback makes of a result is not made for tables.

    Not for one that prints JSON: who reads that finds the lines in the result.
    """
    if "json" in str(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")):
        return False
    for line in lines:
        display.display(line.text, color=COLORS.get(line.tone))
    return True

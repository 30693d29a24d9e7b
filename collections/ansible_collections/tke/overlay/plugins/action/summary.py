# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin of the module summary, which is documented in plugins/modules/summary.py."""

from __future__ import annotations

import typing as t

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.tke.overlay.plugins.module_utils._addressing import overhead_on, parse_fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis import (
    conformance,
    endpoints,
    host_tables,
    kubernetes,
    rollout,
    verify,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.link_table import link_lines
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.root_cause import Answers, Fleet
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    BAD,
    GOOD,
    Line,
    some,
    steps,
    unified,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import KINDS
from ansible_collections.tke.overlay.plugins.module_utils._links import (
    parse_links,
    wireguard_device,
    wireguard_port,
)
from ansible_collections.tke.overlay.plugins.plugin_utils._conformance import Registered, outcome_of
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import HOST_VARIABLES, failure_of, results_of
from ansible_collections.tke.overlay.plugins.plugin_utils._results import underlays

COLORS = {GOOD: constants.COLOR_OK, BAD: constants.COLOR_ERROR}

RESULTS = ("results", "answering", "endpoint", "restarted", "converged", "acknowledged", "vips", "kubernetes")
"""The options that name a registered result."""

UNHEALTHY = "The overlay is unhealthy; see the errors and the next steps above."
NOT_CONFORMING = "Pods do not reach all that they should; see the errors and the next steps above."
NO_LEDGER = "There is no ledger, so nothing was verified; see the next step above."
STOPPED = "The roll-out has stopped; see the errors and the next steps above."
NOTHING_DONE = "No node was configured; see the table and the next steps above."
NOT_RESET = "The overlay was not removed from every host; see the table and the next steps above."
NOT_RECORDED = "The ledger does not have all acknowledgements; see above. Run the playbook again."
NOT_PUBLISHED = "Not everything was published in Kubernetes; see the errors above."
ENDPOINT_FAILED = (
    "Not every node reaches the API server and the services through the load balancer; see the errors above. "
    "tke.overlay.status shows which host holds the VIPs."
)

display = Display()


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core is not typed
    """Print the last screen of a playbook from the results that its tasks have registered. It contacts no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    options: t.ClassVar[dict[str, t.Any]] = {
        "of": {
            "type": "str",
            "required": True,
            "choices": ["verify", "rollout", "status", "site", "reset", "preflight", "conformance", "kubernetes"],
        },
        "plan": {"type": "dict"},
        "results": {"type": "str"},
        "answering": {"type": "str"},
        "endpoint": {"type": "str"},
        "restarted": {"type": "str"},
        "converged": {"type": "str"},
        "acknowledged": {"type": "str"},
        "vips": {"type": "str"},
        "kubernetes": {"type": "str"},
        "not_done": {"type": "dict", "default": {}},
        "hosts": {"type": "list", "elements": "str"},
    }

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Evaluate the results, print the screen, and fail if the playbook has found a fault."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        needs_plan = [("of", of, ["plan"]) for of in self.options["of"]["choices"] if of != "reset"]
        _validation, given = self.validate_argument_spec(argument_spec=self.options, required_if=needs_plan)
        if given["of"] == "conformance":
            lines, fault, result["conformance"] = self._conformance(given, task_vars or {})
        else:
            lines, fault = self._lines(given, task_vars or {})
        result["changed"] = False
        if fault:
            result.update(failed=True, msg=fault)
        printed = _print(lines)
        if not (fault and printed):  # Ansible prints the complete result of a failed task: do not print the lines twice
            result["lines"] = [line.text for line in lines]
        return result

    def _conformance(
        self, given: dict[str, t.Any], task_vars: dict[str, t.Any]
    ) -> tuple[list[Line], str, dict[str, t.Any]]:
        """Return the lines of the screen, the error of the task, and the same for programs."""
        plan, hosts = given["plan"], _Results(given, task_vars)
        if plan.get("new_ledger"):
            lines = [*host_tables.of_new_ledger(plan["new_ledger"]), *steps([host_tables.LEDGER_STEP])]
            return lines, NO_LEDGER, {"healthy": False}
        parts = [hosts.of(given[name]) for name in ("answering", "results", "converged")]
        found = {host: outcome_of(Registered(*(part[host] for part in parts))) for host in hosts.hosts}
        outcomes = {host: outcome for host, outcome in found.items() if outcome is not None}
        verdict = conformance.judge(outcomes, plan["fresh"], len(plan["assignments"]), self._task.check_mode)
        return [*verdict.lines, *steps(verdict.steps)], "" if verdict.healthy else NOT_CONFORMING, verdict.data

    def _lines(self, given: dict[str, t.Any], task_vars: dict[str, t.Any]) -> tuple[list[Line], str]:
        """Return the lines of the screen and the error of the task; an empty one without a fault."""
        plan, hosts = given["plan"], _Results(given, task_vars)
        if given["of"] == "reset":
            found = hosts.of(given["results"])
            seen = {host: _status(site, found[host], "changes") for host, site in _sites_of(found, task_vars).items()}
            bad = any(each.result is None for each in seen.values())
            return host_tables.reset(seen, self._task.check_mode), NOT_RESET if bad else ""
        sites = {name: site for site, names in plan["sites"].items() for name in names.split()}
        published, refused = _kubernetes(hosts.of(given["kubernetes"]))
        if given["of"] == "kubernetes":
            return kubernetes.screen(published, refused, self._task.check_mode), NOT_PUBLISHED if refused else ""
        planned = host_tables.PlannedCluster(
            plan["assignments"],
            plan["fresh"],
            plan["orphans"],
            plan["forecast"],
            new_ledger=plan.get("new_ledger", ""),
            writable=bool(plan.get("writable")),
            links=link_lines(plan),
        )
        if given["of"] == "preflight":
            nodes = underlays(sites, task_vars["hostvars"], parse_fleet(plan["document"]["fleet"]))
            more = kubernetes.lines(published, refused, check=True, hosts_were_read=False)
            return host_tables.preflight(sites, planned, nodes, _diffs(plan, hosts.of(given["vips"])), more), ""
        if given["of"] == "site":
            return self._site(given, hosts, sites, planned)
        if given["of"] == "status":
            results = hosts.of(given["results"])
            seen = {host: _status(sites.get(host, ""), each, "overlay") for host, each in results.items()}
            # Other hosts than nodes are listed for the load balancer, and are not read if there is none.
            listed = {host: each for host, each in seen.items() if host in sites or each.result or each.failure}
            return host_tables.status(listed, planned._replace(vips=plan.get("vips") or {})), ""
        if given["of"] == "rollout":
            return _rollout(given, hosts, sites, task_vars["ansible_play_batch"])
        if planned.new_ledger:  # all that verify would print is about nodes that have nothing
            return [*host_tables.of_new_ledger(planned.new_ledger), *steps([host_tables.LEDGER_STEP])], NO_LEDGER
        return self._verify(given, hosts, sites)

    def _site(
        self, given: dict[str, t.Any], hosts: _Results, sites: dict[str, str], planned: host_tables.PlannedCluster
    ) -> tuple[list[Line], str]:
        published, refused = _kubernetes(hosts.of(given["kubernetes"]))
        restarted = hosts.of(given["restarted"])
        checked = {host: _with_restart(each, restarted[host]) for host, each in hosts.of(given["endpoint"]).items()}
        results = {host: _with_endpoint(each, checked[host]) for host, each in hosts.of(given["results"]).items()}
        seen = {host: _status(sites[host], each, "changes") for host, each in results.items() if host in sites}
        endpoint, reached = _endpoint(checked, endpoints.API_SERVER)
        recorded = _recorded(hosts, given)
        more = kubernetes.lines(published, refused, self._task.check_mode)
        screen = host_tables.site(
            seen, planned, self._task.check_mode, [*_pair(given, seen), *endpoint, *recorded, *more]
        )
        fault = _fault_of_site(seen, reached, bool(recorded))
        return screen, fault or (NOT_PUBLISHED if refused else "")

    def _verify(self, given: dict[str, t.Any], hosts: _Results, sites: dict[str, str]) -> tuple[list[Line], str]:
        responders = hosts.of(given["answering"])
        # A host on which the echo responder could not start did not probe either.
        answers = {
            host: _answers(responders[host] if each.get("skipped") else each, self._task.check_mode, responders[host])
            for host, each in hosts.of(given["results"]).items()
        }
        verdict = verify.judge(_fleet(given["plan"], sites, responders), answers)
        endpoint, reached = _endpoint(hosts.of(given["endpoint"]), endpoints.EVERYTHING)
        fault = UNHEALTHY if not verdict.healthy else "" if reached else ENDPOINT_FAILED
        return [*endpoint, *verdict.lines, *steps(verdict.steps)], fault


def _rollout(
    given: dict[str, t.Any], hosts: _Results, sites: dict[str, str], playing: list[str]
) -> tuple[list[Line], str]:
    responders, results = hosts.of(given["answering"]), hosts.of(given["results"])
    batch = _batch(hosts.of(given["converged"]), playing)
    # The echo responders of earlier batches may have ended, which is not a fault.
    fleet = _fleet(given["plan"], sites, {host: responders[host] for host in batch.changed})
    verdict = rollout.after(
        batch,
        fleet._replace(fresh=[], orphans=[]),
        {host: _answers(results[host], check=False, before=responders[host]) for host in batch.changed},
    )
    return [*verdict.lines, *steps(verdict.steps)], "" if verdict.healthy else STOPPED


class _Results:
    """The results that tasks have registered on the hosts of the play."""

    def __init__(self, given: t.Mapping[str, t.Any], task_vars: dict[str, t.Any]) -> None:
        self.hosts: list[str] = (
            task_vars.get("ansible_play_hosts_all", []) if given["hosts"] is None else given["hosts"]
        )
        self._found = results_of(self.hosts, task_vars["hostvars"], {*filter(None, map(given.get, RESULTS))})

    def of(self, name: str | None) -> dict[str, t.Mapping[str, t.Any]]:
        """Return host -> result; empty for a host without one."""
        return self._found[name] if name else {host: {} for host in self.hosts}


def _diffs(plan: t.Mapping[str, t.Any], vips: t.Mapping[str, t.Mapping[str, t.Any]]) -> str:
    """Return what the planner and the choice of the VIPs would write to the ledger; empty without ``--diff``."""
    found = [each["diff"] for each in (plan, *list(vips.values())[:1]) if each.get("diff")]
    return "".join(unified(each["before"], each["after"], each["before_header"]) for each in found)


def _pair(given: t.Mapping[str, t.Any], seen: t.Container[str]) -> list[Line]:
    """Return the errors of the hosts without a row: those of the load balancer."""
    reasons: dict[str, list[str]] = {}
    for host, reason in (given["not_done"] or {}).items():
        if host not in seen:
            reasons.setdefault(reason, []).append(host)
    return [Line(f"load balancer not configured: {some(names)}: {reason}", BAD) for reason, names in reasons.items()]


def _recorded(hosts: _Results, given: t.Mapping[str, t.Any]) -> list[Line]:
    """Return the error about acknowledgements that the ledger does not have."""
    failed = [failure_of(each, "assignments") for each in hosts.of(given["acknowledged"]).values()]
    errors = list(dict.fromkeys(filter(None, failed)))
    return [
        Line(f"released node CIDRs stay pending, because the ledger was not written: {each}", BAD) for each in errors
    ]


def _fault_of_site(seen: t.Mapping[str, host_tables.HostStatus], reached: bool, unrecorded: bool) -> str:
    if seen and all(each.result is None for each in seen.values()):
        return NOTHING_DONE
    if unrecorded:
        return NOT_RECORDED
    return "" if reached else ENDPOINT_FAILED


def _endpoint(results: t.Mapping[str, t.Mapping[str, t.Any]], what: str) -> tuple[list[Line], bool]:
    """Return the lines about the API endpoint and whether all checks passed; unreachable hosts are left out."""
    checks = {host: (failure_of(each, "backups"), "stages" in each) for host, each in results.items()}
    failures = {host: failure for host, (failure, checked) in checks.items() if failure or checked}
    lines, reached = endpoints.judge(failures, what)
    for key, shown in (
        ("outdated", endpoints.outdated_services),
        ("to_restart", endpoints.waiting_services),
        ("missing_kubeconfigs", endpoints.missing_kubeconfigs),
    ):
        lines += shown({host: each.get(key, ()) for host, each in results.items()})
    return lines, reached


def _kubernetes(results: t.Mapping[str, t.Mapping[str, t.Any]]) -> tuple[t.Mapping[str, t.Any], str]:
    """Return the result of module kubernetes, which ran once, and its error; both empty where it did not run."""
    result = next((each for each in results.values() if each and not each.get("skipped")), {})
    return result, failure_of(result, "nodes")


def _with_restart(endpoint: t.Mapping[str, t.Any], restarted: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """Return the result of an endpoint with the services that were restarted after it, or with their failure."""
    failure = failure_of(restarted, "restarted")
    if failure or restarted.get("unreachable"):
        without = {key: value for key, value in endpoint.items() if key != "backups"}
        return {**without, "failed": True, "msg": failure or "the node was not reached again to restart services"}
    if not restarted.get("restarted"):
        return endpoint
    return {
        **endpoint,
        "changes": [*endpoint.get("changes", ()), *restarted["restarted"]],
        "to_restart": restarted.get("to_restart", ()),
        "outdated": restarted.get("outdated", ()),
    }


def _with_endpoint(node: t.Mapping[str, t.Any], endpoint: t.Mapping[str, t.Any]) -> t.Mapping[str, t.Any]:
    """Return the result of a node with what the endpoint has changed on it, so that the table counts it."""
    changes = endpoint.get("changes")
    if not changes or "changes" not in node:
        return node
    return {**node, "changed": True, "counts": {**node.get("counts", {}), "endpoint": len(changes)}}


def _fleet(plan: t.Mapping[str, t.Any], sites: t.Mapping[str, str], answering: t.Mapping[str, t.Any]) -> Fleet:
    """Return the nodes, and those with an echo responder."""
    document = plan["document"]
    return Fleet(
        sites=sites,
        size=document["mtu"],
        port=document["port"],
        device=document["device"],
        overhead=overhead_on("".join(each.underlay for each in list(parse_fleet(document["fleet"]).values())[:1])),
        links=parse_links(document["links"]) if "links" in document else None,
        wireguard_port=_wireguard_port(document),
        wireguard_device=wireguard_device(document.get("wireguard_generation") or 0),
        fresh=plan["fresh"],
        orphans=plan["orphans"],
        responders={host for host, each in answering.items() if "tcp" in each},
        failed_responders={
            host: failure_of(each, "tcp") for host, each in answering.items() if failure_of(each, "tcp")
        },
    )


def _wireguard_port(document: t.Mapping[str, t.Any]) -> int | None:
    if "wireguard_port" not in document:
        return None
    return wireguard_port(document["wireguard_port"], document["wireguard_generation"])


def _batch(converged: t.Mapping[str, t.Mapping[str, t.Any]], here: t.Sequence[str]) -> rollout.Batch:
    """Return the current batch of a roll-out; all earlier batches succeeded, or the roll-out would have stopped."""
    unreached = {host: str(converged[host].get("msg", "")) for host in here if converged[host].get("unreachable")}
    return rollout.Batch(
        changed={host: bool(converged[host]["changed"]) for host in here if "changes" in converged[host]},
        failed={host: failure_of(each, "changes") for host, each in converged.items() if failure_of(each, "changes")},
        left=[host for host, each in converged.items() if not each],
        unreached=unreached,
    )


def _sites_of(hosts: t.Iterable[str], task_vars: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return the site of each host: ``overlay_site``, by default the group of its kind that has it."""
    members = {site: set(task_vars["groups"].get(site, [])) for site in KINDS}
    given = {host: task_vars["hostvars"][host].get(HOST_VARIABLES["site"]) for host in hosts}
    return {
        host: str(site) if site else next((each for each, names in members.items() if host in names), "")
        for host, site in given.items()
    }


def _status(site: str, result: t.Mapping[str, t.Any], key: str) -> host_tables.HostStatus:
    good = result if key in result else None
    reached = not result.get("unreachable")
    connection = "" if reached else str(result.get("msg", ""))
    return host_tables.HostStatus(site, good, failure_of(result, key), reached, connection)


def _answers(result: t.Mapping[str, t.Any], check: bool, before: t.Mapping[str, t.Any]) -> Answers:
    """Return the answers of a host.

    :param before: the result of the echo responder's start on it, with the counters before the probes.
    """
    reached, failure = not result.get("unreachable"), failure_of(result, "findings")
    if "findings" not in result:
        return Answers(reached, failure if reached else "", connection="" if reached else str(result.get("msg", "")))
    return Answers(
        reached=True,
        rtt_ms=result["rtt_ms"],
        findings=result["findings"],
        refused=result["tcp"]["refused"],
        tcp=not check,
        plan_current=result.get("plan_current", True),
        filters=result.get("filters", ()),
        counters={
            name: number - before["counters"].get(name, number)
            for name, number in result.get("counters", {}).items()
            if "counters" in before
        },
        pods=result.get("pods", ()),
    )


def _print(lines: t.Sequence[Line]) -> bool:
    """Print the lines to the terminal, because callbacks do not keep the layout of a table.

    :returns: false with a callback that prints JSON, whose readers find the lines in the result.
    """
    if "json" in str(constants.config.get_config_value("DEFAULT_STDOUT_CALLBACK")):
        return False
    for line in lines:
        display.display(line.text, color=COLORS.get(line.tone))
    return True

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last screens of the playbooks status, site, reset and preflight: a row for each host, and the next steps."""

from __future__ import annotations

import collections
import types
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import (
    cause_of,
    connection_steps,
    known_cause,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.pods import (
    NOTE,
    PodFault,
    fault_lines,
    fault_steps,
    is_bad,
    note_lines,
    pod_faults,
    warning_lines,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    BAD,
    GOOD,
    PLAIN,
    Line,
    count,
    first_line,
    limit,
    natural,
    prose,
    release,
    some,
    steps,
    table,
    them,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.underlay import (
    Underlay,
    network_of,
    warnings,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.vips import VipFault, vip_faults

MOST = 40
"""Rows on the screens of site and preflight; with more hosts, those with equal cells share a row."""

DETAILS = 20
"""Lines about drift and errors below the table of status."""


class HostStatus(t.NamedTuple):
    """The result of a module on a host, or why there is none. All empty: the module did not run there.

    ``connection`` is the message of the connection to a host that was not reached.
    """

    site: str = ""
    result: t.Mapping[str, t.Any] | None = None
    failure: str = ""
    reached: bool = True
    connection: str = ""


class PlannedCluster(t.NamedTuple):
    """The parts of the plan that concern all hosts."""

    node_cidrs: t.Mapping[str, str]
    fresh: t.Sequence[str]
    orphans: t.Sequence[str]
    forecast: str
    vips: t.Mapping[str, str] = types.MappingProxyType({})  # name -> address
    new_ledger: str = ""  # a warning if there was no ledger
    writable: bool = False  # whether the ledger was found to be writable
    links: t.Sequence[Line] = ()  # the table of the links, see :mod:`link_table`


def natural_order(hosts: t.Iterable[str]) -> list[str]:
    """Return the hosts with ``idc2`` before ``idc10``."""
    return sorted(hosts, key=natural)


LEDGER_STEP = (
    "restore the ledger, or run ansible-playbook tke.overlay.rebuild_ledger; only a new cluster begins with "
    "ansible-playbook tke.overlay.site"
)


def of_new_ledger(notice: str) -> list[Line]:
    """Return the lines about a ledger that is not there, and an empty one; nothing without a notice."""
    return [*(Line(line.text, BAD) for line in prose(notice)), Line("")] if notice else []


# --- status ---


def status(seen: t.Mapping[str, HostStatus], planned: PlannedCluster) -> list[Line]:
    """Return a row for each host, the drift and errors, and the next steps."""
    hosts = sorted(seen, key=lambda host: (not seen[host].site, seen[host].site, natural(host)))
    rows = [_status_row(host, seen[host], planned) for host in hosts]
    head = ["HOST", "SITE", "NODE CIDR", "PLAN", "DRIFT", "DROPS", "ERRORS", "TIMER", "PODS", "VIPS"]
    # The last two columns only where there is something in them.
    shown = [*range(len(head) - 2), *(at for at in (-2, -1) if any(row[at].strip("-") for row in rows))]
    texts = table([head[at] for at in shown], [[row[at] for at in shown] for row in rows])
    tones = [PLAIN, *(PLAIN if _is_healthy(seen[host]) else BAD for host in hosts)]
    lines = [Line(text, tone) for text, tone in zip(texts, tones)]
    faults = _pod_faults(seen)
    return [
        *lines,
        Line(""),
        *planned.links,
        *_details(hosts, seen),
        *of_new_ledger(planned.new_ledger),
        *(Line(fault.text, BAD) for fault in _vip_faults(seen, planned)),
        *_of_pods(faults),
        *_notes(seen),
        *_of_orphans(planned),
        *steps([LEDGER_STEP] if planned.new_ledger else _status_steps(hosts, seen, planned)),
    ]


def _overlay(each: HostStatus) -> t.Mapping[str, t.Any] | None:
    return None if each.result is None else each.result["overlay"]


def _plan_state(each: HostStatus) -> str:
    overlay = _overlay(each)
    if not each.reached:
        return "unreachable"
    if overlay is None:
        return "failed" if each.failure else "?"
    if overlay["node"] is None:
        return "none"
    return "ok" if overlay["plan"]["current"] else "old"


def _is_healthy(each: HostStatus) -> bool:
    overlay = _overlay(each)
    if overlay is None:
        return False
    return _is_as_applied(overlay) and not is_bad(overlay.get("pods", ()))


def _is_as_applied(overlay: t.Mapping[str, t.Any]) -> bool:
    """Whether a host has the current plan, nothing that differs from it, and its timers.

    A host that is no node, and should be none, has the current plan.
    """
    return not overlay["drift"] and bool(overlay["plan"]["current"]) and set(timers(overlay)) <= {"active"}


def timers(overlay: t.Mapping[str, t.Any]) -> list[str]:
    """Return the state of the timer of each part that this host has: the node and the load balancer."""
    pair = overlay.get("load_balancer")
    node = [] if overlay.get("node") is None else [str(overlay.get("timer"))]
    return [*node, *([pair["timer"]] if pair else [])]


def timers_run(overlays: t.Iterable[t.Mapping[str, t.Any]]) -> bool:
    """Return whether the timers of these hosts run, so that they repair what differs."""
    return all(set(timers(overlay)) == {"active"} for overlay in overlays)


def _timer_word(overlay: t.Mapping[str, t.Any]) -> str:
    """Return the state of the timers in one word, the worst of them."""
    words = [timer.partition(",") for timer in timers(overlay)]
    short = ["failed" if comma else word for word, comma, _reason in words]
    return next((word for word in short if word != "active"), short[0] if short else "-")


def _pod_faults(seen: t.Mapping[str, HostStatus]) -> list[PodFault]:
    return pod_faults({host: (_overlay(each) or {}).get("pods", []) for host, each in seen.items()})


def _of_pods(faults: t.Sequence[PodFault]) -> list[Line]:
    """Return the lines about Pods: faults, warnings, notes."""
    lines = [*fault_lines(faults), *warning_lines(faults), *note_lines(faults)]
    if len(lines) > DETAILS:
        lines = [*lines[:DETAILS], Line(f"and {count(len(lines) - DETAILS, 'more line')} about Pods", BAD)]
    return lines


def _notes(seen: t.Mapping[str, HostStatus]) -> list[Line]:
    """Return a line for each note that is no drift, such as a kubeconfig that is not there yet."""
    hosts: dict[str, list[str]] = {}
    for host, each in seen.items():
        for note in (_overlay(each) or {}).get("notes", ()):
            hosts.setdefault(note, []).append(host)
    lines = [Line(f"{some(names)}: {note}") for note, names in sorted(hosts.items())]
    more = len(lines) - DETAILS
    return [*lines[:DETAILS], Line(f"and {count(more, 'more note')}")] if more > 0 else lines


def _status_row(host: str, each: HostStatus, planned: PlannedCluster) -> list[str]:
    overlay = _overlay(each)
    node_cidr = (overlay or {}).get("node_cidr") or (
        "-" if host in planned.fresh else planned.node_cidrs.get(host, "-")
    )
    if overlay is None or overlay["node"] is None:
        word = _plan_state(each) if overlay is None or not overlay["plan"]["current"] else "-"
        if overlay is None:
            return [host, each.site or "-", node_cidr, word, *"-----", ""]
        drift = str(len(overlay["drift"]) or "-")
        vips = " ".join(overlay.get("vips", []))
        return [host, each.site or "-", node_cidr, word, drift, "-", "-", _timer_word(overlay), "-", vips]
    counters = overlay["counters"]
    drops = counters["rx_dropped"] + counters["tx_dropped"] + sum(counters["rules"].values())
    errors = counters["rx_errors"] + counters["tx_errors"]
    numbers = [f"{number}" if number else "-" for number in (len(overlay["drift"]), drops, errors)]
    faults = f"{len([each for each in overlay.get('pods', ()) if each['severity'] == 'bad']) or '-'}"
    vips = " ".join(overlay["vips"])
    return [host, each.site or "-", node_cidr, _plan_state(each), *numbers, _timer_word(overlay), faults, vips]


def _details(hosts: t.Sequence[str], seen: t.Mapping[str, HostStatus]) -> list[Line]:
    lines = []
    for host in hosts:
        overlay = _overlay(seen[host])
        if seen[host].failure and seen[host].reached:
            lines.append(Line(f"{host}: {first_line(seen[host].failure)}", BAD))
        if overlay is not None:
            lines += [Line(f"{host}: {first_line(text)}", BAD) for text in overlay["drift"]]
            lines += [Line(f"{host}: timer {timer}", BAD) for timer in timers(overlay) if "failed" in timer]
        if overlay is not None and overlay["node"] is not None:
            dropped = [f"{number} {name}" for name, number in overlay["counters"]["rules"].items() if number]
            if dropped:
                lines.append(Line(f"{host}: packets dropped by the rules: {', '.join(dropped)}"))
    if len(lines) > DETAILS:
        lines = [*lines[:DETAILS], Line(f"and {count(len(lines) - DETAILS, 'more line')} like these", BAD)]
    return lines


def _vip_faults(seen: t.Mapping[str, HostStatus], planned: PlannedCluster) -> list[VipFault]:
    return vip_faults(planned.vips, {host: _overlay(each) for host, each in seen.items()})


def _of_orphans(planned: PlannedCluster) -> list[Line]:
    if not planned.orphans:
        return []
    named = some(f"{name} {planned.node_cidrs.get(name, '')}".strip() for name in planned.orphans)
    return [Line(f"in the ledger but not in the inventory: {named}", BAD)]


def _status_steps(hosts: t.Sequence[str], seen: t.Mapping[str, HostStatus], planned: PlannedCluster) -> list[str]:
    words = {host: _plan_state(seen[host]) for host in hosts}
    todo = []
    unreachable = [host for host in hosts if words[host] == "unreachable"]
    if unreachable:
        todo += connection_steps({host: seen[host].connection for host in unreachable})
    failed = [host for host in hosts if words[host] == "failed"]
    if failed:
        todo += [f"fix the errors of {some(failed)} shown above", *_known_failures(seen, failed)]
    found = {host: overlay for host in hosts if (overlay := _overlay(seen[host]))}
    behind = [host for host, overlay in found.items() if not overlay["plan"]["current"]]
    if behind:
        todo.append(f"run ansible-playbook tke.overlay.site to apply the current plan to {some(behind)}")
    wrong = [host for host, overlay in found.items() if overlay["plan"]["current"] and not _is_as_applied(overlay)]
    if wrong:
        timer = "the timer repairs most of this by itself; " if timers_run(found[host] for host in wrong) else ""
        todo.append(f"{timer}ansible-playbook tke.overlay.site{limit(wrong)} repairs all of it")
    todo += [fault.remedy for fault in _vip_faults(seen, planned)]
    todo += fault_steps(_pod_faults(seen))
    if planned.orphans:
        names = natural_order(planned.orphans)
        todo.append(f"put {some(names)} back into the inventory, or release {them(names)}: {release(names)}")
    return todo or ["nothing to do; ansible-playbook tke.overlay.verify checks that the nodes reach each other"]


def _known_failures(seen: t.Mapping[str, HostStatus], failed: t.Sequence[str]) -> list[str]:
    """Return the steps for failures of the way to the host, such as sudo or a missing Python."""
    return connection_steps({host: seen[host].failure for host in failed if known_cause(seen[host].failure)})


# --- site ---


def site(
    seen: t.Mapping[str, HostStatus], planned: PlannedCluster, check: bool, reach: t.Sequence[Line] = ()
) -> list[Line]:
    """Return what was changed on each host, and the next steps.

    :param reach: lines about the API endpoint, where there is a load balancer.
    """
    head = ["HOST", "SITE", "WOULD CHANGE" if check else "CHANGED"]
    lines = _results(head, seen, "would change" if check else "changed", "unchanged", planned.links)
    faults = pod_faults({host: (each.result or {}).get("pods", []) for host, each in seen.items()})
    lines += [*reach, *prose(planned.forecast), *_of_orphans(planned)]
    lines += _of_pods([fault for fault in faults if fault.severity != NOTE])
    return [*lines, *steps([*fault_steps(faults), *_site_steps(seen, check)])]


def _results(
    head: t.Sequence[str],
    seen: t.Mapping[str, HostStatus],
    changed: str,
    unchanged: str,
    links: t.Sequence[Line] = (),
) -> list[Line]:
    """Return a row for each host, the links, and how many hosts were changed."""
    rows = {host: [each.site or "-", _changes_text(each)] for host, each in seen.items()}
    bad = {host for host, each in seen.items() if each.result is None}
    number = len([each for each in seen.values() if each.result is not None and each.result.get("changed")])
    summary = f"{count(len(seen), 'host')}: {number:,} {changed}, {len(seen) - number - len(bad):,} {unchanged}"
    if bad:
        summary += f", {len(bad):,} not done"
    return [*_rows(head, rows, bad), Line(""), *links, Line(summary, BAD if bad else GOOD)]


def _changes_text(each: HostStatus) -> str:
    if not each.reached:
        return f"unreachable: {cause_of(each.connection).what}" if each.connection else "unreachable"
    if each.result is None:
        return f"failed: {first_line(each.failure, 90)}" if each.failure else "not done"
    counts = each.result.get("counts", {})
    changed = ", ".join(f"{kind} {number:,}" for kind, number in counts.items() if number)
    return changed or ("something" if each.result.get("changed") else "nothing")


def _site_steps(seen: t.Mapping[str, HostStatus], check: bool) -> list[str]:
    unreachable = natural_order(host for host, each in seen.items() if not each.reached)
    todo = _failure_steps(seen)
    if unreachable:
        it = them(unreachable)
        todo.append(
            f"{some(unreachable)}: the next run that reaches {it} brings {it} up to date; other hosts do not wait"
        )
    todo += [] if check else _waiting_step(seen)
    if not any(each.result is not None for each in seen.values()):
        return todo
    if check:
        return [*todo, "run the same command without --check to apply this"]
    return [*todo, "ansible-playbook tke.overlay.verify checks that the nodes reach each other"]


def _waiting_step(seen: t.Mapping[str, HostStatus]) -> list[str]:
    """Return what to do if hosts wait with a cutover for others that have failed, or were not started yet."""
    waiting = [(each.result or {}).get("waits_for", []) for each in seen.values()]
    awaited = natural_order({host for hosts in waiting for host in hosts})
    if not awaited:
        return []
    text = (
        f"all nodes still send as before, and accept the new addresses, port or transports of links as well, because "
        f"{some(awaited)} would lose contact. The next run in which no node fails continues"
    )
    failed = [host for host in awaited if host not in seen or seen[host].failure]
    if failed:
        limit = ":".join(["all", *(f"!{host}" for host in failed)])
        text += f"; to continue without {some(failed)}: --limit '{limit}'"
    return [text]


def _failure_steps(seen: t.Mapping[str, HostStatus]) -> list[str]:
    """Return what to do about hosts that failed, were not started or were not reached."""
    todo = []
    failed = natural_order(host for host, each in seen.items() if each.failure and each.reached)
    left = natural_order(host for host, each in seen.items() if each.result is None and not each.failure)
    left = [host for host in left if seen[host].reached]
    if failed:
        todo.append(f"fix the errors of {some(failed)} shown above and run the playbook again")
        todo += _known_failures(seen, failed)
    if left:
        todo.append(f"{some(left)}: not started, because hosts before {them(left)} failed; run the playbook again")
    return [*todo, *connection_steps({host: each.connection for host, each in seen.items() if not each.reached})]


# --- reset ---


def reset(seen: t.Mapping[str, HostStatus], check: bool) -> list[Line]:
    """Return what was removed from each host, and the next steps."""
    head = ["HOST", "SITE", "WOULD REMOVE" if check else "REMOVED"]
    lines = _results(head, seen, "would be reset" if check else "reset", "without the overlay")
    todo = _failure_steps(seen)
    if any(not each.reached for each in seen.values()):
        todo.append("hosts that were not reached keep the overlay until this playbook reaches them")
    if check:
        todo.append("run the same command without --check to apply this")
    else:
        todo.append(
            "the hosts keep their node CIDRs: ansible-playbook tke.overlay.site configures them again, and "
            "tke.overlay.release frees the node CIDRs"
        )
    return [*lines, *steps(todo)]


# --- the rows of site, reset and preflight ---


def _rows(head: t.Sequence[str], rows: t.Mapping[str, t.Sequence[str]], bad: t.Collection[str]) -> list[Line]:
    """Return a row for each host; with more than :data:`MOST` hosts, one for all with equal cells."""
    same: dict[tuple[str, ...], list[str]] = collections.defaultdict(list)
    for host in sorted(rows, key=lambda host: (rows[host][0], natural(host))):
        same[(host, *rows[host]) if len(rows) <= MOST else tuple(rows[host])].append(host)
    cells, tones = [], [PLAIN]
    for hosts in list(same.values())[:MOST]:
        cells.append([some(hosts, most=2), *rows[hosts[0]]])
        tones.append(BAD if hosts[0] in bad else PLAIN)
    lines = [Line(text, tone) for text, tone in zip(table(head, cells), tones)]
    if len(same) > MOST:
        lines.append(Line(f"and {count(len(same) - MOST, 'more row')}"))
    return lines


# --- preflight ---


def preflight(
    sites: t.Mapping[str, str],
    planned: PlannedCluster,
    nodes: t.Mapping[str, Underlay],
    diff: str = "",
    more: t.Sequence[Line] = (),
) -> list[Line]:
    """Return the node CIDR and the underlay address of each host, and how long the pool lasts.

    :param nodes: host -> its underlay address.
    :param diff: what the next run would write to the ledger; empty if that was not asked for.
    :param more: lines about Kubernetes.
    """
    many = len(sites) > MOST
    head = ["HOST", "SITE", "NODE CIDR", "UNDERLAY", "FROM"]
    rows = {
        host: [site, _node_cidr(host, planned, many), *_underlay_cells(nodes[host], many)]
        for host, site in sites.items()
    }
    suspects, todo = warnings(nodes)
    new, writable = len(planned.fresh), "; the ledger can be written" if planned.writable else ""
    step = f" gives {count(new, 'node')} a node CIDR" if new else ""
    todo.append(f"ansible-playbook tke.overlay.site{step}; add --check --diff to see the changes on each host first")
    return [
        *of_new_ledger(planned.new_ledger),
        *_rows(head, rows, ()),
        Line(""),
        *planned.links,
        *map(Line, diff.splitlines()),
        Line(f"no conflict found{writable}; nothing was changed", GOOD),
        *prose(planned.forecast),
        *suspects,
        *_of_orphans(planned),
        *more,
        *steps(todo),
    ]


def _node_cidr(host: str, planned: PlannedCluster, many: bool) -> str:
    if many:
        return "new" if host in planned.fresh else "kept"
    return f"{'gets' if host in planned.fresh else 'keeps'} {planned.node_cidrs[host]}"


def _underlay_cells(node: Underlay, many: bool) -> list[str]:
    return [f"in {network_of(node.address)}" if many else node.address, node.source]

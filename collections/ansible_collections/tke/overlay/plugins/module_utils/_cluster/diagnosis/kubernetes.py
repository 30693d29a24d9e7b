# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Kubernetes records about the network: the screen of playbook kubernetes, and its lines on other screens."""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    BAD,
    GOOD,
    Line,
    count,
    natural,
    some,
    steps,
    table,
    them,
)

MOST = 40
"""Rows of the table. Nodes with something to do come first."""

Result = t.Mapping[str, t.Any]
"""The result of module kubernetes."""


def screen(result: Result, failure: str, check: bool) -> list[Line]:
    """Return a row for each node, what else was compared, and the next steps.

    :param failure: the error of the module; empty if it has succeeded.
    """
    if failure:
        return lines(result, failure, check)
    rows = sorted(result["nodes"], key=lambda row: (not _is_new(row), natural(row["host"])))
    head = ["HOST", "NODE CIDR", "NODE OBJECT", "POD CIDR", "NETWORK UNAVAILABLE"]
    texts = table(head, [_cells(row, check) for row in rows[:MOST]])
    shown = [Line(text) for text in texts]
    if len(rows) > MOST:
        shown.append(Line(f"and {count(len(rows) - MOST, 'more node')} with nothing to do or not joined yet"))
    return [*shown, Line(""), *_compared(result, check, hosts_were_read=True), *steps(_steps(result, check))]


def lines(result: Result, failure: str, check: bool, hosts_were_read: bool = True) -> list[Line]:
    """Return what was compared and published, for the screen of another playbook; nothing without a result.

    :param hosts_were_read: whether it is known which nodes have converged.
    """
    if failure:
        return [Line(f"Kubernetes: {text}", BAD) for text in failure.splitlines()[:1]] + [
            Line(text, BAD) for text in failure.splitlines()[1:]
        ]
    if not result.get("nodes") and not result.get("server"):
        return []
    todo = [Line(f"to do: {step}") for step in server_steps(result, check)]
    return [*_compared(result, check, hosts_were_read), *todo]


def _compared(result: Result, check: bool, hosts_were_read: bool) -> list[Line]:
    nodes = result["nodes"]
    published = [row for row in nodes if row["publish"]]
    cleared = [row for row in nodes if row["clear"]]
    absent = [row["host"] for row in nodes if not row["node"]]
    verb = "would be " if check else ""
    parts = [count(len(nodes) - len(absent), "Node object")]
    parts.append(f"{count(len(published), 'podCIDR')} {verb}published" if published else "no podCIDR to publish")
    if cleared:
        parts.append(f"NetworkUnavailable {verb}cleared on {len(cleared):,}")
    found = [Line(f"Kubernetes {result['server']}: {', '.join(parts)}", GOOD)]
    if absent:
        found.append(Line(f"not joined yet, so without a Node object: {some(absent)}"))
    waiting = [row["host"] for row in nodes if row["node"] and not row["available"] and not row["clear"]]
    if waiting and hosts_were_read:
        found.append(Line(f"NetworkUnavailable is not cleared before the node has converged: {some(waiting)}"))
    return [*found, *_of_service(result, verb), *_of_servers(result, verb), *_of_notes(result), *_of_proxy(result)]


def _is_new(row: t.Mapping[str, t.Any]) -> bool:
    return bool(row["publish"] or row["clear"] or (row["node"] and not (row["available"] and row["recorded"])))


def _cells(row: t.Mapping[str, t.Any], check: bool) -> list[str]:
    if not row["node"]:
        return [row["host"], row["node_cidr"] or "-", "not joined yet", "-", "-"]
    done = "would be " if check else ""
    known = "as in the ledger" if row["recorded"] else "not in the ledger yet"
    publish = f"{done}published" if row["publish"] else known
    network = f"{done}cleared" if row["clear"] else "False" if row["available"] else "not converged"
    return [row["host"], row["node_cidr"] or "-", row["node"], publish, network]


def _of_service(result: Result, verb: str) -> list[Line]:
    if not result["service"]:
        return []
    what = f"{verb}changed to lead" if result["service_changed"] else "leads"
    return [Line(f"Service default/kubernetes {what} to the VIP {result['service']}", GOOD)]


def _of_servers(result: Result, verb: str) -> list[Line]:
    found = []
    for row in result["servers"]:
        names = ", ".join(row["servers"])
        if row["differs"] and row["update"]:
            found.append(Line(f"ConfigMap {row['where']} {verb}changed from {names} to {row['wanted']}", GOOD))
        elif row["differs"]:
            found.append(Line(f"ConfigMap {row['where']} has {names}, not the API endpoint {row['wanted']}", BAD))
        elif row["update"] and not row["servers"]:
            found.append(Line(f"ConfigMap {row['where']} does not exist or has no server, so it was not changed"))
    return found


def _of_proxy(result: Result) -> list[Line]:
    fault = result["kube_proxy"].get("fault")
    return [Line(f"ConfigMap kube-system/kube-proxy {fault}", BAD)] if fault else []


def _of_notes(result: Result) -> list[Line]:
    return [Line(note, BAD) for note in result["notes"]]


def server_steps(result: Result, check: bool) -> list[str]:
    """Return what to do about the ConfigMaps."""
    proxy = result.get("kube_proxy") or {}
    todo = [proxy["remedy"]] if proxy.get("fault") else []
    rows = result.get("servers", ())
    left = [row["source"] for row in rows if row["differs"] and not row["update"]]
    if left:
        todo.append(
            f"set overlay_kubernetes_update: [{', '.join(left)}] to let the playbook change {them(left)}, or change "
            f"{them(left)} with kubectl"
        )
    if any(row["source"] == "kube-proxy" and row["differs"] and row["update"] for row in rows) and not check:
        todo.append("kubectl -n kube-system rollout restart daemonset kube-proxy, which reads its server at the start")
    return todo


def _steps(result: Result, check: bool) -> list[str]:
    todo = server_steps(result, check)
    nodes = result["nodes"]
    behind = [
        row["host"] for row in nodes if row["node"] and not (row["recorded"] and (row["available"] or row["clear"]))
    ]
    if behind:
        todo.insert(0, f"ansible-playbook tke.overlay.site brings {some(behind)} up to date, and publishes the rest")
    if check and any(row["publish"] or row["clear"] for row in nodes):
        todo.append("run the same command without --check to apply this")
    return todo or ["nothing to do"]

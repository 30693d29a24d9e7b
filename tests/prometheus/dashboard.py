# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The Grafana dashboard of the collection, as data: its rows, panels and queries.

Grafana stores a dashboard as JSON with the position of every panel; here a panel is one line or a few.
:func:`text` returns the file, which ``monitoring.py`` writes.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

WIDTH = 24
"""Columns of Grafana's grid."""

JOB = '{job=~"$job"}'
CLUSTER = '{cluster=~"$cluster"}'
LAST_RUN = "and on (job, instance, cluster, playbook) cluster:tke_overlay_controller_last_run_timestamp_seconds:newest"
LAST_CONTROLLER = LAST_RUN.replace(", playbook", "")
"""What the last run has written, and what the controller of the last run has."""
LINKS = '{job=~"$job", device=~"tke.*"}'
SITES = "{{from_site}} -> {{site}}"
NONE = 'label_replace(vector(0), "peer", "none", "", "")'


class Query(NamedTuple):
    """One query, and the legend of its series."""

    expression: str
    legend: str = ""


class Panel(NamedTuple):
    """One panel. ``limits`` are the values from which it turns orange and red, ``texts`` replace single values."""

    title: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    description: str = ""
    limits: tuple[float, ...] = ()
    least: float | None = 0
    texts: tuple[tuple[str, str], ...] = ()


class Row(NamedTuple):
    """A row of panels below one heading."""

    title: str
    panels: tuple[Panel, ...]
    height: int = 7


def stat(title: str, expression: str, *limits: float, unit: str = "short", description: str = "") -> Panel:
    """Return a panel with one number."""
    return Panel(title, (Query(expression),), "stat", unit, 4, description, limits, None)


ROWS = (
    Row(
        "Overview",
        (
            stat("Nodes with metrics", f"count(tke_overlay_info{JOB})"),
            stat(
                "Probes not answered",
                f"100 - 100 * sum(tke_overlay_probe_reachable_peers{JOB}) / sum(tke_overlay_probe_peers{JOB})",
                *(0.1, 5),
                unit="percent",
            ),
            stat(
                "Firing alerts",
                'count(ALERTS{alertname=~"TkeOverlay.*", alertstate="firing"}) or vector(0)',
                1,
                description="Alerts of the rules of the collection.",
            ),
            stat(
                "Different plans",
                f"count(count by (plan) (tke_overlay_info{JOB}))",
                2,
                description="More than one: the last run did not reach every node.",
            ),
            stat(
                "Age of the newest plan",
                f"time() - max(tke_overlay_plan_applied_timestamp_seconds{JOB})",
                unit="s",
            ),
            stat(
                "Peers per node",
                f"max(tke_overlay_peers{JOB})",
                description="The largest number of peers in the plan of a node.",
            ),
        ),
        height=4,
    ),
    Row(
        "Reachability",
        (
            Panel(
                "Peers that answer, by site",
                (
                    Query(
                        f"100 * job_from_site_site:tke_overlay_probe_reachable_peers:sum{JOB}"
                        f" / job_from_site_site:tke_overlay_probe_peers:sum{JOB}",
                        SITES,
                    ),
                ),
                unit="percent",
                description="Recorded by the rules of the collection.",
            ),
            Panel(
                "Peers that answer full-size packets, by site",
                (
                    Query(
                        f"100 * job_from_site_site:tke_overlay_probe_full_size_peers:sum{JOB}"
                        f" / job_from_site_site:tke_overlay_probe_peers:sum{JOB}",
                        SITES,
                    ),
                ),
                unit="percent",
                description="Less than the peers that answer: a hop of the underlay has a smaller MTU.",
            ),
            Panel(
                "Round trip, by site of the peer",
                (
                    Query(f"max by (site) (tke_overlay_probe_round_trip_seconds{JOB})", "{{site}}, slowest node"),
                    Query(f"avg by (site) (tke_overlay_probe_round_trip_seconds{JOB})", "{{site}}, mean of the nodes"),
                ),
                unit="s",
            ),
            Panel(
                "Peers that do not answer",
                (
                    Query(
                        f"count by (peer, site) (tke_overlay_probe_peer_reachable{JOB} == 0) or {NONE}",
                        "{{peer}} {{site}}",
                    ),
                ),
                description="How many nodes notice it.",
            ),
            Panel(
                "Peers that lose full-size packets",
                (
                    Query(
                        f"count by (peer, site) (tke_overlay_probe_peer_full_size{JOB} == 0) or {NONE}",
                        "{{peer}} {{site}}",
                    ),
                ),
                description="How many nodes notice it.",
            ),
            Panel(
                "Probed peers of all peers",
                (
                    Query(
                        f"100 * sum by (site) (tke_overlay_probe_peers{JOB})"
                        f" / sum by (site) (tke_overlay_probe_known_peers{JOB})",
                        "{{site}}",
                    ),
                ),
                unit="percent",
                width=4,
                description="The sample of one round rotates.",
            ),
            stat(
                "Until every peer was probed",
                f"max(tke_overlay_probe_cycle_seconds{JOB})",
                unit="s",
                description="How long the rotating sample of a node takes for all of its peers.",
            ),
        ),
    ),
    Row(
        "Nodes",
        (
            Panel(
                "Repairs in 5 minutes, by object",
                (Query(f"sum by (object) (increase(tke_overlay_restore_repairs_total{JOB}[5m]))", "{{object}}"),),
            ),
            Panel(
                "Not repaired",
                (
                    Query(f"sum by (object) (tke_overlay_restore_drift{JOB})", "{{object}}"),
                    Query(f"sum(tke_overlay_restore_failed{JOB})", "nodes whose restore script fails"),
                ),
            ),
            Panel(
                "Obstacles for Pods",
                (Query(f"sum by (finding) (tke_overlay_findings{JOB})", "{{finding}}"),),
                description="Number of nodes; tke.overlay.status names the remedy.",
            ),
            Panel(
                "Packets dropped by the rules",
                (Query(f"sum by (reason) (rate(tke_overlay_dropped_packets_total{JOB}[5m]))", "{{reason}}"),),
                unit="pps",
            ),
            Panel(
                "Packets dropped by the kernel on the links",
                (
                    Query(f"sum by (device) (rate(node_network_receive_drop_total{LINKS}[5m]))", "{{device}} receive"),
                    Query(
                        f"sum by (device) (rate(node_network_transmit_drop_total{LINKS}[5m]))", "{{device}} transmit"
                    ),
                ),
                unit="pps",
                description="Counted by node_exporter itself (netdev).",
            ),
            Panel(
                "Links that are down, or have another MTU",
                (
                    Query(f"sum by (device) (1 - tke_overlay_link_up{JOB})", "{{device}} down"),
                    Query(
                        f"sum by (device) (tke_overlay_link_mtu_bytes{JOB}"
                        f" != bool tke_overlay_link_expected_mtu_bytes{JOB})",
                        "{{device}} MTU",
                    ),
                ),
            ),
            Panel(
                "Age of the last run of the timers",
                (
                    Query(f"max(job_instance:tke_overlay_restore_last_run:age_seconds{JOB})", "restore, oldest node"),
                    Query(f"max(job_instance:tke_overlay_probe_last_run:age_seconds{JOB})", "probe, oldest node"),
                ),
                unit="s",
            ),
            Panel(
                "Metrics that could not be written",
                (
                    Query(f"sum(increase(tke_overlay_metrics_write_errors_total{JOB}[15m]))", "restore"),
                    Query(f"sum(increase(tke_overlay_probe_write_errors_total{JOB}[15m]))", "probe"),
                ),
            ),
            Panel(
                "API endpoint",
                (Query(f"100 * avg by (stage) (tke_overlay_endpoint_stage_ok{JOB})", "{{stage}}"),),
                unit="percent",
                description="Share of the nodes on which the stage passes.",
            ),
        ),
    ),
    Row(
        "WireGuard",
        (
            Panel(
                "Peers with a session, by site",
                (
                    Query(
                        f"100 * sum by (site) (tke_overlay_probe_wireguard_living_peers{JOB})"
                        f" / sum by (site) (tke_overlay_probe_wireguard_peers{JOB})",
                        "{{site}}",
                    ),
                ),
                unit="percent",
                description="Of the probed peers with an encrypted link. Without such links, the row is empty.",
            ),
            Panel(
                "Age of the oldest handshake, by site of the peer",
                (
                    Query(
                        "time() - min by (site) "
                        f"(tke_overlay_probe_wireguard_oldest_handshake_timestamp_seconds{JOB} > 0)",
                        "{{site}}",
                    ),
                ),
                unit="s",
                description="A session ends 180 s after its handshake. Peers without any handshake are left out.",
            ),
            Panel(
                "Peers of the devices",
                (Query(f"max by (device) (tke_overlay_wireguard_peers{JOB})", "{{device}}"),),
                description="The largest number of a node. Two devices exist only while keys change.",
            ),
        ),
    ),
    Row(
        "Private load balancer",
        (
            Panel(
                "Hosts that hold the VIP",
                (Query(f"sum by (vip) (job_instance_vip:tke_overlay_clb_vip_held:fresh{JOB})", "{{vip}}"),),
                description="One is right.",
            ),
            Panel(
                "Moves of the VIPs in 5 minutes",
                (
                    Query(
                        f"sum by (vip) (increase(tke_overlay_clb_vrrp_transitions_total{JOB}[5m]))",
                        "{{vip}}",
                    ),
                ),
            ),
            Panel(
                "Servers that are up",
                (Query(f"avg by (backend, server) (tke_overlay_clb_backend_up{JOB})", "{{backend}} {{server}}"),),
                description="Share of the load balancer hosts for which the server is up.",
            ),
            Panel(
                "Weight of the VIPs",
                (Query(f"tke_overlay_clb_vip_weight{JOB}", "{{instance}} {{vip}}"),),
                description="0: the host is fit to hold the VIP. Below: it is not.",
                least=None,
            ),
            Panel(
                "Parts that do not work",
                (Query(f"sum by (finding) (tke_overlay_clb_findings{JOB})", "{{finding}}"),),
            ),
            Panel(
                "Age of the metrics of the load balancer hosts",
                (Query(f"max(job_instance:tke_overlay_clb_last_run:age_seconds{JOB})", "oldest host"),),
                unit="s",
            ),
        ),
    ),
    Row(
        "Ledger",
        (
            Panel(
                "Node CIDRs",
                (
                    Query(
                        f"sum by (state) (job_cluster_state:tke_overlay_ledger_node_cidrs:newest{CLUSTER})", "{{state}}"
                    ),
                    Query(f"sum(tke_overlay_ledger_capacity_node_cidrs{CLUSTER} {LAST_CONTROLLER})", "capacity"),
                ),
            ),
            Panel(
                "Pending node CIDRs, orphans, hosts not reached",
                (
                    Query(f"sum(tke_overlay_ledger_pending{CLUSTER} {LAST_CONTROLLER})", "pending"),
                    Query(f"sum(tke_overlay_ledger_orphans{CLUSTER} {LAST_CONTROLLER})", "orphans"),
                    Query(
                        f"max by (playbook) (tke_overlay_hosts_not_reached{CLUSTER} {LAST_RUN})",
                        "not reached by {{playbook}}",
                    ),
                ),
            ),
            stat(
                "Pool full in",
                f"min(tke_overlay_ledger_exhaustion_timestamp_seconds{CLUSTER} {LAST_CONTROLLER}) - time()"
                " or vector(-1)",
                unit="s",
                description="At the rate of the past.",
            )._replace(texts=(("-1", "no growth"),)),
            stat(
                "Last run of a playbook",
                f"time() - max(tke_overlay_controller_last_run_timestamp_seconds{CLUSTER})",
                unit="s",
            ),
        ),
    ),
)


def queries() -> list[str]:
    """Return every query of the dashboard."""
    return [query.expression for row in ROWS for panel in row.panels for query in panel.queries]


def text() -> str:
    """Return the dashboard as Grafana imports it."""
    return json.dumps(_dashboard(), indent=2) + "\n"


def _dashboard() -> dict[str, Any]:
    return {
        "__inputs": [
            {"name": "DS_PROMETHEUS", "label": "Prometheus", "type": "datasource", "pluginId": "prometheus"},
        ],
        "__requires": [
            {"type": "grafana", "id": "grafana", "name": "Grafana", "version": "9.0.0"},
            {"type": "datasource", "id": "prometheus", "name": "Prometheus", "version": "1.0.0"},
        ],
        "uid": "tke-overlay",
        "title": "tke.overlay",
        "description": "The overlay: reachability, repairs, the load balancer, the ledger.",
        "tags": ["tke.overlay"],
        "editable": True,
        "schemaVersion": 36,
        "refresh": "1m",
        "time": {"from": "now-24h", "to": "now"},
        "timezone": "",
        "templating": {
            "list": [
                _variable("job", "Job", "label_values(tke_overlay_info, job)"),
                _variable("cluster", "Cluster", "label_values(tke_overlay_ledger_capacity_node_cidrs, cluster)"),
            ]
        },
        "panels": _panels(),
    }


def _variable(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


_SOURCE = {"type": "prometheus", "uid": "${DS_PROMETHEUS}"}


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        place = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row.title, "gridPos": place, "panels": []})
        top, left = top + 1, 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left = top + row.height, 0
            place = {"x": left, "y": top, "w": panel.width, "h": row.height}
            panels.append(_panel(panel, len(panels) + 1, place))
            left += panel.width
        top += row.height
    return panels


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    colors = ("orange", "red") if len(panel.limits) > 1 else ("red",)
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": limit} for color, limit in zip(colors, panel.limits, strict=False)]
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.texts:
        options = {value: {"text": text} for value, text in panel.texts}
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.least is not None:
        defaults["min"] = panel.least
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if panel.kind == "stat" else {},
        "targets": [
            {
                "refId": chr(ord("A") + position),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend or "__auto",
                "instant": panel.kind == "stat",
            }
            for position, query in enumerate(panel.queries)
        ],
    }

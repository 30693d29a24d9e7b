# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The past day of the overlay, as Prometheus has recorded it: the queries, and what the report shows of the answers.

A query belongs to one cluster, although a Prometheus may have several: of the metrics of a
node only ``tke_overlay_info`` has the cluster, so the others are joined with it.
"""

from __future__ import annotations

import datetime
import json
import math
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._metrics import PREFIX

SECONDS = 86_400
STEP = 1800
"""Seconds between two points. A counter is counted over the same time."""

Point = t.Tuple[str, float]
"""The end of the interval (UTC, ISO 8601), and the value."""


class Series(t.TypedDict):
    """What was measured in the past day. A point is missing where Prometheus has no value."""

    name: str
    title: str
    unit: str
    points: list[Point]


class PastDay(t.TypedDict):
    """The recorded past day, or the problem because of which there is none."""

    source: str
    begin: str
    end: str
    step: int
    problem: str | None
    series: list[Series]


class Measure(t.NamedTuple):
    """One series of the report. In its query, ``OF_CLUSTER`` restricts the metric before it to the cluster."""

    name: str
    title: str
    unit: str
    query: str


def _share(metric: str) -> str:
    return f"100 * sum({PREFIX}{metric} OF_CLUSTER) / sum({PREFIX}probe_peers OF_CLUSTER)"


def _count(metric: str) -> str:
    return f"sum(increase({PREFIX}{metric}[{STEP}s]) OF_CLUSTER)"


MEASURES = (
    Measure("reachability", "Probes answered", "%", _share("probe_reachable_peers")),
    Measure("full_size", "Full-size probes answered", "%", _share("probe_full_size_peers")),
    Measure("repairs", "Repairs by the restore script", "", _count("restore_repairs_total")),
    Measure("drops", "Packets dropped by the rules", "", _count("dropped_packets_total")),
)


def query(measure: Measure, cluster: str) -> str:
    """Return the query of a measure for one cluster."""
    info = f"max by (job, instance) ({PREFIX}info{{cluster={json.dumps(cluster, ensure_ascii=False)}}})"
    return measure.query.replace("OF_CLUSTER", f"* on (job, instance) group_left () {info}")


def series_of(measure: Measure, answer: t.Any) -> Series:
    """Return the series in an answer to ``/api/v1/query_range``.

    :raises ValidationError: the answer is none of Prometheus.
    """
    try:
        found = answer["data"]["result"]
        values = found[0]["values"] if found else []
        points = [(timestamp(float(at)), float(value)) for at, value in values]
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, OSError):
        raise ValidationError("the answer is none of Prometheus") from None
    points = [(at, value) for at, value in points if math.isfinite(value)]
    return Series(name=measure.name, title=measure.title, unit=measure.unit, points=points)


def timestamp(seconds: float) -> str:
    """Return seconds since 1970 as a time (UTC, ISO 8601)."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

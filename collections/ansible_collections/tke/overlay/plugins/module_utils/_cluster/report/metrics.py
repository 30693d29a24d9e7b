# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of the controller: what the ledger has, and which hosts a run did not reach."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import forecast, pool_map
from ansible_collections.tke.overlay.plugins.module_utils._metrics import POOL_STATES, Sample


class PlaybookRun(t.NamedTuple):
    """One run: the playbook without its namespace, its end (UTC, ISO 8601), and how many hosts it did not reach."""

    playbook: str
    at: str
    not_reached: int


def of_ledger(ledger: Ledger, previous: t.Sequence[Ledger], orphans: t.Collection[str], now: str) -> list[Sample]:
    """Return the metrics of the ledger.

    :param previous: its previous versions, for the forecast.
    :param orphans: its nodes that are not in the inventory.
    :param now: UTC, ISO 8601.
    """
    pool = pool_map(ledger, orphans)
    cluster = {"cluster": ledger.cluster}
    counts = {**pool["counts"], "assigned": pool["capacity"]["used"]}
    samples = [Sample("ledger_node_cidrs", counts[state], {**cluster, "state": state}) for state in POOL_STATES]
    samples += [
        Sample("ledger_capacity_node_cidrs", pool["capacity"]["max_nodes"], cluster),
        Sample("ledger_pending", len(ledger.awaited()), cluster),
        Sample("ledger_orphans", len(orphans), cluster),
    ]
    full = forecast(ledger, previous, now)["exhausted_on"]
    if full is not None:
        samples.append(Sample("ledger_exhaustion_timestamp_seconds", seconds(full), cluster))
    return samples


def of_run(cluster: str, run: PlaybookRun) -> list[Sample]:
    """Return the metrics of a run."""
    labels = {"cluster": cluster, "playbook": run.playbook}
    return [
        Sample("controller_last_run_timestamp_seconds", seconds(run.at), labels),
        Sample("hosts_not_reached", run.not_reached, labels),
    ]


def seconds(time: str) -> float:
    """Return a date or a time in UTC (ISO 8601) as seconds since 1970."""
    moment = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()

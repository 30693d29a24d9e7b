# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of the controller: states that add up, and the forecast."""

from __future__ import annotations

import datetime

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Assignment
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.metrics import of_ledger, seconds
from ansible_collections.tke.overlay.tests.unit.plugins.module_utils._cluster.report.examples import NOW, ledger_of


def by_name(samples, name):
    return [sample for sample in samples if sample.name == name]


def test_the_states_of_node_cidrs_add_up_to_the_capacity():
    ledger = ledger_of("cloud1", "cloud2", "idc1")
    ledger.release(["idc1"], ["cloud1"], NOW)
    samples = of_ledger(ledger, [], ["cloud2"], NOW)
    (capacity,) = by_name(samples, "ledger_capacity_node_cidrs")
    assert sum(sample.value for sample in by_name(samples, "ledger_node_cidrs")) == capacity.value


def test_the_forecast_is_a_time_and_missing_without_growth():
    ledger = ledger_of("cloud1")
    assert not by_name(of_ledger(ledger, [], [], NOW), "ledger_exhaustion_timestamp_seconds")
    for number in range(1, 8):
        ledger.nodes[f"idc{number}"] = Assignment(
            ledger.pool.node_cidr(number), f"10.0.1.{number}", 1500, "2026-06-20T00:00:00Z", False
        )
    (full,) = by_name(of_ledger(ledger, [], [], NOW), "ledger_exhaustion_timestamp_seconds")
    assert seconds(NOW) < full.value < seconds(NOW) + 365 * 86_400


def test_times_are_read_as_utc():
    assert seconds("1970-01-02") == seconds("1970-01-02T00:00:00Z") == 86_400
    moment = datetime.datetime(2026, 6, 30, 12, tzinfo=datetime.timezone.utc)
    assert seconds(NOW) == moment.timestamp()

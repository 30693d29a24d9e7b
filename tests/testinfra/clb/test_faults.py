# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A host of the pair fails in five ways, each twice: new connections fail for at most one second."""

from __future__ import annotations

from faults import FAULTS, LIMIT, measure, report

testinfra_hosts = ["local://"]


def test_each_fault_interrupts_clients_for_at_most_a_second():
    events = measure(list(FAULTS), 2, print)
    assert len(events) == 2 * len(FAULTS)
    text = report(events)
    print(text)
    for event in events:
        # On a busy machine, a load generator that runs late measures a longer outage than there was.
        assert event.outage - event.stall <= LIMIT, text
        assert event.return_outage - event.stall <= LIMIT, text
        assert event.both_hold <= LIMIT, text
        assert event.without_proxy <= LIMIT, text
    assert sum(event.failed for event in events) > 0, "no fault affected the client"

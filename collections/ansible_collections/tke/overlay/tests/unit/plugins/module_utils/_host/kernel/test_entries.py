# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries that a user wrote for the modules fdb, neighbor and route."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.entries import (
    fdb_tasks,
    neighbor_tasks,
    route_tasks,
)

FDB = [{"mac": "0A:58:0A:F4:01:00", "dst": "10.0.1.12"}]


@pytest.mark.parametrize(
    ("tasks_of", "entries", "words"),
    [
        (
            fdb_tasks,
            [{"mac": "nonsense", "dst": "x"}, {"mac": "0a:58:0a:f4:01:00", "dst": "host"}],
            ["entry 1", "entry 2"],
        ),
        (fdb_tasks, [FDB[0], {**FDB[0], "dst": "10.0.1.99"}], ["given twice", "10.0.1.12", "10.0.1.99"]),
        (neighbor_tasks, [{"address": "10.244.1.0/24", "mac": "0a:58:0a:f4:01:00"}], ["10.244.1.0/24"]),
        (route_tasks, [{"dst": "10.244.1.1/24", "via": "10.244.1.0"}], ["host bits"]),
        (route_tasks, [{"dst": "10.244.1.0/24"}], ["requires 'via'"]),
        (
            route_tasks,
            [{"dst": "10.244.1.0/24", "via": "2001:db8::1"}],
            ["gateway is IPv6, but the destination is IPv4"],
        ),
    ],
)
def test_invalid_entries_are_all_named_at_once(tasks_of, entries, words):
    with pytest.raises(ValidationError) as caught:
        tasks_of("tke0", entries)
    for word in words:
        assert word in str(caught.value)


def test_entries_are_written_in_the_form_of_the_kernel():
    (fdb,) = fdb_tasks("tke0", FDB)
    assert fdb.desired == {"0a:58:0a:f4:01:00": "dst 10.0.1.12"}
    neighbors = neighbor_tasks("tke0", [{"address": "2001:DB8:0::1", "mac": "0A:58:0A:F4:01:00"}])
    assert [task.desired for task in neighbors] == [{}, {"2001:db8::1": "lladdr 0a:58:0a:f4:01:00"}]
    routes = route_tasks("tke0", [{"dst": "2001:DB8:1::/64", "via": "2001:DB8::1", "metric": 7}])
    assert [task.desired for task in routes] == [
        {},
        {"2001:db8:1::/64 metric 7": "via 2001:db8::1 dev tke0 onlink"},
    ]

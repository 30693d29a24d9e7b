# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the FDB table on listings that are rare in practice."""

from __future__ import annotations

import json

from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable


def test_identifies_an_entry_by_the_attributes_it_has():
    mac, group = "0a:58:0a:f4:01:00", "01:00:5e:00:00:01"
    rows = [
        {"mac": mac, "dst": "10.0.1.12", "state": "permanent"},
        {"mac": group, "ifname": "tke0", "state": "permanent"},
        {"mac": "0a:58:0a:f4:02:00", "nhid": 7, "state": "permanent"},
        {"mac": "0a:58:0a:f4:03:00", "dst": "10.0.1.13", "port": 4789},
    ]
    present = FdbTable("tke0").read(lambda command, text: (0, json.dumps(rows), ""))
    assert {key: (entry.spec, entry.managed) for key, entry in present.items()} == {
        mac: ("dst 10.0.1.12", True),
        "0a:58:0a:f4:02:00 nhid 7": ("nhid 7", True),
        "0a:58:0a:f4:03:00": ("dst 10.0.1.13 port 4789 dynamic", False),
    }

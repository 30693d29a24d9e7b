# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks site and verify say of the way to the API server."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.endpoints import API_SERVER, judge
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import BAD, GOOD, Line


def test_one_line_if_all_is_well_and_none_if_nobody_was_asked():
    lines, whole = judge({"a": "", "b": ""})
    assert whole
    assert lines == [
        Line("API endpoint: 2 nodes reach the API server and every service through the load balancer", GOOD)
    ]
    (line,), _whole = judge({"a": ""}, API_SERVER)
    assert line.text == "API endpoint: 1 node reaches the API server through the load balancer"
    assert judge({}) == ([], True)


def test_what_several_hosts_have_in_common_is_said_once():
    failures = {
        "a": "api (10.0.2.2:6443) does not answer. tcp: no (stages that passed: route: dev eth0)",
        "b": "api (10.0.2.2:6443) does not answer. tcp: no (stages that passed: route: dev eth1)",
        "c": "not everything is as it was asked for",
        "d": "",
    }
    lines, whole = judge(failures)
    assert not whole
    assert lines == [
        Line("a, b: api (10.0.2.2:6443) does not answer. tcp: no", BAD),
        Line("c: not everything is as it was asked for", BAD),
    ]

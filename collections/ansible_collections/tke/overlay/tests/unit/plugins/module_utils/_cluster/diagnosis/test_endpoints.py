# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the result of the endpoint checks that the playbooks site and verify print."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.endpoints import API_SERVER, judge
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import BAD, GOOD, Line


def test_passed_checks_are_one_line_and_no_check_is_none():
    lines, passed = judge({"a": "", "b": ""})
    assert passed
    assert lines == [
        Line("API endpoint: 2 nodes reach the API server and every service through the load balancer", GOOD)
    ]
    (line,), _passed = judge({"a": ""}, API_SERVER)
    assert line.text == "API endpoint: 1 node reaches the API server through the load balancer"
    assert judge({}) == ([], True)


def test_hosts_with_the_same_error_share_a_line():
    failures = {
        "a": "api (10.0.2.2:6443) is unreachable. tcp: no (stages that passed: route: dev eth0)",
        "b": "api (10.0.2.2:6443) is unreachable. tcp: no (stages that passed: route: dev eth1)",
        "c": "the kubeconfig was not changed",
        "d": "",
    }
    lines, passed = judge(failures)
    assert not passed
    assert lines == [
        Line("a, b: api (10.0.2.2:6443) is unreachable. tcp: no", BAD),
        Line("c: the kubeconfig was not changed", BAD),
    ]

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the result of the endpoint checks that the playbooks site and verify print."""

from __future__ import annotations

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.endpoints import (
    API_SERVER,
    judge,
    missing_kubeconfigs,
    waiting_services,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import BAD, GOOD, PLAIN, Line


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


def test_a_missing_kubeconfig_is_no_fault_and_has_a_remedy():
    assert missing_kubeconfigs({"a": [], "b": ()}) == []
    lines = missing_kubeconfigs({"b10": ["/etc/k.conf"], "b9": ["/etc/k.conf", "/etc/a.conf"], "c": []})
    assert [line.tone for line in lines] == [PLAIN, PLAIN]
    assert lines[0].text.startswith("b9: kubeconfig /etc/a.conf is not there yet; ")
    assert lines[1].text.startswith("b9, b10: kubeconfig /etc/k.conf is not there yet; ")
    assert "tke.overlay.site changes it after the join" in lines[1].text


def test_a_service_that_waits_for_its_restart_is_a_fault():
    (line,) = waiting_services({"a": ["kubelet.service"], "b": ["kubelet.service"], "c": []})
    assert line.tone == BAD
    assert line.text.startswith("a, b: kubelet.service was not restarted and uses the former server")
    assert "run tke.overlay.site again" in line.text

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what the program of the pair's metrics makes of HAProxy's answers. Scenario ``health`` has the real ones."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host.load_balancer.clb_metrics import parse_backends

HEADER = "# pxname,svname,qcur,status,weight,\n"


@pytest.mark.parametrize(
    ("text", "backends"),
    [
        (HEADER + "apiserver,api1,0,UP,1,\n", {("apiserver", "api1"): True}),
        (HEADER + "apiserver,api1,0,UP 1/2,1,\n", {("apiserver", "api1"): True}),
        (HEADER + "apiserver,api1,0,DOWN,1,\n", {("apiserver", "api1"): False}),
        (HEADER + "apiserver,api1,0,MAINT (resolution),1,\n", {("apiserver", "api1"): False}),
        (HEADER + "apiserver,api1,0,DOWN,1,\nunchecked_apiserver,api1,0,no check,1,\n", {("apiserver", "api1"): False}),
        (HEADER + "apiserver,api1\n\n", {}),
        ("Unknown command.\n", None),
        ("", None),
    ],
)
def test_reads_which_servers_are_up_according_to_their_checks(text, backends):
    assert parse_backends(text) == backends

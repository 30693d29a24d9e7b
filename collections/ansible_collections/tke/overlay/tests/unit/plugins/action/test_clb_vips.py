# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory as clb_vips reads it: addresses of all hosts, and variables that nodes and pair share."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.action.clb_vips import CLUSTER_VARIABLES, PAIR_VARIABLES, survey_hosts
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.vips import Claim

GIVEN = {"provider": "pair", "group": "clb", "nodes_group": "overlay_nodes"}
GROUPS = {"all": ["a", "x", "clb1", "clb2"], "overlay_nodes": ["a"], "clb": ["clb1", "clb2"]}
COMMON = {"inventory_dir": "/here", "overlay_clb_subnet": "10.0.2.0/24"}


def survey(given=None, groups=None, **hosts):
    given, groups = given or GIVEN, groups or GROUPS
    hostvars = {name: {**COMMON, **hosts.get(name, {})} for name in groups["all"]}
    return survey_hosts(given, {"groups": groups, "hostvars": hostvars})


def test_collects_the_addresses_of_all_hosts():
    addresses, problems = survey(x={"ansible_host": "10.0.2.7"}, a={"overlay_underlay_ip": "10.0.2.8"})
    assert addresses == [
        Claim("10.0.2.8", "host a (overlay_underlay_ip)"),
        Claim("10.0.2.7", "host x (ansible_host)"),
    ]
    assert problems == []


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ([], "group clb has no hosts, and the pair"),
        (["clb1"], "1 hosts (clb1)"),
        (["a", "b", "c"], "3 hosts (a, b, c)"),
    ],
)
def test_pair_needs_exactly_two_hosts(pair, words):
    groups = {"all": ["a", "b", "c", "clb1"], "overlay_nodes": ["a"], "clb": pair}
    _addresses, (problem,) = survey(groups=groups)
    assert words in problem
    assert survey(given={**GIVEN, "provider": "external"}, groups=groups)[1] == []


def test_names_variables_that_differ_between_nodes_and_pair():
    _addresses, problems = survey(
        a={"overlay_cluster": "demo", "overlay_clb_subnet": "10.0.3.0/24"}, x={"overlay_clb_subnet": "10.9.9.0/24"}
    )
    assert len(problems) == 2
    assert "overlay_cluster must be the same for the whole cluster" in problems[0]
    assert "not set for clb1" in problems[0]
    assert '"10.0.2.0/24" for clb1' in problems[1]


@pytest.mark.parametrize("variable", CLUSTER_VARIABLES)
def test_compares_every_cluster_variable(variable):
    _addresses, problems = survey(a={variable: "only here"})
    assert [problem.partition(" ")[0] for problem in problems] == [variable]


@pytest.mark.parametrize("variable", PAIR_VARIABLES)
def test_compares_variables_of_the_pair_between_its_hosts(variable):
    """With two VRRP router identifiers, both hosts would hold both VIPs."""
    _addresses, problems = survey(a={variable: "of a node"}, clb2={variable: "only here"})
    assert [problem.partition(" ")[0] for problem in problems] == [variable]
    assert "not set for clb1" in problems[0]
    assert "group_vars of clb" in problems[0]


def test_cluster_variables_include_those_of_the_endpoint():
    assert {"overlay_api_port", "overlay_api_ca", "overlay_clb_services", "overlay_clb_subnet"} <= set(
        CLUSTER_VARIABLES
    )


def test_names_hosts_whose_variables_cannot_be_evaluated():
    class Broken(dict):
        def get(self, name, default=None):
            raise ZeroDivisionError("division\n by zero")

    _addresses, problems = survey_hosts(GIVEN, {"groups": GROUPS, "hostvars": dict.fromkeys(GROUPS["all"], Broken())})
    assert problems == [f"host {name}: ansible_host cannot be evaluated: division by zero" for name in GROUPS["all"]]

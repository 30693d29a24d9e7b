# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The arguments of the task that plans: every problem of variables and nodes in one error, by variable."""

from __future__ import annotations

import types

import pytest

from ansible_collections.tke.overlay.plugins.action.clb_vips import ActionModule as ClbVips
from ansible_collections.tke.overlay.plugins.action.plan import ActionModule as Plan
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

GROUPS = {"overlay_nodes": ["a", "b"], "cloud": ["a"], "idc": ["b"]}
HOSTS = {"a": {"overlay_underlay_ip": "10.0.1.1"}, "b": {"overlay_underlay_ip": "10.0.1.2"}}


def arguments(given, variables=None, hosts=None, action=Plan, ledger="/nowhere/ledger.json"):
    """Return the validated arguments of a task; ``variables`` are those of all hosts."""
    hostvars = {name: {**HOSTS[name], **(variables or {}), **(hosts or {}).get(name, {})} for name in HOSTS}
    plugin = action.__new__(action)
    plugin._task = types.SimpleNamespace(args={"ledger": ledger, **given})
    return plugin.arguments({"groups": GROUPS, "hostvars": hostvars, "inventory_dir": "/inv"})


def problems(*given, **options):
    with pytest.raises(ValidationError) as caught:
        arguments(*given, **options)
    return caught.value.problems


GOOD = {"cluster": "demo", "container_cidr": "10.244.0.0/16"}


def test_valid_arguments_are_converted_as_ansible_does():
    given = arguments({**GOOD, "vni": "7", "require_idc": "yes", "reserved": "10.244.1.0/24, 10.244.2.0/24"})
    assert (given["vni"], given["require_idc"], given["port"]) == (7, True, 8472)
    assert given["reserved"] == ["10.244.1.0/24", "10.244.2.0/24"]


def test_required_variables_are_named_and_not_options():
    (problem,) = problems({})
    assert problem.startswith(
        "overlay_cluster and overlay_container_cidr are not set for any host of group overlay_nodes"
    )
    (problem,) = problems({"cluster": "demo"}, variables={"overlay_cluster": "demo"})
    assert problem.startswith("overlay_container_cidr is not set for any host")


def test_all_values_are_named_at_once_with_their_ranges():
    given = {"vni": "0x10", "port": "99999"}
    found = problems({**GOOD, **given}, variables={f"overlay_{name}": value for name, value in given.items()})
    assert found == [
        "overlay_vni '0x10' is not a whole number in decimal digits: set a number from 1 to 16777215",
        "overlay_port 99999 is not between 1 and 65535",
    ]


def test_a_task_without_variables_names_them_as_well():
    assert problems({**GOOD, "vni": "0x10", "release": [None]}) == [
        "overlay_vni '0x10' is not a whole number in decimal digits: set a number from 1 to 16777215",
        "overlay_leaving: item 1, has no value: give it one, or remove the line",
    ]


def test_invalid_variables_do_not_hide_other_problems():
    found = problems(
        {**GOOD, "vni": "x", "container_cidr": "10.244.0.0"},
        variables={"overlay_vni": "x"},
        hosts={"b": {"overlay_underlay_ip": "10.0.1.1"}},
    )
    assert [problem.partition(" ")[0] for problem in found] == ["overlay_vni", "nodes", "overlay_container_cidr:"]
    assert "'10.244.0.0' has no prefix length" in found[2]


def test_without_a_ledger_to_read_the_nodes_are_still_checked():
    found = problems({"vni": "x"}, hosts={"b": {"overlay_underlay_ip": None, "ansible_host": "b.example"}})
    assert found[0].startswith("overlay_vni 'x'")
    assert found[1].startswith("overlay_cluster and overlay_container_cidr are not set")
    assert found[2].startswith("no numeric underlay address is known for b (ansible_host is 'b.example')")
    assert len(found) == 3


def test_variables_of_other_roles_and_groups_are_checked_before_a_change():
    found = problems(GOOD, variables={"overlay_confirm_timeout": 1, "overlay_kubeconfigs": ["a"]})
    assert found == [
        "overlay_confirm_timeout 1 is not between 3 and 3600 seconds (or 0)",
        "overlay_kubeconfigs: 'a' is not an absolute path",
    ]


def test_an_unsuitable_ledger_is_named_beside_a_variable():
    found = problems(GOOD, variables={"overlay_confirm_timeout": 1}, ledger="etcd://")
    assert [problem.partition(" ")[0] for problem in found] == ["overlay_confirm_timeout", *["overlay_ledger"] * 2]


def test_the_name_of_the_cluster_is_part_of_the_name_of_the_api_server():
    variables = {"overlay_clb_provider": "external", "overlay_kubeconfigs": ["/etc/x"]}
    (problem,) = problems({**GOOD, "cluster": "My Cluster"}, variables=variables)
    assert problem.startswith("overlay_cluster 'My Cluster' gives the API server the name")


def test_unknown_variables_are_a_warning():
    plugin = Plan.__new__(Plan)
    assert plugin.warnings({"groups": GROUPS}) == []
    plugin._task = types.SimpleNamespace(args={"ledger": "/nowhere/ledger.json", **GOOD})
    task_vars = {"groups": GROUPS, "hostvars": {**HOSTS, "b": {**HOSTS["b"], "overlay_mtu": 1400}}}
    assert plugin.arguments(task_vars)["cluster"] == "demo"
    (warning,) = plugin.warnings(task_vars)
    assert warning.endswith("overlay_mtu (group idc), did you mean overlay_underlay_mtu?")


def test_hosts_of_a_site_that_are_no_nodes_are_a_warning():
    plugin = Plan.__new__(Plan)
    plugin._task = types.SimpleNamespace(args={"ledger": "/nowhere/ledger.json", **GOOD})
    task_vars = {"groups": {**GROUPS, "idc": ["b", "forgotten"]}, "hostvars": HOSTS}
    plugin.arguments(task_vars)
    (warning,) = plugin.warnings(task_vars)
    assert "forgotten (group idc)" in warning


def test_other_actions_name_their_variables():
    assert problems({"subnet": ["x"], "subnet_gateway": 1.5, "provider": "none"}, action=ClbVips) == [
        "overlay_cluster is not set",
        "overlay_container_cidr is not set",
        "overlay_clb_subnet ['x'] is a list: set one text",
        "overlay_clb_gateway 1.5 is a number with a fraction, of which YAML drops zeros: put the text in quotes",
        "overlay_clb_provider 'none' is unknown: set pair or external",
    ]

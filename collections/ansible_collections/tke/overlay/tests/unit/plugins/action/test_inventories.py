# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Malformed inventories give a plan or an error message, never a traceback."""

from __future__ import annotations

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.action import node_cidr, plan
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning import plan as planner
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
    problems_of_nodes,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import read_inventory
from ansible_collections.tke.overlay.plugins.plugin_utils._ledger_action import settings_of

NOW = "2026-01-02T03:04:05Z"
GOOD = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)
LEDGER = planner.assign(
    GOOD,
    [InventoryNode("a", ["cloud"], "10.0.1.1", 1500), InventoryNode("b", ["idc"], "10.0.1.2", 1500)],
    None,
    "/ledger",
    NOW,
).text()

WORDS = [
    *("10.244.0.0/16", "10.244.0.0/15", "10.244.1.0/24", "10.244.1.1/24", "10.0.0.0/8", "0.0.0.0/0", "fd00::/8"),
    *("10.0.1.1", "10.0.1.2", "::1", "127.0.0.1", "255.255.255.255", "10.0.1", "010.1.1.1"),
    *("256", "-1", "0", "1e9", "99999999999999999999999", "true", "tke0", "lo", ".", "..", "demo", "a", "b", "idc"),
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 70000),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(WORDS),
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
HOST = st.dictionaries(
    st.sampled_from(["overlay_underlay_ip", "overlay_underlay_mtu", "overlay_node_cidr", "ansible_host"]),
    ANYTHING,
    max_size=4,
)
NAMES = st.lists(st.sampled_from(["a", "b", "c", "d e", "", "x" * 300, "\u00fc", "10.0.0.1"]), max_size=4, unique=True)


def answer(options, given, nodes_of):
    """Return the new text of the ledger, or the error message."""
    try:
        validated = ArgumentSpecValidator(options).validate(given)
    except OverflowError:  # infinity is not an integer: LedgerAction.run reports it
        return "infinity"
    if validated.error_messages:
        return "; ".join(validated.error_messages)
    parameters = validated.validated_parameters
    try:
        cluster, nodes = settings_of(parameters), nodes_of(parameters)
        ledger = planner.assign(cluster, nodes, LEDGER if cluster.cluster == "demo" else None, "/ledger", NOW)
        planner.plan(cluster, nodes, ledger)
        return ledger.text()
    except ValidationError as error:
        return str(error) if all(problem.strip() for problem in error.problems) else ""


def nodes_of(task_vars):
    inventory = read_inventory("overlay_nodes", task_vars)
    if inventory.problems:
        raise ValidationError(*inventory.problems)
    return inventory.nodes


@settings(max_examples=2500)
@given(
    st.fixed_dictionaries(
        {
            "ledger": st.just("/ledger"),
            "cluster": st.one_of(st.just("demo"), ANYTHING),
            "container_cidr": st.one_of(st.just("10.244.0.0/16"), ANYTHING),
        },
        optional=dict.fromkeys(
            sorted(plan.ActionModule.options.keys() - {"ledger", "cluster", "container_cidr", "group"}), ANYTHING
        ),
    ),
    st.dictionaries(st.sampled_from(["overlay_nodes", "cloud", "idc"]), NAMES),
    st.data(),
)
def test_plan_returns_a_plan_or_a_message(given_, groups, data):
    hostvars = {name: data.draw(HOST) for name in groups.get("overlay_nodes", [])}
    assert answer(
        plan.ActionModule.options,
        given_,
        lambda parameters: nodes_of({"groups": groups, "hostvars": hostvars}),
    )


@settings(max_examples=2500)
@given(
    st.fixed_dictionaries(
        {"ledger": st.just("/ledger"), "cluster": st.just("demo"), "container_cidr": st.just(["10.244.0.0/16"])},
        optional={
            "nodes": st.lists(
                st.one_of(
                    ANYTHING,
                    st.fixed_dictionaries({"name": SCALARS}, optional={"node_cidr": ANYTHING, "underlay_ip": ANYTHING}),
                ),
                max_size=4,
            ),
            "max_pods_per_node": SCALARS,
            "max_services": SCALARS,
            "reserved": ANYTHING,
        },
    )
)
def test_node_cidr_returns_a_ledger_or_a_message(given_):
    assert answer(node_cidr.ActionModule.options, given_, lambda parameters: node_cidr.parse_nodes(parameters["nodes"]))


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (
            {"overlay_port": 8472},
            {"overlay_port": 4789},
            ["overlay_port must be the same for the whole cluster", "4789 for b"],
        ),
        ({"overlay_vni": 9}, {}, ["overlay_vni", "9 for a", "not set for b"]),
        ({"overlay_kubeconfig": "/admin.conf"}, {}, ["overlay_kubeconfig", "/admin.conf", "not set for b"]),
        ({"inventory_dir": "/one"}, {"inventory_dir": "/two"}, ["overlay_ledger", "/one/overlay-ledger.json"]),
    ],
)
def test_names_hosts_that_differ_in_a_cluster_variable(first, second, words):
    """A run uses the first host's value: with another --limit it would use another plan or ledger."""
    base = {"inventory_dir": "/one"}
    hostvars = {"a": {**base, "ansible_host": "10.0.0.1", **first}, "b": {**base, "ansible_host": "10.0.0.2", **second}}
    groups = {"overlay_nodes": ["a", "b"], "cloud": ["a"], "idc": ["b"]}
    (problem,) = read_inventory("overlay_nodes", {"groups": groups, "hostvars": hostvars}).problems
    for word in words:
        assert word in problem


def test_names_hosts_whose_variables_cannot_be_evaluated():
    class Broken(dict):
        def __getitem__(self, name):
            if name == "overlay_underlay_ip":
                raise ZeroDivisionError("division\n  by zero")
            return super().__getitem__(name)

    groups = {"overlay_nodes": ["a", "b"], "cloud": ["a", "b"]}

    class Hostvars(dict):
        def raw_get(self, host):
            return dict(self[host])

    hostvars = Hostvars(a=Broken(overlay_underlay_ip="{{ 1 / 0 }}"), b={"ansible_host": "10.0.0.2"})
    inventory = read_inventory("overlay_nodes", {"groups": groups, "hostvars": hostvars})
    (problem,) = inventory.problems
    assert problem.startswith("overlay_underlay_ip is set, but cannot be evaluated: division by zero: ")
    assert problem.endswith(" (a)")
    assert list(problems_of_nodes(inventory.nodes, GOOD)) == []


@pytest.mark.parametrize(
    ("variables", "count"),
    [({"overlay_clb_subnet": "10.0.2.0/24"}, 2), ({}, 0), ({"overlay_clb_provider": "external"}, 0)],
)
def test_addresses_of_the_pair_are_checked_where_there_is_one(variables, count):
    variables = {**variables, "overlay_cluster": "demo", "ansible_host": "10.0.0.1"}
    hostvars = {
        "a": variables,
        "c": {**variables, "ansible_host": "c.example"},
        "api": {**variables, "overlay_underlay_ip": "x y"},
        "api2": {**variables, "overlay_underlay_ip": "x.example", "overlay_port": "x"},
    }
    groups = {"overlay_nodes": ["a"], "cloud": ["a"], "clb": ["a", "c"], "apiserver": ["a", "api", "api2"]}
    problems = read_inventory("overlay_nodes", {"groups": groups, "hostvars": hostvars}).problems
    assert [problem.partition(":")[0] for problem in problems[:-1]] == [
        "host c (group clb)",
        "host api (group apiserver)",
    ][:count]
    assert problems[-1].startswith("overlay_port 'x' is not a whole number")
    assert problems[-1].endswith("(api2)")


SERVICE = {"name": "registry.example", "backends": "10.0.1.31:443"}
LISTENER = {"name": "a", "port": 443, "backends": ["10.0.1.33:443"]}


@pytest.mark.parametrize(
    ("variables", "apiservers", "words"),
    [
        ({}, ["api"], []),
        ({}, [], ["group apiserver has no hosts"]),
        ({"overlay_clb_provider": "external"}, [], []),
        ({"overlay_clb_subnet": None}, [], []),
        ({"overlay_clb_listeners": [LISTENER]}, ["api"], []),
        (
            {"overlay_clb_listeners": [LISTENER], "overlay_clb_services": [SERVICE]},
            ["api"],
            ["overlay_clb_listeners: 'a': port 443 of the VIP services is already used by overlay_clb_services"],
        ),
        (
            {"overlay_clb_listeners": [{**LISTENER, "port": "7443", "vip": "apiserver"}], "overlay_api_port": "7443"},
            ["api"],
            ["port 7443 of the VIP apiserver is already used by overlay_api_port"],
        ),
        (
            {"overlay_clb_listeners": [{**LISTENER, "port": 6443, "vip": "apiserver"}]},
            ["api"],
            ["port 6443 of the VIP apiserver is already used by overlay_api_port"],
        ),
        (
            {"overlay_clb_services": [SERVICE], "overlay_api_name": "registry.example"},
            ["api"],
            ["overlay_clb_services: 'registry.example' is the name of the API server (overlay_api_name)"],
        ),
        (
            {"overlay_clb_services": [{**SERVICE, "name": "api.demo.internal"}], "overlay_clb_provider": "external"},
            [],
            ["overlay_clb_services: 'api.demo.internal' is the name of the API server (by default"],
        ),
        ({"overlay_clb_services": [{**SERVICE, "backends": []}]}, [], ["'registry.example' has no backends"]),
        (
            {"overlay_clb_listeners": [LISTENER, {**LISTENER, "name": "b"}, {**LISTENER, "port": 8}]},
            ["api"],
            ["port 443 of the VIP services is already used by listener 'a'", "'a' is listed twice"],
        ),
    ],
)
def test_what_the_pair_would_reject_is_found_before_a_change(variables, apiservers, words):
    common = {"overlay_cluster": "demo", "overlay_clb_subnet": "10.0.2.0/24", **variables}
    listeners = common.pop("overlay_clb_listeners", None)  # nodes need not have them
    of_pair = {**common, **({"overlay_clb_listeners": listeners} if listeners else {})}
    hostvars = {
        "a": {**common, "ansible_host": "10.0.0.1"},
        "c": {**of_pair, "ansible_host": "10.0.2.11"},
        "d": {**of_pair, "ansible_host": "10.0.2.12"},
        "api": {**common, "ansible_host": "10.0.1.21"},
    }
    groups = {"overlay_nodes": ["a"], "cloud": ["a"], "clb": ["c", "d"], "apiserver": apiservers}
    problems = read_inventory("overlay_nodes", {"groups": groups, "hostvars": hostvars}).problems
    assert len(problems) == len(words), problems
    for word in words:
        assert any(word in problem for problem in problems), problems


def test_valid_input_gives_a_ledger():
    good = {
        "ledger": "/ledger",
        "cluster": "demo",
        "container_cidr": "10.244.0.0/16",
        "nodes": ["a", {"name": "c", "node_cidr": "10.244.9.0/24"}],
    }
    text = answer(node_cidr.ActionModule.options, good, lambda parameters: node_cidr.parse_nodes(parameters["nodes"]))
    assert '"c": {"node_cidr": "10.244.9.0/24"' in text


def test_names_all_invalid_items_of_nodes():
    with pytest.raises(ValidationError) as caught:
        node_cidr.parse_nodes(["a", 7, {"nom": "b"}])
    assert len(caught.value.problems) == 2

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of inventories without nodes: what is missing, what the inventory has, and the remedy."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.inventory import (
    nearest,
    problem_of_pattern,
    problems_of_groups,
    problems_of_options,
    warnings_of_groups,
)

SITES = {"cloud": ["a"], "idc": ["b", "c"]}


def groups(**others):
    """Return the variable groups of Ansible."""
    hosts = list(dict.fromkeys(host for members in others.values() for host in members))
    return {"all": hosts, "ungrouped": [], **others}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"all": [], "ungrouped": []}, ["the inventory (hosts.yml) has no hosts", "-i"]),
        (groups(**SITES), ["is not in the inventory", "cloud (1 host) and idc (2 hosts)", "[overlay_nodes:children]"]),
        (groups(overlay_nodes=[], **SITES), ["overlay_nodes", "has no hosts", "cloud (1 host) and idc (2 hosts)"]),
        (
            groups(**{"overlay-nodes": ["a", "b", "c"]}, **SITES),
            ["is not in the inventory", "rename group overlay-nodes (3 hosts) to overlay_nodes"],
        ),
        (groups(overlay_node=["a"]), ["rename group overlay_node (1 host)"]),
        (groups(Overlay_Nodes=["a"]), ["rename group Overlay_Nodes (1 host)"]),
        (groups(overlay_nodes=["cloud", "idc"], **SITES), ["cloud and idc as hosts", "[overlay_nodes:children]"]),
        (groups(overlay_nodes=["cloud", "d"]), ["has cloud as hosts", "children"]),
        (groups(kube_node=["a", "b"]), ["the inventory has the groups kube_node (2 hosts)", "cloud and idc"]),
        ({"all": ["a"], "ungrouped": ["a"]}, ["no host of the inventory is in a group", "[overlay_nodes:children]"]),
    ],
)
def test_an_inventory_without_nodes(given, words):
    (problem,) = problems_of_groups(given, ["hosts.yml"])
    for word in words:
        assert word in problem


def test_an_inventory_with_nodes():
    assert problems_of_groups(groups(overlay_nodes=["a", "b"], **SITES)) == []
    assert problems_of_groups(groups(overlay_nodes=["master", "a"], master=["master"])) == [], (
        "a group with its own name"
    )


def test_many_groups_are_counted():
    (problem,) = problems_of_groups(groups(**{f"g{number}": ["a"] for number in range(10)}))
    assert "g7 (1 host) and 2 more" in problem


def test_a_pattern_without_hosts():
    assert "--limit idc9 leaves no host of overlay_nodes" in problem_of_pattern("overlay_nodes", "idc9", ["idc1"])
    assert "'idc01' matches no host" in problem_of_pattern("idc01", None, ["idc1", "cloud1"])
    assert problem_of_pattern("idc01", None, ["idc1", "cloud1"]).endswith("the most similar name is idc1")
    assert problem_of_pattern("xyz", None, ["idc1"]).endswith("nothing would be done")


def test_options_that_skip_tasks():
    assert list(problems_of_options(["all"], [], None, "tke.overlay.site")) == []
    assert list(problems_of_options(["untagged"], ["x"], None, "tke.overlay.site")) == []
    found = list(problems_of_options(["x", "y"], ["all"], "Probe", "tke.overlay.site"))
    assert [text.split(" skips")[0] for text in found] == ["--tags x,y", "--skip-tags all", "--start-at-task 'Probe'"]
    assert all("tke.overlay.site" in text for text in found)


def test_the_nearest_name():
    assert nearest("overlay_nodes", ["overlay-nodes", "nodes"]) == "overlay-nodes"
    assert nearest("overlay_nodes", ["kube_control_plane"]) == ""


def test_hosts_of_a_site_that_are_no_nodes_are_named_once():
    (warning,) = warnings_of_groups(groups(overlay_nodes=["a", "b"], cloud=["a", "x"], idc=["b", "c", "d"]))
    for word in ("x (group cloud)", "c and d (group idc)", "not in overlay_nodes", "[overlay_nodes:children]"):
        assert word in warning


@pytest.mark.parametrize(
    "others", [{"overlay_nodes": ["a", "b", "c"]}, {"overlay_nodes": ["a"], "clb": ["b"], "apiserver": ["c"]}]
)
def test_the_pair_and_api_servers_need_not_be_nodes(others):
    assert warnings_of_groups(groups(**SITES, **others)) == []

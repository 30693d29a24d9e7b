# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the hosts of a playbook, by the options of its command line."""

from __future__ import annotations

import pytest
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._playbook import PLAYBOOKS, require_hosts

GROUPS = {
    "all": ["a", "b", "lb", "other"],
    "ungrouped": ["other"],
    "overlay_nodes": ["a", "b"],
    "cloud": ["a"],
    "idc": ["b"],
    "clb": ["lb"],
}
OWN = {"args": ("tke.overlay.site",)}


@pytest.fixture
def options(monkeypatch):
    """Set the options of ansible-playbook."""
    return lambda **given: monkeypatch.setattr(context, "CLIARGS", ImmutableDict(given))


def problems(pattern="overlay_nodes", groups=None, **options):
    with pytest.raises(ValidationError) as caught:
        require_hosts(pattern, GROUPS if groups is None else groups, **options)
    return caught.value.problems


@pytest.mark.parametrize("playbook", ["tke.overlay.site", f"{PLAYBOOKS}/site.yml", "mine.yml"])
def test_nodes_are_enough(options, playbook):
    options(args=(playbook,), tags=["all"], skip_tags=[], subset=None, start_at_task=None, inventory=["hosts.yml"])
    assert require_hosts("overlay_nodes", GROUPS) == "overlay_nodes"


def test_an_inventory_without_nodes_is_named(options):
    options(**OWN, inventory=["hosts.yml"])
    assert "hosts.yml" in problems(groups={"all": [], "ungrouped": []})[0]


@pytest.mark.parametrize("limit", ["other", "lb", "!overlay_nodes", "a:!a"])
def test_a_limit_without_nodes_is_an_error(options, limit):
    options(**OWN, subset=limit)
    (problem,) = problems()
    assert f"--limit {limit} leaves no host of overlay_nodes" in problem


@pytest.mark.parametrize("limit", ["a", "idc", "b,other", "all:!a", "~[ab]", "overlay_nodes[0]"])
def test_a_limit_with_a_node_is_none(options, limit):
    options(**OWN, subset=limit)
    assert require_hosts("overlay_nodes", GROUPS) == "overlay_nodes"


def test_site_may_be_limited_to_the_pair(options):
    options(**OWN, subset="clb")
    assert require_hosts("overlay_nodes", GROUPS, also="clb") == "overlay_nodes"
    options(**OWN, subset="other")
    assert "overlay_nodes:clb" in problems(also="clb")[0]


def test_a_pattern_of_the_user_must_match(options):
    options(**OWN)
    assert require_hosts("a", GROUPS) == "a"
    assert "'bb' matches no host" in problems("bb")[0]


@pytest.mark.parametrize("pattern", ["", " ", ",", ":", "!a", "&idc", [], [""], ["!a"], None, False, True, 7, {}])
def test_a_pattern_that_names_no_host_is_an_error(options, pattern):
    """Ansible takes all hosts for most of these."""
    options(**OWN)
    (problem,) = problems(pattern, variable="overlay_reset")
    assert problem.startswith("overlay_reset ")
    assert "names no host, and nothing was changed" in problem
    assert "-e overlay_reset=idc7" in problem


@pytest.mark.parametrize("pattern", [["a", "b"], "a,b", "idc:!b:a"])
def test_patterns_of_several_parts_name_hosts(options, pattern):
    options(**OWN)
    assert require_hosts(pattern, GROUPS) == pattern


def test_an_empty_limit_is_an_error(options):
    options(**OWN, subset="")
    assert "--limit is empty" in problems()[0]
    options(args=("mine.yml",), subset="")
    assert require_hosts("overlay_nodes", GROUPS) == "overlay_nodes"


def test_options_are_meant_for_the_playbook_that_imports(options):
    """A playbook of a user may have tags, and hosts that are no nodes."""
    options(args=("mine.yml",), subset="other", tags=["web"], start_at_task="x")
    assert require_hosts("overlay_nodes", GROUPS) == "overlay_nodes"
    options(**OWN, tags=["web"], start_at_task="x")
    assert len(problems()) == 2


@pytest.mark.parametrize("option", ["syntax", "listtasks", "listtags", "listhosts"])
def test_a_run_that_does_nothing_needs_no_hosts(options, option):
    options(**OWN, **{option: True})
    assert require_hosts("overlay_nodes", {"all": [], "ungrouped": []}) == "overlay_nodes"

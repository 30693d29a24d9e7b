# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of a roll-out: no batch has hosts of two sites."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.plugin_utils._rollout import (
    rollout_batches,
    rollout_parts,
    rollout_pattern,
)

SITES = {"cloud": "c1 c2", "idc": "i1 i2 i3", "branch": "b1 b2"}


def grouped(sites, others):
    """Return the groups of the inventory after the groups of the roll-out were made."""
    groups = {"overlay_nodes": others, "cloud": ["c1", "c2"]}
    for part in rollout_parts(sites, others):
        groups.setdefault(part["group"], []).append(part["name"])
    return groups


def test_the_pattern_has_the_sites_in_their_order():
    groups = grouped(SITES, ["b1", "b2", "i1", "i2", "i3"])
    parts = list(groups)[2:]
    assert [groups[part] for part in parts] == [["i1", "i2", "i3"], ["b1", "b2"]]
    assert rollout_pattern(groups, "cloud,x9") == f"{parts[0]}:{parts[1]}:overlay_nodes:!cloud:!x9"


def test_hosts_of_one_site_need_no_group():
    groups = grouped(SITES, ["i1", "i3"])
    assert list(groups) == ["overlay_nodes", "cloud"]
    assert rollout_pattern(groups, "cloud") == "overlay_nodes:!cloud"
    assert rollout_batches(groups, "10%") == ["10%"]
    assert rollout_batches(groups, [1, "50%"]) == [1, "50%"]


@pytest.mark.parametrize(
    ("serial", "batches"),
    [
        ("100%", [3, 2]),
        (1, [1, 1, 1, 1, 1]),
        ("2", [2, 1, 2]),
        (20, [3, 2]),
        (0, [3, 2]),
        (-1, [3, 2]),
        ("50%", [1, 1, 1, 1, 1]),
        ([1, "100%"], [1, 2, 1, 1]),
    ],
)
def test_each_site_is_divided_for_itself(serial, batches):
    groups = grouped(SITES, ["i1", "i2", "i3", "b1", "b2"])
    assert rollout_batches(groups, serial) == batches


@given(st.lists(st.integers(0, 40), min_size=2, max_size=12), st.one_of(st.integers(0, 50), st.just("7%")))
def test_every_host_is_in_one_batch_of_its_site(counts, serial):
    sites = {f"s{site}": " ".join(f"s{site}n{n}" for n in range(count)) for site, count in enumerate(counts)}
    hosts = [name for names in sites.values() for name in names.split()]
    groups = grouped(sites, hosts)
    if sum(map(bool, counts)) < 2:
        assert rollout_batches(groups, serial) == [serial]
        return
    ends = set(itertools.accumulate(rollout_batches(groups, serial)))
    assert ends >= {end for end in itertools.accumulate(counts) if end}
    assert max(ends) == len(hosts)

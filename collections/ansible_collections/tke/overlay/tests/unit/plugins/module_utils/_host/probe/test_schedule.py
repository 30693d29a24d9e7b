# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who asks whom where not everybody can ask everybody: coverage and balance, for any fleet."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._host.probe.schedule import questions

SITES = st.dictionaries(
    st.sampled_from(["cloud", "idc", "idc-b", "lab", "z"]), st.integers(1, 40), min_size=1, max_size=5
).map(lambda sizes: {site: [f"{site}{number}" for number in range(size)] for site, size in sizes.items()})


def site_pairs(sites):
    """All ordered pairs of sites of which two different nodes exist."""
    return {(here, there) for here in sites for there in sites if here != there or len(sites[here]) > 1}


@given(SITES, st.integers(1, 20))
def test_every_node_asks_and_is_asked_about_as_often_and_every_pair_of_sites_meets(sites, number):
    asks = questions(sites, number)
    names = {name for each in sites.values() for name in each}
    assert set(asks) == names
    most = min(number, len(names) - 1)
    for name, others in asks.items():
        assert name not in others
        assert len(set(others)) == len(others)
        assert most <= len(others) <= most + len(sites)
    asked = collections.Counter(other for others in asks.values() for other in others)
    for name in names:
        assert most <= asked[name] <= most + len(sites)
    site_of = {name: site for site, each in sites.items() for name in each}
    assert {(site_of[name], site_of[other]) for name, others in asks.items() for other in others} == site_pairs(sites)


@given(SITES, st.integers(1, 20), st.randoms())
def test_all_hosts_come_to_the_same_whatever_order_they_are_given(sites, number, random):
    mixed = list(sites.items())
    random.shuffle(mixed)
    assert questions({site: random.sample(names, len(names)) for site, names in mixed}, number) == questions(
        sites, number
    )


@pytest.mark.parametrize("number", [0, 3, 99])
def test_all_others_are_asked_where_that_is_wanted_or_no_more_than_the_sample(number):
    asks = questions({"cloud": ["a", "b"], "idc": ["c", "d"]}, number)
    assert {name: sorted(others) for name, others in asks.items()} == {
        name: sorted({"a", "b", "c", "d"} - {name}) for name in "abcd"
    }


def test_two_nodes_do_not_ask_each_other_where_the_fleet_is_large():
    asks = questions({"cloud": [f"c{number}" for number in range(50)]}, 4)
    pairs = {frozenset((name, other)) for name, others in asks.items() for other in others}
    assert len(pairs) == 50 * 4

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the probe schedule: coverage and balance, for any set of sites."""

from __future__ import annotations

import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._host.probe.schedule import peers_to_probe

SITES = st.dictionaries(
    st.sampled_from(["cloud", "idc", "idc-b", "lab", "z"]), st.integers(1, 40), min_size=1, max_size=5
).map(lambda sizes: {site: [f"{site}{number}" for number in range(size)] for site, size in sizes.items()})


def site_pairs(sites):
    """Return all ordered pairs of sites that have two different nodes."""
    return {(source, target) for source in sites for target in sites if source != target or len(sites[source]) > 1}


@given(SITES, st.integers(1, 20))
def test_probes_are_balanced_and_cover_every_pair_of_sites(sites, sample):
    schedule = peers_to_probe(sites, sample)
    names = {name for each in sites.values() for name in each}
    assert set(schedule) == names
    most = min(sample, len(names) - 1)
    for name, peers in schedule.items():
        assert name not in peers
        assert len(set(peers)) == len(peers)
        assert most <= len(peers) <= most + len(sites)
    probed = collections.Counter(peer for peers in schedule.values() for peer in peers)
    for name in names:
        assert most <= probed[name] <= most + len(sites)
    site_of = {name: site for site, each in sites.items() for name in each}
    covered = {(site_of[name], site_of[peer]) for name, peers in schedule.items() for peer in peers}
    assert covered == site_pairs(sites)


@given(SITES, st.integers(1, 20), st.randoms())
def test_the_order_of_the_input_does_not_matter(sites, sample, random):
    mixed = list(sites.items())
    random.shuffle(mixed)
    shuffled = {site: random.sample(names, len(names)) for site, names in mixed}
    assert peers_to_probe(shuffled, sample) == peers_to_probe(sites, sample)


@pytest.mark.parametrize("sample", [0, 3, 99])
def test_probes_all_peers_without_a_smaller_sample(sample):
    schedule = peers_to_probe({"cloud": ["a", "b"], "idc": ["c", "d"]}, sample)
    assert {name: sorted(peers) for name, peers in schedule.items()} == {
        name: sorted({"a", "b", "c", "d"} - {name}) for name in "abcd"
    }


def test_no_pair_is_probed_twice_in_a_large_fleet():
    schedule = peers_to_probe({"cloud": [f"c{number}" for number in range(50)]}, 4)
    pairs = {frozenset((name, peer)) for name, peers in schedule.items() for peer in peers}
    assert len(pairs) == 50 * 4

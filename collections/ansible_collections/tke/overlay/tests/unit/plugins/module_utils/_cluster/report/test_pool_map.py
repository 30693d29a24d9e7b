# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The map covers every address once and adds up to the capacity; the forecast is a straight line with its basis."""

from __future__ import annotations

import copy
import datetime
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import (
    Assignment,
    Ledger,
    Pending,
    Request,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.report.pool_map import forecast, pool_map
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.tests.unit.plugins.module_utils._cluster.report.examples import NOW, ledger_of


@st.composite
def ledgers(choose):
    """Any state of a pool of one or two CIDRs: nodes, released node CIDRs, reserved ranges, any cursor."""
    pods, services = choose(st.sampled_from([16, 64, 256])), choose(st.sampled_from([32, 128, 512]))
    cidrs = ["10.1.0.0/22", "10.9.0.0/23"][: choose(st.integers(1, 2))]
    reserved = choose(
        st.lists(st.sampled_from(["10.1.0.0/26", "10.1.1.0/24", "10.1.0.64/28"]), max_size=2, unique=True)
    )
    pool = Pool(cidrs, pods, services, reserved)
    ledger = Ledger("any", pool, cursor=choose(st.integers(0, pool.size - 1)))
    fates = choose(st.lists(st.sampled_from(["node", "pending", "quarantined", ""]), max_size=pool.size))
    for number, fate in enumerate(fates):
        node_cidr = pool.node_cidr(number)
        if fate == "node" and number not in pool.reserved:
            ledger.nodes[f"n{number}"] = Assignment(node_cidr, None, None, NOW, False)
        elif fate in ("pending", "quarantined"):
            ledger.pending[node_cidr] = Pending("gone", NOW, ["n0"] if fate == "pending" else [], fate == "quarantined")
    return ledger


@given(ledgers(), st.sets(st.integers(0, 63)))
def test_the_map_covers_each_address_once_and_matches_capacity(ledger, orphans):
    names = {f"n{number}" for number in orphans} & ledger.nodes.keys()
    made = pool_map(ledger, names)
    for block in made["blocks"]:
        network = ipaddress.IPv4Network(block["cidr"])
        at = int(network.network_address)
        for run in block["runs"]:
            assert int(ipaddress.IPv4Address(run["first"])) == at
            assert run["addresses"] > 0
            assert run["node_cidrs"] in (0, run["addresses"] // made["node_cidr_size"])
            at += run["addresses"]
        assert at == int(network.broadcast_address) + 1
        assert sum(run["node_cidrs"] for run in block["runs"]) == block["node_cidrs"]
    in_runs = dict.fromkeys(made["counts"], 0)
    for run in (run for block in made["blocks"] for run in block["runs"] if run["node_cidrs"]):
        in_runs[run["state"]] += run["node_cidrs"]
    counts, capacity = made["counts"], ledger.capacity()
    assert counts == in_runs
    assert counts["used"] + counts["orphan"] == capacity["used"]
    assert counts["free"] + counts["quarantined"] == capacity["free"]
    assert sum(counts.values()) - counts["reserved"] == capacity["max_nodes"]
    assert counts["orphan"] == len(names)
    service = [run for block in made["blocks"] for run in block["runs"] if run["state"] == "service"]
    assert [run["addresses"] for run in service] == [ledger.pool.services]
    assert service[0]["first"] == ledger.pool.service_cidr.partition("/")[0]


@given(ledgers())
def test_the_next_node_cidr_is_the_one_the_ledger_assigns(ledger):
    following = pool_map(ledger, ())["cursor"]["next"]
    if following is None:
        assert ledger.capacity()["free"] == 0
        with pytest.raises(ValidationError):
            ledger.assign([Request("new")], NOW)
    else:
        ledger.assign([Request("new")], NOW)
        assert ledger.nodes["new"].node_cidr == following


def test_a_map_with_every_state():
    cidrs = ["10.244.0.0/21", "10.9.0.0/23", "10.8.0.0/24"]
    ledger = Ledger("demo", Pool(cidrs, 256, 512, ["10.244.3.0/24"]), cursor=1)
    ledger.nodes["a"] = Assignment("10.244.0.0/24", None, None, NOW, False)
    ledger.nodes["b"] = Assignment("10.9.1.0/24", None, None, NOW, False)
    ledger.pending = {
        "10.244.1.0/24": Pending("gone", NOW, ["a"], True),
        "10.244.2.0/24": Pending("far", NOW, [], True),
    }
    assert pool_map(ledger, {"b"}) == {
        "cidrs": cidrs,
        "service_cidr": "10.244.6.0/23",
        "node_cidr_size": 256,
        "capacity": dict(ledger.capacity()),
        "counts": {"used": 1, "orphan": 1, "pending": 1, "quarantined": 1, "free": 4, "reserved": 1},
        "cursor": {"node_cidr": "10.244.1.0/24", "next": "10.244.4.0/24"},
        "blocks": [
            {
                "cidr": "10.244.0.0/21",
                "first_number": 0,
                "node_cidrs": 6,
                "runs": [
                    {"first": "10.244.0.0", "addresses": 256, "node_cidrs": 1, "state": "used"},
                    {"first": "10.244.1.0", "addresses": 256, "node_cidrs": 1, "state": "pending"},
                    {"first": "10.244.2.0", "addresses": 256, "node_cidrs": 1, "state": "quarantined"},
                    {"first": "10.244.3.0", "addresses": 256, "node_cidrs": 1, "state": "reserved"},
                    {"first": "10.244.4.0", "addresses": 512, "node_cidrs": 2, "state": "free"},
                    {"first": "10.244.6.0", "addresses": 512, "node_cidrs": 0, "state": "service"},
                ],
            },
            {
                "cidr": "10.9.0.0/23",
                "first_number": 6,
                "node_cidrs": 2,
                "runs": [
                    {"first": "10.9.0.0", "addresses": 256, "node_cidrs": 1, "state": "free"},
                    {"first": "10.9.1.0", "addresses": 256, "node_cidrs": 1, "state": "orphan"},
                ],
            },
            {
                "cidr": "10.8.0.0/24",
                "first_number": 8,
                "node_cidrs": 1,
                "runs": [{"first": "10.8.0.0", "addresses": 256, "node_cidrs": 1, "state": "free"}],
            },
        ],
    }


def test_too_few_addresses_for_a_node_cidr_are_spare():
    (block,) = pool_map(Ledger("demo", Pool(["10.99.0.0/24"], 64, 32)), ())["blocks"]
    assert block["runs"] == [
        {"first": "10.99.0.0", "addresses": 192, "node_cidrs": 3, "state": "free"},
        {"first": "10.99.0.192", "addresses": 32, "node_cidrs": 0, "state": "spare"},
        {"first": "10.99.0.224", "addresses": 32, "node_cidrs": 0, "state": "service"},
    ]


def days_ago(days):
    """The time this number of days before :data:`NOW`."""
    return (datetime.datetime(2026, 6, 30) - datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def grown(*ages, cidr="10.244.0.0/20"):
    """A ledger whose nodes joined these numbers of days ago."""
    ledger = ledger_of(*(f"n{number}" for number in range(len(ages))), cidr=cidr)
    for name, age in zip(ledger.nodes, ages, strict=True):
        ledger.nodes[name] = ledger.nodes[name]._replace(since=days_ago(age))
    return ledger


def joined(*days_of_june, cidr="10.244.0.0/20"):
    """A ledger whose nodes joined on these days; 0 is the last of May."""
    ledger = Ledger("demo", Pool([cidr], 256, 256))
    for number, day in enumerate(days_of_june):
        when = f"2026-06-{day:02}T00:00:00Z" if day else "2026-05-31T23:59:59Z"
        ledger.nodes[f"n{number}"] = Assignment(ledger.pool.node_cidr(number), None, None, when, False)
    return ledger


BASIS = (
    "in the last 30 days {} joined and stayed (nodes of the first day are not counted); {} released according to "
    "previous versions of the ledger ({} read)"
)


def text_and_basis(ledger, *previous):
    made = forecast(ledger, previous, NOW)
    return made["text"], made["basis"]


@pytest.mark.parametrize(
    ("ages", "words"),
    [
        ([], "there are no nodes"),
        ([3, 2, 1], "the first node joined 3 days ago"),
        ([40, 10, 5], "2 nodes joined and stayed"),
        (["?"] * 15, "no node CIDR is free"),
    ],
)
def test_without_enough_data_the_basis_names_the_reason(ages, words):
    ledger = grown(*(1 if age == "?" else age for age in ages))
    made = forecast(ledger, [], NOW)
    assert made["exhausted_on"] is None
    assert made["per_day"] is None
    assert words in made["basis"]


def test_an_estimate_needs_fourteen_days_and_three_nodes():
    assert text_and_basis(joined(*range(1, 16))) == ("The pool is full.", "no node CIDR is free")
    assert text_and_basis(joined()) == ("No estimate.", "there are no nodes")
    assert text_and_basis(joined(29)) == ("No estimate.", "the first node joined 1 day ago; an estimate needs 14 days")
    assert text_and_basis(joined(17)) == (
        "No estimate.",
        "the first node joined 13 days ago; an estimate needs 14 days",
    )
    assert text_and_basis(joined(16, 17, 18, 19))[0].startswith("The pool is full in about ")
    few = f"{BASIS.format('2 nodes', '0 earlier nodes were', 0)}; an estimate needs 3 nodes"
    assert text_and_basis(joined(0, 1, 2)) == ("No estimate.", few)


def test_the_rate_does_not_count_the_nodes_of_the_first_day():
    made = forecast(grown(30, 30, 30, 20, 10, 5), [], NOW)  # 3 in 30 days; 9 of 15 are free
    assert made["per_day"] == pytest.approx(0.1)
    assert (made["days_left"], made["exhausted_on"]) == (90, "2026-09-28")


def test_only_the_last_ninety_days_count():
    made = forecast(grown(400, 390, 380, 370, 30, 20, 10), [], NOW)
    assert made["per_day"] == pytest.approx(3 / 90)


def test_a_released_node_of_a_previous_version_lowers_the_rate():
    now = grown(60, 20, 15, 10, 5)
    before = copy.deepcopy(now)
    before.nodes["old"] = Assignment(now.pool.node_cidr(9), None, None, days_ago(80), False)
    before.nodes["young"] = Assignment(now.pool.node_cidr(8), None, None, days_ago(15), False)
    assert forecast(now, [], NOW)["per_day"] == pytest.approx(4 / 60)
    assert forecast(now, [before, before], NOW)["per_day"] == pytest.approx(3 / 60), "one earlier node, counted once"


def test_without_growth_there_is_no_date():
    made = forecast(grown(60, 60), [], NOW)
    assert (made["days_left"], made["text"]) == (None, "No growth: the pool does not fill up.")


def test_more_released_than_joined_is_no_growth():
    assert text_and_basis(joined(0, 0)) == (
        "No growth: the pool does not fill up.",
        BASIS.format("0 nodes", "0 earlier nodes were", 0),
    )
    before = joined(0, 0, 0, 0, 0)
    now = joined(0)
    for number, day in enumerate((2, 3, 4), 5):
        now.nodes[f"n{number}"] = Assignment(now.pool.node_cidr(number), None, None, f"2026-06-0{day}T00:00:00Z", False)
    assert text_and_basis(now, before) == (
        "No growth: the pool does not fill up.",
        BASIS.format("3 nodes", "4 earlier nodes were", 1),
    )
    del before.nodes["n4"], before.nodes["n3"], before.nodes["n2"]
    assert text_and_basis(now, before, before)[1] == BASIS.format("3 nodes", "1 earlier node was", 2)


def test_as_many_released_as_joined_is_no_growth():
    now, before = joined(0, 2, 3, 4), joined(0, 0, 0, 0)
    assert text_and_basis(now, before) == (
        "No growth: the pool does not fill up.",
        BASIS.format("3 nodes", "3 earlier nodes were", 1),
    )
    one = f"{BASIS.format('1 node', '0 earlier nodes were', 0)}; an estimate needs 3 nodes"
    assert text_and_basis(joined(0, 2)) == ("No estimate.", one)


def test_a_date_in_another_format_counts_as_old():
    ledger = ledger_of("a")
    ledger.nodes["a"] = ledger.nodes["a"]._replace(since="yesterday")
    made = forecast(ledger, [], NOW)
    assert made["days_left"] is None
    assert "in the last 90 days 0 nodes joined" in made["basis"]


def test_the_window_does_not_end_with_the_year():
    ledger = joined(0)
    for number, when in enumerate(("2026-10-05", "2026-11-05", "2026-12-05"), 1):
        ledger.nodes[f"n{number}"] = Assignment(ledger.pool.node_cidr(number), None, None, f"{when}T00:00:00Z", False)
    made = forecast(ledger, [], "2026-12-31T00:00:00Z")
    assert (made["per_day"], made["exhausted_on"]) == (3 / 90, "2027-11-26")


def test_a_forecast_with_all_its_values():
    made = forecast(joined(0, 5, 10, 15), [], NOW)
    assert made == {
        "free": 11,
        "per_day": 0.1,
        "days_left": 110,
        "exhausted_on": "2026-10-18",
        "basis": BASIS.format("3 nodes", "0 earlier nodes were", 0),
        "text": "The pool is full in about 4 months at this rate.",
    }
    slow = forecast(joined(0, 5, 10, 15, cidr="10.0.0.0/8"), [], NOW)
    assert slow["text"] == "The pool lasts more than 100 years at this rate."
    assert (slow["per_day"], slow["days_left"], slow["exhausted_on"]) == (0.1, None, None)
    assert slow["basis"] == BASIS.format("3 nodes", "0 earlier nodes were", 0)


@pytest.mark.parametrize(
    ("free", "words"),
    [
        (0, None),
        (1, "1 day"),
        (2, "2 days"),
        (13, "13 days"),
        (14, "2 weeks"),
        (59, "8 weeks"),
        (60, "2 months"),
        (729, "24 months"),
        (730, "2 years"),
        (2000, "5 years"),
    ],
)
def test_the_time_left_is_in_the_largest_unit(free, words):
    """One node a day, and so many node CIDRs left."""
    ledger = Ledger("demo", Pool(["10.0.0.0/12"], 256, 256))
    size = ledger.pool.size
    for number in range(size - free):
        day = min(number, 30)
        when = f"2026-06-{day:02}T00:00:00Z" if day else "2026-05-31T00:00:00Z"
        late = number < 31
        ledger.nodes[f"n{number}"] = Assignment(
            ledger.pool.node_cidr(number), None, None, when if late else "2026-05-31T00:00:00Z", False
        )
    text = forecast(ledger, [], NOW)["text"]
    assert text == ("The pool is full." if words is None else f"The pool is full in about {words} at this rate.")

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The checker of histories agrees with trying all orders, and its model with the ledger."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request, parse
from ansible_collections.tke.overlay.plugins.module_utils._ledger_version import newest, number_of
from linearizability import AllocatorModel, Operation, check

NOW = "2026-01-02T03:04:05Z"
NAMES = ["a", "b", "c"]


def is_linearizable_by_trying(model, history):
    """Try all orders of all subsets that contain every operation with an end."""
    ended = [number for number, operation in enumerate(history) if operation.end is not None]
    others = [number for number, operation in enumerate(history) if operation.end is None]
    for count in range(len(others) + 1):
        for more in itertools.combinations(others, count):
            for order in itertools.permutations([*ended, *more]):
                if is_possible(model, history, order):
                    return True
    return False


def is_possible(model, history, order):
    state = model.initial
    for place, number in enumerate(order):
        operation = history[number]
        if any(history[later].end is not None and history[later].end < operation.begin for later in order[place:]):
            return False
        state, output = model.step(state, operation)
        if operation.end is not None and output != operation.output:
            return False
    return True


@st.composite
def histories(draw):
    """Return a history of up to six operations, most of whose outputs are those of some order."""
    model, state, history = AllocatorModel(draw(st.integers(1, 4))), AllocatorModel.initial, []
    for place in range(draw(st.integers(1, 6))):
        what = draw(st.sampled_from(["allocate", "release", "read"]))
        operation = Operation(what, draw(st.sampled_from(NAMES)), None, 0, None)
        begin = max(0, 10 * place - draw(st.integers(0, 25)))
        end = draw(st.one_of(st.none(), st.integers(10 * place, 10 * place + 25)))
        output = None
        if end is not None or draw(st.booleans()):
            state, output = model.step(state, operation)
        if draw(st.integers(0, 9)) == 0:
            output = draw(st.tuples(st.sampled_from([None, 0, 1, frozenset()]), st.integers(0, 4)))
        history.append(operation._replace(output=output, begin=begin, end=end))
    return model, draw(st.permutations(history))


@given(histories())
@settings(max_examples=300)
def test_the_checker_agrees_with_trying_all_orders(drawn):
    model, history = drawn
    verdict = check(model, history)
    assert (not verdict.stuck) == is_linearizable_by_trying(model, history)
    if not verdict.stuck:
        assert is_possible(model, history, verdict.order)
        assert {n for n, operation in enumerate(history) if operation.end is not None} <= set(verdict.order)


STORIES = st.lists(st.tuples(st.sampled_from(["allocate", "release"]), st.integers(0, 13)), max_size=80)


@given(STORIES)
@settings(max_examples=200)
def test_the_model_allocates_as_the_ledger_does(story):
    """It was written without the ledger's code: both follow from the rules of the guide."""
    ledger = parse(Ledger("demo", Pool(["10.0.0.0/20"], 256, 256)).text(), "here", "demo")
    model, state = AllocatorModel(ledger.pool.size), AllocatorModel.initial
    assert ledger.pool.size == 15, "so a story goes round the pool several times"
    for what, number in story:
        name = f"n{number}"
        state, (expected, version) = model.step(state, Operation(what, name, None, 0, 0))
        if what == "allocate":
            ledger.assign([Request(name)], NOW)
            found = ledger.pool.number(ledger.nodes[name].node_cidr)
        else:
            released = ledger.release([name], [], NOW)
            found = ledger.pool.number(released[name]) if released else None
        assert found == expected
        ledger = parse(ledger.text(), "here", "demo")
        assert number_of(newest(ledger.recorded)) == version
    assert {(name, ledger.pool.number(held.node_cidr)) for name, held in ledger.nodes.items()} == state.held


def sequential(count, seed):
    """Return a long history of one process after the other, and its model."""
    chance, model, state, history = random.Random(seed), AllocatorModel(40), AllocatorModel.initial, []
    for time in range(count):
        what = chance.choice(["allocate", "allocate", "release", "read"])
        operation = Operation(what, f"n{chance.randrange(30)}", None, 10 * time, 10 * time + 9)
        state, output = model.step(state, operation)
        history.append(operation._replace(output=output))
    return model, history


def test_a_long_history_with_sixteen_at_a_time_is_checked():
    model, history = sequential(1500, 7)
    history = [each._replace(begin=max(0, each.begin - 150)) for each in history]
    random.Random(1).shuffle(history)
    verdict = check(model, history)
    assert verdict.stuck == []
    assert len(verdict.order) == len(history)


@pytest.mark.parametrize("place", [3, 700, 1498])
def test_one_lost_allocation_is_found_where_it_happened(place):
    model, history = sequential(1500, 7)
    place = next(number for number in range(place, 0, -1) if history[number].what == "allocate")
    double = history[place]._replace(argument="another", begin=10 * place + 10, end=10 * place + 10)
    verdict = check(model, [*history[: place + 1], double])
    assert verdict.stuck == [double]
    assert len(verdict.order) == place + 1

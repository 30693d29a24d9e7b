# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance test on the controller: members without Pods, and what a host has registered."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._conformance import Registered, conformance_nodes, outcome_of

PLAN = {"sites": {"cloud": "a b api1", "idc": "c d"}, "fresh": ["b"]}
HOSTVARS = {
    "a": {},
    "b": {},
    "c": {"overlay_pods": True},
    "d": {"overlay_pods": "yes"},
    "api1": {"overlay_pods": False},
}


@pytest.mark.parametrize("value", [False, "false", "No", "0"])
def test_a_member_without_pods_starts_none(value):
    hostvars = {**HOSTVARS, "api1": {"overlay_pods": value}}
    found = conformance_nodes(["a", "b", "c", "d", "api1"], hostvars, PLAN, [], "2")
    assert found == {"pods": ["a", "c", "d"], "members": ["api1"]}
    assert conformance_nodes(["a"], hostvars, PLAN, "a, c", 2) == {"pods": ["a"], "members": []}
    with pytest.raises(ValidationError, match=r"overlay_conformance_nodes.*api1"):
        conformance_nodes(["a", "api1"], hostvars, PLAN, ["api1"], 2)


def test_a_number_of_nodes_that_is_none_is_an_error():
    with pytest.raises(ValidationError, match="overlay_conformance_per_site is 'many'"):
        conformance_nodes(["a"], HOSTVARS, PLAN, [], "many")


STARTED = {"peer": {"name": "a"}, "faults": [], "reason": "", "planned": ""}
PROBED = {"paths": [{"path": "pod", "asked": 1, "failed": [], "reason": ""}], "pods": []}
REMOVED = {"removed": True, "changed": True}
SKIPPED = {"skipped": True}
FAILED = {"failed": True, "msg": "no root", "changed": False}


def test_the_outcome_of_a_host():
    assert outcome_of(Registered(SKIPPED, SKIPPED, SKIPPED)) is None
    assert outcome_of(Registered({}, {}, {})) is None
    good = outcome_of(Registered(STARTED, PROBED, REMOVED))
    assert (good.reached, good.errors, good.paths[0].asked) == (True, [], 1)
    member = outcome_of(Registered(SKIPPED, PROBED, SKIPPED))
    assert (member.reached, member.errors, len(member.paths)) == (True, [], 1)


@pytest.mark.parametrize(
    ("registered", "words"),
    [
        (Registered(FAILED, PROBED, REMOVED), "could not start Pods: no root"),
        (Registered(STARTED, FAILED, REMOVED), "could not ask the paths: no root"),
        (Registered(STARTED, PROBED, FAILED), "could not remove the Pods: no root"),
    ],
)
def test_a_task_that_failed_is_named(registered, words):
    assert words in outcome_of(registered).errors[0]


def test_an_unreachable_host_is_not_reached():
    unreachable = {"unreachable": True, "msg": "timed out"}
    assert outcome_of(Registered(unreachable, SKIPPED, SKIPPED)).reached is False
    assert outcome_of(Registered(unreachable, SKIPPED, SKIPPED)).connection == "timed out"

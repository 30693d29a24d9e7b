# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what the last screen of a playbook knows about hosts that are not done, and about their addresses."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.underlay import Underlay
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.plugin_utils._results import failures, too_many_failed, underlays

GOOD = {"changes": {}, "changed": False}
FAILED = {"failed": True, "msg": "no nft\nhere"}
LOST = {"unreachable": True, "msg": "ssh: connect to host 10.0.0.1 port 22: Connection refused"}


def test_failures_are_named_by_their_first_cause():
    hostvars = {"a": {"one": GOOD}, "b": {"one": FAILED}, "c": {"one": GOOD, "two": LOST}, "d": {}}
    found = failures(hostvars, hostvars, ["one", "two"])
    assert set(found) == {"b", "c"}
    assert found["b"] == "no nft here"
    assert found["c"].startswith("unreachable: the connection to its SSH port was refused; check ansible_port")


def test_a_result_whose_failure_is_accepted_is_done():
    """Role endpoint registers a failure that the summary reports."""
    assert failures(["a"], {"a": {"one": {"failed": False, "msg": "no answer"}}}, ["one"]) == {}


@pytest.mark.parametrize(
    ("results", "percentage", "stop"),
    [
        ([GOOD, GOOD], 0, False),
        ([GOOD, FAILED], 0, True),
        ([GOOD, FAILED], 50, False),
        ([GOOD, FAILED], "49", True),
        ([GOOD, LOST], 0, False),  # other hosts do not wait for it
        ([FAILED, LOST], 100, True),
        ([LOST], 100, True),
        ([], 0, False),
    ],
)
def test_whether_the_next_batch_starts(results, percentage, stop):
    hostvars = {f"n{number}": {"node_result": result} for number, result in enumerate(results)}
    assert too_many_failed(list(hostvars), hostvars, "node_result", percentage) is stop


@pytest.mark.parametrize("percentage", ["many", None, 101, -1])
def test_an_invalid_percentage_is_named(percentage):
    with pytest.raises(ValidationError, match="overlay_max_fail_percentage") as caught:
        too_many_failed(["a"], {"a": {}}, "node_result", percentage)
    assert str(percentage) in str(caught.value)


def test_addresses_with_their_variables():
    hostvars = {
        "a": {"ansible_host": "203.0.113.7", "ip": "10.0.0.7", "access_ip": "10.9.0.7"},
        "b": {"ansible_host": "203.0.113.8", "overlay_underlay_ip": "10.0.0.8", "ip": "10.0.0.8"},
        "10.0.0.9": {"ip": "eth0", "private_ip": 7},
    }
    fleet = {
        "a": Peer("a", "10.244.0.0/24", "203.0.113.7"),
        "b": Peer("b", "10.244.1.0/24", "10.0.0.8"),
        "10.0.0.9": Peer("10.0.0.9", "10.244.2.0/24", "10.0.0.9"),
    }
    assert underlays(hostvars, hostvars, fleet) == {
        "a": Underlay("203.0.113.7", "ansible_host", "10.0.0.7", "ip"),
        "b": Underlay("10.0.0.8", "overlay_underlay_ip"),
        "10.0.0.9": Underlay("10.0.0.9", "its name"),
    }

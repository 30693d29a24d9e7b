# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the filters read from the variables and registered results of hosts."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.plugin_utils._hosts import (
    converged,
    failure_of,
    registered,
    results_of,
    succeeded,
    underlay_addresses,
)

HOSTVARS = {
    "ok": {"result": {"changed": False, "saved": {"node": "ok"}}},
    "empty": {"result": {"changed": False, "saved": {}}},
    "failed": {"result": {"failed": True, "msg": "no nft"}},
    "skipped": {"result": {"skipped": True}},
    "unreachable": {"result": {"unreachable": True, "failed": True}},
    "absent": {},
}


def test_registered_leaves_out_hosts_without_a_value():
    assert registered(HOSTVARS, HOSTVARS, "result", "saved") == {"ok": {"node": "ok"}}
    assert registered([], HOSTVARS, "result", "saved") == {}


def test_succeeded_needs_a_task_that_ran():
    assert succeeded(HOSTVARS, HOSTVARS, "result") == ["ok", "empty"]
    assert succeeded(["empty", "ok"], HOSTVARS, "result") == ["empty", "ok"], "in the order given"


def test_a_host_that_waits_for_others_has_not_converged():
    waiting = {"result": {"changed": True, "unfinished": True, "waits_for": ["failed"]}}
    done = {"result": {"changed": True, "unfinished": True}}  # as its first phase has returned it
    hostvars = {**HOSTVARS, "waiting": waiting, "done": done}
    assert converged(hostvars, hostvars, "result") == ["ok", "empty", "done"]


def test_an_unreachable_host_has_no_result():
    assert registered(HOSTVARS, HOSTVARS, "result", "failed") == {"failed": True}


@pytest.mark.parametrize(
    ("variables", "address", "with_port"),
    [
        ({"overlay_underlay_ip": "10.0.1.11", "ansible_host": "192.0.2.1"}, "10.0.1.11", "10.0.1.11:6443"),
        ({"ansible_host": "192.0.2.1"}, "192.0.2.1", "192.0.2.1:6443"),
        ({"overlay_underlay_ip": "2001:db8::1"}, "2001:db8::1", "[2001:db8::1]:6443"),
        ({}, "api1", "api1:6443"),
    ],
)
def test_underlay_address_falls_back_as_in_the_planner(variables, address, with_port):
    assert underlay_addresses(["api1"], {"api1": variables}) == {"api1": address}
    assert underlay_addresses(["api1"], {"api1": variables}, port="6443") == {"api1": with_port}


def test_a_node_that_has_left_the_inventory_has_no_result():
    hostvars = {"a": {"done": {"saved": {"node": "a"}}}}
    assert registered(["a", "gone"], hostvars, "done", "saved") == {"a": {"node": "a"}}
    assert succeeded(["a", "gone"], hostvars, "done") == ["a"]


class HostVars(dict):
    """The variables of hosts as in Ansible: gathered anew at each access, and evaluated by ``[]`` only."""

    def __init__(self, results):
        super().__init__(results)
        self.gathered = []

    def __getitem__(self, host):
        raise AssertionError("a result is data, and evaluating it takes long")

    def raw_get(self, host):
        self.gathered.append(host)
        return self.get(host)


def test_variables_of_a_host_are_gathered_once_for_all_results():
    hostvars = HostVars({"a": {"one": {"x": 1}, "two": {"y": 2}}, "b": {"one": {"x": 3}}})
    found = results_of(["a", "b", "gone"], hostvars, ["one", "two"])
    assert found == {"one": {"a": {"x": 1}, "b": {"x": 3}, "gone": {}}, "two": {"a": {"y": 2}, "b": {}, "gone": {}}}
    assert hostvars.gathered == ["a", "b"]


GENERIC = "Module result deserialization failed: No start of json char found"
FORMER = "MODULE FAILURE\nSee stdout/stderr for the exact error"
FAILURES = {
    "requiretty": (
        {"msg": GENERIC, "module_stderr": "sudo: sorry, you must have a tty to run sudo\n"},
        "sudo: sorry, you must have a tty to run sudo: remove 'requiretty'",
    ),
    "requiretty, former Ansible": (
        {"msg": FORMER, "module_stderr": "", "module_stdout": "sudo: sorry, you must have a tty to run sudo\r\n"},
        "sudo: sorry, you must have a tty to run sudo: remove 'requiretty'",
    ),
    "password": (
        {"msg": "Task failed: Missing sudo password"},
        "Task failed: Missing sudo password: give the password",
    ),
    "password is required": (
        {"msg": FORMER, "module_stderr": "sudo: a password is required\nShared connection to h closed.\n"},
        "sudo: a password is required: give the password with --ask-become-pass",
    ),
    "not in sudoers": (
        {"msg": GENERIC, "module_stdout": "me is not in the sudoers file.\nThis incident has been reported."},
        "me is not in the sudoers file.: allow this user",
    ),
    "no sudo": ({"msg": FORMER, "module_stderr": "/bin/sh: 1: sudo: not found"}, "sudo: not found: install sudo"),
    "no python": (
        {
            "msg": "The module interpreter '/x/python3' was not found.",
            "module_stderr": "/bin/sh: 1: /x/python3: not found",
        },
        "/bin/sh: 1: /x/python3: not found: install python3 on the host, or set ansible_python_interpreter",
    ),
    "full disk": (
        {
            "msg": FORMER,
            "module_stderr": "Traceback (most recent call last):\nOSError: [Errno 28] No space left on device\n",
        },
        "OSError: [Errno 28] No space left on device: free space",
    ),
    "noise of a profile": (
        {"msg": FORMER, "module_stderr": "Welcome!\nsudo: sorry, you must have a tty to run sudo\nLast login: now\n"},
        "sudo: sorry, you must have a tty",
    ),
    "another fault": (
        {
            "msg": FORMER,
            "module_stderr": "Traceback (most recent call last):\nKeyError: 'x'\nConnection to h closed.\n",
        },
        "KeyError: 'x'",
    ),
    "a message of a module": ({"msg": "this host has no nft", "module_stderr": "x"}, "this host has no nft"),
    "only output": ({"module_stdout": "Segmentation fault"}, "Segmentation fault"),
    "nothing": ({"module_stderr": "\n"}, "the module failed without a message"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_shows_what_the_host_printed(case):
    result, words = FAILURES[case]
    text = failure_of({"failed": True, **result}, "changes")
    assert text.startswith(words) or words in text
    assert "MODULE FAILURE" not in text
    assert "deserialization" not in text
    assert "\n" not in text


def test_no_failure_of_a_host_that_did_not_fail():
    for result in ({}, {"changes": {}}, {"unreachable": True, "msg": "x"}, {"skipped": True}):
        assert failure_of(result, "changes") == ""

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the variables of hosts, and the names that the collection knows."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import (
    PLAYBOOK_VARIABLES,
    RANGES,
    RULES,
    VariableSurvey,
)
from ansible_collections.tke.overlay.plugins.plugin_utils._variables import (
    FAILED,
    HostVariables,
    evaluated,
    known_names,
    plain,
    problem_of_missing_variables,
    problems_of_names,
    specs,
    survey_host,
)


class Hostvars(dict):
    """What a task sees: values are templates until they are read, and a template with an error raises."""

    class Host(dict):
        def __getitem__(self, name):
            value = super().__getitem__(name)
            if isinstance(value, Exception):
                raise value
            return value

    def __init__(self, raw=None, **hosts):
        super().__init__({host: self.Host(values) for host, values in hosts.items()})
        self.raw = raw or {}

    def raw_get(self, host):
        return self.raw


def test_specifications_come_from_the_roles():
    assert specs()["overlay_vni"].type == "int"
    assert specs()["overlay_cluster"].required
    assert specs()["overlay_clb_provider"].choices == ("pair", "external")
    # The role endpoint needs only the names of the services, the role clb requires the backends, too.
    assert specs()["overlay_clb_services"].options["backends"].required
    assert set(specs()["overlay_clb_listeners"].options) == {"name", "vip", "port", "backends"}


def test_every_rule_is_for_a_variable_that_exists():
    assert set(RULES) | set(RANGES) | set(PLAYBOOK_VARIABLES) <= set(specs())


def test_known_names_include_what_playbooks_register():
    assert {"overlay_saved", "overlay_serial", "overlay_ledger_to"} <= known_names()
    assert "overlay_nodes" not in known_names(), "the group, which a user can take for a variable"


def test_a_host_is_checked_and_its_unknown_variables_are_noted():
    found = VariableSurvey(specs(), known_names())
    values = {"overlay_vni": "0x1", "overlay_mtu": 1, "overlay_saved": {}, "ansible_host": "\n", "overlay_port": 1}
    survey_host(found, "a", HostVariables(Hostvars(a=values), "a"))
    assert found.problems({}) == [
        "overlay_vni '0x1' is not a whole number in decimal digits: set a number from 1 to 16777215"
    ]
    assert found.given == {"overlay_vni", "overlay_port"}
    (warning,) = found.warnings({})
    assert "overlay_mtu, did you mean overlay_underlay_mtu?" in warning
    assert "overlay_saved" not in warning


@pytest.mark.parametrize(
    ("error", "raw", "words"),
    [
        ("'x' is\n undefined", "{{ x }}", ["'x' is undefined", "define what it refers to"]),
        ("'ansible_default_ipv4' is undefined", "", ["gather no facts"]),
        ("object of type 'dict' has no attribute 'y'", "{{ ansible_facts.y }}", ["gather no facts"]),
        ("it has an undefined variable", "{{ ansible_eth0.ipv4.address }}", ["gather no facts"]),
        ("no such file: /x/ansible_collections/y", "{{ ansible_ssh_host }}", ["define what it refers to"]),
        ("'ansible_host' is undefined", "{{ ansible_host }}", ["define what it refers to"]),
    ],
)
def test_a_template_with_an_error_is_explained(error, raw, words):
    found = VariableSurvey(specs(), known_names())
    hostvars = Hostvars({"overlay_vni": raw}, a={"overlay_vni": RuntimeError(error)})
    survey_host(found, "a", HostVariables(hostvars, "a"))
    (problem,) = found.problems({})
    assert problem.startswith("overlay_vni is set, but cannot be evaluated: ")
    for word in words:
        assert word in problem


def test_a_template_that_ansible_returns_unchanged_has_an_error():
    """ansible-core 2.18 returns the template where a variable in it is undefined."""
    found = VariableSurvey(specs(), known_names())
    found.host("a")
    hostvars = Hostvars({"overlay_cluster": "{{ x }}"}, a={"overlay_cluster": "{{ x }}"})
    assert evaluated(found, HostVariables(hostvars, "a"), "overlay_cluster") is FAILED
    assert found.problems({})[0].startswith(
        "overlay_cluster is set, but cannot be evaluated: '{{ x }}' has an undefined"
    )
    # Braces that a template has produced are text.
    hostvars = Hostvars({"overlay_cluster": "{{ y }}"}, a={"overlay_cluster": "{{ x }}"})
    assert evaluated(found, HostVariables(hostvars, "a"), "overlay_cluster") == "{{ x }}"


def test_plain_values_have_no_types_of_ansible():
    class Text(str):
        pass

    class Texts(list):
        pass

    found = plain({Text("a"): Texts([("b",)])})
    assert found == {"a": [["b"]]}
    assert [type(each) for each in (next(iter(found)), found["a"], found["a"][0])] == [str, list, list]


def test_names_of_hosts_of_all_groups_follow_one_rule():
    evil = "evil 10.9.9.9:1\n    server zz"
    groups = {
        "overlay_nodes": ["a", "no node"],
        "cloud": ["a", "x y"],
        "idc": ["\u00fc"],
        "clb": ["clb;1"],
        "apiserver": [evil, "api-1.example"],
        "other": ["o o"],
    }
    problems = problems_of_names("overlay_nodes", groups)
    assert [problem.partition(": a name")[0] for problem in problems] == [
        "host 'x y' (group cloud)",
        "host '\u00fc' (group idc)",
        "host 'clb;1' (group clb)",
        "host 'evil 10.9.9.9:1\\n    server zz' (group apiserver)",
    ]


def test_missing_variables_name_the_files_beside_the_inventory(tmp_path):
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/overlay-nodes.yml").write_text("overlay_cluster: demo\n")
    groups = {"overlay_nodes": ["a"]}
    task_vars = {"groups": groups, "hostvars": Hostvars(a={"inventory_dir": str(tmp_path)})}
    problem = problem_of_missing_variables(["overlay_cluster"], "overlay_nodes", task_vars)
    assert f"{tmp_path}/group_vars/all.yml" in problem
    assert "overlay-nodes.yml is for no group of this inventory, did you mean overlay_nodes?" in problem
    task_vars["hostvars"]["a"]["inventory_dir"] = str(tmp_path / "nowhere")
    assert "finds none" in problem_of_missing_variables(["overlay_cluster"], "overlay_nodes", task_vars)


class Encrypted:
    """A value of ``!vault`` in ansible-core 2.18."""

    __ENCRYPTED__ = True

    def __str__(self):
        return "decrypted"


def test_encrypted_values_are_texts():
    assert plain({"a": [Encrypted()], "b": Encrypted()}) == {"a": ["decrypted"], "b": "decrypted"}

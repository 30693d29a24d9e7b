# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Every variable that the collection reads is documented, and every documented variable is read."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import yaml

from ansible_collections.tke.overlay.plugins.action import clb_vips
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import (
    NULLABLE,
    OF_PLANNER,
    PLAYBOOK_VARIABLES,
    problems_of_variable,
)
from ansible_collections.tke.overlay.plugins.plugin_utils import _hosts
from ansible_collections.tke.overlay.plugins.plugin_utils._variables import known_names, specs
from product import COLLECTION, MODULES, PLAYBOOKS, ROLES, ROOT, documented, module_documentation

NAME = re.compile(r"(?<![\w.])overlay_[a-z0-9_]+\b")
GROUP = "overlay_nodes"
TABLE = (COLLECTION / "docs/variables.md").read_text()


def own_names(tree):
    """Yield the names that a playbook defines itself: results, facts and variables of a task or a block."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == "register":
                yield value
            elif key in ("vars", "ansible.builtin.set_fact"):
                yield from value
            elif key == "loop_control":
                yield from value.values()
            yield from own_names(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from own_names(item)


def read_by(path):
    """Return the variables of users that a file reads."""
    if path.suffix == ".py":
        return set(re.findall(r'"(overlay_[a-z0-9_]+)"', path.read_text()))
    if path.suffix not in (".yml", ".yaml"):
        return set(NAME.findall(path.read_text()))
    tree = list(yaml.safe_load_all(path.read_text()))
    return set(NAME.findall(yaml.safe_dump(tree, width=10**6))) - set(own_names(tree))


def variables(paths):
    found = set()
    for path in paths:
        found |= read_by(path)
    return found - {GROUP} - set(MODULES)


IN_ROLES = {
    role: variables(
        path
        for path in (COLLECTION / f"roles/{role}").rglob("*")
        if path.is_file() and path.suffix != ".md" and path.parent.name not in ("meta", "__pycache__")
    )
    for role in ROLES
}
IN_PLAYBOOKS = {name: variables([COLLECTION / f"playbooks/{name}.yml"]) for name in PLAYBOOKS}
REGISTERED = {
    name
    for playbook in PLAYBOOKS
    for name in own_names(yaml.safe_load((COLLECTION / f"playbooks/{playbook}.yml").read_text()))
}
"""Names that playbooks define. An action that reads such a name does not read a variable of a user."""
IN_ACTIONS = (
    variables([*(COLLECTION / "plugins/action").glob("*.py"), COLLECTION / "plugins/plugin_utils/_hosts.py"])
    | set(_hosts.PLAN_VARIABLES)
    | set(clb_vips.CLUSTER_VARIABLES)
) - REGISTERED
DOCUMENTED = {name for role in ROLES for name in documented(role) if name.startswith("overlay_")}
READ = set().union(*IN_ROLES.values(), *IN_PLAYBOOKS.values(), IN_ACTIONS)
ROWS = re.findall(r"^\| `(overlay_\w+)` \|", TABLE, re.MULTILINE)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_documents_every_variable_it_reads(role):
    undocumented = IN_ROLES[role] - set(documented(role))
    assert not undocumented, f"roles/{role}/meta/argument_specs.yml"


def test_every_variable_is_in_the_table_once():
    assert set(ROWS) == DOCUMENTED | set().union(*IN_PLAYBOOKS.values()) | IN_ACTIONS, "docs/variables.md"
    assert len(ROWS) == len(set(ROWS))


def test_no_variable_is_documented_that_nothing_reads():
    assert set() == DOCUMENTED - READ, "argument_specs"
    assert set() == set(ROWS) - READ, "docs/variables.md"


def test_every_variable_has_a_specification():
    """Preflight checks what has one. Variables of roles have it in argument_specs, those of playbooks in a table."""
    assert set(ROWS) == set(specs()), "PLAYBOOK_VARIABLES"
    assert not set(PLAYBOOK_VARIABLES) & DOCUMENTED, "PLAYBOOK_VARIABLES has what a role describes"
    assert known_names() >= READ


def wrong_values():
    """Yield a variable and a value that cannot be right for it: of another type, empty, or of several lines."""
    for name in sorted(set(ROWS) - set(OF_PLANNER)):
        kind = specs()[name].type
        values = [{"k": ["v"]}, [["x"]], None, "\n", "", 1.5] if kind != "raw" else [None]
        yield from ((name, value) for value in values if not (kind == "dict" and isinstance(value, dict)))


@pytest.mark.parametrize(("name", "value"), [each for each in wrong_values() if each[1] is not None or each[0] not in NULLABLE])
def test_an_error_names_the_variable_that_has_a_wrong_type(name, value):
    problems = problems_of_variable(name, value, specs()[name])
    assert problems
    for problem in problems:
        assert problem.startswith(name)
        assert re.search(r"set |give it|put the text|not one line|not a whole number|not an absolute path", problem)


HOSTILE = ("a\nb", "a\rb", "a\tb", "a\0b", "a\x85b", "a\u2028b", "a\u202eb", "a\udcffb", " a", "a ", "a\n")


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_variable_takes_a_text_that_is_not_one_line(text):
    """What is left reads as it is, on one line, in every file, error and screen."""
    kinds = {"str": text, "path": text, "list": [text], "dict": {text: "x"}}
    checked = set()
    for name in set(ROWS) - set(OF_PLANNER):
        spec = specs()[name]
        if spec.type in kinds and spec.elements != "dict":
            checked.add(name)
            problems = problems_of_variable(name, kinds[spec.type], spec)
            assert problems, name
            assert all(problem.startswith(name) and problem.isprintable() for problem in problems)
    assert len(checked) > 20


@pytest.mark.parametrize("role", ROLES)
def test_the_defaults_of_a_role_are_valid(role):
    defaults = {name: option.get("default") for name, option in documented(role).items() if name in ROWS}
    for name, value in defaults.items():
        if value is not None and "{{" not in str(value):
            assert problems_of_variable(name, value, specs()[name]) == [], name


def test_a_variable_of_two_roles_has_one_default():
    defaults = {}
    for role in ROLES:
        for name, option in documented(role).items():
            defaults.setdefault(name, {})[role] = (option["type"], option.get("default"))
    differing = {name: found for name, found in defaults.items() if len(set(map(str, found.values()))) > 1}
    assert not differing


def test_the_table_agrees_with_the_argument_specs():
    done = subprocess.run(
        [sys.executable, ROOT / "tests/tools/tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_default_of_a_role_is_that_of_its_module():
    """If the user sets no value, the role passes none, and the default of the module applies."""
    compared = 0
    for role in ROLES:
        for path in (COLLECTION / f"roles/{role}/tasks").rglob("*.yml"):
            for task in yaml.safe_load(path.read_text()):
                for module in MODULES:
                    arguments = task.get(f"tke.overlay.{module}", {})
                    for option, name in passed_on(arguments):
                        known = module_documentation()[module]["options"][option].get("default")
                        of_role = documented(role)[name].get("default")
                        assert str(known) == str(of_role), f"role {role}: {name} of {path.name}, {module}: {option}"
                        compared += 1
    assert compared > 5


def passed_on(arguments):
    """Yield the options whose value is a variable or omitted, with the name of the variable."""
    for option, value in arguments.items():
        match = re.fullmatch(r"\{\{ (overlay_\w+) \| default\(omit\) \}\}", str(value))
        if match:
            yield option, match[1]

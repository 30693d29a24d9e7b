# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The examples in plugins, guides and pages are valid: they parse, and their arguments and variables exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.variables import PLAYBOOK_VARIABLES
from product import (
    COLLECTION,
    FILTERS,
    GUIDES,
    LOOKUPS,
    MODULES,
    PAGES,
    PLAYBOOKS,
    PREFIX,
    ROLES,
    ROOT,
    constant,
    documented,
    fences,
    module_documentation,
)

KNOWN_TO_A_SPEC = ("type", "elements", "required", "choices", "default", "aliases", "no_log")
SOURCES = [("modules", name) for name in MODULES]
SOURCES += [("lookup", name) for name in LOOKUPS] + [("filter", name) for name in FILTERS]
VARIABLES = {name for role in ROLES for name in documented(role)}
GROUPS = {"all", "overlay_nodes", "cloud", "idc", "clb", "apiserver"}
"""The groups of an inventory that the collection uses."""
OF_OTHER_PROGRAMS = {"scrape_configs", "inhibit_rules"}
"""What a configuration of Prometheus and one of Alertmanager have at the top."""
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def examples():
    """Yield the location and the text of every YAML block in plugins and pages."""
    for kind, name in SOURCES:
        yield f"{kind}/{name}", constant(COLLECTION / f"plugins/{kind}/{name}.py", "EXAMPLES")
    for page in PAGES:
        for line, text in fences(page, "yaml"):
            yield f"{page.relative_to(ROOT)}:{line}", text


EXAMPLES = {where: yaml.safe_load(text) for where, text in examples()}


def kind_of(tree):
    if isinstance(tree, list):
        return "plays" if any({"hosts", "ansible.builtin.import_playbook"} & set(item) for item in tree) else "tasks"
    if not set(tree).isdisjoint(OF_OTHER_PROGRAMS):
        return "configuration"
    return "inventory" if set(tree) <= GROUPS else "variables"


def of_kind(*kinds):
    return [where for where, tree in EXAMPLES.items() if kind_of(tree) in kinds]


def tasks_in(tree):
    """Yield all tasks of plays and blocks."""
    for item in tree:
        yield item
        for key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from tasks_in(item.get(key, []))


def spec_of(options):
    """Return the argument_spec of documented options."""
    return {
        name: {
            **{key: option[key] for key in KNOWN_TO_A_SPEC if key in option},
            **({"options": spec_of(option["suboptions"])} if option.get("suboptions") else {}),
        }
        for name, option in options.items()
    }


def problems_of(module, arguments):
    """Return the errors of Ansible for the arguments of a module. Values that are templates are not checked."""
    arguments = arguments or {}  # a task can have no arguments
    spec = spec_of(module_documentation()[module]["options"])
    templated = {name for name, value in arguments.items() if isinstance(value, str) and "{{" in value}
    for name in templated & set(spec):
        spec[name] = {"type": "raw"}
    return ArgumentSpecValidator(spec).validate(arguments).error_messages


def test_finds_examples_of_every_kind():
    assert {kind_of(tree) for tree in EXAMPLES.values()} >= {"tasks", "inventory", "variables"}


def test_examples_of_tasks_pass_a_syntax_check(tmp_path):
    """Check all in one run of ansible-playbook, because its start takes most of the time."""
    playbooks = []
    for number, where in enumerate(of_kind("tasks", "plays")):
        tree = EXAMPLES[where]
        plays = tree if kind_of(tree) == "plays" else [{"hosts": "all", "gather_facts": False, "tasks": tree}]
        playbook = tmp_path / f"{number}-{re.sub('[^a-z0-9]+', '-', where.lower())}.yml"
        playbook.write_text(yaml.safe_dump(plays))
        playbooks.append(playbook)
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", "--syntax-check", "-i", "localhost,", *playbooks],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("where", of_kind("tasks", "plays"))
def test_the_arguments_in_an_example_are_valid(where):
    problems = [
        f"{task.get('name')}: {problem}"
        for task in tasks_in(EXAMPLES[where])
        for module in MODULES
        if f"{PREFIX}{module}" in task
        for problem in problems_of(module, task[f"{PREFIX}{module}"])
    ]
    assert not problems


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_a_module_use_it(module):
    assert any(f"{PREFIX}{module}" in task for task in tasks_in(EXAMPLES[f"modules/{module}"]))


@pytest.mark.parametrize("module", MODULES)
def test_every_returned_value_has_a_sample_of_its_type(module):
    types = {"str": str, "int": int, "float": (int, float), "bool": bool, "list": list, "dict": dict}
    returned = yaml.safe_load(constant(COLLECTION / f"plugins/modules/{module}.py", "RETURN"))
    for name, value in returned.items():
        assert isinstance(value["sample"], types.get(value["type"], object)), name
        if value["type"] == "list":
            assert "elements" in value, name


@pytest.mark.parametrize("where", of_kind("inventory"))
def test_an_inventory_in_a_guide_is_valid(where, tmp_path):
    """It may be a part of an inventory: its groups are those of the collection, and its variables exist."""
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump(EXAMPLES[where]))
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "inventory", "-i", inventory, "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    listed = json.loads(done.stdout)
    variables = listed.pop("_meta")["hostvars"]
    assert set(listed) <= GROUPS
    assert any(group.get("hosts") for group in listed.values())
    if "overlay_nodes" in listed:
        assert set(listed["overlay_nodes"]["children"]) == {"cloud", "idc"}
    assert [problem for given in variables.values() for problem in problems_of_variables(given)] == []


def problems_of_variables(given):
    """Return the errors in variables of a user: undocumented names, and values of another type."""
    types = {name: spec.type for name, spec in PLAYBOOK_VARIABLES.items()}
    types |= {name: option["type"] for role in ROLES for name, option in documented(role).items()}
    given = {name: value for name, value in given.items() if not name.startswith("ansible_")}
    spec = {name: {"type": types[name]} for name in given if name in types}
    return ArgumentSpecValidator(spec).validate(given).error_messages


@pytest.mark.parametrize("where", of_kind("variables"))
def test_variables_in_a_guide_exist_and_have_the_right_type(where):
    assert not problems_of_variables(EXAMPLES[where])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_a_page_use_existing_names(page):
    text = page.read_text()
    lines = [line for line in text.splitlines() if "ansible-playbook" in line]
    problems = [
        f"playbook {name}"
        for line in lines
        for name in re.findall(r"tke\.overlay\.(\w+)", line)
        if name not in PLAYBOOKS
    ]
    table = (COLLECTION / "docs/variables.md").read_text()
    problems += [f"variable {name}" for name in re.findall(r"-e (overlay_\w+)=", text) if f"| `{name}` |" not in table]
    problems += [
        f"make {name}" for name in re.findall(r"(?:^ {4}|`)make ([a-z-]+)", text, re.MULTILINE) if name not in TARGETS
    ]
    known = {*MODULES, *LOOKUPS, *FILTERS, *PLAYBOOKS, *ROLES, "controller", "host", "overlay"}
    problems += [f"tke.overlay.{name}" for name in re.findall(r"`tke\.overlay\.(\w+)`", text) if name not in known]
    assert not problems


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_have_a_target(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        if ":" in path:
            continue
        there = page.parent / path if path else page
        if not there.exists() or (heading and heading not in headings(there)):
            broken.append(target)
    assert not broken


def headings(page):
    """Return the anchors that GitHub generates for a page."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_the_readme_links_every_guide(guide):
    linked = re.findall(r"\]\((docs/[^)#]+)", (COLLECTION / "README.md").read_text())
    assert f"docs/{guide.name}" in linked, "README.md of the collection"


def test_messages_in_the_troubleshooting_guide_exist():
    rows = re.findall(r"^\| (`.*?`) \|", (COLLECTION / "docs/troubleshooting.md").read_text(), re.MULTILINE)
    messages = [message for row in rows for message in re.findall("`(.*?)`", row)]
    sources = [*(COLLECTION / "plugins").rglob("*.py"), *(COLLECTION / "playbooks").glob("*.yml")]
    code = "".join(path.read_text() for path in sources)
    assert len(messages) > 5
    assert [message for message in messages if message not in code] == []


def test_the_table_of_sizes_agrees_with_the_pool():
    row = r"^\| ([\d./]+) \| (\d+) \| (\d+) \| (\d+) \| ([\d./]+) \|$"
    rows = re.findall(row, (COLLECTION / "docs/sizing.md").read_text(), re.MULTILINE)
    assert len(rows) > 3
    for cidr, pods, services, nodes, service_range in rows:
        pool = Pool([cidr], int(pods), int(services))
        assert (Ledger("demo", pool).capacity()["max_nodes"], pool.service_cidr) == (int(nodes), service_range)

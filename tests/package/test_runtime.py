# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What the collection declares to Ansible: action groups, requirements, the contents of an execution environment."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import yaml

from product import (
    ACTIONS,
    COLLECTION,
    FILTERS,
    LOOKUPS,
    MODULES,
    PLAYBOOKS,
    PREFIX,
    ROLES,
    ROOT,
    constant,
)

sys.path.append(str(ROOT / "tests/tools"))

import matrix  # found by the line above

RUNTIME = yaml.safe_load((COLLECTION / "meta/runtime.yml").read_text())
GALAXY = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())


def ansible_playbook(*arguments):
    """Run a playbook that contacts no host."""
    command = [sys.executable, "-m", "ansible", "playbook", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


def test_every_module_is_in_the_action_group_of_its_side():
    groups = RUNTIME["action_groups"]
    # These actions go along with modules that work on the host.
    on_host = {"api_endpoint", "clb", "node", "overlay_info", "probe", "saved_state", "wireguard_key"}
    controller = sorted(set(ACTIONS) - on_host)
    assert sorted(groups["controller"]) == controller, "action_groups.controller of meta/runtime.yml"
    assert sorted(groups["host"]) == sorted(set(MODULES) - set(controller)), "action_groups.host of meta/runtime.yml"
    assert groups["overlay"] == [{"metadata": {"extend_group": [f"{PREFIX}controller", f"{PREFIX}host"]}}]


def test_every_action_has_a_module_with_its_documentation():
    assert set(ACTIONS) <= set(MODULES)


def test_the_readmes_name_the_controllers_of_the_tests():
    """What make test and make matrix run with: requirements.txt, the Python of .venv, and the rows of the matrix."""
    (series,) = re.findall(r"^ansible-core==(\d+\.\d+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"Tested with ansible-core {series} and Python {python}" in (ROOT / "README.md").read_text()
    (row,) = re.findall(r"^\| controller \|.*", (COLLECTION / "README.md").read_text(), re.MULTILINE)
    cores = sorted(matrix.CORES, key=matrix.numbers)
    released = [core for core in cores if core not in matrix.PRE_RELEASES]
    pythons = sorted({version for core in released for version in matrix.CORES[core]}, key=matrix.numbers)
    assert f"everything with ansible-core {series}, Python {python};" in row
    assert f"unit tests with {released[0]} to {released[-1]}, Python {pythons[0]} to " in row
    assert f"`make matrix` also tries the pre-release of {cores[-1]} |" in row
    assert RUNTIME["requires_ansible"] == f">={cores[0]}.0"


def test_group_defaults_reach_the_modules_of_the_group(tmp_path):
    """By the group itself, and by the group that extends it."""
    playbook = tmp_path / "play.yml"
    task = {"tke.overlay.node_cidr": {"nodes": ["a"]}, "register": "result"}
    given = {"ledger": str(tmp_path / "ledger.json"), "cluster": "demo", "container_cidr": "10.244.0.0/16"}
    plays = [
        {
            "hosts": "localhost",
            "gather_facts": False,
            "module_defaults": {f"group/{PREFIX}{group}": given},
            "tasks": [task, {"ansible.builtin.assert": {"that": "result.assignments == {'a': '10.244.0.0/24'}"}}],
        }
        for group in ("controller", "overlay")
    ]
    playbook.write_text(yaml.safe_dump(plays))
    done = ansible_playbook("-i", "localhost,", playbook)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_play_has_the_linear_strategy():
    """With ``strategy = free`` in ansible.cfg, a port would change on one host before others accept it."""
    plays = [play for name in PLAYBOOKS for play in yaml.safe_load((COLLECTION / f"playbooks/{name}.yml").read_text())]
    strategies = {play["name"]: play["strategy"] for play in plays if "ansible.builtin.import_playbook" not in play}
    assert set(strategies.values()) == {"ansible.builtin.linear"}, strategies


def test_every_play_decides_whether_a_failure_ends_it():
    """With ``any_errors_fatal`` in ansible.cfg, one unreachable host would stop all others."""
    plays = [play for name in PLAYBOOKS for play in yaml.safe_load((COLLECTION / f"playbooks/{name}.yml").read_text())]
    fatal = {play["name"]: play.get("any_errors_fatal") for play in plays if "strategy" in play}
    assert [name for name, value in fatal.items() if value is None] == []
    assert [name for name, value in fatal.items() if value] == [
        "Make the next keys",
        "Wait until the nodes hear each other by the next keys",
    ]


def test_only_converged_hosts_acknowledge_released_node_cidrs(tmp_path):
    """In a playbook of a user, the batch can contain hosts that failed and were rescued, or that have not run yet."""
    results = {"a": {"changed": False}, "b": {"failed": True}, "c": {"skipped": True}, "d": {"unreachable": True}}
    results["f"] = {"changed": True, "unfinished": True, "waits_for": ["b"]}  # it still has the released node CIDR
    inventory = {"all": {"hosts": {**{name: {"node_result": result} for name, result in results.items()}, "e": {}}}}
    cluster = {"ledger": str(tmp_path / "ledger.json"), "cluster": "demo", "container_cidr": "10.244.0.0/16"}
    inventory["all"]["vars"] = {f"overlay_{name}": value for name, value in cluster.items()}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    absent = {"nodes": ["gone"], "state": "absent", "pending_on": list("abcdef")}
    play = {
        "hosts": "all",
        "gather_facts": False,
        "module_defaults": {f"group/{PREFIX}controller": cluster},
        "tasks": [
            {"tke.overlay.node_cidr": {"nodes": ["gone", *"abcdef"]}, "run_once": True},
            {"tke.overlay.node_cidr": absent, "run_once": True, "register": "plan_result"},
            {"ansible.builtin.import_role": {"name": f"{PREFIX}plan", "tasks_from": "acknowledge"}},
            {
                "ansible.builtin.assert": {
                    "that": "plan_acknowledged.pending == {'10.244.0.0/24': ['b', 'c', 'd', 'e', 'f']}"
                }
            },
        ],
    }
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([play]))
    done = ansible_playbook("-i", tmp_path / "hosts.yml", playbook)
    assert done.returncode == 0, done.stdout + done.stderr


def tasks_of(playbook, *names):
    """Return tasks of a playbook, by name."""
    plays = yaml.safe_load((COLLECTION / f"playbooks/{playbook}.yml").read_text())
    found = {task["name"]: task for play in plays for task in play.get("tasks", ())}
    return [found[name] for name in names]


def run_with_results(tmp_path, tasks, cases):
    """Run tasks once for each case, a play with registered results by host; return the output."""
    hosts = sorted({host for results in cases for host in results})
    plan = {"wireguard": {"generation": 1, "rotating": False, "nodes": "a b", "recorded": "a b"}}
    plays = [
        {
            "hosts": "all",
            "gather_facts": False,
            "vars": {"plan_result": plan, "given": results},
            "tasks": [
                {"ansible.builtin.set_fact": {name: f"{{{{ given[inventory_hostname].{name} }}}}"}}
                for name in results[hosts[0]]
            ]
            + [{**task, "ignore_errors": True} for task in tasks],
        }
        for results in cases
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    done = ansible_playbook("-i", f"{','.join(hosts)},", tmp_path / "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    return [" ".join(each.split()) for each in done.stdout.split("PLAY [all]")[1:]]


def test_keys_are_deleted_only_where_no_node_sends_by_them(tmp_path):
    """A node without WireGuard (c) fails, and then the others wait for it and send by their former keys."""
    ok, waiting = {"changed": True, "unfinished": True}, {"changed": True, "unfinished": True, "waits_for": ["c"]}
    cases = [
        {"a": ok, "b": ok, "c": {"changed": False}},
        {"a": ok, "b": ok, "c": {"unreachable": True}},
        {"a": waiting, "b": waiting, "c": {"failed": True}},
        {"a": ok, "b": ok, "c": {"failed": True}},
        {"a": ok, "b": {"unreachable": True}, "c": ok},
    ]
    results = [{host: {"node_result": result} for host, result in case.items()} for case in cases]
    tasks = tasks_of("rotate_keys", "Stop unless all nodes with WireGuard have the plan")
    texts = run_with_results(tmp_path, tasks, results)
    assert ["FAILED!" in text for text in texts] == [False, False, True, True, True]
    for text, names, waiting in zip(texts[2:], ("c", "c", "b"), (2, 0, 0), strict=True):
        assert f"do not have the plan: {names}. {waiting} other nodes wait" in text


def test_a_host_that_waits_is_not_done_in_a_rollout(tmp_path):
    results = {"a": {"node_result": {"changed": True}}, "b": {"node_result": {"changed": True, "waits_for": ["c"]}}}
    (record,) = tasks_of("rollout", "Record the hosts that have the plan")
    check = {"ansible.builtin.assert": {"that": "hostvars.localhost.overlay_rollout_done == ['a']"}}
    (text,) = run_with_results(tmp_path, [{**record, "when": True}, check], [results])
    assert "FAILED!" not in text


def test_a_cutover_waits_for_the_batches_that_are_not_started(tmp_path):
    """Host b was not reached, which has ended the run: a must not change its port before c accepts the new one."""
    cutover = tasks_of("site", "Finish the change of the node")[0]["block"]
    given = {"a": {"unfinished": True, "changed": True}, "b": {"unreachable": True}}
    check = {"that": "node_result.waits_for | default([]) == (['c'] if inventory_hostname == 'a' else [])"}
    plays = [
        {
            "hosts": "a,b,c",
            "gather_facts": False,
            "serial": 1,
            "vars": {"overlay_serial": 1, "given": given},
            "tasks": [
                {"ansible.builtin.set_fact": {"node_result": "{{ given[inventory_hostname] }}"}},
                *tasks_of("site", "List the hosts of the batches that are not started", "Stop before the next batch"),
            ],
        },
        {
            "hosts": "a,b,c",
            "gather_facts": False,
            "tasks": [*cutover, {"ansible.builtin.assert": check, "when": "node_result is defined"}],
        },
    ]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(plays))
    done = ansible_playbook("-i", "a,b,c,", tmp_path / "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_keys_of_former_generations_show_an_earlier_change(tmp_path):
    """A key of the next generation, which the ledger does not have, shows nothing: no node has used it."""
    removed = [[0], [], [2], [2, 0]]
    results = [{"a": {"rotate_deleted": {"removed": each}}, "b": {"rotate_deleted": {}}} for each in removed]
    names = ("Find whether this was the end of an earlier change of keys", "Print the result of the earlier change")
    tasks = tasks_of("rotate_keys", *names)
    texts = run_with_results(tmp_path, tasks, results)
    assert ["the keys of generation 0 are deleted" in text for text in texts] == [True, False, False, True]


def test_releases_the_vips_of_an_external_load_balancer(tmp_path):
    """The inventory then has no group ``clb``, and no host is configured."""
    own = {"cluster": "demo", "container_cidr": "10.244.0.0/16", "clb_provider": "external"}
    own["clb_vips"] = {"apiserver": "10.0.9.4", "services": "10.0.9.5"}
    variables = {**{f"overlay_{name}": value for name, value in own.items()}, "ansible_host": "192.0.2.1"}
    inventory = {"overlay_nodes": {"hosts": {"a": {}, "b": {}}, "vars": variables}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory))
    role = {"name": f"{PREFIX}clb_vips"}
    play = {"hosts": "overlay_nodes", "gather_facts": False, "tasks": [{"ansible.builtin.import_role": role}]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    assert ansible_playbook("-i", tmp_path / "hosts.yml", tmp_path / "play.yml").returncode == 0
    ledger = tmp_path / "overlay-ledger.json"
    assert json.loads(ledger.read_text())["vips"] == own["clb_vips"]
    release = ("-i", tmp_path / "hosts.yml", f"{PREFIX}clb_release")
    asked = ansible_playbook(*release)
    assert asked.returncode != 0
    assert json.loads(ledger.read_text())["vips"] == own["clb_vips"]
    done = ansible_playbook(*release, "-e", "overlay_clb_release_confirmed=true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(ledger.read_text())["vips"] == {}


def test_minimum_ansible_core_is_the_same_everywhere():
    least = re.fullmatch(r">=(\d+\.\d+)\.0", RUNTIME["requires_ansible"])[1]
    assert f"ansible-core {least} or newer" in (COLLECTION / "README.md").read_text()
    for role in ROLES:
        meta = yaml.safe_load((COLLECTION / f"roles/{role}/meta/main.yml").read_text())
        assert meta["galaxy_info"]["min_ansible_version"] == least, role


def test_execution_environment_has_what_the_controller_imports():
    environment = yaml.safe_load((COLLECTION / "meta/execution-environment.yml").read_text())
    lines = (COLLECTION / environment["dependencies"]["python"]).read_text().splitlines()
    wanted = {line.partition("#")[0].strip() for line in lines} - {""}
    imported = set()
    for path in (COLLECTION / "plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    # jinja2, yaml and cryptography come with ansible-core, urllib3 with etcd3gw.
    brought = {"ansible", "ansible_collections", "jinja2", "yaml", "cryptography", "urllib3"}
    third_party = imported - sys.stdlib_module_names - brought
    assert third_party == wanted
    assert (COLLECTION / environment["dependencies"]["system"]).is_file()


def test_galaxy_metadata_is_complete():
    assert re.fullmatch(r"\d+\.\d+\.\d+", GALAXY["version"])
    for key in ("description", "license", "tags", "repository", "documentation", "issues", "homepage", "authors"):
        assert GALAXY[key], key


def test_readme_has_a_row_for_every_plugin_playbook_and_role():
    text = (COLLECTION / "README.md").read_text()
    names = [*MODULES, *PLAYBOOKS, *ROLES]
    assert [name for name in names if f"| `{PREFIX}{name}` |" not in text] == [], "README.md of the collection"
    assert set(re.findall(rf"`{PREFIX}(\w+)`", text)) <= {*names, *LOOKUPS, *FILTERS}


def test_every_module_has_an_integration_target():
    targets = {path.parent.parent.name for path in (COLLECTION / "tests/integration/targets").glob("*/tasks/main.yml")}
    assert {name for name in targets if not name.startswith("setup_")} == set(MODULES), "tests/integration/targets"


def test_changelog_fragments_use_double_backquotes():
    """Fragments are reStructuredText, which does not render the markup of plugin documentation."""
    for path in (COLLECTION / "changelogs/fragments").glob("*.yml"):
        markup = re.findall(r"\b(?:C|V|O|M|P|RV|E|L|U)\([^)]*\)", path.read_text())
        assert not markup, f"{path.name}: write ``so``"


def test_the_state_of_every_release_is_kept():
    """``tests/kernel/test_upgrade.py`` upgrades from each of them."""
    changelog = yaml.safe_load((COLLECTION / "changelogs/changelog.yaml").read_text())
    # Nothing up to 1.0.0 was ever published, so nobody comes from there.
    releases = {version for version in changelog["releases"] if version not in ("0.1.0", "1.0.0")}
    kept = {path.name for path in (ROOT / "tests/fixtures").glob("state-*")}
    assert {f"state-{version}" for version in releases} == kept, "make release says how"
    for name in kept:
        assert {path.name for path in (ROOT / "tests/fixtures" / name).iterdir()} == {
            "overlay-ledger.json",
            "tke-overlay",
        }


def test_sanity_ignore_files_are_empty():
    cores = set(re.findall(r'^    "(2\.\d+)": \(', (ROOT / "tests/tools/matrix.py").read_text(), re.MULTILINE))
    files = {path.name: path.read_text() for path in (COLLECTION / "tests/sanity").iterdir()}
    assert files == {f"ignore-{core}.txt": "" for core in cores}


def test_playbooks_and_roles_contain_no_jinja_programs():
    """Computations over many hosts are actions or filters, which have unit tests."""
    paths = [*(COLLECTION / "playbooks").rglob("*.yml"), *(COLLECTION / "roles").rglob("*.yml")]
    found = [path.name for path in paths if re.search(r"{%-?\s*(for|set)\b", path.read_text())]
    assert paths
    assert found == []


def test_every_filter_is_documented_under_its_name():
    for name in FILTERS:
        documentation = yaml.safe_load(constant(COLLECTION / f"plugins/filter/{name}.py", "DOCUMENTATION"))
        assert documentation["name"] == name
        assert f'return {{"{name}": ' in (COLLECTION / f"plugins/filter/{name}.py").read_text()


OLDER = """
- hosts: overlay_nodes
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact:
        plan_saved:
          saved:
            node: "{{ inventory_hostname }}"
            cluster: demo
            node_cidr: "10.244.{{ groups.overlay_nodes.index(inventory_hostname) }}.0/24"
            underlay: "10.0.1.{{ groups.overlay_nodes.index(inventory_hostname) + 1 }}"
            fleet: ""
            ledger_version: "{{ '4-3fa9c2d1' if inventory_hostname == groups.overlay_nodes[-1] else '' }}"
    - ansible.builtin.include_role: {name: tke.overlay.plan, apply: {run_once: true}}
    - ansible.builtin.assert:
        that: plan_result.document.ledger_versions.startswith('5-')
"""


def test_an_older_ledger_continues_after_the_version_of_every_host(tmp_path):
    """A plan compares the first sixteen hosts; a newer version that another one has applied would be refused there."""
    names = [f"n{number:02}" for number in range(20)]
    hosts = {name: {"overlay_underlay_ip": f"10.0.1.{number}"} for number, name in enumerate(names, 1)}
    given = {"overlay_cluster": "demo", "overlay_container_cidr": ["10.244.0.0/16"], "overlay_underlay_mtu": 1500}
    nodes = {"children": {"cloud": {"hosts": hosts}}, "vars": {**given, "overlay_require_idc": False}}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"children": {"overlay_nodes": nodes}}}))
    (tmp_path / "play.yml").write_text(OLDER)
    option = ("-e", "overlay_older_ledger=none")
    done = ansible_playbook("-i", tmp_path / "hosts.json", "-c", "local", tmp_path / "play.yml", *option)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("site", "rollout", "release", "rotate_keys"):
        for options, count in (((), 16), (option, 20)):
            listed = ansible_playbook("-i", tmp_path / "hosts.json", f"tke.overlay.{name}", "--list-hosts", *options)
            first = listed.stdout.partition("hosts (")[2].partition(")")[0]
            assert first == str(count), listed.stdout + listed.stderr

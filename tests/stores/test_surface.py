# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The ledger in Ansible: the playbook that moves it, the lookup, and the errors that a user reads."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.open import open_store

ROOT = pathlib.Path(__file__).parents[2]
INVENTORY = """
[cloud]
cloud-1.example overlay_underlay_ip=10.0.1.11
[idc]
idc1 overlay_underlay_ip=192.168.1.11
[overlay_nodes:children]
cloud
idc
[overlay_nodes:vars]
overlay_cluster=demo
overlay_container_cidr=10.244.0.0/16
place={{ inventory_dir }}
overlay_ledger={{ place }}/overlay-ledger.json
"""
ONE_MORE = INVENTORY.replace("[idc]", "[idc]\nidc2 overlay_underlay_ip=192.168.1.12")


class Controller:
    """A directory with an inventory, on which Ansible runs."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "hosts").write_text(INVENTORY)
        self.file = str(directory / "overlay-ledger.json")

    def run(self, playbook, *arguments, inventory="hosts", fails=False):
        done = subprocess.run(
            [sys.executable, "-m", "ansible", "playbook", "-i", inventory, playbook, *arguments],
            cwd=self.directory,
            env={
                "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
                "HOME": str(self.directory),
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
                "ANSIBLE_NOCOLOR": "1",
                "LC_ALL": "C.UTF-8",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        out = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, out
        assert "Traceback" not in out
        return re.sub(r"\s+", " ", out)  # independent of the width of the terminal

    def plan(self, *arguments, fails=False):
        play = "- {hosts: overlay_nodes, gather_facts: false, tasks: [{import_role: {name: tke.overlay.plan}}]}"
        (self.directory / "plan.yml").write_text(play)
        return self.run("plan.yml", *arguments, fails=fails)

    def evaluate(self, *expressions):
        """Return the value of each expression on host idc1, or its error."""
        tasks = [
            {
                "ansible.builtin.debug": {"msg": f"{{{{ {expression} }}}}"},
                "register": f"r{number}",
                "ignore_errors": True,
            }
            for number, expression in enumerate(expressions)
        ]
        all_of_them = ", ".join(f"r{number}.msg" for number in range(len(expressions)))
        found = self.directory / "found"
        tasks += [{"ansible.builtin.copy": {"content": f"{{{{ [{all_of_them}] | to_json }}}}", "dest": str(found)}}]
        play = {"hosts": "idc1", "connection": "local", "gather_facts": False, "tasks": tasks}
        (self.directory / "evaluate.yml").write_text(json.dumps([play]))
        self.run("evaluate.yml", "-e", f"ansible_python_interpreter={sys.executable}")
        return json.loads(found.read_text())


@pytest.fixture
def controller(tmp_path):
    """Return a controller with a ledger of two nodes in a file."""
    controller = Controller(tmp_path)
    controller.plan()
    return controller


def test_playbook_moves_a_ledger_to_etcd_and_back(controller, etcd):
    text, url = open_store(controller.file).read(), etcd.url()
    there, back = [], ["-e", f"overlay_ledger_from={url}", "-e", f"overlay_ledger_to={controller.file}"]
    there += ["-e", f"overlay_ledger_to={url}"]

    out = controller.run("tke.overlay.ledger", *there, "--check", "--diff")
    assert "changed=1" in out
    assert "node idc1 10.244.1.0/24" in out
    assert (open_store(controller.file).read(), open_store(url).read()) == (text, None)

    assert "changed=1" in controller.run("tke.overlay.ledger", *there)
    assert open_store(url).read() == text
    assert "changed=0" in controller.run("tke.overlay.ledger", *there)
    assert f"was moved to {url}" in controller.plan(fails=True)
    assert "changed=0" in controller.plan("-e", f"overlay_ledger={url}")

    (controller.directory / "hosts").write_text(ONE_MORE)
    controller.plan("-e", f"overlay_ledger={url}")
    text = open_store(url).read()
    assert "idc2" in text

    assert "changed=1" in controller.run("tke.overlay.ledger", *back)
    assert pathlib.Path(controller.file).read_text() == text
    assert f"was moved to {controller.file}" in controller.plan("-e", f"overlay_ledger={url}", fails=True)
    assert "changed=0" in controller.plan()


def test_playbook_rejects_other_ledgers_and_clusters(controller):
    other = ["-e", f"overlay_ledger={controller.directory}/other.json"]
    controller.plan(*other, "-e", "overlay_container_cidr=10.99.0.0/16")
    move = ["-e", f"overlay_ledger_to={controller.directory}/other.json"]
    assert "never overwritten" in controller.run("tke.overlay.ledger", *move, fails=True)
    move = ["-e", f"overlay_ledger_to={controller.directory}/new.json", "-e", "overlay_cluster=prod"]
    assert "belongs to cluster 'demo', not to 'prod'" in controller.run("tke.overlay.ledger", *move, fails=True)


def test_broken_ledger_names_a_working_restore_command(controller):
    (controller.directory / "hosts").write_text(ONE_MORE)
    controller.plan()
    text = open_store(controller.file).read()
    pathlib.Path(controller.file).write_text(text.replace("10.244.1.0/24", "10.244.7.0/24"))
    for out in controller.plan(fails=True), *controller.evaluate("lookup('tke.overlay.ledger')"):
        assert "its checksum does not match" in out
        restore = re.search(r"restore it with: (cp \S+/\.overlay-ledger\.json\.000001 \S+/overlay-ledger\.json)", out)
        assert restore, out
    subprocess.run(restore[1].split(), check=True)
    assert "changed=1" in controller.plan()


def test_older_ledger_is_refused_until_its_version_is_accepted(controller):
    """What idc1 has saved contradicts nothing but the version."""
    saved = {"node": "idc1", "cluster": "demo", "node_cidr": "10.244.1.0/24", "underlay": "192.168.1.11", "fleet": ""}
    record = json.dumps({"saved": {**saved, "ledger_version": "7-0123abcd"}})
    inventory = INVENTORY.replace("idc1 ", f"idc1 plan_saved='{record}' ")
    (controller.directory / "hosts").write_text(inventory)
    before = pathlib.Path(controller.file).read_text()
    (present,) = json.loads(before)["versions"].split()
    out = controller.plan(fails=True)
    assert f"ledger version 7-0123abcd was applied by idc1, and the ledger has {present}" in out
    assert "tke.overlay.rebuild_ledger" in out
    (accept,) = set(re.findall(r"-e (overlay_older_ledger=[0-9a-f-]+)", out))
    assert accept == f"overlay_older_ledger={present}"
    assert pathlib.Path(controller.file).read_text() == before
    assert "changed=1" in controller.plan("-e", accept)
    assert json.loads(pathlib.Path(controller.file).read_text())["versions"].split()[1:] == ["7-0123abcd"]
    assert "changed=0" in controller.plan()


def test_lookup_returns_results_and_reports_errors(controller):
    document = json.loads(open_store(controller.file).read())
    del document["checksum"]
    cases = [
        ("lookup('tke.overlay.ledger')", document),
        ("lookup('tke.overlay.ledger', query='nodes.idc1.node_cidr')", "10.244.1.0/24"),
        ("lookup('tke.overlay.ledger', query='nodes.\"cloud-1.example\".node_cidr')", "10.244.0.0/24"),
        ("query('tke.overlay.ledger', 'keys(nodes)', 'nodes.nobody')", [["cloud-1.example", "idc1"], None]),
        ("query('tke.overlay.ledger', 'cursor', query='vips')", [2, {}]),
    ]
    assert controller.evaluate(*(expression for expression, _expected in cases)) == [expected for _, expected in cases]

    errors = [
        ("query='nodes['", "the query 'nodes[' is not a valid JMESPath expression"),
        ("query='items(nodes)'", "Unknown function: items()"),
        ("cluster='prod'", "belongs to cluster 'demo', not to 'prod'"),
        ("ledger='/nowhere/ledger'", "there is no ledger at /nowhere/ledger yet"),
        ("ledger='consul://host/demo'", "a ledger is in a file"),
        ("ledger='etcd://host:2379'", "the prefix of the keys is missing"),
    ]
    found = controller.evaluate(*(f"lookup('tke.overlay.ledger', {options})" for options, _words in errors))
    for (_options, words), message in zip(errors, found, strict=True):
        assert words in message


def test_lookup_finds_the_ledger_by_option_variable_or_inventory(controller, etcd):
    controller.run("tke.overlay.ledger", "-e", f"overlay_ledger_to={etcd.url()}")
    ask = "lookup('tke.overlay.ledger', query='length(nodes)'%s)"
    number, moved = controller.evaluate(ask % f", ledger='{etcd.url()}'", ask % "")
    assert number == 2
    assert f"was moved to {etcd.url()}" in moved
    for place, words in (f"overlay_ledger={etcd.url()}", 2), ("", f"was moved to {etcd.url()}"):
        (controller.directory / "hosts").write_text(INVENTORY.replace(INVENTORY.splitlines()[-1], place))
        (found,) = controller.evaluate(ask % "")
        assert found == words or words in found


def test_files_next_to_the_ledger_are_not_inventory(tmp_path):
    """Ansible reads every file of an inventory directory except hidden ones."""
    store = open_store(str(tmp_path / "ledger.json"))
    for number in range(4):
        store.transact(lambda _text, number=number: str(number))
    (tmp_path / "ledger.json").unlink()
    assert len(list(tmp_path.iterdir())) == 4
    (tmp_path / "hosts").write_text(INVENTORY)
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "inventory", "-i", str(tmp_path), "--list"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert set(json.loads(done.stdout)["overlay_nodes"]["children"]) == {"cloud", "idc"}

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugin of the module saved_state: its command runs in a shell here, in a directory instead of ``/``."""

from __future__ import annotations

import os
import shutil
import subprocess
import types

import pytest
from ansible.plugins.action import ActionBase

from ansible_collections.tke.overlay.plugins.action import saved_state
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import checksums_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    ENDPOINT_NOTE,
    FLEET_FILE,
    PAIR_CHECKSUMS,
    PAIR_CLUSTER_FILE,
    SETTINGS,
    SUMMARY,
)

NODE = {
    SUMMARY: "# written by\nnode: a\ncluster: demo\nnode_cidr: 10.244.0.0/24\nService range: 10.244.255.0/24\n",
    SETTINGS: "local=10.0.1.1\nport=8472\nmtu=1450\ncidrs='10.244.0.0/16 10.245.0.0/16'\n",
    FLEET_FILE: "".join(f"n{number} 10.244.{number}.0/24 10.0.1.{number}\n" for number in range(200)),
    ENDPOINT_NOTE: "10.0.2.2:6443\n",
}
PAIR = {PAIR_CLUSTER_FILE: "demo\n", PAIR_CHECKSUMS: checksums_text(PAIR_CHECKSUMS, {PAIR_CLUSTER_FILE: "demo\n"})}
OF_MODULE = {"of": "the module"}


@pytest.fixture
def act(monkeypatch, tmp_path):
    """Run the action on a host with some files; ``through`` changes what its shell prints."""

    def acted(files, through=lambda code, text: (code, text), programs=None, **arguments):
        for path, text in files.items():
            (tmp_path / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path[1:]).write_text(text)

        def execute(_action, command):
            here = command.replace("cd / ", f"cd {tmp_path} ")
            path = os.environ["PATH"] if programs is None else str(programs)
            done = subprocess.run(
                ["/bin/sh", "-c", here], capture_output=True, text=True, check=False, env={"PATH": path}
            )
            return dict(zip(("rc", "stdout"), through(done.returncode, done.stdout), strict=True))

        action = object.__new__(saved_state.ActionModule)
        action._task = types.SimpleNamespace(args=arguments)
        monkeypatch.setattr(ActionBase, "run", lambda *_: {})
        monkeypatch.setattr(ActionBase, "_low_level_execute_command", execute)
        monkeypatch.setattr(ActionBase, "_execute_module", lambda *_, **__: OF_MODULE)
        return action.run(None, {})

    return acted


def test_returns_what_the_module_returns(act):
    files = {**NODE, **PAIR}
    result = act(files, fleet=True)
    assert result == saved_state.saved_result(True, lambda paths: {path: files[path] for path in paths})
    assert result["saved"]["fleet"] == NODE[FLEET_FILE]
    assert result["saved"]["api"] == "10.0.2.2"
    assert result["clb_cluster"] == "demo"


@pytest.mark.parametrize("fleet", ["yes", False])
def test_returns_the_fleet_on_request(act, fleet):
    saved = act(NODE, fleet=fleet)["saved"]
    assert bool(saved["fleet"]) is bool(fleet)
    assert len(saved["view"]) == 12


def test_a_host_without_files_is_no_node(act):
    assert act({}) == {"changed": False, "clb_cluster": "", "saved": {}}


def test_an_incomplete_state_is_an_error(act):
    result = act({SUMMARY: NODE[SUMMARY]})
    assert result["failed"]
    assert "is incomplete ('local'): run tke.overlay.site" in result["msg"]


def test_what_a_profile_prints_is_no_part_of_it(act):
    result = act(NODE, lambda code, text: (code, f"Welcome\r\n{text.rstrip()}\r\nBye\r\n"))
    assert result["saved"]["node"] == "a"


@pytest.mark.parametrize(
    "through",
    [
        lambda _code, text: (1, text),
        lambda code, _text: (code, "no line of the command\n"),
        lambda code, text: (code, text[:-40]),
        lambda code, text: (code, f"{text.split()[0]} {'A' * 400}\n"),
    ],
    ids=["failed", "no archive", "shortened", "damaged"],
)
def test_runs_the_module_if_the_command_fails(act, through):
    assert act(NODE, through) == OF_MODULE


@pytest.mark.parametrize("program", ["tar", "gzip", "base64"])
def test_runs_the_module_where_a_program_is_missing(act, tmp_path, program):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in {"tar", "gzip", "base64"} - {program}:
        (programs / name).symlink_to(shutil.which(name))
    assert act(NODE, programs=programs) == OF_MODULE


def test_runs_the_module_where_a_file_is_a_link(act, tmp_path):
    act(NODE)
    (tmp_path / SUMMARY[1:]).rename(tmp_path / "elsewhere")
    (tmp_path / SUMMARY[1:]).symlink_to(tmp_path / "elsewhere")
    assert act({}) == OF_MODULE

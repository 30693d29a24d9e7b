# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of what the CNI plugins of a host offer: programs that answer as plugins of several releases do."""

from __future__ import annotations

import json
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import (
    CniPlugins,
    find_plugin,
    plugin_directories,
    read_plugins,
)

OLD = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0"]  # containernetworking-plugins 0.9.1, Debian 11
MIDDLE = [*OLD, "1.0.0"]  # 1.1.1, Debian 12 and 13
NEW = [*MIDDLE, "1.1.0"]  # from 1.5.0 on


def run(command, text):
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return the function that installs plugins with these versions."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))

    def write(names, versions, directory="/usr/lib/cni", script=None):
        for name in names:
            path = tmp_path / directory[1:] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            answer = json.dumps({"cniVersion": versions[-1], "supportedVersions": versions}) if versions else ""
            asked = '[ "$CNI_COMMAND" = VERSION ] && grep -q cniVersion || exit 7'
            path.write_text(script or f"#!/bin/sh\n{asked}\necho '{answer}'\n")
            path.chmod(0o755)

    return write


@pytest.mark.parametrize(
    ("installed", "offered"),
    [
        ({}, CniPlugins()),
        ({"portmap": NEW, "bandwidth": NEW}, CniPlugins()),
        ({"bridge": NEW}, CniPlugins()),
        ({"bridge": OLD, "host-local": OLD}, CniPlugins([], ["0.4.0"], True)),
        ({"bridge": OLD, "host-local": OLD, "portmap": OLD}, CniPlugins(["portmap"], ["0.4.0"], True)),
        ({"bridge": MIDDLE, "host-local": MIDDLE}, CniPlugins([], ["0.4.0", "1.0.0"], True)),
        ({"bridge": MIDDLE, "host-local": OLD}, CniPlugins([], ["0.4.0"], True)),
        (
            {"bridge": NEW, "host-local": NEW, "bandwidth": NEW, "portmap": NEW},
            CniPlugins(["portmap", "bandwidth"], ["0.4.0", "1.0.0", "1.1.0"], True),
        ),
        (
            {"bridge": NEW, "host-local": NEW, "bandwidth": MIDDLE},
            CniPlugins(["bandwidth"], ["0.4.0", "1.0.0"], True),
        ),
    ],
)
def test_offers_what_all_plugins_support(install, installed, offered):
    for name, versions in installed.items():
        install([name], versions)
    found = read_plugins((), run)
    assert (list(found.optional), list(found.versions), found.installed) == (
        list(offered.optional),
        list(offered.versions),
        offered.installed,
    )


def test_asks_each_plugin_once_until_it_is_another_program(install):
    asked = []

    def counted(command, text):
        asked.append(command[-1].rpartition("/")[2])
        return run(command, text)

    install(["bridge", "host-local"], OLD)
    assert [read_plugins((), counted).version for _time in range(2)] == ["0.4.0", "0.4.0"]
    assert sorted(asked) == ["bridge", "host-local"]
    install(["bridge", "host-local"], NEW)
    assert read_plugins((), counted).version == "1.0.0"


@pytest.mark.parametrize("script", ["#!/bin/sh\n", "#!/bin/sh\necho '[]'\n", "#!/bin/sh\nexit 1\n", "\x7fELF"])
def test_a_program_that_is_no_plugin_gets_the_oldest_version(install, script):
    install(["bridge", "host-local"], NEW)
    install(["bandwidth"], NEW, script=script)
    found = read_plugins((), run)
    assert (found.optional, list(found.versions), found.version) == (["bandwidth"], ["0.4.0"], "0.4.0")


def test_asks_the_plugin_that_the_runtime_starts(install):
    install(["bridge", "host-local", "bandwidth"], NEW, "/usr/lib/cni")
    install(["bridge", "host-local"], OLD, "/opt/cni/bin")
    assert find_plugin("bridge", plugin_directories(())) == "/opt/cni/bin/bridge"
    assert read_plugins((), run).version == "0.4.0"
    found = read_plugins(["/usr/lib/cni"], run)
    assert (found.version, found.versions[-1], found.optional) == ("1.0.0", "1.1.0", ["bandwidth"])
    assert read_plugins(["/srv/none"], run) == CniPlugins()

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module imports before it knows whether a host differs: Python compiles all of it on each host, at each run."""

from __future__ import annotations

import os
import subprocess
import sys

PREFIX = "ansible_collections.tke.overlay.plugins."
PROGRAM = f"import sys, {PREFIX}modules.node; print(*sys.modules)"

OF_A_CHANGE = ("node.change", "node.cutover", "node.kernel_change", "node.reset")
OF_FEW_HOSTS = ("node.metrics", "node.running_pods")
OF_OTHER_PACKAGES = ("kernel.entries", "commit.snapshot", "state.metrics", "state.fleet", "state.wireguard_key")
PACKAGES = ("endpoint", "probe", "load_balancer", "conformance")


def test_node_imports_only_what_an_unchanged_host_needs():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True)
    names = done.stdout.split()
    host = f"{PREFIX}module_utils._host."
    surplus = {f"{host}{name}" for name in (*OF_A_CHANGE, *OF_FEW_HOSTS, *OF_OTHER_PACKAGES)}
    assert f"{host}node.converge" in names
    assert surplus & {*names} == set()
    assert [name for name in names if name.startswith(tuple(f"{host}{package}." for package in PACKAGES))] == []

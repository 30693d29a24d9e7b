# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The workers of a run share the memory of the main process. Section ``scale`` of the benchmark measures how much."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PACKAGE = "ansible_collections.tke.overlay.plugins"

PROGRAM = """
import gc, importlib, os, sys
importlib.import_module(sys.argv[1])
assert gc.get_freeze_count() == 0, "the main process collects its garbage as before"
objects = len(gc.get_objects())
child = os.fork()
if not child:
    os._exit(gc.get_freeze_count() < objects)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("action", ["plan", "node", "probe", "overlay_info"])
def test_a_worker_does_not_traverse_what_the_main_process_has(action):
    command = [sys.executable, "-c", PROGRAM, f"{PACKAGE}.action.{action}"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, check=False)
    assert done.returncode == 0

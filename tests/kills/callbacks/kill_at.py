# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Kill a run of ansible-playbook, or a module of it on one host, at a task that is chosen by its number.

The environment of the run says what to do:

``KILL_TASKS``  a file to which the name of each task is written as it starts
``KILL_AT``     the number of a task, counted from 1
``KILL_HOW``    ``begin``: the process group of the run is killed before the task reaches a host; ``middle``: when the
                first host has ended it; ``module``: the run goes on, and the module is killed on one host
``KILL_HOST``   that host
``KILL_DONE``   a file that is written right before the kill
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import threading
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kill_at
type: notification
short_description: Kill a run at a task
description: For tests/kills.
"""

LAB = pathlib.Path(__file__).resolve().parents[2] / "lab" / "lab"
MODULE = r"/usr/bin/python3[.0-9]*"
"""The command line of a module that is sent through a pipe; other programs of a node have arguments."""
SECONDS = 5
"""How long to look for the module: one that ends at once cannot be killed."""


class CallbackModule(CallbackBase):
    """Counts tasks, and kills at one of them."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "kill_at"

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.at = int(os.environ.get("KILL_AT", "0"))
        self.how = os.environ.get("KILL_HOW", "")
        self.ended = threading.Event()

    def v2_playbook_on_task_start(self, task: Any, **_more: Any) -> None:
        """Count the task; kill the run if it must not reach a host."""
        self.number += 1
        self.ended.set()
        if "KILL_TASKS" in os.environ:
            with open(os.environ["KILL_TASKS"], "a", encoding="utf-8") as stream:
                stream.write(f"{task.get_name()}\n")
        if self._here("begin"):
            _kill_run()

    def v2_runner_on_start(self, host: Any, **_more: Any) -> None:
        """Begin to look for the module on the host."""
        if self._here("module") and host.get_name() == os.environ["KILL_HOST"]:
            self.ended.clear()
            threading.Thread(target=self._kill_module, daemon=True).start()

    def _result(self, result: Any) -> None:
        if self._here("middle"):
            _kill_run()
        if result._host.get_name() == os.environ.get("KILL_HOST"):
            self.ended.set()

    def v2_runner_on_ok(self, result: Any, **_more: Any) -> None:
        """Take the result of a host."""
        self._result(result)

    def v2_runner_on_failed(self, result: Any, **_more: Any) -> None:
        """Take the result of a host."""
        self._result(result)

    def v2_runner_on_skipped(self, result: Any, **_more: Any) -> None:
        """Take the result of a host."""
        self._result(result)

    def _here(self, how: str) -> bool:
        return self.number == self.at and self.how == how

    def _kill_module(self) -> None:
        command = [str(LAB), "exec", os.environ["KILL_HOST"], "--", "pkill", "-9", "-xf", MODULE]
        end = time.monotonic() + SECONDS
        while not self.ended.is_set() and time.monotonic() < end:
            if subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0:
                pathlib.Path(os.environ["KILL_DONE"]).write_text(MODULE)
                return


def _kill_run() -> None:
    pathlib.Path(os.environ["KILL_DONE"]).write_text("run")
    os.killpg(os.getpgrp(), signal.SIGKILL)

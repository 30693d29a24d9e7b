# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Kill a run of ansible-playbook, or a part of it, at a task that is chosen by its number.

The environment of the run says what to do:

``KILL_TASKS``  a file to which a line of JSON is written as a task starts, as a host has changed by it, and as a host
                has run a command of it
``KILL_AT``     the number of a task, counted from 1
``KILL_HOW``    one of the ways below
``KILL_HOST``   the host of the ways ``returned``, ``worker``, ``module`` and ``connection``
``KILL_DELAY``  seconds from the start of the task (``module`` and ``connection``: of the module) to the kill
``KILL_DONE``   a file that is written right before the kill

==============  ==================================================================================================
``begin``       all processes of the run, before the task reaches a host
``during``      all processes of the run, after the delay
``middle``      all processes of the run, when the first host has ended the task
``main``        then as well, but only the main process: those of the other hosts continue
``returned``    all processes of the run, when the module has returned from the host, and nothing was done with that
``worker``      then as well, but only the process of the run that waits for that host
``module``      the module on the host
``connection``  the SSH server's process of the connection to the host while the module runs
``interrupt``   the process group gets SIGINT after the delay, as with Ctrl-C
``terminate``   the main process gets SIGTERM after the delay
==============  ==================================================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time
from typing import Any

from ansible.executor.process import worker
from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: kill_at
type: notification
short_description: Kill a run at a task
description: For tests/kills.
"""

LAB = pathlib.Path(__file__).resolve().parents[2] / "lab" / "lab"
ON_HOST = pathlib.Path(__file__).resolve().parents[1] / "strike.py"
MAIN = os.getpid()
ON_RESULT = ("middle", "main")
ON_RETURN = ("returned", "worker")
ON_MODULE = ("module", "connection")
DELAYED = ("during", "interrupt", "terminate")


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
        self.host = os.environ.get("KILL_HOST", "")
        self.delay = float(os.environ.get("KILL_DELAY", "0"))
        self._watch_commands()
        # It must be ready before the module starts.
        command = [str(LAB), "exec", self.host, "--", "python3", "-c", ON_HOST.read_text(), self.how, str(self.delay)]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # Ansible lets no child inherit its own
        self.striker = subprocess.Popen(command, stdin=subprocess.PIPE, **silent) if self.how in ON_MODULE else None

    def v2_playbook_on_task_start(self, task: Any, **_more: Any) -> None:
        """Count the task; kill the run if it must not reach a host."""
        self.number += 1
        self._note(task=self.number, name=task.get_name(), time=time.monotonic())
        if self._here("begin"):
            _kill_run()
        if self._here(*DELAYED):
            threading.Timer(self.delay, self._strike, [self.number]).start()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Begin to look for the module of this task on the host."""
        if self._here(*ON_MODULE) and host.get_name() == self.host:
            threading.Thread(target=self._strike_on_host, daemon=True).start()

    def _result(self, result: Any) -> None:
        if result.is_changed():
            self._note(changed=self.number)
        if self._here(*ON_RESULT):
            _kill_run(only_main=self.how == "main")

    def v2_runner_on_ok(self, result: Any, **_more: Any) -> None:
        """Take the result of a host."""
        self._result(result)

    def v2_runner_on_failed(self, result: Any, **_more: Any) -> None:
        """Take the result of a host."""
        self._result(result)

    def _here(self, *hows: str) -> bool:
        return self.number == self.at and self.how in hows

    def _note(self, **values: Any) -> None:
        if "KILL_TASKS" in os.environ:
            with open(os.environ["KILL_TASKS"], "a", encoding="utf-8") as stream:
                stream.write(f"{json.dumps(values)}\n")

    def _watch_commands(self) -> None:
        """See every command on a host. The processes of the run inherit this, with the number of the present task."""
        execute = ActionBase._low_level_execute_command

        def watched(action: Any, *arguments: Any, **options: Any) -> Any:
            host = worker.current_worker._host.get_name()
            self._note(command=self.number, host=host)
            done = execute(action, *arguments, **options)
            if host == self.host and self._here(*ON_RETURN):
                if self.how == "returned":
                    _kill_run()
                _note_kill()
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        ActionBase._low_level_execute_command = watched

    def _strike(self, number: int) -> None:
        if self.number != number:  # the task has ended before
            return
        if self.how == "during":
            _kill_run()
        _note_kill()
        if self.how == "interrupt":
            os.killpg(os.getpgrp(), signal.SIGINT)
        else:
            os.kill(MAIN, signal.SIGTERM)

    def _strike_on_host(self) -> None:
        if self.striker is not None and self.striker.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.striker.stdin.write(b"now\n")
                self.striker.stdin.flush()  # and it stays open until this run ends
            if self.striker.wait() == 0:
                _note_kill()


def _note_kill() -> None:
    pathlib.Path(os.environ["KILL_DONE"]).write_text("killed\n")


def _kill_run(only_main: bool = False) -> None:
    """Kill the main process and, unless told otherwise, all that descend from it: they have sessions of their own."""
    _note_kill()
    doomed = [] if only_main else _descendants(MAIN)
    for pid in [MAIN, *doomed]:
        if pid != os.getpid():  # this process is the last
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found[1:]

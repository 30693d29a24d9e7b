# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Failures of a confirmed commit that need no kernel; ``tests/kernel/test_confirmed_commit.py`` has the rest."""

from __future__ import annotations

import itertools
import os
import signal

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit import confirmed_commit
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.confirmed_commit import (
    PENDING,
    RECORD,
    Confirmation,
    RollbackState,
    StagedFiles,
    cancel,
    exclusive_change,
    is_pending,
    roll_back,
    rolled_back_on_failure,
    stage,
)

NO_FILES = StagedFiles(new={}, last=[], temporary=["/run/systemd/network/x.link"], commands=[])
NO_STATE = RollbackState("", {}, [], [], {}, "tke0")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Give the host a directory of its own for its files."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


class Commands:
    """Record commands; a command that starts with a key of ``actions`` runs that action first."""

    def __init__(self, actions=None, code=0):
        self.lines, self.actions, self.code = [], actions or {}, code

    def __call__(self, command, text=None):
        line = " ".join(command)
        self.lines.append(line)
        for start, action in self.actions.items():
            if line.startswith(start):
                action()
        return self.code, "", "no such thing" if self.code else ""


def pending_path(root):
    return root / PENDING.lstrip("/")


def test_a_failed_write_leaves_nothing_staged(root):
    pending_path(root).parent.parent.mkdir()
    pending_path(root).parent.touch()
    with pytest.raises(KernelError, match=f"{PENDING}.*cannot be written"):
        stage(Confirmation("t"), NO_FILES, NO_STATE)
    assert [path for path in root.rglob("*") if path.is_file()] == [pending_path(root).parent]


def test_a_run_killed_while_it_stages_makes_nothing_pending(root, monkeypatch):
    """Half of it would be rolled back by a script that is not there, or with files that are not there yet."""
    saved = "/etc/tke-overlay/summary"
    files.write_file(saved, "old\n")
    (root / "etc/tke-overlay/.summary.tke-overlay").write_text("of a killed run that wrote it")
    staged, write = NO_FILES._replace(new={saved: "new\n"}), files.write_file
    for at in itertools.count():
        numbers = itertools.count()

        def killed(*arguments, numbers=numbers, at=at, **options):
            if next(numbers) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            write(*arguments, **options)

        child = os.fork()
        if child == 0:
            monkeypatch.setattr(confirmed_commit, "write_file", killed)
            try:
                stage(Confirmation("t"), staged, NO_STATE)
            finally:
                os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            break
        assert not pending_path(root).exists()
        with exclusive_change(Commands(code=1)):
            pass
    assert at > 15
    assert is_pending("t")
    assert sorted(os.listdir(pending_path(root).parent)) == ["lock", "pending"]
    assert os.listdir(root / "etc/tke-overlay") == ["summary"]


def test_a_rollback_script_that_fails_is_an_error(root):
    stage(Confirmation("t"), NO_FILES, NO_STATE)
    with pytest.raises(KernelError, match=r"the change \(reason\) cannot be rolled back: no such thing"):
        roll_back("reason", Commands(code=1))
    assert is_pending("t"), "the timer tries again"


def test_cancel_removes_the_change_and_its_temporary_files(root):
    stage(Confirmation("t"), NO_FILES, NO_STATE)
    files.write_file("/run/systemd/network/x.link", "", durable=False)
    files.write_file(RECORD, "", durable=False)
    commands = Commands()
    cancel(commands)
    assert commands.lines == ["systemctl --quiet stop tke-overlay-rollback.timer"]
    assert not pending_path(root).exists()
    assert not (root / "run/systemd/network/x.link").exists()
    assert not (root / RECORD.lstrip("/")).exists()
    cancel(commands)
    assert len(commands.lines) == 1, "nothing is pending any more"


def test_an_interrupted_run_rolls_back_and_stays_interrupted(root):
    stage(Confirmation("t"), NO_FILES, NO_STATE)
    commands = Commands({"/bin/sh": confirmed_commit.discard})
    with pytest.raises(KeyboardInterrupt), rolled_back_on_failure("t", commands):
        raise KeyboardInterrupt
    assert commands.lines[0].endswith("roll-back KeyboardInterrupt: ")


def test_a_change_that_starts_before_the_lock_is_taken_is_awaited(root, monkeypatch):
    """Another run can stage its change after this one has looked and before it holds the lock."""
    locked, times = confirmed_commit.locked, []

    def lock_after_another_run():
        times.append(1)
        if len(times) == 1:
            stage(Confirmation("other", 1), NO_FILES, NO_STATE)
            files.write_file(f"{PENDING}/deadline", "0\n", durable=False)
        return locked()

    monkeypatch.setattr(confirmed_commit, "locked", lock_after_another_run)
    commands = Commands({"/bin/sh": confirmed_commit.discard})
    with exclusive_change(commands):
        assert not pending_path(root).exists()
    assert len(times) == 2
    assert len(commands.lines) == 1, "the other change was past its deadline, so it was rolled back"

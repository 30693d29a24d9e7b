# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock of a host: held for a limited time, and errors that name its file."""

from __future__ import annotations

import itertools
import os
import signal

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.state import lock
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import (
    finish_confirmation,
    locked,
    save_together,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import CONFIRMED, LOCK, STATE


def test_a_lock_held_for_too_long_is_an_error(monkeypatch):
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0.05)
    with locked(), pytest.raises(
        KernelError, match=r"has held .* for 0\.05 s: is tke-overlay\S*\.service stuck\?"
    ), locked():
        pass
    with locked():
        pass


def test_a_lock_that_cannot_be_opened_is_an_error(root):
    (root / "run").write_text("not a directory")
    with pytest.raises(KernelError, match="cannot be opened"), locked():
        pass


def test_a_lock_that_cannot_be_taken_at_all_is_an_error(monkeypatch):
    def unsupported(_descriptor, _seconds):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lock, "lock_file", unsupported)
    with pytest.raises(KernelError, match=f"{LOCK} cannot be locked: .*No locks available"), locked():
        pass


def test_an_interrupted_confirmation_is_completed(root):
    files.write_file(f"{STATE}/summary", "old")
    files.write_file(f"{CONFIRMED}/summary", "new")
    files.write_file(f"{CONFIRMED}/fleet", "new")
    finish_confirmation()
    assert files.read_files([f"{STATE}/summary", f"{STATE}/fleet"]) == {
        f"{STATE}/summary": "new",
        f"{STATE}/fleet": "new",
    }
    assert not (root / CONFIRMED[1:]).exists()
    finish_confirmation()


def test_a_confirmation_that_cannot_be_completed_is_an_error(root):
    files.write_file(f"{CONFIRMED}/summary", "new")
    (root / STATE[1:] / "summary").mkdir()
    with pytest.raises(KernelError, match=f"{CONFIRMED} cannot be moved to its place"):
        finish_confirmation()


def save_killed_at(monkeypatch, texts, at):
    """Save these files in a process that is killed before its n-th change of names; return whether it ended before."""
    child = os.fork()
    if child == 0:
        numbers = itertools.count()
        rename = os.rename

        def killed(source, target):
            if next(numbers) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target)

        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, killed)
        try:
            save_together(texts)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_a_killed_run_leaves_all_old_or_all_new_saved_files(root, monkeypatch):
    old, new = ({f"{STATE}/{name}": text for name in ("checksums", "fleet", "summary")} for text in ("old", "new"))
    found = []
    for at in range(8):
        for path, text in old.items():
            files.write_file(path, text)
        ended = save_killed_at(monkeypatch, new, at)
        finish_confirmation()
        found.append(files.read_files(old))
    assert ended
    # Three files beside their places, then one name that makes them count.
    assert found == [old] * 4 + [new] * 4
    assert sorted(os.listdir(root / STATE[1:])) == ["checksums", "fleet", "summary"]


def test_nothing_to_save_changes_nothing(root):
    save_together({})
    assert not (root / STATE[1:]).exists()

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock on a file: between processes, for a limited time."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._locking import lock_file


@pytest.fixture
def lock(tmp_path):
    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def holder(tmp_path, lock):
    """Another process that holds the lock until it is killed."""
    program = (
        "import fcntl, sys, time; held = open(sys.argv[1]); fcntl.flock(held, 2); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, tmp_path / "lock"], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process
        process.kill()


def test_a_free_lock_is_taken_at_once(lock):
    assert lock_file(lock, 0) is True
    assert lock_file(lock, 0) is True, "this process holds it already"


def test_a_held_lock_is_not_taken_in_time(lock, holder):
    start = time.monotonic()
    assert lock_file(lock, 0) is False
    assert lock_file(lock, 0.1) is False
    assert time.monotonic() - start >= 0.1


def test_a_lock_is_taken_when_its_holder_ends(lock, holder):
    assert lock_file(lock, 0) is False
    holder.kill()
    assert lock_file(lock, 10) is True


def test_a_descriptor_that_cannot_be_locked_is_an_error():
    with pytest.raises(OSError, match="Bad file descriptor"):
        lock_file(2**20, 0)

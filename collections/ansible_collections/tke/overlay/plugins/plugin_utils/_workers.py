# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The memory of Ansible's workers, the processes that it forks for each task and host."""

from __future__ import annotations

import functools
import gc
import os


@functools.cache
def share_memory_with_workers() -> None:
    """Let the workers of this run leave the objects of the main process out of their garbage collections.

    A full collection writes to every object. A worker that makes one gets a copy of the memory of the main process:
    with thousands of hosts more than 100 MB for each fork. Whether workers do depends on what the main process has
    allocated since its own last one, so that all of them do at the same time. Python's documentation of gc.freeze()
    recommends it for programs that fork.

    Ansible loads the class of an action in the main process, so a call when such a module is imported is early enough.
    """
    os.register_at_fork(after_in_child=gc.freeze)

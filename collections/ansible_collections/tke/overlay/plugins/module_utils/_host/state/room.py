# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the file systems of the collection's files have room. Without it, other differences are consequences."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE

LEAST_BYTES, LEAST_INODES = 128 * 1024, 16
"""What a run of the restore script or a change of the node needs at least."""


def room_problems() -> t.Iterator[str]:
    """Yield a sentence for each directory that cannot be written, because it is full or mounted read-only."""
    for path in (files.RUN_DIRECTORY, STATE):
        try:
            found = os.statvfs(files.ROOT + path)
        except OSError:
            continue  # missing: a host that is no node, or another difference
        free = found.f_bavail * found.f_frsize
        if found.f_flag & os.ST_RDONLY:
            yield f"{path} is on a file system that is mounted read-only: mount it read-write"
        elif free < LEAST_BYTES or (found.f_files and found.f_favail < LEAST_INODES):
            yield f"no room in {path}: {free // 1024} KiB and {found.f_favail} inodes are left: free some (df, df -i)"

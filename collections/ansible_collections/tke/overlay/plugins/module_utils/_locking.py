# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a lock on a file, and for the file that replaces another one, as controller and hosts do alike.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import stat
import time

WRITER_SECONDS = 10
"""How long to wait for another writer of the same file."""


_CREATE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def lock_file(descriptor: int, seconds: float) -> bool:
    """Take the exclusive ``flock`` of an open file, and wait for it if another process holds it.

    The kernel releases the lock when the descriptor is closed or the process ends.

    :param seconds: how long to wait; 0 tries once.
    :returns: whether this process holds the lock now.
    :raises OSError: the file cannot be locked at all, for instance on NFS without a lock service.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(random.uniform(0.005, 0.025))
        else:
            return True


def beside(path: str) -> str:
    """Return the path of the file that will replace a file: all writers of a file use the same one."""
    directory, name = os.path.split(path)
    return os.path.join(directory, f".{name}.tke-overlay")


def open_beside(path: str) -> tuple[int, str]:
    """Open the file that will replace a file: empty, locked, and with access for its owner only.

    What a killed writer has left is used again, so that nothing accumulates. What another user has put there, who could
    read the content, is removed. The lock ends when the descriptor is closed; the caller renames the file before that,
    or removes it.

    :returns: a descriptor, and the path of the file.
    :raises OSError: the file cannot be created, or another process writes it for too long.
    """
    name, made = beside(path), False
    while True:
        try:
            descriptor = os.open(name, _CREATE | (os.O_EXCL if made else 0), 0o600)
        except FileExistsError:  # another writer's, since this one has removed a file
            made = False
            continue
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ELOOP) or not os.path.lexists(name):
                raise
            os.unlink(name)  # another user's, in a directory that both may write
            continue
        try:
            if _is_shared(descriptor, made):
                os.unlink(name)
                made = True
            elif not lock_file(descriptor, WRITER_SECONDS):
                raise OSError(errno.EAGAIN, "another process is writing it")
            elif _is_at(descriptor, name):
                os.ftruncate(descriptor, 0)
                os.fchmod(descriptor, 0o600)
                return descriptor, name
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its writer has renamed it


def _is_shared(descriptor: int, made: bool) -> bool:
    """Return whether another user can read this file, or it is another file of this one by a hard link.

    :param made: whether this process has made it. Some file systems (NFS with ``all_squash``, CIFS with ``uid=``) give
        every file the same owner.
    """
    status = os.fstat(descriptor)
    foreign = status.st_uid != os.geteuid() and not made
    return not stat.S_ISREG(status.st_mode) or foreign or status.st_nlink > 1


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False

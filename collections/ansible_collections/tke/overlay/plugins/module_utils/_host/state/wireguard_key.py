# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The private keys of WireGuard on a host, each in a file that only root can read.

A key is made on the host and never leaves it. It is not in the memory of this
process either: ``wg`` writes it to the file, and reads it from there to compute the
public key.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import NONE, WIREGUARD_KEY
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run, error_text
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import KEY_FILE, check_wg, public_key
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import locked
from ansible_collections.tke.overlay.plugins.module_utils._locking import open_beside

MODE = 0o600

_COMPLETE = re.compile(re.escape(KEY_FILE).replace(re.escape("{generation}"), r"(\d+)"), re.ASCII)
_RIGHTS = "a private key, mode 0600, owner 0\n"


class KeyResult(t.NamedTuple):
    """The public key, ``-`` without one, and what was changed, or would be."""

    public_key: str
    diff: Diff

    @property
    def changed(self) -> bool:
        """Whether anything differs."""
        return self.diff.before != self.diff.after


def ensure_key(generation: int, run: Run, check: bool) -> KeyResult:
    """Make the private key of a generation if the host has none, and return its public key.

    An existing key stays. Its file gets the right mode and owner back.

    :raises ValidationError: the generation is out of range, ``wg`` is missing, or the file is not a private key.
    :raises KernelError: the file cannot be written.
    """
    path = _path_of(generation)
    check_wg(run)
    if check:
        before = _rights(path)
        key = public_key(path, run) if before else NONE
        return KeyResult(_valid(path, key), Diff(path, before, _RIGHTS))
    with locked():
        before = _rights(path)
        if not before:
            _make(path, run)
        elif before != _RIGHTS:
            _restrict(path)
        return KeyResult(_valid(path, public_key(path, run)), Diff(path, before, _RIGHTS))


class RemovedKeys(t.NamedTuple):
    """The generations of the private keys that were removed, or would be, and a diff for each file."""

    generations: list[int]
    diffs: list[Diff]


def remove_keys(keep: t.Collection[int], check: bool) -> RemovedKeys:
    """Remove the private keys of all generations but these, and those that were not completed.

    :raises ValidationError: a generation is out of range, or a file is not a regular one.
    :raises KernelError: a file cannot be removed.
    """
    kept = {_path_of(generation) for generation in keep}
    with contextlib.nullcontext() if check else locked():  # no other run is about to complete a key
        diffs = [Diff(path, _rights(path), "") for path in key_files() if path not in kept]
        for diff in () if check else diffs:
            files.remove_file(diff.name)
    found = [_COMPLETE.fullmatch(diff.name) for diff in diffs]
    return RemovedKeys(sorted(int(match[1]) for match in found if match), diffs)


def key_files() -> list[str]:
    """Return the paths of all private keys on this host, and of those that were not completed."""
    patterns = (KEY_FILE, f"{os.path.dirname(KEY_FILE)}/.{os.path.basename(KEY_FILE)}.*")
    found = [path for pattern in patterns for path in glob.glob(files.ROOT + pattern.format(generation="*"))]
    return sorted(path[len(files.ROOT) :] for path in found)


def _path_of(generation: int) -> str:
    problems = range_problems("generation", generation, 0, 1_000_000)
    if problems:
        raise ValidationError(*problems)
    return KEY_FILE.format(generation=generation)


def _rights(path: str) -> str:
    """Return what a file is, for a diff; empty if it does not exist.

    :raises ValidationError: it is not a regular file.
    """
    try:
        status = os.lstat(files.ROOT + path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if not stat.S_ISREG(status.st_mode):
        raise ValidationError(f"{path} is not a regular file: remove it, and run the playbook again")
    owner = 0 if status.st_uid == os.geteuid() else status.st_uid
    return f"a private key, mode {stat.S_IMODE(status.st_mode):04o}, owner {owner}\n"


def _valid(path: str, key: str) -> str:
    if key == NONE or WIREGUARD_KEY.fullmatch(key):
        return key
    raise ValidationError(
        f"{path} is not a private key of WireGuard: put it back from a backup; or run tke.overlay.reset "
        "on this host, and then the playbook again"
    )


def _make(path: str, run: Run) -> None:
    """Let ``wg`` write a new private key beside the path, and move it there once it is on the disk."""
    try:
        os.makedirs(os.path.dirname(files.ROOT + path), exist_ok=True)
        descriptor, new = open_beside(files.ROOT + path)
        with os.fdopen(descriptor, "rb") as stream:
            try:
                # wg genkey ends with 0 also where nothing could be written.
                code, _out, errors = run(("/bin/sh", "-c", 'wg genkey >"$1" && wg pubkey <"$1"', "sh", new), None)
                if code != 0:
                    raise KernelError(
                        f"wg has written no private key to {path} ({error_text(code, errors)}): free space on its file "
                        f"system (df, df -i), or allow wg this directory where AppArmor has a profile for it"
                    )
                os.fsync(stream.fileno())
                os.rename(new, files.ROOT + path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(new)
                raise
    except OSError as error:
        raise KernelError(f"{path} cannot be written: {error}") from error


def _restrict(path: str) -> None:
    try:
        os.chown(files.ROOT + path, os.geteuid(), -1)
        os.chmod(files.ROOT + path, MODE)
    except OSError as error:
        raise KernelError(f"{path} cannot be restricted: {error}") from error

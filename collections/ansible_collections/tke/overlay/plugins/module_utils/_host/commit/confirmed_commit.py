# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The confirmed commit: a change that is rolled back unless it is confirmed in time.

From the first change of the kernel's state until the confirmation, one directory
below ``/run`` holds everything that ends the change either way: the new files, the
old files, and two scripts for ``/bin/sh``. ``confirm`` moves the new files to their
places; ``roll-back`` restores what was there before. The first of them wins, because
both take the lock and the first one removes the directory. ``roll-back`` is run

- by a transient timer of systemd, which needs neither the controller nor the module;
- by the module, at once, if anything fails after the first change;
- by the restore script, if the transient timer is lost. Until the deadline the
  restore script leaves the kernel alone, or it would revert every pending change.

``/run`` is empty after a reboot: the host then starts with the old state, because
that is what is saved.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shlex
import shutil
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.programs import CONFIRM_SH, ROLL_BACK_SH
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    RUN_DIRECTORY,
    FileSpecs,
    Texts,
    read_files,
    remove_file,
    remove_unfinished,
    sysctl_path,
    write_file,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, error_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import (
    LOCK_SECONDS,
    finish_confirmation,
    locked,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import CONFIRMED

PENDING = f"{RUN_DIRECTORY}/pending"
"""The directory of the pending change."""

_STAGING = f"{PENDING}.new"
"""Its name until it is complete: half of it would restore files that the host never had."""

RECORD = f"{RUN_DIRECTORY}/rolled-back"
"""Three lines about the last rollback: the token of the change, what is not as before (or ``complete``), the reason."""

COMPLETE = "complete"
"""The second line of the record if everything is as it was before the change."""

ROLLBACK_UNIT = "tke-overlay-rollback"
"""The transient unit of systemd that rolls a pending change back."""

CHANGE_STARTED = "tke.overlay: the change starts"
"""What the module writes to its standard error then: it reaches the controller even if the result does not."""

CONFIRM_SECONDS = 30
"""Default number of seconds that a change is pending before it is rolled back."""

_GRACE_SECONDS = 5
"""How much later than the transient timer the restore script rolls back."""


class Confirmation(t.NamedTuple):
    """How a change is confirmed: the token of the run, and the seconds for it (0: no confirmation is needed)."""

    token: str
    seconds: int = CONFIRM_SECONDS

    @property
    def wanted(self) -> bool:
        """Whether a confirmation is needed."""
        return self.seconds > 0


class StagedFiles(t.NamedTuple):
    """What a confirmation does.

    ``new`` are the files that differ, ``last`` those paths of them that are
    placed after ``commands`` were run, which make systemd read the new files.
    ``temporary`` are files below ``/run`` that stand in for new ones until then.
    """

    new: FileSpecs
    last: t.Sequence[str]
    temporary: t.Sequence[str]
    commands: t.Sequence[t.Sequence[str]]


class RollbackState(t.NamedTuple):
    """What was there before a change and is not a file: see :mod:`snapshot`."""

    base: str  # the directory whose script ``restore`` brings it back; "" if the host was no node
    texts: Texts  # files of that directory that must be written first
    removals: t.Sequence[str]  # commands that remove what the script does not manage
    additions: t.Sequence[str]  # commands that add what the script does not manage
    sysctls: Texts
    device: str
    afterwards: t.Sequence[str] = ()  # commands after the script, which add what it takes away


def validate_timeout(seconds: int) -> None:
    """Check that a change can be confirmed in this time.

    :raises ValidationError: the time is neither 0 nor in the range.
    """
    problems = range_problems("confirm_timeout (overlay_confirm_timeout)", seconds, 3, 3600, "seconds")
    if seconds != 0 and problems:
        raise ValidationError(f"{problems[0]}; 0 saves a change without a confirmation")


# --- one change at a time ---


@contextlib.contextmanager
def exclusive_change(run: Run) -> t.Iterator[None]:
    """Hold the lock once no change of another run is pending. A change past its deadline is rolled back first.

    :raises KernelError: another process holds the lock, or the change of another run is pending, for too long.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        _await_other_change(deadline, run)
        with locked():
            if not os.path.exists(files.ROOT + PENDING):
                finish_confirmation()
                yield
                return


def _await_other_change(deadline: float, run: Run) -> None:
    while os.path.exists(files.ROOT + PENDING):
        left = _seconds_left()
        if left <= 0:
            roll_back("the run that made the change ended without confirming it", run)
        elif time.monotonic() > deadline:
            raise KernelError(
                f"the change of another run has been pending for {LOCK_SECONDS} s and is rolled back in {left:.0f} s "
                f"unless it is confirmed: run the playbook again later"
            )
        else:
            time.sleep(0.1)


def _seconds_left() -> float:
    deadline = _pending_text("deadline").strip()
    return float(deadline) - _uptime() if deadline else 0.0


def _pending_text(name: str) -> str:
    path = f"{PENDING}/{name}"
    return read_files([path]).get(path, "")


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def is_pending(token: str) -> bool:
    """Return whether the change with this token is pending."""
    return _pending_text("token") == f"{token}\n"


# --- prepare, then confirm or roll back ---


def stage(confirmation: Confirmation, staged: StagedFiles, before: RollbackState) -> None:
    """Write everything that ends the change either way; touch nothing else. The caller holds the lock.

    :raises KernelError: a file cannot be written; the directory is removed again.
    """
    # Of a run that was killed. The script that confirms does not write the files as that run did.
    shutil.rmtree(files.ROOT + _STAGING, ignore_errors=True)
    for path in staged.new:
        remove_unfinished(path)
    placed = [path for path, text in staged.new.items() if text is not None]
    texts = {
        **_settings_text(confirmation, before),
        "files": _lines(staged.new),
        "removed": _lines(path for path, text in staged.new.items() if text is None),
        "directories": _directories(path for path in placed if path not in staged.last),
        "last": _directories(path for path in placed if path in staged.last),
        "temporary": _lines(staged.temporary),
        "commands": _lines(" ".join(words) for words in staged.commands),
        **_command_files("removals", before.removals),
        **_command_files("additions", before.additions),
        **_command_files("afterwards", before.afterwards),
        "sysctls": _lines(f"{sysctl_path(key)} {value}" for key, value in before.sysctls.items()),
        "confirm": CONFIRM_SH,
        "roll-back": ROLL_BACK_SH,
        **{f"new{path}": text for path, text in staged.new.items() if text is not None},
        **{f"old{path}": text for path, text in read_files(staged.new).items()},
        "deadline": f"{int(_uptime()) + (confirmation.seconds or CONFIRM_SECONDS) + _GRACE_SECONDS}\n",
    }
    texts.update({path.replace(f"{PENDING}/", "", 1): text for path, text in before.texts.items()})
    try:
        for name, text in texts.items():
            write_file(f"{_STAGING}/{name}", text, durable=False)
        os.rename(files.ROOT + _STAGING, files.ROOT + PENDING)
    except OSError as error:
        discard()
        raise KernelError(f"{PENDING} cannot be created: {error}") from error
    except KernelError:
        discard()
        raise


def _settings_text(confirmation: Confirmation, before: RollbackState) -> Texts:
    """Return the files with what both scripts must know."""
    settings = {
        "root": files.ROOT,
        "run": files.ROOT + RUN_DIRECTORY,
        "token": confirmation.token,
        "lock_seconds": LOCK_SECONDS,
        "base": files.ROOT + before.base if before.base else "",
        "device": before.device,
        "module_pid": os.getpid(),
    }
    lines = [f"{key}={shlex.quote(str(value))}" for key, value in settings.items()]
    return {"settings": _lines(lines), "token": f"{confirmation.token}\n"}


def _command_files(name: str, commands: t.Iterable[str]) -> Texts:
    """Return a file with these commands, and those with the batches to which it leads.

    Adjacent commands of ip become a batch: 5,000 routes, one process each, would keep a host without its network for
    many seconds.
    """
    texts: dict[str, str] = {}
    lines: list[str] = []
    for is_ip, group in itertools.groupby(commands, lambda command: command.startswith("ip ")):
        if is_ip:
            batch = f"{name}.{len(texts)}.batch"
            texts[batch] = _lines(command[len("ip ") :].replace("-4 ", "", 1) for command in group)
            lines.append(f"ip -4 -force -batch {files.ROOT}{PENDING}/{batch}")
        else:
            lines += group
    return {**texts, name: _lines(lines)}


def _directories(paths: t.Iterable[str]) -> str:
    return _lines(dict.fromkeys(os.path.dirname(path) for path in paths))


def _lines(lines: t.Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def arm(confirmation: Confirmation, run: Run) -> None:
    """Set the timer of systemd that rolls the change back.

    :raises KernelError: systemd rejected it; nothing has changed.
    """
    command = (
        *("systemd-run", "--quiet", "--collect", f"--unit={ROLLBACK_UNIT}"),
        *(f"--on-active={confirmation.seconds}", "--timer-property=AccuracySec=1s"),
        *("/bin/sh", f"{PENDING}/roll-back", f"it was not confirmed within {confirmation.seconds} s"),
    )
    code, _out, errors = run(command, None)
    if code != 0:
        discard()
        raise KernelError(
            f"nothing was changed, because the timer that rolls the change back cannot be set: "
            f"{' '.join(command[:4])}: {error_text(code, errors)}"
        )


def confirm(token: str, run: Run) -> None:
    """Save the change with the same script that the controller runs.

    :raises KernelError: it cannot be saved, and was rolled back.
    """
    code, _out, errors = run(("/bin/sh", f"{files.ROOT}{PENDING}/confirm", token), None)
    if code != 0:
        raise KernelError(f"the change could not be saved: {error_text(code, errors)}; {_recorded_outcome(token)}")


def roll_back(reason: str, run: Run) -> str:
    """Restore what was there before the pending change, and return a sentence about the outcome.

    :raises KernelError: the script failed before it could restore anything.
    """
    token = _pending_text("token").strip()
    code, _out, errors = run(("/bin/sh", f"{files.ROOT}{PENDING}/roll-back", reason), None)
    if os.path.exists(files.ROOT + PENDING):
        raise KernelError(f"the change ({reason}) cannot be rolled back: {error_text(code, errors)}")
    return _recorded_outcome(token)


def discard() -> None:
    """Remove the directory of a change of which nothing was applied, or everything was removed."""
    for directory in (_STAGING, PENDING):
        shutil.rmtree(files.ROOT + directory, ignore_errors=True)


def cancel(run: Run) -> None:
    """Drop a pending change without rolling it back, to remove the host from the overlay. The caller holds the lock."""
    if os.path.exists(files.ROOT + PENDING):
        run(("systemctl", "--quiet", "stop", f"{ROLLBACK_UNIT}.timer"), None)
        for path in _pending_text("temporary").splitlines():
            remove_file(path)
        discard()
    remove_file(RECORD)


def remove_staged_files(paths: t.Collection[str]) -> None:
    """Remove what a confirmation that lost power, or a killed writer, has left in the directories of these files."""
    for path in paths:
        remove_unfinished(path)
    for directory in {os.path.dirname(path) for path in paths}:
        shutil.rmtree(f"{files.ROOT}{directory}/.tke-overlay", ignore_errors=True)
    shutil.rmtree(files.ROOT + CONFIRMED, ignore_errors=True)


@contextlib.contextmanager
def rolled_back_on_failure(token: str, run: Run) -> t.Iterator[None]:
    """Roll the change with this token back at once if the block fails after the first change.

    :raises KernelError: with the failure and the outcome of the rollback.
    """
    try:
        yield
    except BaseException as error:
        if not is_pending(token):  # nothing was changed yet, or it is rolled back already
            raise
        reason = str(error) if isinstance(error, KernelError) else f"{type(error).__name__}: {error}"
        outcome = roll_back(reason, run)
        if not isinstance(error, Exception):
            raise
        raise KernelError(f"{reason}; {outcome}") from error


def _recorded_outcome(token: str) -> str:
    record = read_files([RECORD]).get(RECORD, "")
    return rollback_summary(record, token) or "the host has no record of the rollback"


def rollback_summary(record: str, token: str) -> str | None:
    """Return a sentence about the rollback of a change, or ``None`` if the record is about another change."""
    lines = [*record.splitlines(), "", "", ""][:3]
    if lines[0] != token:
        return None
    if lines[1] == COMPLETE:
        return "the change was rolled back, and the host is as it was before"
    return f"the change was rolled back, but the host is not as it was before: {lines[1]}"

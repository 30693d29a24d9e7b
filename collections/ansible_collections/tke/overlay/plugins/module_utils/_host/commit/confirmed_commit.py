# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: a change that waits for its confirmation, and goes back by itself without one.

Between the first line that the kernel gets and the confirmation, all that is
needed to end the change one way or the other lies in one directory below ``/run``:
the new files, the old ones, and two scripts for ``/bin/sh``. ``confirm`` puts the
new files in their places; ``undo`` puts back what was there before. Who comes
first wins, as both take the lock and the directory goes with the first. ``undo``
is run

- by a transient timer of systemd, which needs neither the controller nor the module;
- by the module, at once, when anything fails after the first line;
- by the script of :mod:`restore`, should the timer itself be lost. Until the time
  is over that script leaves the kernel alone, or it would undo every change.

``/run`` is gone after a reboot: the host then comes back with the old state,
because that is what is saved.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import with_port
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.programs import CONFIRM_SH, ROLL_BACK_SH
from ansible_collections.tke.overlay.plugins.module_utils._host.files import (
    RUN_DIRECTORY,
    FileSpecs,
    Texts,
    read_files,
    remove_file,
    sysctl_path,
    write_file,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, error_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import (
    LOCK_SECONDS,
    finish_confirmation,
    locked,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import CONFIRMED, ENDPOINT_NOTE

PENDING = f"{RUN_DIRECTORY}/pending"
RECORD = f"{RUN_DIRECTORY}/rolled-back"
"""What the last roll-back was about: the token of the change, what is not as before, and why."""

ROLLBACK_UNIT = "tke-overlay-undo"
CHANGE_STARTED = "tke.overlay: the change begins"
"""What the module writes to its standard error then: it reaches the controller even when the result does not."""

CONFIRM_SECONDS = 30
"""How long a change waits, unless asked for otherwise."""

_GRACE = 5  # seconds that the script of `restore` gives the transient timer
_TRY = 2.0  # seconds for one connection to the API endpoint


class Confirmation(t.NamedTuple):
    """Who will confirm a change: the controller, with this token, within so many seconds (0: nobody has to)."""

    token: str
    seconds: int = CONFIRM_SECONDS

    @property
    def wanted(self) -> bool:
        """Whether somebody has to."""
        return self.seconds > 0


class RollbackState(t.NamedTuple):
    """What was there, as far as it does not stand in the files: see :mod:`snapshot`."""

    base: str  # the directory whose script `restore` brings it back; "" where nothing of ours was there
    texts: Texts  # files of that directory that must be written first
    surplus: t.Sequence[str]  # commands that remove what the script does not know of
    again: t.Sequence[str]  # commands that put back what the script does not know of
    sysctls: Texts
    device: str


class ApiEndpoint(t.NamedTuple):
    """Where the API server answers."""

    host: str
    port: int

    def __str__(self) -> str:
        return with_port(self.host, self.port)


def validate_timeout(seconds: int) -> None:
    """Makes sure that a confirmation is possible in this time.

    :raises ValidationError: it is not.
    """
    if seconds != 0 and not 3 <= seconds <= 3600:
        raise ValidationError(
            f"confirm_timeout {seconds} (overlay_confirm_timeout) does not lie between 3 and 3600 seconds; "
            f"0 changes without a confirmation"
        )


# --- whose turn it is ---


@contextlib.contextmanager
def exclusive_change(run: Run) -> t.Iterator[None]:
    """The lock, once no change of another run waits for its confirmation. One whose time is over is undone.

    :raises KernelError: somebody keeps the lock, or a change its confirmation, for too long.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        _await_others(deadline, run)
        with locked():
            if not os.path.exists(files.ROOT + PENDING):
                finish_confirmation()
                yield
                return


def _await_others(deadline: float, run: Run) -> None:
    while os.path.exists(files.ROOT + PENDING):
        left = _seconds_left()
        if left <= 0:
            roll_back("the run that made it has left it behind", run)
        elif time.monotonic() > deadline:
            raise KernelError(
                f"the change of another run has waited for its confirmation for {LOCK_SECONDS} s, and will do so for "
                f"another {left:.0f} s: try again later"
            )
        else:
            time.sleep(0.1)


def _seconds_left() -> float:
    deadline = read_files([f"{PENDING}/deadline"]).get(f"{PENDING}/deadline", "").strip()
    return float(deadline) - _uptime() if deadline else 0.0


def _uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def is_pending(token: str) -> bool:
    """Whether it is this change that waits."""
    return read_files([f"{PENDING}/token"]).get(f"{PENDING}/token") == f"{token}\n"


# --- the two ways on, and the two ways out ---


def stage(
    confirmation: Confirmation,
    new: FileSpecs,
    last: t.Sequence[str],
    passing: t.Sequence[str],
    units: t.Iterable[t.Sequence[str]],
    before: RollbackState,
) -> None:
    """Lays out all that ends the change one way or the other; nothing else is touched.

    :param new: the files that differ.
    :param last: those of them that come after ``units``.
    :param passing: files below ``/run`` that stand in for some of ``new`` until then.
    :param units: commands that make systemd know the new files.
    :raises KernelError: a file cannot be written; nothing is left of it.
    """
    texts = {
        **_settings_text(confirmation, before),
        "files": _lines(new),
        "gone": _lines(path for path, text in new.items() if text is None),
        "directories": _directories(path for path, text in new.items() if text is not None and path not in last),
        "last": _directories(path for path, text in new.items() if text is not None and path in last),
        "passing": _lines(passing),
        "units": _lines(" ".join(words) for words in units),
        "surplus": _lines(before.surplus),
        "again": _lines(before.again),
        "sysctls": _lines(f"{sysctl_path(key)} {value}" for key, value in before.sysctls.items()),
        "confirm": CONFIRM_SH,
        "undo": ROLL_BACK_SH,
        **{f"new{path}": text for path, text in new.items() if text is not None},
        **{f"old{path}": text for path, text in read_files(new).items()},
        "deadline": f"{int(_uptime()) + (confirmation.seconds or CONFIRM_SECONDS) + _GRACE}\n",
    }
    try:
        for path, text in [*((f"{PENDING}/{name}", text) for name, text in texts.items()), *before.texts.items()]:
            write_file(path, text, durable=False)
    except KernelError:
        discard()
        raise


def _settings_text(confirmation: Confirmation, before: RollbackState) -> Texts:
    """What the two scripts must know."""
    settings = {
        "root": files.ROOT,
        "run": files.ROOT + RUN_DIRECTORY,
        "token": confirmation.token,
        "patience": LOCK_SECONDS,
        "base": files.ROOT + before.base if before.base else "",
        "device": before.device,
        "maker": os.getpid(),
    }
    lines = [f"{key}={shlex.quote(str(value))}" for key, value in settings.items()]
    return {"settings": _lines(lines), "token": f"{confirmation.token}\n"}


def _directories(paths: t.Iterable[str]) -> str:
    return _lines(dict.fromkeys(os.path.dirname(path) for path in paths))


def _lines(lines: t.Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def arm(confirmation: Confirmation, run: Run) -> None:
    """From here on the host undoes the change by itself.

    :raises KernelError: systemd refused; nothing has changed.
    """
    command = (
        *("systemd-run", "--quiet", "--collect", f"--unit={ROLLBACK_UNIT}"),
        *(f"--on-active={confirmation.seconds}", "--timer-property=AccuracySec=1s"),
        *("/bin/sh", f"{PENDING}/undo", f"nobody confirmed it within {confirmation.seconds} s"),
    )
    code, _out, errors = run(command, None)
    if code != 0:
        discard()
        raise KernelError(
            f"nothing was changed, because a timer that could undo it cannot be set: {' '.join(command[:4])}: "
            f"{error_text(code, errors)}"
        )


def confirm(token: str, run: Run) -> None:
    """Saves the change, as the controller does by the same script.

    :raises KernelError: it cannot be saved, and was undone.
    """
    code, _out, errors = run(("/bin/sh", f"{files.ROOT}{PENDING}/confirm", token), None)
    if code != 0:
        raise KernelError(f"the change could not be saved: {error_text(code, errors)}; {_verdict(token)}")


def roll_back(reason: str, run: Run) -> str:
    """Brings back what was there before the change that waits; says how that went.

    :raises KernelError: it cannot be undone at all.
    """
    token = read_files([f"{PENDING}/token"]).get(f"{PENDING}/token", "").strip()
    code, _out, errors = run(("/bin/sh", f"{files.ROOT}{PENDING}/undo", reason), None)
    if os.path.exists(files.ROOT + PENDING):
        raise KernelError(f"the change ({reason}) cannot be undone: {error_text(code, errors)}")
    return _verdict(token)


def discard() -> None:
    """Forgets a change of which nothing was done yet, or whose traces are all gone."""
    shutil.rmtree(files.ROOT + PENDING, ignore_errors=True)


def cancel(run: Run) -> None:
    """Makes sure that nothing is undone any more; for who takes the host out. Called with the lock held."""
    if os.path.exists(files.ROOT + PENDING):
        run(("systemctl", "--quiet", "stop", f"{ROLLBACK_UNIT}.timer"), None)
        for path in read_files([f"{PENDING}/passing"]).get(f"{PENDING}/passing", "").splitlines():
            remove_file(path)
        discard()
    remove_file(RECORD)


def remove_staged_files(paths: t.Iterable[str]) -> None:
    """Removes what a confirmation that a loss of power cut short has left in the directories of these files."""
    for directory in {os.path.dirname(path) for path in paths}:
        shutil.rmtree(f"{files.ROOT}{directory}/.tke-overlay", ignore_errors=True)
    shutil.rmtree(files.ROOT + CONFIRMED, ignore_errors=True)


@contextlib.contextmanager
def rolled_back_on_failure(token: str, run: Run) -> t.Iterator[None]:
    """What fails after the first line is undone at once.

    :raises KernelError: with what failed, and how the way back went.
    """
    try:
        yield
    except BaseException as error:
        if not is_pending(token):  # nothing was changed yet, or it is undone already
            raise
        what = str(error) if isinstance(error, KernelError) else f"{type(error).__name__}: {error}"
        verdict = roll_back(what, run)
        if not isinstance(error, Exception):
            raise
        raise KernelError(f"{what}; {verdict}") from error


def _verdict(token: str) -> str:
    return (
        rollback_summary(read_files([RECORD]).get(RECORD, ""), token) or "nothing is known of how that was rolled back"
    )


def rollback_summary(record: str, token: str) -> str | None:
    """What the record says of a change, or ``None`` if it is about another."""
    lines = [*record.splitlines(), "", "", ""][:3]
    if lines[0] != token:
        return None
    if lines[1] == "whole":
        return "the change was rolled back, and the host is as it was before"
    return f"the change was rolled back, but the host is not as it was before: {lines[1]}"


# --- the API endpoint ---


def recorded_endpoint() -> ApiEndpoint | None:
    """The API endpoint this host was given, if it was given one.

    :raises ValidationError: the note is not ``host:port``.
    """
    text = read_files([ENDPOINT_NOTE]).get(ENDPOINT_NOTE)
    if text is None:
        return None
    host, _colon, port = text.strip().rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536 or len(text.split()) != 1:
        raise ValidationError(
            f"{ENDPOINT_NOTE} is not one line host:port, but {text.strip()!r}: correct it, or remove it"
        )
    return ApiEndpoint(host.strip("[]"), int(port))


def connection_error(endpoint: ApiEndpoint, seconds: float = _TRY) -> str | None:
    """Why no connection to the endpoint could be made, or ``None``: it answers."""
    try:
        socket.create_connection(endpoint, timeout=max(seconds, 0.1)).close()
    except OSError as error:
        return str(error)
    return None


def await_endpoint(endpoint: ApiEndpoint, seconds: float) -> None:
    """Waits until the endpoint answers (again).

    :raises KernelError: it does not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        fault = connection_error(endpoint, min(_TRY, deadline - time.monotonic()))
        if fault is None:
            return
        if time.monotonic() + 0.2 > deadline:
            raise KernelError(
                f"the change cut this host off from its API endpoint: {endpoint} ({ENDPOINT_NOTE}) answered before it, "
                f"and has not within {seconds:.0f} s after it ({fault})"
            )
        time.sleep(0.2)

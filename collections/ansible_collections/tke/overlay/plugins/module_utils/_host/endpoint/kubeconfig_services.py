# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find and restart services that keep the former server of a changed kubeconfig, because they read it at their start.

A record in /run holds when the server of each kubeconfig was changed: a process that is
older than that has read the former one. A boot starts every process again, and empties
/run. The modification time of the file would not do: kubelet itself writes its kubeconfig
when it joins a cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Diff, Run, error_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import KUBECONFIG_RECORD
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

KNOWN_SERVICES = ("kubelet.service", "kube-proxy.service")
"""Services that use a kubeconfig, also if it is not among their arguments."""

PROC = "/proc"
"""The directory of the processes; a test sets another one."""

_HERTZ = os.sysconf("SC_CLK_TCK")
_CONTAINERS = re.compile(r"kubepods|docker|libpod|crio|cri-containerd")
_UNIT = re.compile(r"(?!-)(?:[A-Za-z0-9:_.@-]|\\x[0-9a-f]{2}){1,247}")  # with ".service", at most 255 (systemd.unit)

Changed = t.Dict[str, int]
"""Path of a kubeconfig -> when its server was changed, in clock ticks since the boot."""


class OutdatedServices(t.NamedTuple):
    """Services that keep a former server: those to restart, and others; and what the user should know."""

    restart: list[str]
    others: list[str]
    warnings: list[str]
    paths: str = ""

    def diffs(self) -> list[Diff]:
        """Return a difference for each service to restart."""
        before = f"started before the server of {self.paths} changed\n"
        return [Diff(unit, before, "restarted\n") for unit in self.restart]


class _Service(t.NamedTuple):
    """A unit: its state, and when its main process started, in clock ticks since the boot."""

    loaded: bool
    state: str
    pid: str
    started: int


class ClientProcess(t.NamedTuple):
    """A process with the path of a kubeconfig among its arguments; ``unit`` is empty in a container."""

    name: str
    unit: str
    path: str
    started: int
    environment: dict[str, str]

    def __str__(self) -> str:
        return self.unit or f"{self.name} (in a Pod or container)"


def now() -> int:
    """Return the clock ticks since the boot, as the kernel counts them for the start of a process."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _HERTZ)


def unit_name(name: str) -> str:
    """Return the name of a unit, ``kubelet.service`` for ``kubelet``."""
    return name if name.endswith(".service") else f"{name}.service"


def name_problems(names: t.Sequence[str]) -> list[str]:
    """Return a problem for each text that is not the name of a service."""
    return [
        f"{shown(name)} in kubeconfig_services (overlay_kubeconfig_services) is not the name of a systemd service"
        for name in names
        if not _UNIT.fullmatch(name)
    ]


def read_record() -> Changed:
    """Return the record; empty without one. A damaged record is ignored, because the next change writes it again."""
    with contextlib.suppress(KernelError, ValueError, AttributeError, TypeError):
        text = files.read_files([KUBECONFIG_RECORD]).get(KUBECONFIG_RECORD, "{}")
        return {str(path): int(ticks) for path, ticks in json.loads(text).items()}
    return {}


def write_record(record: Changed) -> None:
    """Write the record.

    :raises KernelError: it cannot be written.
    """
    files.write_file(KUBECONFIG_RECORD, f"{json.dumps(record, sort_keys=True)}\n", durable=False)


def find_outdated(changed: Changed, named: t.Sequence[str], run: Run) -> OutdatedServices:
    """Return the services that have run since before the server of their kubeconfig changed.

    :param changed: the kubeconfigs of this host; those of this run included.
    :param named: the services that may be restarted.
    """
    units = list(dict.fromkeys(unit_name(name) for name in named))
    if not os.path.isdir(f"{files.ROOT}/run/systemd/system"):
        missing = [f"this host does not run systemd, so {', '.join(units)} cannot be restarted"] if units else []
        return OutdatedServices([], [], missing)
    asked = [*units, *(name for name in KNOWN_SERVICES if changed and name not in units)]
    services = _services(asked, run) if asked else {}
    processes = list(client_processes(changed)) if changed else []
    outdated = [name for name in asked if _is_outdated(name, services[name], changed, processes)]
    others = [name for name in outdated if name not in units]
    others += [
        str(process) for process in processes if process.started < changed[process.path] and process.unit not in asked
    ]
    warnings = [*_state_warnings(units, services), *_warnings(list(dict.fromkeys(others)), changed)]
    restart = [name for name in outdated if name in units]
    return OutdatedServices(restart, list(dict.fromkeys(others)), warnings, ", ".join(sorted(changed)))


def restart(outdated: OutdatedServices, run: Run) -> None:
    """Restart the services that were named.

    :raises KernelError: one cannot be restarted.
    """
    for unit in outdated.restart:
        code, _out, errors = run(("systemctl", "restart", unit), None)
        if code != 0:
            raise KernelError(
                f"{outdated.paths} has the new server, but {unit} cannot be restarted: "
                f"{' '.join(error_text(code, errors).split())}; journalctl -u {unit} shows more"
            )


def _warnings(others: t.Sequence[str], changed: Changed) -> t.Iterator[str]:
    paths = ", ".join(sorted(changed))
    for unit in others:
        by_hand = (
            f"run 'systemctl restart {unit}', or name it in" if unit.endswith(".service") else "restart it, or see"
        )
        yield (
            f"{unit} started before the server of {paths} changed, and uses the former server until it restarts: "
            f"{by_hand} kubeconfig_services (overlay_kubeconfig_services)"
        )


def _state_warnings(units: t.Sequence[str], services: t.Mapping[str, _Service]) -> t.Iterator[str]:
    for unit in units:
        if not services[unit].loaded:
            yield f"this host has no {unit}, which kubeconfig_services (overlay_kubeconfig_services) names"
        elif services[unit].state == "failed":
            yield f"{unit} has failed, so it was not restarted: journalctl -u {unit} shows why"


def _is_outdated(name: str, service: _Service, changed: Changed, processes: t.Sequence[ClientProcess]) -> bool:
    if service.state not in ("active", "reloading") or not changed:
        return False
    own = [process.path for process in processes if process.unit == name]
    return service.started < max(changed[path] for path in own or changed)


def _services(names: t.Sequence[str], run: Run) -> dict[str, _Service]:
    keys = "Id,Names,LoadState,ActiveState,MainPID,ActiveEnterTimestampMonotonic"
    code, out, errors = run(("systemctl", "show", "-p", keys, *names), None)
    if code != 0:
        raise KernelError(f"systemctl show: {error_text(code, errors)}")
    services = dict.fromkeys(names, _Service(False, "", "0", 0))
    for block in out.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if line)
        pid, entered = values.get("MainPID", "0"), int(values.get("ActiveEnterTimestampMonotonic") or 0)
        started = _started(pid) or entered * _HERTZ // 1_000_000
        service = _Service(values.get("LoadState") != "not-found", values.get("ActiveState", ""), pid, started)
        for name in {values.get("Id", ""), *values.get("Names", "").split()}:
            services[name] = service
    return services


def _started(pid: str) -> int:
    """Return when a process started, in clock ticks since the boot; 0 if it does not exist."""
    try:
        with open(f"{PROC}/{pid}/stat", encoding="utf-8", errors="replace") as stream:
            text = stream.read()
    except OSError:
        return 0
    # The name of the program, in parentheses, can contain blanks.
    return int(text.rpartition(")")[2].split()[19])


def client_processes(paths: t.Collection[str]) -> t.Iterator[ClientProcess]:
    """Yield the processes of units and containers that have one of these paths among their arguments."""
    for pid in os.listdir(PROC):
        if not pid.isdigit():
            continue
        with contextlib.suppress(OSError):
            with open(f"{PROC}/{pid}/cmdline", "rb") as stream:
                words = stream.read().decode("utf-8", "surrogateescape").split("\0")
            for path in paths:
                if any(word == path or word.endswith(f"={path}") for word in words):
                    with open(f"{PROC}/{pid}/cgroup", encoding="utf-8", errors="replace") as text:
                        cgroups = text.read()
                    unit = _unit_of(cgroups)
                    if unit is not None:
                        yield ClientProcess(os.path.basename(words[0]), unit, path, _started(pid), _environment(pid))


def _environment(pid: str) -> dict[str, str]:
    try:
        with open(f"{PROC}/{pid}/environ", "rb") as stream:
            text = stream.read().decode("utf-8", "surrogateescape")
    except OSError:
        return {}
    return dict(pair.partition("=")[::2] for pair in text.split("\0") if "=" in pair)


def _unit_of(cgroups: str) -> str | None:
    """Return the service of a process, an empty text for a container, ``None`` for a session of a user."""
    found = re.findall(r"/system\.slice/([^/\n]+\.service)$", cgroups, re.MULTILINE)
    if found:
        return str(found[-1])
    return "" if _CONTAINERS.search(cgroups) else None

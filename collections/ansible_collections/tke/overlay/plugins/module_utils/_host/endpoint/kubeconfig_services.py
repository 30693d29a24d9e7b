# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find and restart services that keep the former server of a changed kubeconfig, because they read it at their start.

A record in /run holds when the server of each kubeconfig was changed: a process that is
older than that has read the former one, and so has one that is connected to it. A boot
starts every process again, and empties /run. The modification time of the file would not
do: kubelet itself writes its kubeconfig when it joins a cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import types
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.connections import servers_of
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

CONNECT_SECONDS = 10
"""How long to wait until a restarted service has a connection to the API endpoint."""

PAUSE = 0.2
"""Seconds between two looks at a restarted service."""


class ChangeRecord(t.NamedTuple):
    """What the host remembers until its next boot.

    ``changed`` maps the path of a kubeconfig to when its server was changed, see :func:`next_tick`.
    ``former`` are the servers that kubeconfigs had before, as ``address:port``.
    ``restarted`` maps a unit to when this collection restarted it, in clock ticks since the boot.
    """

    changed: t.Mapping[str, int] = types.MappingProxyType({})
    former: t.Sequence[str] = ()
    restarted: t.Mapping[str, int] = types.MappingProxyType({})


class OutdatedServices(t.NamedTuple):
    """Services that keep a former server: those to restart with the reason, others, and what the user should know."""

    reasons: t.Mapping[str, str]
    others: list[str]
    warnings: list[str]
    paths: str = ""

    @property
    def restart(self) -> list[str]:
        """The services to restart."""
        return list(self.reasons)

    def diffs(self) -> list[Diff]:
        """Return a difference for each service to restart."""
        return [Diff(unit, f"{reason}\n", "restarted\n") for unit, reason in self.reasons.items()]


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


def next_tick() -> int:
    """Return the first clock tick after the present one: what starts before it can have read a file before its change.

    The kernel rounds the start of a process down to a tick, so within one tick their order is unknown.
    """
    return now() + 1


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


def read_record() -> ChangeRecord:
    """Return the record; empty without one. A damaged record is ignored, because the next change writes it again."""
    with contextlib.suppress(KernelError, ValueError, AttributeError, TypeError, KeyError):
        found = json.loads(files.read_files([KUBECONFIG_RECORD]).get(KUBECONFIG_RECORD, "{}"))
        return ChangeRecord(
            {str(path): int(ticks) for path, ticks in found["changed"].items()},
            [str(server) for server in found["former"]],
            {str(unit): int(ticks) for unit, ticks in found["restarted"].items()},
        )
    return ChangeRecord()


def write_record(record: ChangeRecord) -> None:
    """Write the record.

    :raises KernelError: it cannot be written.
    """
    text = json.dumps(
        {
            "changed": dict(record.changed),
            "former": sorted(set(record.former)),
            "restarted": dict(record.restarted),
        }
    )
    files.write_file(KUBECONFIG_RECORD, f"{text}\n", durable=False)


def find_outdated(record: ChangeRecord, named: t.Sequence[str], run: Run) -> OutdatedServices:
    """Return the services that have run since before the server of their kubeconfig changed, or are connected to it.

    :param record: of the kubeconfigs of this host; the changes of this run included.
    :param named: the services that may be restarted.
    """
    units, changed = list(dict.fromkeys(unit_name(name) for name in named)), record.changed
    if not os.path.isdir(f"{files.ROOT}/run/systemd/system"):
        missing = [f"this host does not run systemd, so {', '.join(units)} cannot be restarted"] if units else []
        return OutdatedServices({}, [], missing)
    asked = [*units, *(name for name in KNOWN_SERVICES if changed and name not in units)]
    services = _services(asked, run) if asked else {}
    processes = list(client_processes(changed)) if changed else []
    found = {name: _reason(name, services[name], record, processes) for name in asked}
    reasons = {name: reason for name, reason in found.items() if reason}
    again = [name for name in units if name in reasons and _was_restarted(name, services[name], record)]
    others = {name: reason for name, reason in reasons.items() if name not in units}
    for process in processes:
        if process.started < changed[process.path] and process.unit not in asked:
            others[str(process)] = _started_before(changed)
    warnings = [
        *_state_warnings(units, services),
        *(_not_helped(name, reasons[name]) for name in again),
        *(_warning(name, reason) for name, reason in others.items()),
    ]
    restart = {name: reason for name, reason in reasons.items() if name in units and name not in again}
    return OutdatedServices(restart, [*again, *others], warnings, ", ".join(sorted(changed)))


def restart(outdated: OutdatedServices, server: str, seconds: float, run: Run) -> list[str]:
    """Restart the services that were named, one after the other; return a warning for each that does not connect.

    :param server: the API endpoint, as ``address:port``.
    :param seconds: how long to wait until a service is connected to it.
    :raises KernelError: one cannot be restarted, or does not stay active.
    """
    warnings = []
    if outdated.restart:
        time.sleep(1 / _HERTZ)  # so that what starts now is younger than the change, see next_tick()
    for unit in outdated.restart:
        code, _out, errors = run(("systemctl", "restart", unit), None)
        if code != 0:
            raise KernelError(
                f"{outdated.paths} has the new server, but {unit} cannot be restarted: "
                f"{' '.join(error_text(code, errors).split())}; journalctl -u {unit} shows more"
            )
        record = read_record()
        write_record(record._replace(restarted={**record.restarted, unit: now()}))
        if not _connects(unit, server, seconds, run):
            warnings.append(
                f"{unit} was restarted and has no connection to the API endpoint {server} after {seconds:.0f} s: "
                f"journalctl -u {unit} shows why"
            )
    return warnings


def _connects(unit: str, server: str, seconds: float, run: Run) -> bool:
    """Wait until a restarted service is connected to the endpoint; return whether it is.

    :raises KernelError: it does not stay active.
    """
    deadline = time.monotonic() + seconds
    while True:
        service = _services([unit], run)[unit]
        if service.state == "active" and server in servers_of_unit(service.pid):
            return True
        if service.state == "failed" or time.monotonic() + PAUSE > deadline:
            break
        time.sleep(PAUSE)
    if service.state not in ("active", "reloading"):
        raise KernelError(f"{unit} was restarted and is {service.state}: journalctl -u {unit} shows why")
    return False


def servers_of_unit(main: str) -> set[str]:
    """Return the servers to which the processes of a unit are connected, as ``address:port``.

    They are in the control group of its main process. A container can have a unit of the same name.

    :param main: the main process.
    """
    if main == "0":
        return set()
    group = _cgroups(main)
    found = servers_of(f"{PROC}/{main}")
    for pid in os.listdir(PROC):
        if pid.isdigit() and pid != main and group and _cgroups(pid) == group:
            found |= servers_of(f"{PROC}/{pid}")
    return found


def _started_before(changed: t.Iterable[str]) -> str:
    return f"started before the server of {', '.join(sorted(changed))} changed"


def _warning(unit: str, reason: str) -> str:
    by_hand = f"run 'systemctl restart {unit}', or name it in" if unit.endswith(".service") else "restart it, or see"
    return (
        f"{unit} {reason}, and uses the former server until it restarts: {by_hand} kubeconfig_services "
        f"(overlay_kubeconfig_services)"
    )


def _not_helped(unit: str, reason: str) -> str:
    return (
        f"{unit} was restarted after its kubeconfig had changed, and {reason}: it reads that server from elsewhere; "
        f"'systemctl cat {unit}' shows its configuration"
    )


def _state_warnings(units: t.Sequence[str], services: t.Mapping[str, _Service]) -> t.Iterator[str]:
    for unit in units:
        if not services[unit].loaded:
            yield f"this host has no {unit}, which kubeconfig_services (overlay_kubeconfig_services) names"
        elif services[unit].state == "failed":
            yield f"{unit} has failed, so it was not restarted: journalctl -u {unit} shows why"


def _reason(name: str, service: _Service, record: ChangeRecord, processes: t.Sequence[ClientProcess]) -> str:
    """Return why a service keeps the former server; empty if it does not, or does not run."""
    changed = record.changed
    if service.state not in ("active", "reloading") or not changed:
        return ""
    own = [process.path for process in processes if process.unit == name]
    used = own or ([] if _uses_another(service.pid, changed) else changed)
    if service.started < max((changed[path] for path in used), default=0):
        return _started_before(used)
    if not record.former:
        return ""
    connected = sorted(servers_of_unit(service.pid) & set(record.former))
    return f"has a connection to the former server {', '.join(connected)}" if connected else ""


def _uses_another(pid: str, changed: t.Collection[str]) -> bool:
    """Whether a process has a kubeconfig among its arguments that is none of these files."""
    words = _arguments(pid)
    given = [word.partition("=")[2] for word in words if word.startswith("--kubeconfig=")]
    given += [after for word, after in zip(words, words[1:]) if word == "--kubeconfig"]
    real = {os.path.realpath(files.ROOT + path) for path in changed}
    return any(given) and real.isdisjoint(os.path.realpath(files.ROOT + path) for path in given)


def _was_restarted(name: str, service: _Service, record: ChangeRecord) -> bool:
    """Whether this collection has restarted a service since the last change, so that a restart does not help."""
    last = max(record.changed.values(), default=0)
    return last <= record.restarted.get(name, -1) and service.started >= last


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
        words = _arguments(pid)
        for path in paths:
            if any(word == path or word.endswith(f"={path}") for word in words):
                unit = _unit_of_process(pid)
                if unit is not None:
                    yield ClientProcess(os.path.basename(words[0]), unit, path, _started(pid), _environment(pid))


def _arguments(pid: str) -> list[str]:
    """Return the arguments of a process, its program first; none if it has ended."""
    try:
        with open(f"{PROC}/{pid}/cmdline", "rb") as stream:
            return stream.read().decode("utf-8", "surrogateescape").split("\0")
    except OSError:
        return []


def _environment(pid: str) -> dict[str, str]:
    try:
        with open(f"{PROC}/{pid}/environ", "rb") as stream:
            text = stream.read().decode("utf-8", "surrogateescape")
    except OSError:
        return {}
    return dict(pair.partition("=")[::2] for pair in text.split("\0") if "=" in pair)


def _cgroups(pid: str) -> str:
    """Return the control groups of a process; empty if it has ended."""
    try:
        with open(f"{PROC}/{pid}/cgroup", encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _unit_of_process(pid: str) -> str | None:
    """Return the service of a process, an empty text for a container, ``None`` for another process."""
    cgroups = _cgroups(pid)
    found = re.findall(r"/system\.slice/([^/\n]+\.service)$", cgroups, re.MULTILINE)
    if found:
        return str(found[-1])
    return "" if _CONTAINERS.search(cgroups) else None

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The systemd units of a node: their files, their state, and the commands that change it."""

from __future__ import annotations

import os
import re
import shlex
import string
import types
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import FileSpecs, Texts
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, error_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import NOT_INSTALLED, CniPlugins
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import NO_METRICS, MetricsSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    NETWORK_MANAGER,
    NETWORKD,
    PROBE_CACHE,
    PROBE_PROGRAM,
    PROBE_SERVICE,
    PROBE_TIMER,
    PROBE_UNIT_FILES,
    SERVICE,
    STATE,
    TIMER,
    UNIT_FILES,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.programs import (
    TKE_OVERLAY_PROBE_SERVICE,
    TKE_OVERLAY_PROBE_TIMER,
    TKE_OVERLAY_SERVICE,
    TKE_OVERLAY_TIMER,
)

FIRST_PROBE_SECONDS = 5
"""When the first round of probes starts after a change of its timer."""


class HostFacts(t.NamedTuple):
    """The properties of a host that determine its units, drop-ins, sysctls and CNI file."""

    systemd: bool
    units: Texts  # unit -> "enabled", "active" or both; "outdated" if systemd has not loaded a new file of ours
    loaded: bool  # whether systemd has loaded a file of the units of this collection
    kernel: tuple[int, int]
    bridge_netfilter: bool = True  # whether the kernel has br_netfilter, loaded or not
    cni: CniPlugins = NOT_INSTALLED  # read_host() leaves the default; only the CNI file needs it
    metrics: MetricsSpec = NO_METRICS  # read_host() leaves the default
    on_link: t.Mapping[str, str] = types.MappingProxyType({})  # underlay address -> link, of peers with a direct link


OUTDATED = "outdated"
"""The state of a unit whose file was written by a run that was interrupted before systemd loaded it."""


class UnitState(t.NamedTuple):
    """The state of a unit, whether systemd has loaded a file of it, and whether this file has changed since."""

    state: str
    loaded: bool
    outdated: bool = False


def read_host(run: Run) -> HostFacts:
    """Return whether the host runs systemd, the state of its units and network managers, and its kernel version."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    kernel = (int(release[1]), int(release[2])) if release else (5, 0)
    if not os.path.isdir(f"{files.ROOT}/run/systemd/system"):
        return HostFacts(False, {}, False, kernel, has_bridge_netfilter(run))
    units = unit_states((SERVICE, TIMER, PROBE_TIMER, NETWORKD, NETWORK_MANAGER), run)
    loaded = units[SERVICE].loaded or units[TIMER].loaded
    states = {name: unit.state for name, unit in units.items()}
    for name in (SERVICE, TIMER, PROBE_TIMER):
        if units[name].outdated:
            states[name] = f"{states[name]} {OUTDATED}".strip()
    return HostFacts(True, states, loaded, kernel, has_bridge_netfilter(run))


def has_bridge_netfilter(run: Run) -> bool:
    """Return whether the kernel module br_netfilter is loaded, built in, or can be loaded. Nothing is loaded.

    A hardened host can forbid all modules, or have a line ``install br_netfilter /bin/false`` in modprobe.d.
    """
    if os.path.isdir(os.path.join(files.PROC_SYS, "net/bridge")):
        return True
    if files.read_sysctls(["kernel.modules_disabled"]).get("kernel.modules_disabled") == "1":
        return False
    _code, steps, _errors = run(("modprobe", "--show-depends", "br_netfilter"), None)
    return re.search(r"^(insmod \S*/|builtin )br_netfilter\b", steps, re.MULTILINE) is not None


def unit_states(names: t.Sequence[str], run: Run) -> dict[str, UnitState]:
    """Return the state of these units.

    :raises KernelError: systemctl failed.
    """
    return {
        name: UnitState(
            _state_of(values),
            bool(values) and values.get("LoadState") != "not-found",
            values.get("NeedDaemonReload") == "yes",
        )
        for name, values in unit_properties(names, run).items()
    }


def unit_properties(names: t.Sequence[str], run: Run) -> dict[str, Texts]:
    """Return unit -> the properties from which its state and its faults follow.

    :raises KernelError: systemctl failed.
    """
    keys = "Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload,Result,ExecMainStatus"
    code, out, errors = run(("systemctl", "show", "-p", keys, *names), None)
    if code != 0:
        raise KernelError(f"systemctl show: {error_text(code, errors)}")
    units: dict[str, Texts] = {name: {} for name in names}
    for block in out.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if line)
        units[values.get("Id", "")] = values
    return {name: units[name] for name in names}


def _state_of(values: Texts) -> str:
    words = [values.get(key, "") for key in ("UnitFileState", "ActiveState")]
    return " ".join(word for word in words if word in ("enabled", "active"))


def unit_faults(wanted: Texts, run: Run) -> list[str]:
    """Return a sentence for each unit that is not in its wanted state, such as "enabled active".

    :raises KernelError: systemctl failed.
    """
    faults = []
    for name, values in unit_properties(tuple(wanted), run).items():
        state = _state_of(values)
        if state == wanted[name]:
            continue
        present = " ".join(filter(None, (values.get("UnitFileState"), values.get("ActiveState")))) or "missing"
        result = values.get("Result", "success")
        reason = "" if result == "success" else f" ({result})"
        faults.append(f"unit {name}: is {present}{reason}, should be {wanted[name]}")
    return faults


def timer_state(timer: str, service: str, run: Run) -> str:
    """Return the state of a timer and of the last run of its service, in a few words.

    :raises KernelError: systemctl failed.
    """
    units = unit_properties((timer, service), run)
    if "active" not in _state_of(units[timer]).split():
        return "stopped"
    values = units[service]
    if values.get("Result", "success") == "success":
        return "active"
    return f"active, last run failed ({values['Result']} {values.get('ExecMainStatus', '')}): journalctl -u {service}"


def wanted_units(host: HostFacts) -> Texts:
    """Return the desired state of the units. The service is not active between two runs.

    The probe timer is not enabled: the other timer starts it, so nothing is left of it when its file is removed.
    """
    if not host.systemd:
        return {}
    wanted = {SERVICE: "enabled", TIMER: "enabled active"}
    if host.metrics.directory or host.units.get(PROBE_TIMER):
        wanted[PROBE_TIMER] = "active" if host.metrics.directory else ""
    return wanted


def unit_files(interval: int, host: HostFacts) -> FileSpecs:
    """Return the texts of the units, by path; ``None`` for those that the host must not have.

    :param interval: seconds between two runs of the timer.
    """
    if not host.systemd:
        return {}
    wants = f"Wants={PROBE_TIMER}\n" if host.metrics.directory else ""
    texts = (
        string.Template(TKE_OVERLAY_SERVICE).substitute(state=STATE),
        string.Template(TKE_OVERLAY_TIMER).substitute(service=SERVICE, interval=interval, wants=wants),
    )
    return {**dict(zip(UNIT_FILES, texts)), **_probe_unit_files(host.metrics)}


def _probe_unit_files(metrics: MetricsSpec) -> FileSpecs:
    if not metrics.directory:
        return dict.fromkeys(PROBE_UNIT_FILES)
    service = string.Template(TKE_OVERLAY_PROBE_SERVICE).substitute(
        program=PROBE_PROGRAM, state=STATE, python=shlex.quote(metrics.python), cache=PROBE_CACHE
    )
    interval = metrics.probe_interval
    timer = string.Template(TKE_OVERLAY_PROBE_TIMER).substitute(
        service=PROBE_SERVICE, interval=interval, first=FIRST_PROBE_SECONDS, spread=interval // 10
    )
    return dict(zip(PROBE_UNIT_FILES, (service, timer)))


def apply_units(written: t.Iterable[str], host: HostFacts, run: Run) -> None:
    """Load, enable and restart the units as needed after files were written or removed.

    :param written: the paths of these files.
    :raises KernelError: systemctl failed.
    """
    for _program, *words in unit_commands(written, host):
        systemctl(run, *words)


def unit_commands(written: t.Iterable[str], host: HostFacts) -> t.Iterator[t.Sequence[str]]:
    """Return the commands that :func:`apply_units` runs."""
    names = set(written)
    new = not names.isdisjoint(UNIT_FILES)
    new_probe = not names.isdisjoint(PROBE_UNIT_FILES)
    wrong = differing_units(host)
    outdated = OUTDATED in host.units.get(PROBE_TIMER, "").split()
    if PROBE_TIMER in wrong and not host.metrics.directory:
        yield ("systemctl", "stop", PROBE_TIMER)  # before systemd notices that its file is gone, which is a failure
    if SERVICE in wrong or TIMER in wrong:
        # This also loads new files. Without the reload that is part of it, systemd 257 and later reports that the units
        # need one (NeedDaemonReload).
        yield ("systemctl", "--quiet", "enable", SERVICE, TIMER)
    elif (new or new_probe or outdated) and host.loaded:
        yield ("systemctl", "daemon-reload")
    if new or TIMER in wrong:
        yield ("systemctl", "restart", TIMER)
    if host.metrics.directory and (new_probe or PROBE_TIMER in wrong):
        yield ("systemctl", "restart", PROBE_TIMER)


def differing_units(host: HostFacts) -> Texts:
    """Return the desired state of the units whose state differs."""
    return files.differing(host.units, wanted_units(host))


def stop_units(host: HostFacts, run: Run) -> None:
    """Stop and disable the units that are enabled or active."""
    names = managed_units(host)
    if names:
        systemctl(run, "--quiet", "disable", "--now", *names)


def managed_units(host: HostFacts) -> list[str]:
    """Return the units of this collection that are enabled or active, in the order in which to stop them."""
    return [name for name in (PROBE_TIMER, TIMER, SERVICE) if host.units.get(name)]


def reload_units(run: Run) -> None:
    """Make systemd forget units whose files were removed."""
    systemctl(run, "daemon-reload")


def systemctl(run: Run, *words: str) -> None:
    """Run ``systemctl`` with these arguments.

    :raises KernelError: it failed.
    """
    code, _out, errors = run(("systemctl", *words), None)
    if code != 0:
        raise KernelError(f"systemctl {' '.join(words)}: {error_text(code, errors)}")

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units on a node: their files, their state, and the commands that change it."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.files import Texts
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, error_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    NETWORK_MANAGER,
    NETWORKD,
    SERVICE,
    STATE,
    TIMER,
    UNIT_FILES,
    WRITTEN_BY,
)


class HostFacts(t.NamedTuple):
    """What of a host decides how it is looked after."""

    systemd: bool
    units: Texts  # unit -> "enabled", "active" or both
    loaded: bool  # whether systemd has read a file of our units
    kernel: tuple[int, int]


class UnitState(t.NamedTuple):
    """A unit of systemd: "enabled", "active", both or neither; and whether systemd has read a file of it."""

    state: str
    loaded: bool


def read_host(run: Run) -> HostFacts:
    """Who runs this host, and which of the network managers are at work on it."""
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    kernel = (int(release[1]), int(release[2])) if release else (5, 0)
    if not os.path.isdir(f"{files.ROOT}/run/systemd/system"):
        return HostFacts(False, {}, False, kernel)
    units = unit_states((SERVICE, TIMER, NETWORKD, NETWORK_MANAGER), run)
    loaded = units[SERVICE].loaded or units[TIMER].loaded
    return HostFacts(True, {name: unit.state for name, unit in units.items()}, loaded, kernel)


def unit_states(names: t.Sequence[str], run: Run) -> dict[str, UnitState]:
    """What systemd says of these units.

    :raises KernelError: it says nothing.
    """
    code, out, errors = run(("systemctl", "show", "-p", "Id,LoadState,UnitFileState,ActiveState", *names), None)
    if code != 0:
        raise KernelError(f"systemctl show: {error_text(code, errors)}")
    units = dict.fromkeys(names, UnitState("", False))
    for block in out.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines() if line)
        words = [values.get(key, "") for key in ("UnitFileState", "ActiveState")]
        state = " ".join(word for word in words if word in ("enabled", "active"))
        units[values.get("Id", "")] = UnitState(state, values.get("LoadState") != "not-found")
    return units


def wanted_units(host: HostFacts) -> Texts:
    """How our units should be. The service is not active between two runs."""
    return {SERVICE: "enabled", TIMER: "enabled active"} if host.systemd else {}


def unit_files(interval: int, host: HostFacts) -> Texts:
    """The units, by path."""
    if not host.systemd:
        return {}
    return {
        path: WRITTEN_BY + text
        for path, text in zip(UNIT_FILES, (_SERVICE_TEXT, _TIMER_TEXT.format(interval=interval)))
    }


def apply_units(written: t.Iterable[str], host: HostFacts, run: Run) -> None:
    """Makes the units what their files say, after ``written`` (paths) were written or removed.

    :raises KernelError: systemd refused.
    """
    for _systemctl_itself, *words in unit_commands(written, host):
        systemctl(run, *words)


def unit_commands(written: t.Iterable[str], host: HostFacts) -> t.Iterator[t.Sequence[str]]:
    """The commands by which :func:`apply_units` does that."""
    new = not set(written).isdisjoint(UNIT_FILES)
    wrong = differing_units(host)
    if wrong:
        # What is enabled counts at the next boot; without the reload that comes with it, this is eight times as fast.
        yield ("systemctl", "--quiet", "--no-reload", "enable", SERVICE, TIMER)
    if new and host.loaded:
        yield ("systemctl", "daemon-reload")
    if new or TIMER in wrong:
        yield ("systemctl", "restart", TIMER)


def differing_units(host: HostFacts) -> Texts:
    """Those of our units that are not as they should be."""
    return files.differing(host.units, wanted_units(host))


def stop_units(host: HostFacts, run: Run) -> None:
    """Stops and disables what is there of our units."""
    there = managed_units(host)
    if there:
        systemctl(run, "--quiet", "disable", "--now", *there)


def managed_units(host: HostFacts) -> list[str]:
    """Those of our units that are enabled or active."""
    return [name for name in (TIMER, SERVICE) if host.units.get(name)]


def reload_units(run: Run) -> None:
    """After the files of the units were removed."""
    systemctl(run, "daemon-reload")


def systemctl(run: Run, *words: str) -> None:
    """Run ``systemctl`` with these arguments.

    :raises KernelError: it failed.
    """
    code, _out, errors = run(("systemctl", *words), None)
    if code != 0:
        raise KernelError(f"systemctl {' '.join(words)}: {error_text(code, errors)}")


# After those who flush all rules when they start, before those who start Pods. It need not wait for an address from
# DHCP: the kernel takes link, routes and entries without, and they work from the moment the address is there.
# LogLevelMax keeps systemd from noting every start and end of a run that had nothing to do.
_SERVICE_TEXT = f"""\
[Unit]
Description=Put back what is missing of the overlay network
After=network.target nftables.service iptables.service firewalld.service systemd-sysctl.service
Before=kubelet.service
ConditionPathExists={STATE}/restore

[Service]
Type=oneshot
ExecStart=/bin/sh {STATE}/restore
LogLevelMax=notice

[Install]
WantedBy=multi-user.target
"""

_TIMER_TEXT = f"""\
[Unit]
Description=Look now and then whether the overlay network is whole

[Timer]
Unit={SERVICE}
OnActiveSec={{interval}}s
OnUnitInactiveSec={{interval}}s
AccuracySec=1s

[Install]
WantedBy=timers.target
"""

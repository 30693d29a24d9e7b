# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units, drop-ins, lock and saved record of a host: the commands that run, and their errors."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.state import systemd
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import NO_METRICS, MetricsSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    NETWORK_MANAGER,
    NETWORKD,
    PROBE_SERVICE,
    PROBE_TIMER,
    PROBE_UNIT_FILES,
    SERVICE,
    STATE,
    TIMER,
    UNIT_FILES,
    WRITTEN_BY,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import (
    HostFacts,
    apply_units,
    differing_units,
    managed_units,
    read_host,
    reload_units,
    stop_units,
    timer_state,
    unit_commands,
    unit_files,
    unit_states,
)

COMPLETE = {SERVICE: "enabled", TIMER: "enabled active"}
ENABLE = f"systemctl --quiet enable {SERVICE} {TIMER}"
RELOAD = "systemctl daemon-reload"
RESTART = f"systemctl restart {TIMER}"


def host(units=None, loaded=True, systemd=True):
    return HostFacts(systemd, dict(COMPLETE if units is None else units), loaded, (6, 1))


def block(name, *states, load="loaded"):
    pairs = zip(("UnitFileState", "ActiveState"), states)
    return "\n".join([f"Id={name}", f"LoadState={load}", *(f"{key}={value}" for key, value in pairs)])


DATA = pathlib.Path(__file__).parent / "data"
VERSIONS = sorted(path.stem for path in DATA.glob("systemd-*.txt") if not path.stem.endswith("-failed"))


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_states_of_several_versions_are_read(version, recorder):
    """``systemctl show`` prints the properties in an order of its own, and units that do not exist."""
    _head, _empty, text = (DATA / f"{version}.txt").read_text(encoding="utf-8").partition("\n\n")
    found = unit_states((SERVICE, TIMER, NETWORKD, NETWORK_MANAGER), recorder(0, text))
    assert {name: unit.state for name, unit in found.items()} == {**COMPLETE, NETWORKD: "", NETWORK_MANAGER: ""}
    assert (found[SERVICE].loaded, found[TIMER].loaded) == (True, True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_recorded_state_of_the_timer_is_read(version, recorder):
    states = {}
    for case in (version, f"{version}-failed"):
        text = (DATA / f"{case}.txt").read_text(encoding="utf-8").partition("\n\n")[2]
        states[case] = timer_state(TIMER, SERVICE, recorder(0, text))
    assert states == {
        version: "active",
        f"{version}-failed": f"active, last run failed (exit-code 3): journalctl -u {SERVICE}",
    }


def test_unit_states_are_read_from_systemctl(recorder, root):
    found = read_host(recorder(1))
    assert found == HostFacts(False, {}, False, found.kernel, found.bridge_netfilter), "without systemd"
    (root / "run/systemd/system").mkdir(parents=True)
    blocks = [
        block(SERVICE, "enabled", "inactive"),
        block(TIMER, "enabled", "active"),
        block(PROBE_TIMER, load="not-found"),
        block(NETWORKD, "disabled", "active"),
        block(NETWORK_MANAGER, load="not-found"),
    ]
    found = read_host(recorder(0, "\n\n".join(blocks)))
    states = {SERVICE: "enabled", TIMER: "enabled active", PROBE_TIMER: "", NETWORKD: "active", NETWORK_MANAGER: ""}
    assert found.units == states
    assert (found.systemd, found.loaded) == (True, True)
    need = [f"{text}\nNeedDaemonReload=yes" for text in blocks]
    outdated = {SERVICE: "enabled outdated", TIMER: "enabled active outdated", PROBE_TIMER: "outdated"}
    assert read_host(recorder(0, "\n\n".join(need))).units == {**states, **outdated}, "not those of other packages"
    absent = [block(name, load="not-found") for name in (SERVICE, TIMER)]
    assert not read_host(recorder(0, "\n\n".join([*absent, block(NETWORKD, "enabled", "active")]))).loaded
    for errors, text in (("no bus\n", "no bus"), ("", "exit code 1")):
        with pytest.raises(KernelError, match=f"^systemctl show: {text}$"):
            read_host(recorder(1, "", errors))


DEPENDS = "modprobe --show-depends br_netfilter"
INSMOD = "insmod /lib/modules/6.1.0/kernel/net/bridge/bridge.ko \ninsmod /lib/modules/6.1.0/kernel/net/bridge/"


@pytest.mark.parametrize(
    ("sysctls", "out", "expected", "lines"),
    [
        ({"net/bridge/bridge-nf-call-iptables": "0"}, "", True, []),
        ({}, f"{INSMOD}br_netfilter.ko.xz \n", True, [DEPENDS]),
        ({"kernel/modules_disabled": "0"}, "builtin br_netfilter\n", True, [DEPENDS]),
        ({"kernel/modules_disabled": "1"}, f"{INSMOD}br_netfilter.ko \n", False, []),
        ({}, f"{INSMOD}other.ko \ninstall /bin/false \n", False, [DEPENDS]),
        ({}, "", False, [DEPENDS]),
    ],
)
def test_a_kernel_has_bridge_netfilter_if_it_may_be_loaded(
    recorder, tmp_path, monkeypatch, sysctls, out, expected, lines
):
    """Nothing is loaded by asking."""
    monkeypatch.setattr(files, "PROC_SYS", str(tmp_path / "sys"))
    for path, value in sysctls.items():
        files.write_file(f"/sys/{path}", f"{value}\n", durable=False)
    run = recorder(0, out)
    assert read_host(run).bridge_netfilter is expected
    assert run.lines == lines


@pytest.mark.parametrize("release", ["6.1.0-18-amd64", "4.19.0"])
def test_the_kernel_version_is_two_numbers(recorder, release, monkeypatch):
    monkeypatch.setattr(systemd.os, "uname", lambda: os.uname_result(("Linux", "a", release, "", "")))
    assert read_host(recorder()).kernel == tuple(map(int, release.split(".")[:2]))


def test_an_unknown_kernel_version_needs_no_workarounds(recorder, monkeypatch):
    monkeypatch.setattr(systemd.os, "uname", lambda: os.uname_result(("Linux", "a", "custom", "", "")))
    assert read_host(recorder()).kernel == (5, 0)


@pytest.mark.parametrize(
    ("written", "units", "loaded", "commands"),
    [
        ([], COMPLETE, True, []),
        (["/etc/hosts"], COMPLETE, True, []),
        (UNIT_FILES[:1], COMPLETE, True, [RELOAD, RESTART]),
        (UNIT_FILES, {}, False, [ENABLE, RESTART]),  # enabling loads new files
        ([], {SERVICE: "enabled", TIMER: "enabled"}, True, [ENABLE, RESTART]),
        (UNIT_FILES, {SERVICE: "", TIMER: "enabled active"}, True, [ENABLE, RESTART]),
        ([], {SERVICE: "", TIMER: "enabled active"}, True, [ENABLE]),
        # A run was killed before systemd loaded new files.
        ([], {**COMPLETE, SERVICE: "enabled outdated"}, True, [ENABLE]),
        ([], {**COMPLETE, TIMER: "enabled active outdated"}, True, [ENABLE, RESTART]),
    ],
)
def test_only_necessary_unit_commands_run(recorder, written, units, loaded, commands):
    run = recorder()
    apply_units(written, host(units, loaded), run)
    assert run.lines == commands
    assert [" ".join(words) for words in unit_commands(written, host(units, loaded))] == commands


METRICS = MetricsSpec("/metrics", 60, python="/usr/bin/python3")
WITH_PROBE = {**COMPLETE, PROBE_TIMER: "active"}
RESTART_PROBE = f"systemctl restart {PROBE_TIMER}"


@pytest.mark.parametrize(
    ("metrics", "written", "units", "commands"),
    [
        (METRICS, [], WITH_PROBE, []),
        (METRICS, PROBE_UNIT_FILES, COMPLETE, [RELOAD, RESTART_PROBE]),
        (METRICS, [], COMPLETE, [RESTART_PROBE]),  # somebody has stopped it
        (METRICS, [], {**WITH_PROBE, PROBE_TIMER: "active outdated"}, [RELOAD, RESTART_PROBE]),
        (NO_METRICS, [], {**COMPLETE, PROBE_TIMER: "outdated"}, [f"systemctl stop {PROBE_TIMER}", RELOAD]),
        (NO_METRICS, PROBE_UNIT_FILES, WITH_PROBE, [f"systemctl stop {PROBE_TIMER}", RELOAD]),
        (NO_METRICS, [], {**COMPLETE, PROBE_TIMER: ""}, []),
    ],
)
def test_the_probe_timer_runs_only_with_metrics(metrics, written, units, commands):
    facts = host(units)._replace(metrics=metrics)
    assert [" ".join(words) for words in unit_commands(written, facts)] == commands
    assert bool(differing_units(facts)) == (units.get(PROBE_TIMER, "") != ("active" if metrics.directory else ""))


def test_probe_units_exist_only_with_metrics():
    texts = unit_files(30, host()._replace(metrics=METRICS))
    service, timer = (texts[path] for path in PROBE_UNIT_FILES)
    assert "ExecStart=/usr/bin/python3 -s -E -S -X pycache_prefix=" in service
    assert {"OnUnitInactiveSec=60s", f"Unit={PROBE_SERVICE}"} <= set(timer.splitlines())
    assert f"Wants={PROBE_TIMER}\n" in texts[UNIT_FILES[1]]
    assert all(text.startswith(WRITTEN_BY) and "$" not in text for text in texts.values())
    without = unit_files(30, host())
    assert [without[path] for path in PROBE_UNIT_FILES] == [None, None]
    assert PROBE_TIMER not in without[UNIT_FILES[1]]


def test_unit_files_run_the_restore_script_at_the_interval():
    service, timer = (unit_files(30, host())[path] for path in UNIT_FILES)
    assert f"ExecStart=/bin/sh {STATE}/restore\n" in service
    assert {f"Unit={SERVICE}", "OnActiveSec=30s", "OnUnitInactiveSec=30s"} <= set(timer.splitlines())
    for text in (service, timer):
        assert text.startswith(WRITTEN_BY)
        assert "$" not in text
    assert unit_files(30, host(systemd=False)) == {}


def test_without_systemd_no_unit_command_runs():
    assert list(unit_commands([], host({}, systemd=False))) == []


def test_enabled_and_active_units_are_stopped(recorder):
    run = recorder()
    stop_units(host({SERVICE: "enabled", NETWORKD: "active"}), run)
    stop_units(host({}), run)
    reload_units(run)
    assert run.lines == [f"systemctl --quiet disable --now {SERVICE}", RELOAD]
    assert managed_units(host()) == [TIMER, SERVICE], "the timer first, because it starts the service"
    with pytest.raises(KernelError, match=r"^systemctl daemon-reload: exit code 4$"):
        reload_units(recorder(4))

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host's own systemd and network managers are told, and what is said where they refuse."""

from __future__ import annotations

import os

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.state import lock, systemd
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import reload_commands, reload_managers
from ansible_collections.tke.overlay.plugins.module_utils._host.state.fleet import read_saved
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import locked
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    FLEET_FILE,
    NETWORK_FILE,
    NETWORK_MANAGER,
    NETWORK_MANAGER_FILE,
    NETWORKD,
    SERVICE,
    STATE,
    TIMER,
    UNIT_FILES,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import (
    HostFacts,
    apply_units,
    managed_units,
    read_host,
    reload_units,
    stop_units,
    unit_commands,
)

WHOLE = {SERVICE: "enabled", TIMER: "enabled active"}
ENABLE = f"systemctl --quiet --no-reload enable {SERVICE} {TIMER}"
RELOAD = "systemctl daemon-reload"
RESTART = f"systemctl restart {TIMER}"


class Told:
    """Notes what it is told, and refuses what it should."""

    def __init__(self, code=0, out="", errors=""):
        self.answer, self.lines = (code, out, errors), []

    def __call__(self, command, text):
        self.lines.append(" ".join(command))
        return self.answer


def host(units=None, loaded=True, systemd=True):
    return HostFacts(systemd, dict(WHOLE if units is None else units), loaded, (6, 1))


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def block(name, *states, load="loaded"):
    pairs = zip(("UnitFileState", "ActiveState"), states)
    return "\n".join([f"Id={name}", f"LoadState={load}", *(f"{key}={value}" for key, value in pairs)])


def test_what_systemd_says_of_units_is_read_as_far_as_it_counts(root):
    assert read_host(Told(1)) == HostFacts(False, {}, False, read_host(Told()).kernel), (
        "nobody is asked without systemd"
    )
    (root / "run/systemd/system").mkdir(parents=True)
    blocks = [
        block(SERVICE, "enabled", "inactive"),
        block(TIMER, "enabled", "active"),
        block(NETWORKD, "disabled", "active"),
        block(NETWORK_MANAGER, load="not-found"),
    ]
    found = read_host(Told(0, "\n\n".join(blocks)))
    assert found.units == {SERVICE: "enabled", TIMER: "enabled active", NETWORKD: "active", NETWORK_MANAGER: ""}
    assert (found.systemd, found.loaded) == (True, True)
    absent = [block(name, load="not-found") for name in (SERVICE, TIMER)]
    assert not read_host(Told(0, "\n\n".join([*absent, block(NETWORKD, "enabled", "active")]))).loaded
    for words, said in (("no bus\n", "no bus"), ("", "exit code 1")):
        with pytest.raises(KernelError, match=f"^systemctl show: {said}$"):
            read_host(Told(1, "", words))


@pytest.mark.parametrize("release", ["6.1.0-18-amd64", "4.19.0"])
def test_the_version_of_the_kernel_is_two_numbers(release, monkeypatch):
    monkeypatch.setattr(systemd.os, "uname", lambda: os.uname_result(("Linux", "a", release, "", "")))
    assert read_host(Told()).kernel == tuple(map(int, release.split(".")[:2]))


def test_a_kernel_that_does_not_say_its_version_is_one_that_needs_no_cure(monkeypatch):
    monkeypatch.setattr(systemd.os, "uname", lambda: os.uname_result(("Linux", "a", "custom", "", "")))
    assert read_host(Told()).kernel == (5, 0)


@pytest.mark.parametrize(
    ("written", "units", "loaded", "commands"),
    [
        ([], WHOLE, True, []),
        (["/etc/hosts"], WHOLE, True, []),
        (UNIT_FILES[:1], WHOLE, True, [RELOAD, RESTART]),
        (UNIT_FILES, {}, False, [ENABLE, RESTART]),  # systemd reads what it has never seen without being told
        ([], {SERVICE: "enabled", TIMER: "enabled"}, True, [ENABLE, RESTART]),
        ([], {SERVICE: "", TIMER: "enabled active"}, True, [ENABLE]),
    ],
)
def test_units_are_told_no_more_than_they_need(written, units, loaded, commands):
    told = Told()
    apply_units(written, host(units, loaded), told)
    assert told.lines == commands
    assert [" ".join(words) for words in unit_commands(written, host(units, loaded))] == commands


def test_without_systemd_no_unit_is_missed():
    assert list(unit_commands([], host({}, systemd=False))) == []


@pytest.mark.parametrize(
    ("written", "units", "commands", "again"),
    [
        ([NETWORK_FILE], {NETWORKD: "enabled active"}, ["networkctl reload"], []),
        ([NETWORK_FILE], {NETWORKD: "enabled"}, [], []),
        (
            [NETWORK_MANAGER_FILE],
            {NETWORK_MANAGER: "active"},
            [f"systemctl reload {NETWORK_MANAGER}"],
            [f"systemctl reload {NETWORK_MANAGER}"],
        ),
        ([NETWORK_MANAGER_FILE], {}, [], []),
        (["/etc/hosts"], {NETWORKD: "active", NETWORK_MANAGER: "active"}, [], []),
    ],
)
def test_a_manager_that_is_at_work_reads_its_drop_in(written, units, commands, again):
    told = Told()
    reload_managers(written, host(units), told)
    assert told.lines == commands
    assert [" ".join(words) for words in reload_commands(written, host(units))] == again


def test_an_old_networkctl_that_cannot_reload_is_no_error_and_a_manager_that_will_not_is_one():
    reload_managers([NETWORK_FILE], host({NETWORKD: "active"}), Told(1, "", "Unknown command verb reload."))
    with pytest.raises(KernelError, match=f"^systemctl reload {NETWORK_MANAGER}: no bus$"):
        reload_managers([NETWORK_MANAGER_FILE], host({NETWORK_MANAGER: "active"}), Told(1, "", "no bus\n"))


def test_what_is_there_of_our_units_is_stopped_and_forgotten():
    told = Told()
    stop_units(host({SERVICE: "enabled", NETWORKD: "active"}), told)
    stop_units(host({}), told)
    reload_units(told)
    assert told.lines == [f"systemctl --quiet disable --now {SERVICE}", RELOAD]
    assert managed_units(host()) == [TIMER, SERVICE], "the timer first: it would start the service again"
    with pytest.raises(KernelError, match=r"^systemctl daemon-reload: exit code 4$"):
        reload_units(Told(4))


def test_whoever_holds_the_lock_for_too_long_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0.05)
    with locked(), pytest.raises(
        KernelError, match=r"has held .* for 0\.05 s: is tke-overlay\S*\.service stuck\?"
    ), locked():
        pass
    with locked():
        pass


def test_a_lock_that_cannot_be_opened_is_an_error_that_names_it(root):
    (root / "run").write_text("not a directory")
    with pytest.raises(KernelError, match="cannot be opened"), locked():
        pass


def test_a_host_that_never_was_a_node_has_saved_nothing_and_one_with_half_a_state_says_so(root):
    assert read_saved() is None
    path = root / FLEET_FILE[1:]
    path.parent.mkdir(parents=True)
    path.write_text("a 10.244.0.0/24 10.0.1.1\n")
    with pytest.raises(
        ValidationError, match=rf"the saved state {STATE} of this host is not whole \('node'\): run tke.overlay"
    ):
        read_saved()

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drop-ins and sysctls of a host, and the reload of its network managers."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.state import drop_ins, paths
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import reload_commands, reload_managers
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    NETWORK_FILE,
    NETWORK_MANAGER,
    NETWORK_MANAGER_FILE,
    NETWORKD,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts


def host(units):
    return HostFacts(True, dict(units), True, (6, 1))


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
def test_an_active_manager_reloads_its_drop_in(recorder, written, units, commands, again):
    run = recorder()
    reload_managers(written, host(units), run)
    assert run.lines == commands
    assert [" ".join(words) for words in reload_commands(written, host(units))] == again


def test_a_failed_reload_is_an_error_of_network_manager_only(recorder):
    reload_managers([NETWORK_FILE], host({NETWORKD: "active"}), recorder(1, "", "Unknown command verb reload."))
    with pytest.raises(KernelError, match=f"^systemctl reload {NETWORK_MANAGER}: no bus$"):
        reload_managers([NETWORK_MANAGER_FILE], host({NETWORK_MANAGER: "active"}), recorder(1, "", "no bus\n"))


def systemd(**units):
    return HostFacts(True, {"tke-overlay.service": "", "tke-overlay.timer": "", **units}, False, (6, 1))


@pytest.mark.parametrize(
    ("units", "present", "absent"),
    [
        ({}, set(), {paths.NETWORK_FILE, paths.NETWORKD_FILE, paths.NETWORK_MANAGER_FILE}),
        (
            {paths.NETWORKD: "enabled"},
            {paths.NETWORK_FILE, paths.NETWORKD_FILE},
            {paths.NETWORK_MANAGER_FILE},
        ),
        (
            {paths.NETWORK_MANAGER: "enabled active"},
            {paths.NETWORK_MANAGER_FILE},
            {paths.NETWORK_FILE, paths.NETWORKD_FILE},
        ),
    ],
)
def test_only_existing_managers_get_a_drop_in(units, present, absent):
    texts = drop_ins.drop_ins("tke0", "tke-br0", {"net.ipv4.ip_forward": "1"}, systemd(**units))
    assert {name for name in present if texts[name]} == present
    assert {name for name in absent if not texts[name]} == absent
    assert all("tke0" in texts[name] for name in present - {paths.NETWORKD_FILE})
    link = "[Match]\nOriginalName=tke0\n\n[Link]\nMACAddressPolicy=none\n"
    assert texts[paths.LINK_FILE].endswith(link), "every host has udev"
    assert texts[paths.PROTOCOL_FILE].splitlines()[1:] == ["144 tke"], "every host has iproute2"
    if paths.NETWORK_MANAGER_FILE in present:
        managed = "interface-name:tke0;interface-name:tke-br0\n"
        lines = texts[paths.NETWORK_MANAGER_FILE].splitlines(keepends=True)
        assert {f"unmanaged-devices+={managed}", f"match-device={managed}", "managed=0\n"} <= set(lines)


@pytest.mark.parametrize(
    ("kernel", "found", "limits", "offload"),
    [
        ((4, 18), {1: "128", 2: "512", 3: "1024"}, {1: "5461", 2: "10922", 3: "16384"}, False),
        ((4, 18), {1: "128", 2: "512", 3: "99999"}, {1: "5461", 2: "10922", 3: "99999"}, False),
        ((4, 18), {}, {}, False),
        ((5, 4), {1: "128", 2: "512", 3: "1024"}, {}, False),
        ((5, 8), {}, {}, True),
        ((6, 1), {}, {}, True),
    ],
)
def test_old_kernels_get_larger_tables_and_no_offload(kernel, found, limits, offload):
    host = HostFacts(True, {}, False, kernel)

    def values(keys):
        return {key: found[int(key[-1])] for key in keys if int(key[-1]) in found}

    sysctls = drop_ins.wanted_sysctls("tke0", 5_000, host, values)
    keys = {f"net.ipv4.neigh.default.gc_thresh{number}": value for number, value in limits.items()}
    assert {key: value for key, value in sysctls.items() if "gc_thresh" in key} == keys
    link = drop_ins.drop_ins("tke0", "tke-br0", sysctls, host)[paths.LINK_FILE]
    assert ("TransmitChecksumOffload=no" in link) is not offload

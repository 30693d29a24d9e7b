# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drop-ins and sysctls of a host, and the reload of its network managers."""

from __future__ import annotations

import fnmatch
import re

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.state import drop_ins, paths
from ansible_collections.tke.overlay.plugins.module_utils._host.state.drop_ins import reload_commands, reload_managers
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    NETWORK_FILE,
    NETWORK_MANAGER,
    NETWORK_MANAGER_FILE,
    NETWORKD,
    WIREGUARD_UNIT_FILE,
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
        ([WIREGUARD_UNIT_FILE], {}, ["systemctl daemon-reload"], ["systemctl daemon-reload"]),
    ],
)
def test_an_active_manager_reloads_its_drop_in(recorder, written, units, commands, again):
    run = recorder()
    reload_managers(written, host(units), run)
    assert run.lines == commands
    assert [" ".join(words) for words in reload_commands(written, host(units))] == again


def test_a_new_node_reads_its_units_when_they_are_enabled():
    assert list(reload_commands([WIREGUARD_UNIT_FILE], host({})._replace(loaded=False))) == []


def test_a_failed_reload_is_an_error_of_network_manager_only(recorder):
    reload_managers([NETWORK_FILE], host({NETWORKD: "active"}), recorder(1, "", "Unknown command verb reload."))
    with pytest.raises(KernelError, match=f"^systemctl reload {NETWORK_MANAGER}: no bus$"):
        reload_managers([NETWORK_MANAGER_FILE], host({NETWORK_MANAGER: "active"}), recorder(1, "", "no bus\n"))


def systemd(**units):
    return HostFacts(True, {"tke-overlay.service": "", "tke-overlay.timer": "", **units}, False, (6, 1))


def texts(**units):
    return drop_ins.drop_ins("tke0", "tke-br0", {"net.ipv4.ip_forward": "1"}, systemd(**units))


@pytest.mark.parametrize(
    "units", [{}, {paths.NETWORKD: "enabled"}, {paths.NETWORK_MANAGER: "enabled active"}, None], ids=str
)
def test_every_host_has_every_drop_in(units):
    """A manager that is enabled later must find them; nothing else writes them."""
    host = HostFacts(False, {}, False, (6, 1)) if units is None else systemd(**units)
    found = drop_ins.drop_ins("tke0", "tke-br0", {"net.ipv4.ip_forward": "1"}, host)
    assert set(found) == set(paths.DROP_INS)
    assert all(found.values())
    assert found == texts()


def test_each_drop_in_names_what_it_is_about():
    found = texts()
    assert found[paths.LINK_FILE].endswith("[Match]\nOriginalName=tke0\n\n[Link]\nMACAddressPolicy=none\n")
    assert found[paths.MODULES_FILE].splitlines()[1:] == ["br_netfilter"]
    managed = "interface-name:tke0;interface-name:tke-br0;interface-name:veth????????\n"
    lines = found[paths.NETWORK_MANAGER_FILE].splitlines(keepends=True)
    assert {f"unmanaged-devices+={managed}", f"match-device={managed}", "managed=0\n"} <= set(lines)


def test_drop_ins_without_pods_are_about_the_device_alone():
    sysctls = drop_ins.wanted_sysctls("tke0", "", 5, systemd(), dict)
    assert sysctls == {"net/ipv4/conf/tke0/rp_filter": "2"}
    found = drop_ins.drop_ins("tke0", "", sysctls, systemd())
    assert [path for path, text in found.items() if text is None] == [paths.MODULES_FILE]
    assert set(found) == set(paths.DROP_INS)
    lines = "".join(text or "" for text in found.values()).splitlines()
    for line in ("Name=tke0 tke-alt", "unmanaged-devices+=interface-name:tke0", "match-device=interface-name:tke0"):
        assert line in lines


@pytest.mark.parametrize(
    ("link", "unmanaged"),
    [
        ("tke0", True),
        ("tke-br0", True),
        ("tke-alt", True),
        ("veth78ba4eea", True),
        ("eth0", False),
        ("veth0", False),
        ("veth-uplink", False),
        ("veth78ba4ee", False),
        ("vethabcdefgh", False),
    ],
)
def test_networkd_ignores_the_links_of_pods_and_no_others(link, unmanaged):
    """networkd matches names as fnmatch(3) does; the names of Docker's links have seven digits."""
    (names,) = re.findall(r"^Name=(.*)$", texts()[paths.NETWORK_FILE], re.MULTILINE)
    assert any(fnmatch.fnmatchcase(link, pattern) for pattern in names.split()) is unmanaged


@pytest.mark.parametrize("catch_all", ["00-zz.network", "05-all.network", "10-netplan-all.network", "99-all.network"])
def test_its_files_precede_those_that_match_every_link(catch_all):
    for path in (paths.NETWORK_FILE, paths.LINK_FILE):
        assert path.rpartition("/")[2] < catch_all


def test_sysctls_are_those_of_the_links_and_of_bridge_netfilter():
    host = systemd()
    keys = {
        "net.ipv4.ip_forward": "1",
        "net/ipv4/conf/tke0/rp_filter": "2",
        "net/ipv4/conf/tke0/forwarding": "1",
        "net/ipv4/conf/tke-br0/forwarding": "1",
    }
    bridge = dict.fromkeys(["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"], "1")
    assert drop_ins.wanted_sysctls("tke0", "tke-br0", 5, host, dict) == {**keys, **bridge}
    without = host._replace(bridge_netfilter=False)
    assert drop_ins.wanted_sysctls("tke0", "tke-br0", 5, without, dict) == keys


def test_sysctls_of_a_missing_link_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PROC_SYS", str(tmp_path))
    sysctls = {"net.ipv4.ip_forward": "1", "net/ipv4/conf/tke-br0/forwarding": "1", "net/ipv4/conf/tke0/rp_filter": "2"}
    left = drop_ins.without_missing("tke-br0", sysctls)
    assert left == {"net.ipv4.ip_forward": "1", "net/ipv4/conf/tke0/rp_filter": "2"}
    (tmp_path / "net/ipv4/conf/tke-br0").mkdir(parents=True)
    assert drop_ins.without_missing("tke-br0", sysctls) == sysctls


def test_the_module_is_loaded_only_if_it_is_missing(recorder, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PROC_SYS", str(tmp_path))
    run, wanted = recorder(), dict.fromkeys(drop_ins.BRIDGE_SYSCTLS, "1")
    drop_ins.load_bridge_netfilter({}, run)
    assert run.lines == [], "the kernel does not have it"
    drop_ins.load_bridge_netfilter(wanted, run)
    assert run.lines == ["modprobe br_netfilter"]
    with pytest.raises(KernelError, match=r"br_netfilter cannot be loaded.*: Operation not permitted$"):
        drop_ins.load_bridge_netfilter(wanted, recorder(1, "", "Operation not permitted\n"))
    (tmp_path / "net/bridge").mkdir(parents=True)
    (tmp_path / "net/bridge/bridge-nf-call-iptables").write_text("0\n")
    drop_ins.load_bridge_netfilter(wanted, run)
    assert run.lines == ["modprobe br_netfilter"]


@pytest.mark.parametrize(
    ("kernel", "peers", "found", "limits", "offload"),
    [
        ((4, 18), 5_000, {1: "128", 2: "512", 3: "1024"}, {1: "5461", 2: "10922", 3: "16384"}, False),
        ((4, 18), 5_000, {1: "128", 2: "512", 3: "99999"}, {1: "5461", 2: "10922", 3: "16384"}, False),
        ((4, 18), 2, {1: "128", 2: "512", 3: "1024"}, {1: "341", 2: "682", 3: "1024"}, False),
        ((4, 18), 5_000, {}, {}, False),
        ((5, 4), 512, {1: "128", 2: "512", 3: "1024"}, {}, False),
        ((5, 4), 513, {1: "128", 2: "512", 3: "1024"}, {1: "682", 2: "1365", 3: "2048"}, False),
        ((5, 8), 5_000, {}, {}, True),
        ((6, 1), 5_000, {1: "128", 2: "512", 3: "1024"}, {1: "5461", 2: "10922", 3: "16384"}, True),
        ((6, 1), 5_000, {1: "8192", 2: "32768", 3: "65536"}, {1: "5461", 2: "10922", 3: "16384"}, True),
        ((6, 1), 200, {1: "128", 2: "512", 3: "1024"}, {}, True),
    ],
)
def test_large_fleets_and_old_kernels_get_larger_tables(kernel, peers, found, limits, offload):
    host = HostFacts(True, {}, False, kernel)

    def values(keys):
        return {key: found[int(key[-1])] for key in keys if int(key[-1]) in found}

    sysctls = drop_ins.wanted_sysctls("tke0", "tke-br0", peers, host, values)
    keys = {f"net.ipv4.neigh.default.gc_thresh{number}": value for number, value in limits.items()}
    assert {key: value for key, value in sysctls.items() if "gc_thresh" in key} == keys
    assert drop_ins.differing_sysctls(values(keys), keys) == {
        key: value for key, value in keys.items() if int(found[int(key[-1])]) < int(value)
    }, "they are only raised"
    files = drop_ins.drop_ins("tke0", "tke-br0", sysctls, host)
    assert "gc_thresh" not in files[paths.SYSCTL_FILE], "it would override what an administrator has set"
    link = files[paths.LINK_FILE]
    assert ("TransmitChecksumOffload=no" in link) is not offload

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""It stays: what the unit's script mends alone, what it says, and what it leaves alone."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.state import drop_ins, lock, paths
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts
from breakages import BREAKAGES, COMBINABLE, OF_LINK, PEERS, broken, document, everything


@pytest.fixture
def host(run, tmp_path, monkeypatch):
    """A host as the module leaves it, with a directory of its own for its files."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    node.converge(document(), run, check=False)
    return tmp_path


def script(host, **environment):
    """A run of the timer: exit code, what it told, what it complained of."""
    done = subprocess.run(
        ["sh", f"{host}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{host}/run/tke-overlay", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


SILENT = (0, "", "")


def test_when_all_is_whole_it_is_silent_and_changes_nothing(run, host):
    before = everything(run)
    assert script(host) == SILENT
    assert everything(run) == before
    assert sorted(path.name for path in (host / "run/tke-overlay").iterdir()) == ["lock", "rules.listing", "rules.nft"]


@pytest.mark.parametrize("line", BREAKAGES)
def test_whatever_is_broken_it_mends_alone_and_says_so_in_one_line(run, host, line):
    whole = everything(run)
    broken(run, line)
    assert everything(run) != whole or "sysctl" in line
    code, told, complaints = script(host)
    assert (code, complaints) == (0, "")
    assert told.startswith("tke-overlay: put back: ")
    assert told.count("\n") == 1
    assert script(host) == SILENT
    mended = everything(run)
    for command, rows in whole.items():
        assert mended[command] == rows or "link del" in line or "remote" in line, "but for the number of a new device"
    assert not node.converge(document(), run, check=True).changed


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(COMBINABLE), min_size=2, max_size=6))
def test_broken_in_many_ways_it_is_whole_after_one_run(run, host, lines):
    for line in lines:
        broken(run, line)
    assert script(host)[::2] == (0, "")
    assert script(host) == SILENT
    assert not node.converge(document(), run, check=True).changed


def test_what_it_says_names_few_and_counts_many(run, host):
    broken(run, "ip route del 10.244.1.0/24")
    broken(run, "ip route del blackhole 10.244.0.0/24 metric 4096")
    broken(run, "ip neigh flush dev tke0 nud permanent")
    told = "route 10.244.1.0/24: missing; route blackhole 10.244.0.0/24: missing; neighbor: 5 missing"
    assert script(host) == (0, f"tke-overlay: put back: {told}\n", "")


def test_in_the_journal_it_has_a_level(run, host):
    broken(run, "ip link set tke0 mtu 1300")
    expected = (0, "<5>tke-overlay: put back: device tke0: it had not mtu 1450\n", "")
    assert script(host, JOURNAL_STREAM="8:1") == expected


def test_after_a_boot_it_makes_all_anew_before_the_underlay_address_is_there(run, host):
    """DHCP may be late: link, entries and routes need not wait for it."""
    whole = everything(run)
    for line in ("link del tke0", "route flush proto 84", "address del 10.0.1.11/24 dev eth0"):
        run(["ip", *line.split()])
    run(["nft", "flush", "ruleset"])
    shutil.rmtree(host / "run")
    code, told, complaints = script(host)
    assert (code, complaints) == (0, "")
    assert "rules: missing; device tke0: it was missing" in told
    run(["ip", "address", "add", "10.0.1.11/24", "dev", "eth0"])
    mended = everything(run)
    for command, rows in whole.items():
        assert mended[command] == rows or "address" in command or "route" in command
    assert script(host) == SILENT
    assert not node.converge(document(), run, check=True).changed


@pytest.mark.parametrize("change", [{"vni": 7}, {"port": 4789}])
def test_a_device_of_ours_with_another_vni_or_port_is_made_anew(run, host, change):
    whole = everything(run)
    run(["ip", "link", "del", "tke0"])
    vni, port = change.get("vni", 1), change.get("port", 8472)
    run(["ip", *f"link add tke0 type vxlan id {vni} dstport {port} local 10.0.1.11 nolearning".split()])
    code, _told, complaints = script(host)
    assert code == 1
    assert "tke0 is a VXLAN link that somebody else has made" in complaints
    run(["ip", "link", "set", "tke0", "alias", "tke.overlay"])
    code, told, complaints = script(host)
    assert (code, complaints) == (0, "")
    assert "it had not" in told
    assert everything(run)["bridge -json fdb show"] == whole["bridge -json fdb show"]
    assert not node.converge(document(), run, check=True).changed


FOREIGN = [
    "bridge fdb add 02:00:00:00:00:01 dev tke0 dst 10.0.1.50 self dynamic",
    "ip neigh add 10.244.77.0 lladdr 02:00:00:00:00:01 dev tke0 nud stale",
    "ip route add 10.99.0.0/16 dev tke0 proto static",
    "ip route add 10.98.0.0/16 via 10.0.1.1 dev eth0 proto 84",
    "ip route add blackhole 10.97.0.0/16 proto 84",
    "ip link add other type vxlan id 99 dstport 4789 local 10.0.1.11 nolearning",
    "nft add table ip theirs",
    "ip rule add from 10.9.0.0/16 lookup 100",
]


def test_what_is_not_ours_it_never_touches(run, host):
    for line in FOREIGN:
        assert run(line.split())[0] == 0, line
    before = everything(run)
    assert script(host) == SILENT
    for line in BREAKAGES:
        if line not in OF_LINK and "flush ruleset" not in line and "flush proto" not in line:
            broken(run, line)
    assert script(host)[0] == 0
    assert everything(run) == before


def test_a_route_of_somebody_else_in_our_place_stays_and_is_complained_of(run, host):
    run(["ip", "route", "del", "10.244.1.0/24"])
    run(["ip", *["route", "add", "10.244.1.0/24", "via", "10.0.1.1", "dev", "eth0", "proto", "static"]])
    run(["ip", "route", "del", "10.244.2.0/24"])
    code, told, complaints = script(host)
    assert code == 1
    assert "10.244.2.0/24: missing" in told
    assert "10.244.1.0/24" not in told
    assert "not ours stands in the place of: route replace 10.244.1.0/24" in complaints
    assert "via 10.0.1.1 dev eth0" in run(["ip", "route", "show", "10.244.1.0/24"])[1]


def test_a_device_of_another_kind_stays_and_is_complained_of(run, host):
    run(["ip", "link", "del", "tke0"])
    run(["ip", "link", "add", "tke0", "type", "bridge"])
    code, _told, complaints = script(host)
    assert code == 1
    assert "tke0 is no VXLAN link" in complaints
    assert "bridge" in run(["ip", "-d", "link", "show", "tke0"])[1]


def test_what_the_kernel_refuses_is_told_in_its_words_and_the_rest_is_mended(run, host):
    batch = host / STATE.lstrip("/") / "route.batch"
    wrong = "route replace 10.244.200.0/24 via 224.0.0.1 dev tke0 onlink proto 84\n"
    batch.write_text("".join(sorted([wrong, *batch.read_text().splitlines(keepends=True)])))
    broken(run, "ip route del 10.244.5.0/24")
    code, told, complaints = script(host)
    assert code == 1
    assert "invalid gateway" in complaints
    assert "10.244.5.0/24" in told
    assert "10.244.5.0/24" in run(["ip", "route"])[1]


def test_it_waits_while_ansible_is_at_work_and_ansible_while_it_is(run, host, monkeypatch):
    whole = everything(run)
    broken(run, "ip route del 10.244.1.0/24")
    with lock.locked():
        waiting = subprocess.Popen(
            ["sh", f"{host}{STATE}/restore"], env={**os.environ, "TKE_OVERLAY_RUN": f"{host}/run/tke-overlay"}
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
    assert waiting.wait(10) == 0
    assert everything(run) == whole
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0)
    with open(host / "run/tke-overlay/lock", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(KernelError, match=r"tke-overlay\.service stuck"):
            node.converge(document(PEERS[:2]), run, check=False)
    assert everything(run) == whole


def test_the_saved_state_is_lines_that_the_tools_take_any_number_of_times(run, host):
    whole = everything(run)
    state = host / STATE.lstrip("/")
    for program, name in (("ip", "neighbor"), ("bridge", "fdb"), ("ip", "route")):
        assert run([program, "-batch", str(state / f"{name}.batch")])[0] == 0
    assert run(["nft", "-f", str(state / "rules.nft")])[0] == 0
    assert everything(run) == whole
    summary = (state / "summary").read_text()
    for words in ("cluster: demo", "node_cidr: 10.244.0.0/24", "peers: 5", "underlay: 10.0.1.11, UDP port 8472, VNI 1"):
        assert words in summary


def systemd(**units):
    return HostFacts(True, {"tke-overlay.service": "", "tke-overlay.timer": "", **units}, False, (6, 1))


@pytest.mark.parametrize(
    ("units", "there", "absent"),
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
def test_only_managers_that_are_there_get_a_drop_in(units, there, absent):
    texts = drop_ins.drop_ins("tke0", "tke-br0", {"net.ipv4.ip_forward": "1"}, systemd(**units))
    assert {name for name in there if texts[name]} == there
    assert {name for name in absent if not texts[name]} == absent
    assert all("tke0" in texts[name] for name in there - {paths.NETWORKD_FILE})
    link = "[Match]\nOriginalName=tke0\n\n[Link]\nMACAddressPolicy=none\n"
    assert texts[paths.LINK_FILE].endswith(link), "udev is on every host"
    if paths.NETWORK_MANAGER_FILE in there:
        managed = "interface-name:tke0;interface-name:tke-br0\n"
        lines = texts[paths.NETWORK_MANAGER_FILE].splitlines(keepends=True)
        assert {f"unmanaged-devices+={managed}", f"match-device={managed}", "managed=0\n"} <= set(lines)


@pytest.mark.parametrize(
    ("kernel", "found", "room", "cure"),
    [
        ((4, 18), {1: "128", 2: "512", 3: "1024"}, {1: "5461", 2: "10922", 3: "16384"}, True),
        ((4, 18), {1: "128", 2: "512", 3: "99999"}, {1: "5461", 2: "10922", 3: "99999"}, True),
        ((4, 18), {}, {}, True),
        ((5, 4), {1: "128", 2: "512", 3: "1024"}, {}, True),
        ((5, 8), {}, {}, False),
        ((6, 1), {}, {}, False),
    ],
)
def test_old_kernels_get_room_for_neighbours_and_the_checksum_cure(kernel, found, room, cure):
    host = HostFacts(True, {}, False, kernel)

    def values(keys):
        return {key: found[int(key[-1])] for key in keys if int(key[-1]) in found}

    sysctls = drop_ins.wanted_sysctls("tke0", 5_000, host, values)
    keys = {f"net.ipv4.neigh.default.gc_thresh{number}": value for number, value in room.items()}
    assert {key: value for key, value in sysctls.items() if "gc_thresh" in key} == keys
    link = drop_ins.drop_ins("tke0", "tke-br0", sysctls, host)[paths.LINK_FILE]
    assert ("TransmitChecksumOffload=no" in link) is cure


def test_taken_out_nothing_of_ours_is_left_and_all_else_is_as_before(run, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    run(["ip", "link", "add", "br0", "type", "bridge"])
    for line in FOREIGN[3:]:
        run(line.split())
    before = everything(run)
    node.converge(document(), run, check=False)
    run(["ip", "link", "add", "tke-br0", "type", "bridge"])
    forecast = list(reset.remove("tke0", "tke-br0", run, check=True).diffs())
    assert everything(run) != before
    assert list(reset.remove("tke0", "tke-br0", run, check=False).diffs()) == forecast
    assert {diff.name for diff in forecast} == {"link", "route", "rules", "files"}
    assert everything(run) == before
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "run/tke-overlay/lock"]
    assert not any(reset.remove("tke0", "tke-br0", run, check=False).diffs())
    node.converge(document(), run, check=False)
    assert not node.converge(document(), run, check=False).changed


def test_a_pod_bridge_with_pods_stays_and_is_told(run, host):
    for line in ("add tke-br0 type bridge", "add veth1 type veth peer name veth2", "set veth1 master tke-br0"):
        run(["ip", "link", *line.split()])
    remains = reset.remove("other", "other", run, check=False)
    assert "tke-br0 stays, because 1 Pods are on it: veth1" in remains.warnings[0]
    links = run(["ip", "-br", "link"])[1]
    assert "tke-br0" in links
    assert "tke0" not in links.replace("tke-br0", "")

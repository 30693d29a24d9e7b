# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The restore script: what it corrects, what it reports, and what it does not change."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset, status
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import read_status
from ansible_collections.tke.overlay.plugins.module_utils._host.state import lock
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from breakages import BREAKAGES, COMBINABLE, KINDS, OF_LINK, PEERS, broken, document, everything


@pytest.fixture
def host(run, tmp_path, monkeypatch):
    """A configured host, with its own directory for its files."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    node.converge(document(), run, check=False)
    return tmp_path


def script(host, **environment):
    """Run the script as the timer does; return exit code, reported changes and errors."""
    done = subprocess.run(
        ["sh", f"{host}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{host}/run/tke-overlay", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


SILENT = (0, "", "")


def test_without_differences_it_prints_and_changes_nothing(run, host):
    before = everything(run)
    assert script(host) == SILENT
    assert everything(run) == before
    assert sorted(path.name for path in (host / "run/tke-overlay").iterdir()) == ["lock", "rules.listing", "rules.nft"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_breakage_is_corrected_and_reported_in_one_line(run, host, kind):
    for line in KINDS[kind]:
        intact = everything(run)
        broken(run, line)
        assert everything(run) != intact or "sysctl" in line, line
        code, reported, errors = script(host)
        assert (code, errors) == (0, ""), line
        assert reported.startswith("tke-overlay: restored: "), line
        assert reported.count("\n") == 1, line
        assert script(host) == SILENT, line
        restored = everything(run)
        for command, rows in intact.items():
            new_device = "link del" in line or "remote" in line
            assert restored[command] == rows or new_device, f"{line}: except the number of a new device"
        assert not node.converge(document(), run, check=True).changed, line


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(COMBINABLE), min_size=2, max_size=6))
def test_combined_breakages_are_corrected_in_one_run(run, host, lines):
    for line in lines:
        broken(run, line)
    assert script(host)[::2] == (0, "")
    assert script(host) == SILENT
    assert not node.converge(document(), run, check=True).changed


def test_few_entries_are_named_and_many_are_counted(run, host):
    broken(run, "ip route del 10.244.1.0/24")
    broken(run, "ip route del blackhole 10.244.0.0/24 metric 4096")
    broken(run, "ip neigh flush dev tke0 nud permanent")
    reported = "route 10.244.1.0/24: missing; route blackhole 10.244.0.0/24: missing; neighbor: 5 missing"
    assert script(host) == (0, f"tke-overlay: restored: {reported}\n", "")


def test_messages_in_the_journal_have_a_level(run, host):
    broken(run, "ip link set tke0 mtu 1300")
    expected = (0, "<5>tke-overlay: restored: device tke0: missing mtu 1450\n", "")
    assert script(host, JOURNAL_STREAM="8:1") == expected


def test_after_a_boot_it_does_not_wait_for_the_underlay_address(run, host):
    """Link, entries and routes do not need the address, which DHCP can provide late."""
    intact = everything(run)
    for line in ("link del tke0", "route flush proto 144", "address del 10.0.1.11/24 dev eth0"):
        run(["ip", *line.split()])
    run(["nft", "flush", "ruleset"])
    shutil.rmtree(host / "run")
    code, reported, errors = script(host)
    assert (code, errors) == (0, "")
    assert "rules: missing; device tke0: missing" in reported
    run(["ip", "address", "add", "10.0.1.11/24", "dev", "eth0"])
    restored = everything(run)
    for command, rows in intact.items():
        assert restored[command] == rows or "address" in command or "route" in command
    assert script(host) == SILENT
    assert not node.converge(document(), run, check=True).changed


@pytest.mark.parametrize("change", [{"vni": 7}, {"port": 4789}])
def test_a_managed_device_with_another_vni_or_port_is_recreated(run, host, change):
    intact = everything(run)
    run(["ip", "link", "del", "tke0"])
    vni, port = change.get("vni", 1), change.get("port", 8472)
    run(["ip", *f"link add tke0 type vxlan id {vni} dstport {port} local 10.0.1.11 nolearning".split()])
    code, _reported, errors = script(host)
    assert code == 1
    assert "tke0 is a VXLAN link that another program has created" in errors
    run(["ip", "link", "set", "tke0", "alias", "tke.overlay"])
    code, reported, errors = script(host)
    assert (code, errors) == (0, "")
    assert "device tke0: missing " in reported
    assert everything(run)["bridge -json fdb show"] == intact["bridge -json fdb show"]
    assert not node.converge(document(), run, check=True).changed


FOREIGN = [
    "bridge fdb add 02:00:00:00:00:01 dev tke0 dst 10.0.1.50 self dynamic",
    "ip neigh add 10.244.77.0 lladdr 02:00:00:00:00:01 dev tke0 nud stale",
    "ip route add 10.99.0.0/16 dev tke0 proto static",
    "ip route add 10.98.0.0/16 via 10.0.1.1 dev eth0 proto 144",
    "ip route add blackhole 10.97.0.0/16 proto 144",
    "ip link add other type vxlan id 99 dstport 4789 local 10.0.1.11 nolearning",
    "nft add table ip other",
    "ip rule add from 10.9.0.0/16 lookup 100",
]


def test_foreign_objects_are_not_changed(run, host):
    for line in FOREIGN:
        assert run(line.split())[0] == 0, line
    before = everything(run)
    assert script(host) == SILENT
    for line in BREAKAGES:
        if line not in OF_LINK and "flush ruleset" not in line and "flush proto" not in line:
            broken(run, line)
    assert script(host)[0] == 0
    assert everything(run) == before


def test_a_conflicting_foreign_route_is_kept_and_reported(run, host):
    run(["ip", "route", "del", "10.244.1.0/24"])
    run(["ip", *["route", "add", "10.244.1.0/24", "via", "10.0.1.1", "dev", "eth0", "proto", "static"]])
    run(["ip", "route", "del", "10.244.2.0/24"])
    code, reported, errors = script(host)
    assert code == 1
    assert "10.244.2.0/24: missing" in reported
    assert "10.244.1.0/24" not in reported
    assert "a foreign route has the destination of: route replace 10.244.1.0/24" in errors
    assert "via 10.0.1.1 dev eth0" in run(["ip", "route", "show", "10.244.1.0/24"])[1]


def test_a_device_of_another_kind_is_kept_and_reported(run, host):
    run(["ip", "link", "del", "tke0"])
    run(["ip", "link", "add", "tke0", "type", "bridge"])
    code, _reported, errors = script(host)
    assert code == 1
    assert "tke0 is not a VXLAN link" in errors
    assert "bridge" in run(["ip", "-d", "link", "show", "tke0"])[1]


def test_a_rejected_entry_is_reported_and_others_are_restored(run, host):
    batch = host / STATE.lstrip("/") / "route.batch"
    wrong = "route replace 10.244.200.0/24 via 224.0.0.1 dev tke0 onlink proto 144\n"
    text = "".join(sorted([wrong, *batch.read_text().splitlines(keepends=True)]))
    sums = batch.with_name("checksums")
    sums.write_text(
        re.sub(
            r"\S+(?=  route.batch$)", hashlib.sha256(text.encode()).hexdigest(), sums.read_text(), flags=re.MULTILINE
        )
    )
    batch.write_text(text)
    broken(run, "ip route del 10.244.5.0/24")
    code, reported, errors = script(host)
    assert code == 1
    assert "invalid gateway" in errors
    assert "10.244.5.0/24" in reported
    assert "10.244.5.0/24" in run(["ip", "route"])[1]


@pytest.mark.parametrize("name", ["route.batch", "fdb.batch", "neighbor.batch", "rules.nft", "sysctl", "link.batch"])
@pytest.mark.parametrize("damage", ["truncate", "cut", "remove"])
def test_a_damaged_file_removes_nothing_and_is_reported(run, host, name, damage):
    intact, path = everything(run), host / STATE[1:] / name
    text = path.read_text()
    if damage == "remove":
        path.unlink()
    else:
        path.write_text("" if damage == "truncate" else text[: len(text) // 2])
    code, reported, errors = script(host)
    assert (code, reported) == (1, "")
    assert f"the saved state is damaged: {host}{STATE} has lost or other content of: {name} ; run" in errors
    assert everything(run) == intact
    assert f"file {STATE}/{name}: {'missing' if damage == 'remove' else 'changed'}" in drift(run)
    broken(run, "ip link set tke0 mtu 1300")
    assert ("missing mtu" in script(host)[1]) == (name != "link.batch"), "the other parts are restored"
    assert path.name in str(node.converge(document(), run, check=False).file_names)
    assert script(host) == SILENT
    assert drift(run) == []


def test_damaged_settings_change_nothing(run, host):
    intact = everything(run)
    (host / STATE[1:] / "settings").write_text("device='tke0\n")
    code, _reported, errors = script(host)
    assert code == 1
    assert "settings ; run tke.overlay.site" in errors
    assert everything(run) == intact
    assert f"file {STATE}/settings: changed" in drift(run)
    node.converge(document(), run, check=False)
    assert script(host) == SILENT


@pytest.mark.parametrize(("found", "after"), [("1024", "2048"), ("2048", "2048"), ("65536", "65536")])
def test_the_limits_of_neighbours_are_only_raised(run, host, tmp_path, found, after):
    """Only the first namespace of a kernel has them, so a directory takes their place."""
    saved = host / STATE[1:] / "sysctl"
    saved.write_text(f"{saved.read_text()}net/ipv4/neigh/default/gc_thresh3 2048\n")
    (host / STATE[1:] / "checksums").unlink()
    limit = tmp_path / "limits/net/ipv4/neigh/default/gc_thresh3"
    limit.parent.mkdir(parents=True)
    limit.write_text(f"{found}\n")
    program = host / STATE[1:] / "restore"
    program.write_text(program.read_text().replace("/proc/sys/$key", f"{tmp_path}/limits/$key"))
    _code, out, _errors = script(host)
    assert limit.read_text() == f"{after}\n"
    assert ("gc_thresh3: was 1024" in out) is (found == "1024"), out


def test_without_checksums_it_restores_and_the_status_names_them(run, host):
    (host / STATE[1:] / "checksums").unlink()
    broken(run, "ip route del 10.244.1.0/24")
    assert script(host) == (0, "tke-overlay: restored: route 10.244.1.0/24: missing\n", "")
    assert drift(run) == [f"file {STATE}/checksums: missing"]


def drift(run):
    return status.read_status(run, document(), [])["drift"]


def test_script_and_module_wait_for_each_other(run, host, monkeypatch):
    intact = everything(run)
    broken(run, "ip route del 10.244.1.0/24")
    with lock.locked():
        waiting = subprocess.Popen(
            ["sh", f"{host}{STATE}/restore"], env={**os.environ, "TKE_OVERLAY_RUN": f"{host}/run/tke-overlay"}
        )
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
    assert waiting.wait(10) == 0
    assert everything(run) == intact
    monkeypatch.setattr(lock, "LOCK_SECONDS", 0)
    with open(host / "run/tke-overlay/lock", "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(KernelError, match=r"tke-overlay\.service stuck"):
            node.converge(document(PEERS[:2]), run, check=False)
    assert everything(run) == intact


def test_the_saved_batches_can_run_again(run, host):
    intact = everything(run)
    state = host / STATE.lstrip("/")
    for program, name in (("ip", "neighbor"), ("bridge", "fdb"), ("ip", "route")):
        assert run([program, "-batch", str(state / f"{name}.batch")])[0] == 0
    assert run(["nft", "-f", str(state / "rules.nft")])[0] == 0
    assert everything(run) == intact
    summary = (state / "summary").read_text()
    for words in ("cluster: demo", "node_cidr: 10.244.0.0/24", "peers: 5", "underlay: 10.0.1.11, UDP port 8472, VNI 1"):
        assert words in summary


def test_reset_removes_everything_managed_and_nothing_else(run, tmp_path, monkeypatch):
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


def test_reset_keeps_links_of_others_with_the_same_names(run, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    for line in ("add vxlan0 type vxlan id 77 dstport 4790 local 10.0.1.11", "add cni0 type bridge"):
        run(["ip", "link", *line.split()])
    run(["ip", "address", "add", "10.42.0.1/24", "dev", "cni0"])
    before = everything(run)
    remains = reset.remove("vxlan0", "cni0", run, check=False)
    assert everything(run) == before
    assert "remove it with 'ip link del cni0'" in remains.warnings[0]
    node.converge(document(bridge="cni0"), run, check=False)
    remains = reset.remove("tke0", "cni0", run, check=False)
    assert "10.42.0.1/24" in run(["ip", "address", "show", "dev", "cni0"])[1]
    assert "of another program: 10.42.0.1 is in no container CIDR" in remains.warnings[0]


def test_reset_removes_its_links_also_without_a_saved_state(run, host):
    run(["ip", "link", "add", "tke-br0", "type", "bridge"])
    shutil.rmtree(host / "etc/tke-overlay")
    run(["ip", "link", "set", "tke0", "alias", ""])  # killed before it had one
    reset.remove("tke0", "tke-br0", run, check=False)
    assert "tke" not in run(["ip", "-br", "link"])[1]


def test_reset_keeps_a_pod_bridge_with_pods_and_warns(run, host):
    for line in ("add tke-br0 type bridge", "add veth1 type veth peer name veth2", "set veth1 master tke-br0"):
        run(["ip", "link", *line.split()])
    remains = reset.remove("other", "other", run, check=False)
    assert "tke-br0 stays, because 1 Pods are on it: veth1" in remains.warnings[0]
    links = run(["ip", "-br", "link"])[1]
    assert "tke-br0" in links
    assert "tke0" not in links.replace("tke-br0", "")


# --- no room ---


@pytest.fixture
def full_run(run, tmp_path, monkeypatch):
    """A configured host whose /run/tke-overlay is a small tmpfs; returns the function that takes its room away."""
    directory = tmp_path / "run/tke-overlay"
    directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,nr_inodes=100", "none", str(directory)], check=True)
    monkeypatch.setattr(files, "ROOT", str(tmp_path))

    def fill(kind, left=0):
        if kind == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
        elif kind == "inodes":
            with contextlib.suppress(OSError):
                for number in range(200):
                    (directory / f"filler{number}").touch()
        else:
            with pytest.raises(OSError, match="No space left"):
                (directory / "filler").write_bytes(bytes(1 << 20))
            os.truncate(directory / "filler", (directory / "filler").stat().st_size - left)

    try:
        node.converge(document(), run, check=False)
        yield fill
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.mark.parametrize("left", [0, 4096, 16384, 49152])
@pytest.mark.parametrize("kind", ["space", "inodes"])
def test_a_full_run_is_named_and_the_network_is_restored(run, full_run, tmp_path, kind, left):
    spare = tmp_path / "spare"
    spare.mkdir()
    full_run(kind, left)
    code, reported, errors = script(tmp_path, TKE_OVERLAY_SPARE=str(spare))
    assert (code, reported) == (1, ""), "nothing differs"
    broken(run, "ip route del 10.244.1.0/24")
    code, reported, errors = script(tmp_path, TKE_OVERLAY_SPARE=str(spare))
    assert (code, reported) == (1, "tke-overlay: restored: route 10.244.1.0/24: missing\n")
    assert f"no room for the files of this script in {tmp_path}/run/tke-overlay: " in errors
    assert "No space left on device" in errors
    assert errors.count("\n") == 1
    assert "another program" not in errors
    assert "foreign" not in errors
    assert list(spare.iterdir()) == []
    assert not node.converge(document(), run, check=True).changed


def test_without_any_room_the_kernel_is_left_alone(run, full_run, tmp_path):
    full_run("space")
    before = everything(run)
    code, reported, errors = script(tmp_path, TKE_OVERLAY_SPARE="/none")
    assert (code, reported) == (1, "")
    assert "No space left on device" in errors
    assert everything(run) == before


@pytest.mark.parametrize(("kind", "words"), [("space", "No space"), ("inodes", "No space"), ("read-only", "Read-only")])
def test_a_change_without_room_names_it_and_changes_nothing(run, full_run, tmp_path, kind, words):
    full_run(kind)
    before = everything(run)
    with pytest.raises(KernelError, match=f"/run/tke-overlay/.* cannot be (written|opened): .*{words}"):
        node.converge(document(mtu=1400), run, check=False)
    assert everything(run) == before
    assert script(tmp_path)[1] == ""


@pytest.mark.parametrize(
    ("kind", "words"), [("space", "0 KiB"), ("inodes", "0 inodes are left"), ("read-only", "is mounted read-only")]
)
def test_status_names_the_missing_room(run, full_run, kind, words):
    assert read_status(run, document(), [])["drift"] == []
    full_run(kind)
    (line,) = read_status(run, document(), [])["drift"]
    assert "/run/tke-overlay" in line
    assert words in line


def test_removes_what_a_killed_run_has_left(run, host):
    left = host / "run/tke-overlay/work.abcdef"
    left.mkdir()
    (left / "link").touch()
    assert script(host) == SILENT
    assert not left.exists()

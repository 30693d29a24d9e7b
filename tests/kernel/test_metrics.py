# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The metrics that the restore script writes, and what happens if it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import read_status
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import MetricsSpec, hangs
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import METRICS_FILES, STATE
from ansible_collections.tke.overlay.plugins.module_utils._metrics import METRICS, NODE, write_bounded
from breakages import broken, document, everything

SITES = {"me": "cloud", "n1": "cloud"}
OPTIONS = node.ConvergeOptions(metrics=MetricsSpec("/metrics", 60, SITES))
FILE = "metrics/tke_overlay_node.prom"
QUIET = (0, "", "")


@pytest.fixture
def host(run, tmp_path, monkeypatch):
    """A configured host that writes metrics, with its own directory for its files."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    (tmp_path / "metrics").mkdir()
    node.converge(document(cluster='de"mo'), run, False, OPTIONS)
    return tmp_path


def script(host, before=(), **options):
    """Run the restore script as the timer does; return exit code, reports and errors."""
    done = subprocess.run(
        [*before, "sh", f"{host}{STATE}/restore"],
        **options,
        env={**os.environ, "TKE_OVERLAY_RUN": f"{host}/run/tke-overlay", "TKE_OVERLAY_ROOT": str(host)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def values(host):
    """Return series -> value of the metrics, without the prefix."""
    lines = (host / FILE).read_text().splitlines()
    pairs = [line.rpartition(" ") for line in lines if not line.startswith("#")]
    return {key.replace("tke_overlay_", "", 1): float(value) for key, _space, value in pairs}


def test_a_quiet_run_writes_all_metrics_and_changes_nothing(run, host):
    before = everything(run)
    (host / "metrics/.tke_overlay_node.prom.0123").write_text("of a run that was killed")
    assert script(host) == QUIET
    assert everything(run) == before
    found = values(host)
    names = {each.name for each in METRICS if each.writer == NODE} - {"wireguard_peers"}
    assert {name.partition("{")[0] for name in found} == names
    assert found["peers"] == 5
    assert found['link_up{device="tke0"}'] == 1
    assert found['link_mtu_bytes{device="tke0"}'] == found['link_expected_mtu_bytes{device="tke0"}'] == 1450
    assert abs(found["restore_last_run_timestamp_seconds"] - time.time()) < 60
    assert abs(found["plan_applied_timestamp_seconds"] - time.time()) < 60
    assert sum(value for name, value in found.items() if name.startswith(("restore_repairs", "restore_drift"))) == 0
    assert any(r'cluster="de\"mo"' in name and 'site="cloud"' in name for name in found)
    assert (host / FILE).stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (host / "metrics").iterdir()] == ["tke_overlay_node.prom"]


def test_without_a_directory_no_file_of_it_exists(run, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    node.converge(document(), run, check=False)
    assert script(tmp_path) == QUIET
    assert files.read_files(METRICS_FILES) == {}


def test_repairs_are_counted_once_per_run_and_last(run, host):
    for _number in range(2):
        broken(run, "ip link set tke0 mtu 1300")
        broken(run, "ip neigh flush dev tke0 nud permanent")
        script(host)
    script(host)
    repairs = {name: value for name, value in values(host).items() if name.startswith("restore_repairs") and value}
    assert repairs == {'restore_repairs_total{object="link"}': 2, 'restore_repairs_total{object="neighbor"}': 2}
    assert values(host)['link_mtu_bytes{device="tke0"}'] == 1450


def test_the_first_run_after_a_boot_repairs_nothing(run, host):
    for path in (host / "run/tke-overlay").iterdir():
        path.unlink()
    run(["ip", "link", "del", "tke0"])
    run(["nft", "delete", "table", "inet", "tke_overlay"])
    assert "device tke0: missing" in script(host)[1]
    assert values(host)['link_up{device="tke0"}'] == 1
    assert sum(value for name, value in values(host).items() if name.startswith("restore_repairs")) == 0
    broken(run, "ip link set tke0 mtu 1300")
    script(host)
    assert values(host)['restore_repairs_total{object="link"}'] == 1


def test_what_cannot_be_repaired_is_drift_until_it_can(run, host):
    broken(run, "ip route del 10.244.1.0/24")
    run(["ip", "route", "add", "10.244.1.0/24", "via", "10.0.1.12"])
    assert script(host)[0] == 1
    assert values(host)['restore_drift{object="route"}'] == 1
    assert values(host)["restore_failed"] == 1
    run(["ip", "route", "del", "10.244.1.0/24"])
    script(host)
    assert values(host)['restore_drift{object="route"}'] == 0
    assert values(host)["restore_failed"] == 0


def test_dropped_packets_are_those_of_the_counters(run, host):
    script(host)
    assert values(host)['dropped_packets_total{reason="unrouted"}'] == 0
    run(["ip", "route", "add", "10.244.77.0/24", "dev", "eth0"])
    subprocess.run(["ping", "-c1", "-W1", "10.244.77.1"], capture_output=True, check=False)
    assert script(host) == QUIET, "the values of the counters are no difference"
    assert values(host)['dropped_packets_total{reason="unrouted"}'] >= 1


def test_a_closed_firewall_is_found_and_ends(run, host):
    text = "table inet f {{\nchain x {{\ntype filter hook forward priority 0; policy drop;\n{}\n}}\n}}\n"
    run(["nft", "-f", "-"], text.format(""))
    script(host)
    assert values(host)['findings{finding="firewall"}'] == 1
    run(["nft", "-f", "-"], "delete table inet f\n" + text.format('iifname "tke-br0" accept'))
    script(host)
    assert values(host)['findings{finding="firewall"}'] == 0


def test_a_missing_cni_file_and_plugin_are_found(run, host):
    script(host)
    assert values(host)['findings{finding="cni_file"}'] == 0
    assert values(host)['findings{finding="plugins"}'] == 0, "no Pods yet"
    (host / "etc/cni/net.d/10-tke-overlay.conflist").unlink()
    (host / "var/lib/kubelet").mkdir(parents=True)
    script(host)
    assert values(host)['findings{finding="cni_file"}'] == 1
    assert values(host)['findings{finding="plugins"}'] == 1


@pytest.mark.parametrize("fault", ["missing", "a file", "full"])
def test_a_failed_writer_is_counted_and_the_network_restored(run, host, fault):
    script(host)
    intact = everything(run)
    broken(run, "ip route del 10.244.1.0/24")
    for path in (host / "metrics").iterdir():
        path.unlink()
    (host / "metrics").rmdir()
    if fault == "a file":
        (host / "metrics").write_text("")
    elif fault == "full":
        (host / "metrics").symlink_to("/proc/self")
    code, reports, errors = script(host)
    assert (code, reports) == (0, "tke-overlay: restored: route 10.244.1.0/24: missing\n")
    assert "overlay_metrics_dir" in errors
    assert everything(run) == intact
    assert script(host) == QUIET, "only the first failure is reported"
    if fault != "missing":
        (host / "metrics").unlink()
    assert any("overlay_metrics_dir" in text for text in read_status(run, None, [])["drift"])
    (host / "metrics").mkdir()
    assert script(host) == QUIET
    assert values(host)["metrics_write_errors_total"] == 2
    assert values(host)['restore_repairs_total{object="route"}'] == 1


# A FUSE file system whose server never answers hangs as NFS does without its server. It exists only for the command.
HANG = """
import ctypes, os, sys
descriptor, directory, *command = sys.argv[1:]
options = f"fd={descriptor},rootmode=40000,user_id=0,group_id=0"
assert ctypes.CDLL(None).mount(b"none", directory.encode(), b"fuse", 0, options.encode()) == 0
os.close(int(descriptor))
os.execvp(command[0], command)
"""


@pytest.fixture
def hanging(host):
    """Arguments before a command that make the directory hang for it; and the descriptor that it needs."""
    server = os.open("/dev/fuse", os.O_RDWR)
    yield ("unshare", "-m", sys.executable, "-c", HANG, str(server), f"{host}/metrics"), server
    os.close(server)


def test_a_hanging_directory_delays_nothing_but_the_metrics(run, host, hanging):
    before, server = hanging
    script(host)
    intact = everything(run)
    (host / "metrics/.tke_overlay_node.prom.killed").write_text("of a writer that was killed")
    broken(run, "ip route del 10.244.1.0/24")
    begin = time.monotonic()
    code, reports, errors = script(host, before, pass_fds=[server])
    assert time.monotonic() - begin < 60
    assert (code, reports) == (0, "tke-overlay: restored: route 10.244.1.0/24: missing\n")
    assert "did not answer" in errors
    assert "overlay_metrics_dir" in errors
    assert everything(run) == intact
    assert script(host) == QUIET
    assert values(host)["metrics_write_errors_total"] == 1
    assert [path.name for path in (host / "metrics").iterdir()] == ["tke_overlay_node.prom"]


def test_there_is_no_second_writer_beside_one_that_hangs(run, host, hanging):
    before, server = hanging
    script(host, before, pass_fds=[server])
    lock = host / "run/tke-overlay/metrics.lock"
    with subprocess.Popen(["sh", "-c", "exec sleep 60 8<$0", lock]) as left:
        while not os.path.exists(f"/proc/{left.pid}/fd/8"):
            pass
        assert script(host) == QUIET, "the failure is known"
        assert not (host / FILE).exists()
        left.kill()
    assert script(host) == QUIET
    assert values(host)["metrics_write_errors_total"] == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (f"from {write_bounded.__module__} import *; write_bounded(directory, 'x', '', lock)", "did not answer"),
        (f"from {hangs.__module__} import *; print(hangs(directory), hangs('/'), hangs('/none'))", "True False False"),
    ],
    ids=["write", "look"],
)
def test_programs_in_python_wait_a_limited_time_as_well(host, hanging, call, words):
    before, server = hanging
    done = subprocess.run(
        [
            *before,
            sys.executable,
            "-c",
            f"import sys; directory, lock = sys.argv[1:]; {call}",
            host / "metrics",
            host / "l",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=[server],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert words in done.stdout + done.stderr


def test_a_damaged_part_of_the_metrics_does_not_stop_the_rest(run, host):
    (host / f"{STATE}/metrics.sh".lstrip("/")).write_text("exit 1")
    broken(run, "ip route del 10.244.1.0/24")
    code, reports, errors = script(host)
    assert "route 10.244.1.0/24: missing" in reports
    assert (code, "metrics.sh" in errors) == (1, True)
    assert not (host / FILE).exists()


def test_a_damaged_saved_state_hides_no_link(run, host):
    with (host / f"{STATE}/link.batch".lstrip("/")).open("a") as stream:
        stream.write("\n")
    assert "damaged" in script(host)[2]
    assert values(host)['link_up{device="tke0"}'] == 1
    assert values(host)['link_mtu_bytes{device="tke0"}'] == 1450


def test_a_table_that_the_kernel_passes_over_closes_nothing(run, host):
    chain = "chain x {\ntype filter hook forward priority 0; policy drop;\n}\n"
    run(["nft", "-f", "-"], f"table inet f {{\nflags dormant;\n{chain}}}\n")
    script(host)
    assert values(host)['findings{finding="firewall"}'] == 0


def test_a_clock_that_went_back_does_not_hide_a_firewall(run, host):
    script(host)
    later = time.time() + 8 * 3600
    os.utime(host / "run/tke-overlay/metrics.firewall", (later, later))
    run(["nft", "-f", "-"], "table inet f {\nchain x {\ntype filter hook forward priority 0; policy drop;\n}\n}\n")
    script(host)
    assert values(host)['findings{finding="firewall"}'] == 1


def test_a_second_run_and_the_status_find_nothing(run, host):
    script(host)
    assert not node.converge(document(cluster='de"mo'), run, True, OPTIONS).changed
    assert read_status(run, {**document(cluster='de"mo'), "former": None}, [])["drift"] == []


@pytest.mark.parametrize("how", ["off", "elsewhere", "reset"])
def test_files_that_are_not_written_any_more_are_removed(run, host, how):
    script(host)
    if how == "reset":
        reset.remove("tke0", "tke-br0", run, check=False)
        assert not (host / "run/tke-overlay/metrics.counters").exists()
    else:
        (host / "other").mkdir()
        options = OPTIONS._replace(metrics=MetricsSpec("/other" if how == "elsewhere" else "", 60, SITES))
        forecast = node.converge(document(cluster='de"mo'), run, True, options)
        assert node.converge(document(cluster='de"mo'), run, False, options).file_names == forecast.file_names
        assert script(host) == QUIET
        assert not node.converge(document(cluster='de"mo'), run, True, options).changed
    assert not (host / FILE).exists()
    assert bool(files.read_files(METRICS_FILES)) == (how == "elsewhere")

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The metrics that the restore script writes, and what happens if it cannot."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node import reset
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import read_status
from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics import MetricsSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import METRICS_FILES, STATE
from ansible_collections.tke.overlay.plugins.module_utils._metrics import METRICS, NODE
from breakages import BREAKAGES, broken, document, everything

SITES = {"me": "cloud", "n1": "cloud"}
OPTIONS = node.ConvergeOptions(metrics=MetricsSpec("/metrics", 60, SITES))
FILE = "metrics/tke_overlay_node.prom"


@pytest.fixture
def host(run, tmp_path, monkeypatch):
    """A configured host that writes metrics, with its own directory for its files."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    (tmp_path / "metrics").mkdir()
    node.converge(document(cluster='de"mo\\'), run, False, OPTIONS)
    return tmp_path


def script(host):
    """Run the restore script as the timer does; return exit code, reports and errors."""
    done = subprocess.run(
        ["sh", f"{host}{STATE}/restore"],
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
    assert script(host) == (0, "", "")
    assert everything(run) == before
    found = values(host)
    assert {name.partition("{")[0] for name in found} == {each.name for each in METRICS if each.writer == NODE}
    assert found["peers"] == 5
    assert found['link_up{device="tke0"}'] == 1
    assert found['link_mtu_bytes{device="tke0"}'] == found['link_expected_mtu_bytes{device="tke0"}'] == 1450
    assert abs(found["restore_last_run_timestamp_seconds"] - time.time()) < 60
    assert sum(value for name, value in found.items() if name.startswith(("restore_repairs", "restore_drift"))) == 0
    assert any(r'cluster="de\"mo\\"' in name and 'site="cloud"' in name for name in found)
    assert (host / FILE).stat().st_mode & 0o777 == 0o644
    assert [path.name for path in (host / "metrics").iterdir()] == ["tke_overlay_node.prom"]


def test_repairs_are_counted_once_per_run_and_survive_the_next_runs(run, host):
    for _number in range(2):
        broken(run, "ip link set tke0 mtu 1300")
        broken(run, "ip neigh flush dev tke0 nud permanent")
        script(host)
    script(host)
    found = values(host)
    repairs = {name: value for name, value in found.items() if name.startswith("restore_repairs_total") and value}
    assert repairs == {
        'restore_repairs_total{object="link"}': 2,
        'restore_repairs_total{object="neighbor"}': 2,
    }
    assert found['link_mtu_bytes{device="tke0"}'] == 1450


def test_what_cannot_be_repaired_is_drift(run, host):
    broken(run, "ip route del 10.244.1.0/24")
    run(["ip", "route", "add", "10.244.1.0/24", "via", "10.0.1.12"])
    assert script(host)[0] == 1
    assert values(host)['restore_drift{object="route"}'] == 1
    assert values(host)["restore_failed"] == 1
    run(["ip", "route", "del", "10.244.1.0/24"])
    script(host)
    assert values(host)['restore_drift{object="route"}'] == 0
    assert values(host)["restore_failed"] == 0


def test_dropped_packets_are_those_of_the_rules(run, host):
    script(host)
    run(["nft", "add", "counter", "inet", "tke_overlay", "extra"])
    listing = run(["nft", "list", "table", "inet", "tke_overlay"])[1]
    text = listing.replace("packets 0 bytes 0", "packets 7 bytes 420", 1)
    run(["nft", "-f", "-"], f"delete table inet tke_overlay\n{text}")
    assert script(host)[0] == 0
    found = values(host)
    assert found['dropped_packets_total{reason="not_a_peer"}'] in (0, 7)
    script(host)
    assert 'dropped_packets_total{reason="unrouted"}' in values(host)


@pytest.mark.parametrize(
    ("finding", "fault", "remedy"),
    [
        ("forwarding", ["sysctl", "-qw", "net.ipv4.conf.default.forwarding=1"], None),
        ("cni_file", ["rm", "etc/cni/net.d/10-tke-overlay.conflist"], ["true"]),
        ("firewall", ["nft", "add table inet f; add chain inet f x { type filter hook forward priority 0; policy drop; }"],
         ["nft", "delete table inet f"]),
    ],
)
def test_findings_are_seen_and_end(run, host, monkeypatch, finding, fault, remedy):
    if remedy is None:
        pytest.skip("the script sets it right")

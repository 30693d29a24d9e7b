# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Faults on real hosts: each raises its alert in time, with the right words, and clears when it is healed."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
import time

import dashboard
import drawn
import pytest
import yaml
from watching import FACTOR, METRICS, SLACK, URL, Fault, Prometheus, Watcher, begin_on_hosts, end_on_hosts, table

from chromium import Chromium
from stories import INVENTORY, NODES, PAIR, ROOT, lab, ledger, on, play, until
from tkelab.model import ROUTER

testinfra_hosts = ["local://"]

COMPLETE = "HEALTH_COMPLETE" in os.environ
"""Set by `make health`: all faults, and an hour without any. Otherwise some faults, and three minutes."""
QUIET = (3600 if COMPLETE else 180) / FACTOR
"""Seconds without a fault and without an alert."""

NO_ENDPOINT = "table ip health_test {{ chain c {{ type filter hook output priority -400; ip daddr {} drop; }}; }}"
HOLE = "table ip health_test {{ chain c {{ type filter hook prerouting priority -400; {} drop; }}; }}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    hosts = yaml.safe_load(INVENTORY.read_text())["all"]["children"]
    groups = [*hosts["overlay_nodes"]["children"].values(), hosts["clb"]]
    targets = {name: each["ansible_host"] for group in groups for name, each in group["hosts"].items()}
    assert set(targets) == {*NODES, *PAIR}
    begin_on_hosts()
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), targets)
    try:
        prometheus.wait(lambda: prometheus.query("up"), 30, "Prometheus answers")
        status(prometheus)
        complete = f"count(tke_overlay_probe_last_run_timestamp_seconds) == {len(NODES)}"
        prometheus.wait(lambda: prometheus.query(complete), 60, "each node has probed")
        prometheus.wait_until_quiet(60)
        yield prometheus
    finally:
        prometheus.stop()
        end_on_hosts()


def status(prometheus, *arguments):
    """Run the playbook status, which writes the metrics of the controller."""
    done = play("tke.overlay.status", "-e", f"overlay_controller_metrics_dir={prometheus.metrics}", *arguments)
    assert done.code == 0, done.text


def full():
    """Return arguments that reserve everything that no node has: then the pool is full."""
    parts = [ipaddress.ip_network(ledger()["container_cidr"][0])]
    for held in ledger()["nodes"].values():
        taken = ipaddress.ip_network(held["node_cidr"])
        parts = [rest for part in parts for rest in (part.address_exclude(taken) if taken.subnet_of(part) else [part])]
    return "-e", json.dumps({"overlay_reserved": [str(part) for part in parts]})


def on_router(*arguments):
    subprocess.run(["ip", "netns", "exec", ROUTER, "nft", *arguments], check=True)


def drop_on_the_line(rule):
    on_router("add table ip health_test; delete table ip health_test; " + HOLE.format(rule))


def heal_the_line():
    on_router("delete", "table", "ip", "health_test")


def heal_the_proxy():
    """Start the proxy, and wait until the VIP is back: its way back is an alert, too."""
    on("clb1", "systemctl start tke-overlay-haproxy")
    until("clb1", f"ip -o -4 address | grep -q ' {ledger()['vips']['apiserver']}/'", 60)


def fill_the_disk():
    """Put the metrics of idc1 on a small disk, fill it, and delete a route: the host must put it back all the same."""
    on("idc1", f"date '+%F %T' >/run/health_test; mount -t tmpfs -o size=64k,mode=755 none {METRICS}")
    until("idc1", f"[ -s {METRICS}/tke_overlay_node.prom ] && [ -s {METRICS}/tke_overlay_probe.prom ]", 30)
    on("idc1", f"! dd if=/dev/zero of={METRICS}/filler bs=1k 2>/dev/null")
    route = on("idc1", "ip -4 route show proto 144 dev tke0").split()[0]
    on("idc1", f"ip route del {route} proto 144")
    until("idc1", f"ip -4 route show proto 144 dev tke0 | grep -qF '{route} '", 30)


def heal_the_disk():
    """Free the disk. The journal of each program has one warning, and not one of each run."""
    on("idc1", f"rm {METRICS}/filler")
    units = "-u tke-overlay.service -u tke-overlay-probe.service"
    warnings = on("idc1", f'journalctl -S "$(cat /run/health_test)" -o cat {units} -g "cannot be written"')
    assert len(warnings.splitlines()) <= 2, warnings
    assert "No space left on device" in warnings


def quick_faults(prometheus):
    """Return faults on different hosts, so that all can be there at the same time."""
    return [
        Fault(
            "the pool is full",
            lambda: status(prometheus, *full()),
            lambda: status(prometheus),
            "TkeOverlayPoolFull",
            ("no node can be added", "Append a container CIDR"),
            minutes=0.5,
        ),
        Fault(
            "a device is deleted",
            lambda: on("cloud1", "ip link delete tke0"),
            None,
            "TkeOverlayRepaired",
            ("cloud1 has repaired its overlay: link", "journalctl"),
            minutes=1,
            clear_minutes=7,
        ),
        Fault(
            "the rules are flushed",
            lambda: on("cloud2", "nft flush ruleset"),
            None,
            "TkeOverlayRepaired",
            ("cloud2 has repaired its overlay: rules", "#the-journal-says-restored-again-and-again"),
            minutes=1,
            clear_minutes=7,
        ),
        Fault(
            "the proxy of a VIP is stopped",
            lambda: on("clb1", "systemctl stop tke-overlay-haproxy"),
            heal_the_proxy,
            "TkeOverlayLoadBalancerPartFails",
            ("Part proxy of the load balancer host clb1", "tke.overlay.site"),
            minutes=3,
            clear_minutes=2,
            follows=("TkeOverlayVipMoved", "TkeOverlayLoadBalancerDegraded"),
        ),
    ]


def slow_faults():
    return [
        Fault(
            "a timer is stopped",
            lambda: on("idc2", "systemctl stop tke-overlay.timer"),
            lambda: on("idc2", "systemctl start tke-overlay.timer"),
            "TkeOverlayRestoreStopped",
            ("idc2 has not compared its overlay for", "systemctl list-timers"),
            minutes=7,
        ),
        Fault(
            "the disk of the metrics is full",
            fill_the_disk,
            heal_the_disk,
            "TkeOverlayRestoreStopped",
            ("idc1 has not compared its overlay for", "journalctl -u tke-overlay.service"),
            minutes=7,
            clear_minutes=17,  # the write errors and the repair are counted as soon as there is room
            follows=("TkeOverlayMetricsNotWritten", "TkeOverlayProbeStopped", "TkeOverlayRepaired"),
        ),
        Fault(
            "a node does not reach the API endpoint",
            lambda: on("cloud2", f"nft '{NO_ENDPOINT.format(ledger()['vips']['apiserver'])}'"),
            lambda: on("cloud2", "nft delete table ip health_test"),
            "TkeOverlayEndpointFails",
            ("cloud2 does not reach the API server: stage tcp fails", "#the-api-server-cannot-be-reached"),
            minutes=4,
            clear_minutes=2,
        ),
        Fault(
            "the line carries packets of 1350 bytes",
            lambda: drop_on_the_line("udp dport 8472 ip length > 1350"),
            heal_the_line,
            "TkeOverlayFullSizePacketsLost",
            ("From cloud to idc, ", "overlay_underlay_mtu", "#ping-works-and-tcp-hangs"),
            minutes=7,
            clear_minutes=2,
        ),
    ]


def cut():
    return [
        Fault(
            "a site is cut off",
            lambda: drop_on_the_line("udp dport 8472"),
            heal_the_line,
            "TkeOverlaySiteUnreachable",
            ("No node of cloud reaches a node of idc", "UDP on overlay_port", "critical"),
            minutes=5,
            clear_minutes=2,
        ),
    ]


def heal(fault, watcher):
    fault.heal()
    watcher.healed[fault.name] = time.monotonic()


def measured(prometheus, faults):
    """Begin all faults, wait for their alerts, heal them, wait until no alert is left, and return the times."""
    begin = time.time()
    with Watcher(prometheus, faults) as watcher:
        try:
            for fault in faults:
                watcher.started[fault.name] = time.monotonic()
                fault.begin()
                watcher.started[fault.name] = time.monotonic()  # a playbook takes its time
            latest = max(fault.minutes for fault in faults) * 60 / FACTOR + SLACK
            watcher.wait_for(watcher.firing, latest)
        finally:
            with contextlib.ExitStack() as healing:  # also if one of them fails
                for fault in reversed(faults):
                    if fault.heal and fault.name in watcher.started:
                        healing.callback(heal, fault, watcher)
        latest = max(fault.clear_minutes for fault in faults) * 60 / FACTOR + SLACK
        watcher.wait_for(watcher.cleared, latest)
    prometheus.wait_until_quiet(latest + SLACK)
    expected = {fault.alert for fault in faults}
    allowed = {name for fault in faults for name in fault.follows}
    assert expected <= prometheus.fired_since(begin) <= expected | allowed
    return watcher.rows()


def test_nothing_fires_while_nothing_is_wrong(watched):
    begin = time.time()
    watched.wait(lambda: time.time() - begin > QUIET or watched.alerts(), QUIET + SLACK, "the quiet time ends")
    assert watched.fired_since(begin) == set()


def test_every_query_of_the_dashboard_has_a_value(watched):
    texts = [text.replace("$job", ".*").replace("$cluster", ".*") for text in dashboard.queries()]
    texts = [text for text in texts if "wireguard" not in text]  # this lab has no encrypted links
    assert [text for text in texts if not watched.query(text)] == []


def test_each_fault_raises_its_alert_which_clears(watched, capsys):
    # The load balancer last: on a busy machine, the VIP may come back late, which is an alert.
    rounds = [*([cut(), slow_faults()] if COMPLETE else []), quick_faults(watched)]
    rows = [row for faults in rounds for row in measured(watched, faults)]
    with capsys.disabled():
        print(f"\n{table(rows)}")
    for row in rows:
        assert row.firing < row.firing_limit, row
        assert row.cleared < row.cleared_limit, row


if COMPLETE:

    def test_every_panel_reads_well_as_it_is_drawn(watched, tmp_path):
        """The picture stays in .cache/dashboard.png, for a look at it."""

        def query(expression):
            expression = expression.replace("$job", ".*").replace("$cluster", ".*")
            times = {"start": time.time() - 300, "end": time.time(), "step": 2}
            return watched.get("query_range", query=expression, **times)["result"]

        text, panels = drawn.page(json.loads(dashboard.text()), query)
        (tmp_path / "dashboard.html").write_text(text)
        with Chromium(tmp_path / "profile") as browser:
            browser.show_as(dashboard.WIDTH * drawn.COLUMN)
            browser.open(tmp_path / "dashboard.html")
            (ROOT / ".cache/dashboard.png").write_bytes(browser.screenshot())
            assert browser.console() == []
        encrypted = {panel.title for row in dashboard.ROWS if row.title == "WireGuard" for panel in row.panels}
        assert {title for title, lines in panels.items() if not lines} == encrypted
        legends = {title: [line.legend for line in lines] for title, lines in panels.items()}
        assert [title for title, texts in legends.items() if len(set(texts)) < len(texts) or not all(texts)] == []

    def test_after_a_reboot_the_metrics_are_back_without_an_alert(watched):
        begin = time.time()
        lab("reboot", "idc2")
        on("idc2", "systemctl start prometheus-node-exporter")
        for name in ("restore", "probe"):
            fresh = f'tke_overlay_{name}_last_run_timestamp_seconds{{instance="idc2"}} > {time.time():.0f}'
            watched.wait(lambda query=fresh: watched.query(query), 60, fresh)
        assert on("idc2", "systemctl is-active tke-overlay.timer tke-overlay-probe.timer").split() == ["active"] * 2
        (repairs,) = watched.query('sum(tke_overlay_restore_repairs_total{instance="idc2"})')
        assert repairs["value"][1] == "0"
        watched.wait_until_quiet(60)
        assert watched.fired_since(begin) <= {"TkeOverlayPeerUnreachable"}, "it was away for minutes in fast motion"


def test_the_report_shows_what_prometheus_has_recorded(watched, tmp_path):
    page = tmp_path / "report.html"
    done = play("tke.overlay.report", "-e", f"overlay_report_dest={page}", "-e", f"overlay_prometheus_url={URL}")
    assert done.code == 0, done.text
    assert "WARNING" not in done.text
    day = json.loads(page.with_suffix(".json").read_text())["past_day"]
    assert day["problem"] is None
    found = {series["name"]: series["points"] for series in day["series"]}
    assert all(found.values()), found
    assert found["reachability"][-1][1] == 100
    assert "The past day" in page.read_text()

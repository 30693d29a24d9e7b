# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A real Prometheus on the controller of the lab, which scrapes node_exporter on every host and on the controller.

All times are divided by :data:`FACTOR`: those of the alert rules, the intervals of the timers on the hosts, and the
intervals of Prometheus. What takes six minutes in production takes 18 s here.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import faster_rules
import monitoring
import yaml

from stories import NODES, PAIR, ROOT, on

FACTOR = 20
SLACK = 12.0
"""Seconds that an alert may be late: two scrapes, two rounds of the timers, and a busy machine."""

URL = "http://127.0.0.1:9090"
METRICS = "/var/lib/prometheus/node-exporter"
UNITS = {"tke-overlay": 1, "tke-overlay-probe": 2, "tke-overlay-clb": 1}
"""Timer -> seconds between two runs."""

EXPORTER = "ARGS='--collector.disable-defaults --collector.stat --collector.netdev --collector.textfile'"
DROP_IN = """[Timer]
OnUnitInactiveSec=
OnActiveSec=1s
OnUnitInactiveSec={}s
RandomizedDelaySec=0
AccuracySec=100ms
"""


def everywhere(script: str, hosts: Sequence[str] = NODES + PAIR) -> None:
    """Run a script on several hosts at once; it must succeed on all."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        list(pool.map(lambda host: on(host, script), hosts))


def begin_on_hosts() -> None:
    """Start node_exporter, and make the timers run more often."""
    lines = [f'echo "{EXPORTER}" >/etc/default/prometheus-node-exporter']
    for unit, seconds in UNITS.items():
        directory = f"/etc/systemd/system/{unit}.timer.d"
        text = DROP_IN.format(seconds).replace("\n", "\\n")
        write = f"mkdir -p {directory}; printf '{text}' >{directory}/fast.conf"
        lines.append(f"if systemctl -q is-active {unit}.timer; then {write}; fi")
    lines += ["systemctl daemon-reload", "systemctl restart prometheus-node-exporter 'tke-overlay*.timer'"]
    everywhere("\n".join(["set -e", *lines]))


def end_on_hosts() -> None:
    """Undo :func:`begin_on_hosts`."""
    everywhere(
        f"while mountpoint -q {METRICS}; do umount -l {METRICS}; done; "
        "rm -f /etc/systemd/system/tke-overlay*.timer.d/fast.conf; systemctl daemon-reload; "
        "systemctl stop prometheus-node-exporter; systemctl restart 'tke-overlay*.timer'"
    )


class Prometheus:
    """The server and the exporter of the controller, as child processes in a directory."""

    def __init__(self, directory: pathlib.Path, targets: dict[str, str]) -> None:
        self.directory = directory
        self.metrics = directory / "controller"
        self.metrics.mkdir()
        (directory / "rules.yml").write_text(faster_rules.faster(monitoring.RULES.read_text(), FACTOR))
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s", "scrape_timeout": "1s"},
            "rule_files": [str(directory / "rules.yml")],
            "scrape_configs": [
                {
                    "job_name": "overlay",
                    "static_configs": [
                        {"targets": [f"{address}:9100"], "labels": {"instance": name}}
                        for name, address in targets.items()
                    ],
                },
                {"job_name": "controller", "static_configs": [{"targets": ["127.0.0.1:9100"]}]},
            ],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        self._processes = [
            self._start(
                "prometheus",
                f"--config.file={directory}/prometheus.yml",
                f"--storage.tsdb.path={directory}/data",
                "--web.listen-address=127.0.0.1:9090",
            ),
            self._start(
                "prometheus-node-exporter",
                "--web.listen-address=127.0.0.1:9100",
                "--collector.disable-defaults",
                "--collector.textfile",
                f"--collector.textfile.directory={self.metrics}",
            ),
        ]

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.directory / f"{command[0]}.log").open("wb") as log:
            return subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, env={**os.environ, "GOMAXPROCS": "1"}, start_new_session=True
            )

    def stop(self) -> None:
        """End both processes."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def get(self, path: str, **fields: Any) -> Any:
        """Return the data of an answer of the API."""
        url = f"{URL}/api/v1/{path}?{urllib.parse.urlencode(fields)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[Any]:
        """Return the samples of a query."""
        result: list[Any] = self.get("query", query=expression)["result"]
        return result

    def alerts(self) -> list[dict[str, Any]]:
        """Return the firing alerts."""
        return [alert for alert in self.get("alerts")["alerts"] if alert["state"] == "firing"]

    def fired_since(self, begin: float) -> set[str]:
        """Return the names of all alerts that have fired since a time, also if they have cleared."""
        seconds = int(time.time() - begin) + 1
        found = self.query(f'max_over_time(ALERTS{{alertstate="firing"}}[{seconds}s])')
        return {sample["metric"]["alertname"] for sample in found}

    def wait(self, condition: Callable[[], Any], seconds: float, what: str) -> float:
        """Wait until a condition holds, and return the seconds it took."""
        begin = time.monotonic()
        while True:
            try:
                if condition():
                    return time.monotonic() - begin
            except OSError:  # it has not started yet
                pass
            assert time.monotonic() - begin < seconds, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.2)

    def wait_until_quiet(self, seconds: float) -> None:
        """Wait until no alert fires."""
        begin = time.monotonic()
        while self.alerts():
            names = [alert["labels"] for alert in self.alerts()]
            assert time.monotonic() - begin < seconds, f"after {seconds:.0f} s, there still is {names}"
            time.sleep(0.2)


class Fault(NamedTuple):
    """A fault, the alert that it raises, and what the alert must say.

    ``minutes`` is the time until the alert fires with the rules of the collection; it is divided by :data:`FACTOR`.
    ``follows`` are the names of alerts that may fire as well.
    """

    name: str
    begin: Callable[[], Any]
    heal: Callable[[], Any] | None  # none: the host repairs it itself
    alert: str
    words: Sequence[str]
    minutes: float
    clear_minutes: float = 1.0
    follows: Sequence[str] = ()

    def is_in(self, alerts: Sequence[dict[str, Any]]) -> bool:
        """Whether one of the firing alerts is that of this fault, with its words."""
        texts = [json.dumps(alert) for alert in alerts if alert["labels"]["alertname"] == self.alert]
        return any(all(word in text for word in self.words) for text in texts)


class Row(NamedTuple):
    """What was measured of one fault: seconds until its alert fired, and until it cleared after the healing."""

    fault: str
    alert: str
    firing: float
    firing_limit: float
    cleared: float
    cleared_limit: float


class Watcher:
    """Notes, in a thread of its own, when the alert of each fault fires and clears (``time.monotonic``)."""

    def __init__(self, prometheus: Prometheus, faults: Sequence[Fault]) -> None:
        self.prometheus, self.faults = prometheus, faults
        self.started: dict[str, float] = {}
        self.firing: dict[str, float] = {}
        self.healed: dict[str, float] = {}
        self.cleared: dict[str, float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            alerts, now = self.prometheus.alerts(), time.monotonic()
            for fault in self.faults:
                if fault.is_in(alerts):
                    self.firing.setdefault(fault.name, now)
                elif fault.name in self.firing and (not fault.heal or fault.name in self.healed):
                    self.cleared.setdefault(fault.name, now)

    def wait_for(self, times: dict[str, float], seconds: float) -> None:
        """Wait until there is a time of each fault."""
        names = [fault.name for fault in self.faults]
        begin = time.monotonic()
        while len(times) < len(names):
            missing = [name for name in names if name not in times]
            assert self._thread.is_alive()
            assert time.monotonic() - begin < seconds, f"not within {seconds:.0f} s: {missing}"
            self._ended.wait(0.2)

    def rows(self) -> list[Row]:
        """Return what was measured. An alert about something that the host repairs clears after it has fired."""
        rows = []
        for fault in self.faults:
            fired = self.firing[fault.name]
            rows.append(
                Row(
                    fault.name,
                    fault.alert,
                    max(0.0, fired - self.started[fault.name]),
                    fault.minutes * 60 / FACTOR + SLACK,
                    self.cleared[fault.name] - self.healed.get(fault.name, fired),
                    fault.clear_minutes * 60 / FACTOR + SLACK,
                )
            )
        return rows


def table(rows: Sequence[Row]) -> str:
    """Return the measured times, here and in production."""
    lines = [f"{'FAULT':<44}{'ALERT':<34}{'FIRING':>8}{'CLEARED':>9}   with the rules as they are"]
    for row in rows:
        minutes = f"{row.firing * FACTOR / 60:.0f} and {row.cleared * FACTOR / 60:.0f} min"
        lines.append(f"{row.fault:<44}{row.alert:<34}{row.firing:>6.1f} s{row.cleared:>7.1f} s   {minutes}")
    return "\n".join(lines)

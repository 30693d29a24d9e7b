# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the metrics of a load balancer host for the textfile collector of node_exporter.

A program of its own on the two hosts of the pair, ``metrics.py`` in
``/etc/tke-overlay/clb``: standard library only, Python 3.8, installed together with
the modules that it imports (``make programs``). The unit that restores the rules runs
it after each of its runs, and passes their result in ``SERVICE_RESULT``.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._metrics import CLB, FILES, Sample, render, write_bounded

UNITS = {
    "health_agent": "tke-overlay-clb-health-agent.service",
    "keepalived": "tke-overlay-keepalived.service",
}
"""Finding -> the unit that must be active."""

ANSWER_SECONDS = 2.0

Backends = t.Dict[t.Tuple[str, str], bool]
"""Backend and server -> whether it is up."""


class ClbMetricsConfig(t.NamedTuple):
    """The directory of the metrics, and the addresses of the VIPs by name."""

    directory: str
    vips: t.Mapping[str, str]


def config_text(config: ClbMetricsConfig) -> str:
    """Return the configuration as the text of a file."""
    vips = "".join(f"vip {name} {address}\n" for name, address in config.vips.items())
    return f"directory {config.directory}\n{vips}"


def parse_config(text: str) -> ClbMetricsConfig:
    """Return the configuration: the inverse of :func:`config_text`. A damaged one has no directory."""
    lines = [line.partition(" ") for line in text.splitlines()]
    directory = next((value for key, _space, value in lines if key == "directory"), "")
    vips = dict(value.split(" ", 1) for key, _space, value in lines if key == "vip" and " " in value)
    return ClbMetricsConfig(directory, vips)


def fetch_backends(path: str) -> Backends | None:
    """Return the servers of HAProxy's backends from its admin socket; ``None`` if it does not answer."""
    received = b""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(path)
            connection.sendall(b"show stat -1 4 -1\n")  # all proxies, servers only
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                received += part
    except OSError:
        return None
    return parse_backends(received.decode("utf-8", "replace"))


def parse_backends(text: str) -> Backends | None:
    """Return the checked servers from HAProxy's statistics, a table of commas; ``None`` if it is something else."""
    header, *rows = text.strip().splitlines() or [""]
    names = header.lstrip("# ").split(",")
    if "status" not in names:
        return None
    number = names.index("status")
    cells = [row.split(",") for row in rows if row]
    states = {(row[0], row[1]): row[number] for row in cells if len(row) > number}
    return {server: state.startswith("UP") for server, state in states.items() if state != "no check"}


def run(*command: str) -> str:
    """Return what a program prints; empty if it cannot run."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5, check=False, encoding="utf-8"
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def clb_samples(config: ClbMetricsConfig, directory: str, restored: bool) -> list[Sample]:
    """Return the metrics of this host.

    :param directory: the directory of sockets, weights and counted changes.
    :param restored: whether the last restoration of the rules succeeded.
    """
    addresses = run("ip", "-o", "-4", "address", "show")
    states = run("systemctl", "is-active", *UNITS.values()).split()
    backends = fetch_backends(os.path.join(directory, "admin.sock"))
    findings = {"proxy": backends is None, "restore": not restored}
    findings.update({name: state != "active" for name, state in zip(UNITS, [*states, "", ""])})
    samples = [Sample("clb_last_run_timestamp_seconds", int(time.time()))]
    for vip, address in config.vips.items():
        labels = {"vip": vip}
        path = os.path.join(directory, vip)
        samples.append(Sample("clb_vip_held", f" {address}/" in addresses, labels))
        samples.append(Sample("clb_vrrp_transitions_total", _size(f"{path}.transitions"), labels))
        weight = _read(path).strip()
        if weight.lstrip("-").isdigit():
            samples.append(Sample("clb_vip_weight", int(weight), labels))
    samples += [
        Sample("clb_backend_up", up, {"backend": backend, "server": server})
        for (backend, server), up in (backends or {}).items()
    ]
    return samples + [Sample("clb_findings", found, {"finding": name}) for name, found in findings.items()]


def _size(path: str) -> int:
    """Return the number of changes: each adds one byte to the file, which needs no lock."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def main(here: str, directory: str) -> None:
    """Write the metrics once.

    :param here: the directory of the file ``metrics``.
    """
    config = parse_config(_read(os.path.join(here, "metrics")))
    restored = os.environ.get("SERVICE_RESULT", "success") == "success"
    marker = os.path.join(directory, "metrics.failed")
    try:
        text = render(clb_samples(config, directory, restored))
        write_bounded(config.directory, FILES[CLB], text, os.path.join(directory, "metrics.lock"))
    except OSError as error:
        if not os.path.exists(marker):  # only the first of several failures is reported
            sys.stderr.write(
                f"<4>the metrics cannot be written to {config.directory} (overlay_metrics_dir): {error.strerror}\n"
            )
        open(marker, "w", encoding="utf-8").close()
    else:
        if os.path.exists(marker):
            os.unlink(marker)


if __name__ == "__main__":
    main(os.path.dirname(os.path.abspath(__file__)), "/run/tke-overlay-clb")

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of a node that the restore script writes for the textfile collector of node_exporter.

The script is a shell script and knows neither names nor help texts of metrics: it reads
them from a file of shell commands, which name the values of its run. A series without a
value is left out.
"""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.state.metrics_spec import MetricsSpec
from ansible_collections.tke.overlay.plugins.module_utils._metrics import (
    DROP_REASONS,
    FILES,
    NODE,
    NODE_FINDINGS,
    OBJECTS,
    PROBE,
    VERSION,
    Sample,
    render,
)

PODS_FINDINGS = ("bridge_netfilter", "cni_file", "firewall", "forwarding", "plugins", "port")
"""The findings that a host without Pods does not have."""


def written_files(directory: str) -> list[str]:
    """Return the paths of the files that a node writes in a directory."""
    return [f"{directory}/{FILES[writer]}" for writer in (NODE, PROBE)] if directory else []


class NodeLabels(t.NamedTuple):
    """The labels of a node, and the links whose state it reports: name -> MTU. Without Pods it has no bridge."""

    cluster: str
    node: str
    node_cidr: str
    site: str
    plan: str
    device: str
    bridge: str
    device_mtu: int
    bridge_mtu: int
    wireguard: t.Sequence[tuple[str, int, int]] = ()  # device, MTU, number of its peers


_VALUE_OF_RUN = re.compile("(.*) @([a-z0-9_]+)")


def metrics_commands(text: str) -> str:
    """Return the text of metrics as shell commands that give it with the values of a run of the script.

    :param text: lines, of which some end with a word such as ``@failed``.
    """
    commands = []
    lines: list[str] = []
    for line in text.splitlines():
        series = _VALUE_OF_RUN.fullmatch(line)
        if series is None:
            lines.append(line)
            continue
        commands += [*_add_lines(lines), f'add_series {shlex.quote(series[1])} "${{value_{series[2]}-}}"\n']
        lines = []
    return "".join([*commands, *_add_lines(lines)])


def _add_lines(lines: t.Sequence[str]) -> list[str]:
    return [f"add_lines {shlex.quote(chr(10).join(lines))}\n"] if lines else []


def node_metrics(labels: NodeLabels, peers: int) -> str:
    """Return the text of the metrics of a node, with words such as ``@failed`` in the place of the values of a run."""
    info = {name: getattr(labels, name) for name in ("cluster", "node", "node_cidr", "site", "plan")}
    samples = [
        Sample("info", 1, {**info, "version": VERSION}),
        Sample("peers", peers),
        Sample("plan_applied_timestamp_seconds", "@applied"),
        Sample("restore_last_run_timestamp_seconds", "@now"),
        Sample("restore_failed", "@failed"),
        Sample("metrics_write_errors_total", "@write_errors"),
    ]
    for name in OBJECTS:
        samples.append(Sample("restore_repairs_total", f"@repairs_{name}", {"object": name}))
        samples.append(Sample("restore_drift", f"@drift_{name}", {"object": name}))
    findings = [name for name in NODE_FINDINGS if labels.bridge or name not in PODS_FINDINGS]
    samples += [Sample("findings", f"@finding_{name}", {"finding": name}) for name in findings]
    samples += [Sample("dropped_packets_total", f"@dropped_{name}", {"reason": name}) for name in DROP_REASONS]
    samples += [Sample("wireguard_peers", number, {"device": name}) for name, _mtu, number in labels.wireguard]
    for link, name, mtu in (
        ("link", labels.device, labels.device_mtu),
        ("bridge", labels.bridge, labels.bridge_mtu),
        *((name.replace("tke-", ""), name, mtu) for name, mtu, _number in labels.wireguard),
    ):
        if name:
            samples.append(Sample("link_up", f"@up_{link}", {"device": name}))
            samples.append(Sample("link_mtu_bytes", f"@mtu_{link}", {"device": name}))
            samples.append(Sample("link_expected_mtu_bytes", mtu, {"device": name}))
    return render(samples)


def script_settings(
    metrics: MetricsSpec, cni_file: str, runtimes: t.Sequence[str], wireguard: t.Sequence[str]
) -> dict[str, str]:
    """Return what the restore script must know to write metrics: lines of the file ``settings``.

    :param runtimes: paths of which one exists on a host that runs Pods.
    :param wireguard: the WireGuard devices.
    """
    return {
        "metrics_dir": metrics.directory,
        "metrics_file": FILES[NODE],
        "objects": " ".join(OBJECTS),
        "cni_file": cni_file,
        "cni_plugins": " ".join(metrics.cni_plugins),
        "cni_dirs": ":".join(metrics.cni_dirs),
        "runtimes": ":".join(runtimes),
        **({"wireguard_devices": " ".join(wireguard)} if wireguard else {}),
    }

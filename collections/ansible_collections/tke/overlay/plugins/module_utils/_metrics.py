# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metrics of the collection: their list, and how they are written for Prometheus.

Alert rules, the dashboard and every program that writes metrics are checked against
:data:`METRICS`. Each writer replaces one file for the textfile collector of
node_exporter, see :data:`FILES`; no metric is in the files of two writers, because the
collector rejects a series that it reads twice.

Text format: https://prometheus.io/docs/instrumenting/exposition_formats/. No series has
a timestamp, which the collector does not accept; its ``node_textfile_mtime_seconds`` is
the age of a file.

This module travels to managed hosts: standard library only, Python 3.8 syntax.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import time
import typing as t

PREFIX = "tke_overlay_"

VERSION = "1.0.0"
"""The version of the collection, for the label ``version``."""

NODE, PROBE, CLB, CONTROLLER = "node", "probe", "clb", "controller"
"""The writers: the restore script of a node, its probe timer, a load balancer host, a playbook on the controller."""

FILES = {
    NODE: "tke_overlay_node.prom",
    PROBE: "tke_overlay_probe.prom",
    CLB: "tke_overlay_clb.prom",
    CONTROLLER: "tke_overlay_controller_{cluster}.prom",
}
"""Writer -> the name of its file in ``overlay_metrics_dir``."""

GAUGE, COUNTER = "gauge", "counter"


class Metric(t.NamedTuple):
    """One metric.

    ``values`` has the possible values of labels that have a fixed set of them. ``unit`` is the base unit that the name
    ends with, empty for a number without one.
    """

    name: str
    type: str
    writer: str
    help: str
    labels: t.Sequence[str] = ()
    values: t.Mapping[str, t.Sequence[str]] = {}
    unit: str = ""


class Sample(t.NamedTuple):
    """One value of a metric. A text as value is written as it is: a placeholder that another program replaces."""

    name: str
    value: float | str
    labels: t.Mapping[str, str] = {}


OBJECTS = (
    "hosts",
    "rules",
    "link",
    "sysctls",
    "wireguard",
    "modules",
    "bridge",
    "route",
    "fdb",
    "neighbor",
    "endpoint_route",
)
"""What the restore script compares and restores: its parts, by the values of the label ``object``."""

NODE_FINDINGS = (
    "bridge_netfilter",
    "cni_file",
    "conntrack",
    "damaged_files",
    "firewall",
    "forwarding",
    "no_room",
    "plugins",
    "port",
)
"""What prevents Pods of a node from talking, as module overlay_info names it, as far as the restore script sees it."""

CLB_FINDINGS = ("proxy", "health_agent", "keepalived", "restore")
"""What is wrong with a load balancer host."""

STAGES = ("name", "route", "tcp", "tls")
"""The stages of the check of the API endpoint that the probe timer makes."""

VIPS = ("apiserver", "services")

POOL_STATES = ("assigned", "free", "quarantined", "pending")
"""The states of the node CIDRs of the pool."""

DROP_REASONS = (
    *("not_a_peer", "to_pods", "from_pods", "inner_source", "forwarded_to_vtep", "unrouted"),
    *("in_clear", "from_clear"),
)
"""The counters of the rules of a node; only rules of links that are encrypted have the last two."""

METRICS = (
    # --- node: written by the restore script, at each run of its timer ---
    Metric(
        "info",
        GAUGE,
        NODE,
        "The node and the plan that it has applied; always 1.",
        ("cluster", "node", "node_cidr", "site", "version", "plan"),
    ),
    Metric(
        "plan_applied_timestamp_seconds",
        GAUGE,
        NODE,
        "When the node saved the plan that it has applied.",
        unit="seconds",
    ),
    Metric("peers", GAUGE, NODE, "Number of peers in the plan of this node."),
    Metric(
        "restore_last_run_timestamp_seconds",
        GAUGE,
        NODE,
        "When the restore script ended its last run.",
        unit="seconds",
    ),
    Metric("restore_failed", GAUGE, NODE, "Whether the last run of the restore script reported an error."),
    Metric(
        "restore_repairs_total",
        COUNTER,
        NODE,
        "Runs of the restore script that repaired this object, since the first run after the boot.",
        ("object",),
        {"object": OBJECTS},
    ),
    Metric(
        "restore_drift",
        GAUGE,
        NODE,
        "Errors of the last run of the restore script at this object: differences that it did not repair.",
        ("object",),
        {"object": OBJECTS},
    ),
    Metric(
        "findings",
        GAUGE,
        NODE,
        "Whether the last run found this obstacle for Pods; tke.overlay.status names its remedy.",
        ("finding",),
        {"finding": NODE_FINDINGS},
    ),
    Metric(
        "dropped_packets_total",
        COUNTER,
        NODE,
        "Packets that the rules of the node dropped, by reason.",
        ("reason",),
        {"reason": DROP_REASONS},
    ),
    Metric(
        "link_up",
        GAUGE,
        NODE,
        "Whether the link exists and is up: the VXLAN link, the Pod bridge, the WireGuard devices.",
        ("device",),
    ),
    Metric("link_mtu_bytes", GAUGE, NODE, "MTU of the link, 0 if it is missing.", ("device",), unit="bytes"),
    Metric("link_expected_mtu_bytes", GAUGE, NODE, "MTU of the link in the plan.", ("device",), unit="bytes"),
    Metric("wireguard_peers", GAUGE, NODE, "Number of peers of the WireGuard device in the plan.", ("device",)),
    Metric(
        "metrics_write_errors_total",
        COUNTER,
        NODE,
        "Runs of the restore script that could not write this file, since the boot.",
    ),
    # --- probe: written by the probe timer ---
    Metric(
        "probe_last_run_timestamp_seconds",
        GAUGE,
        PROBE,
        "When the last round of probes ended.",
        unit="seconds",
    ),
    Metric("probe_peers", GAUGE, PROBE, "Peers that the last round probed, by their site.", ("site",)),
    Metric("probe_known_peers", GAUGE, PROBE, "Peers in the plan, by their site.", ("site",)),
    Metric(
        "probe_reachable_peers", GAUGE, PROBE, "Probed peers that answered a small packet, by their site.", ("site",)
    ),
    Metric(
        "probe_full_size_peers",
        GAUGE,
        PROBE,
        "Probed peers that answered a packet as large as the MTU of the overlay, by their site.",
        ("site",),
    ),
    Metric(
        "probe_round_trip_seconds",
        GAUGE,
        PROBE,
        "Median of the round trips to the peers of a site that answered in the last round.",
        ("site",),
        unit="seconds",
    ),
    Metric("probe_wireguard_peers", GAUGE, PROBE, "Probed peers with a WireGuard link, by their site.", ("site",)),
    Metric(
        "probe_wireguard_living_peers",
        GAUGE,
        PROBE,
        "Probed peers with a WireGuard link whose last handshake is young enough for a session, by their site.",
        ("site",),
    ),
    Metric(
        "probe_wireguard_oldest_handshake_timestamp_seconds",
        GAUGE,
        PROBE,
        "When the last handshake was with that probed peer of the site which has waited longest for one; 0: never.",
        ("site",),
        unit="seconds",
    ),
    Metric(
        "probe_cycle_seconds",
        GAUGE,
        PROBE,
        "Time until the rotating sample has probed every peer once.",
        unit="seconds",
    ),
    Metric(
        "probe_peer_reachable",
        GAUGE,
        PROBE,
        "Whether a peer answered a small packet: each watched peer, and each other peer with a fault.",
        ("peer", "site"),
    ),
    Metric(
        "probe_peer_full_size",
        GAUGE,
        PROBE,
        "Whether a peer answered a packet as large as the MTU of the overlay: the same peers.",
        ("peer", "site"),
    ),
    Metric(
        "probe_peer_round_trip_seconds",
        GAUGE,
        PROBE,
        "Round trip to a peer that answered: the same peers.",
        ("peer", "site"),
        unit="seconds",
    ),
    Metric(
        "endpoint_stage_ok",
        GAUGE,
        PROBE,
        "Whether a stage of the check of the API endpoint passed; a stage after a failed one is missing.",
        ("stage",),
        {"stage": STAGES},
    ),
    Metric(
        "probe_write_errors_total",
        COUNTER,
        PROBE,
        "Rounds of probes that could not write this file, since the boot.",
    ),
    # --- load balancer host: written after each run of the timer of its rules ---
    Metric(
        "clb_last_run_timestamp_seconds",
        GAUGE,
        CLB,
        "When the metrics of the load balancer host were written.",
        unit="seconds",
    ),
    Metric("clb_vip_held", GAUGE, CLB, "Whether this host holds the VIP.", ("vip",), {"vip": VIPS}),
    Metric(
        "clb_vip_weight",
        GAUGE,
        CLB,
        "What the health agent adds to the VRRP priority of the VIP: 0 healthy, -100 degraded, -254 faulty.",
        ("vip",),
        {"vip": VIPS},
    ),
    Metric(
        "clb_vrrp_transitions_total",
        COUNTER,
        CLB,
        "Changes of the VRRP state of the VIP on this host, since the boot.",
        ("vip",),
        {"vip": VIPS},
    ),
    Metric(
        "clb_backend_up",
        GAUGE,
        CLB,
        "Whether the proxy considers a server of a backend up.",
        ("backend", "server"),
    ),
    Metric(
        "clb_findings",
        GAUGE,
        CLB,
        "Whether this part of the load balancer host does not work; tke.overlay.status names what differs.",
        ("finding",),
        {"finding": CLB_FINDINGS},
    ),
    # --- controller: written by the playbooks ---
    Metric(
        "controller_last_run_timestamp_seconds",
        GAUGE,
        CONTROLLER,
        "When the playbook last ended.",
        ("cluster", "playbook"),
        unit="seconds",
    ),
    Metric(
        "hosts_not_reached",
        GAUGE,
        CONTROLLER,
        "Hosts that the last run of the playbook did not reach.",
        ("cluster", "playbook"),
    ),
    Metric(
        "ledger_node_cidrs",
        GAUGE,
        CONTROLLER,
        "Node CIDRs of the container CIDRs, by state.",
        ("cluster", "state"),
        {"state": POOL_STATES},
    ),
    Metric(
        "ledger_capacity_node_cidrs",
        GAUGE,
        CONTROLLER,
        "Node CIDRs that the container CIDRs have for nodes.",
        ("cluster",),
    ),
    Metric(
        "ledger_exhaustion_timestamp_seconds",
        GAUGE,
        CONTROLLER,
        "When the pool will be exhausted, at the rate of the past; missing without growth.",
        ("cluster",),
        unit="seconds",
    ),
    Metric(
        "ledger_pending",
        GAUGE,
        CONTROLLER,
        "Released node CIDRs that some host has not dropped yet.",
        ("cluster",),
    ),
    Metric(
        "ledger_orphans",
        GAUGE,
        CONTROLLER,
        "Nodes of the ledger that are not in the inventory.",
        ("cluster",),
    ),
)
"""Every metric; the names are without :data:`PREFIX`."""

_BY_NAME = {metric.name: metric for metric in METRICS}


def render(samples: t.Iterable[Sample]) -> str:
    """Return samples in the text format, sorted by metric and labels.

    :raises ValueError: a metric is not in the list, has other labels, or has a series twice.
    """
    families: dict[str, dict[str, str]] = {}
    for sample in samples:
        metric = _BY_NAME.get(sample.name)
        if metric is None or set(sample.labels) != set(metric.labels):
            raise ValueError(f"the list of metrics has no {sample.name} with the labels {sorted(sample.labels)}")
        series = f"{PREFIX}{sample.name}{_labels_text(metric, sample.labels)}"
        family = families.setdefault(sample.name, {})
        if series in family:
            raise ValueError(f"{series} was given twice")
        family[series] = _value_text(sample.value)
    return "".join(_family_text(name, families[name]) for name in sorted(families))


def _family_text(name: str, series: t.Mapping[str, str]) -> str:
    metric, full = _BY_NAME[name], PREFIX + name
    lines = [f"# HELP {full} {metric.help}\n# TYPE {full} {metric.type}\n"]
    lines += [f"{each} {series[each]}\n" for each in sorted(series)]
    return "".join(lines)


def _labels_text(metric: Metric, labels: t.Mapping[str, str]) -> str:
    if not metric.labels:
        return ""
    return "{" + ",".join(f'{name}="{escaped(labels[name])}"' for name in metric.labels) + "}"


def escaped(text: str) -> str:
    """Return a label value as it is written between quotes."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _value_text(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else repr(float(value))


ABANDONED_SECONDS = 600
"""The age at which a new file that has not replaced the former one is that of a writer that was killed."""


def write_file(directory: str, name: str, text: str) -> None:
    """Replace a file of metrics in one step: no reader sees a part of it. The directory is not created.

    The directory can belong to another user, such as prometheus, who must neither know the name of the new file before
    it exists nor be able to write it.

    :raises OSError: the file cannot be written; a former version is intact.
    """
    _remove_abandoned(directory, f".{name}.")
    beside = os.path.join(directory, f".{name}.{os.urandom(8).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        with open(descriptor, "w", encoding="utf-8") as stream:
            os.fchmod(descriptor, 0o644)
            stream.write(text)
        os.replace(beside, os.path.join(directory, name))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _remove_abandoned(directory: str, start: str) -> None:
    """Remove the new files of writers that were killed, as far as no writer can still be at work on them."""
    for name in os.listdir(directory):
        if name.startswith(start):
            path = os.path.join(directory, name)
            with contextlib.suppress(OSError):
                if time.time() - os.lstat(path).st_mtime > ABANDONED_SECONDS:
                    os.unlink(path)


ANSWER_SECONDS = 5.0
"""How long to wait for the file system of the directory."""


def write_bounded(directory: str, name: str, text: str, lock: str) -> None:
    """Replace a file as :func:`write_file` does, but do not wait for a file system that hangs.

    Where the writing process cannot be killed, it is left behind with its lock, so there is no second one.

    :param lock: a file in a directory that cannot hang.
    :raises OSError: the file cannot be written, or not in time.
    """
    with open(lock, "w", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OSError(errno.ETIMEDOUT, "a former process still hangs in that directory") from error
        call_bounded(lambda: write_file(directory, name, text))


def call_bounded(work: t.Callable[[], object]) -> None:
    """Call a function in a process of its own, which is killed if it does not end within ANSWER_SECONDS.

    A file system can hang, as NFS does without its server. Where the process cannot be killed either, it stays.

    :raises OSError: the function raised it, or did not end in time.
    """
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        _call_and_exit(work, sender)
    os.close(sender)
    try:
        answered, _writable, _others = select.select([receiver], [], [], ANSWER_SECONDS)
        if not answered:
            os.kill(child, signal.SIGKILL)
            raise OSError(errno.ETIMEDOUT, f"the directory did not answer for {ANSWER_SECONDS:.0f} s")
        number = int(os.read(receiver, 16) or errno.EIO)
    finally:
        os.close(receiver)
    os.waitpid(child, 0)
    if number:
        raise OSError(number, os.strerror(number))


def _call_and_exit(work: t.Callable[[], object], sender: int) -> t.NoReturn:
    """Call the function, send the number of its error, 0 without one, and end this process at once.

    A process that cannot be killed must not keep the output of this one open: SSH would wait for it.
    """
    number = errno.EIO
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nothing, stream)
        work()
        number = 0
    except OSError as error:
        number = error.errno or errno.EIO
    finally:
        os.write(sender, b"%d" % number)
        os._exit(0)

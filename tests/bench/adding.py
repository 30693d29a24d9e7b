# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The cost of adding nodes in seconds, bytes and tasks, compared with a ping of the same hosts."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import NamedTuple

import yaml

from tests.bench import inlab
from tests.bench.report import BenchError, Measure, Section

ABOUT = "adding one node and ten nodes, compared with a ping of all hosts; needs the lab"

ONE = inlab.ROOT / "inventories" / "lab_third_idc" / "hosts.yml"
TEN = inlab.ROOT / "inventories" / "lab_ten_more" / "hosts.yml"
TASKS = 3  # maximum number of executions on a host in one run of the site playbook


class Cost(NamedTuple):
    """The cost of one run of Ansible; ``executions`` are those on the host with most of them."""

    seconds: float
    kilobytes: float
    executions: int
    hosts: int


def run() -> Section:
    """Measure the addition of one node, then of ten. Each is released again, and its host stopped."""
    inlab.require_controller()
    inlab.call("ansible-playbook", "-i", str(inlab.INVENTORY), "tke.overlay.site", seconds=300)
    measures = [row for name, inventory in (("one node", ONE), ("ten nodes", TEN)) for row in _adding(name, inventory)]
    notes = [
        "a ping is `ansible -m ping` on all hosts, new and old, over open connections",
        "bytes are those on the controller's link in both directions, with the overhead of SSH and TCP",
        "the first run on a new host also sends the module, writes files and enables units",
    ]
    return Section(measures, notes)


def _adding(name: str, inventory: Path) -> list[Measure]:
    where = ("-i", str(inlab.INVENTORY), "-i", str(inventory))
    inlab.call(*inlab.LAB, *where, "up", seconds=300)
    try:
        _cost("ansible", *where, "overlay_nodes", "-m", "ping")  # opens the connections
        ping = _cost("ansible", *where, "overlay_nodes", "-m", "ping")
        added = _cost("ansible-playbook", *where, "tke.overlay.site")
        again = _cost("ansible-playbook", *where, "tke.overlay.site")
    finally:
        names = ",".join(_hosts(inventory))
        sure = ("-e", "overlay_release_confirmed=true", "-e", "overlay_release_force=true")
        release = ("tke.overlay.release", "-e", f"overlay_release={names}")
        inlab.call("ansible-playbook", *where, *release, *sure, seconds=300)
        inlab.call(*inlab.LAB, "up", seconds=300)
    return [
        Measure(f"{name}: a ping of {ping.hosts} hosts", ping.seconds, "s", 1),
        Measure(f"{name}: added", added.seconds, "s", 1),
        Measure(f"{name}: added / ping", added.seconds / ping.seconds, "", 2, wanted=1.6),
        Measure(f"{name}: unchanged / ping", again.seconds / ping.seconds, "", 2, wanted=1.25),
        Measure(f"{name}: a ping, for each host", ping.kilobytes / ping.hosts, "kB", 0),
        Measure(f"{name}: added, for each host", added.kilobytes / added.hosts, "kB", 0),
        Measure(f"{name}: executions on a host", added.executions, "", 0, at_most=TASKS),
    ]


def _hosts(inventory: Path) -> list[str]:
    groups = yaml.safe_load(inventory.read_text()).values()
    return [name for group in groups for name in group["hosts"]]


def _cost(*command: str) -> Cost:
    before, start = _bytes(), time.monotonic()
    out = inlab.call(*command, "-vvv", seconds=300)
    seconds, sent = time.monotonic() - start, _bytes() - before
    executions: dict[str, int] = {}
    for address in re.findall(r"^<([0-9.]+)> SSH: EXEC", out, re.MULTILINE):
        executions[address] = executions.get(address, 0) + 1
    if not executions:
        raise BenchError(f"`{inlab.short(command)}` has not connected to any host")
    return Cost(seconds, sent / 1000, max(executions.values()), len(executions))


def _bytes() -> int:
    """Return the number of bytes on the controller's link, in both directions."""
    (line,) = re.findall(r"^\s*eth0:(.*)$", Path("/proc/self/net/dev").read_text(), re.MULTILINE)
    words = line.split()
    return int(words[0]) + int(words[8])

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The controller with up to 5,000 simulated hosts: CPU time, wall time and memory of the playbooks."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.bench import inlab
from tests.bench.report import BenchError, Measure, Section
from tests.bench.simulated_hosts import simulated_hosts
from tkelab import lab

ABOUT = "1,000, 2,000 and 5,000 simulated hosts: the cost of the controller; needs the lab"

SIZES = (1_000, 2_000, 5_000)
HOST = "api1"  # a host of the lab that is not a node: its answers are recorded
ONLY = ("--limit", HOST)
RUNS = ("preflight", "first site", "site", "verify", "status", "report")
MOST_MEMORY = 2048  # MB, of the controller's processes together, with the largest fleet
TOLERANCE = 1.15  # how much more than in proportion the CPU time may grow
SAMPLE_SECONDS = 2.0
CONTAINER_CIDR = "10.64.0.0/11"  # does not overlap the lab's networks
BENCH = Path(__file__).resolve().parent


class Cost(NamedTuple):
    """What a run costs the controller: seconds, and MB of all its processes together at most."""

    wall: float
    cpu: float
    memory: float


class Fleet:
    """A cluster of simulated hosts and one real one, with its inventory and its ledger in a directory."""

    def __init__(self, directory: Path, size: int) -> None:
        self.size = size
        self.directory = directory / str(size)
        self.directory.mkdir()
        self.inventory = self.directory / "hosts.json"
        self.inventory.write_text(json.dumps(inventory(size)))
        self.ledger = self.directory / "ledger.json"
        variables = {
            "overlay_cluster": "bench",
            "overlay_container_cidr": [CONTAINER_CIDR],
            "overlay_ledger": str(self.ledger),
            "overlay_clb_subnet": None,  # section clb measures the load balancer
        }
        self.words = ("-i", str(self.inventory), "-e", json.dumps(variables))
        (self.directory / "group_vars").symlink_to(inlab.INVENTORY.parent / "group_vars")

    def record(self) -> None:
        """Run the playbooks on the real host, over SSH, and keep its answers."""
        (self.directory / "recordings").mkdir()
        env = {
            "RECORDINGS": str(self.directory / "recordings"),
            "ANSIBLE_SSH_EXECUTABLE": str(BENCH / "recording_ssh.py"),
        }
        self._reset()
        for name in ("site", "site", "status", "verify"):
            try:
                inlab.call("ansible-playbook", f"tke.overlay.{name}", *self.words, *ONLY, env=env, seconds=120)
            except BenchError:
                if name != "verify":  # the peers do not exist
                    raise
        self._reset()
        self.ledger.unlink()

    def _reset(self) -> None:
        confirmed = ("-e", "overlay_reset_confirmed=true")
        inlab.call("ansible-playbook", "tke.overlay.reset", *self.words, *ONLY, *confirmed, seconds=120)

    def run(self, name: str) -> Cost:
        """Run a playbook on all hosts."""
        playbook = f"tke.overlay.{name.rpartition(' ')[2]}"
        words = (*self.words, "-e", "ansible_connection=simulated")
        report = ("-e", f"overlay_report_dest={self.directory}/report.html")
        env = {
            "ANSIBLE_CONNECTION_PLUGINS": str(BENCH / "connection"),
            "SIMULATED_HOSTS": str(self.directory / "socket"),
        }
        with open(self.directory / f"{name}.out", "w+b") as output:
            cost, code = measured(["ansible-playbook", playbook, *words, *report], env, output.fileno())
            output.seek(0)
            text = output.read().decode()
        if code:
            raise BenchError(f"{playbook} of {self.size} hosts ended with {code}:\n{text[-2000:]}")
        return cost


def inventory(size: int) -> Mapping[str, object]:
    """Return an inventory of the real host and simulated ones, in two sites."""
    real = {HOST: {"ansible_host": str(lab.current().host(HOST).address)}}
    names = [f"{'idc' if number % 2 else 'cloud'}{number:04}" for number in range(1, size)]
    hosts = {name: {"ansible_host": f"172.16.{number >> 8}.{number & 255}"} for number, name in enumerate(names)}
    sites = {site: {"hosts": {n: v for n, v in hosts.items() if n.startswith(site)}} for site in ("cloud", "idc")}
    sites["cloud"]["hosts"] = {**real, **sites["cloud"]["hosts"]}
    return {"all": {"children": {"overlay_nodes": {"children": sites}}}}


def measured(command: Sequence[str], env: Mapping[str, str], output: int) -> tuple[Cost, int]:
    """Run a command, and return its cost and its exit code."""
    start = time.monotonic()
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **env}, cwd=inlab.ROOT
    )
    most = 0.0
    try:
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)
                break
            most = max(most, sum(memory(each) for each in [process.pid, *children(process.pid)]))
            time.sleep(SAMPLE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    cost = Cost(time.monotonic() - start, usage.ru_utime + usage.ru_stime, most)
    return cost, process.returncode


def children(pid: int) -> Iterator[int]:
    """Yield the child processes of a process."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return
    yield from map(int, found.split())


def memory(pid: int) -> float:
    """Return the MB of a process, with its part of what it shares with others; nothing if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def run() -> Section:
    """Measure one fleet after the other."""
    inlab.require_controller()
    costs: dict[int, dict[str, Cost]] = {}
    with tempfile.TemporaryDirectory(prefix="tke-overlay-bench-") as name:
        for size in SIZES:
            costs[size] = costs_of(Fleet(Path(name), size))
    return Section(
        [*each_run(costs), *growth(costs)],
        [
            f"the real answers of {HOST} to the same modules, over SSH, answered by another process for each host",
            "CPU: user and system time of ansible-playbook and its children, without SSH and the hosts",
            f"memory: proportional set size of all these processes together, every {SAMPLE_SECONDS:.0f} s",
            "ratios: CPU time; in proportion they are 2 and 5",
        ],
    )


def costs_of(fleet: Fleet) -> dict[str, Cost]:
    """Return the cost of each run on a fleet."""
    fleet.record()
    found = {}
    with simulated_hosts(fleet.directory / "recordings", HOST, fleet.directory / "socket"):
        for name in RUNS:
            found[name] = fleet.run(name)
            print(f"  {fleet.size:,} hosts, {name}: {found[name]}", flush=True)
    return found


def each_run(costs: Mapping[int, Mapping[str, Cost]]) -> Iterator[Measure]:
    """Yield the seconds and the memory of each run."""
    largest = max(costs)
    for name in RUNS:
        for size, found in costs.items():
            cost = found[name]
            yield Measure(f"{name}, {size:,} hosts: CPU", cost.cpu, "s", 0)
            yield Measure(f"{name}, {size:,} hosts: wall time", cost.wall, "s", 0)
            limit = MOST_MEMORY if size == largest else None
            yield Measure(f"{name}, {size:,} hosts: memory", cost.memory, "MB", 0, at_most=limit)


def growth(costs: Mapping[int, Mapping[str, Cost]]) -> Iterator[Measure]:
    """Yield how much more CPU time larger fleets need than the smallest."""
    smallest, *larger = costs
    for name in RUNS:
        for size in larger:
            proportion = size / smallest
            ratio = costs[size][name].cpu / costs[smallest][name].cpu
            yield Measure(
                f"{name}: CPU, {size:,} / {smallest:,} hosts",
                ratio,
                digits=2,
                at_most=TOLERANCE * proportion,
                wanted=proportion,
            )

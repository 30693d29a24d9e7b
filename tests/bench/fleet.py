# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The site playbook on many hosts: the duration of a run without changes, and the CPU time of the controller."""

from __future__ import annotations

import functools
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import Pool
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import Ledger, Request
from tests.bench import inlab
from tests.bench.report import BenchError, Measure, Section
from tkelab import lab

ABOUT = "tke.overlay.site on 60 hosts, and with 5,000 peers; needs a lab of 60 nodes (make bench)"

NODES = 60
FEW, MANY = 11, 5_001  # nodes, so 10 and 5,000 peers of each
ROUNDS = 5
ADDITIONS = 3
LOOPED = 40  # entries, for the loop of commands
NOW = "2026-01-01T00:00:00Z"
POOL = Pool(["10.64.0.0/11"], 256, 256)  # does not overlap the lab's networks
CLUSTER = "bench"


class Fleet:
    """Nodes of the lab as a separate cluster, with an inventory and a ledger in a directory of this run."""

    def __init__(self, directory: Path, name: str, hosts: Sequence[str], others: int = 0) -> None:
        self.directory = directory / name
        self.directory.mkdir()
        self.hosts = hosts
        self.inventory = self.directory / "hosts.json"
        addresses = {host: str(lab.current().host(host).address) for host in hosts}
        sites = {
            site: {"hosts": {host: {"ansible_host": addresses[host]} for host in hosts if host.startswith(site)}}
            for site in ("cloud", "idc")
        }
        self.inventory.write_text(json.dumps({"all": {"children": {"overlay_nodes": {"children": sites}}}}))
        (self.directory / "group_vars").symlink_to(inlab.INVENTORY.parent / "group_vars")
        self.ledger = self.directory / "ledger.json"
        self.variables = {
            "overlay_cluster": CLUSTER,
            "overlay_container_cidr": POOL.cidrs,
            "overlay_ledger": str(self.ledger),
            "overlay_clb_subnet": None,  # section clb measures the load balancer
        }
        if others:
            ledger = Ledger(CLUSTER, POOL)
            addresses_of_others = (f"172.16.{number >> 8}.{number & 255}" for number in range(others))
            far = [Request(f"far-{address}", None, address, 1500) for address in addresses_of_others]
            ledger.assign(far, NOW)
            self.ledger.write_text(ledger.text())

    def site(self, *words: str) -> str:
        """Run the playbook and return its output."""
        return self.play("tke.overlay.site", *words)

    def play(self, playbook: str, *words: str) -> str:
        """Run a playbook and return its output."""
        arguments = ("-i", str(self.inventory), "-e", json.dumps(self.variables), *words)
        return inlab.call("ansible-playbook", playbook, *arguments, seconds=900)

    def first_site(self) -> str:
        """Run the playbook on hosts that another fleet has left: with a ledger that does not know them."""
        return self.site("-e", "overlay_renumber=all")

    def unchanged_site(self, *words: str) -> None:
        """Run the playbook, which must not change anything."""
        output = self.site(*words)
        if any(f"changed={number}" in output for number in range(1, 10)):
            raise BenchError("a second run of tke.overlay.site has changed something:\n" + output[-2000:])

    def ping(self) -> None:
        """Run the ping module, the smallest possible run of Ansible, on these hosts."""
        inlab.call("ansible", "-i", str(self.inventory), "overlay_nodes", "-m", "ansible.builtin.ping", seconds=300)


def run() -> Section:
    """Measure one fleet after the other; each takes the hosts over from the previous one."""
    inlab.require_controller()
    nodes = sorted(name for name in lab.current().hosts if name.startswith(("cloud", "idc")))
    if len(nodes) < NODES:
        raise BenchError(f"this lab has {len(nodes)} nodes, and {NODES} are needed: run `make bench`")
    with tempfile.TemporaryDirectory(prefix="tke-overlay-bench-") as name:
        directory = Path(name)
        measures = wall_time(Fleet(directory, "sixty", nodes[:NODES]))
        measures += controller_time(directory, nodes[:FEW])
        measures += loop_of_commands(directory, nodes[0])
    return Section(
        measures,
        [
            f"{NODES} nodes of the lab over SSH, forks as in ansible.cfg; median of {ROUNDS} rounds, in turns in each",
            "hosts and controller share this machine's CPUs, so wall time includes the work of all hosts",
            f"CPU: user and system time of ansible-playbook and its children; {FEW} hosts less one, by {FEW - 1}",
            f"loop of commands: {LOOPED} items of ansible.builtin.command with `bridge fdb replace` on one host",
        ],
    )


def wall_time(fleet: Fleet) -> list[Measure]:
    """Measure a run without changes, and a ping."""
    first = seconds_of(fleet.first_site)
    fleet.unchanged_site()
    rounds = [(seconds_of(fleet.ping), seconds_of(fleet.unchanged_site)) for _round in range(ROUNDS)]
    ratio = statistics.median(site / ping for ping, site in rounds)
    added = [(seconds_of(fleet.ping), added_again(fleet)) for _round in range(ADDITIONS)]
    return [
        Measure(f"{NODES} hosts: first run of site", first, "s", digits=1),
        Measure(f"{NODES} hosts: ansible -m ping", statistics.median(ping for ping, _site in rounds), "s", digits=2),
        Measure(f"{NODES} hosts: site, unchanged", statistics.median(site for _ping, site in rounds), "s", digits=2),
        Measure("site, unchanged / ping", ratio, digits=2, at_most=2.5, wanted=1.25),
        Measure(
            f"site, one node added to {NODES - 1} / ping", statistics.median(b / a for a, b in added), "", 2, wanted=1.6
        ),
    ]


def added_again(fleet: Fleet) -> float:
    """Release the last node, and return the seconds of the run that adds it again."""
    name = fleet.hosts[-1]
    sure = ("-e", f"overlay_release={name}", "-e", "overlay_release_confirmed=true", "-e", "overlay_release_force=true")
    fleet.play("tke.overlay.release", *sure)
    return seconds_of(fleet.site)


def controller_time(directory: Path, hosts: Sequence[str]) -> list[Measure]:
    """Measure the CPU time of the controller per host, with few and with many peers, unchanged and in a first run."""
    per_host, fresh = {}, {}
    for peers, others in ((FEW - 1, 0), (MANY - 1, MANY - FEW)):
        fleet = Fleet(directory, f"peers{peers}", hosts, others)
        fresh[peers] = cpu_of(fleet.first_site)
        only_one = functools.partial(fleet.unchanged_site, "--limit", hosts[0])
        one, all_hosts = [], []
        for _round in range(ROUNDS):
            one.append(cpu_of(only_one))
            all_hosts.append(cpu_of(fleet.unchanged_site))
        per_host[peers] = (statistics.median(all_hosts) - statistics.median(one)) / (len(hosts) - 1)
    few, many = per_host.values()
    return [
        *(Measure(f"controller CPU for a host, {peers:,} peers", value, "s") for peers, value in per_host.items()),
        Measure(f"CPU for a host, {MANY - 1:,} peers / {FEW - 1}", many / few, digits=2, at_most=1.4),
        *(
            Measure(f"CPU of a first run on {FEW} hosts, {n:,} peers", value, "s", digits=1)
            for n, value in fresh.items()
        ),
    ]


def loop_of_commands(directory: Path, host: str) -> list[Measure]:
    """Measure the alternative of a user: a loop with a command for each entry."""
    play = directory / "loop.yml"
    task = {
        "name": "One entry of the FDB",
        "ansible.builtin.command": "bridge fdb replace 0a:58:ac:10:00:01 dev tke0 dst 172.16.0.1 self permanent",
        "loop": list(range(LOOPED)),
    }
    head = {"name": "A loop of commands", "hosts": host, "gather_facts": False}
    play.write_text(json.dumps([head | {"tasks": [task]}]))
    nothing = directory / "nothing.yml"
    nothing.write_text(json.dumps([head | {"tasks": [{"name": "Nothing", "ansible.builtin.ping": None}]}]))

    def playbook(path: Path) -> Callable[[], object]:
        words = ("-i", str(directory / "sixty" / "hosts.json"), str(path))
        return lambda: inlab.call("ansible-playbook", *words, seconds=300)

    each = (seconds_of(playbook(play)) - seconds_of(playbook(nothing))) / (LOOPED - 1)
    return [Measure("a loop of commands, for 5,000 peers of a host (extrapolated)", each * 15_001, "s", digits=0)]


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall time of a call, in seconds."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def cpu_of(work: Callable[[], object]) -> float:
    """Return the user and system CPU time, in seconds, of all child processes of a call."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def inventory() -> str:
    """Return the inventory of further nodes of the lab: with those of inventories/lab, :data:`NODES` of them."""
    each = NODES // 2
    cloud = {f"cloud{number}": {"ansible_host": f"10.0.1.{100 + number}"} for number in range(3, each + 1)}
    idc = {f"idc{number}": {"ansible_host": f"192.168.1.{100 + number}"} for number in range(3, each + 1)}
    return json.dumps({"cloud": {"hosts": cloud}, "idc": {"hosts": idc}}, indent=1)

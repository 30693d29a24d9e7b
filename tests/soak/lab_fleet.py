# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The fleet in the lab: does the operations, and reads what has come of them."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.soak.operations import Kill, Kind, Operation
from tests.soak.tables import Tables
from tests.soak.world import SITES, Machine, World
from tkelab.lab import entrance
from tkelab.model import ROUTER

ROOT = Path(__file__).resolve().parents[2]
LAB = ROOT / "tests/lab/lab"
CALLBACKS = ROOT / "tests/kills/callbacks"
HOST_TABLES = ROOT / "tests/soak/host_tables.py"
HOST_SCRIPTS = ROOT / "tests/soak/host.sh"
LAB_POD = ROOT / "roles/lab_pods/files/lab-pod"
QUICKLY = ("--timeout", "3", "-e", "ansible_control_path=none")
"""Detects a host that is cut off after 3 s: a new connection fails sooner than a kept one."""
CONNECTIONS = "ANSIBLE_SSH_CONTROL_PATH_DIR"
DISCONNECTING = frozenset({Kind.CUT, Kind.HEAL, Kind.CUT_SITE, Kind.HEAL_SITE, Kind.REBOOT, Kind.MOVE})
"""Kinds after which a connection to a host that was kept fails."""
DIVIDED = """
table inet soak {
  chain forward {
    type filter hook forward priority -5;
    iifname "br-idc*" oifname != "br-idc*" drop
    iifname != "br-idc*" oifname "br-idc*" drop
  }
}
"""
TAIL = 3000
"""Characters of the output of a run that went wrong."""
IN_ORDER = re.compile(r"(ok|changed|skipping|included): |\S+ +: ok=.* unreachable=0 +failed=0 ")
SECONDS = 1200
"""A run that takes longer hangs."""
NETWORKS = {"cloud": ("vpc", "10.0"), "idc": ("idc", "192.168")}
"""Site -> how the names and the addresses of its networks in the lab begin. The first ones are those of every lab."""
MOST = 60
"""The machines of the largest fleet."""
RACK = 6
"""Machines of a site in one network.

All hosts of the lab share the kernel's table of neighbours, which has room for 1,024 (`gc_thresh3`), and only the
machine's own network namespace could change that. 60 machines in two networks have 1,800 neighbours.
"""


@dataclasses.dataclass(frozen=True)
class Result:
    """The end of a run of ansible-playbook."""

    code: int
    text: str

    def told(self) -> str:
        """Return the end of the output, without the lines of what was in order: a recap of 60 hosts would fill it."""
        lines = [line for line in self.text.splitlines() if line.strip() and not IN_ORDER.match(line)]
        return "\n".join(lines)[-TAIL:]

    def counted(self, counter: str) -> set[str]:
        """Return the hosts for which a counter of the recap is not 0."""
        return set(re.findall(rf"^(\S+)\s+: ok=.*\b{counter}=[1-9]", self.text, re.MULTILINE))


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the inventories are, and what they contain besides the nodes.

    ``groups`` are further groups, ``arguments`` those of every run.
    """

    directory: Path
    ledger: Path
    groups: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    arguments: Sequence[str] = ()


class RunError(Exception):
    """An operation could not be done at all."""


class LabFleet:
    """Machines of the running lab. Playbooks run on its controller, in whose network this process has to run."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.inventory = place.directory / "hosts.json"
        place.directory.mkdir(parents=True, exist_ok=True)
        variables = place.directory / "group_vars"
        variables.mkdir(exist_ok=True)
        for path in (ROOT / "inventories/lab/group_vars").iterdir():
            if not (variables / path.name).is_symlink():
                (variables / path.name).symlink_to(path)
        (variables / "machines.json").write_text(json.dumps(lab_networks()))

    # --- inventories ---

    def write(self, world: World) -> None:
        """Write the inventory of the nodes."""
        sites: dict[str, Any] = {site: {"hosts": {}} for site in SITES}
        for each in world.members():
            sites[each.site]["hosts"][each.name] = {
                "ansible_host": each.login,
                "overlay_underlay_ip": each.underlay,
                "overlay_underlay_mtu": world.mtu[each.site],
            }
        groups = {"overlay_nodes": {"children": sites}, **self.place.groups}
        self.inventory.write_text(json.dumps({"all": {"children": groups}}, indent=1))

    def build(self, world: World) -> None:
        """Start the machines, and build those again that have moved."""
        path = self.place.directory / "machines.json"
        hosts = {
            each.name: {"ansible_host": each.login, "lab_suite": suite(each.name)} for each in world.machines.values()
        }
        path.write_text(json.dumps({"all": {"children": {"machines": {"hosts": hosts}}}}, indent=1))
        called(str(LAB), "-i", str(path), "up")

    # --- runs ---

    def begin(self, command: Sequence[str], world: World, kill: Kill | None = None) -> Run:
        """Start a playbook."""
        quickly = QUICKLY if any(not world.reachable(each) for each in world.members()) else ()
        arguments = [*self.place.arguments, *quickly]
        return Run(["ansible-playbook", "-i", str(self.inventory), *command, *arguments], kill)

    def play(self, command: Sequence[str], world: World) -> Result:
        """Run a playbook."""
        return self.begin(command, world).ended()

    def ledger(self) -> dict[str, Any]:
        """Return the document of the ledger."""
        document: dict[str, Any] = json.loads(self.place.ledger.read_text())
        return document

    # --- operations ---

    def do(self, operation: Operation, before: World) -> list[Result]:
        """Do an operation; return the ends of its runs."""
        after, during = before.after(operation), before.during(operation)
        for part in operation.parts():
            self._prepare(part, before, during)
        if operation.kind in DISCONNECTING:
            forget_connections()
        runs: list[Result] = []
        if any(command_of(part) for part in operation.parts()):
            self.write(during)
            begun = [self.begin(command_of(part), during, part.kill) for part in operation.parts()]
            runs = [run.ended() for run in begun]
            self.write(after)
        return runs

    def _prepare(self, operation: Operation, before: World, during: World) -> None:
        """Do the part of an operation that is not a playbook."""
        kind, target = operation.kind, operation.target
        if kind in (Kind.CUT, Kind.HEAL):
            called(str(LAB), kind, target)
        elif kind in (Kind.CUT_SITE, Kind.HEAL_SITE):
            divide(kind is Kind.CUT_SITE)
        elif kind is Kind.REBOOT:
            called(str(LAB), "reboot", target)
            self.add_addresses(during[target])
        elif kind is Kind.MOVE:
            self.build(during)
            self.add_addresses(during[target])
        elif kind is Kind.READDRESS:
            self.add_addresses(during[target])
        elif kind in (Kind.STOP_TIMER, Kind.FILL_DISK):
            on(target, HOST_SCRIPTS.read_text(), kind)
        elif kind is Kind.RELEASE and before.reachable(before[target]):
            on(target, "[ ! -x /usr/local/sbin/lab-pod ] || lab-pod del pod-1 pod-2 >/dev/null")  # drained

    def add_addresses(self, machine: Machine) -> None:
        """Give a machine its addresses besides the first one, which a real one would have in its configuration."""
        for address in machine.addresses[machine.site][1:]:
            on(machine.name, f"ip address replace {address}/24 dev eth0")

    def heal(self, world: World) -> None:
        """End all faults that an operation has made and that do not end by themselves."""
        if cut := [each.name for each in world.machines.values() if each.cut]:
            called(str(LAB), "heal", *cut)
        if world.cut_sites:
            divide(False)
        for each in world.machines.values():
            if each.full:
                on(each.name, HOST_SCRIPTS.read_text(), "free-disk")
        forget_connections()

    # --- hosts ---

    def start_pods(self, names: Sequence[str]) -> None:
        """Start two Pods on each of these nodes, as a kubelet does; those that run are kept."""
        script = f"cat >/usr/local/sbin/lab-pod <<'END_OF_LAB_POD'\n{LAB_POD.read_text()}END_OF_LAB_POD\n"
        script += "chmod 755 /usr/local/sbin/lab-pod && lab-pod sync pod-1 pod-2 >/dev/null"
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: on(name, script), names))

    def tables(self, names: Sequence[str]) -> dict[str, Tables]:
        """Return what each host has."""
        program = HOST_TABLES.read_text()

        def of(name: str) -> Tables:
            found: Tables = json.loads(entered(name, ["python3", "-c", program]))
            return found

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return dict(zip(names, pool.map(of, names), strict=True))


class Run:
    """A run of ansible-playbook that may be killed. Its output goes to a file, which survives it."""

    def __init__(self, command: Sequence[str], kill: Kill | None) -> None:
        self.output = tempfile.TemporaryFile()  # noqa: SIM115  # closed in ended()
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment(), **settings_of(kill)},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )

    def ended(self) -> Result:
        """Wait for the end of the run.

        :raises RunError: it does not end.
        """
        with self.output:
            try:
                code = self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                raise RunError(f"{self.process.args!r} did not end within {SECONDS} s") from None
            self.output.seek(0)
            return Result(code, self.output.read().decode("utf-8", "replace"))


def environment() -> dict[str, str]:
    """Return the environment of a run: the configuration of this checkout, and the SSH connections of the lab."""
    others = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MOLECULE_"))}
    own = {CONNECTIONS: os.environ[CONNECTIONS], "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"}
    return {**others, **own}


def settings_of(kill: Kill | None) -> dict[str, str]:
    """Return the environment that kills a run."""
    if kill is None:
        return {}
    return {
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "kill_at",
        "KILL_AT": str(kill.task),
        "KILL_HOW": kill.how,
        "KILL_HOST": kill.host,
        "KILL_DONE": os.devnull,
    }


def command_of(operation: Operation) -> Sequence[str]:
    """Return the playbook that an operation runs, with its arguments; nothing for one that runs none."""
    if operation.kind is Kind.RELEASE:
        return release_of([operation.target])
    played = (Kind.ADD, Kind.READDRESS, Kind.MOVE, Kind.MTU, Kind.CONVERGE)
    return ("tke.overlay.site",) if operation.kind in played else ()


def release_of(names: Sequence[str]) -> Sequence[str]:
    """Return the command that releases some nodes."""
    sure = ("-e", "overlay_release_confirmed=true", "-e", "overlay_release_force=true")
    return ("tke.overlay.release", "-e", f"overlay_release={','.join(names)}", *sure)


def divide(apart: bool) -> None:
    """Let the router drop everything between the data centre and all other networks, or no longer."""
    called("ip", "netns", "exec", ROUTER, "nft", DIVIDED if apart else "delete table inet soak")


def forget_connections() -> None:
    """Let Ansible connect again to every host."""
    for path in Path(os.environ[CONNECTIONS]).glob("*"):
        path.unlink(missing_ok=True)


def suite(name: str) -> str:
    """Return the Debian suite of a machine: a fleet has all of them."""
    number = int(re.sub(r"\D", "", name))
    return {0: "trixie", 3: "bullseye"}.get(number % 6, "bookworm")


def called(*command: str) -> str:
    """Run a command, which must succeed, and return its output.

    :raises RunError: it did not.
    """
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"{' '.join(command)[:200]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def entered(name: str, command: Sequence[str], text: str = "") -> str:
    """Run a command on a host without its network; it must succeed. Return its output.

    :raises RunError: it did not.
    """
    words, variables = entrance(name)
    done = subprocess.run([*words, *command], env=variables, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"on {name}, {' '.join(command)[:80]} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def on(name: str, script: str, *arguments: str) -> str:
    """Run a shell script on a host."""
    return entered(name, ["sh", "-eus", "--", *arguments], script)


def network_of(site: str, number: int) -> tuple[str, str]:
    """Return the name of the network of a machine, and the first three bytes of its addresses."""
    name, prefix = NETWORKS[site]
    rack = (number - 1) // RACK
    return (f"{name}{rack}", f"{prefix}.{10 + rack}") if rack else (name, f"{prefix}.1")


def lab_networks() -> dict[str, Any]:
    """Return the variables of the lab that describe the networks of up to 60 machines, with those of every lab."""
    lab: dict[str, Any] = yaml.safe_load((ROOT / "inventories/lab/group_vars/all/lab.yml").read_text())
    networks, policy = lab["lab_networks"], lab["lab_policy"]
    racks = {
        site: dict(network_of(site, number) for number in range(1, MOST // len(SITES) + 1, RACK)) for site in SITES
    }
    for site, found in racks.items():
        first = networks[NETWORKS[site][0]]
        for name, prefix in found.items():
            networks.setdefault(name, {"subnet": f"{prefix}.0/24", "mtu": first["mtu"]})
    names = {NETWORKS[site][0]: list(found) for site, found in racks.items()}
    for entry in policy:
        for side in ("from", "to"):
            entry[side] = [each for name in entry[side] for each in names.get(name, [name])]
    policy.append({"from": names["idc"], "to": names["idc"]})
    return {"lab_networks": networks, "lab_policy": policy}


def machines(names: Iterator[str] | Sequence[str], login: Mapping[str, str]) -> dict[str, Machine]:
    """Return the machines with these names and first addresses, with a second address, and two in the other site."""
    found = {}
    for name in names:
        site, digits = re.fullmatch(r"([a-z]+)(\d+)", name).groups()  # type: ignore[union-attr]
        number = int(digits)
        other = SITES[1 - SITES.index(site)]
        (_name, here), (_name, there) = network_of(site, number), network_of(other, number)
        addresses = {
            site: (login[name], f"{here}.{180 + number}"),
            other: (f"{there}.{140 + number}", f"{there}.{215 + number}"),
        }
        found[name] = Machine(name, addresses, site)
    return found

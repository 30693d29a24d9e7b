# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Pods of a conformance test: network namespaces that the CNI configuration of this host connects.

There are two, so that one reaches the other on the same node. The second one has a host port, where the configuration
has a plugin for that. In each, the echo responder listens.

What removes them is written before anything is made: a directory below ``/run`` has the script ``pods`` with all that
it needs, and a transient timer of systemd runs it at the deadline, whether the module and the controller live or not.
The next test runs it first. A reboot removes all but leases in a directory that it does not clear; these are released
by the next test, which knows them by the name of the container.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import shutil
import subprocess
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import pod_range
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.cni_chain import CniChain, address_of
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.namespace import NAMESPACES, inside
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.programs import PODS_SH
from ansible_collections.tke.overlay.plugins.module_utils._host.files import PROGRAM_PATH, RUN_DIRECTORY, write_file
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import find_link, read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, error_text
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodNetwork
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.echo_responder import keep_responding
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import PORT
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import names_in

DIRECTORY = f"{RUN_DIRECTORY}/conformance"
UNIT = "tke-overlay-conformance"
"""The transient unit of systemd that removes the Pods at the deadline."""

PREFIX = "tke-conformance-"
"""Begins the names of namespaces and containers."""

NUMBERS = ("1", "2")
"""The Pods. The second one has the host port."""

MIN_FREE = 6
"""Free addresses below which no Pod is started: two for the Pods, and four for those of Kubernetes meanwhile."""

HOST_PORTS = range(28471, 28491)
"""Host ports to choose from: outside of the NodePorts of Kubernetes and of the ephemeral ports of Linux."""

TABLES = ("ip nat", "ip6 nat", "ip cni_hostport", "ip6 cni_hostport", "inet cni_hostport")
"""Tables of nftables that the plugin portmap makes, by itself or through iptables."""

BASE_CHAINS = ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")
"""Those of the table nat of iptables, which makes them when a rule needs them."""


class RunningPod(t.NamedTuple):
    """A Pod that runs."""

    number: str
    namespace: str
    address: str


class PodSet(t.NamedTuple):
    """The Pods of this host, and what does not work already: path -> texts."""

    pods: t.Sequence[RunningPod]
    faults: t.Sequence[str]
    host_port: int | None


class PodPlan(t.NamedTuple):
    """What a start would make: the chain, the host port (``None`` without one), and why there is none."""

    chain: CniChain
    host_port: int | None
    no_port: str
    free: int | None  # addresses, None if the program that assigns them is unknown


class NoRoomError(KernelError):
    """The node CIDR has too few free addresses for a test."""


# --- before ---


def plan_pods(network: PodNetwork, chain: CniChain, run: Run) -> PodPlan:
    """Return what a start would make. Nothing is changed.

    :raises NoRoomError: the node CIDR has too few free addresses.
    :raises KernelError: no host port is free.
    """
    free = _free_addresses(network, chain)
    if free is not None and free < MIN_FREE:
        raise NoRoomError(
            f"{free} of the Pod addresses of {network.node_cidr} are free, and a test needs {MIN_FREE}: two for its "
            f"Pods, and {MIN_FREE - 2} that stay free"
        )
    reason = _no_port_because(chain)
    return PodPlan(chain, None if reason else _free_port(run), reason, free)


def _no_port_because(chain: CniChain) -> str:
    if not chain.with_host_ports:
        return f"no plugin of {chain.path} has the capability portMappings"
    if shutil.which("iptables", path=PROGRAM_PATH) is None:
        return "this host has no iptables, which the plugin portmap needs"
    return ""


def _free_addresses(network: PodNetwork, chain: CniChain) -> int | None:
    """Return how many addresses host-local has left; ``None`` with another program, or for other addresses."""
    subnets = [str(item.get("subnet")) for item in _ranges(chain)]
    if not chain.leases or network.node_cidr not in subnets:
        return None
    first, last = map(ipaddress.IPv4Address, pod_range(network.node_cidr))
    reserved = {
        name for name in names_in(chain.leases) if name.count(".") == 3 and not name.startswith("last_reserved_ip")
    }
    return int(last) - int(first) + 1 - len(reserved)


def _ranges(chain: CniChain) -> t.Iterator[t.Mapping[str, t.Any]]:
    """Yield the ranges of addresses; a plugin may have others in that place."""
    yield chain.ipam
    groups = chain.ipam.get("ranges")
    for group in groups if isinstance(groups, list) else ():
        yield from (each for each in group if isinstance(each, dict)) if isinstance(group, list) else ()


def _free_port(run: Run) -> int:
    """Return the first host port that no socket and no rule uses."""
    _code, sockets, _errors = run(("ss", "-Hltn"), None)
    _code, rules, _errors = run(("nft", "list", "ruleset"), None)
    text = sockets + rules
    for port in HOST_PORTS:
        if str(port) not in text:
            return port
    raise KernelError(f"none of the TCP ports {HOST_PORTS[0]} to {HOST_PORTS[-1]} is free on this host")


# --- start ---


def start_pods(network: PodNetwork, plan: PodPlan, seconds: int, run: Run) -> PodSet:
    """Start the Pods, for so many seconds at most. Leftovers of an earlier test must have been removed.

    A Pod that cannot start is a fault of the result.

    :raises KernelError: what removes the Pods could not be prepared; nothing was made.
    """
    mark = os.urandom(4).hex()
    _prepare(network, plan, mark, run)
    _arm(seconds, run)
    pods, faults = [], []
    for number in NUMBERS:
        try:
            pods.append(_start_pod(number, plan, run))
        except (KernelError, OSError) as error:
            faults.append(f"the Pod did not start: {error}")
            break
    for pod in pods:
        if ipaddress.IPv4Address(pod.address) not in ipaddress.IPv4Network(network.node_cidr):
            faults.append(
                f"the Pod has the address {pod.address}, which is not in the node CIDR {network.node_cidr}: "
                f"the container runtime uses {plan.chain.path}"
            )
        with inside(pod.namespace):
            keep_responding(pod.address, seconds, f"{DIRECTORY}/pod/{pod.number}/responder")
    return PodSet(pods, faults, plan.host_port)


def _prepare(network: PodNetwork, plan: PodPlan, mark: str, run: Run) -> None:
    """Write the script that removes the Pods, what it must know, and what was there before."""
    chain = plan.chain
    texts = {
        "cni-path": ":".join(files.ROOT + each for each in chain.directories),
        "before/leases": chain.leases and files.ROOT + chain.leases,
    }
    if chain.leases:
        for name, directory in (("no-leases", chain.leases), ("no-networks", os.path.dirname(chain.leases))):
            if not os.path.isdir(files.ROOT + directory):
                texts[f"before/{name}"] = "yes"
    tables = run(("nft", "list", "tables"), None)[1].splitlines()
    for table in TABLES:
        if f"table {table}" not in tables:
            texts[f"before/no-table-{table.replace(' ', '-')}"] = "yes"
    texts.update(_base_chains_before(tables, run))
    rules = run(("nft", "list", "ruleset"), None)[1]
    for family, program in (("ip", "iptables"), ("ip6", "ip6tables")):
        if "CNI-HOSTPORT-" not in rules + _legacy_rules(program, run):
            texts[f"before/no-chains-{family}"] = "yes"
    texts.update(_bridge_before(chain.bridge or network.bridge, run))
    for number in NUMBERS:
        texts[f"pod/{number}/netns"] = f"{PREFIX}{number}"
        texts[f"pod/{number}/path"] = f"{NAMESPACES}/{PREFIX}{number}"
    write_file(f"{DIRECTORY}/pods", PODS_SH, durable=False)
    for name, text in texts.items():
        write_file(f"{DIRECTORY}/{name}", f"{text}\n", durable=False)
    for number in NUMBERS:  # last: the script acts on Pods with this file
        write_file(f"{DIRECTORY}/pod/{number}/id", f"{PREFIX}{number}-{mark}\n", durable=False)


def _base_chains_before(tables: t.Sequence[str], run: Run) -> dict[str, str]:
    """Return which base chains of iptables the tables ``nat`` lack that exist already."""
    texts = {}
    for family in ("ip", "ip6"):
        if f"table {family} nat" in tables:
            listing = run(("nft", "list", "table", family, "nat"), None)[1]
            missing = [name for name in BASE_CHAINS if f"chain {name} {{" not in listing]
            texts[f"before/no-base-chains-{family}"] = " ".join(missing)
    return texts


def _legacy_rules(program: str, run: Run) -> str:
    """Return the rules of the former iptables, which nft does not list."""
    try:
        with open(f"/proc/net/{program[: -len('tables')]}_tables_names", encoding="ascii") as stream:
            if "nat" not in stream.read().split():
                return ""
    except OSError:
        return ""
    return run((program, "-w", "5", "-t", "nat", "-S"), None)[1]


def _bridge_before(bridge: str, run: Run) -> dict[str, str]:
    if find_link(bridge, read_links(run)) is None:
        return {"before/no-bridge": bridge}
    path = f"{files.PROC_SYS}/net/ipv4/conf/{bridge}/route_localnet"
    try:
        with open(path, encoding="ascii") as stream:
            return {"before/route-localnet": path} if stream.read().strip() == "0" else {}
    except OSError:
        return {}


def _arm(seconds: int, run: Run) -> None:
    """Set the timer that removes the Pods at the deadline.

    :raises KernelError: it could not be set; what was written is removed.
    """
    script = files.ROOT + DIRECTORY + "/pods"
    if not os.path.isdir(f"{files.ROOT}/run/systemd/system"):
        _start_supervisor(script, seconds)
        return
    # One that a killed removal has left would keep the name.
    run(("systemctl", "--quiet", "stop", f"{UNIT}.timer"), None)
    command = (
        *("systemd-run", "--quiet", "--collect", f"--unit={UNIT}"),
        *(f"--on-active={seconds}", "--timer-property=AccuracySec=1s"),
        *("/bin/sh", script, "remove", "expired"),
    )
    code, _out, errors = run(command, None)
    if code != 0:
        shutil.rmtree(files.ROOT + DIRECTORY, ignore_errors=True)
        raise KernelError(
            f"no Pod was started, because the timer that removes them cannot be set: systemd-run: "
            f"{error_text(code, errors)}"
        )


def _start_supervisor(script: str, seconds: int) -> None:
    """Start a process that removes the Pods at the deadline, on a host without systemd. It ends with the script."""
    wait = 'while [ "$n" -gt 0 ] && [ -e "$1" ]; do sleep 1; n=$((n - 1)); done; [ -e "$1" ] && sh "$1" remove expired'
    program = f'echo $$ >"${{1%/*}}/supervisor"; ( n=$2; {wait} ) </dev/null >/dev/null 2>&1 &'
    subprocess.run(
        ["/bin/sh", "-c", program, "tke-conformance", script, str(seconds)],
        cwd="/",
        start_new_session=True,
        check=True,
    )


def _start_pod(number: str, plan: PodPlan, run: Run) -> RunningPod:
    """Make the namespace of a Pod and run the plugins.

    :raises KernelError: it failed.
    """
    _call(run, "netns", number)
    ports = []
    if plan.host_port and number == NUMBERS[-1]:
        ports = [{"hostPort": plan.host_port, "containerPort": PORT, "protocol": "tcp"}]
    result: t.Any = None
    here = f"{DIRECTORY}/pod/{number}"
    for position, plugin in enumerate(plan.chain.plugins):
        program, text = plan.chain.program(plugin), plan.chain.standard_input(plugin, result, ports)
        for name, content in (("plugin", f"{program}\n"), ("ADD", text), ("DEL", text)):
            write_file(f"{here}/{position}.{name}", content, durable=False)
        out = _call(run, "add", number, str(position))
        try:
            result = json.loads(out)
        except ValueError as error:
            raise KernelError(f"{program} ADD: its result is no JSON") from error
    for position, plugin in enumerate(plan.chain.plugins):
        # With DEL, a plugin gets the result of the whole chain.
        write_file(f"{here}/{position}.DEL", plan.chain.standard_input(plugin, result, ports), durable=False)
    return RunningPod(number, f"{PREFIX}{number}", address_of(result))


def _call(run: Run, *words: str) -> str:
    """Run the script.

    :raises KernelError: with what the plugin has said.
    """
    code, out, errors = run(("/bin/sh", f"{files.ROOT}{DIRECTORY}/pods", *words), None)
    if code != 0:
        what = "ip netns add" if words[0] == "netns" else f"{_plugin_of(words[1], words[2])} ADD"
        reason = "no answer within 30 s" if code in (124, 137) else _message(out) or error_text(code, errors)
        raise KernelError(f"{what}: {' '.join(reason.split())}")
    return out


def _plugin_of(number: str, position: str) -> str:
    path = f"{DIRECTORY}/pod/{number}/{position}.plugin"
    return files.read_files([path]).get(path, "").strip()


def _message(out: str) -> str:
    """Return the error that a plugin has printed as JSON."""
    try:
        error = json.loads(out)
        return f"{error['msg']} {error.get('details', '')}".strip()
    except (ValueError, KeyError, TypeError):
        return ""


# --- remove ---


def is_left() -> bool:
    """Whether Pods of a test run, or something is left of them."""
    return os.path.isdir(files.ROOT + DIRECTORY)


def remove_pods(run: Run, chain: CniChain | None = None) -> bool:
    """Remove the Pods, and leases of a test that a reboot has ended. Return whether there was anything.

    :param chain: where leases are looked for.
    :raises KernelError: something could not be removed.
    """
    found = is_left()
    if found:
        script = f"{files.ROOT}{DIRECTORY}/pods"
        if os.path.exists(script):
            code, _out, errors = run(("/bin/sh", script, "remove"), None)
            if code != 0:
                raise KernelError(
                    f"what a conformance test has left on this host cannot be removed: {error_text(code, errors)}"
                )
        shutil.rmtree(files.ROOT + DIRECTORY, ignore_errors=True)
    return bool(chain and chain.leases and _release_stale(chain.leases)) or found


def _release_stale(leases: str) -> bool:
    """Release the leases of test Pods; none runs now."""
    found = False
    for name in names_in(leases):
        path = f"{files.ROOT}{leases}/{name}"
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
            if name.count(".") == 3 and stream.readline(200).startswith(PREFIX):
                os.unlink(path)
                found = True
    return found

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The conformance test of one host: what was started, what it asks, and the inputs from a user."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    NodeDocument,
    address_problems,
    is_ipv4_address,
    parse_fleet,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.cni_chain import CniChain, winning_chain
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.pods import (
    DIRECTORY,
    NoRoomError,
    PodPlan,
    PodSet,
    RunningPod,
    plan_pods,
    remove_pods,
    start_pods,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.results import PATHS, PathResult
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.run import (
    PathTask,
    PeerPods,
    Targets,
    ask_paths,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.service_rule import service_address
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import PodNetwork, planned_network
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.schedule import peers_to_probe
from ansible_collections.tke.overlay.plugins.module_utils._host.state.cni_plugins import plugin_directories
from ansible_collections.tke.overlay.plugins.module_utils._links import links_of
from ansible_collections.tke.overlay.plugins.module_utils._names import is_host_name, path_problems, shown

STARTED = f"{DIRECTORY}/started"
"""What was started, as JSON, for the task that asks."""

MAX_PEERS, SAMPLE = 64, 16
"""With more nodes than this, each asks so many of them."""


class StartResult(t.NamedTuple):
    """What a start has made, or would make.

    ``reason`` is why there are no Pods, if that is no fault. ``planned`` describes in check mode what would be made.
    """

    pods: PodSet
    reason: str = ""
    planned: str = ""


NOTHING = PodSet([], [], None)


def node_network(document: NodeDocument, bin_dirs: t.Sequence[str]) -> PodNetwork:
    """Return the Pod network of the host ``document["node"]``.

    :raises ValidationError: it is not in the plan, or a directory is no path.
    """
    problems = [problem for each in bin_dirs for problem in path_problems("cni_bin_dirs (overlay_cni_bin_dirs)", each)]
    problems += [f"cni_bin_dirs (overlay_cni_bin_dirs) {shown(each)} has a colon" for each in bin_dirs if ":" in each]
    if document["node"] not in parse_fleet(document["fleet"]):
        name = shown(document["node"])[1:-1]
        problems.append(f"node {name} is not in the plan: is it in the inventory group that was planned?")
    if problems:
        raise ValidationError(*problems)
    return planned_network(document, bin_dirs)


def start(network: PodNetwork, seconds: int, run: Run, check: bool) -> StartResult:
    """Start the Pods of this host, after what an earlier test has left was removed. In check mode, nothing is made.

    :raises KernelError: leftovers could not be removed, or what removes the Pods could not be prepared.
    """
    try:
        chain: CniChain | None = winning_chain(plugin_directories(network.bin_dirs))
        fault = ""
    except KernelError as error:
        chain, fault = None, str(error)
    if not check:
        remove_pods(run, chain)
    if chain is None:
        return StartResult(PodSet([], [fault], None))
    try:
        plan = plan_pods(network, chain, run)
    except NoRoomError as error:
        return StartResult(NOTHING, reason=str(error))
    if check:
        return StartResult(NOTHING, planned=_described(plan))
    try:
        pods = start_pods(network, plan, seconds, run)
        files.write_file(STARTED, json.dumps([*pods, plan.no_port]), durable=False)
    except BaseException as error:
        remove_pods(run, chain)
        if isinstance(error, OSError):
            raise KernelError(f"the Pods did not start: {error}") from error
        raise
    if not os.path.exists(f"{files.ROOT}{DIRECTORY}/pods"):  # what was written since must not stay
        remove_pods(run, chain)
        late = f"the Pods were removed during their start, {seconds} s after its beginning"
        return StartResult(PodSet([], [f"{late}: set overlay_conformance_seconds to more"], None))
    return StartResult(pods)


def _described(plan: PodPlan) -> str:
    names = ", ".join(str(plugin["type"]) for plugin in plan.chain.plugins)
    port = f", host port {plan.host_port}" if plan.host_port else ""
    free = "" if plan.free is None else f"; {plan.free} addresses are free"
    return f"two Pods by {plan.chain.path} ({names}{port}){free}"


def remove(network: PodNetwork | None, run: Run) -> bool:
    """Remove what a test has made on this host; return whether there was anything.

    :raises KernelError: something could not be removed.
    """
    chain = None
    if network is not None:
        with contextlib.suppress(KernelError):  # then no lease can be looked for
            chain = winning_chain(plugin_directories(network.bin_dirs))
    return remove_pods(run, chain)


class Question(t.NamedTuple):
    """What the host ``document["node"]`` asks.

    ``peers`` are the Pods of all hosts, by name, and ``sites`` the nodes of each site. ``reason`` is why this host has
    no Pods.
    """

    document: NodeDocument
    sites: t.Mapping[str, t.Sequence[str]]
    peers: t.Mapping[str, t.Mapping[str, t.Any]]
    reason: str
    targets: Targets


def ask(question: Question, paths: t.Collection[str], run: Run) -> list[PathResult]:
    """Ask the paths from this host."""
    document = question.document
    fleet = parse_fleet(document["fleet"])
    name = document["node"]
    pods, host_port, no_port = _started()
    inner = {str(row["ifname"]) for row in read_links(run) if row.get("master") == document["bridge"]}
    task = PathTask(
        pods=pods,
        no_pods=question.reason or "no Pod of this test runs on this host",
        host_port=host_port,
        no_port=no_port,
        peers=_peers(question),
        size=links_of(document).mtu_of_pods(fleet[name].site),
        underlay=fleet[name].underlay,
        service=service_address(document["service_cidr"]),
        inner_links={document["device"], document["bridge"], *inner},
        targets=question.targets,
    )
    return ask_paths(task, [path for path in PATHS if path in paths], run)


def _started() -> tuple[list[RunningPod], int | None, str]:
    text = files.read_files([STARTED]).get(STARTED)
    if text is None:
        return [], None, ""
    pods, _faults, host_port, no_port = json.loads(text)
    return [RunningPod(*each) for each in pods], host_port, no_port


def _peers(question: Question) -> list[PeerPods]:
    """Return the Pods that this host asks."""
    fleet, name = parse_fleet(question.document["fleet"]), question.document["node"]
    site_of = {each: site for site, names in question.sites.items() for each in names}
    table = links_of(question.document)
    others = [each for each in question.peers if each in fleet and each != name and question.peers[each]["addresses"]]
    if len(others) > MAX_PEERS:
        here = [*others, name]
        sites = {site: [each for each in names if each in here] for site, names in question.sites.items()}
        others = peers_to_probe({site: names for site, names in sites.items() if names}, SAMPLE).get(name, [])
    return [
        PeerPods(
            name=each,
            addresses=question.peers[each]["addresses"],
            underlay=fleet[each].underlay,
            host_port=question.peers[each]["host_port"],
            near=site_of.get(each) == site_of.get(name),
            mtu=table.between(fleet[name].site, fleet[each].site).mtu,
        )
        for each in others
    ]


# --- what a user gives ---


def read_services(texts: t.Iterable[str]) -> list[tuple[str, int]]:
    """Return addresses and ports.

    :raises ValidationError: names every text that is not address:port.
    """
    found, problems = [], []
    for text in texts:
        address, _colon, port = text.rpartition(":")
        if is_ipv4_address(address) and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
            found.append((address, int(port)))
        else:
            problems.append(
                f"services (overlay_conformance_services) {shown(text)} is not address:port, such as 10.244.255.10:53"
            )
    if problems:
        raise ValidationError(*problems)
    return found


def target_problems(targets: Targets) -> list[str]:
    """Return a problem for each target that is no address or no name."""
    api, problems = targets.api, []
    if api.address or api.name:
        problems += address_problems("api: address", api.address)
        problems += range_problems("api: port", api.port, 1, 65535)
        if not is_host_name(api.name):
            problems.append(f"api: name {shown(api.name)} is no host name")
    if targets.dns and not is_ipv4_address(targets.dns):
        problems.append(f"dns (overlay_conformance_dns) {shown(targets.dns)} is no IPv4 address")
    problems += [
        f"dns_names (overlay_conformance_dns_names) {shown(name)} is no name"
        for name in targets.dns_names
        if not is_host_name(name.rstrip("."))
    ]
    problems += [
        f"outside (overlay_conformance_outside) {shown(address)} is no IPv4 address"
        for address in targets.outside
        if not is_ipv4_address(address)
    ]
    return problems

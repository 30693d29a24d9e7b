# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask the paths that Pods use, from the Pods of a conformance test and from this host.

=========  =====================================================================================================
pod        a Pod to a Pod of the same node and of each other node: small packets, then TCP with 64 KiB each way
mtu        the same with full-size packets that must not be fragmented; a larger one is refused with the MTU
service    a Service address whose endpoint is a Pod of the same node, by a rule of the test
clusterip  addresses of Services, by the rules of kube-proxy
dns        the name server of the cluster
api        the API server with TLS, through the VIP and through its Service
hostport   the host port of a Pod, from a Pod of the same node and of other nodes of the site
hairpin    a Pod to itself, through a Service address and through its host port
outside    an address outside the cluster; the packet leaves with an address of this host
webhook    this host to a Pod of each other node, as an API server that is a member asks a webhook
=========  =====================================================================================================
"""

from __future__ import annotations

import socket
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance import dns
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.connections import connect_all
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.kube_proxy import (
    KubeProxy,
    ServiceAddress,
    find_services,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.namespace import inside
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.outside import Observer
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.path_mtu import Sizes, refused_size
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.pods import RunningPod
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.results import (
    PathResult,
    PathTests,
    not_asked,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.conformance.service_rule import load_rule
from ansible_collections.tke.overlay.plugins.module_utils._host.endpoint.check import (
    EndpointCheckError,
    EndpointTarget,
    TlsClient,
    wait_for_endpoint,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import Run, read_json
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.icmp import (
    MIN_SIZE,
    EchoProber,
    EchoRequest,
    open_echo_socket,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import BYTES, ECHOED, REFUSED, probe_tcp

SECONDS, ATTEMPTS = 1.0, 3
TCP_SECONDS, NEAR_SECONDS = 5.0, 3.0
"""How long a connection may take: to another node, and to this one."""

REQUESTS = 10
"""Connections to each Service: endpoints are chosen by chance, and one that is not reached must be met."""

OUTSIDE_PEERS = 3
"""Underlay addresses of other nodes that the path outside asks, if no target is given."""

IPV6 = "the underlay is IPv6, and Pods have host ports on IPv4 addresses only"
KUBERNETES_NAME = "kubernetes.default.svc"


class PeerPods(t.NamedTuple):
    """The Pods of another node."""

    name: str
    addresses: t.Sequence[str]
    underlay: str
    host_port: int | None
    near: bool  # in the same site
    mtu: int | None = None  # of the link to that node; ``None``: that of the Pods


class ApiServer(t.NamedTuple):
    """The API server behind the load balancer. Without an address, ``missing`` says why."""

    name: str = ""
    address: str = ""
    port: int = 6443
    authority: str = ""
    missing: str = ""


class Targets(t.NamedTuple):
    """What a user or the inventory names."""

    api: ApiServer
    services: t.Sequence[ServiceAddress] = ()
    dns: str = ""
    dns_names: t.Sequence[str] = ()
    outside: t.Sequence[str] = ()


class PathTask(t.NamedTuple):
    """The Pods of this host and of the others, and what they ask."""

    pods: t.Sequence[RunningPod]
    no_pods: str  # why there are none
    host_port: int | None
    no_port: str  # why there is none
    peers: t.Sequence[PeerPods]
    size: int
    underlay: str
    service: str  # the address that the rule of the test translates
    inner_links: t.Collection[str]
    targets: Targets

    @property
    def client(self) -> RunningPod:
        """The Pod that asks."""
        return self.pods[0]

    @property
    def sizes(self) -> dict[str, int]:
        """Address -> the size of a full packet to a Pod of each other node; to one of this node, that of the Pods."""
        return {peer.addresses[0]: peer.mtu for peer in self.peers if peer.addresses and peer.mtu is not None}

    @property
    def far_pods(self) -> dict[str, str]:
        """Address -> name of a Pod of each other node."""
        return {peer.addresses[0]: peer.name for peer in self.peers if peer.addresses}


def ask_paths(task: PathTask, paths: t.Collection[str], run: Run) -> list[PathResult]:
    """Ask these paths, in the order of the screen. What fails in an unexpected way is a failure of its path."""
    found = []
    for path, ask in _ASK.items():
        if path not in paths:
            continue
        if path != "webhook" and not task.pods:
            found.append(not_asked(path, task.no_pods))
            continue
        try:
            found.append(ask(task, run))
        except (OSError, KernelError) as error:
            tests = PathTests(path)
            tests.add("this host", str(error))
            found.append(tests.result())
    return found


# --- Pod to Pod ---


def _echo(task: PathTask, size: int, only: t.Collection[str] | None = None) -> dict[str, tuple[str, str]]:
    """Send echo requests to the other Pod of this host and to one of each other node: address -> (name, fault).

    :param only: the addresses to ask, by default all.
    """
    near = {pod.address: "the same node" for pod in task.pods[1:]}
    every = {**near, **task.far_pods}
    names = {address: name for address, name in every.items() if only is None or address in only}
    requests: list[EchoRequest] = [(address, size) for address in names]
    with inside(task.client.namespace):
        connection = open_echo_socket(task.client.address)
    with EchoProber(connection) as prober:
        prober.probe(requests, SECONDS, ATTEMPTS)
        errors = prober.send_errors
        return {
            address: (
                names[address],
                "" if (address, size) in prober.round_trips else errors.get((address, size), "no answer"),
            )
            for address in names
        }


def _ask_pod(task: PathTask, _run: Run) -> PathResult:
    tests, answers = PathTests("pod"), _echo(task, MIN_SIZE)
    for name, fault in answers.values():
        tests.add(name, fault and f"{fault} to small packets" if fault == "no answer" else fault)
    passed = {address: name for address, (name, fault) in answers.items() if not fault}
    with inside(task.client.namespace):
        results = probe_tcp(task.client.address, passed, TCP_SECONDS)
    for address, name in passed.items():
        tests.add(name, _tcp_fault(results[address]))
    return tests.result("" if len(answers) > 1 else _alone(task))


def _alone(task: PathTask) -> str:
    return "" if task.peers else "other nodes: none of them has a Pod of this test"


def _tcp_fault(result: str) -> str:
    if result == ECHOED:
        return ""
    return "TCP: no program answers" if result == REFUSED else f"TCP with {BYTES // 1024} KiB: {result}"


def _ask_mtu(task: PathTask, run: Run) -> PathResult:
    tests, small = PathTests("mtu"), _echo(task, MIN_SIZE)
    silent = any(fault for _name, fault in small.values())
    reason = "Pods that do not answer small packets" if silent else _alone(task)
    answering = [address for address, (_name, fault) in small.items() if not fault]
    by_size: dict[int, list[str]] = {}
    for address in answering:
        by_size.setdefault(task.sizes.get(address, task.size), []).append(address)
    for size, addresses in by_size.items():
        for name, fault in _echo(task, size, addresses).values():
            tests.add(name, fault and f"full-size packets of {size} bytes: {fault}")
    target = next((address for address in answering if address in task.far_pods), None)
    if target is None:
        return tests.result(reason)
    name = task.far_pods[target]
    sizes = Sizes(task.sizes.get(target, task.size), task.size)
    found = refused_size((task.client.namespace, task.client.address), target, sizes, run)
    if isinstance(found, int):
        found = "" if found == sizes.link else f"it is refused with the MTU {found} instead of {sizes.link}"
    tests.add(name, found and f"a packet that is too large: {found}")
    return tests.result(reason)


# --- Services ---


def _ask_service(task: PathTask, run: Run) -> PathResult:
    if len(task.pods) < 2:
        return not_asked("service", "only one Pod started")
    tests = PathTests("service")
    _load(task, run)
    with inside(task.client.namespace):
        result = probe_tcp(task.client.address, [task.service], NEAR_SECONDS)[task.service]
    fault = _tcp_fault(result)
    tests.add(task.service, fault and f"a Service whose endpoint is a Pod of the same node: {fault}")
    return tests.result()


def _load(task: PathTask, run: Run) -> None:
    load_rule(task.service, [pod.address for pod in task.pods], task.pods[-1].address, run)


def _ask_clusterip(task: PathTask, run: Run) -> PathResult:
    services, missing = task.targets.services, ""
    if not services:
        proxy = find_services(run)
        services = proxy.services
        missing = proxy.missing or "the rules of kube-proxy name no further Service with a TCP port"
    if not services:
        return not_asked("clusterip", missing)
    tests = PathTests("clusterip")
    with inside(task.client.namespace):
        results = connect_all(task.client.address, list(services) * REQUESTS, SECONDS * ATTEMPTS)
    for service in services:
        faults = [fault for target, fault in results if target == service and fault]
        lost = f"{len(faults)} of {REQUESTS} connections failed: {faults[0]}" if faults else ""
        tests.add(f"{service[0]}:{service[1]}", lost)
    return tests.result()


def _ask_dns(task: PathTask, _run: Run) -> PathResult:
    if not task.targets.dns:
        return not_asked("dns", "overlay_conformance_dns is not set")
    tests = PathTests("dns")
    for name in task.targets.dns_names:
        with inside(task.client.namespace):
            connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tests.add(f"{task.targets.dns} ({name})", dns.ask(connection, task.targets.dns, name))
    return tests.result()


def _ask_api(task: PathTask, run: Run) -> PathResult:
    api, tests, reasons = task.targets.api, PathTests("api"), []
    if api.missing:
        reasons.append(f"VIP: {api.missing}")
    else:
        target = EndpointTarget(api.name, api.address, api.port, [TlsClient("overlay_api_ca", api.authority, api.name)])
        tests.add(f"{api.address}:{api.port}", _endpoint_fault(task, target, run))
    proxy = find_services(run)
    if not proxy.kubernetes:
        reasons.append(f"Service kubernetes: {proxy.missing or 'the rules of kube-proxy do not name it'}")
    else:
        tests.add(*_kubernetes_fault(task, proxy, run))
    return tests.result("; ".join(reasons))


def _kubernetes_fault(task: PathTask, proxy: KubeProxy, run: Run) -> tuple[str, str]:
    address, port = t.cast(ServiceAddress, proxy.kubernetes)
    # Without a CA, the certificate is not verified.
    client = TlsClient("overlay_api_ca", task.targets.api.authority or None, KUBERNETES_NAME)
    return f"{address}:{port}", _endpoint_fault(task, EndpointTarget(KUBERNETES_NAME, address, port, [client]), run)


def _endpoint_fault(task: PathTask, target: EndpointTarget, run: Run) -> str:
    try:
        with inside(task.client.namespace):
            wait_for_endpoint(target, run, 0, ("tcp", "tls", "http"))
    except EndpointCheckError as error:
        return f"{error.stage}: {error.evidence[error.stage]}"
    return ""


# --- host ports ---


def _ask_hostport(task: PathTask, _run: Run) -> PathResult:
    if task.host_port is None or len(task.pods) < 2:
        return not_asked("hostport", task.no_port or "the Pod with the host port did not start")
    if ":" in task.underlay:
        return not_asked("hostport", IPV6)
    tests = PathTests("hostport")
    targets = {task.underlay: (task.host_port, "the same node")}
    targets.update({peer.underlay: (peer.host_port, peer.name) for peer in task.peers if peer.near and peer.host_port})
    for port in dict.fromkeys(port for port, _name in targets.values()):
        addresses = [address for address, (its_port, _name) in targets.items() if its_port == port]
        with inside(task.client.namespace):
            results = probe_tcp(task.client.address, addresses, TCP_SECONDS, port)
        for address, result in results.items():
            fault = _tcp_fault(result)
            tests.add(targets[address][1], fault and f"host port {port} of {address}: {fault}")
    far = [peer.name for peer in task.peers if not peer.near]
    return tests.result("other sites: the line between sites has to carry the tunnel only" if far else "")


def _ask_hairpin(task: PathTask, run: Run) -> PathResult:
    pod, tests = task.pods[-1], PathTests("hairpin")
    _load(task, run)
    with inside(pod.namespace):
        result = probe_tcp(pod.address, [task.service], NEAR_SECONDS)[task.service]
        tests.add("itself", _tcp_fault(result) and f"through the Service address {task.service}: {_tcp_fault(result)}")
        if task.host_port is not None and len(task.pods) > 1 and ":" not in task.underlay:
            result = probe_tcp(pod.address, [task.underlay], NEAR_SECONDS, task.host_port)[task.underlay]
            tests.add("itself", _tcp_fault(result) and f"through its host port {task.host_port}: {_tcp_fault(result)}")
            return tests.result()
    if ":" in task.underlay:
        return tests.result(f"host port: {IPV6}")
    return tests.result(f"host port: {task.no_port or 'the Pod with the host port did not start'}")


# --- outside, and from the host ---


def _ask_outside(task: PathTask, run: Run) -> PathResult:
    targets = list(task.targets.outside)
    if not targets:
        peers = sorted(task.peers, key=lambda peer: not peer.near)
        targets = [peer.underlay for peer in peers if ":" not in peer.underlay][:OUTSIDE_PEERS]
    if not targets:
        return not_asked("outside", "no target: set overlay_conformance_outside")
    tests, silent = PathTests("outside"), []
    wanted = [(target, MIN_SIZE) for target in targets]
    with inside(task.client.namespace):
        connection = open_echo_socket(task.client.address)
    with Observer(targets, task.inner_links) as observer, EchoProber(connection) as prober:
        prober.probe(wanted, SECONDS, ATTEMPTS)
        seen, answered = observer.sources(0.2), {address for address, _size in prober.round_trips}
    for target in targets:
        expected = _own_source(target, run)
        if target not in seen:
            tests.add(target, "a packet of a Pod does not leave this host")
        elif seen[target] != expected:
            tests.add(target, f"a packet of a Pod leaves with the source {seen[target]} instead of {expected}")
        elif target in answered:
            tests.add(target, "")
        elif _host_is_answered(target, expected):
            tests.add(target, "no answer, although this host itself gets one")
        else:
            silent.append(target)
    return tests.result(f"answers of {', '.join(silent)}: this host gets none either" if silent else "")


def _own_source(target: str, run: Run) -> str:
    rows = read_json(("ip", "-json", "-4", "route", "get", target), run)
    return str(rows[0].get("prefsrc", "")) if rows else ""


def _host_is_answered(target: str, source: str) -> bool:
    with EchoProber(open_echo_socket(source)) as prober:
        prober.probe([(target, MIN_SIZE)], SECONDS, ATTEMPTS)
        return bool(prober.round_trips)


def _ask_webhook(task: PathTask, _run: Run) -> PathResult:
    if not task.far_pods:
        return not_asked("webhook", "no other node has a Pod of this test")
    tests, results = PathTests("webhook"), probe_tcp("", task.far_pods, TCP_SECONDS)
    for address, name in task.far_pods.items():
        tests.add(name, _tcp_fault(results[address]))
    return tests.result()


_ASK: dict[str, t.Callable[[PathTask, Run], PathResult]] = {
    "pod": _ask_pod,
    "mtu": _ask_mtu,
    "service": _ask_service,
    "clusterip": _ask_clusterip,
    "dns": _ask_dns,
    "api": _ask_api,
    "hostport": _ask_hostport,
    "hairpin": _ask_hairpin,
    "outside": _ask_outside,
    "webhook": _ask_webhook,
}

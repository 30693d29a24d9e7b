# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Probe which peers this host reaches over the overlay, which packet size passes, and whether TCP passes.

The probe goes from VTEP to VTEP, so it covers route, neighbour, FDB entry, tunnel,
firewalls and the underlay in both directions, and the same at the peer, without any
Pod. Its steps are small packets, full-size packets and TCP; each step probes only the
peers that passed the one before.
"""

from __future__ import annotations

import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    OVERHEAD,
    NodeDocument,
    is_ipv4_address,
    overhead_on,
    parse_fleet,
    vtep_address,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError, range_problems
from ansible_collections.tke.overlay.plugins.module_utils._host.files import read_files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import BLACKHOLE, RouteTable, mtu_of
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.icmp import (
    MIN_SIZE,
    EchoProber,
    EchoRequest,
    open_echo_socket,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.schedule import Sites, peers_to_probe
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import (
    BYTES,
    ECHOED,
    PORT,
    REFUSED,
    probe_tcp,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import batch_file
from ansible_collections.tke.overlay.plugins.module_utils._links import ENCAPSULATION, links_of
from ansible_collections.tke.overlay.plugins.module_utils._names import shown

MAX_MEASURED = 64
"""For so many peers behind an MTU black hole, the probe measures the largest size that passes."""

SIZES_PER_STEP = 16
"""Sizes that one step of that measurement tries at once: three steps instead of the eleven of a bisection."""

TCP_SECONDS = 5.0
"""How long a connection may take. Two lost packets in a row (1 s and 2 s) are not a fault yet."""

SILENT, MTU, TCP = "silent", "mtu", "tcp"


class PeerFinding(t.NamedTuple):
    """A fault between this host and a peer.

    ``largest`` is the largest size that passes, if ``kind`` is MTU. ``underlay`` is whether the underlay address of a
    silent peer answers, ``None`` if it was not probed.
    """

    peer: str
    address: str
    kind: str
    text: str
    largest: int | None = None
    underlay: bool | None = None


class ProbeResult(t.NamedTuple):
    """The result of a probe.

    ``probed`` is the number of peers; ``rtt_ms`` has those that answer small packets;
    ``echoed`` and ``refused`` (no echo responder runs) are the results of TCP.
    """

    probed: int
    rtt_ms: dict[str, float]
    findings: list[PeerFinding]
    echoed: list[str]
    refused: list[str]


class Path(t.NamedTuple):
    """The size of a full packet to a peer, and what the link adds to it on the underlay, in bytes."""

    size: int
    overhead: int


class ProbeTask(t.NamedTuple):
    """The address to probe from, the peers, and the size of a full packet.

    ``paths`` are those of the peers to whom the link has a size of its own.
    """

    source: str
    peers: t.Mapping[str, str]  # name -> VTEP address
    size: int
    overhead: int = OVERHEAD[4]
    underlay: str = ""  # the address that the tunnel sends from
    underlays: t.Mapping[str, str] = {}  # name -> underlay address
    paths: t.Mapping[str, Path] = {}

    def path_to(self, name: str) -> Path:
        """Return the path to a peer."""
        return self.paths.get(name) or Path(self.size, self.overhead)

    def with_size(self, size: int | None) -> ProbeTask:
        """Return the same task with one size for all peers; without a size, the task itself."""
        return self._replace(size=size, paths={}) if size else self

    def validated(self) -> ProbeTask:
        """Return the task itself.

        :raises ValidationError: names every invalid address, and an impossible size.
        """
        if not self.source:
            raise ValidationError("this host is no node of the overlay, so it has no address to probe from: set source")
        problems = [
            f"{what} {shown(text)} is no IPv4 address"
            for what, text in [
                ("source", self.source),
                *((f"address of {name}", text) for name, text in self.peers.items()),
            ]
            if not is_ipv4_address(text)
        ]
        problems += range_problems("size", self.size, MIN_SIZE + 1, 65535)
        if problems:
            raise ValidationError(*problems)
        return self


def task_for_peers(peers: t.Mapping[str, str], settings: t.Mapping[str, str]) -> ProbeTask:
    """Return the task to probe given peers.

    :param peers: name -> VTEP address.
    :param settings: what was last applied on this host, see ``saved_settings``; the source and the size come from it.
        A saved route with an MTU of its own has the size for its peer.
    """
    mtu = settings.get("mtu", "")
    size = int(mtu) if mtu.isdigit() else 1450
    paths = _saved_paths(peers, OVERHEAD[4]) if "pod_mtu" in settings else {}
    return ProbeTask(settings.get("address", "").partition("/")[0], peers, size, paths=paths)


def _saved_paths(peers: t.Mapping[str, str], overhead: int) -> dict[str, Path]:
    """Return the paths to the peers whose saved routes have an MTU."""
    table = RouteTable("")
    path = batch_file(table)
    lines = read_files([path]).get(path, "").splitlines()
    entries = filter(None, map(table.parse, lines))
    mtus = {vtep_address(key): mtu_of(spec) for key, spec in entries if spec != BLACKHOLE}
    found = {name: mtus.get(address) for name, address in peers.items()}
    return {name: Path(mtu, overhead) for name, mtu in found.items() if mtu is not None}


def task_for_document(document: NodeDocument, sites: Sites, sample: int, skip: t.Collection[str] = ()) -> ProbeTask:
    """Return the task of the host ``document["node"]`` in a probe of the whole overlay.

    :param sites: the nodes to select peers from, by site; if empty, all nodes of the plan.
    :param sample: how many peers to probe, 0 for all.
    :param skip: nodes that no host probes.
    :raises ValidationError: the host is not in the plan, or not in ``sites``.
    """
    fleet = parse_fleet(document["fleet"])
    name = document["node"]
    if name not in fleet:
        raise ValidationError(
            f"node {shown(name)[1:-1]} is not in the plan: is it in the inventory group that was planned?"
        )
    known = {site: [each for each in names if each in fleet and each not in skip] for site, names in sites.items()}
    known = {site: names for site, names in known.items() if names} or {
        "": [each for each in fleet if each not in skip]
    }
    if not any(name in names for names in known.values()):
        raise ValidationError(f"node {name} is not in sites, from which the peers are selected: add it there")
    peers = peers_to_probe(known, sample)[name]
    own, table = fleet[name], links_of(document)
    version = 6 if ":" in own.underlay else 4
    links = {each: table.between(own.site, fleet[each].site) for each in peers} if "links" in document else {}
    return ProbeTask(
        source=vtep_address(fleet[name].node_cidr),
        peers={each: vtep_address(fleet[each].node_cidr) for each in peers},
        size=table.mtu_of_pods(own.site),
        paths={each: Path(link.mtu, ENCAPSULATION[link.transport][version]) for each, link in links.items()},
        overhead=overhead_on(fleet[name].underlay),
        underlay=fleet[name].underlay,
        underlays={each: fleet[each].underlay for each in peers},
    )


def probe(task: ProbeTask, tcp: bool, seconds: float = 1.0, attempts: int = 3) -> ProbeResult:
    """Probe all peers at once.

    :param seconds: how long to wait for replies after the last packet of an attempt.
    :raises ValidationError: the source address is not on this host.
    """
    try:
        connection = open_echo_socket(task.source)
    except OSError as error:
        raise ValidationError(
            f"{task.source}, the VTEP's address, is not on this host ({error.strerror}): run tke.overlay.site"
        ) from error
    with EchoProber(connection) as prober:
        small = [(address, MIN_SIZE) for address in task.peers.values()]
        prober.probe(small, seconds, attempts)
        full = [
            (address, task.path_to(name).size)
            for name, address in task.peers.items()
            if (address, MIN_SIZE) in prober.round_trips
        ]
        prober.probe(full, seconds, attempts)
        groups = _group_peers(task, prober)
        measured = {address: task.path_to(name).size for name, address in groups.black_holes[:MAX_MEASURED]}
        largest = _measure_largest(prober, measured, seconds)
        underlay = _probe_underlays(task, [name for name, _address in groups.silent], seconds)
        findings = [
            _silent(name, address, prober)._replace(underlay=underlay.get(name)) for name, address in groups.silent
        ]
        findings += [_black_hole(pair, largest.get(pair[1]), task, prober) for pair in groups.black_holes]
        reached = [*groups.black_holes, *groups.healthy]
        rtt_ms = {name: _rtt_ms(prober, address, task.path_to(name).size) for name, address in reached}
    results = probe_tcp(task.source, [address for _name, address in groups.healthy], TCP_SECONDS) if tcp else {}
    by_name = {name: results[address] for name, address in groups.healthy if address in results}
    findings += [
        _tcp_failure(name, task.peers[name], result)
        for name, result in by_name.items()
        if result not in (ECHOED, REFUSED)
    ]
    echoed, refused = ([name for name, result in by_name.items() if result == kind] for kind in (ECHOED, REFUSED))
    return ProbeResult(len(task.peers), rtt_ms, findings, echoed, refused)


def _probe_underlays(task: ProbeTask, names: t.Sequence[str], seconds: float) -> dict[str, bool]:
    """Return for each of these peers whether its underlay address answers small packets outside the tunnel.

    IPv6 addresses are not probed. A firewall can drop these packets too, so only an answer is certain.
    """
    addresses = {name: task.underlays[name] for name in names if is_ipv4_address(task.underlays.get(name, ""))}
    if not addresses or not is_ipv4_address(task.underlay):
        return {}
    try:
        connection = open_echo_socket(task.underlay)
    except OSError:
        return {}
    with EchoProber(connection) as prober:
        prober.probe([(address, MIN_SIZE) for address in addresses.values()], seconds, attempts=2)
        return {name: (address, MIN_SIZE) in prober.round_trips for name, address in addresses.items()}


def _rtt_ms(prober: EchoProber, address: str, size: int) -> float:
    """Return the faster of both round trips: the slower one was delayed by other traffic."""
    small = prober.round_trips[address, MIN_SIZE]
    return round(1000 * min(small, prober.round_trips.get((address, size), small)), 2)


NamedAddress = t.Tuple[str, str]
"""Name and VTEP address of a peer."""


class _PeerGroups(t.NamedTuple):
    """The peers that answer nothing, small packets only, and packets of both sizes."""

    silent: list[NamedAddress]
    black_holes: list[NamedAddress]
    healthy: list[NamedAddress]


def _group_peers(task: ProbeTask, prober: EchoProber) -> _PeerGroups:
    groups = _PeerGroups([], [], [])
    for name, address in task.peers.items():
        if (address, MIN_SIZE) not in prober.round_trips:
            groups.silent.append((name, address))
        elif (address, task.path_to(name).size) not in prober.round_trips:
            groups.black_holes.append((name, address))
        else:
            groups.healthy.append((name, address))
    return groups


def _measure_largest(prober: EchoProber, lost: t.Mapping[str, int], seconds: float) -> dict[str, int]:
    """Return for each address the largest size that passes.

    :param lost: address -> a size that does not pass, while :data:`MIN_SIZE` does.
    """
    bounds = {address: (MIN_SIZE, size) for address, size in lost.items()}
    while True:
        tried: dict[str, list[EchoRequest]] = {
            address: [(address, size) for size in _sizes_between(low, high)] for address, (low, high) in bounds.items()
        }
        requests = [request for each in tried.values() for request in each]
        if not requests:
            return {address: low for address, (low, _high) in bounds.items()}
        # By now the prober knows how long a reply takes.
        slowest = max(prober.round_trips[address, MIN_SIZE] for address in lost)
        prober.probe(requests, min(seconds, max(0.2, 3 * slowest)), attempts=2)
        for address, (low, high) in bounds.items():
            sizes = [size for _address, size in tried[address]]
            passed = max([low, *(size for size in sizes if (address, size) in prober.round_trips)])
            bounds[address] = (passed, min(size for size in [*sizes, high] if size > passed))


def _sizes_between(low: int, high: int) -> list[int]:
    """Return sizes between two others, spread evenly."""
    numbers = range(1, SIZES_PER_STEP + 1)
    return sorted({low + (high - low) * number // (SIZES_PER_STEP + 1) for number in numbers} - {low, high})


def _silent(name: str, address: str, prober: EchoProber) -> PeerFinding:
    error = prober.send_errors.get((address, MIN_SIZE))
    if error is None:
        return PeerFinding(name, address, SILENT, f"{name} ({address}) does not answer")
    return PeerFinding(name, address, SILENT, f"this host cannot send to {name} ({address}): {error}")


def _black_hole(peer: NamedAddress, largest: int | None, task: ProbeTask, prober: EchoProber) -> PeerFinding:
    name, address = peer
    path = task.path_to(name)
    text = f"an MTU black hole to {name} ({address}): {MIN_SIZE} bytes pass, {path.size} bytes do not"
    if largest is None:
        return PeerFinding(name, address, MTU, f"{text}; the largest size that passes was not measured")
    text += f"; {largest} bytes is the largest size that passes"
    if (address, path.size) in prober.send_errors:
        return PeerFinding(
            name, address, MTU, f"{text}: the MTU of this host's device is smaller than in the plan", largest
        )
    underlay = largest + path.overhead
    remedy = f"set overlay_underlay_mtu of the site to {underlay}"
    if task.paths:
        remedy += f", or the mtu of the link to the site of {name} (overlay_links) to {underlay}"
    return PeerFinding(name, address, MTU, f"{text}: {remedy}", largest)


def _tcp_failure(name: str, address: str, result: str) -> PeerFinding:
    text = (
        f"TCP to {name} ({address}, port {PORT}, {BYTES // 1024} KiB in each direction): {result}; "
        f"full-size echo requests pass"
    )
    return PeerFinding(name, address, TCP, text)

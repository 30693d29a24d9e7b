# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Floor 5: which peers this host reaches over the overlay, how large a packet may be, and whether TCP passes.

From VTEP to VTEP: route, neighbour, FDB entry, tunnel, firewalls, the underlay
both ways, and the same at the peer, without any Pod. In this order, each only of
those that passed the one before: small, full size, TCP.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    OVERHEAD,
    NodeDocument,
    overhead_on,
    parse_fleet,
    vtep_address,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.icmp import LEAST_SIZE, Echo, Question
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.schedule import Sites, questions
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.tcp_echo import (
    BYTES,
    ECHOED,
    PORT,
    REFUSED,
    converse,
)

MEASURED = 64
"""Peers behind an MTU black hole whose largest size is looked for; of the others it is only said that it is one."""

RUNGS = 16
"""Sizes tried at once in that search: three steps instead of the eleven of a bisection."""

TCP_SECONDS = 5.0
"""How long a connection may take: two lost packets in a row (1 s and 2 s) are no fault yet."""

SILENT, MTU, TCP = "silent", "mtu", "tcp"


class PeerResult(t.NamedTuple):
    """What is wrong between this host and a peer. ``largest`` is the largest size that passes, if ``kind`` is MTU."""

    peer: str
    address: str
    kind: str
    text: str
    largest: int | None = None


class ProbeResult(t.NamedTuple):
    """What the peers had to say."""

    asked: int
    rtt_ms: dict[str, float]
    findings: list[PeerResult]
    echoed: list[str]
    refused: list[str]


class ProbeTask(t.NamedTuple):
    """Whom to ask from where, and how large a full packet is."""

    source: str
    peers: t.Mapping[str, str]  # name -> VTEP address
    size: int
    overhead: int = OVERHEAD[4]

    def checked(self) -> ProbeTask:
        """The task itself.

        :raises ValidationError: naming what is no address, and a size that no packet can have.
        """
        if not self.source:
            raise ValidationError("this host is no node of the overlay, so there is no address to ask from: set source")
        problems = [
            f"{what} {text!r} is no IPv4 address"
            for what, text in [
                ("source", self.source),
                *((f"address of {name}", text) for name, text in self.peers.items()),
            ]
            if not _is_address(text)
        ]
        if not LEAST_SIZE < self.size <= 65535:
            problems.append(f"size {self.size} does not lie between {LEAST_SIZE + 1} and 65535")
        if problems:
            raise ValidationError(*problems)
        return self


def _is_address(text: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(text)) == text
    except ValueError:
        return False


def given_task(peers: t.Mapping[str, str], settings: t.Mapping[str, str]) -> ProbeTask:
    """Whom somebody names, from where this host was last told to be.

    :param settings: see :func:`restore.saved_settings`.
    """
    mtu = settings.get("mtu", "")
    return ProbeTask(settings.get("address", "").partition("/")[0], peers, int(mtu) if mtu.isdigit() else 1450)


def task_of(document: NodeDocument, sites: Sites, sample: int, skip: t.Collection[str] = ()) -> ProbeTask:
    """What the plan has the host ``document["node"]`` ask.

    :param sites: the nodes to choose from, by site; without any, all of the plan.
    :param sample: how many to ask at the most, 0 for all.
    :param skip: nodes that are asked by nobody.
    :raises ValidationError: the plan knows no such node.
    """
    fleet = parse_fleet(document["fleet"])
    name = document["node"]
    if name not in fleet:
        raise ValidationError(f"node {name} is not in the plan: is it in the inventory group that was planned?")
    known = {site: [each for each in names if each in fleet and each not in skip] for site, names in sites.items()}
    known = {site: names for site, names in known.items() if names} or {
        "": [each for each in fleet if each not in skip]
    }
    if not any(name in names for names in known.values()):
        raise ValidationError(f"node {name} is not among those to choose from (sites)")
    return ProbeTask(
        source=vtep_address(fleet[name].node_cidr),
        peers={each: vtep_address(fleet[each].node_cidr) for each in questions(known, sample)[name]},
        size=document["mtu"],
        overhead=overhead_on(fleet[name].underlay),
    )


def probe(task: ProbeTask, tcp: bool, seconds: float = 1.0, attempts: int = 3) -> ProbeResult:
    """Asks all peers at once.

    :param seconds: how long to wait for an answer, after the last question of an attempt.
    :raises ValidationError: the source address is not on this host.
    """
    try:
        echo = Echo(task.source)
    except OSError as error:
        raise ValidationError(
            f"{task.source}, the VTEP's address, is not on this host ({error.strerror}): run tke.overlay.site"
        ) from error
    with echo:
        small = [(address, LEAST_SIZE) for address in task.peers.values()]
        echo.ask(small, seconds, attempts)
        echo.ask(
            [(address, task.size) for address, size in small if (address, size) in echo.answers], seconds, attempts
        )
        silent, holes, whole = _sorted_out(task, echo)
        findings = [_silent(name, address, echo.errors.get((address, LEAST_SIZE))) for name, address in silent]
        largest = _largest(echo, [address for _name, address in holes[:MEASURED]], task.size, seconds)
        findings += [_hole(name, address, largest.get(address), task, echo) for name, address in holes]
        rtt_ms = {name: _rtt_ms(echo, address, task.size) for name, address in [*holes, *whole]}
    spoken = converse(task.source, [address for _name, address in whole], TCP_SECONDS) if tcp else {}
    findings += [
        _mute(name, address, spoken[address])
        for name, address in whole
        if spoken.get(address) not in (None, ECHOED, REFUSED)
    ]
    said = {word: [name for name, address in whole if spoken.get(address) == word] for word in (ECHOED, REFUSED)}
    return ProbeResult(len(task.peers), rtt_ms, findings, said[ECHOED], said[REFUSED])


def _rtt_ms(echo: Echo, address: str, size: int) -> float:
    """The faster of both answers: what was slower had to wait for something else."""
    small = echo.answers[address, LEAST_SIZE]
    return round(1000 * min(small, echo.answers.get((address, size), small)), 2)


Named = t.List[t.Tuple[str, str]]


def _sorted_out(task: ProbeTask, echo: Echo) -> tuple[Named, Named, Named]:
    """Those who said nothing, those who only answered a small packet, and those who answered both."""
    silent, holes, whole = [], [], []
    for pair in task.peers.items():
        if (pair[1], LEAST_SIZE) not in echo.answers:
            silent.append(pair)
        elif (pair[1], task.size) not in echo.answers:
            holes.append(pair)
        else:
            whole.append(pair)
    return silent, holes, whole


def _largest(echo: Echo, addresses: t.Sequence[str], lost: int, seconds: float) -> dict[str, int]:
    """The largest size that passes, where a small one does and that of ``lost`` does not."""
    bounds = dict.fromkeys(addresses, (LEAST_SIZE, lost))
    while True:
        rungs: dict[str, list[Question]] = {
            address: [(address, size) for size in _rungs(low, high)] for address, (low, high) in bounds.items()
        }
        asked = [question for each in rungs.values() for question in each]
        if not asked:
            return {address: low for address, (low, _high) in bounds.items()}
        # It is known by now how long an answer takes.
        slowest = max(echo.answers[address, LEAST_SIZE] for address in addresses)
        echo.ask(asked, min(seconds, max(0.2, 3 * slowest)), attempts=2)
        for address, (low, high) in bounds.items():
            passed = [size for _address, size in rungs[address] if (address, size) in echo.answers]
            most = max([low, *passed])
            bounds[address] = (most, min(size for size in [*_sizes(rungs[address]), high] if size > most))


def _sizes(rungs: t.Sequence[Question]) -> list[int]:
    return [size for _address, size in rungs]


def _rungs(low: int, high: int) -> list[int]:
    """Sizes between two others, spread evenly."""
    return sorted({low + (high - low) * number // (RUNGS + 1) for number in range(1, RUNGS + 1)} - {low, high})


def _silent(name: str, address: str, error: str | None) -> PeerResult:
    if error is None:
        return PeerResult(name, address, SILENT, f"{name} ({address}) does not answer")
    return PeerResult(name, address, SILENT, f"this host cannot send to {name} ({address}): {error}")


def _hole(name: str, address: str, largest: int | None, task: ProbeTask, echo: Echo) -> PeerResult:
    what = f"an MTU black hole to {name} ({address}): {LEAST_SIZE} bytes pass, {task.size} do not"
    if largest is None:
        return PeerResult(name, address, MTU, f"{what}; the largest size that passes was not looked for")
    what += f", {largest} is the largest that does"
    if (address, task.size) in echo.errors:
        return PeerResult(
            name, address, MTU, f"{what}: the device of this host is smaller than the plan has it", largest
        )
    underlay = largest + task.overhead
    return PeerResult(name, address, MTU, f"{what}: set overlay_underlay_mtu of the site to {underlay}", largest)


def _mute(name: str, address: str, words: str) -> PeerResult:
    text = (
        f"TCP to {name} ({address}, port {PORT}, {BYTES // 1024} KiB there and back): {words}; echoes of full size pass"
    )
    return PeerResult(name, address, TCP, text)

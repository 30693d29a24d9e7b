# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One round of the probe timer: probe a sample of the peers and the API endpoint, and write the metrics.

A program of its own on each node, ``probe.py`` in ``/etc/tke-overlay``: standard library
only, Python 3.8, installed together with the modules that it imports
(``make programs``).

The peers of a round, of each site its share and at least one:

=============  =================================================================================
watched        the next :data:`WATCHED` in the ring of :mod:`schedule`: the same in each round,
               so that a few series per host have a history
rotating       the next :data:`ROTATING` of the others: all are probed in time
failing        up to :data:`FAILING` that failed in the round before: until they answer
=============  =================================================================================

A peer gets up to three packets of each of both sizes. A series per peer is written for the
watched ones and those that fail, so their number does not grow with the fleet, nor with time.
"""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import time
import typing as t

from ansible_collections.tke.overlay.plugins.module_utils._host.probe.icmp import (
    MIN_SIZE,
    EchoProber,
    open_echo_socket,
)
from ansible_collections.tke.overlay.plugins.module_utils._metrics import (
    FILES,
    PROBE,
    Sample,
    render,
    write_bounded,
)

WATCHED, ROTATING, FAILING = 8, 24, 16

REPLY_SECONDS = 1.0
"""How long to wait for replies after the last packet of an attempt."""

ATTEMPTS = 3

SESSION_SECONDS = 180 + ATTEMPTS * REPLY_SECONDS * 2
"""WireGuard ends a session 180 s after its handshake (REJECT_AFTER_TIME). The probes of a round follow it for some."""

STAGE_SECONDS = 3.0
"""How long a stage of the API endpoint may take."""


class ProbePeer(t.NamedTuple):
    """A peer of this host, the VTEP address to probe, and the largest packet that the link to it carries, in bytes.

    ``encrypted``: the link to it has the transport WireGuard.
    """

    name: str
    site: str
    address: str
    size: int
    encrypted: bool = False


class ProbeConfig(t.NamedTuple):
    """What the timer probes: ``peers`` are lines of :func:`peer_line` in the order of the ring, from this host on.

    A round reads 48 of thousands.
    """

    directory: str
    interval: int
    site: str
    source: str
    peers: t.Sequence[str]


class ProbeRecord(t.NamedTuple):
    """What a round leaves for the next one, until the next boot."""

    number: int = 0
    write_errors: int = 0
    write_failed: bool = False
    failing: t.Sequence[str] = ()


class RoundResult(t.NamedTuple):
    """The result of the probes: round trips in seconds by address, of small and of full-size packets.

    ``handshakes``: when the last handshake of a WireGuard peer was, in seconds since 1970; 0 for never.
    """

    small: t.Mapping[str, float]
    full: t.Mapping[str, float]
    handshakes: t.Mapping[str, int] = {}


# --- files ---


def config_text(config: ProbeConfig) -> str:
    """Return the configuration as the text of a file."""
    settings = {
        "directory": config.directory,
        "interval": config.interval,
        "site": config.site,
        "source": config.source,
    }
    lines = [f"{key} {value}\n" for key, value in settings.items()]
    return "".join([*lines, *(f"{_PEER}{line}\n" for line in config.peers)])


_PEER = "peer "


def peer_line(peer: ProbePeer) -> str:
    """Return a peer as a line ``NAME SITE ADDRESS SIZE [encrypted]``."""
    return f"{peer.name} {peer.site} {peer.address} {peer.size}{' encrypted' if peer.encrypted else ''}"


def parse_peer(line: str) -> ProbePeer:
    """Return the peer of a line: the inverse of :func:`peer_line`.

    :raises ValueError: the line is damaged.
    """
    name, site, address, size, *encrypted = line.split(" ")
    return ProbePeer(name, site, address, int(size), encrypted == ["encrypted"])


def site_of(line: str) -> str:
    """Return the site of the peer of a line."""
    return line.split(" ", 2)[1]


def parse_config(text: str) -> ProbeConfig:
    """Return the configuration: the inverse of :func:`config_text`.

    :raises ValueError: the text is damaged.
    """
    lines = text.splitlines()
    peers = [line[len(_PEER) :] for line in lines if line.startswith(_PEER)]
    settings = dict(line.split(" ", 1) for line in lines if not line.startswith((_PEER, "#")))
    try:
        return ProbeConfig(
            settings["directory"],
            int(settings["interval"]),
            settings["site"],
            settings["source"],
            peers,
        )
    except KeyError as error:
        raise ValueError(f"it has no line {error}") from error


def record_text(record: ProbeRecord) -> str:
    """Return the record as the text of a file."""
    words = [record.number, record.write_errors, int(record.write_failed), *record.failing]
    return f"{' '.join(map(str, words))}\n"


def parse_record(text: str) -> ProbeRecord:
    """Return the record: the inverse of :func:`record_text`; a new one if the text is damaged."""
    words = text.split()
    if len(words) < 3 or not all(word.isdigit() for word in words[:3]):
        return ProbeRecord()
    return ProbeRecord(int(words[0]), int(words[1]), words[2] == "1", words[3:])


# --- the sample ---


class Sampled(t.NamedTuple):
    """The peers of a round; ``watched`` are among them. ``rounds`` is the number of rounds until all were probed.

    ``known`` is the number of all peers of each site.
    """

    peers: t.Sequence[ProbePeer]
    watched: t.Collection[str]
    rounds: int
    known: t.Mapping[str, int]


def sample(peers: t.Sequence[str], record: ProbeRecord) -> Sampled:
    """Return the peers to probe in a round, from the lines of all peers."""
    by_site: dict[str, list[str]] = {}
    for line in peers:
        by_site.setdefault(site_of(line), []).append(line)
    small = len(peers) <= WATCHED + ROTATING
    watched: list[str] = []
    rotating: list[str] = []
    rounds = 1
    for members in by_site.values():
        fixed = members if small else members[: _share(WATCHED, len(members), len(peers))]
        others = members[len(fixed) :]
        watched += fixed
        if others:
            size = _share(ROTATING, len(members), len(peers))
            start = record.number * size % len(others)
            rotating += [*others, *others][start : start + min(size, len(others))]
            rounds = max(rounds, -(-len(others) // size))
    chosen = dict.fromkeys([*watched, *rotating])
    names = {_name_of(line) for line in watched}
    again = set(record.failing) - set(map(_name_of, chosen))
    failing = [line for line in peers if _name_of(line) in again][:FAILING] if again else []
    known = {site: len(members) for site, members in by_site.items()}
    return Sampled([parse_peer(line) for line in [*chosen, *failing]], names, rounds, known)


def _name_of(line: str) -> str:
    return line.partition(" ")[0]


def _share(most: int, members: int, total: int) -> int:
    return max(1, most * members // total)


# --- the probes ---


def probe_peers(source: str, peers: t.Sequence[ProbePeer]) -> RoundResult:
    """Probe peers, small packets first. If this host lacks the source address, none answers."""
    try:
        connection = open_echo_socket(source)
    except OSError:
        return RoundResult({}, {})
    with EchoProber(connection) as prober:
        prober.probe([(peer.address, MIN_SIZE) for peer in peers], REPLY_SECONDS, ATTEMPTS)
        reached = [peer for peer in peers if (peer.address, MIN_SIZE) in prober.round_trips]
        prober.probe([(peer.address, peer.size) for peer in reached], REPLY_SECONDS, ATTEMPTS)
        found = prober.round_trips
    small = {peer.address: found[peer.address, MIN_SIZE] for peer in reached}
    full = {peer.address: found[peer.address, peer.size] for peer in reached if (peer.address, peer.size) in found}
    return RoundResult(small, full, read_handshakes() if any(peer.encrypted for peer in peers) else {})


def read_handshakes() -> dict[str, int]:
    """Return VTEP address -> time of the last handshake, of the peers of all WireGuard devices; 0 for never.

    The VTEP address of a peer is the first one of its allowed IPs. While keys change, a peer is on two devices. Both
    listings are without keys that are secret.
    """
    times = {(row[0], row[1]): row[2] for row in _list_wireguard("latest-handshakes") if len(row) == 3}
    found: dict[str, int] = {}
    for row in _list_wireguard("allowed-ips"):
        time_text = times.get((row[0], row[1]), "") if len(row) == 3 else ""
        if time_text.isdigit():
            address = row[2].partition("/")[0]
            found[address] = max(found.get(address, 0), int(time_text))
    return found


def _list_wireguard(what: str) -> list[list[str]]:
    """Return rows of device, public key and value; none if ``wg`` is missing, or a device does not answer."""
    import subprocess  # noqa: PLC0415 - only where there is WireGuard, as it takes a twentieth of the time of a round

    try:
        done = subprocess.run(
            ("wg", "show", "all", what),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=STAGE_SECONDS,
            check=False,
            encoding="utf-8",
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.split("\t") for line in done.stdout.splitlines()]


def check_endpoint(address: str, port: int, names: t.Iterable[str]) -> dict[str, bool]:
    """Check the API endpoint, and return stage -> whether it passed; the stages after a failed one are missing.

    The certificate is not verified: the clients of the endpoint trust different authorities.
    """
    passed: dict[str, bool] = {}
    try:
        for name in names:
            passed["name"] = False
            found = {row[4][0] for row in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
            passed["name"] = found == {address}
        passed["route"] = False
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))  # sends nothing
        passed.update(route=True, tcp=False)
        with socket.create_connection((address, port), STAGE_SECONDS) as plain:
            passed.update(tcp=True, tls=False)
            _shake_hands(plain)
            passed["tls"] = True
    except OSError:
        pass
    return passed


def _shake_hands(plain: socket.socket) -> None:
    import ssl  # noqa: PLC0415 - it takes a third of the time of a round: only where there is an endpoint

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.wrap_socket(plain, do_handshake_on_connect=True).close()


def endpoint_of(note: str, hosts: str) -> tuple[str, int, list[str]] | None:
    """Return address, port and names of the API endpoint, from the files of module api_endpoint; ``None`` without one.

    :param note: a line ``host:port``.
    :param hosts: the path of ``/etc/hosts`` and the managed block.
    """
    host, _colon, port = note.strip().rpartition(":")
    if not host or not port.isdigit():
        return None
    address = host.strip("[]")
    entries = [line.split() for line in hosts.splitlines()[1:] if not line.startswith("#")]
    return address, int(port), [words[1] for words in entries if len(words) == 2 and words[0] == address]


# --- the metrics ---


def failing_peers(peers: t.Iterable[ProbePeer], result: RoundResult) -> list[str]:
    """Return the peers that did not answer packets of both sizes."""
    return [peer.name for peer in peers if peer.address not in result.full]


def round_samples(config: ProbeConfig, sampled: Sampled, result: RoundResult) -> list[Sample]:
    """Return the metrics of the probes of a round."""
    samples = [Sample("probe_cycle_seconds", sampled.rounds * config.interval)]
    for site in sorted(sampled.known):
        samples += _site_samples(site, sampled, result)
    failing = [name for name in failing_peers(sampled.peers, result) if name not in sampled.watched][:FAILING]
    for peer in sampled.peers:
        if peer.name in sampled.watched or peer.name in failing:
            samples += _peer_samples(peer, result)
    return samples


def _site_samples(site: str, sampled: Sampled, result: RoundResult) -> t.Iterator[Sample]:
    labels = {"site": site}
    probed = [peer.address for peer in sampled.peers if peer.site == site]
    reached = sorted(result.small[address] for address in probed if address in result.small)
    yield Sample("probe_known_peers", sampled.known[site], labels)
    yield Sample("probe_peers", len(probed), labels)
    yield Sample("probe_reachable_peers", len(reached), labels)
    yield Sample("probe_full_size_peers", sum(address in result.full for address in probed), labels)
    if reached:
        yield Sample("probe_round_trip_seconds", round(reached[len(reached) // 2], 6), labels)
    encrypted = [peer.address for peer in sampled.peers if peer.site == site and peer.encrypted]
    if encrypted:
        yield from _encrypted_samples(labels, [result.handshakes.get(address, 0) for address in encrypted])


def _encrypted_samples(labels: t.Mapping[str, str], handshakes: t.Sequence[int]) -> t.Iterator[Sample]:
    """Yield the metrics of the probed peers of a site with WireGuard.

    A probe needs a session, and no session is older than SESSION_SECONDS: so a peer that has answered has one.
    """
    living = sum(time.time() - handshake < SESSION_SECONDS for handshake in handshakes)
    yield Sample("probe_wireguard_peers", len(handshakes), labels)
    yield Sample("probe_wireguard_living_peers", living, labels)
    yield Sample("probe_wireguard_oldest_handshake_timestamp_seconds", min(handshakes), labels)


def _peer_samples(peer: ProbePeer, result: RoundResult) -> t.Iterator[Sample]:
    labels = {"peer": peer.name, "site": peer.site}
    yield Sample("probe_peer_reachable", peer.address in result.small, labels)
    yield Sample("probe_peer_full_size", peer.address in result.full, labels)
    if peer.address in result.small:
        yield Sample("probe_peer_round_trip_seconds", round(result.small[peer.address], 6), labels)


# --- one round ---


def run_round(here: str, run: str) -> None:
    """Run one round.

    :param here: the directory of the saved state.
    :param run: the directory of the record.
    """
    config_path, record_path = os.path.join(here, "probe.peers"), os.path.join(run, "probe.record")
    config, record = parse_config(_read(config_path)), parse_record(_read(record_path))
    sampled = sample(config.peers, record)
    result = probe_peers(config.source, sampled.peers)
    samples = round_samples(config, sampled, result)
    endpoint = endpoint_of(_read(os.path.join(here, "api-endpoint")), _read(os.path.join(here, "endpoint.hosts")))
    if endpoint:
        stages = check_endpoint(*endpoint)
        samples += [Sample("endpoint_stage_ok", passed, {"stage": stage}) for stage, passed in stages.items()]
    samples.append(Sample("probe_write_errors_total", record.write_errors))
    samples.append(Sample("probe_last_run_timestamp_seconds", int(time.time())))
    if not os.path.exists(config_path):
        return  # the timer was removed during this round
    failure = _write(config.directory, render(samples), os.path.join(run, "probe.lock"))
    if failure and not record.write_failed:
        sys.stderr.write(f"<4>the metrics cannot be written to {config.directory} (overlay_metrics_dir): {failure}\n")
    names = failing_peers(sampled.peers, result)[: 2 * FAILING]
    text = record_text(ProbeRecord(record.number + 1, record.write_errors + bool(failure), bool(failure), names))
    with contextlib.suppress(OSError), open(record_path, "w", encoding="utf-8") as stream:
        stream.write(text)


def _write(directory: str, text: str, lock: str) -> str:
    """Write the metrics; return why they cannot be written, empty if they were."""
    try:
        write_bounded(directory, FILES[PROBE], text, lock)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def main() -> None:
    """Run one round with the files beside this program."""
    gc.disable()  # this process ends soon, and nothing of the tuples of thousands of peers is garbage before
    run_round(os.path.dirname(os.path.abspath(__file__)), "/run/tke-overlay")


if __name__ == "__main__":
    main()

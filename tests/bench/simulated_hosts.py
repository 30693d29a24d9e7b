# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Hosts that answer like a real one: each module call gets what a real host has answered, with its own values.

A run with ``tests/bench/recording_ssh.py`` on one real host makes the recordings. A simulated host reads what it is
sent as Ansible's wrapper of a module does, and answers with the recording of the same call, in which the name, the node
CIDR, the addresses and the MAC are those of this host, and probes have reached their peers. Other commands than modules
either fetch the saved state or confirm a change.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import functools
import io
import json
import multiprocessing
import os
import re
import socketserver
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.tke.overlay.plugins.action.saved_state import MARK, fetched
from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    Peer,
    parse_fleet,
    vtep_address,
    vtep_mac,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.probe.schedule import peers_to_probe

MODULE = re.compile(rb"^module_fqn=(.*),$", re.MULTILINE)
SAVED, COMMAND = "saved state", "command"
PARAMS = re.compile(rb"^params=(.*),$", re.MULTILINE)


class Call(NamedTuple):
    """A call of a module: its name, its arguments, and which of its recordings answers it."""

    module: str
    params: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The name of the module, and what it was called for."""
        if self.module == "probe":
            return "probe answer" if self.params.get("answer") is not None else "probe peers"
        return self.module


def call_of(sent: bytes) -> Call:
    """Return the call in the file that Ansible sends, or in a command."""
    module, params = MODULE.search(sent), PARAMS.search(sent)
    if module is None or params is None:
        return Call(SAVED if MARK.encode() in sent else COMMAND, {})
    given = json.loads(ast.literal_eval(params[1].decode()))["ANSIBLE_MODULE_ARGS"]
    return Call(ast.literal_eval(module[1].decode()).rpartition(".")[2], given)


class Recordings(NamedTuple):
    """What the real host has answered: kind of the call -> its answers, in the order of the calls."""

    host: Peer
    answers: Mapping[str, Sequence[str]]

    def answer(self, kind: str, number: int) -> str:
        """Return the answer to this call of a kind; further calls change nothing more."""
        found = self.answers[kind]
        return found[min(number, len(found) - 1)]


def read_recordings(directory: Path, host: str) -> Recordings:
    """Return the recordings of a real host."""
    answers: dict[str, list[str]] = {}
    fleet: dict[str, Peer] = {}
    for path in sorted(directory.glob("*.sent")):
        call = call_of(path.read_bytes())
        answers.setdefault(call.kind, []).append(path.with_suffix(".out").read_text())
        if "document" in call.params:
            fleet = fleet_of(call.params["document"]["fleet"])
    return Recordings(fleet[host], answers)


@functools.lru_cache(maxsize=2)
def fleet_of(text: str) -> dict[str, Peer]:
    """Return the peers of the plan."""
    return parse_fleet(text)


@functools.lru_cache(maxsize=2)
def probed_by(sites: str, sample: int) -> dict[str, list[str]]:
    """Return the peers that each node probes.

    :param sites: site -> names, as JSON.
    """
    return peers_to_probe({site: names.split() for site, names in json.loads(sites).items()}, sample)


def values_of(peer: Peer) -> tuple[str, ...]:
    """Return what distinguishes the answers of hosts: MAC, beginning of the node CIDR, underlay address."""
    network = vtep_address(peer.node_cidr).rpartition(".")[0]
    return (vtep_mac(peer.node_cidr), f"{network}.", peer.underlay)


def varied(text: str, recorded: Peer, host: Peer) -> str:
    """Return an answer of the recorded host as an answer of another one."""
    for old, new in zip(values_of(recorded), values_of(host), strict=True):
        text = text.replace(old, new)
    return re.sub(rf"\b{re.escape(recorded.name)}\b", host.name, text)


def varied_archive(output: str, recorded: Peer, host: Peer) -> str:
    """Return the saved state of the recorded host as that of another one; all hosts have the same fleet."""
    texts = fetched(output)
    if not texts:
        return output
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, text in texts.items():
            content = (text if path.endswith("/fleet") else varied(text, recorded, host)).encode()
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return f"{MARK} {base64.b64encode(stream.getvalue()).decode()}\n"


class SimulatedHosts:
    """All hosts of a fleet. What they have seen decides how they answer, as on a real host."""

    def __init__(self, recordings: Recordings) -> None:
        self.recordings = recordings
        self.fleet: dict[str, Peer] = {}
        self.calls: dict[tuple[str, str], int] = {}

    def answer(self, host: str, sent: bytes) -> str:
        """Return what the module prints."""
        call = call_of(sent)
        if "document" in call.params:
            self.fleet = fleet_of(call.params["document"]["fleet"])
        number = self.calls.get((host, call.kind), 0)
        self.calls[host, call.kind] = number + 1
        text = self.recordings.answer(call.kind, number)
        if host in self.fleet:
            vary = varied_archive if call.module == SAVED else varied
            text = vary(text, self.recordings.host, self.fleet[host])
        return self._reached(host, call, text) if call.kind == "probe peers" else text

    def _reached(self, host: str, call: Call, text: str) -> str:
        """Return the answer of a probe that has reached all peers."""
        result = json.loads(text)
        sites = json.dumps(call.params["sites"])
        peers = probed_by(sites, int(call.params["sample"]))[host]
        times = {peer: round(0.2 + (hash((host, peer)) % 100) / 100, 2) for peer in peers}
        tcp = {"echoed": peers if call.params.get("tcp") else [], "refused": []}
        return json.dumps(
            {**result, "asked": len(peers), "answered": len(peers), "rtt_ms": times, "findings": [], "tcp": tcp}
        )


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Serves all connections to simulated hosts."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: str, hosts: SimulatedHosts) -> None:
        self.hosts = hosts
        super().__init__(path, Handler)


class Handler(socketserver.StreamRequestHandler):
    """Answers one command."""

    server: Server

    def handle(self) -> None:
        """Read a command and its standard input, and write its exit code and its output."""
        head = json.loads(self.rfile.readline())
        sent = self.rfile.read(head["length"]) or head["command"].encode()
        text = self.server.hosts.answer(head["host"], sent)
        self.wfile.write(b"0\n" + text.encode())


def serve(path: str, directory: Path, host: str) -> None:
    """Answer for all hosts until this process is ended."""
    Server(path, SimulatedHosts(read_recordings(directory, host))).serve_forever()


@contextlib.contextmanager
def simulated_hosts(directory: Path, host: str, socket: Path) -> Iterator[None]:
    """Run the hosts in a process of their own.

    :param directory: the recordings of the real ``host``.
    """
    process = multiprocessing.get_context("fork").Process(
        target=serve, args=(str(socket), directory, host), daemon=True
    )
    process.start()
    try:
        while not socket.exists() and process.is_alive():
            os.sched_yield()
        yield
    finally:
        process.kill()
        process.join()
        socket.unlink(missing_ok=True)

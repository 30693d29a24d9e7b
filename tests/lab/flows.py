#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Steady flows between Pods: what a change of the overlay costs those who use it.

Some numbered packets a second flow one way between Pods of different hosts, over all pairs of sites in equal parts.
What did not arrive is lost. Beside them runs a flow inside each host, from Pod to Pod over the Pod bridge alone: what
is lost there, or in the buffer of a socket, was lost by a busy machine and not by the overlay.

  tests/lab/flows.py COMMAND...    while the command runs, in the lab that is up; exits with 1 if a packet was lost
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LAB = HERE / "lab"
AGENT = HERE / "flow_agent.py"
COUNT, INTERVAL = 40, 0.02
FIRST_PORT = 20_000
STRAGGLERS = 0.3
"""Seconds for what is under way when the senders have stopped; a round trip of the lab takes less than one of 1,000."""


@dataclasses.dataclass
class Flow:
    """One flow and what became of it; hosts and Pods by name. Times in seconds."""

    source: tuple[str, str]
    target: tuple[str, str]
    address: str
    port: int
    sites: str
    sent: int = 0
    lost: int = 0
    gap: float = 0
    overrun: int = 0
    refused: str = ""

    @property
    def within_a_host(self) -> bool:
        """Whether it is there to be compared with: it never meets the overlay."""
        return self.source[0] == self.target[0]

    def __str__(self) -> str:
        way = f"{'/'.join(self.source)} -> {'/'.join(self.target)}"
        end = f", {self.overrun} of them in a socket's buffer" if self.overrun else ""
        end += f" ({self.refused})" if self.refused else ""
        return f"{self.sites:<12} {way:<32} {self.lost} of {self.sent} lost, longest gap {self.gap * 1000:.0f} ms{end}"


class Flows:
    """A context in which the flows run; afterwards ``flows`` says what became of each.

    :param hosts: whose Pods take part: they, and the flows between them, must outlast the context.
    """

    def __init__(self, hosts: Sequence[str], count: int = COUNT, interval: float = INTERVAL) -> None:
        self.interval = interval
        sites, pods = _sites(), {name: _pods(name) for name in hosts}
        self.flows = list(_choose(pods, sites, count))
        self._agents: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Flows:
        hosts = sorted({host for flow in self.flows for host in (flow.source[0], flow.target[0])})
        for host in hosts:
            self._agents[host] = subprocess.Popen(
                [LAB, "exec", host, "--", "python3", "-c", AGENT.read_text()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._tell(host, json.dumps(self._part_of(host)))
        for host in hosts:
            self._answer(host)
        self._all("start")
        return self

    def __exit__(self, *_error: object) -> None:
        try:
            if not any(_error):
                sent = self._all("stop")
                time.sleep(STRAGGLERS)
                self._conclude(sent, self._all("report"))
        finally:
            for agent in self._agents.values():
                agent.kill()
                agent.communicate()

    def _part_of(self, host: str) -> dict[str, Any]:
        numbered = list(enumerate(self.flows))
        return {
            "interval": self.interval,
            "send": [[n, flow.source[1], flow.address, flow.port] for n, flow in numbered if flow.source[0] == host],
            "receive": [[n, flow.target[1], flow.port] for n, flow in numbered if flow.target[0] == host],
        }

    def _tell(self, host: str, line: str) -> None:
        pipe = self._agents[host].stdin
        if pipe is not None:
            pipe.write(line + "\n")
            pipe.flush()

    def _answer(self, host: str) -> Any:
        pipe = self._agents[host].stdout
        line = pipe.readline() if pipe is not None else ""
        if not line:
            raise RuntimeError(f"the flows of {host} ended before their time")
        return json.loads(line)

    def _all(self, word: str) -> dict[str, Any]:
        for host in self._agents:
            self._tell(host, word)
        return {host: self._answer(host) for host in self._agents}

    def _conclude(self, sent: dict[str, Any], received: dict[str, Any]) -> None:
        for number, flow in enumerate(self.flows):
            there = received[flow.target[0]][str(number)]
            flow.sent = sent[flow.source[0]]["sent"]
            flow.refused = sent[flow.source[0]]["refused"].get(str(number), "")
            flow.lost, flow.gap, flow.overrun = flow.sent - there["numbers"], there["gap"], there["overrun"]
            if flow.lost and not flow.gap:  # its end is missing: from the last packet to the last one sent
                flow.gap = flow.lost * self.interval

    def sent(self) -> int:
        """The packets that were sent to go over the overlay."""
        return sum(flow.sent for flow in self.flows if not flow.within_a_host)

    def lost(self) -> list[Flow]:
        """The flows over the overlay that lost packets to it."""
        return [flow for flow in self.flows if not flow.within_a_host and flow.lost > flow.overrun]

    def disturbed(self) -> list[Flow]:
        """What the machine itself lost: nothing can be said of the overlay then."""
        return [flow for flow in self.flows if (flow.within_a_host and flow.lost) or flow.overrun]

    def longest_gap(self) -> float:
        """Seconds of the longest interruption by the overlay."""
        return max((flow.gap for flow in self.lost()), default=0)

    def __str__(self) -> str:
        across = [flow for flow in self.flows if not flow.within_a_host]
        lost = sum(flow.lost for flow in across)
        inside = sum(flow.lost for flow in self.flows if flow.within_a_host)
        gap = f"longest gap {self.longest_gap() * 1000:.0f} ms"
        total = f"{len(across)} flows, {self.sent()} packets: {lost} lost, {gap}; inside the hosts {inside} lost"
        return "\n".join([total, *(str(flow) for flow in self.flows if flow.lost)])


def _choose(pods: dict[str, dict[str, str]], sites: dict[str, str], count: int) -> Iterator[Flow]:
    """As many flows over each pair of sites, as far as it can be, and one inside each host."""
    ends = [(host, pod) for host in pods for pod in pods[host]]
    kinds: dict[str, list[tuple[tuple[str, str], tuple[str, str]]]] = {}
    for one, other in itertools.permutations(ends, 2):
        if one[0] != other[0]:
            kinds.setdefault(f"{sites[one[0]]}-{sites[other[0]]}", []).append((one, other))
    turns = [zip(itertools.repeat(kind), itertools.cycle(pairs)) for kind, pairs in sorted(kinds.items())]
    wanted = list(itertools.islice((next(turn) for turn in itertools.cycle(turns)), count))
    for host, names in pods.items():
        first, second = sorted(names)[:2]
        wanted.append(("same host", ((host, first), (host, second))))
    for port, (kind, (one, other)) in enumerate(wanted, FIRST_PORT):
        yield Flow(one, other, pods[other[0]][other[1]], port, kind)


def _lab(*words: str) -> str:
    return subprocess.run([LAB, *words], stdout=subprocess.PIPE, text=True, check=True).stdout


def _sites() -> dict[str, str]:
    """Host -> the network it lives in."""
    done = subprocess.run([LAB, "status", "--json"], stdout=subprocess.PIPE, text=True, check=False)
    return {entry["host"]: entry["network"] for entry in json.loads(done.stdout)}


def _pods(host: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(_lab("exec", host, "--", "lab-pod", "list"))
    return found


def hosts_with_pods() -> Iterable[str]:
    """The hosts of the lab on which Pods can be."""
    for host in _sites():
        if subprocess.run([LAB, "exec", host, "--", "test", "-x", "/usr/local/sbin/lab-pod"], check=False).returncode:
            continue
        yield host


def main() -> int:
    """Runs the command of the command line while the flows run."""
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    with Flows(list(hosts_with_pods())) as flows:
        code = subprocess.run(sys.argv[1:], check=False).returncode
    print(flows)
    return code or (1 if flows.lost() else 0)


if __name__ == "__main__":
    sys.exit(main())

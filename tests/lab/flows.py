#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Steady flows between Pods, which measure the packets that a change of the overlay loses.

Each flow sends numbered packets at an interval from a Pod to a Pod of another host. The flows are distributed over all
pairs of sites in equal parts. A packet that does not arrive is lost. A further flow per host runs between two Pods of
that host over the Pod bridge alone: a packet that is lost there, or in the buffer of a socket, is lost because the
machine is busy, not because of the overlay.

  tests/lab/flows.py COMMAND...    run the command in the running lab; exit with 1 if it fails or a packet was lost
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

from tkelab.lab import current, entrance

AGENT = Path(__file__).resolve().parent / "flow_agent.py"
COUNT, INTERVAL = 40, 0.02
FIRST_PORT = 20_000
STRAGGLERS = 0.3
"""Seconds for the packets in flight after the senders stop. A round trip in the lab takes less than 1 ms."""


@dataclasses.dataclass
class Flow:
    """One flow and its result, with the names of hosts and Pods. Times are in seconds."""

    source: tuple[str, str]
    target: tuple[str, str]
    address: str
    port: int
    sites: str
    sent: int = 0
    lost: int = 0
    gap: float = 0
    overrun: int = 0
    error: str = ""

    @property
    def within_a_host(self) -> bool:
        """Whether the flow does not use the overlay, and shows only what the machine itself loses."""
        return self.source[0] == self.target[0]

    def __str__(self) -> str:
        path = f"{'/'.join(self.source)} -> {'/'.join(self.target)}"
        end = f", {self.overrun} of them in a socket's buffer" if self.overrun else ""
        end += f" ({self.error})" if self.error else ""
        return f"{self.sites:<12} {path:<32} {self.lost} of {self.sent} lost, longest gap {self.gap * 1000:.0f} ms{end}"


class Flows:
    """A context in which the flows run. Afterwards, ``flows`` contains the results.

    :param hosts: the hosts whose Pods send and receive. The Pods must exist until the context ends.
    """

    def __init__(self, hosts: Sequence[str], count: int = COUNT, interval: float = INTERVAL) -> None:
        self.interval = interval
        sites, pods = _sites(), {name: _pods(name) for name in hosts}
        self.flows = list(_choose(pods, sites, count))
        self._agents: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> Flows:
        hosts = sorted({host for flow in self.flows for host in (flow.source[0], flow.target[0])})
        for host in hosts:
            entry, environment = entrance(host)
            self._agents[host] = subprocess.Popen(
                [*entry, "python3", "-c", AGENT.read_text()],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._send(host, json.dumps(self._part_of(host)))
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

    def _send(self, host: str, line: str) -> None:
        pipe = self._agents[host].stdin
        if pipe is not None:
            pipe.write(line + "\n")
            pipe.flush()

    def _answer(self, host: str) -> Any:
        pipe = self._agents[host].stdout
        line = pipe.readline() if pipe is not None else ""
        if not line:
            raise RuntimeError(f"the flow agent on {host} ended unexpectedly")
        return json.loads(line)

    def _all(self, word: str) -> dict[str, Any]:
        for host in self._agents:
            self._send(host, word)
        return {host: self._answer(host) for host in self._agents}

    def _conclude(self, sent: dict[str, Any], received: dict[str, Any]) -> None:
        for number, flow in enumerate(self.flows):
            there = received[flow.target[0]][str(number)]
            flow.sent = sent[flow.source[0]]["sent"]
            flow.error = sent[flow.source[0]]["errors"].get(str(number), "")
            flow.lost, flow.gap, flow.overrun = flow.sent - there["numbers"], there["gap"], there["overrun"]
            if flow.lost and not flow.gap:  # the last packets are missing, so no later packet ends the gap
                flow.gap = flow.lost * self.interval

    def sent(self) -> int:
        """Return the number of packets that were sent over the overlay."""
        return sum(flow.sent for flow in self.flows if not flow.within_a_host)

    def lost(self) -> list[Flow]:
        """Return the flows in which the overlay lost packets."""
        return [flow for flow in self.flows if not flow.within_a_host and flow.lost > flow.overrun]

    def disturbed(self) -> list[Flow]:
        """Return the flows in which the machine itself lost packets, so that the overlay cannot be judged."""
        return [flow for flow in self.flows if (flow.within_a_host and flow.lost) or flow.overrun]

    def longest_gap(self) -> float:
        """Return the longest interruption by the overlay, in seconds."""
        return max((flow.gap for flow in self.lost()), default=0)

    def __str__(self) -> str:
        across = [flow for flow in self.flows if not flow.within_a_host]
        lost = sum(flow.lost for flow in across)
        inside = sum(flow.lost for flow in self.flows if flow.within_a_host)
        gap = f"longest gap {self.longest_gap() * 1000:.0f} ms"
        total = f"{len(across)} flows, {self.sent()} packets: {lost} lost, {gap}; inside the hosts {inside} lost"
        return "\n".join([total, *(str(flow) for flow in self.flows if flow.lost)])


def _choose(pods: dict[str, dict[str, str]], sites: dict[str, str], count: int) -> Iterator[Flow]:
    """Yield the flows: the same number for each pair of sites, as far as possible, and one inside each host."""
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


def _sites() -> dict[str, str]:
    """Return the network of each host."""
    return {name: member.network.name for name, member in current().hosts.items()}


def _pods(host: str) -> dict[str, str]:
    entry, environment = entrance(host)
    done = subprocess.run([*entry, "lab-pod", "list"], env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def hosts_with_pods() -> Iterable[str]:
    """Yield the hosts of the lab that can have Pods."""
    for host in _sites():
        entry, environment = entrance(host)
        program = [*entry, "test", "-x", "/usr/local/sbin/lab-pod"]
        if subprocess.run(program, env=environment, check=False).returncode:
            continue
        yield host


def main() -> int:
    """Run the command of the command line while the flows run."""
    if len(sys.argv) < 2:
        sys.exit(str(__doc__))
    with Flows(list(hosts_with_pods())) as flows:
        code = subprocess.run(sys.argv[1:], check=False).returncode
    print(flows)
    return code or (1 if flows.lost() else 0)


if __name__ == "__main__":
    sys.exit(main())

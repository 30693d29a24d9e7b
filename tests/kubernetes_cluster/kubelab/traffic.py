# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Counted requests: from Pods and from hosts, at rest and while something happens."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any

from .hosts import FILES, StepError, objects, on

AGENT = (FILES / "agent.py").read_text()
PARALLEL = 3


@dataclasses.dataclass(frozen=True)
class Pod:
    """A running Pod of the test."""

    name: str
    node: str
    address: str


@dataclasses.dataclass
class Row:
    """A line of the table. A row without a count has `sent` 0. With `unreachable`, all requests must be lost."""

    name: str
    sent: int = 0
    lost: int = 0
    gap: float = 0.0
    note: str = ""
    failed: bool = False
    unreachable: bool = False

    @property
    def passed(self) -> bool:
        """Whether there was no error, and as many requests were lost as must be."""
        return not self.failed and self.lost == (self.sent if self.unreachable else 0)

    def add(self, result: dict[str, Any]) -> None:
        """Add the counts of an agent."""
        self.sent += result["sent"]
        self.lost += result["lost"]
        self.gap = max(self.gap, result["gap"])
        for text, number in result["errors"].items():
            if text not in self.note:
                self.note = f"{self.note}; {number} x {text[:100]}".removeprefix("; ")[:400]


def agents(label: str = "app=agent") -> dict[str, Pod]:
    """Return the running Pods with a label, by node."""
    items = objects(f"pods -l {label}")["items"]
    pods = [
        Pod(item["metadata"]["name"], item["spec"]["nodeName"], item["status"]["podIP"])
        for item in items
        if item["status"].get("podIP") and "deletionTimestamp" not in item["metadata"]
    ]
    return {pod.node: pod for pod in pods}


def from_pod(pod: Pod, url: str, count: int, rate: float = 20, seconds: float = 8) -> dict[str, Any]:
    """Let a Pod send requests, and return what it counted. Its own host asks it to, without the API server."""
    query = urllib.parse.urlencode({"url": url, "count": count, "rate": rate, "seconds": seconds})
    limit = int(count / rate + seconds + 60)
    text = on(pod.node, f"curl -sS --max-time {limit} 'http://{pod.address}:8080/ask?{query}'", seconds=limit + 10)
    result: dict[str, Any] = json.loads(text)
    return result


def from_host(name: str, url: str, count: int, rate: float = 20, seconds: float = 8) -> dict[str, Any]:
    """Send requests from a host, outside of any Pod."""
    text = on(name, f"python3 - ask '{url}' {count} {rate} {seconds}", stdin=AGENT, seconds=count / rate + 120)
    result: dict[str, Any] = json.loads(text)
    return result


@dataclasses.dataclass(frozen=True)
class Flow:
    """Requests from a Pod, or from a host, to a URL."""

    source: Pod | str
    url: str

    def send(self, count: int, rate: float) -> dict[str, Any]:
        """Send so many requests."""
        if isinstance(self.source, Pod):
            return from_pod(self.source, self.url, count, rate)
        return from_host(self.source, self.url, count, rate)


def measure(name: str, flows: list[Flow], count: int, rate: float = 20) -> Row:
    """Return the sum of all flows, a few at a time."""
    row = Row(name)
    with concurrent.futures.ThreadPoolExecutor(PARALLEL) as pool:
        for result in pool.map(lambda flow: flow.send(count, rate), flows):
            row.add(result)
    return row


@contextlib.contextmanager
def during(name: str, flows: list[Flow], rate: float = 10) -> Iterator[Row]:
    """Send on all flows while the body runs, in rounds of two seconds; the row has the sum at the end."""
    row, ended, lock = Row(name), threading.Event(), threading.Lock()
    begun = threading.Barrier(len(flows) + 1)

    def rounds(flow: Flow) -> None:
        begun.wait()
        while not ended.is_set():
            count = int(rate * 2)
            try:
                result = flow.send(count, rate)
            except StepError as error:  # not even the Pod's own host reaches it
                result = {"sent": count, "lost": count, "gap": 0.0, "errors": {str(error)[-100:]: count}}
            with lock:
                row.add(result)

    with concurrent.futures.ThreadPoolExecutor(len(flows)) as pool:
        futures = [pool.submit(rounds, flow) for flow in flows]
        begun.wait()
        try:
            yield row
        finally:
            ended.set()
        for future in futures:
            future.result()


@contextlib.contextmanager
def connected(name: str, pairs: list[tuple[Pod, Pod]]) -> Iterator[Row]:
    """Keep one TCP connection between each pair of Pods, and count the lines that it carries while the body runs."""
    row = Row(name)

    def tell(verb: str, pair: tuple[Pod, Pod]) -> str:
        one, other = pair
        return on(one.node, f"curl -sSf --max-time 40 'http://{one.address}:8080/{verb}?host={other.address}'")

    for pair in pairs:
        tell("begin", pair)
    try:
        yield row
    finally:
        for pair in pairs:
            row.add(json.loads(tell("end", pair)))

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Break one host of the pair in five ways, repeatedly, and measure the outages of clients.

A host of the data centre opens 200 new TLS connections per second to the VIP of the API servers, and keeps 50 others
open. An *outage* is the time from the start of the last good connection before failed ones to the start of the first
good one after them, which is an upper bound. Also measured are the time during which both hosts had the same VIP while
both could reach the network, and the time during which a VIP stayed on a host that could not proxy. Requires a running
lab in which tke.overlay.site and tests/lab/cluster.yml have run.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

LAB = Path(__file__).resolve().parents[1] / "lab" / "lab"
LOAD = Path(__file__).with_name("load.py")

CLIENT = "idc1"
PREFERRED, STANDBY = "clb1", "clb2"
PAIR = (PREFERRED, STANDBY)
API_PORT = 6443
RATE, LASTING = 200, 50
LIMIT = 1.0
GAP = 0.3  # an outage ends when all connections are good for this long
TICK = 0.01  # between two samples of the holders of the VIPs


def lab(*words: str, stdin: IO[bytes] | None = None) -> str:
    """Run a verb of the lab, which must succeed, and return its output."""
    done = subprocess.run([LAB, *words], stdin=stdin or subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"lab {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout


def vips() -> dict[str, str]:
    """Return the VIPs by name, from the ledger."""
    suffix = "" if (name := os.environ.get("TKE_LAB", "lab")) == "lab" else f"-{name}"
    found: dict[str, str] = json.loads(Path(f"/var/lib/tke-overlay-lab{suffix}/overlay-ledger.json").read_text())[
        "vips"
    ]
    return found


# --- the holders of the VIPs -----------------------------------------------------------------------


class Holders:
    """Records every TICK seconds which VIPs each host of the pair has, from /proc, without a command on the host."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        self.samples: list[tuple[float, dict[str, frozenset[str]]]] = []
        self.cut: set[str] = set()
        self._tables: dict[str, Path] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Holders:
        self.find()
        self._thread.start()
        return self

    def __exit__(self, *_about: object) -> None:
        self._ended.set()
        self._thread.join()

    def find(self) -> None:
        """Find the processes of the hosts, which change with a reboot."""
        rows = json.loads(subprocess.run([LAB, "status", "--json"], capture_output=True, check=False).stdout)
        self._tables = {
            row["host"]: Path(f"/proc/{row['pid']}/net/fib_trie") for row in rows if row["host"] in PAIR and row["pid"]
        }

    def now(self) -> dict[str, frozenset[str]]:
        """Return the VIPs by which each host is reachable."""
        return {host: frozenset() if host in self.cut else self._of(host) for host in PAIR}

    def _of(self, host: str) -> frozenset[str]:
        try:
            text = self._tables[host].read_text()
        except (OSError, KeyError):
            return frozenset()  # the host is off
        return frozenset(name for name, address in self.addresses.items() if f"|-- {address}\n" in text)

    def _watch(self) -> None:
        while not self._ended.wait(TICK):
            self.samples.append((time.time(), self.now()))

    def longest(self, since: float, until: float, what: Callable[[dict[str, frozenset[str]]], bool]) -> float:
        """Return the longest time, in seconds, during which a condition held without interruption.

        :param since: start and, with ``until``, end of the time, in seconds of CLOCK_REALTIME.
        :raises RuntimeError: when there is no sample in that time, because 0 would look like a good result.
        """
        samples = [sample for sample in self.samples if since <= sample[0] <= until]
        if not samples:
            raise RuntimeError(f"no sample of the holders of the VIPs in {until - since:.1f} s")
        best, start = 0.0, None
        for moment, held in samples:
            if what(held):
                start = moment if start is None else start
                best = max(best, moment - start + TICK)
            else:
                start = None
        return best

    def await_preferred(self, seconds: float) -> None:
        """Wait until each VIP is on its preferred host only.

        :raises RuntimeError: when it is not after so many seconds.
        """
        deadline = time.monotonic() + seconds
        while self.now() != {PREFERRED: frozenset({"apiserver"}), STANDBY: frozenset({"services"})}:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the VIPs are not on their preferred hosts after {seconds:.0f} s: {self.now()}")
            time.sleep(TICK)


# --- load ------------------------------------------------------------------------------------


@contextlib.contextmanager
def load(address: str, port: int = API_PORT, name: str = "api.lab.internal", lasting: int = LASTING) -> Iterator[Any]:
    """Run the load from the data centre while the body runs. Afterwards, the yielded dict contains its results."""
    with LOAD.open("rb") as program:
        lab("exec", CLIENT, "--", "sh", "-c", "cat >/run/load.py", stdin=program)
    command = (*("python3", "/run/load.py", address, str(port), name), "--rate", str(RATE), "--lasting", str(lasting))
    result: dict[str, Any] = {}
    with subprocess.Popen(
        [LAB, "exec", CLIENT, "--", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if "ready" not in process.stdout.readline():
            raise RuntimeError(f"the load on {address}:{port} did not start")
        try:
            yield result
        finally:
            process.stdin.close()
            result.update(json.loads(process.stdout.readline() or "{}"))


def outages(result: dict[str, Any]) -> list[tuple[float, float, int]]:
    """Return the outages: the start of each, its length in seconds, and the number of failed connections."""
    clusters: list[list[float]] = []
    for start, *_about in sorted(result["failures"]):
        if not clusters or start - clusters[-1][-1] >= GAP:
            clusters.append([])
        clusters[-1].append(start)
    good = [0.0, *sorted(result["good"]), float("inf")]
    return [
        (each[0], good[bisect.bisect(good, each[-1])] - good[bisect.bisect(good, each[0]) - 1], len(each))
        for each in clusters
    ]


# --- faults ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Fault:
    """A way to break the preferred host of the VIP, and to repair it (nothing, if the host repairs itself)."""

    about: str
    break_it: Callable[[], object]
    repair: Callable[[], object] = lambda: None
    proxies: bool = False  # whether the host can still proxy, or has no network


def signal(unit: str, name: str) -> Callable[[], str]:
    """Return a function that sends a signal to all processes of a service."""
    return lambda: lab("exec", PREFERRED, "--", "systemctl", "kill", f"--signal={name}", f"tke-overlay-{unit}.service")


FAULTS = {
    "haproxy-kill": Fault("SIGKILL of HAProxy", signal("haproxy", "KILL")),
    "haproxy-stop": Fault("SIGSTOP of HAProxy", signal("haproxy", "STOP"), signal("haproxy", "CONT")),
    "keepalived-kill": Fault("SIGKILL of keepalived", signal("keepalived", "KILL"), proxies=True),
    "poweroff": Fault(
        "power-off of the host", lambda: lab("poweroff", PREFERRED), lambda: lab("reboot", PREFERRED), proxies=True
    ),
    "cut": Fault(
        "network cut of the host", lambda: lab("cut", PREFERRED), lambda: lab("heal", PREFERRED), proxies=True
    ),
}


@dataclasses.dataclass(frozen=True)
class Moments:
    """The times of one fault, in seconds of CLOCK_REALTIME."""

    begin: float  # before the command that breaks the host
    broken: float  # after that command
    repaired: float  # before the command that repairs the host
    end: float


@dataclasses.dataclass
class Event:
    """One fault as clients and the network observe it, in seconds."""

    fault: str
    outage: float = 0.0  # of new connections, after the fault
    return_outage: float = 0.0  # of new connections, when the VIP returned to its preferred host
    failed: int = 0  # number of failed new connections, in both outages
    broken: int = 0  # number of open connections that the fault broke
    broken_by_return: int = 0  # number of open connections that the return of the VIP broke
    both_hold: float = 0.0  # both hosts had the VIP
    without_proxy: float = 0.0  # the VIP stayed on a host without a proxy
    stall: float = 0.0  # maximum delay of the load itself


def measure(names: Sequence[str], times: int, progress: Callable[[str], None] = print) -> list[Event]:
    """Cause each fault so many times, in turns, under the load, and return what was measured."""
    moments: list[tuple[str, Moments]] = []
    with Holders(vips()) as holders:
        holders.await_preferred(30)
        with load(vips()["apiserver"]) as result:
            for number in range(times):
                for name in names:
                    moments.append((name, _one(FAULTS[name], holders)))
                    progress(f"{number + 1}/{times} {FAULTS[name].about}")
        return [_event(name, times, holders, result) for name, times in moments]


def _one(fault: Fault, holders: Holders) -> Moments:
    """Cause and repair one fault, wait until the VIPs are on their preferred hosts, and return the times."""
    begin = time.time()
    cuts = fault is FAULTS["cut"]
    fault.break_it()
    if cuts:
        holders.cut.add(PREFERRED)
    broken = time.time()
    time.sleep(1.5)
    repaired = time.time()
    fault.repair()
    holders.cut.discard(PREFERRED)
    if fault is FAULTS["poweroff"]:
        holders.find()
    holders.await_preferred(30)
    time.sleep(0.7)
    return Moments(begin, broken, repaired, time.time())


def _event(name: str, times: Moments, holders: Holders, result: dict[str, Any]) -> Event:
    """Return what the load and the holders of the VIPs show of one fault."""
    fault, event = FAULTS[name], Event(name)
    for start, length, count in outages(result):
        if not times.begin <= start < times.end:
            continue
        event.failed += count
        if start < times.repaired:
            event.outage = max(event.outage, length)
        else:
            event.return_outage = max(event.return_outage, length)
    broken = [moment for moment, _why in result["broken"] if times.begin <= moment < times.end]
    event.broken = sum(moment < times.repaired for moment in broken)
    event.broken_by_return = len(broken) - event.broken
    event.both_hold = holders.longest(times.begin, times.end, lambda held: bool(held[PREFERRED] & held[STANDBY]))
    if not fault.proxies:
        event.without_proxy = holders.longest(times.broken, times.repaired, lambda held: bool(held[PREFERRED]))
    event.stall = max((behind for moment, behind in result["late"] if times.begin <= moment < times.end), default=0.0)
    return event


# --- output ---------------------------------------------------------------------------


def report(events: Sequence[Event]) -> str:
    """Return the distribution of the outages of each fault, one line each."""
    heading = ("return max", "two hold", "no proxy", "load late")
    lines = [
        f"{'seconds without new connections':<34}{'n':>4}{'min':>7}{'median':>8}{'p90':>7}{'max':>7}"
        + "".join(f"{word:>11}" for word in heading)
        + f"{'lasting broken':>17}"
    ]
    for name, fault in FAULTS.items():
        own = [event for event in events if event.fault == name]
        if not own:
            continue
        spread = sorted(event.outage for event in own)
        broken = statistics.median(event.broken for event in own)
        home = statistics.median(event.broken_by_return for event in own)
        lines.append(
            f"{fault.about:<34}{len(own):>4}{spread[0]:>7.3f}{statistics.median(spread):>8.3f}"
            f"{spread[int(0.9 * (len(spread) - 1))]:>7.3f}{spread[-1]:>7.3f}"
            f"{max(event.return_outage for event in own):>11.3f}{max(event.both_hold for event in own):>11.3f}"
            f"{max(event.without_proxy for event in own):>11.3f}{max(event.stall for event in own):>11.3f}"
            f"{f'{broken:.0f} + {home:.0f}':>17}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run the faults of the command line; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fault", nargs="*", help=f"which (default: all): {', '.join(FAULTS)}")
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    if unknown := set(options.fault) - set(FAULTS):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}")
    print(f"load of the machine at the start: {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs", flush=True)
    events = measure(options.fault or list(FAULTS), options.times, lambda text: print(text, flush=True))
    print(f"\n{report(events)}\n\nload of the machine at the end: {os.getloadavg()[0]:.1f}")
    worst = max(max(event.outage, event.return_outage, event.both_hold, event.without_proxy) for event in events)
    return 0 if worst <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Functions for the tests of sites and links: what the routes of a host use, and packets between Pods of two hosts."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any

from wire import Wire

from stories import LAB, ROOT, Play, lab, ledger, on, site

LINKS = ROOT / "inventories/lab_links/hosts.yml"
OFFERED = 10_000
"""Packets that each row of the table *never in clear* offers."""

SEND = """
import socket, sys, time
target, count, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
begin, sent = time.monotonic(), 0
for number in range(count):
    try:
        sender.sendto(b"offered", (target, 9))
    except OSError:
        pass  # refused by the own host: the packet was offered all the same
    sent += 1
    if number % 50 == 0:
        time.sleep(max(begin + number * seconds / count - time.monotonic(), 0))
print(sent)
"""

FULL = """
import errno, json, socket, sys, time
target, size = sys.argv[1], int(sys.argv[2])
probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
probe.setsockopt(socket.SOL_IP, 10, 2)  # IP_MTU_DISCOVER: IP_PMTUDISC_DO, never a fragment
probe.connect((target, 9))
answers = []
for number in range(20):
    try:
        probe.send(bytes(size + 1 - 28))
        answers.append(0)
    except OSError as error:
        if error.errno not in (errno.EMSGSIZE, errno.ECONNREFUSED):
            raise
        if error.errno == errno.EMSGSIZE:
            break
    time.sleep(0.05)
print(json.dumps({"sent": len(answers), "mtu": probe.getsockopt(socket.SOL_IP, 14)}))  # IP_MTU
"""
"""Sends packets that are a byte too large for the link until the own host answers, and prints the MTU of its answer."""


def links(*listed: tuple[str, ...]) -> tuple[str, str]:
    """Return the arguments that set ``overlay_links``: each a transport, one or two sites, and optionally an MTU."""
    entries: list[dict[str, Any]] = []
    for transport, *words in listed:
        mtu = {"mtu": int(words.pop())} if words[-1].isdigit() else {}
        entries.append({"transport": transport, "sites": words, **mtu})
    return "-e", json.dumps({"overlay_links": entries})


def pod_of(name: str) -> str:
    """Return the address of the first Pod of a host."""
    return str(json.loads(on(name, "lab-pod list"))["pod-1"])


def node_cidr(name: str) -> str:
    """Return the node CIDR of a host."""
    return str(ledger()["nodes"][name]["node_cidr"])


def route(name: str, other: str) -> dict[str, Any]:
    """Return the route of a host to the Pods of another one: ``dev``, ``mtu`` where it has one, and ``gateway``."""
    rows = json.loads(on(name, f"ip -json route show {node_cidr(other)} proto 144"))
    (found,) = [row for row in rows if "dev" in row]
    return {**found, "mtu": next((each["mtu"] for each in found.get("metrics", []) if "mtu" in each), None)}


def pinged(name: str, other: str, size: int) -> bool:
    """Return whether an echo request of a size, which must not be fragmented, is answered from Pod to Pod."""
    words = f"ip netns exec pod-1 ping -n -q -M do -c 1 -W 2 -s {size - 28} {pod_of(other)}"
    return on(name, f"{words} >/dev/null 2>&1 && echo yes || echo no").strip() == "yes"


def answered_mtu(name: str, other: str, size: int) -> dict[str, int]:
    """Send UDP packets that are a byte larger than a size; return how many were sent, and the MTU that was answered."""
    command = ["ip", "netns", "exec", "pod-1", "python3", "-c", FULL, pod_of(other), str(size)]
    found: dict[str, int] = json.loads(lab("exec", name, "--", *command))
    return found


@contextlib.contextmanager
def offering(name: str, other: str, seconds: float) -> Iterator[None]:
    """Send :data:`OFFERED` packets from a Pod of a host to one of another while the body runs; all must be offered."""
    command = ["ip", "netns", "exec", "pod-1", "python3", "-c", SEND, pod_of(other), str(OFFERED), str(seconds)]
    sender = subprocess.Popen([LAB, "exec", name, "--", *command], stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        printed = sender.communicate()[0]
    assert printed == f"{OFFERED}\n"


@contextlib.contextmanager
def never_in_clear(one: str, other: str) -> Iterator[Wire]:
    """Check that the body causes no packet between the Pods of two hosts in clear."""
    with Wire((node_cidr(one), node_cidr(other))) as wire:
        yield wire
    assert wire.clear == 0, str(wire)


def on_all(names: Sequence[str], script: str) -> dict[str, str]:
    """Run a shell script on several hosts at the same time; return its output by host."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(lambda name: on(name, script), names), strict=True))


def linked_site(*arguments: str) -> Play:
    """Run ``tke.overlay.site`` on the fleet with the site behind NAT, which must succeed."""
    return site(*arguments, inventories=FLEET)


FLEET = (ROOT / "inventories/lab/hosts.yml", LINKS)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What must hold after a run that was killed, and another one that was not."""

from __future__ import annotations

import concurrent.futures
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from operations import LEAVING

from stories import LEDGER, NODES, PAIR, lab, ledger, matrix, on

LEFTOVERS = Path(__file__).with_name("leftovers.sh").read_text()
SUMMARY = "cat /etc/tke-overlay/summary /etc/tke-overlay/fleet 2>/dev/null; true"
Things = Mapping[str, frozenset[str]]


def things(names: Sequence[str] = (*NODES, *PAIR)) -> Things:
    """Return what each host has, and the controller beside the ledger: see leftovers.sh."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        texts = pool.map(lambda name: lab("exec", name, "--", "sh", "-c", LEFTOVERS), names)
        found = {name: frozenset(text.splitlines()) for name, text in zip(names, texts, strict=True)}
    return {**found, "controller": frozenset(_beside_ledger())}


def _beside_ledger() -> Iterator[str]:
    """Yield the files beside the ledger, without its previous versions, of which each run can write one."""
    for path in LEDGER.parent.iterdir():
        if not path.suffix.lstrip(".").isdecimal():
            yield path.name


def unlike(reference: Things) -> Iterator[str]:
    """Yield how the hosts differ from what an uninterrupted run has made of them."""
    found = things()
    for name, wanted in reference.items():
        if surplus := sorted(found[name] - wanted):
            yield f"{name} has in addition: {', '.join(surplus)}"
        if missing := sorted(wanted - found[name]):
            yield f"{name} does not have: {', '.join(missing)}"


def contradictions() -> Iterator[str]:
    """Yield what is wrong with the ledger, and with hosts that differ from it or from each other."""
    document = ledger()
    held = {name: node["node_cidr"] for name, node in document["nodes"].items()}
    taken = [*held.values(), *document["pending"]]
    if twice := sorted({cidr for cidr in taken if taken.count(cidr) > 1}):
        yield f"in the ledger twice: {', '.join(twice)}"
    for cidr, waiting in document["pending"].items():
        if waiting["on"]:
            yield f"{cidr} of {waiting['node']} is still pending on {', '.join(waiting['on'])}"
    texts = {name: on(name, SUMMARY) for name in held}
    fleets: dict[str, str] = {}
    for name, cidr in held.items():
        lines = texts[name].splitlines()
        if f"node_cidr: {cidr}" not in [" ".join(line.split()) for line in lines]:
            yield f"{name} does not have {cidr}, as in the ledger"
        fleets.setdefault("\n".join(sorted(line for line in lines if line.split()[:1] in [[n] for n in held])), name)
    if len(fleets) > 1:
        yield f"not all nodes know the same fleet: {' differs from '.join(fleets.values())}"


def unreachable(leaves: bool) -> Iterator[str]:
    """Yield the pairs of Pods without a reply. A host that leaves or was just added has no Pods: its VTEP answers."""
    names = [name for name in NODES if name != LEAVING or not leaves]
    for pair in matrix(names=names):
        if not (pair["small"] and pair["full"]):
            yield f"no reply: {pair['from']} -> {pair['to']}"
    cidr = ledger()["nodes"].get(LEAVING, {}).get("node_cidr", "") if leaves else ""
    for name in names if cidr else ():
        with contextlib.suppress(AssertionError):
            on(name, f"ping -q -c 1 -W 2 {cidr.partition('/')[0]}")
            continue
        yield f"no reply: {name} -> the VTEP of {LEAVING}"


def problems(reference: Things, leaves: bool) -> list[str]:
    """Return all that is wrong."""
    return [*contradictions(), *unlike(reference), *unreachable(leaves)]

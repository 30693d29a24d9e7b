#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Random operations on a fleet in the lab, with a model beside it: after each quiet period both must agree.

Operations come in rounds. In each round some nodes stay untouched, and flows run between their Pods, which must lose
nothing. At the end of a round the faults are healed, an operation that was killed is repeated, and the model is
compared with the ledger and the tables of every host. A second run of tke.overlay.site must not change anything, and
tke.overlay.verify must find the network healthy. The operations are a function of the seed, which is printed.

Requires a running lab that was started from the inventory that `--inventory` has written; `make soak` does both.
"""

from __future__ import annotations

import argparse
import dataclasses
import ipaddress
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/lab")]

from tests.soak.chooser import Chooser, Settings  # noqa: E402  # found by the line above
from tests.soak.lab_fleet import MOST, LabFleet, Place, RunError, machines, network_of  # noqa: E402
from tests.soak.session import DisagreementError, Session  # noqa: E402
from tests.soak.world import SITES, World  # noqa: E402

MEMBERS = 0.8
"""The share of the hosts that are nodes at the beginning."""
FIRST_ADDRESS = 10
SPARE = 8
"""Node CIDRs more than hosts at least: few, so that the cursor soon begins another cycle."""
PODS = 16
FLOWS = 40
RESTORE_SECONDS = 60
LAST = 30
"""Lines of the history that the report of a failure repeats."""
MTU = {"cloud": 1500, "idc": 1450}


def new_world(hosts: int) -> World:
    """Return the machines of a new lab, of which the first ones of each site are nodes."""
    each = hosts // len(SITES)
    login = {
        f"{site}{number}": f"{network_of(site, number)[1]}.{FIRST_ADDRESS + number}"
        for site in SITES
        for number in range(1, each + 1)
    }
    world = World(machines(list(login), login), MTU)
    first = range(1, max(2, round(each * MEMBERS)) + 1)
    return with_members(world, [f"{site}{number}" for site in SITES for number in first])


def with_members(world: World, names: Sequence[str]) -> World:
    """Return the world in which these machines are nodes."""
    for name in names:
        world = world.with_machine(dataclasses.replace(world[name], member=True))
    return world


def pool(hosts: int) -> tuple[list[str], int, list[str]]:
    """Return the container CIDRs, the number of Services, and the node CIDRs for a lab of this size."""
    wanted = hosts + SPARE
    size = 1 << (wanted * PODS - 1).bit_length()
    network = ipaddress.IPv4Network(("10.244.0.0", 33 - size.bit_length()))
    services = 1 << ((size - wanted * PODS) or 32).bit_length() - 1
    count = (size - services) // PODS
    return [str(network)], services, [str(each) for each in list(network.subnets(new_prefix=28))[:count]]


def main(arguments: Sequence[str]) -> int:
    """Run the soak of the command line; return 1 if model and fleet differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="for inventories and the ledger")
    parser.add_argument("--hosts", type=int, default=60, help=f"machines, an even number from 4 to {MOST}")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--hours", type=float, default=0, help="no round begins after these hours and minutes")
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--rounds", type=int, default=1 << 30, help="no more rounds than this")
    parser.add_argument("--list", action="store_true", help="print the operations of --rounds, and do nothing")
    parser.add_argument("--build", action="store_true", help="start the lab, and do nothing else")
    options = parser.parse_args(arguments)
    if options.hosts not in range(4, MOST + 1, 2):
        parser.error(f"--hosts is {options.hosts}: give an even number from 4 to {MOST}")
    world, chooser = new_world(options.hosts), Chooser(options.seed, Settings())
    if not options.build:  # which chooses nothing
        print(f"SEED={options.seed} HOSTS={options.hosts}", flush=True)
    if options.list:
        return listed(chooser, world, options.rounds)
    directory = options.directory.resolve()
    cidrs, services, node_cidrs = pool(options.hosts)
    variables = {
        "overlay_cluster": "soak",
        "overlay_container_cidr": cidrs,
        "overlay_max_pods_per_node": PODS,
        "overlay_max_services": services,
        "overlay_clb_subnet": None,
        "overlay_ledger": str(directory / "ledger.json"),
        "overlay_restore_interval": RESTORE_SECONDS,
    }
    fleet = LabFleet(Place(directory, directory / "ledger.json", arguments=("-e", json.dumps(variables))))
    if options.build:
        fleet.build(world)
        return 0
    session = Session(fleet, chooser, world, node_cidrs, FLOWS, lambda line: print(line, flush=True))
    return run(session, time.monotonic() + options.hours * 3600 + options.minutes * 60, options)


def listed(chooser: Chooser, world: World, rounds: int) -> int:
    """Print the operations of some rounds."""
    for number in range(1, rounds + 1):
        chosen = chooser.round(world)
        print(f"round {number}: untouched {' '.join(chosen.untouched)}")
        for operation in chosen.operations:
            print(f"  {operation}")
            world = world.after(operation)
        world = world.healed()
    return 0


def run(session: Session, end: float, options: argparse.Namespace) -> int:
    """Do rounds until the time is over; report what differs, and leave the lab as it is then."""
    try:
        session.first_run()
        while session.counts.rounds < options.rounds and time.monotonic() < end:
            session.round()
    except (DisagreementError, RunError) as error:
        print(f"\nFAILED with SEED={options.seed} HOSTS={options.hosts}, in round {session.counts.rounds}:\n{error}\n")
        print("The last operations:", *session.history[-LAST:], sep="\n")
        lab = f"TKE_LAB={os.environ.get('TKE_LAB', '')} tests/lab/lab status"
        print(f"\n{session.counts}\nThe lab is left as it is: {lab}")
        return 1
    print(f"\nSEED={options.seed} HOSTS={options.hosts}: {session.counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

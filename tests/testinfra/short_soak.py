# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The short form of `make soak`: one round of random operations on the hosts of the lab, with the model beside it."""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

import yaml

from stories import INVENTORY, LEDGER, NODES, ROOT, SELDOM, on, site

sys.path.insert(0, str(ROOT))

from tests.soak.chooser import Chooser, Settings  # found by the line above
from tests.soak.lab_fleet import LabFleet, Place, machines
from tests.soak.operations import Kind
from tests.soak.session import Counts, Session
from tests.soak.soak import FLOWS, MTU, with_members
from tests.soak.world import World

SEED = int(os.environ.get("SEED", "5367"))
KINDS = frozenset(Kind) - {Kind.MOVE, Kind.CUT_SITE, Kind.HEAL_SITE}
"""A move builds a machine again, and a site that is cut off leaves no flow between the sites."""
OPERATIONS = 7


def random_operations(directory: Path) -> Counts:
    """Do one round; return what was done. Afterwards the fleet is that of the inventory, with other node CIDRs.

    :raises DisagreementError: model and fleet differ.
    """
    groups = yaml.safe_load(INVENTORY.read_text())["all"]["children"]
    sites = groups.pop("overlay_nodes")["children"].values()
    login = {name: host["ansible_host"] for each in sites for name, host in each["hosts"].items()}
    world = with_members(World(machines(NODES, login), MTU), NODES)
    fleet = LabFleet(Place(directory / "soak", LEDGER, groups, SELDOM))
    chooser = Chooser(SEED, Settings(KINDS, (OPERATIONS, OPERATIONS)))
    cidrs = [str(each) for each in ipaddress.IPv4Network("10.244.0.0/16").subnets(new_prefix=24)][:-1]
    session = Session(fleet, chooser, world, cidrs, FLOWS, lambda line: print(f"SEED={SEED} {line}"))
    session.first_run()
    session.round()
    site()
    fleet.start_pods(NODES)
    for machine in world.machines.values():
        for address in machine.addresses[machine.site][1:]:
            on(machine.name, f"ip address del {address}/24 dev eth0 2>/dev/null || true")
    return session.counts

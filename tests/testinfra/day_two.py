# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Functions for the tests of docs/day-two.md: the page's inventories and commands, the flows, a new fleet."""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence

import pytest

from flows import Flows
from stories import INVENTORY, LAB_STATE, LEDGER, NODES, Play, lab, ledger, play, site


def of_page(title: str) -> pytest.MarkDecorator:
    """Return the mark that gives a test the section of the page with this title."""
    return pytest.mark.parametrize("story", [title], indirect=True, ids=[""])


def not_as_new() -> bool:
    """Return whether the node CIDRs differ from those after the first run on new hosts."""
    document = ledger() if LEDGER.exists() else {"nodes": {}}
    found = {name: (held["node_cidr"], held["pinned"]) for name, held in document["nodes"].items()}
    return found != {name: (f"10.244.{number}.0/24", False) for number, name in enumerate(NODES)}


def forget_the_ledger() -> None:
    """Delete the ledger and its previous versions."""
    for path in LAB_STATE.glob("*overlay-ledger.json*"):
        path.unlink()


def as_new() -> None:
    """Bring the fleet to the state after the first run on new hosts."""
    play("tke.overlay.reset", "-e", "overlay_reset_confirmed=true")
    forget_the_ledger()
    lab("-i", str(INVENTORY), "up")
    site()
    done = play("tests/lab/pods.yml")
    assert done.code == 0, done.text


def inventory_of(text: str, place: pathlib.Path) -> pathlib.Path:
    """Write a YAML block of the page: as an additional inventory, or into the group_vars of a copy of the inventory."""
    place.mkdir()
    (name,) = re.findall(r"^# group_vars/(.*)\.yml$", text, re.MULTILINE) or [""]
    if not name:
        (place / "more.yml").write_text(text)
        return place / "more.yml"
    shutil.copytree(INVENTORY.parent, place, dirs_exist_ok=True)
    directory = place / "group_vars" / name
    directory.mkdir(exist_ok=True)
    if (place / "group_vars" / f"{name}.yml").exists():
        (place / "group_vars" / f"{name}.yml").rename(directory / "0.yml")
    (directory / "zz.yml").write_text(text)
    return place / "hosts.yml"


@contextlib.contextmanager
def nothing_lost(hosts: Sequence[str] = NODES) -> Iterator[None]:
    """Check that the body causes no loss of packets between the Pods of these hosts."""
    with Flows(hosts) as flows:
        yield
    print(flows)
    assert flows.sent() > 0
    assert not flows.disturbed(), f"the machine itself lost packets, so the overlay cannot be judged: {flows}"
    assert not flows.lost(), str(flows)


def run(command: Sequence[str], *inventories: pathlib.Path) -> Play:
    """Run a command of the page, which must succeed."""
    done = play(*command, inventories=(INVENTORY, *inventories))
    assert done.code == 0, done.text
    return done


def mtu_of(name: str) -> int:
    """Return the MTU of a host's VTEP."""
    (link,) = json.loads(lab("exec", name, "--", "ip", "-json", "link", "show", "dev", "tke0"))
    return int(link["mtu"])

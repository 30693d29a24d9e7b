# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What the stories of docs/day-two.md share: the page's inventories and commands, the flows, a fleet as new."""

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
    """The section of the page that a test is about."""
    return pytest.mark.parametrize("story", [title], indirect=True, ids=[""])


def not_as_new() -> bool:
    """Whether the node CIDRs are others than after the first run on fresh machines."""
    document = ledger() if LEDGER.exists() else {"nodes": {}}
    found = {name: (held["node_cidr"], held["pinned"]) for name, held in document["nodes"].items()}
    return found != {name: (f"10.244.{number}.0/24", False) for number, name in enumerate(NODES)}


def forget_the_ledger() -> None:
    """And its previous versions."""
    for path in LAB_STATE.glob("*overlay-ledger.json*"):
        path.unlink()


def as_new() -> None:
    """The fleet as after the first run on fresh machines."""
    play("tke.overlay.reset", "-e", "overlay_reset_confirmed=true")
    forget_the_ledger()
    lab("-i", str(INVENTORY), "up")
    site()
    done = play("tests/lab/pods.yml")
    assert done.code == 0, done.text


def inventory_of(text: str, place: pathlib.Path) -> pathlib.Path:
    """What the page tells to write: an inventory beside that of the lab, or a file among the variables of a copy."""
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
    """What runs inside costs the flows between the Pods of these hosts not one packet."""
    with Flows(hosts) as flows:
        yield
    print(flows)
    assert flows.sent() > 0
    assert not flows.disturbed(), f"the machine itself lost packets, so this says nothing: {flows}"
    assert not flows.lost(), str(flows)


def run(command: Sequence[str], *inventories: pathlib.Path) -> Play:
    """A command of the page, which must succeed."""
    done = play(*command, inventories=(INVENTORY, *inventories))
    assert done.code == 0, done.text
    return done


def mtu_of(name: str) -> int:
    """The MTU of a host's tunnel."""
    (link,) = json.loads(lab("exec", name, "--", "ip", "-json", "link", "show", "dev", "tke0"))
    return int(link["mtu"])

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What the soak expects of a host is what a host has, as host_tables.py reads it."""

from __future__ import annotations

import json
import sys

import pytest

from breakages import PEERS
from product import ROOT

sys.path.insert(0, str(ROOT))

from tests.soak import tables  # found by the line above
from tests.soak.book import Book, Held

READ = [sys.executable, str(ROOT / "tests/soak/host_tables.py")]
BOOK = Book(255, 6, {peer.name: Held(number, peer.underlay, 1500) for number, peer in enumerate(PEERS)})
CIDRS = [f"10.244.{number}.0/24" for number in range(255)]
NOT_OF_THE_KERNEL = {"timer": ["active"], "unconfirmed": []}


def differences(run):
    """Return how the host differs from the model."""
    code, text, errors = run(READ)
    assert code == 0, errors
    return list(
        tables.differences(tables.expected("me", BOOK, CIDRS.__getitem__), json.loads(text) | NOT_OF_THE_KERNEL)
    )


@pytest.mark.usefixtures("world")
def test_a_converged_host_agrees_with_the_model(run):
    assert differences(run) == []


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ip route del 10.244.3.0/24 proto 144", "routes: missing 10.244.3.0/24 10.244.3.0"),
        ("bridge fdb del 0a:58:0a:f4:03:00 dev tke0", "fdb: missing 0a:58:0a:f4:03:00 10.0.1.103"),
        ("ip neigh del 10.244.3.0 dev tke0", "neighbours: missing 10.244.3.0 0a:58:0a:f4:03:00"),
        ("nft delete element inet tke_overlay peers4 { 10.0.1.103 }", "peers: missing 10.0.1.103"),
        ("ip link set tke0 mtu 1300", "mtu: missing 1450"),
        (
            "ip route add 10.244.9.0/24 via 10.244.1.0 dev tke0 onlink proto 144",
            "routes: surplus 10.244.9.0/24 10.244.1.0",
        ),
    ],
)
def test_a_host_that_was_changed_by_hand_differs_from_it(run, command, words):
    code, _text, errors = run(command.split())
    assert code == 0, errors
    assert words in differences(run)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Changes of the loaded nftables table: each ends like a new table, and loses no packet."""

from __future__ import annotations

import itertools
import re
import socket
import subprocess
import sys

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link_rules import LinkRules
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import (
    RulesSpec,
    RulesTable,
    TransitionAllowances,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import compare
from world import counted

PEERS = ["10.0.1.11", "10.0.1.12", "127.0.0.1"]
PLAIN = RulesSpec("tke0", "tke-br0", 8472, 1450, "10.244.0.0/24", ["10.244.0.0/16"], PEERS)
DIRECT = LinkRules(24, "10.244.0.0", direct=["10.244.1.0"], neighbors=["10.0.1.11"], direct_links=["eth0"])
SEALED = LinkRules(24, "10.244.0.0", encrypted=["10.244.1.0"], wireguard=True, ports=[51820], endpoints=["10.0.1.11"])
SPECS = [
    PLAIN,
    PLAIN._replace(peers=PEERS[2:], mtu=1400),
    PLAIN._replace(peers=[]),
    PLAIN._replace(also=TransitionAllowances(peers=["10.0.1.77"], port=4789, device="tke1")),
    PLAIN._replace(peers=["2001:db8::1"], container_cidrs=["10.244.0.0/16", "10.250.0.0/16"]),
    PLAIN._replace(links=DIRECT, peers=PEERS[1:]),
    PLAIN._replace(links=SEALED, peers=PEERS[1:]),
    PLAIN._replace(links=SEALED._replace(endpoints=None, direct=["10.244.2.0"], direct_links=["eth0"]), bridge=""),
]
"""Each differs from each other in rules, sets or elements."""

FLOOD = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    sender.sendto(b"", ("127.0.0.1", 8472))
"""


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def blocks(run):
    """Return the blocks of the table as nft lists them, in any order."""
    listing = run(["nft", "-s", "list", "table", "inet", "tke_overlay"])[1]
    return sorted(re.findall(r"^\t\w+ \S+ \{\n.*?^\t\}\n", listing, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("former", SPECS)
def test_each_table_becomes_each_other_one(run, root, former):
    for spec in SPECS:
        RulesTable(spec).replace(run)
        expected = blocks(run)
        run(["nft", "delete", "table", "inet", "tke_overlay"])
        RulesTable(former).replace(run)
        loaded = []

        def recorded(command, text=None, loaded=loaded):
            loaded.append(text or "")
            return run(command, text)

        RulesTable(spec).replace(recorded)
        assert blocks(run) == expected
        assert not any("delete table" in text for text in loaded), "sets that stay keep their elements"
        table = RulesTable(spec)
        assert not compare(table, table.read(run), table.wanted)


def test_a_change_keeps_the_counters_that_stay(run):
    RulesTable(PLAIN._replace(peers=[])).replace(run)
    run(["ip", "link", "set", "lo", "up"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"", ("127.0.0.1", 8472))
    for spec in SPECS:
        RulesTable(spec).replace(run)
        assert counted(run)["not_a_peer"] == 1


def test_a_table_that_another_program_changed_is_replaced(run):
    RulesTable(PLAIN).replace(run)
    expected = blocks(run)
    for line in ("flush chain inet tke_overlay input", "add set inet tke_overlay mine { type ipv4_addr; }"):
        assert run(["nft", *line.split(" ", 6)])[0] == 0
        RulesTable(PLAIN).replace(run)
        assert blocks(run) == expected


def test_a_packet_that_meets_a_change_is_not_lost(run):
    """Every packet of ``lo``, as if that were the device of the overlay, traverses rules and sets while they change."""
    run(["ip", "link", "set", "lo", "up"])
    seen = (
        "table inet seen {\n counter before {\n }\n counter after {\n }\n"
        ' chain first {\n type filter hook prerouting priority -400\n udp dport 8472 counter name "before"\n }\n'
        ' chain last {\n type filter hook input priority 400\n udp dport 8472 counter name "after"\n }\n}\n'
    )
    assert run(["nft", "-f", "-"], seen)[0] == 0
    pods = ["10.244.0.0/16", "127.0.0.0/8"]
    flooded = [spec._replace(device="lo", container_cidrs=pods) for spec in SPECS if "127.0.0.1" in spec.peers]
    changing = itertools.cycle(flooded)
    RulesTable(next(changing)).replace(run)
    senders = [subprocess.Popen([sys.executable, "-c", FLOOD]) for _number in range(1)]
    try:
        for _change in range(100):
            RulesTable(next(changing)).replace(run)
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()
    listing = run(["nft", "list", "counters", "table", "inet", "seen"])[1]
    before, after = re.findall(r"packets (\d+)", listing)
    assert int(before) > 10_000
    assert after == before

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""WireGuard devices, with wireguard-go: reading, comparing, applying."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from wireguard import make_keys, own_sockets, pids_of, succeed

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import read_links
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import compare
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import (
    WireguardPeer,
    WireguardSpec,
    WireguardTable,
)

KEYS = [f"{letter * 42}A=" for letter in "BCDEFG"]
PEERS = [
    WireguardPeer(KEYS[0], "10.0.1.101:51820", "10.244.1.0/24"),
    WireguardPeer(KEYS[1], "", "10.244.2.0/24"),
    WireguardPeer(KEYS[2], "[fd00::3]:51820", "10.244.3.0/24", keepalive=25),
]


@pytest.fixture
def own(run, tmp_path, monkeypatch):
    """The key pair of the host, whose wireguard-go has its own directory of sockets."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    with own_sockets():
        yield make_keys(run, tmp_path / "etc/tke-overlay/wireguard-0.key")


def table_of(own, peers=PEERS):
    return WireguardTable([WireguardSpec(0, 51820, 1380, "10.244.0.0/32", own.public, peers)])


def difference(table, run):
    return compare(table, table.read(read_links(run), run), table.wanted)


def applied(table, run):
    """Converge, and return what was changed."""
    delta = difference(table, run)
    table.check(read_links(run), run)
    table.apply(delta, run)
    table.remove_surplus(delta, run)
    return delta


def test_a_new_device_is_complete_and_then_unchanged(own, run):
    table = table_of(own)
    assert set(applied(table, run).added) == {"tke-wg0", *(f"tke-wg0 peer {key}" for key in KEYS[:3])}
    assert difference(table, run) == ({}, {}, {}, {})
    link = succeed(run, "ip -d address show dev tke-wg0")
    assert "mtu 1380" in link
    assert "UP" in link
    assert "alias tke.overlay" in link
    assert "inet6" not in link


BREAKAGES = {
    "wg set tke-wg0 listen-port 4000": "tke-wg0",
    "wg set tke-wg0 fwmark 7": "tke-wg0",
    "ip link set tke-wg0 mtu 1300": "tke-wg0",
    "ip address del 10.244.0.0/32 dev tke-wg0": "tke-wg0",
    "ip address add 10.9.9.9/24 dev tke-wg0": "tke-wg0",
    "ip link set tke-wg0 down": "tke-wg0",
    "wg set tke-wg0 private-key /dev/null": "tke-wg0",
    f"wg set tke-wg0 peer {KEYS[0]} remove": KEYS[0],
    f"wg set tke-wg0 peer {KEYS[5]} allowed-ips 10.9.0.0/16": KEYS[5],
    f"wg set tke-wg0 peer {KEYS[5]} allowed-ips 10.244.1.0/24": KEYS[5],
    f"wg set tke-wg0 peer {KEYS[0]} allowed-ips 10.244.1.0/24,10.9.0.0/16": KEYS[0],
    f"wg set tke-wg0 peer {KEYS[0]} endpoint 10.0.1.99:7": KEYS[0],
    f"wg set tke-wg0 peer {KEYS[0]} persistent-keepalive 7": KEYS[0],
    f"wg set tke-wg0 peer {KEYS[2]} persistent-keepalive 0": KEYS[2],
    f"wg set tke-wg0 peer {KEYS[0]} preshared-key /etc/tke-overlay/wireguard-0.key": KEYS[0],
    "ip link del tke-wg0": "tke-wg0",
}


@pytest.mark.parametrize("line", BREAKAGES)
def test_each_breakage_is_seen_and_corrected(own, run, tmp_path, line):
    table = table_of(own)
    applied(table, run)
    succeed(run, line.replace("/etc/tke-overlay", f"{tmp_path}/etc/tke-overlay"))
    delta = applied(table, run)
    assert any(BREAKAGES[line] in key for key in (*delta.added, *delta.changed, *delta.removed))
    assert difference(table, run) == ({}, {}, {}, {})


def test_only_what_differs_is_set(own, run):
    table = table_of(own)
    applied(table, run)
    commands = []

    def recording(command, text=None):
        commands.append((" ".join(command), text))
        return run(command, text)

    succeed(run, f"wg set tke-wg0 peer {KEYS[0]} allowed-ips 10.9.0.0/16")
    table.apply(difference(table, run), recording)
    assert [command for command, _text in commands] == ["wg addconf tke-wg0 /dev/stdin"]
    assert KEYS[0] in commands[0][1]
    assert KEYS[1] not in commands[0][1]


def test_no_private_key_in_listing_difference_or_saved_text(own, run):
    table = table_of(own)
    applied(table, run)
    secret = own.private.read_text().strip()
    succeed(run, f"wg set tke-wg0 peer {KEYS[0]} preshared-key {own.private}")
    seen = []

    def recording(command, text=None):
        result = run(command, text)
        seen.append((command, text, result))
        return result

    delta = applied(table, recording)
    assert delta.changed[f"tke-wg0 peer {KEYS[0]}"][0].endswith(" preshared-key hidden")
    assert secret not in repr((seen, delta, table.text(), table.wanted))


def test_an_endpoint_that_is_behind_nat_is_that_of_its_packets(own, run):
    table = table_of(own)
    applied(table, run)
    succeed(run, f"wg set tke-wg0 peer {KEYS[1]} endpoint 10.0.1.77:1234")
    assert difference(table, run) == ({}, {}, {}, {})


def test_a_surplus_device_is_removed_last(own, run):
    applied(table_of(own), run)
    delta = difference(WireguardTable(), run)
    assert "tke-wg0" in delta.removed
    WireguardTable().apply(delta, run)
    assert "tke-wg0" in succeed(run, "ip link")
    WireguardTable().remove_surplus(delta, run)
    assert "tke-wg0" not in succeed(run, "ip link")


def test_wireguard_go_that_was_killed_is_started_again(own, run):
    table = table_of(own)
    applied(table, run)
    [process] = pids_of("tke-wg0")
    os.kill(process, signal.SIGKILL)
    while "tke-wg0" in succeed(run, "ip link"):
        pass
    assert len(applied(table, run).added) == 4
    assert difference(table, run) == ({}, {}, {}, {})


def without(run, program):
    """Return a ``run`` of a host that lacks a program."""

    def run_or_miss(command, text=None):
        return (127, "", f"{program}: not found") if command[0] == program else run(command, text)

    return run_or_miss


def test_missing_programs_are_one_error_before_anything_changes(own, run):
    with pytest.raises(ValidationError, match="install wireguard-tools"):
        table_of(own).check(read_links(run), without(run, "wg"))
    with pytest.raises(ValidationError, match="no module wireguard, and wireguard-go is not installed"):
        table_of(own).check(read_links(run), without(run, "wireguard-go"))
    assert "tke-wg0" not in succeed(run, "ip link")


def test_another_key_a_taken_port_and_device_are_named_together(own, run, tmp_path):
    succeed(run, "ip link add tke-wg1 type bridge")
    other = make_keys(run, tmp_path / "etc/tke-overlay/wireguard-1.key")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("0.0.0.0", 51820))
        specs = [*table_of(own).specs, WireguardSpec(1, 51821, 1380, "10.244.0.0/32", KEYS[5], PEERS)]
        with pytest.raises(ValidationError) as error:
            WireguardTable(specs).check(read_links(run), run)
    text = str(error.value)
    assert "UDP port 51820 (overlay_wireguard_port) is taken by" in text
    assert "tke-wg1 exists and is not a WireGuard device but bridge" in text
    assert f"wireguard-1.key is {other.public}, but the plan has {KEYS[5]}" in text
    assert "tke.overlay.reset on this host" in text


def test_a_missing_key_names_its_file(own, run):
    own.private.unlink()
    with pytest.raises(ValidationError, match=r"wireguard-0\.key is missing.*run tke\.overlay\.reset"):
        table_of(own).check(read_links(run), run)


def test_a_device_that_cannot_be_created_names_both_reasons(own, run):
    table = table_of(own)
    with pytest.raises(KernelError, match=r"the kernel: .*Unknown device type.*wireguard-go tke-wg0: .*not found"):
        table.apply(difference(table, run), without(run, "wireguard-go"))


def test_five_thousand_peers_are_one_listing_and_one_change(own, run):
    peers = [
        WireguardPeer(f"{number:042d}A=", f"10.0.{high}.{low}:51820", f"10.{high}.{low}.0/24")
        for number, (high, low) in enumerate(divmod(number, 256) for number in range(5_000))
    ]
    table, commands = table_of(own, peers), []

    def counting(command, text=None):
        commands.append(" ".join(command[:3]))
        return run(command, text)

    table.apply(difference(table, counting), counting)
    assert sum(command.startswith("wg addconf") for command in commands) == 2, "it dials all of them first"
    commands.clear()
    assert difference(table, counting) == ({}, {}, {}, {})
    assert len([command for command in commands if not command.startswith("ip ")]) == 1
    table_of(own, peers[:10]).apply(difference(table_of(own, peers[:10]), run), run)
    assert difference(table_of(own, peers[:10]), run) == ({}, {}, {}, {})

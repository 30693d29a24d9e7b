# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WireGuard devices: what a recorded listing says, and the saved file."""

from __future__ import annotations

import time
import types
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import compare
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.wireguard import (
    WireguardPeer,
    WireguardSpec,
    WireguardTable,
    has_kernel_module,
)

LISTING = (Path(__file__).parent / "data/wg-1.0.20210914.txt").read_text().partition("preshared key.\n")[2]
OWN, ROAMING, NAT, PRESHARED, EMPTY = (
    line.split("\t")[1 if number == 0 else 0] for number, line in enumerate(LISTING.splitlines())
)
HANDSHAKE = 1796121420
LINK = {
    "ifname": "tke-wg0",
    "mtu": 1420,
    "flags": ["UP"],
    "linkinfo": {"info_kind": "wireguard"},
    "addr_info": [{"local": "10.244.2.0", "prefixlen": 32}, {"local": "fe80::1", "prefixlen": 64}],
}
PEERS = [WireguardPeer(ROAMING, "10.0.1.5:51820", "10.244.4.0/24"), WireguardPeer(NAT, "", "10.244.0.0/24", 25)]


def table_of(*peers):
    return WireguardTable([WireguardSpec(0, 51820, 1420, "10.244.2.0/32", OWN, peers)])


def read(table, *, after=60, link=types.MappingProxyType(LINK), listing=LISTING):
    """Return key -> specification of the recorded listing, so many seconds after the last handshake."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: float(HANDSHAKE + after))
        return {key: entry.spec for key, entry in table.read([link], lambda _command, _text: (0, listing, "")).items()}


def test_a_device_is_read_with_its_attributes():
    found = read(table_of(*PEERS))
    assert found["tke-wg0"] == table_of().wanted["tke-wg0"]
    assert found[f"tke-wg0 peer {NAT}"] == "allowed-ips 10.244.0.0/24 persistent-keepalive 25"
    assert found[f"tke-wg0 peer {EMPTY}"] == "allowed-ips (none)"
    assert found[f"tke-wg0 peer {PRESHARED}"] == "allowed-ips 10.244.5.0/24,10.9.0.0/16 preshared-key hidden"


@pytest.mark.parametrize(("after", "endpoint"), [(179, "10.0.1.5:51820"), (180, "192.168.1.1:51820")])
def test_a_roamed_endpoint_is_right_while_the_peer_lives(after, endpoint):
    found = read(table_of(*PEERS), after=after)
    assert found[f"tke-wg0 peer {ROAMING}"] == f"allowed-ips 10.244.4.0/24 endpoint {endpoint}"


def test_a_device_without_an_answer_has_no_attributes():
    found = read(table_of(*PEERS), listing="")
    assert found == {
        "tke-wg0": "listen-port 0 fwmark off mtu 1420 address 10.244.2.0/32 public-key (none) state up",
    }


@pytest.mark.parametrize("link", [{**LINK, "linkinfo": {"info_kind": "bridge"}}, {**LINK, "ifname": "wg0"}])
def test_foreign_devices_are_not_read(link):
    assert read(table_of(), link=link) == {}
    assert table_of().listings([link]) == []


KEYS = st.integers(0, 2**64).map(lambda number: f"{number:042x}A=")
NAMED = st.builds(
    WireguardPeer,
    KEYS,
    st.sampled_from(["", "10.0.1.5:51820", "[fd00::3]:1"]),
    st.integers(0, 255).map(lambda number: f"10.244.{number}.0/24"),
    st.sampled_from([0, 25]),
)
SPECS = st.builds(
    WireguardSpec,
    st.integers(0, 9),
    st.integers(1, 65535),
    st.integers(576, 9000),
    st.just("10.244.0.0/32"),
    KEYS,
    st.lists(NAMED, unique_by=lambda peer: peer.key),
)


@given(st.lists(SPECS, max_size=2, unique_by=lambda spec: spec.name))
def test_the_saved_file_is_read_back(specs):
    table = WireguardTable(specs)
    again = WireguardTable.parse(table.text())
    assert again.wanted == table.wanted
    assert again.text() == table.text()
    assert table.text().splitlines() == sorted(table.text().splitlines())


@pytest.mark.parametrize("line", ["tke-wg0 peer", "tke-wg0 generation x", f"tke-wg0 peer {OWN} allowed-ips a b"])
def test_a_damaged_saved_file_is_an_error_with_the_line(line):
    with pytest.raises(KernelError, match=line.replace("+", r"\+")):
        WireguardTable.parse(f"{line}\n")


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("insmod /lib/modules/6.1/kernel/drivers/net/wireguard/wireguard.ko\n", True),
        ("builtin wireguard\n", True),
        ("install /bin/false\n", False),
        ("", False),
    ],
)
def test_a_kernel_module_is_there_if_it_can_be_loaded(steps, expected):
    def run(command, _text):
        return (1, "", "") if command[0] == "test" else (0, steps, "")

    assert has_kernel_module("wireguard", run) is expected


def test_without_tun_wireguard_go_cannot_run():
    def run(command, _text):
        return (0 if command[0] in ("wg", "wireguard-go") else 1, "", "")

    with pytest.raises(ValidationError, match=r"/dev/net/tun.*load the kernel module tun"):
        table_of().check([], run)


@pytest.mark.parametrize(("dials", "keepalives"), [(True, ["25", "off"]), (False, ["off"])])
def test_a_new_device_dials_only_where_a_session_can_exist(dials, keepalives):
    """A handshake with each of thousands of peers takes more CPU than all the rest."""
    peer = WireguardPeer(f"{'A' * 42}A=", "10.0.1.13:51820", "10.244.3.0/24")
    table = WireguardTable([WireguardSpec(0, 51820, 1380, "10.244.0.0/32", "OWN", [peer])])
    table.dials = dials
    texts = []

    def run(command, text=None):
        texts.append(text if command[1] == "addconf" else None)
        return 0, "", ""

    table.apply(compare(table, {}, table.wanted), run)
    found = [line.split()[-1] for text in texts if text for line in text.splitlines() if "Keepalive" in line]
    assert found == keepalives

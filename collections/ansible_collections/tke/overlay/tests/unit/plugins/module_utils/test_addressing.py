# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, MACs and MTU that follow from the plan, and the texts in which the plan travels."""

from __future__ import annotations

import ipaddress
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._addressing import (
    PLAN_SCHEMA,
    Contradiction,
    NodeDocument,
    Peer,
    SavedPlan,
    address_problems,
    contradictions,
    device_problems,
    fleet_text,
    former_text,
    gateway_address,
    is_endpoint,
    is_ipv4_address,
    is_server,
    network_problems,
    overlay_mtu,
    parse_fleet,
    parse_former,
    plan_id,
    pod_range,
    vtep_address,
    vtep_mac,
    with_port,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

node_cidrs = st.tuples(st.integers(0, 2**24 - 1), st.integers(16, 30)).map(
    lambda pair: str(ipaddress.IPv4Network((0x0A000000 + pair[0], pair[1]), strict=False))
)


def test_a_node_cidr_determines_vtep_mac_gateway_and_pods():
    assert vtep_address("10.244.3.0/24") == "10.244.3.0"
    assert vtep_mac("10.244.3.0/24") == "0a:58:0a:f4:03:00"
    assert gateway_address("10.244.3.0/24") == "10.244.3.1"
    assert pod_range("10.244.3.0/24") == ("10.244.3.2", "10.244.3.254")


@given(node_cidrs)
def test_pods_have_all_addresses_except_three(node_cidr):
    network = ipaddress.IPv4Network(node_cidr)
    first, last = map(ipaddress.IPv4Address, pod_range(node_cidr))
    assert int(last) - int(first) + 1 == network.num_addresses - 3
    others = {vtep_address(node_cidr), gateway_address(node_cidr), str(network.broadcast_address)}
    assert len(others) == 3
    assert not any(first <= ipaddress.IPv4Address(address) <= last for address in others)


@given(st.lists(node_cidrs, unique=True))
def test_each_vtep_address_has_its_own_unicast_mac(some):
    assert len({vtep_mac(node_cidr) for node_cidr in some}) == len({vtep_address(node_cidr) for node_cidr in some})
    for node_cidr in some:
        first_byte = int(vtep_mac(node_cidr)[:2], 16)
        assert first_byte & 1 == 0, "unicast"
        assert first_byte & 2 == 2, "locally administered"


@pytest.mark.parametrize(
    ("underlays", "mtu"),
    [
        ([("10.0.1.11", 1500)], 1450),
        ([("10.0.1.11", 1500), ("192.168.1.11", 1450)], 1400),
        ([("2001:db8::1", 1500)], 1430),
        ([("10.0.1.11", 9000), ("10.0.1.12", 8951)], 8901),
    ],
)
def test_the_overlay_mtu_fits_the_narrowest_underlay(underlays, mtu):
    assert overlay_mtu(underlays) == mtu


def test_the_fleet_has_one_line_per_node_ordered_by_node_cidr():
    peers = [Peer("idc1", "10.244.10.0/24", "192.168.1.11"), Peer("cloud1", "10.244.9.0/24", "10.0.1.11")]
    text = fleet_text(peers)
    assert text == "cloud1 10.244.9.0/24 10.0.1.11\nidc1 10.244.10.0/24 192.168.1.11\n"
    assert parse_fleet(text) == {peer.name: peer for peer in peers}


def test_a_malformed_fleet_names_every_bad_line():
    with pytest.raises(ValidationError) as caught:
        parse_fleet(
            "a 10.244.0.0/24 10.0.0.1\nb 10.244.1.0/24 10.0.0.2 x -\n"
            "a 10.244.2.0/24 10.0.0.2\nc 10.244.0.0/24 10.0.0.3\n"
        )
    assert len(caught.value.problems) == 3
    assert "line 2" in caught.value.problems[0]
    assert "repeats the node 'a'" in caught.value.problems[1]
    assert "'c' the node CIDR of 'a', 10.244.0.0/24" in caught.value.problems[2]


def test_the_plan_id_is_that_of_the_content_not_of_the_host():
    document = NodeDocument(
        schema=PLAN_SCHEMA,
        cluster="demo",
        node="a",
        device="tke0",
        vni=1,
        port=8472,
        mtu=1450,
        bridge="tke-br0",
        container_cidr=["10.244.0.0/16"],
        service_cidr="10.244.255.0/24",
        fleet="a 10.244.0.0/24 10.0.1.11\n",
    )
    assert plan_id({**document, "node": "b"}) == plan_id(document)
    # A host gets the document as JSON, with the keys in any order.
    assert plan_id(json.loads(json.dumps(document, sort_keys=True))) == plan_id(document)
    others = [{**document, "port": 4789}, {**document, "fleet": "a 10.244.0.0/24 10.0.1.12\n"}]
    assert len({plan_id(document), *map(plan_id, others)}) == 3


@pytest.mark.parametrize(("address", "text"), [("10.0.1.11", "10.0.1.11:6443"), ("fd00::11", "[fd00::11]:6443")])
def test_a_port_follows_an_address_as_in_a_url(address, text):
    assert with_port(address, 6443) == text


@given(st.ip_addresses(v=4).map(str))
def test_every_ipv4_address_is_one(address):
    assert is_ipv4_address(address)
    assert address_problems("underlay", address) == []


@pytest.mark.parametrize("text", ["", "10.0.1", "10.0.1.256", "10.0.01.1", "10.0.1.1/24", " 10.0.1.1", "::1", "host"])
def test_other_texts_are_not_ipv4_addresses(text):
    assert not is_ipv4_address(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("host", "overlay_underlay_ip 'host' is not an IP address"),
        ("10.0.1.1/24", "overlay_underlay_ip '10.0.1.1/24' is not an IP address"),
        ("2001:DB8:0::1", "overlay_underlay_ip '2001:DB8:0::1' must be written 2001:db8::1"),
    ],
)
def test_an_invalid_address_names_variable_value_and_remedy(text, words):
    assert address_problems("overlay_underlay_ip", text) == [words]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("10.244.0.0/16", None),
        ("fd00::/64", None),
        ("10.244.0.0", "x '10.244.0.0' has no prefix length: write it as in 10.244.0.0/16"),
        ("10.244.0.1/16", "x '10.244.0.1/16' must be written 10.244.0.0/16"),
        ("10.244.0.0/255.255.0.0", "x '10.244.0.0/255.255.0.0' must be written 10.244.0.0/16"),
        ("fd00::%x/64", "x 'fd00::%x/64' is not a network such as 10.244.0.0/16"),
        ("pods", "x 'pods' is not a network such as 10.244.0.0/16"),
    ],
)
def test_an_invalid_network_names_the_remedy(text, problem):
    assert network_problems("x", text) == ([problem] if problem else [])


@pytest.mark.parametrize("text", ["10.0.0.1:1", "a.example:65535"])
def test_a_server_is_a_host_and_a_port(text):
    assert is_server(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "a:", ":1", "a:0", "a:01", "a:65536", "a:1 ", "a:+1", "a:1:2", "[::1]:1", "10.0.0.256:1"),
        *("a:\u0661", "\uff11\uff10.0.0.1:1", "a:123456"),
    ],
)
def test_other_texts_are_no_servers(text):
    assert not is_server(text)


@pytest.mark.parametrize("name", ["a", "tke-br0", "eth0.100", "_" * 15, "..."])
def test_names_of_links(name):
    assert device_problems("x", name) == []


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a b", "a#", 'a"', "a/b", "_" * 16, "\u0661"])
def test_other_names_of_links_are_invalid(name):
    (problem,) = device_problems("x", name)
    assert problem.startswith(f"x {name!r} is invalid: a device name has 1 to 15 letters")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("-a 10.244.1.0/24 10.0.0.2", "line 2 of the fleet: the name '-a' is invalid: a name has letters"),
        ("b 10.244.1.1/24 10.0.0.2", "line 2 of the fleet: '10.244.1.1/24' is not a node CIDR such as"),
        ("b 10.244.1.0/33 10.0.0.2", "line 2 of the fleet: '10.244.1.0/33' is not a node CIDR such as"),
        ("b 10.244.1.0/0 10.0.0.2", "line 2 of the fleet: '10.244.1.0/0' is not a node CIDR such as"),
        ("b 10.244.256.0/24 10.0.0.2", "line 2 of the fleet: '10.244.256.0/24' is not a node CIDR such as"),
        ("b 10.244.01.0/24 10.0.0.2", "line 2 of the fleet: '10.244.01.0/24' is not a node CIDR such as"),
        ("b 10.244.1.0/024 10.0.0.2", "line 2 of the fleet: '10.244.1.0/024' is not a node CIDR such as"),
        ("b 10.244.1.0/24 10.0.0.\u0662", "line 2 of the fleet: the underlay address '10.0.0.\u0662' is not an IP"),
        ("b 10.244.1.0 10.0.0.2", "line 2 of the fleet: '10.244.1.0' is not a node CIDR such as"),
        ("b 10.244.1.0/24 10.0.0", "line 2 of the fleet: the underlay address '10.0.0' is not an IP address"),
        ("b 10.244.1.0/24 fd00::%x", "line 2 of the fleet: the underlay address 'fd00::%x' is not an IP address"),
        ("b 10.244.1.0/24 FD00::1", "line 2 of the fleet: the underlay address 'FD00::1' must be written fd00::1"),
        ("b 10.244.1.0/24 10.0.0.2\0", r"line 2 of the fleet: the underlay address '10.0.0.2\x00' is not an IP"),
        ("b  10.244.1.0/24 10.0.0.2", "line 2 of the fleet is not 'NAME NODE-CIDR UNDERLAY [SITE [ENDPOINT KEYS]]'"),
        ("b\u2028c 10.244.1.0/24 10.0.0.2", "line 2 of the fleet: the name 'b\\u2028c' is invalid"),
        ("", "line 2 of the fleet is not 'NAME NODE-CIDR UNDERLAY [SITE [ENDPOINT KEYS]]': ''"),
    ],
)
def test_a_word_of_the_fleet_is_a_name_or_an_address(line, problem):
    with pytest.raises(ValidationError) as caught:
        parse_fleet(f"a 10.244.0.0/24 10.0.0.1\n{line}\nz 10.244.9.0/32 fd00::9\n")
    (found,) = caught.value.problems
    assert found.startswith(problem)


def test_an_empty_fleet_has_no_peers():
    assert parse_fleet("") == {}


@given(st.ip_addresses(v=6).map(str))
def test_an_ipv6_address_in_its_short_form_is_no_problem(address):
    assert address_problems("underlay", address) == []


def test_fleet_is_sorted_by_numeric_node_cidr():
    peers = [Peer("a", "10.10.0.0/24", "10.0.0.1"), Peer("b", "10.9.0.0/24", "10.0.0.2")]
    assert [line.split()[0] for line in fleet_text(peers).splitlines()] == ["b", "a"]
    assert vtep_address("10.9.0.0") == "10.9.0.0"


A0, B1, C2 = Peer("a", "10.0.0.0/24", "1"), Peer("b", "10.0.1.0/24", "2"), Peer("c", "10.0.2.0/24", "3")
FLEET = {"a": A0, "b": B1, "c": C2}
SWAPPED = {"a": B1._replace(name="a"), "b": A0._replace(name="b"), "c": C2}


@pytest.mark.parametrize(
    ("host", "planned", "former", "found"),
    [
        ("a", FLEET, {}, []),
        ("a", {**FLEET, "d": Peer("d", "10.0.3.0/24", "4")}, {}, []),
        ("a", {**FLEET, "b": B1._replace(underlay="9")}, {}, []),
        ("a", SWAPPED, {}, [("a", "10.0.0.0/24", "10.0.1.0/24"), ("b", "10.0.1.0/24", "10.0.0.0/24")]),
        ("c", SWAPPED, {}, [("a", "10.0.0.0/24", "10.0.1.0/24"), ("b", "10.0.1.0/24", "10.0.0.0/24")]),
        ("c", {"a": A0, "c": C2}, {}, [("b", "10.0.1.0/24", "")]),
        ("c", {"a": A0, "c": C2}, {"10.0.1.0/24": "b"}, []),
        ("c", {"a": A0, "c": C2}, {"10.0.1.0/24": "x"}, [("b", "10.0.1.0/24", "")]),
        ("c", {"a": A0, "b": B1}, {}, [("c", "10.0.2.0/24", "")]),
        # Released without being reached, and added again: what it knows of others ends at that time.
        ("c", {"c": C2._replace(node_cidr="10.0.9.0/24")}, {"10.0.2.0/24": "c"}, []),
        ("c", {"c": C2._replace(node_cidr="10.0.9.0/24")}, {"10.0.2.0/24": "b"}, [
            ("c", "10.0.2.0/24", "10.0.9.0/24"), ("a", "10.0.0.0/24", ""), ("b", "10.0.1.0/24", "")
        ]),
        # Another name in the inventory.
        ("z", {**FLEET, "z": Peer("z", "10.0.3.0/24", "4")}, {}, [("a", "10.0.0.0/24", "10.0.3.0/24")]),
        ("z", {"b": B1, "c": C2, "z": A0._replace(name="z")}, {}, []),
    ],
)  # fmt: skip
def test_a_plan_contradicts_the_applied_one_without_a_release(host, planned, former, found):
    own = FLEET.get(host, A0)
    assert contradictions(host, SavedPlan(own, FLEET), planned, former) == [Contradiction(*each) for each in found]


def test_former_holders_travel_in_a_text():
    former = {"10.0.2.0/24": "c", "10.0.1.0/24": "b"}
    assert former_text(former) == "10.0.1.0/24 b\n10.0.2.0/24 c\n"
    assert parse_former(former_text(former)) == former
    assert parse_former("") == {}


# --- sites and WireGuard in the fleet ---

KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
NEXT_KEY = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

WORDS = st.sampled_from(
    ["", "a", "b", "-", "10.244.1.0/24", "10.244.1.1/24", "10.0.0.1", "10.0.0.01", "fd00::1", "10.0.0.1:5", "1.2", KEY]
)


@given(st.lists(st.lists(WORDS, max_size=7).map(" ".join), max_size=4))
def test_a_fleet_is_read_as_written_or_its_problems_are_named(lines):
    text = "".join(f"{line}\n" for line in lines)
    fleet, problems = {}, []
    try:
        fleet = parse_fleet(text)
    except ValidationError as error:
        problems = error.problems
    assert problems or [" ".join(filter(None, peer)) for peer in fleet.values()] == lines


@pytest.mark.parametrize(
    "peer",
    [
        Peer("a", "10.244.0.0/24", "10.0.0.1", "shanghai"),
        Peer("a", "10.244.0.0/24", "10.0.0.1", "shanghai", "203.0.113.7:51820", KEY),
        Peer("a", "10.244.0.0/24", "fd00::1", "B_2", "[fd00::1]:51820", f"{KEY},{NEXT_KEY}"),
        Peer("a", "10.244.0.0/24", "10.0.0.1", "x", "-", "-"),
        Peer("a", "10.244.0.0/24", "10.0.0.1", "x", "203.0.113.7:65535", KEY),
    ],
)
def test_a_line_of_the_fleet_has_site_endpoint_and_keys(peer):
    assert parse_fleet(fleet_text([peer])) == {"a": peer}


@pytest.mark.parametrize(
    "words",
    [
        *("a;b", "-a", "site 203.0.113.7:51820", "site 203.0.113.7 -", "site x:51820 -", "site 203.0.113.7:0 -"),
        *("site 203.0.113.7:65536 -", "site [10.0.0.1]:1 -", "site fd00::1:51820 -", "site - x", f"site - {KEY}x"),
        *(f"site - {KEY},{KEY},{KEY}", f"site - {KEY[:-2]}h=", f"site - {KEY} x", f"site -  {KEY}", "site - ,"),
    ],
)
def test_a_line_of_the_fleet_with_other_words_is_an_error(words):
    with pytest.raises(ValidationError, match="line 1 of the fleet"):
        parse_fleet(f"a 10.244.0.0/24 10.0.0.1 {words}\n")


def test_an_endpoint_is_an_address_with_a_port():
    assert all(map(is_endpoint, ["203.0.113.7:1", "[fd00::1]:65535"]))
    assert not any(map(is_endpoint, ["", ":1", "203.0.113.7", "203.0.113.07:1", "[fd00::1]", "name:1", "10.0.0.1:01"]))

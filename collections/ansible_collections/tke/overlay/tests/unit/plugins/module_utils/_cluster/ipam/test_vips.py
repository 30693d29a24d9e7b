# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two VIPs of the private load balancer are free when they are chosen, and never change afterwards."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.vips import (
    EXTERNAL,
    PAIR,
    Claim,
    VipSpec,
    choose,
    problems_of_held,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError

RANGES = [
    Claim("10.244.255.0/24", "the Service range, the end of overlay_container_cidr"),
    Claim("10.244.0.0/16", "overlay_container_cidr"),
]
SPEC = VipSpec(PAIR, "10.0.2.0/24", ranges=RANGES)
GIVEN = {"apiserver": "10.0.2.8", "services": "10.0.2.9"}


def problems(spec, held=None):
    with pytest.raises(ValidationError) as caught:
        choose(spec, held or {})
    return caught.value.problems


def test_chooses_the_lowest_free_addresses_after_the_gateway():
    assert choose(SPEC, {}) == {"apiserver": "10.0.2.2", "services": "10.0.2.3"}


def test_other_gateway_leaves_the_first_address_free():
    assert choose(SPEC._replace(gateway="10.0.2.254"), {}) == {"apiserver": "10.0.2.1", "services": "10.0.2.2"}


def test_pin_is_used_and_the_other_address_avoids_it():
    assert choose(SPEC._replace(pins={"services": "10.0.2.2"}), {}) == {"apiserver": "10.0.2.3", "services": "10.0.2.2"}


def test_external_load_balancer_uses_both_pins():
    external = VipSpec(EXTERNAL, None, pins={"apiserver": "172.16.0.4", "services": "172.16.9.4"}, ranges=RANGES)
    assert choose(external, {}) == {"apiserver": "172.16.0.4", "services": "172.16.9.4"}


def test_external_addresses_may_be_reserved():
    spec = SPEC._replace(provider=EXTERNAL, pins=GIVEN, reserved=["10.0.2.8/31"])
    assert choose(spec, {}) == GIVEN


SUBNET = st.integers(2, 8).map(lambda bits: f"10.0.2.0/{32 - bits}")
INSIDE = st.integers(0, 255).map(lambda byte: f"10.0.2.{byte}")


@st.composite
def specs(draw):
    """Build any valid spec; its subnet may be too small."""
    subnet = draw(SUBNET)
    network = ipaddress.IPv4Network(subnet)
    inside = st.integers(0, network.num_addresses - 1).map(lambda number: str(network[number]))
    return VipSpec(
        PAIR,
        subnet,
        gateway=draw(st.none() | inside),
        reserved=draw(st.lists(inside | st.just(subnet.replace(subnet[-3:], "/30")), max_size=6)),
        addresses=[Claim(text, "host x") for text in draw(st.lists(INSIDE, max_size=12))],
        ranges=RANGES,
    )


def forbidden(spec):
    network = ipaddress.IPv4Network(spec.subnet)
    taken = {network[0], network[-1], ipaddress.IPv4Address(spec.gateway or str(network[1]))}
    taken |= {ipaddress.IPv4Address(claim.what) for claim in spec.addresses}
    for text in spec.reserved:
        taken |= set(ipaddress.IPv4Network(text))
    return taken


@given(specs())
def test_never_chooses_used_addresses_and_fails_without_two(spec):
    free = sorted(set(ipaddress.IPv4Network(spec.subnet)) - forbidden(spec))
    if len(free) < 2:
        assert all("overlay_clb_subnet" in text for text in problems(spec))
    else:
        chosen = choose(spec, {})
        assert [ipaddress.IPv4Address(chosen[name]) for name in ("apiserver", "services")] == free[:2]


@given(specs(), st.lists(INSIDE, max_size=5))
def test_held_addresses_never_change(spec, others):
    try:
        held = choose(spec, {})
    except ValidationError:
        assume(False)
    assert choose(spec, held) == held
    assert choose(spec._replace(reserved=(), addresses=()), held) == held
    more = [Claim(text, "host new") for text in others]
    later = spec._replace(addresses=[*spec.addresses, *more])
    if set(others).isdisjoint(held.values()):
        assert choose(later, held) == held
    else:
        stolen = set(others) & set(held.values())
        found = problems(later, held)
        assert len(found) == len(stolen)
        assert all(any(address in text and "host new" in text for text in found) for address in stolen)


@pytest.mark.parametrize(
    ("spec", "held", "words"),
    [
        ({"subnet": "10.0.2.0/31"}, {}, ["10.0.2.0/31 has no free addresses"]),
        ({"subnet": "10.0.2.0/30"}, {}, ["has 1 free address, and 2 are needed", "10.0.2.1 is the gateway"]),
        ({"subnet": "fd00::/64"}, {}, ["'fd00::/64' is not an IPv4 network"]),
        ({"subnet": "10.0.2.7"}, {}, ["'10.0.2.7' is not an IPv4 network"]),
        ({"subnet": None}, {}, ["overlay_clb_subnet is not set"]),
        ({"subnet": "10.244.255.0/28"}, {}, ["overlaps 10.244.255.0/24 (the Service range"]),
        ({"subnet": "10.244.9.0/24"}, {}, ["overlaps 10.244.0.0/16 (overlay_container_cidr)"]),
        ({"gateway": "10.0.3.1"}, {}, ["overlay_clb_gateway '10.0.3.1' is not an address of 10.0.2.0/24"]),
        ({"reserved": ["10.0.3.1"]}, {}, ["10.0.3.1 is not part of 10.0.2.0/24"]),
        ({"reserved": ["some"]}, {}, ["'some' is neither an address nor a network"]),
        ({"pins": {"api": "10.0.2.9"}}, {}, ["overlay_clb_vips has 'api'", "apiserver and services"]),
        ({"pins": {"services": 7}}, {}, ["services 7 is not a numeric IPv4 address"]),
        ({"pins": {"services": "10.0.3.7"}}, {}, ["services 10.0.3.7 (overlay_clb_vips) is not in 10.0.2.0/24"]),
        ({"pins": {"services": "10.0.2.255"}}, {}, ["10.0.2.255 (overlay_clb_vips) is the broadcast address"]),
        ({"pins": {"services": "10.0.2.1"}}, {}, ["is the gateway of 10.0.2.0/24"]),
        ({"pins": {"apiserver": "10.0.2.9", "services": "10.0.2.9"}}, {}, ["both VIPs are 10.0.2.9"]),
        ({"pins": {"services": "10.0.2.7"}}, GIVEN, ["the VIP services is 10.0.2.9", "10.0.2.7 is asked for"]),
        (
            {"addresses": [Claim("10.0.2.8", "host idc7 (ansible_host)")]},
            GIVEN,
            ["the VIP apiserver 10.0.2.8 (in the ledger) is host idc7 (ansible_host)", "tke.overlay.clb_release"],
        ),
        ({"reserved": ["10.0.2.8/29"]}, GIVEN, ["apiserver 10.0.2.8", "services 10.0.2.9", "reserved by 10.0.2.8/29"]),
        ({"subnet": "10.0.7.0/24"}, GIVEN, ["10.0.2.8 (in the ledger) is not in 10.0.7.0/24 (overlay_clb_subnet)"]),
        ({"provider": EXTERNAL, "pins": {"services": "10.0.2.9"}}, {}, ["overlay_clb_vips lacks apiserver"]),
        (
            {"provider": EXTERNAL, "pins": {"apiserver": "127.0.0.1", "services": "10.244.1.1"}},
            {},
            ["127.0.0.1 (overlay_clb_vips) is not an address that", "10.244.1.1", "lies in 10.244.0.0/16"],
        ),
    ],
)
def test_conflicts_name_both_sides(spec, held, words):
    text = "\n".join(problems(SPEC._replace(**spec), held))
    for word in words:
        assert word in text


def test_reports_all_problems_at_once():
    spec = SPEC._replace(pins={"services": "10.0.9.1", "x": ""}, reserved=["10.0.9.0/24"], gateway="here")
    assert len(problems(spec)) == 4


def test_finds_conflicts_of_held_addresses():
    found = list(problems_of_held(GIVEN, [Claim("10.0.2.9", "node a (overlay_underlay_ip)")], RANGES))
    assert len(found) == 1
    assert "10.0.2.9 (in the ledger) is node a (overlay_underlay_ip)" in found[0]
    grown = [Claim("10.0.0.0/16", "overlay_container_cidr")]
    assert len(list(problems_of_held(GIVEN, [], grown))) == 2


def test_reserved_network_may_have_host_bits():
    assert choose(SPEC._replace(reserved=["10.0.2.3/30"]), {})["apiserver"] == "10.0.2.4"


def test_rejects_one_address_for_both_vips():
    twice = {"apiserver": "10.0.2.8", "services": "10.0.2.8"}
    assert "both VIPs are 10.0.2.8 (overlay_clb_vips): set two different addresses" in problems(
        SPEC._replace(pins=twice)
    )


def problems_of_call(work, *arguments, **options):
    with pytest.raises(ValidationError) as caught:
        work(*arguments, **options)
    return caught.value.problems


def chosen(spec, held=None):
    return problems_of_call(choose, spec, held or {})


def test_exhausted_subnet_lists_at_most_ten_holders():
    ends = [
        "10.0.2.0 is the network address of 10.0.2.0/28 (overlay_clb_subnet)",
        "10.0.2.1 is the gateway of 10.0.2.0/28 (to change it: overlay_clb_gateway)",
    ]
    hosts = [Claim(f"10.0.2.{number}", f"host h{number}") for number in range(2, 10)]
    reserved = ["10.0.2.12/30"]
    spec = VipSpec(PAIR, "10.0.2.0/28", reserved=reserved, addresses=[*hosts, Claim("10.0.3.1", "host elsewhere")])
    begin = "10.0.2.0/28 (overlay_clb_subnet) has {} free address{}, and {} needed: "
    end = ". Set a larger overlay_clb_subnet, or reserve less (overlay_clb_reserved)"
    ten = "; ".join(ends + [f"10.0.2.{number} is host h{number}" for number in range(2, 10)])
    assert chosen(spec._replace(reserved=["10.0.2.11", *reserved])) == [
        f"{begin.format(1, '', '2 are')}{ten} and 3 more{end}"
    ]
    assert chosen(spec._replace(reserved=["10.0.2.10/31", *reserved])) == [
        f"{begin.format('no', 'es', '2 are')}{ten} and 3 more{end}"
    ]
    pinned = spec._replace(pins={"services": "10.0.2.10"}, reserved=["10.0.2.11", *reserved])
    assert chosen(pinned)[0].startswith(begin.format("no", "es", "1 is"))
    eight = VipSpec(PAIR, "10.0.2.0/29", addresses=hosts[:4])
    assert chosen(eight)[0].endswith(
        "(overlay_clb_subnet). Set a larger overlay_clb_subnet, or reserve less (overlay_clb_reserved)"
    ), "no more than ten"
    eleven = VipSpec(PAIR, "10.0.2.0/28", addresses=hosts[:7], reserved=["10.0.2.8/29"])
    assert " and 1 more. " in chosen(eleven)[0]
    ten_exactly = VipSpec(PAIR, "10.0.2.0/28", addresses=hosts[:6], reserved=["10.0.2.8/29"])
    assert " more" not in chosen(ten_exactly)[0]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"pins": {"services": "10.0.2.1"}, "gateway": "10.0.2.1"}, "is the gateway (overlay_clb_gateway): choose"),
        ({"pins": {"services": "10.0.2.255"}}, "(overlay_clb_subnet): choose another one"),
        ({"provider": EXTERNAL, "pins": {}}, "overlay_clb_vips lacks apiserver and services: "),
    ],
)
def test_rejected_vip_names_the_remedy(spec, words):
    found = chosen(VipSpec(PAIR, "10.0.2.0/24")._replace(**spec))
    assert any(words in text for text in found)


def test_pair_requires_a_subnet():
    assert chosen(VipSpec(PAIR, None)) == [
        "overlay_clb_subnet is not set: set it to the subnet of the two VIPs of the pair"
    ]


@pytest.mark.parametrize("address", ["127.0.0.1", "224.0.0.5", "169.254.1.1", "0.0.0.0"])
def test_rejects_addresses_that_other_hosts_cannot_reach(address):
    external = VipSpec(EXTERNAL, None, pins={"apiserver": address, "services": "10.0.2.3"})
    what = f"the VIP apiserver {address} (overlay_clb_vips)"
    assert chosen(external) == [f"{what} is not an address that another host could reach: choose another one"]


def test_names_only_the_narrowest_overlapping_range():
    ranges = [Claim("10.244.255.0/24", "the Service range"), Claim("10.244.0.0/16", "overlay_container_cidr")]
    held = {"apiserver": "10.244.255.9", "services": "10.0.2.3"}
    (found,) = problems_of_held(held, [], ranges)
    assert "lies in 10.244.255.0/24 (the Service range): change that, or " in found
    (found,) = chosen(VipSpec(PAIR, "10.244.255.0/24", ranges=ranges))
    assert "overlaps 10.244.255.0/24 (the Service range)" in found


def test_pin_equal_to_the_held_address_changes_nothing():
    held = {"apiserver": "10.0.2.8", "services": "10.0.2.9"}
    assert choose(VipSpec(PAIR, "10.0.2.0/24", pins={"services": " 10.0.2.9 "}), held) == held
    assert len(chosen(VipSpec(PAIR, "10.0.2.0/24", pins={"services": "10.0.2.7"}), held)) == 1


def test_subnet_may_have_host_bits_and_numbers_are_invalid():
    assert choose(VipSpec(PAIR, "10.0.2.77/24"), {}) == {"apiserver": "10.0.2.2", "services": "10.0.2.3"}
    (found,) = chosen(VipSpec(PAIR, "10.0.2.0/24", reserved=[10]))
    assert found == "overlay_clb_reserved: 10 is neither an address nor a network"

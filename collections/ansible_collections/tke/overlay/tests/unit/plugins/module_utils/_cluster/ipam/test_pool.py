# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._cluster.ipam.pool import (
    TKE_SERVICES,
    CyclicAllocator,
    Pool,
    PoolExhaustedError,
    round_up,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError


@pytest.mark.parametrize(
    ("cidrs", "pods", "services", "nodes", "service_cidr"),
    [
        # The two worked examples of Tencent's documentation.
        (["172.16.0.0/16"], 64, 256, 1020, "172.16.255.0/24"),
        (["10.99.0.0/19"], 256, 1024, 28, "10.99.28.0/22"),
        # Rounded up: 100 Pods -> 128, 200 services -> 256.
        (["10.0.0.0/16"], 100, 200, 510, "10.0.255.0/24"),
        # Fewer services than Pods of a node: the last block is partly in the Service range, and is not allocated.
        (["10.0.0.0/24"], 64, 32, 3, "10.0.0.224/27"),
        # A second CIDR adds node CIDRs and does not move the Service range.
        (["10.0.0.0/24", "10.9.0.0/24"], 64, 32, 7, "10.0.0.224/27"),
        (["10.0.0.0/8"], 256, 256, 65535, "10.255.255.0/24"),
        (["10.0.0.0/23"], 256, 256, 1, "10.0.1.0/24"),
    ],
)
def test_capacity_follows_the_formula_of_tke(cidrs, pods, services, nodes, service_cidr):
    pool = Pool(cidrs, pods, services)
    assert pool.size == nodes
    assert pool.service_cidr == service_cidr
    assert pool.capacity(used=1, pending=0)["free"] == nodes - 1
    assert pool.capacity(used=0, pending=0)["usable_pods_per_node"] == pool.node_cidr_size - 3
    assert pool.capacity(used=0, pending=0)["usable_services"] == pool.services - 5


@given(st.integers(16, 26), st.integers(2, 9), st.integers(3, 9), st.booleans())
def test_node_cidrs_and_service_range_share_no_address(prefix, pods_bits, services_bits, second):
    cidrs = [f"10.64.0.0/{prefix}"] + ([f"10.128.0.0/{prefix}"] if second else [])
    try:
        pool = Pool(cidrs, 1 << pods_bits, 1 << services_bits)
    except ValidationError:
        addresses = 1 << (32 - prefix)
        assert addresses - (1 << services_bits) < 1 << pods_bits
        return
    numbers = {0, 1, pool.size // 2, pool.size - 2, pool.size - 1} & set(range(pool.size))
    networks = [ipaddress.IPv4Network(pool.node_cidr(number)) for number in sorted(numbers)]
    networks.append(ipaddress.IPv4Network(pool.service_cidr))
    for position, network in enumerate(networks):
        assert any(network.subnet_of(ipaddress.IPv4Network(cidr)) for cidr in cidrs)
        assert not any(network.overlaps(other) for other in networks[:position])
    for number in numbers:
        assert pool.number(pool.node_cidr(number)) == number


@pytest.mark.parametrize(
    ("node_cidr", "words"),
    [
        ("10.1.0.0/24", "not a node CIDR of the container CIDR 10.0.0.0/16"),
        ("10.0.1.0/25", "not of the node CIDR size /24"),
        ("10.0.0.0/16", "not of the node CIDR size /24"),
        ("10.0.255.0/24", "in the Service range 10.0.255.0/24"),
        ("10.0.1.7/24", "host bits"),
        ("fd00::/64", "not an IPv4 network"),
        ("rubbish", "not an IPv4 network"),
        ("10.1/24", "not an IPv4 network"),
    ],
)
def test_foreign_node_cidr_is_rejected_by_name(node_cidr, words):
    with pytest.raises(ValueError, match=words) as caught:
        Pool(["10.0.0.0/16"], 256, 256).number(node_cidr)
    assert node_cidr in str(caught.value)


@pytest.mark.parametrize(
    ("cidrs", "pods", "services", "words"),
    [
        ([], 256, 256, ["overlay_container_cidr is empty"]),
        (["10.0.0.0/16", "nonsense", "10.0.0.1/8"], 256, 256, ["'nonsense'", "'10.0.0.1/8'"]),
        (["8.8.0.0/16"], 256, 256, ["8.8.0.0/16 is not private"]),
        (["172.0.0.0/8"], 256, 256, ["172.0.0.0/8 is not private"]),
        (["10.0.0.0/16", "10.0.128.0/17"], 256, 256, ["10.0.128.0/17 overlaps container CIDR 10.0.0.0/16"]),
        (["10.0.0.0/24"], 256, 256, ["no room for one node", "256 addresses - 256 for services leave 0"]),
        (
            ["10.0.0.0"],
            256,
            256,
            ["overlay_container_cidr: '10.0.0.0' has no prefix length: write it as in 10.0.0.0/16"],
        ),
        (["a" * 999], 256, 256, ["aaa... (1001 characters) is not an IPv4 network: Expected 4 octets in "]),
        (["10.0.0.0/16", "10.9.0.0/25"], 256, 256, ["10.9.0.0/25 has no room for one node"]),
        (["10.0.0.0/16"], 256, 5, ["overlay_max_services is 5"]),
        (["10.0.0.0/16"], 3, 4, ["overlay_max_pods_per_node is 3", "overlay_max_services is 4"]),
        (["10.0.0.0/16"], -1, 256, ["overlay_max_pods_per_node is -1"]),
        (["11.0.0.0/24"], 256, 256, ["not private", "no room for one node"]),
    ],
)
def test_rejects_all_invalid_values_at_once(cidrs, pods, services, words):
    with pytest.raises(ValidationError) as caught:
        Pool(cidrs, pods, services)
    for word in words:
        assert word in str(caught.value)


def test_warns_of_rounding_and_values_outside_tke_limits():
    assert Pool(["10.0.0.0/16"], 256, 256).warnings == []
    assert Pool(["10.0.0.0/16"], 100, 256).warnings == [
        "overlay_max_pods_per_node 100 is not a power of two and was rounded up to 128"
    ]
    (warning,) = Pool(["10.0.0.0/8"], 1024, 256).warnings
    assert "1024 is outside TKE's own range of 16 to 256" in warning


def test_released_number_behind_the_cursor_waits_for_wraparound():
    allocator = CyclicAllocator(4)
    assert [allocator.allocate_next(), allocator.allocate_next(), allocator.allocate_next()] == [0, 1, 2]
    # 1 is released, and the record is loaded again.
    again = CyclicAllocator(4, allocator.cursor)
    for number in (0, 2):
        again.occupy(number)
    assert [again.allocate_next(), again.allocate_next()] == [3, 1]
    with pytest.raises(PoolExhaustedError):
        again.allocate_next()


def test_quarantined_number_is_skipped_until_wraparound():
    allocator = CyclicAllocator(4, cursor=1)
    assert allocator.is_ahead(2)
    allocator.quarantine(2)
    assert [allocator.allocate_next() for _turn in range(4)] == [1, 3, 0, 2]
    assert allocator.rounds == 1


@given(
    st.integers(1, 40),
    st.lists(st.one_of(st.just("allocate"), st.integers(0, 39)), max_size=120),
)
def test_allocations_match_a_simple_model(size, operations):
    """The model checks one number after the other; the allocator must return the same numbers."""
    occupied, cursor = set(), 0
    cursor_kept = 0
    for operation in operations:
        if operation == "allocate":
            allocator = CyclicAllocator(size, cursor_kept)
            for number in occupied:
                allocator.occupy(number)
            expected = next((n % size for n in range(cursor, cursor + size) if n % size not in occupied), None)
            if expected is None:
                with pytest.raises(PoolExhaustedError):
                    allocator.allocate_next()
                continue
            assert allocator.allocate_next() == expected
            occupied.add(expected)
            cursor = cursor_kept = (expected + 1) % size
            assert allocator.cursor == cursor
        else:
            occupied.discard(operation % size)


def test_numbers_continue_across_cidrs():
    pool = Pool(["10.0.0.0/24", "10.9.0.0/24", "10.8.0.0/24"], 64, 32, ["10.9.0.192/26", "10.8.0.0/25"])
    node_cidrs = [pool.node_cidr(number) for number in range(pool.size)]
    assert node_cidrs[2:5] == ["10.0.0.128/26", "10.9.0.0/26", "10.9.0.64/26"]
    assert node_cidrs[7] == "10.8.0.0/26"
    assert [pool.number(node_cidr) for node_cidr in node_cidrs] == list(range(11))
    reserved = {6: "10.9.0.192/26", 7: "10.8.0.0/25", 8: "10.8.0.0/25"}
    assert pool.reserved == {
        number: f"the reserved range {cidr} (overlay_reserved)" for number, cidr in reserved.items()
    }
    with pytest.raises(IndexError):
        pool.node_cidr(11)


def test_smallest_pool_sizes():
    assert [round_up(number) for number in (1, 2, 3, 4, 5)] == [1, 2, 4, 4, 8]
    pool = Pool(["10.0.0.0/24"], 4, 6)
    assert (pool.node_cidr_size, pool.services, pool.capacity(0, 0)["usable_services"]) == (4, 8, 3)


def problems_of(*arguments):
    with pytest.raises(ValidationError) as caught:
        Pool(*arguments)
    return caught.value.problems


def test_errors_name_values_variables_and_remedies():
    assert problems_of([], 64, 32) == ["overlay_container_cidr is empty: set it to a network such as 10.244.0.0/16"]
    private = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16"
    assert problems_of(["8.8.0.0/16"], 64, 32) == [
        f"container CIDR 8.8.0.0/16 is not private: choose an overlay_container_cidr inside {private}"
    ]
    assert problems_of(["10.0.0.0/24", "10.9.0.0/24"], 64, 32, ["x", "10.7.0.0/24", "10.9.0.0/26"]) == [
        "overlay_reserved: 'x' is not an IPv4 network: Expected 4 octets in 'x'",
        "reserved range 10.7.0.0/24 (overlay_reserved) is not part of the container CIDR 10.0.0.0/24, 10.9.0.0/24",
    ]
    way_out = "set a larger overlay_container_cidr, or a smaller overlay_max_pods_per_node or overlay_max_services"
    assert problems_of(["10.0.0.0/24", "10.9.0.0/25"], 256, 32) == [
        (
            "container CIDR 10.0.0.0/24 has no room for one node: 256 addresses - 32 for services leave 224, "
            f"and a node CIDR has 256; {way_out}"
        ),
        (
            "container CIDR 10.9.0.0/25 has no room for one node: 128 addresses leave 128, and a node CIDR has 256; "
            f"{way_out}"
        ),
    ]


def test_accepts_the_limits_of_max_services():
    low, high = TKE_SERVICES
    assert Pool(["10.0.0.0/8"], 64, low).warnings == []
    assert Pool(["10.0.0.0/8"], 64, high).warnings == []
    assert Pool(["10.0.0.0/8"], 64, low // 2).warnings == [
        f"overlay_max_services {low // 2} is outside TKE's own range of {low} to {high}; the overlay works with it"
    ]


def test_reserved_part_of_service_range_reserves_no_node_cidr():
    assert Pool(["10.0.0.0/24", "10.9.0.0/24"], 64, 32, ["10.0.0.192/26"]).reserved == {}

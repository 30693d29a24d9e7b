# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The MTU of the underlay is that of the route to each peer, on real kernel tables."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, fleet_text
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.underlay import (
    MAX_LOOKUPS,
    UnderlayRoute,
    underlay_routes,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.converge import converge
from breakages import PEERS, document

ROUTED = "10.0.9.9"
"""An underlay address that is on no link to the peers."""


@pytest.fixture(autouse=True)
def host(run, tmp_path, monkeypatch):
    """Two links: eth0 to 10.0.1.0/24, and far with 10.0.2.1/24 and a smaller MTU."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    ip(run, "address add 10.0.2.1/24 dev far", "link set far mtu 1400", f"address add {ROUTED}/32 dev lo")
    return run


def ip(run, *lines):
    for line in lines:
        code, _out, errors = run(["ip", *line.split()])
        assert code == 0, (line, errors)


def fleet(own, *peers):
    others = [Peer(f"peer{number}", f"10.244.{number}.0/24", peer) for number, peer in enumerate(peers, 1)]
    return fleet_text([Peer("me", "10.244.0.0/24", own), *others])


def problems(run, **changes):
    """Return what the host rejects in check mode and in a real run, which agree."""
    found = []
    for check in (True, False):
        try:
            converge(document(**changes), run, check=check)
            found.append([])
        except ValidationError as error:
            found.append(error.problems)
    assert found[0] == found[1]
    return found[1]


def test_an_address_on_lo_has_the_mtu_of_the_link_to_the_peers(run):
    ip(run, "link set eth0 mtu 1400")
    (problem,) = problems(run, fleet=fleet(ROUTED, "10.0.1.12", "10.0.1.13"))
    assert "link eth0, on the route to 10.0.1.12, 10.0.1.13, has MTU 1400" in problem
    assert "an overlay MTU of 1450 requires 1500: set overlay_underlay_mtu of this host to 1400" in problem


def test_an_address_on_lo_is_accepted_where_the_links_fit(run):
    assert problems(run, fleet=fleet(ROUTED, "10.0.1.12"), mtu=1450) == []
    assert problems(run, fleet=fleet(ROUTED, "10.0.1.12"), mtu=1451) != []


def test_an_address_on_lo_without_peers_has_no_limit(run):
    assert problems(run, fleet=fleet(ROUTED)) == []


def test_a_small_link_that_no_route_takes_is_no_problem(run):
    assert problems(run, fleet=fleet("10.0.2.1", "10.0.1.12")) == []


def test_each_link_and_route_with_a_small_mtu_is_named(run):
    ip(run, "route add 10.1.0.0/16 via 10.0.1.254 mtu lock 1420", "route add 10.2.0.0/16 via 10.0.1.254 mtu 1499")
    peers = ["10.0.1.12", "10.0.2.12", "10.0.2.13", "10.1.0.1", "10.2.0.1", "10.2.0.2", "10.2.0.3", "10.2.0.4"]
    found = problems(run, fleet=fleet("10.0.1.11", *peers))
    assert len(found) == 3
    assert "link far, on the route to 10.0.2.12, 10.0.2.13, has MTU 1400" in found[0]
    assert "the route to 10.1.0.1 (dev eth0) has MTU 1420" in found[1]
    assert "the route to 10.2.0.1, 10.2.0.2, 10.2.0.3 and 1 more (dev eth0) has MTU 1499" in found[2]
    assert "set overlay_underlay_mtu of this host to 1499" in found[2]


def test_a_smaller_route_on_a_small_link_is_named_itself(run):
    ip(run, "route add 10.1.0.0/16 via 10.0.2.254 mtu 1300")
    (problem,) = problems(run, fleet=fleet("10.0.1.11", "10.1.0.1"))
    assert "the route to 10.1.0.1 (dev far) has MTU 1300" in problem


def test_a_route_whose_mtu_exceeds_that_of_its_link_does_not_hide_it(run):
    ip(run, "route add 10.1.0.0/16 via 10.0.2.254 mtu 9000")
    (problem,) = problems(run, fleet=fleet("10.0.1.11", "10.1.0.1"))
    assert "link far, on the route to 10.1.0.1, has MTU 1400" in problem


def test_a_rule_for_the_source_address_decides(run):
    ip(run, "rule add from 10.0.1.11 lookup 100", "route add 10.1.0.0/16 dev far table 100")
    (problem,) = problems(run, fleet=fleet("10.0.1.11", "10.1.0.1"))
    assert "link far, on the route to 10.1.0.1, has MTU 1400" in problem


def test_peers_without_a_route_do_not_stop_a_host(run):
    """One of them ends in an error of the kernel, one in a prohibited route; the third has a route."""
    ip(run, "route add prohibit 10.3.0.0/16", "route add 10.1.0.0/16 via 10.0.1.254")
    found = underlay_routes("10.0.1.11", ["172.16.0.1", "10.3.0.1", "10.1.0.1"], run)
    assert found == [UnderlayRoute("eth0", None, ("10.1.0.1",))]
    assert problems(run, fleet=fleet("10.0.1.11", "172.16.0.1", "10.3.0.1", "10.1.0.1")) == []


def test_ipv6_routes_are_read_as_well(run):
    ip(run, "address add 2001:db8::11/64 dev eth0 nodad", "route add 2001:db8:1::/64 via 2001:db8::1 mtu 1300")
    found = underlay_routes("2001:db8::11", ["2001:db8::12", "2001:db8:1::5"], run)
    assert [(route.device, route.mtu, route.peers) for route in found] == [
        ("eth0", None, ("2001:db8::12",)),
        ("eth0", 1300, ("2001:db8:1::5",)),
    ]


def test_of_very_many_peers_one_per_prefix_is_looked_up(run):
    ip(run, "route add 10.1.0.0/16 via 10.0.1.254")
    peers = [f"10.1.{third}.{fourth}" for third in range(3) for fourth in range(1, MAX_LOOKUPS // 2)]
    (route,) = underlay_routes("10.0.1.11", peers, run)
    assert [peer.rpartition(".")[0] for peer in route.peers] == ["10.1.0", "10.1.1", "10.1.2"]
    (route,) = underlay_routes("10.0.1.11", peers[:MAX_LOOKUPS], run)
    assert len(route.peers) == MAX_LOOKUPS


def test_peers_of_the_fixture_pass(run):
    assert problems(run, fleet=fleet_text(PEERS)) == []

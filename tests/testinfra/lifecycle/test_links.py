# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A short form of scenario `links`, on the hosts of all scenarios: the link of one site, with every transport."""

from __future__ import annotations

from linked import links, never_in_clear, offering, pinged, pod_of, route

from day_two import nothing_lost
from stories import on, site, until

testinfra_hosts = ["local://"]


def test_a_link_has_each_transport_in_turn_without_loss():
    with nothing_lost():
        site(*links(("wireguard", "cloud")))
    assert route("cloud1", "cloud2")["dev"] == "tke-wg0"
    with never_in_clear("cloud1", "cloud2"), offering("cloud1", "cloud2", 1):
        on("cloud1", "ip link del tke-wg0")
    # The new device has no session. Until it begins one, the other host sends by the former one.
    until("cloud1", f"ip netns exec pod-1 ping -n -q -c 1 -W 1 {pod_of('cloud2')} >/dev/null", 30)
    with nothing_lost():
        site(*links(("direct", "cloud"), ("vxlan", "cloud", "idc", "1400")))
    assert route("cloud1", "cloud2")["dev"] == "eth0"
    assert route("cloud1", "idc1")["mtu"] in (1350, None)
    assert pinged("cloud2", "cloud1", 1400)
    with nothing_lost():
        site()
    assert site().changed() == set()
    assert on("cloud1", "ls /sys/class/net | grep tke-wg; true") == ""

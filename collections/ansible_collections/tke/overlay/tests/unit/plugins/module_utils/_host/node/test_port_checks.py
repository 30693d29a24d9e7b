# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the links of Pods, with listings that a small lab does not give. tests/kernel has the others."""

from __future__ import annotations

import json

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node.pod_network import planned_network
from ansible_collections.tke.overlay.plugins.module_utils._host.node.port_checks import (
    addresses_behind,
    check_ports,
    pod_records,
)

BRIDGE = {
    "ifname": "tke-br0",
    "flags": ["UP"],
    "addr_info": [{"family": "inet", "local": "10.244.0.1", "prefixlen": 24}],
    "linkinfo": {"info_kind": "bridge"},
}


def port(number, master="tke-br0", **settings):
    """Return the link of a Pod whose network namespace has the ID ``number``."""
    return {
        "ifname": f"veth{number:08x}",
        "link_index": 2,
        "link_netnsid": number,
        "flags": ["UP", "LOWER_UP"],
        "linkinfo": {"info_kind": "veth", "info_slave_data": {"state": "forwarding", "hairpin": True, **settings}},
        **({"master": master} if master else {}),
    }


def listings(addresses, calls=None):
    """Return a function that lists network namespaces ``ns1``, ... with an address each."""

    def run(command, _text):
        if calls is not None:
            calls.append(command)
        if list(command[1:4]) == ["-json", "netns", "list"]:
            return 0, json.dumps([{"name": f"ns{number}", "id": number} for number in addresses]), ""
        number = int(command[2][2:])
        other = {"ifindex": 9, "addr_info": [{"local": "192.0.2.9"}]}
        return 0, json.dumps([other, {"ifindex": 2, "addr_info": [{"local": addresses[number]}]}]), ""

    return run


@pytest.fixture
def network(document, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return planned_network(document)


def reserve(root, *addresses):
    directory = root / "var/lib/cni/networks/tke-overlay"
    directory.mkdir(parents=True)
    for address in addresses:
        (directory / address).touch()


def test_many_pods_are_counted_and_three_are_named(network, tmp_path):
    addresses = {number: f"10.244.0.{number}" for number in range(2, 72)}
    reserve(tmp_path, *addresses.values())
    links = [BRIDGE, *(port(number, master=None) for number in addresses)]
    (finding,) = check_ports(network, links, listings(addresses))
    assert finding.text.count("Pod address") == 3
    assert "and 29 more are not on the Pod bridge" in finding.text, "so many namespaces are read"
    assert finding.remedy.endswith("(and the 29 others)")


def test_no_namespace_is_read_while_all_is_well(network, tmp_path):
    addresses = {number: f"10.244.0.{number}" for number in range(2, 252)}
    reserve(tmp_path, *addresses.values())
    calls = []
    assert check_ports(network, [BRIDGE, *map(port, addresses)], listings(addresses, calls)) == []
    assert calls == []


def test_a_blocked_port_is_named_and_one_without_carrier_is_not(network, tmp_path):
    reserve(tmp_path, "10.244.0.2", "10.244.0.3")
    links = [BRIDGE, port(2, state="blocking"), port(3, state="disabled")]
    (finding,) = check_ports(network, links, listings({2: "10.244.0.2", 3: "10.244.0.3"}))
    assert "veth00000002" in finding.text
    assert "veth00000003" not in finding.text
    assert finding.remedy == "bridge link set dev veth00000002 state 3"


def test_links_with_an_own_address_need_no_bridge(network):
    routed = {**port(5, master=None), "addr_info": [{"local": "10.244.0.1", "prefixlen": 32}]}
    assert check_ports(network, [routed], listings({5: "10.244.0.5"})) == []


def test_namespaces_without_a_name_and_failing_listings_are_left_out():
    assert addresses_behind([port(7)], listings({2: "10.244.0.2"})) == {}
    assert addresses_behind([port(2)], lambda _command, _text: (1, "", "gone")) == {}
    assert addresses_behind([port(2)], lambda _command, _text: (0, "not JSON", "")) == {}
    assert addresses_behind([{"ifname": "veth1"}], listings({})) == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"result": {}}', '{"result": {"interfaces": [{"name": "tke-br0"}]}}']
)
def test_other_records_are_ignored(network, tmp_path, text):
    path = tmp_path / "var/lib/cni/results/tke-overlay-0-eth0"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    (path.parent / "cbr0-0-eth0").write_text("{}")
    assert pod_records() == []


def test_a_record_without_kubernetes_has_the_container_id(network, tmp_path):
    path = tmp_path / "var/lib/cni/cache/results/tke-overlay-0-eth0"
    path.parent.mkdir(parents=True)
    interfaces = [{"name": "tke-br0"}, {"name": "veth1"}]
    path.write_text(json.dumps({"containerId": "0123456789abcdef", "result": {"interfaces": interfaces}}))
    (record,) = pod_records()
    assert (record.pod, record.link, record.addresses, record.sandbox) == ("0123456789ab", "veth1", [], "")

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The links of a plan: one for every pair of sites, with the MTU that both ends and the line carry."""

from __future__ import annotations

import base64
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._addressing import MIN_MTU, parse_fleet, plan_id
from ansible_collections.tke.overlay.plugins.module_utils._cluster.ledger.document import parse
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.plan import assign, plan
from ansible_collections.tke.overlay.plugins.module_utils._cluster.planning.validate import (
    ClusterSettings,
    InventoryNode,
)
from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._links import ENCAPSULATION, mtu_of_packets, parse_links

NOW = "2026-01-02T03:04:05Z"
CLUSTER = ClusterSettings("demo", ["10.244.0.0/16"], 256, 256)
CLOUD1 = InventoryNode("cloud1", ["cloud"], "10.0.1.11", 1500)
CLOUD2 = InventoryNode("cloud2", ["cloud"], "10.0.1.12", 1500)
IDC1 = InventoryNode("idc1", ["idc"], "192.168.1.11", 1450)
SHANGHAI1 = InventoryNode("sh1", ["idc"], "192.168.9.11", 9000, site="shanghai")
SHANGHAI2 = InventoryNode("sh2", ["idc"], "192.168.9.12", 9000, site="shanghai")
FLEET = (CLOUD1, CLOUD2, IDC1, SHANGHAI1, SHANGHAI2)
HIDDEN = "none"


def key_of(name):
    """Return a public key, another one for each name."""
    return base64.b64encode(name.encode().ljust(32, b"."))[:43].decode() + "="


KEYS = {node.name: key_of(node.name) for node in FLEET}


def linked(*links, **options):
    return CLUSTER._replace(links=list(links), **options)


def link(*sites, **options):
    return {"sites": list(sites), **options}


ENCRYPTED = linked(link("cloud", "shanghai", transport="wireguard"), wireguard_keys=KEYS)


def planned(cluster, nodes=FLEET, text=None):
    ledger = assign(cluster, nodes, text, "/ledger", NOW)
    ledger.acknowledge([node.name for node in nodes])
    return ledger, plan(cluster, nodes, ledger)


def document(cluster, nodes=FLEET):
    return planned(cluster, nodes)[1].document


def problems(cluster, nodes=FLEET, text=None):
    with pytest.raises(ValidationError) as caught:
        assign(cluster, nodes, text, "/ledger", NOW)
    return caught.value.problems


def problem(*given, **options):
    (only,) = problems(*given, **options)
    return only


# --- what is planned ------------------------------------------------------------------------------


def test_without_links_a_site_changes_nothing():
    _ledger, made = planned(CLUSTER)
    ledger, same = planned(CLUSTER, [node._replace(site=None) for node in FLEET])
    assert plan_id(made.document) == plan_id(same.document)
    assert {"links", "wireguard_port"}.isdisjoint(made.document)
    assert [word for word in ("site", "wireguard") if word in ledger.text()] == []


def test_every_pair_of_sites_has_a_link():
    made = document(linked(link("shanghai", transport="direct"), link("idc", "cloud", mtu=1400)))
    assert made["links"].splitlines() == [
        "cloud cloud vxlan 1450",
        "cloud idc vxlan 1350",
        "cloud shanghai vxlan 1450",
        "idc idc vxlan 1400",
        "idc shanghai vxlan 1400",
        "shanghai shanghai direct 9000",
    ]
    assert made["mtu"] == 9000
    assert {peer.site for peer in parse_fleet(made["fleet"]).values()} == {"cloud", "idc", "shanghai"}
    assert "wireguard_port" not in made


def test_endpoints_and_keys_belong_to_sites_with_wireguard():
    fleet = [CLOUD1._replace(wireguard_endpoint="203.0.113.7:443"), IDC1]
    fleet += [SHANGHAI1._replace(wireguard_endpoint=HIDDEN), SHANGHAI2._replace(wireguard_endpoint=HIDDEN)]
    cluster = linked(
        link("cloud", "shanghai", transport="wireguard"),
        link("idc", "shanghai", transport="wireguard"),
        wireguard_keys={"cloud1": KEYS["cloud1"], "sh1": "-"},
    )
    made = document(cluster, fleet)
    assert (made["wireguard_port"], made["wireguard_generation"]) == (51820, 0)
    found = {name: (peer.endpoint, peer.keys) for name, peer in parse_fleet(made["fleet"]).items()}
    assert found == {
        "cloud1": ("203.0.113.7:443", KEYS["cloud1"]),
        "idc1": ("192.168.1.11:51820", "-"),
        "sh1": ("-", "-"),
        "sh2": ("-", "-"),
    }


def test_nodes_without_keys_get_another_port_at_once():
    unknown = ENCRYPTED._replace(wireguard_keys={})
    ledger, _made = planned(unknown)
    changed = unknown._replace(wireguard_port=51821)
    _ledger, made = planned(changed, text=ledger.text())
    assert made.document["wireguard_port"] == 51821
    assert [warning for warning in made.warnings if "wireguard" in warning] == []


def test_a_fleet_without_wireguard_forgets_its_port():
    ledger, _made = planned(ENCRYPTED)
    assert ledger.wireguard_port == 51820
    later, _made = planned(linked(link("cloud", "shanghai")), text=ledger.text())
    assert "wireguard_port" not in later.text()
    _ledger, made = planned(ENCRYPTED._replace(wireguard_port=51821), text=later.text())
    assert made.document["wireguard_port"] == 51821


def test_nodes_without_a_group_leave_the_ports_as_they_are():
    """As the module node_cidr has them, which knows nothing of links."""
    ledger, _made = planned(ENCRYPTED._replace(wireguard_port=40000))
    ledger.nodes["sh1"] = ledger.nodes["sh1"]._replace(wireguard_next_key=key_of("next"))
    ledger.wireguard_next_port = 50000
    later = assign(CLUSTER, [node._replace(kinds=None) for node in FLEET], ledger.text(), "/ledger", NOW)
    assert later.text() == ledger.text()


def test_a_node_outside_the_inventory_keeps_the_port_of_its_key():
    """Links that are gone for one run do not change the port of a node that still has them."""
    ledger, _made = planned(ENCRYPTED)
    without = planned(linked(link("cloud", "shanghai")), FLEET[:-1], text=ledger.text())[0]
    assert without.nodes["sh2"].wireguard_key == KEYS["sh2"]
    _ledger, made = planned(ENCRYPTED._replace(wireguard_port=51900), text=without.text())
    assert made.document["wireguard_port"] == 51820


@pytest.mark.parametrize("port", [51820, 51900])
def test_the_usual_endpoint_is_no_endpoint_of_a_user(port):
    """Otherwise it would stay as it is when the port changes."""
    given = SHANGHAI1._replace(wireguard_endpoint=f"192.168.9.11:{port}")
    ledger, _made = planned(ENCRYPTED._replace(wireguard_port=port), [CLOUD1, CLOUD2, IDC1, given, SHANGHAI2])
    assert ledger.nodes["sh1"].wireguard_endpoint is None


def test_a_site_without_wireguard_has_no_endpoint():
    fleet = parse_fleet(document(ENCRYPTED)["fleet"])
    assert fleet["idc1"].endpoint == fleet["idc1"].keys == ""
    assert fleet["sh1"].endpoint == "192.168.9.11:51820"


def test_an_endpoint_of_ipv6_costs_its_header():
    fleet = [CLOUD1, SHANGHAI1._replace(wireguard_endpoint="[2001:db8::7]:51820")]
    cluster = linked(link("cloud", "shanghai", transport="wireguard"))
    assert parse_links(document(cluster, fleet)["links"]).between("cloud", "shanghai").mtu == 1408
    fleet[1] = SHANGHAI1
    assert parse_links(document(cluster, fleet)["links"]).between("cloud", "shanghai").mtu == 1440


def test_no_links_at_all_give_each_pair_its_own_mtu():
    table = parse_links(document(linked())["links"])
    assert table.between("idc", "cloud").mtu == 1400
    assert table.between("shanghai", "shanghai").mtu == 8950


# --- properties -----------------------------------------------------------------------------------

SITES = ["a", "b", "c", "d"]
PAIRS = list(itertools.combinations_with_replacement(SITES, 2))


@st.composite
def clusters(draw):
    """Return any nodes in up to four sites, and any valid links between them, by pair."""
    mtus = draw(st.lists(st.tuples(st.sampled_from(SITES), st.integers(1500, 9000)), min_size=1, max_size=8))
    version = draw(st.sampled_from([4, 6]))
    address = "10.1.1.{}" if version == 4 else "fd00::{}"
    nodes = [
        InventoryNode(f"n{number}", ["idc"], address.format(number + 1), mtu, site=site)
        for number, (site, mtu) in enumerate(mtus)
    ]
    there = {site for site, _mtu in mtus}
    pairs = draw(st.lists(st.sampled_from([pair for pair in PAIRS if there >= {*pair}]), unique=True))
    wanted = {}
    for pair in pairs:
        mtu = draw(st.none() | st.integers(1400, 1500))
        wanted[pair] = {"transport": draw(st.sampled_from(list(ENCAPSULATION))), **({"mtu": mtu} if mtu else {})}
    return version, nodes, wanted


@given(clusters(), st.booleans())
@settings(max_examples=60)
def test_any_links_give_each_pair_one_link_that_fits(made, reverse):
    version, nodes, wanted = made
    cluster = linked(*(link(*(pair[::-1] if reverse else pair), **more) for pair, more in wanted.items()))
    _ledger, found = planned(cluster, nodes)
    sites = sorted({node.site for node in nodes})
    lines = [line.split() for line in found.document["links"].splitlines()]
    assert [tuple(line[:2]) for line in lines] == list(itertools.combinations_with_replacement(sites, 2))
    for one, other, transport, mtu in lines:
        given_link = wanted.get((one, other), {})
        carried = min(node.underlay_mtu for node in nodes if node.site in (one, other))
        assert transport == given_link.get("transport", "vxlan")
        carried = min(carried, given_link.get("mtu", carried))
        assert int(mtu) == mtu_of_packets(transport, carried, ENCAPSULATION[transport][version])
        assert MIN_MTU[version] <= int(mtu) <= found.document["mtu"]
    encrypted = {site for pair in lines if pair[2] == "wireguard" for site in pair[:2]}
    peers = parse_fleet(found.document["fleet"]).values()
    assert all(bool(peer.keys) == (peer.site in encrypted) for peer in peers)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), min_size=1, max_size=6), st.booleans(), st.booleans())
@settings(max_examples=60)
def test_any_two_hosts_of_a_wireguard_link_can_meet_or_are_named(hosts, between, inside):
    """All hosts of site a are linked with those of b, or with each other, or both, if there are such hosts."""
    nodes = [
        InventoryNode(
            f"n{number}", ["idc"], f"10.1.1.{number}", site=site, wireguard_endpoint=HIDDEN if hidden else None
        )
        for number, (site, hidden) in enumerate(hosts, 1)
    ]
    there = {node.site for node in nodes}
    pairs = [*([("a", "b")] if between and len(there) == 2 else []), *([("a",)] if inside and "a" in there else [])]
    hidden = {site: [node.name for node in nodes if node.site == site and node.wireguard_endpoint] for site in "ab"}
    expected = [("a", "b")] if ("a", "b") in pairs and hidden["a"] and hidden["b"] else []
    expected += [("a",)] if ("a",) in pairs and len(hidden["a"]) > 1 else []
    found = wireguard_problems([link(*pair, transport="wireguard") for pair in pairs], nodes)
    assert len(found) == len(expected)
    for text, pair in zip(found, sorted(expected), strict=True):
        assert [name for site in pair for name in hidden[site] if name not in text] == []


def wireguard_problems(links, nodes):
    try:
        assign(linked(*links), nodes, None, "/ledger", NOW)
    except ValidationError as error:
        return [text for text in error.problems if "both ends behind NAT" in text]
    return []


# --- conflicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cluster", "nodes", "words"),
    [
        (linked(link("cloud"), link("idc", "bejing")), FLEET, ["item 2", "'bejing'", "cloud, idc, shanghai"]),
        (linked(link("cloud", "idc", mtu=1501)), FLEET, ["cloud - idc", "mtu 1501", "1500 of node cloud1", "1450 of"]),
        (linked(link("idc", mtu=600)), FLEET, ["inside idc", "(mtu 600)", "Pods 550", "at least 626"]),
        (
            linked(link("cloud", "idc", transport="wireguard", mtu=576)),
            FLEET,
            ["cloud - idc", "wireguard leaves Pods 512", "at least 636"],
        ),
        (
            linked(link("cloud", "idc", transport="wireguard")),
            [CLOUD1._replace(wireguard_endpoint=HIDDEN), IDC1._replace(wireguard_endpoint=HIDDEN)],
            ["cloud - idc", "both ends behind NAT", "cloud1 (site cloud)", "idc1 (site idc)", "ADDRESS:PORT"],
        ),
        (
            linked(),
            [CLOUD1, CLOUD2, IDC1._replace(wireguard_endpoint=HIDDEN)],
            ["cloud - idc", "not in overlay_links", "idc1 (site idc)", "{sites: [cloud, idc], transport: wireguard}"],
        ),
        (
            linked(link("cloud", "idc", transport="direct")),
            [CLOUD1._replace(wireguard_endpoint=HIDDEN), IDC1],
            ["is direct, which does not cross NAT", "cloud1 (site cloud)", "wireguard"],
        ),
        (
            linked(link("cloud", "idc", transport="wireguard"), port=51821),
            FLEET,
            ["overlay_wireguard_port 51820", "overlay_port 51821"],
        ),
        (
            linked(),
            [
                CLOUD1._replace(wireguard_endpoint="203.0.113.7:51820"),
                CLOUD2._replace(wireguard_endpoint="203.0.113.7:51821"),
            ],
            ["cloud1 and cloud2", "203.0.113.7:51820", "203.0.113.7:51821", "overlay_wireguard_endpoint"],
        ),
    ],
)
def test_conflicts_name_both_sides_and_the_remedy(cluster, nodes, words):
    text = problem(cluster, nodes)
    assert [word for word in words if word not in text] == []


def test_nodes_behind_nat_need_no_tunnel_inside_their_site():
    fleet = [CLOUD1, *(node._replace(wireguard_endpoint=HIDDEN) for node in (SHANGHAI1, SHANGHAI2))]
    cluster = linked(link("cloud", "shanghai", transport="wireguard"), link("shanghai", transport="direct"))
    assert "shanghai shanghai direct" in document(cluster, fleet)["links"]


def test_all_conflicts_are_reported_at_once():
    found = problems(
        linked(link("cloud", "nowhere"), link("idc", mtu=9999)), [CLOUD1, IDC1._replace(wireguard_endpoint=HIDDEN)]
    )
    assert len(found) == 3


def test_no_conflict_of_links_is_guessed_from_an_invalid_site():
    assert all("'a b'" not in text for text in problems(linked(link("x")), [CLOUD1, CLOUD1._replace(site="a b")]))


def test_an_endpoint_without_links_has_no_effect_and_a_warning():
    _ledger, made = planned(CLUSTER, [CLOUD1, IDC1._replace(wireguard_endpoint=HIDDEN)])
    assert any("overlay_wireguard_endpoint of idc1" in warning for warning in made.warnings)
    assert made.document == document(CLUSTER, [CLOUD1, IDC1])


# --- the ledger -----------------------------------------------------------------------------------


def test_the_ledger_keeps_sites_endpoints_and_keys():
    fleet = [CLOUD1, SHANGHAI1._replace(wireguard_endpoint=HIDDEN)]
    ledger, made = planned(ENCRYPTED, fleet)
    again, same = planned(ENCRYPTED, fleet[:1], ledger.text())
    assert same.document == made.document, "an orphan stays what it was"
    assert parse(again.text(), "/ledger", "demo").nodes["sh1"] == ledger.nodes["sh1"]
    assert json.loads(ledger.text())["nodes"]["sh1"]["wireguard_key"] == KEYS["sh1"]
    assert "wireguard_endpoint" not in json.loads(ledger.text())["nodes"]["cloud1"]


def test_an_orphan_of_unknown_site_is_named():
    ledger, _made = planned(CLUSTER)
    text = problem(linked(), FLEET[:4], ledger.text())
    assert "the site of sh2 is unknown" in text
    assert "release" in text


def test_a_key_is_recorded_when_a_host_is_first_met():
    ledger, made = planned(ENCRYPTED._replace(wireguard_keys={}))
    assert parse_fleet(made.document["fleet"])["cloud1"].keys == "-"
    ledger, made = planned(ENCRYPTED, FLEET, ledger.text())
    assert parse_fleet(made.document["fleet"])["cloud1"].keys == KEYS["cloud1"]
    assert ledger.nodes["idc1"].wireguard_key is None, "it has no link with WireGuard"
    again, made = planned(ENCRYPTED._replace(wireguard_keys={}), FLEET, ledger.text())
    assert again.text() == ledger.text(), "a host that was not reached keeps its key"


@pytest.mark.parametrize("found", [key_of("other"), "-"])
def test_another_key_is_refused_by_name(found):
    ledger, _made = planned(ENCRYPTED)
    text = problem(ENCRYPTED._replace(wireguard_keys={"sh1": found}), FLEET, ledger.text())
    words = [
        "node sh1",
        KEYS["sh1"],
        "tke.overlay.reset -e overlay_reset=sh1",
        found if found != "-" else "has no WireGuard key",
    ]
    assert [word for word in words if word not in text] == []


def test_keys_of_sites_without_wireguard_are_forgotten():
    ledger, _made = planned(ENCRYPTED)
    later, _made = planned(linked(), FLEET, ledger.text())
    assert "wireguard_key" not in later.text()
    assert later.nodes["sh1"].site == "shanghai"
    last, _made = planned(CLUSTER, FLEET, later.text())
    assert last.summary() == planned(CLUSTER)[0].summary()


def test_refuses_ports_that_overlap_with_those_in_use():
    text = planned(ENCRYPTED)[0].text()
    for port in (51819, 51821):
        given = problem(ENCRYPTED._replace(wireguard_port=port), text=text)
        assert f"overlay_wireguard_port {port} and the next one overlap with 51820 and the next one" in given
        assert "differs by at least 2" in given
    for port in (51820, 51821):
        given = problem(ENCRYPTED._replace(wireguard_port=51900, port=port), text=text)
        assert f"overlay_port {port} is a UDP port that the nodes use for WireGuard" in given
    _ledger, made = planned(ENCRYPTED._replace(wireguard_port=51822), text=text)
    assert made.document["wireguard_port"] == 51820


def test_refuses_an_endpoint_at_which_the_host_does_not_listen():
    given = problem(
        ENCRYPTED, [CLOUD1, CLOUD2, IDC1, SHANGHAI2, SHANGHAI1._replace(wireguard_endpoint="192.168.9.11:443")]
    )
    assert "node sh1: overlay_wireguard_endpoint 192.168.9.11:443 is the address of the host itself" in given
    assert "overlay_wireguard_port 51820" in given

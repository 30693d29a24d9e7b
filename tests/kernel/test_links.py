# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Links of several transports, each with an MTU of its own: entries, packets, and the change of a transport."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
import time

import pytest
from wireguard import own_sockets

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, vtep_mac
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node.reset import remove
from ansible_collections.tke.overlay.plugins.module_utils._host.node.status import read_status
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.wireguard_key import ensure_key
from breakages import broken, document, everything
from world import HOST, NEIGHBOUR, POD, counted, silent

KEY = f"{'B' * 42}A="
SITES = {"me": "a", "peer1": "a", "peer2": "a", "peer3": "b"}
PREPARE, CUTOVER = node.ConvergeOptions(phase="prepare"), node.ConvergeOptions(phase="cutover")


def fleet(key="-", far="-"):
    """Return the host, two nodes of its site, and one of the other site."""
    own, *others = [
        Peer(name, f"10.244.{number}.0/24", f"10.0.1.{100 + number if number else 11}", site)
        for number, (name, site) in enumerate(SITES.items())
    ]
    ends = [each._replace(endpoint=f"{each.underlay}:51820", keys=far) for each in others]
    return [own._replace(endpoint=f"{HOST}:51820", keys=key), *ends]


def linked(inside="direct 1500", between="vxlan 1430", key="-", far="-", **changes):
    """Return the document with these links inside the site of the host, and between the two."""
    links = f"a a {inside}\na b {between}\nb b vxlan 1450\n"
    numbers = {"wireguard_port": 51820, "wireguard_generation": 0} if "wireguard" in links else {}
    return document(fleet(key, far), mtu=1500, links=links, **numbers, **changes)


def routes(run):
    rows = json.loads(run(["ip", "-json", "route", "show", "proto", "144"])[1])
    return {
        row["dst"]: (row.get("gateway"), row["dev"], row.get("metrics", [{}])[0].get("mtu"))
        for row in rows
        if "dev" in row
    }


def blackholes(run):
    rows = json.loads(run(["ip", "-json", "route", "show", "type", "blackhole"])[1])
    return {row["dst"] for row in rows}


def forwarded_to(run):
    """Return the VTEP MACs that have an FDB entry."""
    return {row["mac"] for row in json.loads(run(["bridge", "-json", "fdb", "show", "dev", "tke0"])[1])}


def members(run, name):
    """Return the elements of a set; empty without the set."""
    code, out, _errors = run(["nft", "-j", "list", "set", "inet", "tke_overlay", name])
    rows = json.loads(out)["nftables"] if code == 0 else []
    return {each for row in rows if "set" in row for each in row["set"].get("elem", [])}


def restore(root):
    """Run the restore script; return exit code, reported changes and errors."""
    done = subprocess.run(
        ["sh", f"{root}{STATE}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{root}/run/tke-overlay"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def passes(world, source, target):
    """Return whether a packet arrives; both ends are namespace and address."""
    with world.socket(*target) as receiver, world.socket(*source) as sender:
        with contextlib.suppress(OSError):  # refused by this kernel
            sender.sendto(b"x", receiver.getsockname())
        return not silent(receiver)


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def host(run, root):
    """A host with direct links inside its site, and a VXLAN link to the other."""
    node.converge(linked(), run, check=False)
    return root


@pytest.fixture
def encrypted(run, root):
    """The same with WireGuard to the other site, and the public key of the host."""
    with own_sockets():
        key = ensure_key(0, run, check=False).public_key
        node.converge(linked(between="wireguard 1420", key=key, far=KEY), run, check=False)
        yield key


def test_each_peer_has_the_route_of_its_link(run, host):
    assert routes(run) == {
        "10.244.1.0/24": ("10.0.1.101", "eth0", 1500),
        "10.244.2.0/24": ("10.0.1.102", "eth0", 1500),
        "10.244.3.0/24": ("10.244.3.0", "tke0", None),
    }
    assert blackholes(run) == {"10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"}
    assert forwarded_to(run) == {vtep_mac("10.244.3.0/24")}
    assert json.loads((host / "etc/cni/net.d/10-tke-overlay.conflist").read_text())["plugins"][0]["mtu"] == 1500
    assert '"mtu":1430' in run(["ip", "-json", "link", "show", "tke0"])[1]


def test_a_second_run_changes_nothing(run, host):
    before = everything(run)
    assert not node.converge(linked(), run, check=False).changed
    assert not node.converge(linked(), run, check=False, options=PREPARE).changed
    assert restore(host) == (0, "", "")
    assert everything(run) == before
    assert read_status(run, linked(), [])["drift"] == []
    assert read_status(run, None, [])["drift"] == []


def test_a_smaller_link_gives_its_routes_an_mtu(run, root):
    links = "a a vxlan 1450\na b vxlan 1380\nb b vxlan 1450\n"
    node.converge(document(fleet(), links=links), run, check=False)
    assert {key: mtu for key, (_via, _dev, mtu) in routes(run).items()} == {
        "10.244.1.0/24": None,
        "10.244.2.0/24": None,
        "10.244.3.0/24": 1380,
    }
    assert not node.converge(document(fleet(), links=links), run, check=False).changed


def test_check_mode_shows_the_diff_of_the_run(run, root):
    forecast = list(node.converge(linked(), run, check=True).diffs())
    assert forecast == list(node.converge(linked(), run, check=False).diffs())


@pytest.mark.parametrize(
    "breakage",
    [
        "ip route del 10.244.1.0/24",
        "ip route replace 10.244.1.0/24 via 10.0.1.102 dev eth0 src 10.244.0.0 mtu 1500 proto 144",
        "ip route replace 10.244.1.0/24 via 10.0.1.101 dev eth0 src 10.244.0.0 mtu 1400 proto 144",
        "ip route del blackhole 10.244.1.0/24 metric 4096",
        "ip route add 10.244.77.0/24 via 10.0.1.102 dev eth0 proto 144",
        "ip link del tke0",
        "ip route flush proto 144",
        "nft flush set inet tke_overlay direct4",
        "nft add element inet tke_overlay neighbors4 { 10.0.1.66 }",
    ],
)
def test_what_was_broken_is_restored(run, host, breakage):
    broken(run, breakage)
    assert read_status(run, None, [])["drift"]
    code, reported, errors = restore(host)
    assert (code, errors) == (0, "")
    assert reported
    assert restore(host) == (0, "", "")
    assert not node.converge(linked(), run, check=True).changed
    broken(run, breakage)
    node.converge(linked(), run, check=False)
    assert not node.converge(linked(), run, check=True).changed


def test_a_peer_behind_a_router_has_no_direct_link(run, root):
    run(["ip", "route", "add", "10.0.9.0/24", "via", "10.0.1.1"])
    peers = [*fleet()[:2], fleet()[2]._replace(underlay="10.0.9.7")]
    before = everything(run)
    for check in (True, False):
        with pytest.raises(ValidationError) as caught:
            node.converge(document(peers, links="a a direct 1500\n"), run, check=check)
        for words in ("me (10.0.1.11)", "peer2 (10.0.9.7)", "by 10.0.1.1", "overlay_links", "for a"):
            assert words in str(caught.value)
        assert "peer1" not in str(caught.value)
    assert everything(run) == before


def test_each_link_needs_its_mtu_of_the_underlay(run, root):
    run(["ip", "link", "set", "eth0", "mtu", "1460"])
    with pytest.raises(ValidationError) as caught:
        node.converge(linked(between="vxlan 1430"), run, check=True)
    assert "an overlay MTU of 1500 requires 1500" in str(caught.value)
    assert "an overlay MTU of 1430 requires 1480" in str(caught.value)
    assert "overlay_underlay_mtu" in str(caught.value)
    node.converge(linked("direct 1460", "vxlan 1410"), run, check=True)


def test_a_link_without_carrier_changes_no_route(run, host):
    endpoint = "route replace 10.9.0.0/28 via 10.0.1.1 dev eth0 onlink proto 144"
    files.write_file(f"{STATE}/endpoint.batch", f"{endpoint}\n", durable=False)
    assert run(["ip", *endpoint.split()])[0] == 0
    assert restore(host) == (0, "", "")
    run(["ip", "link", "set", "far", "down"])
    while "linkdown" not in run(["ip", "route", "show", "proto", "144"])[1]:
        pass
    assert restore(host) == (0, "", "")
    assert "route" not in " ".join(read_status(run, linked(), ())["drift"])
    assert not node.converge(linked(), run, check=False).changed


def test_reset_removes_the_routes_of_all_links(run, host):
    remove("tke0", "tke-br0", run, check=False)
    assert routes(run) == {}
    assert blackholes(run) == set()


def test_node_cidrs_of_several_sizes_are_refused(run, root):
    peers = [*fleet()[:2], fleet()[2]._replace(node_cidr="10.244.2.0/25")]
    with pytest.raises(ValidationError, match=r"peer2 has 10\.244\.2\.0/25"):
        node.converge(document(peers, links="a a direct 1500\n"), run, check=True)


def test_only_direct_peers_reach_pods_by_the_underlay(world):
    """The neighbour is peer1, and sends from its own node CIDR, its underlay address, and those of others."""
    node.converge(linked(), world.run, check=False)
    for source, expected in (
        ("10.244.1.5", True),
        ("10.0.1.101", True),
        ("10.244.3.5", False),
        ("10.244.77.5", False),
        (NEIGHBOUR, False),
        ("192.0.2.7", False),
    ):
        world.run(
            ["nsenter", "-t", str(world.processes["neighbour"].pid), "-n", "ip", "address", "add", source, "dev", "lo"]
        )
        assert passes(world, ("neighbour", source), ("pod", POD)) is expected, source
    assert counted(world.run)["to_pods"] == 4


def test_a_pod_reaches_a_direct_peer_and_none_beside_it(world):
    """Without its route, nothing leaves by the default route, which leads to the same neighbour."""
    node.converge(linked(), world.run, check=False)
    world.ip("neighbour", "address add 10.244.1.5/32 dev lo", "address add 10.244.77.5/32 dev lo")
    pod = ("pod", POD)
    assert passes(world, pod, ("neighbour", "10.244.1.5"))
    assert not passes(world, pod, ("neighbour", "10.244.77.5"))
    world.run(["ip", "route", "del", "10.244.1.0/24", "via", "10.0.1.101"])
    assert not passes(world, pod, ("neighbour", "10.244.1.5"))


def test_tcp_is_clamped_to_the_mtu_of_the_route(world):
    """A Pod with a larger MTU than the link to the peer: the peer sees what passes."""
    node.converge(linked("direct 1400"), world.run, check=False)
    world.ip("neighbour", "address add 10.244.1.5/32 dev lo")
    ends = [world.socket(*end, kind=socket.SOCK_STREAM) for end in (("neighbour", "10.244.1.5"), ("pod", POD))]
    with ends[0] as server, ends[1] as client:
        server.listen()
        client.connect(server.getsockname())
        with server.accept()[0] as accepted:
            sizes = [end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) for end in (client, accepted)]
    assert max(sizes) <= 1360


def to_wireguard(run, key):
    return linked(between="wireguard 1420", key=key, far=KEY)


def test_wireguard_peers_have_a_route_and_a_blackhole(run, encrypted):
    assert routes(run)["10.244.3.0/24"] == (None, "tke-wg0", 1420)
    assert "10.244.3.0/24" in blackholes(run)
    assert members(run, "encrypted4") == {"10.244.3.0"}
    assert not node.converge(to_wireguard(run, encrypted), run, check=False).changed


@pytest.mark.parametrize(
    "breakage",
    [
        "ip link del tke-wg0",
        "ip route del 10.244.3.0/24 dev tke-wg0",
        "ip route del 10.244.3.0/24 dev tke-wg0 && ip route del blackhole 10.244.3.0/24",
        "ip link set tke-wg0 down && ip route del blackhole 10.244.3.0/24",
        "ip route replace 10.244.3.0/24 via 10.0.1.101 dev eth0",
        "ip route replace 10.244.3.0/24 via 10.244.3.0 dev tke0 onlink",
        "ip link del tke0 && ip link del tke-wg0",
        "ip route flush table main",
    ],
)
def test_nothing_leaves_in_clear(run, encrypted, breakage):
    broken(run, breakage)
    broken(run, "ip route add default via 10.0.1.101 dev eth0 metric 9")
    run(["ip", "neigh", "replace", "10.0.1.101", "lladdr", "02:00:00:00:00:01", "dev", "eth0"])
    before = sent(run)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _number in range(100):
            try:
                sender.sendto(b"x", ("10.244.3.5", 9))
            except OSError:  # no route, or dropped
                continue
    assert sent(run) == before


def sent(run):
    """Return the packets that left by each link that is no WireGuard device."""
    rows = json.loads(run(["ip", "-s", "-json", "link"])[1])
    return {row["ifname"]: row["stats64"]["tx"]["packets"] for row in rows if row["ifname"] == "eth0"}


def test_a_peer_without_a_key_is_not_reached_at_all(run, root):
    with own_sockets():
        key = ensure_key(0, run, check=False).public_key
        node.converge(linked(between="wireguard 1420", key=key), run, check=False)
        assert "10.244.3.0/24" not in routes(run)
        assert "10.244.3.0/24" in blackholes(run)
        assert members(run, "encrypted4") == {"10.244.3.0"}


def test_clear_packets_from_an_encrypted_peer_are_dropped(world):
    with own_sockets():
        key = ensure_key(0, world.run, check=False).public_key
        node.converge(to_wireguard(world.run, key), world.run, check=False)
        world.ip("neighbour", "address add 10.244.3.5/32 dev lo")
        assert not passes(world, ("neighbour", "10.244.3.5"), ("pod", POD))
        assert counted(world.run)["to_pods"] + counted(world.run)["from_clear"] == 1


# --- cutover ---


def test_direct_is_accepted_then_used_then_alone(run, root):
    node.converge(linked("vxlan 1450"), run, check=False)
    before = routes(run)
    assert node.converge(linked(), run, check=False, options=PREPARE).unfinished
    assert routes(run) == before
    assert members(run, "direct4") == {"10.244.1.0", "10.244.2.0"}
    assert {"10.0.1.101", "10.0.1.102"} <= members(run, "peers4")
    assert not node.converge(linked(), run, check=False, options=CUTOVER).unfinished
    assert routes(run)["10.244.1.0/24"] == ("10.0.1.101", "eth0", 1500)
    assert {"10.0.1.101", "10.0.1.102"} <= members(run, "peers4"), "a peer may still send by VXLAN"
    assert vtep_mac("10.244.1.0/24") in forwarded_to(run)
    node.converge(linked(), run, check=False)
    assert members(run, "peers4") == {"10.0.1.103"}
    assert forwarded_to(run) == {vtep_mac("10.244.3.0/24")}
    assert restore(root) == (0, "", "")


@pytest.mark.parametrize("back", [linked("vxlan 1450"), document(fleet())], ids=["links", "without links"])
def test_vxlan_is_accepted_then_used_then_alone(run, host, back):
    before = routes(run)
    assert node.converge(back, run, check=False, options=PREPARE).unfinished
    assert routes(run) == before
    assert {"10.0.1.101", "10.0.1.102"} <= members(run, "peers4")
    node.converge(back, run, check=False, options=CUTOVER)
    assert {device for _via, device, _mtu in routes(run).values()} == {"tke0"}
    assert members(run, "direct4") == {"10.244.1.0", "10.244.2.0"}
    node.converge(back, run, check=False)
    assert members(run, "direct4") == set()
    assert blackholes(run) == {"10.244.0.0/24"}
    assert restore(host) == (0, "", "")
    assert not node.converge(back, run, check=False, options=PREPARE).changed


def test_an_unreached_peer_keeps_its_transport(run, root):
    """In every phase, and in every later run that does not reach it."""
    node.converge(linked("vxlan 1450"), run, check=False)
    for _run in range(2):
        for phase in ("prepare", "cutover", "finalize"):
            options = node.ConvergeOptions(phase=phase, unreached=[] if phase == "prepare" else ["peer2"])
            node.converge(linked(), run, check=False, options=options)
        assert routes(run)["10.244.1.0/24"] == ("10.0.1.101", "eth0", 1500)
        assert routes(run)["10.244.2.0/24"][:2] == ("10.244.2.0", "tke0")
        assert members(run, "peers4") == {"10.0.1.102", "10.0.1.103"}
        assert members(run, "direct4") == {"10.244.1.0", "10.244.2.0"}
        assert restore(root) == (0, "", "")
    for options in (PREPARE, CUTOVER, node.DEFAULTS):
        node.converge(linked(), run, check=False, options=options)
    assert members(run, "peers4") == {"10.0.1.103"}
    assert routes(run)["10.244.2.0/24"] == ("10.0.1.102", "eth0", 1500)


def answered(run):
    """Return a run in which the peer has just shaken hands: no host is at its address."""

    def run_here(command, text=None):
        if "latest-handshakes" in command:
            return 0, f"{KEY}\t{int(time.time())}\n", ""
        return run(command, text)

    return run_here


def test_a_peer_that_does_not_answer_stops_the_cutover(run, root, monkeypatch):
    with own_sockets():
        node.converge(linked(), run, check=False)
        wanted = to_wireguard(run, ensure_key(0, run, check=False).public_key)
        node.converge(wanted, run, check=False, options=PREPARE)
        before = routes(run)
        clock = itertools.count()
        monkeypatch.setattr(time, "monotonic", lambda: next(clock))
        with pytest.raises(KernelError, match=r"51820.*10\.244\.3\.0/24"):
            node.converge(wanted, run, check=False, options=CUTOVER)
        assert routes(run) == before


def test_wireguard_is_accepted_then_used_then_alone(run, root):
    with own_sockets():
        node.converge(linked(), run, check=False)
        key = ensure_key(0, run, check=False).public_key
        wanted = to_wireguard(run, key)
        before = routes(run)
        assert node.converge(wanted, run, check=False, options=PREPARE).unfinished
        assert routes(run) == before
        assert run(["wg", "show", "tke-wg0", "peers"])[1].split() == [KEY]
        assert "10.0.1.103" in members(run, "peers4")
        node.converge(wanted, answered(run), check=False, options=CUTOVER)
        assert routes(run)["10.244.3.0/24"] == (None, "tke-wg0", 1420)
        assert "10.244.3.0/24" in blackholes(run)
        assert "10.0.1.103" in members(run, "peers4")
        assert members(run, "encrypted4") == set()
        node.converge(wanted, run, check=False)
        assert members(run, "peers4") == set()
        assert members(run, "encrypted4") == {"10.244.3.0"}
        assert forwarded_to(run) == set()
        assert restore(root) == (0, "", "")
        for options in (PREPARE, CUTOVER):
            node.converge(linked(), run, check=False, options=options)
            assert run(["wg", "show", "tke-wg0", "peers"])[1].split() == [KEY], "the peer may still send by it"
        assert routes(run) == before
        node.converge(linked(), run, check=False)
        assert "tke-wg0" not in run(["ip", "link"])[1]
        assert blackholes(run) == {"10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"}


def test_a_strict_filter_of_the_underlay_stops_the_change(run, root):
    node.converge(linked("vxlan 1450"), run, check=False)
    broken(run, "sysctl net/ipv4/conf/eth0/rp_filter 1")
    before = everything(run)
    with pytest.raises(ValidationError, match=r"net.ipv4.conf.eth0.rp_filter is strict"):
        node.converge(linked(), run, check=False, options=PREPARE)
    assert everything(run) == before


@pytest.mark.parametrize("phase", ["cutover", "finalize"])
def test_a_failed_change_of_a_transport_is_rolled_back(run, root, phase):
    node.converge(linked("vxlan 1450"), run, check=False)
    node.converge(linked(), run, check=False, options=PREPARE)
    before = {command: rows for command, rows in everything(run).items() if not command.startswith("nft")}

    def failing(command, text=None):
        lines = (text or "").splitlines()
        faults = [number for number, line in enumerate(lines, 1) if "10.244.2.0/24 via 10.0.1.102" in line]
        if not faults:
            return run(command, text)
        run(command, "".join(f"{line}\n" for line in lines[: faults[0] - 1]))
        return 1, "", f"RTNETLINK answers: Invalid argument\nCommand failed -:{faults[0]}\n"

    with pytest.raises(KernelError):
        node.converge(linked(), failing, check=False, options=node.ConvergeOptions(phase=phase))
    after = {command: rows for command, rows in everything(run).items() if not command.startswith("nft")}
    assert after == before

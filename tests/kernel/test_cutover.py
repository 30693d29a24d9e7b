# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""A change of addresses, port or MACs in three phases, on real tables. The scenario lifecycle counts lost packets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.nftables import RulesSpec, rules_text
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node.reset import remove
from breakages import PEERS, document, everything
from world import HOST, PEER, POD, frame, silent, vxlan

MOVED = [*PEERS[:-1], PEERS[-1]._replace(underlay="10.0.1.99")]
FORMER = PEERS[-1].underlay
PREPARE, CUTOVER = node.ConvergeOptions(phase="prepare"), node.ConvergeOptions(phase="cutover")


@pytest.fixture(autouse=True)
def files_of_the_host(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def senders(run):
    _code, out, _errors = run(["nft", "-j", "list", "set", "inet", "tke_overlay", "peers4"])
    return {each for row in json.loads(out)["nftables"] if "set" in row for each in row["set"].get("elem", [])}


def destinations(run):
    return {row["dst"] for row in json.loads(run(["bridge", "-json", "fdb", "show", "dev", "tke0"])[1])}


def ports(run):
    links = json.loads(run(["ip", "-json", "-details", "link", "show", "type", "vxlan"])[1])
    return {link["ifname"]: link["linkinfo"]["info_data"]["port"] for link in links}


def without_rules(run):
    return {command: rows for command, rows in everything(run).items() if not command.startswith("nft")}


def test_new_address_of_a_peer_is_accepted_then_used_then_alone(run):
    node.converge(document(), run, check=False)
    before = without_rules(run)
    prepared = node.converge(document(MOVED), run, check=False, options=PREPARE)
    assert prepared.unfinished
    assert without_rules(run) == before
    assert {FORMER, "10.0.1.99"} <= senders(run)
    cut_over = node.converge(document(MOVED), run, check=False, options=CUTOVER)
    assert not cut_over.unfinished
    assert {name: len(delta.changed) for name, delta in cut_over.tables.items() if delta} == {"fdb": 1}
    assert "10.0.1.99" in destinations(run)
    assert FORMER not in destinations(run)
    assert {FORMER, "10.0.1.99"} <= senders(run)
    assert node.converge(document(MOVED), run, check=False).changed
    assert FORMER not in senders(run)
    assert not node.converge(document(MOVED), run, check=False, options=PREPARE).changed


def test_own_new_address_is_used_only_in_cutover(run):
    run(["ip", "address", "add", "10.0.1.77/24", "dev", "eth0"])
    node.converge(document(), run, check=False)
    before = everything(run)
    moved = document([PEERS[0]._replace(underlay="10.0.1.77"), *PEERS[1:]])
    assert node.converge(moved, run, check=False, options=PREPARE).unfinished
    assert everything(run) == before
    node.converge(moved, run, check=False, options=CUTOVER)
    assert "10.0.1.77" in run(["ip", "-details", "link", "show", "tke0"])[1]
    assert not node.converge(moved, run, check=False).changed


def test_receives_on_both_ports_until_finalize(run):
    node.converge(document(), run, check=False)
    assert node.converge(document(port=4789), run, check=False, options=PREPARE).unfinished
    assert ports(run) == {"tke0": 8472, "tke-alt": 4789}
    node.converge(document(port=4789), run, check=False, options=PREPARE)
    assert ports(run) == {"tke0": 8472, "tke-alt": 4789}, "the phase can be repeated"
    node.converge(document(port=4789), run, check=False, options=CUTOVER)
    assert ports(run) == {"tke0": 4789, "tke-alt": 8472}
    node.converge(document(port=4789), run, check=False)
    assert ports(run) == {"tke0": 4789}
    assert not node.converge(document(port=4789), run, check=False, options=PREPARE).changed


def test_pods_are_reached_by_both_ports_until_finalize(world):
    def reached(port):
        with world.socket("neighbour", PEER) as peer, world.socket("pod", POD, 53) as pod:
            peer.sendto(vxlan(1, frame("10.244.1.7", POD)), (HOST, port))
            return not silent(pod)

    assert [reached(port) for port in (8472, 4789)] == [True, False]
    for phase in (PREPARE, CUTOVER):
        node.converge(document(port=4789), world.run, check=False, options=phase)
        assert [reached(port) for port in (8472, 4789)] == [True, True]
    node.converge(document(port=4789), world.run, check=False)
    assert [reached(port) for port in (8472, 4789)] == [False, True]


@pytest.mark.parametrize("plan", [{"port": 4789}, {"peers": MOVED}], ids=["port", "address"])
def test_going_back_accepts_both_until_finalize(run, plan):
    node.converge(document(), run, check=False)
    before = everything(run)
    node.converge(document(**plan), run, check=False, options=PREPARE)
    prepared = everything(run)
    for phase in (PREPARE, CUTOVER):
        assert node.converge(document(), run, check=False, options=phase).unfinished
        assert everything(run) == prepared
    assert node.converge(document(), run, check=False).changed
    assert everything(run) == before
    assert not node.converge(document(PEERS[:-1]), run, check=False, options=PREPARE).unfinished


def test_check_mode_returns_the_diff_of_prepare(run):
    node.converge(document(), run, check=False)
    forecast = node.converge(document(MOVED, port=4789), run, check=True, options=PREPARE)
    assert not forecast.unfinished
    prepared = node.converge(document(MOVED, port=4789), run, check=False, options=PREPARE)
    assert list(prepared.diffs()) == list(forecast.diffs())


def test_unconcerned_host_converges_in_prepare(run):
    assert not node.converge(document(PEERS[:-1]), run, check=False, options=PREPARE).unfinished
    outcome = node.converge(document(), run, check=False, options=PREPARE)
    assert outcome.changed
    assert not outcome.unfinished
    assert not node.converge(document(), run, check=False).changed


def test_reset_removes_the_alternate_link(run):
    node.converge(document(), run, check=False)
    node.converge(document(port=4789), run, check=False, options=PREPARE)
    remove("tke0", "tke-br0", run, check=False)
    assert ports(run) == {}


def test_changes_only_set_elements_where_nothing_else_differs(run):
    """The table is not replaced, so that no packet meets an empty set."""
    node.converge(document(PEERS[:-1]), run, check=False)
    handle = run(["nft", "-a", "list", "table", "inet", "tke_overlay"])[1].splitlines()[0]
    node.converge(document(), run, check=False)
    assert run(["nft", "-a", "list", "table", "inet", "tke_overlay"])[1].splitlines()[0] == handle
    assert not node.converge(document(), run, check=False).changed
    node.converge(document(PEERS[:-1]), run, check=False)
    assert run(["nft", "-a", "list", "table", "inet", "tke_overlay"])[1].splitlines()[0] == handle
    run(["nft", "add", "element", "inet", "tke_overlay", "peers4", "{ 10.9.9.9 }"])
    node.converge(document(), run, check=False)
    assert senders(run) == {peer.underlay for peer in PEERS[1:]}


@pytest.mark.parametrize(("port", "other"), [(8472, 4789), (4789, 8472), (500, 40000)])
def test_masquerade_avoids_both_ports(port, other):
    spec = RulesSpec("tke0", "tke-br0", port, 1450, "10.244.0.0/24", ["10.244.0.0/16"], [])
    text = rules_text(spec._replace(also=spec.also._replace(port=other, device="tke-alt")))
    (ends,) = {line.rpartition(":")[2].split()[0] for line in text.splitlines() if "masquerade to" in line}
    first, last = map(int, ends.split("-"))
    assert last - first > 20_000
    assert not first <= port <= last
    assert not first <= other <= last


def test_restore_script_takes_the_port_from_the_alternate_link(run, files_of_the_host):
    """A rollback during a change of the port does this."""
    node.converge(document(), run, check=False)
    node.converge(document(port=4789), run, check=False, options=PREPARE)
    kept = files_of_the_host / "kept"
    shutil.copytree(files_of_the_host / "etc/tke-overlay", kept)
    node.converge(document(port=4789), run, check=False, options=CUTOVER)
    done = subprocess.run(
        ["sh", f"{kept}/restore"],
        env={**os.environ, "TKE_OVERLAY_RUN": f"{files_of_the_host}/run/tke-overlay"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ports(run) == {"tke0": 8472}
    assert destinations(run) == {peer.underlay for peer in PEERS[1:]}


def make_flannel_device(run):
    """Make the device and the neighbours as flannel does: with other MAC addresses."""
    node.converge(document(), run, check=False)
    for name in os.listdir(files.ROOT + "/etc/tke-overlay"):
        os.unlink(f"{files.ROOT}/etc/tke-overlay/{name}")
    run(["ip", "link", "set", "tke0", "alias", "", "address", "be:7c:1d:40:5e:00"])
    for number, peer in enumerate(PEERS[1:]):
        mac, vtep = f"be:7c:1d:40:5e:1{number}", peer.node_cidr.partition("/")[0]
        run(["ip", "neigh", "replace", vtep, "lladdr", mac, "dev", "tke0", "nud", "permanent"])
        run(["bridge", "fdb", "replace", mac, "dev", "tke0", "dst", peer.underlay, "self", "permanent"])


def accepts_any_mac(run):
    return run(["nft", "list", "table", "netdev", "tke_overlay_macs"])[0] == 0


def macs(run):
    own = json.loads(run(["ip", "-json", "link", "show", "tke0"])[1])[0]["address"]
    return own, {row["lladdr"] for row in json.loads(run(["ip", "-json", "neigh", "show", "dev", "tke0"])[1])}


def test_accepts_any_mac_from_prepare_until_finalize(run):
    make_flannel_device(run)
    before = macs(run)
    assert node.converge(document(), run, check=False, options=PREPARE).unfinished
    assert macs(run) == before, "the host still sends by the old plan"
    assert accepts_any_mac(run)
    assert not node.converge(document(), run, check=False, options=CUTOVER).unfinished
    own, others = macs(run)
    assert own.startswith("0a:58:")
    assert others
    assert all(mac.startswith("0a:58:") for mac in others)
    assert accepts_any_mac(run), "peers may still send to the former MAC"
    assert not node.converge(document(), run, check=False).changed
    assert not accepts_any_mac(run)


def test_repeated_phases_continue_the_takeover(run):
    make_flannel_device(run)
    node.converge(document(), run, check=False, options=PREPARE)
    assert node.converge(document(), run, check=False, options=PREPARE).unfinished
    node.converge(document(), run, check=False, options=CUTOVER)
    assert not node.converge(document(), run, check=False, options=PREPARE).unfinished
    assert not accepts_any_mac(run)


def test_reset_accepts_only_the_own_mac(run):
    make_flannel_device(run)
    node.converge(document(), run, check=False, options=PREPARE)
    remove("tke0", "tke-br0", run, check=False)
    assert not accepts_any_mac(run)


def test_device_with_equal_macs_needs_no_phases(run):
    node.converge(document(), run, check=False)
    for name in os.listdir(files.ROOT + "/etc/tke-overlay"):
        os.unlink(f"{files.ROOT}/etc/tke-overlay/{name}")
    run(["ip", "link", "set", "tke0", "alias", ""])
    assert not node.converge(document(), run, check=False, options=PREPARE).unfinished
    assert not accepts_any_mac(run)

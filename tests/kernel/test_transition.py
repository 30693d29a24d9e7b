# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Going over to other addresses or another port in three steps, on real tables; who loses what, see lifecycle."""

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

MOVED = [*PEERS[:-1], PEERS[-1]._replace(underlay="10.0.1.99")]
FORMER = PEERS[-1].underlay


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


def test_a_peers_new_address_is_let_in_then_used_and_then_it_alone(run):
    node.converge(document(), run, check=False)
    before = without_rules(run)
    begun = node.converge(document(MOVED), run, check=False, phase="prepare")
    assert begun.unfinished
    assert without_rules(run) == before
    assert {FORMER, "10.0.1.99"} <= senders(run)
    switched = node.converge(document(MOVED), run, check=False, phase="cutover")
    assert not switched.unfinished
    assert {name: len(delta.changed) for name, delta in switched.tables.items() if delta} == {"fdb": 1}
    assert "10.0.1.99" in destinations(run)
    assert FORMER not in destinations(run)
    assert {FORMER, "10.0.1.99"} <= senders(run)
    assert node.converge(document(MOVED), run, check=False).changed
    assert FORMER not in senders(run)
    assert not node.converge(document(MOVED), run, check=False, phase="prepare").changed


def test_the_own_new_address_waits_until_the_others_have_begun(run):
    run(["ip", "address", "add", "10.0.1.77/24", "dev", "eth0"])
    node.converge(document(), run, check=False)
    before = everything(run)
    moved = document([PEERS[0]._replace(underlay="10.0.1.77"), *PEERS[1:]])
    assert node.converge(moved, run, check=False, phase="prepare").unfinished
    assert everything(run) == before
    node.converge(moved, run, check=False, phase="cutover")
    assert "10.0.1.77" in run(["ip", "-details", "link", "show", "tke0"])[1]
    assert not node.converge(moved, run, check=False).changed


def test_both_ports_are_heard_until_all_have_changed(run):
    node.converge(document(), run, check=False)
    assert node.converge(document(port=4789), run, check=False, phase="prepare").unfinished
    assert ports(run) == {"tke0": 8472, "tke-alt": 4789}
    node.converge(document(port=4789), run, check=False, phase="prepare")
    assert ports(run) == {"tke0": 8472, "tke-alt": 4789}, "a run that ended half-way is begun again"
    node.converge(document(port=4789), run, check=False, phase="cutover")
    assert ports(run) == {"tke0": 4789, "tke-alt": 8472}
    node.converge(document(port=4789), run, check=False)
    assert ports(run) == {"tke0": 4789}
    assert not node.converge(document(port=4789), run, check=False, phase="prepare").changed


def test_what_is_begun_is_what_check_mode_says(run):
    node.converge(document(), run, check=False)
    forecast = node.converge(document(MOVED, port=4789), run, check=True, phase="prepare")
    assert not forecast.unfinished
    begun = node.converge(document(MOVED, port=4789), run, check=False, phase="prepare")
    assert list(begun.diffs()) == list(forecast.diffs())


def test_whoever_is_not_concerned_converges_at_once(run):
    assert not node.converge(document(PEERS[:-1]), run, check=False, phase="prepare").unfinished
    outcome = node.converge(document(), run, check=False, phase="prepare")
    assert outcome.changed
    assert not outcome.unfinished
    assert not node.converge(document(), run, check=False).changed


def test_a_host_that_leaves_takes_its_ear_along(run):
    node.converge(document(), run, check=False)
    node.converge(document(port=4789), run, check=False, phase="prepare")
    remove("tke0", "tke-br0", run, check=False)
    assert ports(run) == {}


def test_only_elements_of_sets_are_changed_where_nothing_else_differs(run):
    """The table stays the same one: a packet that is being judged finds no set that is empty."""
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
def test_neither_port_is_among_the_ports_that_pods_leave_from(port, other):
    spec = RulesSpec("tke0", "tke-br0", port, 1450, "10.244.0.0/24", ["10.244.0.0/16"], [])
    text = rules_text(spec._replace(also=spec.also._replace(port=other, device="tke-alt")))
    (ends,) = {line.rpartition(":")[2].split()[0] for line in text.splitlines() if "masquerade to" in line}
    first, last = map(int, ends.split("-"))
    assert last - first > 20_000
    assert not first <= port <= last
    assert not first <= other <= last


def test_the_script_brings_back_the_old_port_although_a_second_link_hears_it(run, files_of_the_host):
    """What a roll-back in the middle of a change of the port does."""
    node.converge(document(), run, check=False)
    node.converge(document(port=4789), run, check=False, phase="prepare")
    kept = files_of_the_host / "kept"
    shutil.copytree(files_of_the_host / "etc/tke-overlay", kept)
    node.converge(document(port=4789), run, check=False, phase="cutover")
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


def by_flannel(run):
    """The device and the neighbours as flannel makes them: with MAC addresses of its own."""
    node.converge(document(), run, check=False)
    for name in os.listdir(files.ROOT + "/etc/tke-overlay"):
        os.unlink(f"{files.ROOT}/etc/tke-overlay/{name}")
    run(["ip", "link", "set", "tke0", "alias", "", "address", "be:7c:1d:40:5e:00"])
    for number, peer in enumerate(PEERS[1:]):
        mac, vtep = f"be:7c:1d:40:5e:1{number}", peer.node_cidr.partition("/")[0]
        run(["ip", "neigh", "replace", vtep, "lladdr", mac, "dev", "tke0", "nud", "permanent"])
        run(["bridge", "fdb", "replace", mac, "dev", "tke0", "dst", peer.underlay, "self", "permanent"])


def hears_every_mac(run):
    return run(["nft", "list", "table", "netdev", "tke_overlay_macs"])[0] == 0


def macs(run):
    own = json.loads(run(["ip", "-json", "link", "show", "tke0"])[1])[0]["address"]
    return own, {row["lladdr"] for row in json.loads(run(["ip", "-json", "neigh", "show", "dev", "tke0"])[1])}


def test_other_macs_are_heard_before_the_own_is_changed_and_until_all_have(run):
    by_flannel(run)
    before = macs(run)
    assert node.converge(document(), run, check=False, phase="prepare").unfinished
    assert macs(run) == before, "nothing is sent otherwise than before"
    assert hears_every_mac(run)
    assert not node.converge(document(), run, check=False, phase="cutover").unfinished
    own, others = macs(run)
    assert own.startswith("0a:58:")
    assert all(mac.startswith("0a:58:") for mac in others)
    assert hears_every_mac(run), "others may still send to the former one"
    assert not node.converge(document(), run, check=False).changed
    assert not hears_every_mac(run)


def test_a_run_that_ends_in_between_is_taken_up_by_the_next(run):
    by_flannel(run)
    node.converge(document(), run, check=False, phase="prepare")
    assert node.converge(document(), run, check=False, phase="prepare").unfinished
    node.converge(document(), run, check=False, phase="cutover")
    assert not node.converge(document(), run, check=False, phase="prepare").unfinished
    assert not hears_every_mac(run)


def test_a_host_that_leaves_hears_no_other_mac_any_more(run):
    by_flannel(run)
    node.converge(document(), run, check=False, phase="prepare")
    remove("tke0", "tke-br0", run, check=False)
    assert not hears_every_mac(run)


def test_a_fleet_with_our_macs_goes_over_at_once(run):
    node.converge(document(), run, check=False)
    for name in os.listdir(files.ROOT + "/etc/tke-overlay"):
        os.unlink(f"{files.ROOT}/etc/tke-overlay/{name}")
    run(["ip", "link", "set", "tke0", "alias", ""])
    assert not node.converge(document(), run, check=False, phase="prepare").unfinished
    assert not hears_every_mac(run)

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The promise of the module node, on real kernel tables."""

from __future__ import annotations

import json
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, fleet_text
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from breakages import COMBINABLE, PEERS, broken, document, everything


@pytest.fixture(autouse=True)
def files_of_the_host(tmp_path, monkeypatch):
    """The host's files go to a directory of the test; its sysctls are those of the test's namespace."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def ip(run, line):
    command = line.split()
    code, _out, errors = run(command if command[0] == "bridge" else ["ip", *command])
    assert code == 0, errors


def test_a_new_peer_is_three_kernel_objects_and_one_lost_is_three_less(run):
    node.converge(document(PEERS[:-1]), run, check=False)
    before = everything(run)
    outcome = node.converge(document(), run, check=False)
    after = everything(run)
    new = [row for command, rows in after.items() for row in rows if row not in before[command]]
    assert len(new) == 4, "and an element of the set of those who may send to the tunnel's port"
    added = {name: len(delta.added) for name, delta in outcome.tables.items()}
    assert added == {"route": 1, "fdb": 1, "neighbor": 1, "bridge": 0, "rules": 1}
    node.converge(document(PEERS[:-1]), run, check=False)
    assert everything(run) == before


def test_a_second_run_changes_nothing_and_says_so(run):
    assert node.converge(document(), run, check=False).changed
    before = everything(run)
    again = node.converge(document(), run, check=False)
    assert not again.changed
    assert list(again.diffs()) == []
    assert everything(run) == before


class Together:
    """Runs programs, those that are to be run at the same time apart; counts both."""

    def __init__(self, run):
        self.run, self.alone, self.rounds = run, [], []

    def __call__(self, command, text=None):
        self.alone.append(tuple(command))
        return self.run(command, text)

    def together(self, commands):
        self.rounds.append([tuple(command) for command in commands])
        return [self.run(command) for command in commands]


def test_the_tables_are_read_at_the_same_time_and_once(run):
    programs = Together(run)
    assert node.converge(document(), programs, check=False).changed
    (first, second), listed = programs.rounds, [command for command in programs.alone if "-json" in command]
    assert [len(first), len(second)] == [3, 3], "routes of ours and of all, rules; routes, FDB, neighbours to read back"
    assert set(listed) == {("ip", "-json", "-details", "address", "show")}
    batches = [command for command in programs.alone if "-batch" in command]
    assert batches == [("ip", "-batch", "-"), ("bridge", "-batch", "-")], "neighbours and routes come with the device"
    programs = Together(run)
    assert not node.converge(document(), programs, check=True).changed
    assert [len(each) for each in programs.rounds] == [5]
    assert [command[0] for command in programs.alone] == ["ip"], "the links"


@pytest.mark.parametrize("start", ["nothing", "other peers", "another device"])
def test_check_mode_changes_nothing_and_says_what_the_real_run_says(run, files_of_the_host, start):
    if start == "other peers":
        node.converge(document(PEERS[:3]), run, check=False)
    if start == "another device":
        node.converge(document(PEERS[:3], vni=7, mtu=1400), run, check=False)
    before, files = everything(run), sorted(files_of_the_host.rglob("*"))
    forecast = node.converge(document(), run, check=True)
    assert everything(run) == before
    assert sorted(files_of_the_host.rglob("*")) == files
    assert list(node.converge(document(), run, check=False).diffs()) == list(forecast.diffs())


def test_nothing_that_is_not_ours_is_touched(run):
    for line in (
        "link add br0 type bridge",
        "address add 172.20.0.1/24 dev br0",
        "link set br0 up",
        "route add 172.21.0.0/16 via 10.0.1.1 dev eth0 proto static",
        "neigh add 10.0.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent",
        "link add other type vxlan id 99 dstport 4789 local 10.0.1.11 nolearning",
        "link set other up",
        "bridge fdb append 02:00:00:00:00:09 dev other dst 10.0.1.77 self permanent",
        "rule add from 10.9.0.0/16 lookup 100",
        "route add 10.9.0.0/16 via 10.0.1.1 dev eth0 table 100",
    ):
        ip(run, line)
    run(["nft", "-f", "-"], "table ip theirs { chain c { type filter hook input priority 0; accept; } }")
    before = everything(run)
    node.converge(document(), run, check=False)
    node.converge(document(PEERS[:2]), run, check=False)
    node.converge(document(vni=8), run, check=False)
    after = everything(run)
    for command, rows in before.items():
        assert [row for row in rows if row not in after[command]] == []
    gone = [row for command, rows in after.items() for row in rows if not command.startswith("nft")]
    assert not any("10.244.0.0" in row and "tke0" not in row and "blackhole" not in row for row in gone)


def test_foreign_entries_on_our_device_are_told_and_left(run):
    node.converge(document(), run, check=False)
    ip(run, "bridge fdb add 02:00:00:00:00:01 dev tke0 dst 10.0.1.50 self dynamic")
    ip(run, "neigh add 10.244.77.0 lladdr 02:00:00:00:00:01 dev tke0 nud stale")
    ip(run, "route add 10.244.99.0/24 dev tke0 proto static")
    before = everything(run)
    outcome = node.converge(document(), run, check=False)
    assert not outcome.changed
    assert everything(run) == before
    assert "dynamic" in outcome.tables["fdb"].foreign["02:00:00:00:00:01"]
    assert "stale" in outcome.tables["neighbor"].foreign["10.244.77.0"]
    assert "proto static" in outcome.tables["route"].foreign["10.244.99.0/24"]


def test_leftovers_of_ours_go(run):
    node.converge(document(), run, check=False)
    for line in (
        "bridge fdb append 00:00:00:00:00:00 dev tke0 dst 10.0.1.50 self permanent",
        "bridge fdb append 00:00:00:00:00:00 dev tke0 dst 10.0.1.51 self permanent",
        "neigh add 10.244.77.0 lladdr 02:00:00:00:00:01 dev tke0 nud permanent",
        "route add 10.244.77.0/24 via 10.244.77.0 dev tke0 onlink proto 84",
        "route add blackhole 10.244.78.0/24 metric 4096 proto 84",
        "address add 10.244.9.9/32 dev tke0",
    ):
        ip(run, line)
    node.converge(document(), run, check=False)
    left = " ".join(row for rows in everything(run).values() for row in rows)
    for word in ("00:00:00:00:00:00 ", "10.0.1.50", "10.0.1.51", "10.244.77.0", "10.244.78.0", "10.244.9.9"):
        assert word not in left


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(COMBINABLE), min_size=1, max_size=5))
def test_whatever_was_broken_one_run_mends_it_and_the_next_changes_nothing(run, breakages):
    node.converge(document(), run, check=False)
    whole = everything(run)
    for line in breakages:
        broken(run, line)
    node.converge(document(), run, check=False)
    assert not node.converge(document(), run, check=False).changed
    for command, rows in everything(run).items():
        if "address" not in command:
            assert rows == whole[command]


@pytest.mark.parametrize(("change", "words"), [({"vni": 2}, "vni 1 -> 2"), ({"port": 4789}, "port 8472 -> 4789")])
def test_a_new_device_gets_all_its_entries_in_the_same_call_and_the_result_says_why(run, change, words):
    node.converge(document(), run, check=False)
    outcome = node.converge(document(**change), run, check=False)
    assert words in outcome.link.recreated
    assert not node.converge(document(**change), run, check=False).changed
    _code, routes, _errors = run(["ip", "-json", "route", "show", "proto", "84"])
    assert len(json.loads(routes)) == len(PEERS)


@pytest.mark.parametrize("change", [{"mtu": 1400}, {"fleet": fleet_text([Peer("me", "10.244.9.0/24", "10.0.1.11")])}])
def test_what_can_change_in_place_keeps_the_device(run, change):
    node.converge(document(), run, check=False)
    index = everything_index(run)
    outcome = node.converge(document(**change), run, check=False)
    assert outcome.changed
    assert outcome.link.recreated is None
    assert everything_index(run) == index


def everything_index(run):
    _code, out, _errors = run(["ip", "-json", "link", "show", "tke0"])
    return json.loads(out)[0]["ifindex"]


def refused(run, wanted=None, error=ValidationError):
    """Converges, and is refused; nothing at all has changed."""
    before = everything(run)
    with pytest.raises(error) as caught:
        node.converge(wanted or document(), run, check=False)
    assert everything(run) == before
    return str(caught.value)


def test_a_device_of_another_kind_is_named(run):
    ip(run, "link add tke0 type bridge")
    assert "tke0 (overlay_device) already exists and is not a VXLAN link but bridge" in refused(run)


def test_another_vxlan_link_with_our_vni_and_port_is_named(run):
    ip(run, "link add flannel.1 type vxlan id 1 dstport 8472 local 10.0.1.11")
    assert "belongs to the VXLAN link flannel.1" in refused(run)


def test_a_program_on_our_port_is_named(run):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("0.0.0.0", 8472))
        message = refused(run)
    assert "UDP port 8472 (overlay_port) is taken by" in message
    assert "pid=" in message


def test_an_underlay_address_that_the_host_does_not_have_is_named(run):
    wrong = fleet_text([Peer("me", "10.244.0.0/24", "10.0.1.99")])
    message = refused(run, document(fleet=wrong))
    assert "10.0.1.99 (overlay_underlay_ip) is not an address of this host, which has 10.0.1.11" in message


@pytest.mark.parametrize(
    ("line", "route"),
    [
        ("route add 10.244.1.0/24 via 10.0.1.1 dev eth0 proto static", "route 10.244.1.0/24 via 10.0.1.1 dev eth0"),
        ("route add 10.244.2.128/25 via 10.0.1.1 dev eth0", "route 10.244.2.128/25 via 10.0.1.1 dev eth0"),
        ("address add 10.244.0.1/16 dev eth0", "route 10.244.0.0/16 dev eth0"),
        ("address add 10.244.0.1/24 dev eth0", "route 10.244.0.0/24 dev eth0"),
    ],
)
def test_a_route_of_somebody_else_inside_the_container_cidr_is_named(run, line, route):
    ip(run, line)
    message = refused(run)
    assert route in message
    assert "lies in the container CIDR" in message


def test_a_wider_route_of_somebody_else_is_no_conflict(run):
    ip(run, "route add 10.0.0.0/8 via 10.0.1.1 dev eth0")
    assert node.converge(document(), run, check=False).changed


def test_the_pod_bridge_loses_the_gateway_of_a_node_cidr_that_was_given_back(run):
    """And the route to its next owner comes in the same call: the bridge's connected route was in its place."""
    for line in (
        "link add tke-br0 type bridge",
        "address add 10.244.3.1/24 dev tke-br0",
        "address add 10.244.0.1/24 dev tke-br0",
        "address add 172.20.0.1/24 dev tke-br0",
        "link set tke-br0 up",
    ):
        ip(run, line)
    outcome = node.converge(document(), run, check=False)
    assert outcome.tables["bridge"].removed == {"10.244.3.1/24": "dev tke-br0"}
    _code, routes, _errors = run(["ip", "route", "show", "10.244.3.0/24"])
    assert routes.split()[:3] == ["10.244.3.0/24", "via", "10.244.3.0"]
    _code, addresses, _errors = run(["ip", "-brief", "address", "show", "tke-br0"])
    assert addresses.split()[2:] == ["10.244.0.1/24", "172.20.0.1/24"]
    assert not node.converge(document(), run, check=False).changed


def test_all_that_is_in_the_way_of_the_link_is_named_at_once(run):
    ip(run, "link add tke0 type bridge")
    ip(run, "link add flannel.1 type vxlan id 1 dstport 8472 local 10.0.1.11")
    message = refused(run)
    assert "tke0" in message
    assert "flannel.1" in message


def test_a_host_that_is_not_in_the_plan_is_refused(run):
    assert "node stranger is not in the plan" in refused(run, document(node="stranger"))


def test_a_plan_of_another_version_is_refused(run):
    assert "schema 9" in refused(run, document(schema=9))


def test_the_kernels_own_words_and_the_entry_are_in_the_error(run):
    outcome = document(fleet=fleet_text([*PEERS[:1], Peer("bad", "10.244.1.0/33", "10.0.1.12")]))
    with pytest.raises(KernelError, match=r"10\.244\.1\.0/33"):
        node.converge(outcome, run, check=False)


def test_files_are_written_whole_and_read_by_anybody(run, files_of_the_host):
    node.converge(document(), run, check=False)
    conflist = files_of_the_host / "etc/cni/net.d/10-tke-overlay.conflist"
    assert json.loads(conflist.read_text())["plugins"][0]["mtu"] == 1450
    assert [path.name for path in conflist.parent.iterdir()] == [conflist.name]
    assert conflist.stat().st_mode & 0o777 == 0o644


def test_what_another_program_undoes_at_once_is_told(run):
    """The read-back: a stand-in for a program that takes every new neighbour away again."""

    def undone(command, text=None):
        result = run(command, text)
        if "neigh replace" in (text or ""):
            run(["ip", "neigh", "flush", "dev", "tke0", "nud", "permanent"])
        return result

    with pytest.raises(KernelError, match=r"neighbor: missing 10\.244\.1\.0"):
        node.converge(document(), undone, check=False)

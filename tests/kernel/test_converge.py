# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""Converging a host, on real kernel tables."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Peer, fleet_text, former_text
from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LINKS
from ansible_collections.tke.overlay.plugins.module_utils._host.node import converge as node
from ansible_collections.tke.overlay.plugins.module_utils._host.node.applied_plan import Accepted
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import is_as_applied
from ansible_collections.tke.overlay.plugins.module_utils._host.state.lock import finish_confirmation
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import CHECKSUMS, SUMMARY
from breakages import COMBINABLE, PEERS, broken, document, everything


@pytest.fixture(autouse=True)
def files_of_the_host(tmp_path, monkeypatch):
    """Put the host's files below a directory of the test; its sysctls are those of the test's namespace."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    return tmp_path


def ip(run, line):
    command = line.split()
    code, _out, errors = run(command if command[0] == "bridge" else ["ip", *command])
    assert code == 0, errors


def test_peer_is_a_route_an_fdb_entry_and_a_neighbour(run):
    node.converge(document(PEERS[:-1]), run, check=False)
    before = everything(run)
    outcome = node.converge(document(), run, check=False)
    after = everything(run)
    new = [row for command, rows in after.items() for row in rows if row not in before[command]]
    assert len(new) == 4, "and an element of the set of peers that may send to the tunnel's port"
    added = {name: len(delta.added) for name, delta in outcome.tables.items()}
    assert added == {"route": 1, "fdb": 1, "neighbor": 1, "bridge": 0, "rules": 1}
    node.converge(document(PEERS[:-1]), run, check=False)
    assert everything(run) == before


def test_second_run_changes_nothing(run):
    assert node.converge(document(), run, check=False).changed
    before = everything(run)
    again = node.converge(document(), run, check=False)
    assert not again.changed
    assert list(again.diffs()) == []
    assert everything(run) == before


class Together:
    """Run programs; record those that run alone, and the groups that run at the same time."""

    def __init__(self, run):
        self.run, self.alone, self.rounds = run, [], []

    def __call__(self, command, text=None):
        self.alone.append(tuple(command))
        return self.run(command, text)

    def together(self, jobs):
        self.rounds.append([tuple(command) for command, _text in jobs])
        return [self.run(*job) for job in jobs]


def test_reads_all_tables_at_the_same_time_and_once(run):
    programs = Together(run)
    assert node.converge(document(), programs, check=False).changed
    (first, second), listed = programs.rounds, [command for command in programs.alone if "-json" in command]
    assert [len(first), len(second)] == [6, 4], (
        "links, default routes, managed routes, all routes, rules, routes to the peers; "
        "then links, routes, FDB and neighbours to read back"
    )
    assert set(listed) == {("ip", "-json", "-details", "address", "show")}
    batches = [command for command in programs.alone if "-batch" in command and "-force" not in command]
    assert batches == [("ip", "-batch", "-"), ("bridge", "-batch", "-")], "neighbours and routes come with the device"


@pytest.mark.parametrize("check", [True, False])
def test_an_unchanged_run_reads_each_table_once_and_not_as_json(run, check):
    node.converge(document(), run, check=False)
    programs = Together(run)
    assert not node.converge(document(), programs, check).changed
    assert not programs.alone, "one after the other, programs take longer"
    (listings,) = programs.rounds
    assert len(set(listings)) == len(listings) == 8
    assert [command for command in listings if "-json" in command] == [LINKS], "rows of thousands of peers take long"


def test_a_host_that_lacks_entries_is_not_read_as_json(run):
    node.converge(document(PEERS[:3]), run, check=False)
    programs = Together(run)
    assert node.converge(document(), programs, check=True).changed
    listings = [*programs.alone, *(command for each in programs.rounds for command in each)]
    assert [command for command in listings if "-json" in command] == [LINKS], "one node more would take all others"


@pytest.mark.parametrize("start", ["nothing", "other peers", "another device"])
def test_check_mode_changes_nothing_and_returns_the_same_diff(run, files_of_the_host, start):
    if start == "other peers":
        node.converge(document(PEERS[:3]), run, check=False)
    if start == "another device":
        node.converge(document(PEERS[:3], vni=7, mtu=1400), run, check=False)
    before, files = everything(run), sorted(files_of_the_host.rglob("*"))
    forecast = node.converge(document(), run, check=True)
    assert everything(run) == before
    assert sorted(files_of_the_host.rglob("*")) == files
    assert list(node.converge(document(), run, check=False).diffs()) == list(forecast.diffs())


def test_keeps_foreign_objects(run):
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
    run(["nft", "-f", "-"], "table ip foreign { chain c { type filter hook input priority 0; accept; } }")
    before = everything(run)
    node.converge(document(), run, check=False)
    node.converge(document(PEERS[:2]), run, check=False)
    node.converge(document(vni=8), run, check=False)
    after = everything(run)
    for command, rows in before.items():
        assert [row for row in rows if row not in after[command]] == []
    gone = [row for command, rows in after.items() for row in rows if not command.startswith("nft")]
    assert not any("10.244.0.0" in row and "tke0" not in row and "blackhole" not in row for row in gone)


def test_reports_and_keeps_foreign_entries_on_the_device(run):
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


def test_removes_managed_entries_that_are_not_planned(run):
    node.converge(document(), run, check=False)
    for line in (
        "bridge fdb append 00:00:00:00:00:00 dev tke0 dst 10.0.1.50 self permanent",
        "bridge fdb append 00:00:00:00:00:00 dev tke0 dst 10.0.1.51 self permanent",
        "neigh add 10.244.77.0 lladdr 02:00:00:00:00:01 dev tke0 nud permanent",
        "route add 10.244.77.0/24 via 10.244.77.0 dev tke0 onlink proto 144",
        "route add blackhole 10.244.78.0/24 metric 4096 proto 144",
        "address add 10.244.9.9/32 dev tke0",
    ):
        ip(run, line)
    node.converge(document(), run, check=False)
    left = " ".join(row for rows in everything(run).values() for row in rows)
    for word in ("00:00:00:00:00:00 ", "10.0.1.50", "10.0.1.51", "10.244.77.0", "10.244.78.0", "10.244.9.9"):
        assert word not in left


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(COMBINABLE), min_size=1, max_size=5))
def test_one_run_corrects_all_drift(run, breakages):
    node.converge(document(), run, check=False)
    complete = everything(run)
    for line in breakages:
        broken(run, line)
    node.converge(document(), run, check=False)
    assert not node.converge(document(), run, check=False).changed
    for command, rows in everything(run).items():
        if "address" not in command:
            assert rows == complete[command]


@pytest.mark.parametrize(("change", "words"), [({"vni": 2}, "vni 1 -> 2"), ({"port": 4789}, "port 8472 -> 4789")])
def test_recreated_device_has_its_entries_and_the_reason(run, change, words):
    node.converge(document(), run, check=False)
    outcome = node.converge(document(**change), run, check=False)
    assert words in outcome.link.recreated
    assert not node.converge(document(**change), run, check=False).changed
    _code, routes, _errors = run(["ip", "-json", "route", "show", "proto", "144"])
    assert len(json.loads(routes)) == len(PEERS)


MOVED = {"fleet": fleet_text([Peer("me", "10.244.9.0/24", "10.0.1.11")])}
RELEASED = {**MOVED, "former": "10.244.0.0/24 me\n"}


@pytest.mark.parametrize("change", [{"mtu": 1400}, RELEASED])
def test_changes_the_device_in_place_where_possible(run, change):
    node.converge(document(), run, check=False)
    index = device_index(run)
    outcome = node.converge(document(**change), run, check=False)
    assert outcome.changed
    assert outcome.link.recreated is None
    assert device_index(run) == index


def device_index(run):
    _code, out, _errors = run(["ip", "-json", "link", "show", "tke0"])
    return json.loads(out)[0]["ifindex"]


def rejection(run, wanted=None):
    """Return the error of a run that must be rejected before anything changes."""
    before = everything(run)
    with pytest.raises(ValidationError) as caught:
        node.converge(wanted or document(), run, check=False)
    assert everything(run) == before
    return str(caught.value)


def test_rejects_a_device_of_another_kind(run):
    ip(run, "link add tke0 type bridge")
    assert "tke0 (overlay_device) already exists and is not a VXLAN link but bridge" in rejection(run)


def test_rejects_another_vxlan_link_with_the_vni_and_port(run):
    ip(run, "link add flannel.1 type vxlan id 1 dstport 8472 local 10.0.1.11")
    assert "belongs to the VXLAN link flannel.1" in rejection(run)


def test_rejects_a_port_that_a_program_uses(run):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("0.0.0.0", 8472))
        message = rejection(run)
    assert "UDP port 8472 (overlay_port) is taken by" in message
    assert "pid=" in message


def test_rejects_an_underlay_address_that_is_on_no_link(run):
    wrong = fleet_text([Peer("me", "10.244.0.0/24", "10.0.1.99")])
    message = rejection(run, document(fleet=wrong))
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
def test_rejects_a_foreign_route_inside_the_container_cidr(run, line, route):
    ip(run, line)
    message = rejection(run)
    assert route in message
    assert "lies in the container CIDR" in message


def test_accepts_a_foreign_route_around_the_container_cidr(run):
    ip(run, "route add 10.0.0.0/8 via 10.0.1.1 dev eth0")
    assert node.converge(document(), run, check=False).changed


def test_removes_the_gateway_of_a_former_node_cidr(run):
    """The route to its next owner is added in the same call: the bridge's connected route was in its place."""
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


def test_reports_all_conflicts_of_the_link_at_once(run):
    ip(run, "link add tke0 type bridge")
    ip(run, "link add flannel.1 type vxlan id 1 dstport 8472 local 10.0.1.11")
    message = rejection(run)
    assert "tke0" in message
    assert "flannel.1" in message


def test_rejects_a_host_that_is_not_in_the_plan(run):
    message = rejection(run, document(node="stranger"))
    assert "node stranger is not in the plan" in message
    assert "inventory group" in message


@pytest.mark.parametrize("interval", [0, 86_401])
def test_rejects_a_restore_interval_out_of_range(run, interval):
    words = rf"restore_interval \(overlay_restore_interval\) {interval} is not between 1 and 86400 seconds"
    with pytest.raises(ValidationError, match=words):
        node.converge(document(), run, check=True, options=node.ConvergeOptions(interval=interval))


def test_rejects_a_plan_of_another_schema(run):
    message = rejection(run, document(schema=9))
    for part in ("schema 9", "schema 1", "use the same release"):
        assert part in message


def test_error_names_the_rejected_entry(run):
    """A multicast network has the form of a node CIDR, but the kernel takes no such gateway."""
    wanted = document(fleet=fleet_text([*PEERS[:1], Peer("bad", "224.1.0.0/24", "10.0.1.12")]))
    with pytest.raises(KernelError, match=r"224\.1\.0\.0"):
        node.converge(wanted, run, check=False)


def test_writes_complete_world_readable_files(run, files_of_the_host):
    node.converge(document(), run, check=False)
    conflist = files_of_the_host / "etc/cni/net.d/10-tke-overlay.conflist"
    assert json.loads(conflist.read_text())["plugins"][0]["mtu"] == 1450
    assert [path.name for path in conflist.parent.iterdir()] == [conflist.name]
    assert conflist.stat().st_mode & 0o777 == 0o644


def test_reports_a_change_that_another_program_reverts(run):
    def reverted(command, text=None):
        result = run(command, text)
        if "neigh replace" in (text or ""):
            run(["ip", "neigh", "flush", "dev", "tke0", "nud", "permanent"])  # as another program would
        return result

    with pytest.raises(KernelError, match=r"neighbor: missing 10\.244\.1\.0"):
        node.converge(document(), reverted, check=False)


OTHER = fleet_text([Peer("me", "10.244.9.0/24", "10.0.1.11"), *PEERS[1:]])
LACKING = fleet_text([Peer("me", "10.244.0.0/24", "10.0.1.11")])


@pytest.mark.parametrize("phase", ["prepare", "cutover", "finalize"])
@pytest.mark.parametrize(
    ("change", "words", "accepted"),
    [
        ({"fleet": OTHER, "former": ""}, ["10.244.0.0/24", "10.244.9.0/24"], {"renumber": ["me"]}),
        ({"fleet": OTHER, "former": "10.244.0.0/24 one\n"}, ["overlay_renumber=me"], {"renumber": ["all"]}),
        ({"fleet": LACKING, "former": ""}, [PEERS[1].name, PEERS[1].node_cidr], {"renumber": ["me"]}),
        ({"cluster": "other"}, ["'demo'", "'other'", "overlay_take_over=demo"], {"take_over": ["demo"]}),
    ],
)
def test_rejects_a_plan_that_contradicts_the_applied_one(run, change, words, accepted, phase):
    node.converge(document(), run, check=False)
    before = everything(run)
    for check in (True, False):
        with pytest.raises(ValidationError) as caught:
            node.converge(document(**change), run, check=check, options=node.ConvergeOptions(phase=phase))
        assert [word for word in words if word not in str(caught.value)] == []
    assert everything(run) == before
    assert not node.converge(document(), run, check=True).changed
    options = node.ConvergeOptions(phase=phase, accepted=Accepted(**accepted))
    assert node.converge(document(**change), run, check=False, options=options).changed


def test_a_release_explains_another_fleet(run):
    node.converge(document(), run, check=False)
    former = former_text({peer.node_cidr: peer.name for peer in PEERS[1:]})
    assert node.converge(document(fleet=LACKING, former=former), run, check=False).changed
    assert not node.converge(document(fleet=LACKING, former=""), run, check=False).changed


def converge_killed_at(wanted, run, at):
    """Converge in a process that is killed before its n-th change of the name of a file."""
    child = os.fork()
    if child == 0:
        numbers, rename = itertools.count(), os.rename

        def killed(source, target):
            if next(numbers) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target)

        os.rename = killed
        try:
            node.converge(wanted, run, check=False)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def test_a_run_that_is_killed_while_it_saves_damages_nothing(run):
    """Only the version of the ledger differs, so the files are saved without a change of the kernel."""
    node.converge(document(ledger_versions="1-aaaaaaaa"), run, check=False)
    newer = document(ledger_versions="2-bbbbbbbb 1-aaaaaaaa")
    for at in itertools.count():
        ended = converge_killed_at(newer, run, at)
        finish_confirmation()
        assert is_as_applied(CHECKSUMS, SUMMARY), at
        if "2-bbbbbbbb" in files.read_files([SUMMARY])[SUMMARY]:
            break
        assert not ended
    assert at >= 2, "the summary and its checksum"
    assert not node.converge(newer, run, check=False).changed

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""The modules vxlan, fdb, neighbor and route, on real kernel tables, for both IP versions."""

from __future__ import annotations

import socket

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError, ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.entries import (
    BulkOptions,
    converge,
    fdb_tasks,
    neighbor_tasks,
    route_tasks,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable, fdb_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import (
    LinkSpec,
    converge_link,
    remove_link,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable, neighbor_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import (
    RouteTable,
    blackhole_entry,
    device_entry,
    direct_entry,
    via_entry,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import (
    AsWanted,
    apply,
    compare,
    read_json,
    run_batch,
    wanted_of,
)

LINK = LinkSpec("tke0", 1, 8472, "10.0.1.11", mac="0a:58:0a:f4:00:00", mtu=1400, addresses=["10.244.0.0/32"])

FDB = [{"mac": "0A:58:0A:F4:01:00", "dst": "10.0.1.12"}, {"mac": "0a:58:0a:f4:02:00", "dst": "10.0.1.13"}]
NEIGHBORS = [
    {"address": "10.244.1.0", "mac": "0a:58:0a:f4:01:00"},
    {"address": "2001:DB8:0::1", "mac": "0a:58:0a:f4:02:00"},
]
ROUTES = [
    {"dst": "10.244.1.0/24", "via": "10.244.1.0"},
    {"dst": "10.244.2.0/24", "type": "blackhole", "metric": 4096},
    {"dst": "2001:db8:1::/64", "via": "2001:db8::1"},
    {"dst": "2001:db8:2::/64", "type": "blackhole", "metric": 4096},
]
# The number is that of the entries that purge leaves: blackhole routes have no device, so purge keeps them.
KINDS = [(fdb_tasks, FDB, 1), (neighbor_tasks, NEIGHBORS, 1), (route_tasks, ROUTES, 3)]


@pytest.fixture
def tke0(run):
    converge_link(LINK, run, check=False)
    return run


def apply_entries(tasks, run, state="present", purge=False, check=False):
    return converge(tasks, BulkOptions("tke0", state, purge), run, check)


def counts(deltas):
    return tuple(sum(len(part) for part in parts) for parts in zip(*(delta[:3] for delta in deltas)))


@pytest.mark.parametrize(("tasks_of", "entries", "left"), KINDS)
def test_entries_are_added_kept_and_removed(tke0, tasks_of, entries, left):
    def run_with(some, state="present", purge=False, check=False):
        return counts(apply_entries(tasks_of("tke0", some), tke0, state, purge, check))

    assert run_with(entries, check=True) == (len(entries), 0, 0)
    assert run_with(entries) == (len(entries), 0, 0)
    assert run_with(entries) == (0, 0, 0)
    assert run_with(entries[:1]) == (0, 0, 0), "without purge the others stay"
    assert run_with(entries[:1], purge=True, check=True) == (0, 0, len(entries) - left)
    assert run_with(entries[:1], purge=True) == (0, 0, len(entries) - left)
    assert run_with(entries, state="absent", check=True) == (0, 0, left)
    assert run_with(entries, state="absent") == (0, 0, left)
    assert run_with(entries, state="absent") == (0, 0, 0)


@pytest.mark.parametrize(
    ("tasks_of", "before", "after"),
    [
        (fdb_tasks, FDB[:1], [{**FDB[0], "dst": "10.0.1.99"}]),
        (neighbor_tasks, NEIGHBORS[1:], [{**NEIGHBORS[1], "mac": "0a:58:0a:f4:07:00"}]),
        (route_tasks, ROUTES[:1], [{**ROUTES[0], "via": "10.244.9.0"}]),
        (route_tasks, ROUTES[2:3], [{**ROUTES[2], "via": "2001:db8::9"}]),
    ],
)
def test_a_changed_entry_replaces_the_former_one(tke0, tasks_of, before, after):
    apply_entries(tasks_of("tke0", before), tke0)
    assert counts(apply_entries(tasks_of("tke0", after), tke0, purge=True)) == (0, 1, 0)
    assert counts(apply_entries(tasks_of("tke0", after), tke0, purge=True)) == (0, 0, 0)


@pytest.mark.parametrize(("tasks_of", "entries", "_left"), KINDS)
def test_check_mode_works_without_the_device(run, tasks_of, entries, _left):
    assert counts(apply_entries(tasks_of("tke0", entries), run, check=True)) == (len(entries), 0, 0)
    assert counts(apply_entries(tasks_of("tke0", entries), run, state="absent", check=True)) == (0, 0, 0)


FOREIGN_ROUTES = [
    ("default via 10.0.1.1 dev eth0 proto static", {"dst": "0.0.0.0/0", "via": "10.244.1.0"}),
    ("10.9.9.9 via 10.0.1.1 dev eth0 proto static", {"dst": "10.9.9.9/32", "via": "10.244.1.0"}),
    ("10.9.9.0/24 via 10.0.1.1 dev eth0 proto static", {"dst": "10.9.9.0/24", "via": "10.244.1.0"}),
    ("2001:db8:9::9 dev eth0 proto static", {"dst": "2001:db8:9::9/128", "via": "2001:db8::1"}),
    ("blackhole 10.9.9.0/24 metric 7 proto static", {"dst": "10.9.9.0/24", "via": "10.244.1.0", "metric": 7}),
]


@pytest.mark.parametrize(("line", "entry"), FOREIGN_ROUTES)
@pytest.mark.parametrize("check", [True, False])
def test_a_foreign_route_is_never_replaced(tke0, line, entry, check):
    assert tke0(["ip", "route", "add", *line.split()])[0] == 0
    before = tke0(["ip", "route"]), tke0(["ip", "-6", "route"])
    with pytest.raises(ValidationError, match="another program has created it"):
        apply_entries(route_tasks("tke0", [entry]), tke0, check=check)
    assert (tke0(["ip", "route"]), tke0(["ip", "-6", "route"])) == before


@pytest.mark.parametrize(
    "entry",
    [
        {"dst": "0.0.0.0/0", "via": "10.244.1.0"},
        {"dst": "10.9.9.9/32", "via": "10.244.1.0"},
        {"dst": "2001:db8:9::9/128", "via": "2001:db8::1"},
        {"dst": "2001:db8:9::/64", "via": "2001:db8::1", "metric": 1024},
        {"dst": "::/0", "via": "2001:db8::1"},
    ],
)
def test_a_route_that_iproute2_prints_in_short_is_recognized(tke0, entry):
    assert counts(apply_entries(route_tasks("tke0", [entry]), tke0)) == (1, 0, 0)
    assert counts(apply_entries(route_tasks("tke0", [entry]), tke0, purge=True)) == (0, 0, 0)


def test_routes_of_the_protocol_on_another_device_are_kept(tke0):
    for line in ("10.8.0.0/24 dev eth0 proto 144", "blackhole 10.8.1.0/24 proto 144"):
        tke0(["ip", "route", "add", *line.split()])
    before = tke0(["ip", "route"])
    assert counts(apply_entries(route_tasks("tke0", []), tke0, purge=True)) == (0, 0, 0)
    assert tke0(["ip", "route"]) == before


def test_a_name_for_the_protocol_number_makes_no_difference(tke0, tmp_path):
    """If rt_protos contains a name for 144, iproute2 prints the name."""
    apply_entries(route_tasks("tke0", ROUTES), tke0)

    def named(command, text=None):
        code, out, errors = tke0(command, text)
        return code, out.replace('"protocol":"144"', '"protocol":"tke"'), errors

    assert counts(apply_entries(route_tasks("tke0", ROUTES), named, purge=True)) == (0, 0, 0)


ENTRIES = {
    "route": dict(
        [
            via_entry("10.244.1.0/24", "10.244.1.0", "tke0"),
            via_entry("10.244.3.0/24", "10.244.3.0", "tke0", mtu=1300),
            direct_entry("10.244.4.0/24", "10.0.1.14", "eth0", "10.0.1.11", 1500),
            device_entry("10.244.5.0/24", "eth0", "10.0.1.11", 1380),
            blackhole_entry("10.244.5.0/24"),
            blackhole_entry("10.244.0.0/24"),
        ]
    ),
    "fdb": dict([fdb_entry("0a:58:0a:f4:01:00", "10.0.1.12"), fdb_entry("0a:58:0a:f4:02:00", "10.0.1.13")]),
    "neighbor": dict([neighbor_entry("10.244.1.0", "0a:58:0a:f4:01:00")]),
}
TABLES = [
    RouteTable("tke0", within=["10.244.0.0/16", "10.9.0.0/16"], bridge="tke-br0"),
    FdbTable("tke0"),
    NeighborTable("tke0"),
]
DIFFERENCES = [
    "",
    "ip route del 10.244.1.0/24",
    "ip route add 10.244.2.0/24 via 10.244.2.0 dev tke0 onlink proto 144",
    "ip route replace 10.244.1.0/24 via 10.244.3.0 dev tke0 onlink proto 144",
    "ip route del blackhole 10.244.5.0/24 metric 4096",
    "ip route del 10.244.5.0/24 dev eth0",
    "ip route replace 10.244.3.0/24 via 10.244.3.0 dev tke0 onlink proto 144",
    "ip route add 10.244.1.0/24 via 10.244.1.0 dev tke0 onlink proto static metric 9",
    "ip route prepend 10.244.1.0/24 via 10.244.1.0 dev tke0 onlink proto static",
    "ip route append 10.244.1.0/24 via 10.244.1.0 dev tke0 onlink proto 144 mtu 1300",
    "ip route add 10.9.7.0/24 dev eth0",
    "ip route add 10.8.7.0/24 dev tke0 proto 144",
    "ip route add blackhole 10.244.9.0/24 proto 144",
    "ip route add 10.244.9.0/24 proto 144 nexthop dev eth0 nexthop dev tke0",
    "ip route add 10.99.0.0/24 via 10.0.1.1 dev eth0 proto 144",
    "ip route add blackhole 10.99.0.0/24 proto 144",
    "bridge fdb del 0a:58:0a:f4:01:00 dev tke0",
    "bridge fdb add 0a:58:0a:f4:03:00 dev tke0 dst 10.0.1.14 dynamic",
    "bridge fdb add 0a:58:0a:f4:03:00 dev tke0 dst 10.0.1.14 self permanent",
    "bridge fdb replace 0a:58:0a:f4:01:00 dev tke0 dst 10.0.1.99 self permanent",
    "bridge fdb replace 0a:58:0a:f4:01:00 dev tke0 dst 10.0.1.12 self dynamic",
    "bridge fdb append 00:00:00:00:00:00 dev tke0 dst 10.0.1.12 self permanent",
    "ip neigh del 10.244.1.0 dev tke0",
    "ip neigh replace 10.244.1.0 lladdr 0a:58:0a:f4:01:00 dev tke0 nud stale",
    "ip neigh replace 10.244.1.0 lladdr 0a:58:0a:f4:09:00 dev tke0 nud permanent",
    "ip neigh replace 10.244.7.0 lladdr 0a:58:0a:f4:09:00 dev tke0 nud permanent",
]


@pytest.mark.parametrize("line", DIFFERENCES)
def test_a_table_reads_alike_whether_its_wanted_entries_are_known(tke0, line):
    for table in TABLES:
        apply([(table, compare(table, {}, ENTRIES[table.name]))], tke0)
    assert not line or tke0(line.split())[0] == 0
    for table in TABLES:
        entries = ENTRIES[table.name]
        found, unknown = table.read(tke0, wanted_of(table, entries)), table.read(tke0)
        assert compare(table, found, entries) == compare(table, unknown, entries)
        assert line or isinstance(found, AsWanted), "otherwise each entry is examined in the usual case"
        assert [(key, each.spec) for key, each in sorted(found.items())] == [
            (key, each.spec) for key, each in sorted(unknown.items())
        ]


@pytest.mark.parametrize("verb", ["prepend", "append"])
def test_duplicate_managed_routes_are_removed(tke0, verb):
    apply_entries(route_tasks("tke0", ROUTES[:1]), tke0)
    tke0(["ip", "route", verb, *["10.244.1.0/24", "via", "10.244.9.0", "dev", "tke0", "onlink", "proto", "144"]])
    apply_entries(route_tasks("tke0", ROUTES[:1]), tke0, purge=True)
    assert [row["gateway"] for row in read_json(["ip", "-json", "route", "show", "proto", "144"], tke0)] == [
        "10.244.1.0"
    ]
    assert counts(apply_entries(route_tasks("tke0", ROUTES[:1]), tke0, purge=True)) == (0, 0, 0)


def test_a_foreign_route_before_a_managed_one_is_named(tke0):
    apply_entries(route_tasks("tke0", ROUTES[:1]), tke0)
    tke0(["ip", "route", "prepend", *["10.244.1.0/24", "via", "10.0.1.1", "dev", "eth0", "proto", "static"]])
    with pytest.raises(ValidationError, match=r"via 10\.0\.1\.1 dev eth0"):
        apply_entries(route_tasks("tke0", ROUTES[:1]), tke0)


@pytest.mark.parametrize(
    "line",
    [
        "append 01:00:5e:00:00:01 dst 10.0.1.50 self permanent",
        "append 00:00:00:00:00:00 dst 10.0.1.50 self permanent",
        "append 00:00:00:00:00:00 dst 10.0.1.50 via eth0 self permanent",
        "add 0a:58:0a:f4:09:00 dst 10.0.1.50 port 4789 vni 7 via eth0 self permanent",
    ],
)
def test_fdb_entries_of_every_form_are_removed(tke0, line):
    words = line.split()
    for last in ("50", "51"):
        tke0(["bridge", "fdb", words[0], words[1], "dev", "tke0", *" ".join(words[2:]).replace("50", last).split()])
    assert tke0(["bridge", "fdb", "show", "dev", "tke0"])[1]
    apply_entries(fdb_tasks("tke0", FDB), tke0, purge=True)
    assert len(tke0(["bridge", "fdb", "show", "dev", "tke0"])[1].splitlines()) == len(FDB)


def test_a_change_that_another_program_undoes_is_an_error(tke0):
    """The program is simulated: it removes every new neighbour entry."""

    def undone(command, text=None):
        result = tke0(command, text)
        if "-batch" in command:
            tke0(["ip", "neigh", "flush", "dev", "tke0", "nud", "permanent"])
        return result

    with pytest.raises(KernelError, match="does not have the given entries"):
        apply_entries(neighbor_tasks("tke0", NEIGHBORS[:1]), undone)


def test_a_failed_removal_does_not_stop_the_others(tke0):
    apply_entries(neighbor_tasks("tke0", [*NEIGHBORS, *MORE]), tke0)

    def vanishes(command, text=None):
        if "-force" in command:
            tke0(["ip", "neigh", "del", "10.244.1.0", "dev", "tke0"])
        return tke0(command, text)

    apply_entries(neighbor_tasks("tke0", []), vanishes, purge=True)
    assert read_json(["ip", "-json", "neigh", "show", "dev", "tke0", "nud", "permanent"], tke0) == []


MORE = [{"address": f"10.244.{number}.0", "mac": f"0a:58:0a:f4:{number:02x}:00"} for number in range(2, 6)]


def test_routes_are_added_last_and_removed_first(tke0):
    """A route must never point to a neighbour or FDB entry that does not exist."""
    order = []

    def noted(command, text=None):
        order.extend(line.split()[:2] for line in (text or "").splitlines())
        return tke0(command, text)

    tables = [
        route_tasks("tke0", ROUTES[:1])[0],
        fdb_tasks("tke0", FDB[:1])[0],
        neighbor_tasks("tke0", NEIGHBORS[:1])[0],
    ]
    apply([(table, compare(table, table.read(tke0), wanted)) for table, wanted in tables], noted)
    assert order == [["neigh", "replace"], ["fdb", "replace"], ["route", "replace"]]
    order.clear()
    apply([(table, compare(table, table.read(tke0), {})) for table, _wanted in tables], noted)
    assert order == [["route", "del"], ["fdb", "del"], ["neigh", "del"]]


def test_a_failed_listing_is_an_error_and_not_an_empty_table(tke0):
    with pytest.raises(KernelError, match="no-such-device"):
        read_json(["ip", "-json", "neigh", "show", "dev", "no-such-device"], tke0)


def test_a_foreign_entry_is_not_removed_by_state_absent(tke0):
    tke0(["ip", "route", "add", "10.244.1.0/24", "dev", "tke0", "proto", "static"])
    (delta, _other) = apply_entries(route_tasks("tke0", ROUTES[:1]), tke0, state="absent")
    assert not delta
    assert "proto static" in delta.foreign["10.244.1.0/24"]


def test_a_link_over_ipv6_bound_to_its_underlay_link(run):
    run(["ip", "address", "add", "2001:db8::11/64", "dev", "eth0", "nodad"])
    spec = LinkSpec("six", 6, 8472, "2001:db8::11", dev="eth0", mtu=1430)
    assert converge_link(spec, run, check=False)
    assert not converge_link(spec, run, check=False)
    changed = converge_link(spec._replace(mtu=1400), run, check=False)
    assert (changed.before, changed.after) == ({"mtu": "1430"}, {"mtu": "1400"})


@pytest.fixture
def narrow(run):
    """A second link, with a lower MTU than the one with the underlay address."""
    run(["ip", "link", "set", "far", "mtu", "1400"])
    return run


def test_a_rejected_change_names_error_and_line(narrow):
    bound = LINK._replace(dev="far", mtu=1350)
    converge_link(bound, narrow, check=False)
    with pytest.raises(KernelError, match=r"Invalid argument \(at: ip link set tke0 mtu 1351\)"):
        converge_link(bound._replace(mtu=1351), narrow, check=False)


def test_an_mtu_that_the_kernel_reduces_is_an_error(narrow):
    """At creation, the kernel silently reduces the MTU to that of the underlay link minus 50."""
    with pytest.raises(KernelError, match=r"still has \{'mtu': '1350'\} instead of \{'mtu': '1351'\}"):
        converge_link(LINK._replace(dev="far", mtu=1351), narrow, check=False)


def test_a_too_small_underlay_mtu_is_named(run):
    run(["ip", "link", "set", "eth0", "mtu", "1400"])
    with pytest.raises(ValidationError, match=r"eth0 .* has MTU 1400, but an overlay MTU of 1400 requires 1450"):
        converge_link(LINK, run, check=True)
    assert converge_link(LINK._replace(mtu=1350), run, check=False)


def test_another_ip_version_of_the_underlay_recreates_the_link(tke0):
    tke0(["ip", "address", "add", "2001:db8::11/64", "dev", "eth0", "nodad"])
    change = converge_link(LINK._replace(local="2001:db8::11"), tke0, check=False)
    assert "another IP version" in change.recreated
    assert not converge_link(LINK._replace(local="2001:db8::11"), tke0, check=False)


def test_a_default_destination_recreates_a_managed_link(run):
    line = "link add tke0 type vxlan id 1 dstport 8472 local 10.0.1.11 group 239.1.1.1 dev eth0"
    run(["ip", *line.split()])
    run(["ip", "link", "set", "tke0", "alias", "tke.overlay"])
    assert "remote 239.1.1.1 -> none" in converge_link(LINK, run, check=False).recreated
    assert run(["bridge", "fdb", "show", "dev", "tke0"])[1] == ""


def test_a_foreign_vxlan_link_is_adopted_only_in_place(run):
    run(
        [
            "ip",
            *[
                "link",
                "add",
                "flannel.1",
                "type",
                "vxlan",
                "id",
                "1",
                "dstport",
                "8472",
                "local",
                "10.0.1.11",
                "nolearning",
            ],
        ]
    )
    adopted = converge_link(LINK._replace(name="flannel.1"), run, check=False)
    assert adopted.recreated is None
    run(["ip", "link", "set", "flannel.1", "alias", "other"])
    with pytest.raises(ValidationError, match="a foreign VXLAN link with VNI 1 on port 8472"):
        converge_link(LINK._replace(name="flannel.1", vni=2), run, check=False)


@pytest.mark.parametrize("vni", [1, 2])
def test_the_device_of_the_overlay_must_not_be_removed_for_another_name(tke0, vni):
    """Its Pods would lose their connections; the timer would create it again."""
    with pytest.raises(ValidationError, match=r"tke0 is the device of the overlay .* Set it to tke0 again") as caught:
        converge_link(LINK._replace(name="tke1", vni=vni), tke0, check=False)
    assert "link del" not in str(caught.value)


def test_a_former_device_that_another_program_has_is_named(tke0):
    tke0(["ip", "link", "set", "tke0", "alias", "other"])
    with pytest.raises(ValidationError, match="VXLAN link tke0 has the MAC 0a:58:0a:f4:00:00 that belongs to tke1"):
        converge_link(LINK._replace(name="tke1", vni=2), tke0, check=False)


@pytest.mark.parametrize(
    ("family", "address", "connect", "taken"),
    [
        (socket.AF_INET, "0.0.0.0", None, True),
        (socket.AF_INET, "10.0.1.11", ("10.0.1.12", 9), True),
        (socket.AF_INET6, "::1", None, False),
    ],
)
def test_the_holder_of_the_port_is_named(run, family, address, connect, taken):
    with socket.socket(family, socket.SOCK_DGRAM) as holder:
        holder.bind((address, 8472))
        if connect:
            holder.connect(connect)
        if taken:
            with pytest.raises(ValidationError, match=r"UDP port 8472 .* is taken by"):
                converge_link(LINK, run, check=False)
        else:
            assert converge_link(LINK, run, check=False)


def test_an_attribute_that_is_not_given_is_not_compared(run):
    converge_link(LINK, run, check=False)
    assert not converge_link(LinkSpec("tke0", 1, 8472, "10.0.1.11"), run, check=False)


def test_an_invalid_link_names_every_invalid_part(run):
    spec = LinkSpec("much-too-long-name", 0, 70000, "host", mac="0A:58", mtu=1, addresses=["10.0.0.1"])
    with pytest.raises(ValidationError) as caught:
        converge_link(spec, run, check=True)
    assert len(caught.value.problems) == 7


def test_only_a_vxlan_link_is_removed(tke0):
    assert remove_link("tke0", tke0, check=True)
    assert remove_link("tke0", tke0, check=False)
    assert not remove_link("tke0", tke0, check=False)
    with pytest.raises(ValidationError, match="eth0 is not a VXLAN link"):
        remove_link("eth0", tke0, check=False)


def test_a_batch_stops_at_the_rejected_line_and_names_it(tke0):
    lines = ["neigh replace 10.244.1.0 lladdr 02:00:00:00:00:01 dev tke0", "neigh replace 10.244.2.0 dev nowhere"]
    with pytest.raises(KernelError, match=r'Cannot find device "nowhere" \(at: ip neigh replace 10\.244\.2\.0'):
        run_batch(["ip"], lines, tke0)
    assert len(read_json(["ip", "-json", "neigh", "show", "dev", "tke0"], tke0)) == 1


def test_a_rejected_neighbour_is_named(tke0):
    """ip ends the whole batch at a rejected neighbour, and does not print the number of the line."""
    lines = [f"neigh replace 10.244.{n}.0 lladdr 02:00:00:00:00:0{n} dev tke0 nud permanent" for n in (1, 2, 3)]
    lines[1] = "neigh change 10.244.2.0 lladdr 02:00:00:00:00:02 dev tke0 nud permanent"
    with pytest.raises(KernelError, match=r"No such file or directory \(at: ip neigh change 10\.244\.2\.0"):
        run_batch(["ip"], lines, tke0)


def test_a_rejected_neighbour_after_a_new_link_is_named(run):
    lines = [
        "link add vx9 type vxlan id 9 dstport 4790 local 10.0.1.11",
        "neigh change 10.244.2.0 lladdr 02:00:00:00:00:02 dev vx9 nud permanent",
    ]
    with pytest.raises(KernelError, match=r"No such file or directory \(at: ip neigh change 10\.244\.2\.0"):
        run_batch(["ip"], [*lines, "route replace blackhole 10.9.9.0/24"], run)


def test_a_new_link_has_no_link_local_address(tke0):
    """Its multicast packets would match no FDB entry and count as dropped. The kernel creates one by default."""
    with open("/proc/sys/net/ipv6/conf/default/addr_gen_mode", "w", encoding="ascii") as stream:
        stream.write("0")
    converge_link(LINK._replace(vni=2), tke0, check=False)
    (row,) = read_json(["ip", "-json", "-details", "address", "show", "dev", "tke0"], tke0)
    assert [address["local"] for address in row["addr_info"]] == ["10.244.0.0"]


def test_a_surplus_address_that_disappears_is_not_an_error(tke0):
    """systemd-networkd removes its own addresses when it releases a device; it is simulated."""
    tke0(["ip", "address", "add", "192.0.2.9/32", "dev", "tke0"])

    def vanished(command, text=None):
        if "del" in command:
            tke0(["ip", "address", "del", "192.0.2.9/32", "dev", "tke0"])
        return tke0(command, text)

    assert converge_link(LINK, vanished, check=False).before == {"addresses": "10.244.0.0/32 192.0.2.9/32"}
    assert not converge_link(LINK, tke0, check=False)


def test_a_surplus_address_that_stays_is_an_error(tke0):
    tke0(["ip", "address", "add", "192.0.2.9/32", "dev", "tke0"])

    def stays(command, text=None):
        return (2, "", "no") if "del" in command else tke0(command, text)

    with pytest.raises(KernelError, match=r"still has \{'addresses': '10\.244\.0\.0/32 192\.0\.2\.9/32'\}"):
        converge_link(LINK, stays, check=False)

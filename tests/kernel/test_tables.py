# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: (c) 2026, tke.overlay contributors
"""What the modules vxlan, fdb, neighbor and route promise, on real kernel tables, for both IP versions."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._addressing import Refusal
from ansible_collections.tke.overlay.plugins.module_utils._host.bulk import (
    converge,
    fdb_jobs,
    neighbor_jobs,
    route_jobs,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.link import LinkSpec, converge_link, remove_link
from ansible_collections.tke.overlay.plugins.module_utils._host.tables import KernelError, read_json, run_batch

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
KINDS = [(fdb_jobs, FDB), (neighbor_jobs, NEIGHBORS), (route_jobs, ROUTES)]


@pytest.fixture
def tke0(run):
    converge_link(LINK, run, check=False)
    return run


def counts(deltas):
    return tuple(sum(len(part) for part in parts) for parts in zip(*(delta[:3] for delta in deltas), strict=True))


@pytest.mark.parametrize(("jobs", "entries"), KINDS)
def test_entries_come_stay_and_go(tke0, jobs, entries):
    def run_with(some, state="present", purge=False, check=False):
        return counts(converge(jobs("tke0", some), "tke0", tke0, state, purge, check))

    assert run_with(entries, check=True) == (len(entries), 0, 0)
    assert run_with(entries) == (len(entries), 0, 0)
    assert run_with(entries) == (0, 0, 0)
    assert run_with(entries[:1]) == (0, 0, 0), "without purge the others stay"
    assert run_with(entries[:1], purge=True, check=True) == (0, 0, len(entries) - 1)
    assert run_with(entries[:1], purge=True) == (0, 0, len(entries) - 1)
    assert run_with(entries, state="absent") == (0, 0, 1)
    assert run_with(entries, state="absent") == (0, 0, 0)


@pytest.mark.parametrize(
    ("jobs", "before", "after"),
    [
        (fdb_jobs, FDB[:1], [{**FDB[0], "dst": "10.0.1.99"}]),
        (neighbor_jobs, NEIGHBORS[1:], [{**NEIGHBORS[1], "mac": "0a:58:0a:f4:07:00"}]),
        (route_jobs, ROUTES[:1], [{**ROUTES[0], "via": "10.244.9.0"}]),
        (route_jobs, ROUTES[2:3], [{**ROUTES[2], "via": "2001:db8::9"}]),
    ],
)
def test_a_changed_entry_is_changed_and_not_doubled(tke0, jobs, before, after):
    converge(jobs("tke0", before), "tke0", tke0, "present", False, False)
    assert counts(converge(jobs("tke0", after), "tke0", tke0, "present", True, False)) == (0, 1, 0)
    assert counts(converge(jobs("tke0", after), "tke0", tke0, "present", True, False)) == (0, 0, 0)


@pytest.mark.parametrize(("jobs", "entries"), KINDS)
def test_check_mode_works_before_the_device_is_there(run, jobs, entries):
    assert counts(converge(jobs("tke0", entries), "tke0", run, "present", False, True)) == (len(entries), 0, 0)
    assert counts(converge(jobs("tke0", entries), "tke0", run, "absent", False, True)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("jobs", "entries", "words"),
    [
        (
            fdb_jobs,
            [{"mac": "nonsense", "dst": "x"}, {"mac": "0a:58:0a:f4:01:00", "dst": "host"}],
            ["entry 1", "entry 2"],
        ),
        (fdb_jobs, [FDB[0], {**FDB[0], "dst": "10.0.1.99"}], ["given twice", "10.0.1.12", "10.0.1.99"]),
        (neighbor_jobs, [{"address": "10.244.1.0/24", "mac": "0a:58:0a:f4:01:00"}], ["10.244.1.0/24"]),
        (route_jobs, [{"dst": "10.244.1.1/24", "via": "10.244.1.0"}], ["host bits"]),
        (route_jobs, [{"dst": "10.244.1.0/24"}], ["needs 'via'"]),
        (route_jobs, [{"dst": "10.244.1.0/24", "via": "2001:db8::1"}], ["gateway is IPv6 and the destination IPv4"]),
    ],
)
def test_malformed_entries_are_named_all_at_once(jobs, entries, words):
    with pytest.raises(Refusal) as caught:
        jobs("tke0", entries)
    for word in words:
        assert word in str(caught.value)


def test_an_absent_entry_of_somebody_else_is_left(tke0):
    tke0(["ip", "route", "add", "10.244.1.0/24", "dev", "tke0", "proto", "static"])
    (delta, _other) = converge(route_jobs("tke0", ROUTES[:1]), "tke0", tke0, "absent", False, False)
    assert not delta
    assert "proto static" in delta.foreign["10.244.1.0/24"]


def test_a_link_over_ipv6_and_one_bound_to_its_parent(run):
    run(["ip", "address", "add", "2001:db8::11/64", "dev", "eth0", "nodad"])
    spec = LinkSpec("six", 6, 8472, "2001:db8::11", dev="eth0", mtu=1430)
    assert converge_link(spec, run, check=False)
    assert not converge_link(spec, run, check=False)
    changed = converge_link(spec._replace(mtu=1400), run, check=False)
    assert (changed.before, changed.after) == ({"mtu": "1430"}, {"mtu": "1400"})


def test_what_the_kernel_refuses_is_told_in_its_words(run):
    bound = LINK._replace(dev="eth0", mtu=1450)
    converge_link(bound, run, check=False)
    with pytest.raises(KernelError, match=r"Invalid argument \(at: ip link set tke0 mtu 1451\)"):
        converge_link(bound._replace(mtu=1451), run, check=False)


def test_what_the_kernel_silently_changes_is_found_by_reading_back(run):
    """At creation the kernel cuts the MTU to that of the parent less 50, without a word."""
    with pytest.raises(KernelError, match=r"still is \{'mtu': '1450'\} and not \{'mtu': '1451'\}"):
        converge_link(LINK._replace(dev="eth0", mtu=1451), run, check=False)


def test_an_unasked_attribute_is_no_difference(run):
    converge_link(LINK, run, check=False)
    assert not converge_link(LinkSpec("tke0", 1, 8472, "10.0.1.11"), run, check=False)


def test_a_malformed_link_names_all_that_is_wrong(run):
    spec = LinkSpec("much-too-long-name", 0, 70000, "host", mac="0A:58", mtu=1, addresses=["10.0.0.1"])
    with pytest.raises(Refusal) as caught:
        converge_link(spec, run, check=True)
    assert len(caught.value.problems) == 7


def test_a_link_goes_and_only_a_vxlan_link(tke0):
    assert remove_link("tke0", tke0, check=True)
    assert remove_link("tke0", tke0, check=False)
    assert not remove_link("tke0", tke0, check=False)
    with pytest.raises(Refusal, match="no VXLAN link"):
        remove_link("eth0", tke0, check=False)


def test_a_batch_stops_at_the_line_the_kernel_refuses_and_names_it(tke0):
    lines = ["neigh replace 10.244.1.0 lladdr 02:00:00:00:00:01 dev tke0", "neigh replace 10.244.2.0 dev nowhere"]
    with pytest.raises(KernelError, match=r'Cannot find device "nowhere" \(at: ip neigh replace 10\.244\.2\.0'):
        run_batch(["ip"], lines, tke0)
    assert len(read_json(["ip", "-json", "neigh", "show", "dev", "tke0"], tke0)) == 1


def test_shortage_is_retried_from_the_line_that_met_it(monkeypatch):
    """The kernel cannot be made to run short on demand, so a stand-in for the program says it did."""
    calls, pauses = [], []
    monkeypatch.setattr("time.sleep", pauses.append)

    def short_once(command, text):
        calls.append(text.splitlines())
        if len(calls) == 1:
            return 1, "", "RTNETLINK answers: No buffer space available\nCommand failed -:2\n"
        return 0, "", ""

    run_batch(["ip"], ["one", "two", "three"], short_once)
    assert calls == [["one", "two", "three"], ["two", "three"]]
    assert len(pauses) == 1


def test_endless_shortage_fails_in_the_kernels_words(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(KernelError, match=r"Device or resource busy \(at: ip one\)"):
        run_batch(
            ["ip"],
            ["one"],
            lambda command, text: (2, "", "RTNETLINK answers: Device or resource busy\nCommand failed -:1"),
        )

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the last screens of the playbooks status, site and preflight."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis import host_tables
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.connection import cause_of
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.host_tables import (
    HostStatus,
    PlannedCluster,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.text import (
    BAD,
    GOOD,
    PLAIN,
    Line,
    first_line,
    natural,
    some,
    table,
    unified,
)
from ansible_collections.tke.overlay.plugins.module_utils._cluster.diagnosis.underlay import Underlay

PLANNED = PlannedCluster(
    node_cidrs={"cloud1": "10.244.0.0/24", "idc1": "10.244.1.0/24", "idc2": "10.244.2.0/24", "idc10": "10.244.3.0/24"},
    fresh=[],
    orphans=[],
    forecast="10.244.0.0/16 has room for 255 nodes.",
)
COUNTERS = {f"{way}_{what}": 0 for way in ("rx", "tx") for what in ("packets", "bytes", "dropped", "errors")}


PORT = {"check": "port", "text": "the link veth1 is not on tke-br0", "remedy": "Put it there", "severity": "bad"}
MAX_PODS = {"check": "max_pods", "text": "kubelet accepts 110 Pods", "remedy": "Set maxPods", "severity": "warn"}
PLUGINS = {"check": "plugins", "text": "no CNI plugins yet", "remedy": "Install them", "severity": "note"}


def overlay(name, current=True, drift=(), timer="active", vips=(), rules=None, pair=None, pods=(), **counters):
    return {
        "overlay": {
            "node": name,
            "node_cidr": PLANNED.node_cidrs.get(name),
            "plan": {"applied": "1", "wanted": "1", "current": current},
            "drift": list(drift),
            "counters": {**COUNTERS, **counters, "rules": rules or {"unrouted": 0}},
            "timer": timer,
            "load_balancer": {"timer": pair} if pair else None,
            "vips": list(vips),
            "pods": list(pods),
        }
    }


def texts(lines):
    return [line.text for line in lines]


def test_table_aligns_columns_without_trailing_blanks():
    lines = table(["A", "LONG"], [["wide cell", "x"], ["y", ""]])
    assert lines == ["A          LONG", "wide cell  x", "y"]


def test_names_are_sorted_by_their_numbers():
    assert sorted(["idc10", "idc2", "a", "idc"], key=natural) == ["a", "idc", "idc2", "idc10"]
    assert some(["idc10", "idc2", "idc1"], most=2) == "idc1, idc2 and 1 more"


def test_first_line_joins_and_shortens_a_message():
    assert first_line("a\n  b") == "a b"
    assert len(first_line("word " * 100)) <= 118


class TestStatus:
    """The table of status."""

    def test_rows_are_sorted_by_site_and_number(self):
        seen = {
            "idc10": HostStatus("idc", overlay("idc10")),
            "idc2": HostStatus("idc", overlay("idc2")),
            "cloud1": HostStatus("cloud", overlay("cloud1")),
        }
        lines = texts(host_tables.status(seen, PLANNED))
        assert [line.split()[0] for line in lines[:4]] == ["HOST", "cloud1", "idc2", "idc10"]
        assert "VIPS" not in lines[0]
        assert lines[-1].startswith("next: nothing to do; ansible-playbook tke.overlay.verify")

    @pytest.mark.parametrize(
        ("seen", "cells", "step"),
        [
            (
                HostStatus("idc", overlay("idc1", current=False)),
                ["old", "-", "-", "-", "active"],
                "tke.overlay.site to apply the current plan to idc1",
            ),
            (
                HostStatus(
                    "idc", overlay("idc1", drift=["route: 4 missing"], tx_dropped=2, rules={"unrouted": 3}, rx_errors=7)
                ),
                ["ok", "1", "5", "7", "active"],
                "the timer repairs most of this by itself",
            ),
            (
                HostStatus("idc", overlay("idc1", timer="stopped")),
                ["ok", "-", "-", "-", "stopped"],
                "--limit idc1 repairs all of it",
            ),
            (
                HostStatus("idc", overlay("idc1", timer="active, last run failed (exit-code 1): journalctl")),
                ["ok", "-", "-", "-", "failed"],
                "--limit idc1 repairs all of it",
            ),
            (
                HostStatus("idc", reached=False),
                ["unreachable", "-", "-", "-", "-"],
                "check power, network and SSH of idc1",
            ),
            (
                HostStatus("idc", failure="no nft\nhere"),
                ["failed", "-", "-", "-", "-"],
                "fix the errors of idc1 shown above",
            ),
            (
                HostStatus("idc", overlay(None, current=False)),
                ["none", "-", "-", "-", "-"],
                "run ansible-playbook tke.overlay.site to apply the current plan to idc1",
            ),
            (
                HostStatus("idc", overlay("idc1", pods=[PORT, PORT, PLUGINS])),
                ["ok", "-", "-", "-", "active", "2"],
                "on idc1: put it there",
            ),
        ],
    )
    def test_each_fault_has_its_cells_and_its_next_step(self, seen, cells, step):
        shown = host_tables.status({"idc1": seen}, PLANNED)
        assert shown[1].text.split() == ["idc1", "idc", "10.244.1.0/24", *cells]
        assert shown[1].tone == BAD
        assert any(line.startswith("next: ") and step in line for line in texts(shown))

    def test_drift_and_dropped_packets_follow_the_table(self):
        seen = {
            "idc1": HostStatus("idc", overlay("idc1", drift=["route: 4 missing"], rules={"unrouted": 3, "to_pods": 0}))
        }
        lines = texts(host_tables.status(seen, PLANNED))
        assert "idc1: route: 4 missing" in lines
        assert "idc1: packets dropped by the rules: 3 unrouted" in lines

    def test_a_note_about_pods_is_printed_and_no_fault(self):
        lines = host_tables.status({"idc1": HostStatus("idc", overlay("idc1", pods=[PLUGINS]))}, PLANNED)
        assert "PODS" not in lines[0].text
        assert lines[1].tone == PLAIN
        assert Line("idc1: no CNI plugins yet") in lines
        assert lines[-1].text.startswith("next: nothing to do")

    def test_a_warning_about_pods_has_a_step_and_is_no_fault(self):
        lines = host_tables.status({"idc1": HostStatus("idc", overlay("idc1", pods=[MAX_PODS, PLUGINS]))}, PLANNED)
        assert [line.text for line in lines if line.tone == BAD] == []
        shown = texts(lines)
        assert "Pods: idc1: kubelet accepts 110 Pods" in shown
        assert shown.index("Pods: idc1: kubelet accepts 110 Pods") < shown.index("idc1: no CNI plugins yet")
        assert "next: on idc1: set maxPods" in shown

    def test_a_note_is_printed_once_for_all_hosts_and_no_fault(self):
        seen = {f"n{number}": HostStatus("idc", overlay(f"n{number}")) for number in (10, 9, 8)}
        for name in ("n9", "n10"):
            seen[name].result["overlay"]["notes"] = ["kubeconfig /etc/k.conf is not there yet"]
        lines = host_tables.status(seen, PLANNED)
        assert "n9, n10: kubeconfig /etc/k.conf is not there yet" in texts(lines)
        assert [line.text for line in lines if line.tone == BAD] == []
        seen["n8"].result["overlay"]["notes"] = [f"note {number}" for number in range(30)]
        assert "and 11 more notes" in texts(host_tables.status(seen, PLANNED))

    def test_lines_about_pods_are_limited(self):
        seen = {
            f"n{number}": HostStatus("idc", overlay(f"n{number}", pods=[{**PORT, "text": f"veth{number}"}]))
            for number in range(200)
        }
        lines = texts(host_tables.status(seen, PLANNED))
        assert len(lines) < 250
        assert "and 180 more lines about Pods" in lines
        assert "and the same for the other lines about Pods" in [line.strip() for line in lines]

    def test_orphans_are_printed_with_the_release_command(self):
        lines = texts(
            host_tables.status({"cloud1": HostStatus("cloud", overlay("cloud1"))}, PLANNED._replace(orphans=["idc10"]))
        )
        assert "in the ledger but not in the inventory: idc10 10.244.3.0/24" in lines
        assert "tke.overlay.release -e overlay_release=idc10" in lines[-1]

    def test_the_holder_of_a_vip_is_printed(self):
        seen = {
            "clb1": HostStatus("", overlay(None, vips=["10.0.2.2"])),
            "cloud1": HostStatus("cloud", overlay("cloud1")),
        }
        lines = texts(host_tables.status(seen, PLANNED))
        assert lines[0].split()[-1] == "VIPS"
        assert lines[2].split() == ["clb1", "-", "-", "-", "-", "-", "-", "-", "10.0.2.2"]
        assert lines[-1].startswith("next: nothing to do")

    def test_every_host_has_a_row_and_details_are_limited(self):
        seen = {
            f"n{number}": HostStatus("idc", overlay(f"n{number}", drift=["rules: changed"])) for number in range(200)
        }
        lines = texts(host_tables.status(seen, PLANNED))
        assert len(lines) < 230
        assert "and 180 more lines like these" in lines


class TestSite:
    """The table of site."""

    def test_rows_show_changes_failures_and_unreachable_hosts(self):
        seen = {
            "cloud1": HostStatus("cloud", {"changed": True, "counts": {"route": 1, "fdb": 1}}),
            "idc1": HostStatus("idc", {"changed": False, "counts": {}}),
            "idc2": HostStatus("idc", reached=False),
            "idc10": HostStatus("idc", failure="UDP port 8472 is taken"),
        }
        lines = texts(host_tables.site(seen, PLANNED, check=False))
        assert lines[:5] == [
            "HOST    SITE   CHANGED",
            "cloud1  cloud  route 1, fdb 1",
            "idc1    idc    nothing",
            "idc2    idc    unreachable",
            "idc10   idc    failed: UDP port 8472 is taken",
        ]
        assert "4 hosts: 1 changed, 1 unchanged, 2 not done" in lines
        assert "next: fix the errors of idc10 shown above and run the playbook again" in lines
        assert any("idc2: the next run that reaches it brings it up to date" in line for line in lines)

    def test_names_what_stops_pods_and_the_remedy(self):
        seen = {
            name: HostStatus("idc", {"changed": False, "counts": {}, "pods": [PORT, PLUGINS]})
            for name in ("idc10", "idc2")
        }
        lines = host_tables.site(seen, PLANNED, check=False)
        assert Line("Pods: idc2, idc10: the link veth1 is not on tke-br0", BAD) in lines
        assert "next: on idc2, idc10: put it there" in texts(lines)
        assert not any("no CNI plugins" in text for text in texts(lines))

    def test_check_mode_prints_what_would_change(self):
        lines = texts(
            host_tables.site({"idc1": HostStatus("idc", {"changed": True, "counts": {"link": 1}})}, PLANNED, check=True)
        )
        assert lines[0].split() == ["HOST", "SITE", "WOULD", "CHANGE"]
        assert "1 host: 1 would change, 0 unchanged" in lines

    def test_many_hosts_with_equal_cells_share_a_row(self):
        seen = {f"n{number}": HostStatus("idc", {"changed": True, "counts": {"route": 1}}) for number in range(5000)}
        seen["n7"] = HostStatus("idc", reached=False)
        lines = texts(host_tables.site(seen, PLANNED, check=False))
        assert lines[1].split("  ")[0] == "n0, n1 and 4997 more"
        assert any(line.split() == ["n7", "idc", "unreachable"] for line in lines)
        assert len(lines) < 10


def addresses(hosts):
    """Return an underlay address in 10.0.1.0/24 for each host."""
    return {host: Underlay(f"10.0.1.{number}", "ansible_host") for number, host in enumerate(hosts, 1)}


def test_preflight_shows_kept_and_new_node_cidrs():
    sites = {"cloud1": "cloud", "idc1": "idc", "idc2": "idc"}
    planned = PLANNED._replace(fresh=["idc2"], orphans=["idc10"])
    lines = texts(host_tables.preflight(sites, planned, addresses(sites)))
    assert [line.split() for line in lines[1:4]] == [
        ["cloud1", "cloud", "keeps", "10.244.0.0/24", "10.0.1.1", "ansible_host"],
        ["idc1", "idc", "keeps", "10.244.1.0/24", "10.0.1.2", "ansible_host"],
        ["idc2", "idc", "gets", "10.244.2.0/24", "10.0.1.3", "ansible_host"],
    ]
    assert any("idc10" in line for line in lines)
    assert lines[-1].startswith("next: ansible-playbook tke.overlay.site gives 1 node a node CIDR")


def test_preflight_prints_what_would_be_written():
    sites = {"idc1": "idc"}
    diff = unified("a\n", "a\nnode idc1\n", "/ledger")
    lines = texts(host_tables.preflight(sites, PLANNED, addresses(sites), diff))
    assert "+node idc1" in lines
    assert "+++ after: /ledger" in lines
    assert not unified("a\n", "a\n", "/ledger")


def test_rows_of_preflight_are_shared_by_many_hosts():
    """200 hosts of two networks, and some new ones."""
    sites = {f"n{number}": "cloud" if number < 100 else "idc" for number in range(200)}
    nodes = {
        host: Underlay(f"10.0.{1 if site == 'cloud' else 2}.{number % 100 + 1}", "ansible_host")
        for number, (host, site) in enumerate(sites.items())
    }
    planned = PLANNED._replace(node_cidrs=dict.fromkeys(sites, "10.244.0.0/24"), fresh=["n150", "n151"])
    lines = texts(host_tables.preflight(sites, planned, nodes))[:5]
    assert lines[0].split() == ["HOST", "SITE", "NODE", "CIDR", "UNDERLAY", "FROM"]
    assert [line.split()[-5:] for line in lines[1:]] == [
        ["cloud", "kept", "in", "10.0.1.0/24", "ansible_host"],
        ["idc", "kept", "in", "10.0.2.0/24", "ansible_host"],
        ["idc", "new", "in", "10.0.2.0/24", "ansible_host"],
        [],
    ]


class TestReset:
    """The table of reset."""

    def test_the_screen(self):
        seen = {
            "cloud1": HostStatus("cloud", {"changed": True, "counts": {"link": 1, "route": 0}}),
            "cloud2": HostStatus("cloud", {"changed": False, "counts": {}}),
            "idc1": HostStatus("idc", failure="no nft here"),
            "idc2": HostStatus("idc", reached=False, connection="Host key verification failed."),
        }
        lines = screen(host_tables.reset(seen, check=False))
        assert lines[:7] == [
            " HOST    SITE   REMOVED",
            " cloud1  cloud  link 1",
            " cloud2  cloud  nothing",
            "!idc1    idc    failed: no nft here",
            "!idc2    idc    unreachable: unknown SSH host key",
            " ",
            "!4 hosts: 1 reset, 1 without the overlay, 2 not done",
        ]
        assert lines[7] == " next: fix the errors of idc1 shown above and run the playbook again"
        assert lines[-1].startswith("       the hosts keep their node CIDRs: ")

    def test_check_mode(self):
        lines = screen(
            host_tables.reset({"a": HostStatus("idc", {"changed": True, "counts": {"link": 1}})}, check=True)
        )
        assert lines[0] == " HOST  SITE  WOULD REMOVE"
        assert lines[-1] == " next: run the same command without --check to apply this"


# --- complete screens ---


def screen(lines):
    """Return the printed lines, each with the prefix of its tone: ! bad, + good, blank plain."""
    tones = {"bad": "!", "good": "+", "plain": " "}
    return [f"{tones[line.tone]}{line.text}" for line in lines]


FAULTS = {
    "idc10": HostStatus(
        "idc",
        overlay(
            "idc10",
            drift=["route: 4 missing\nx", "fdb: 1 missing"],
            rules={"unrouted": 3, "to_pods": 0, "not_a_peer": 1},
            rx_dropped=1,
            tx_dropped=2,
            rx_errors=7,
            tx_errors=8,
        ),
    ),
    "idc2": HostStatus("idc", reached=False, connection="root@10.0.0.2: Permission denied (publickey)."),
    "idc1": HostStatus("idc", failure="no nft\nhere"),
    "cloud1": HostStatus("cloud", overlay("cloud1", timer="active, last run failed (exit-code 1): journalctl -u x")),
    "cloud2": HostStatus("cloud", overlay("cloud2", current=False, timer="stopped")),
    "new": HostStatus("cloud", overlay(None, current=False)),
    "clb1": HostStatus("", overlay(None, vips=["10.0.2.2", "10.0.2.3"])),
    "unread": HostStatus("cloud"),
    "idc3": HostStatus("idc", overlay("idc3", pods=[PORT])),
    "idc4": HostStatus("idc", overlay("idc4", pods=[PORT, PLUGINS])),
    "edge1": HostStatus(
        "", {"overlay": {**overlay("edge1", vips=["10.0.2.2", "10.0.2.3"])["overlay"], "node_cidr": "10.9.0.0/24"}}
    ),
}


def test_the_screen_of_status_with_every_fault(golden):
    node_cidrs = {**PLANNED.node_cidrs, "new": "10.244.9.0/24"}
    planned = PLANNED._replace(node_cidrs=node_cidrs, orphans=["old10", "old2"], fresh=["new"])
    assert screen(host_tables.status(FAULTS, planned)) == golden("status")


def test_status_with_drift_that_the_timer_repairs():
    seen = {"cloud1": HostStatus("cloud", overlay("cloud1", drift=["a"])), "idc1": HostStatus("idc", overlay("idc1"))}
    assert screen(host_tables.status(seen, PLANNED)) == [
        " HOST    SITE   NODE CIDR      PLAN  DRIFT  DROPS  ERRORS  TIMER",
        "!cloud1  cloud  10.244.0.0/24  ok    1      -      -       active",
        " idc1    idc    10.244.1.0/24  ok    -      -      -       active",
        " ",
        "!cloud1: a",
        (
            " next: the timer repairs most of this by itself; "
            "ansible-playbook tke.overlay.site --limit cloud1 repairs all of it"
        ),
    ]


def test_status_of_a_healthy_host():
    seen = {"idc1": HostStatus("idc", overlay("idc1"))}
    assert screen(host_tables.status(seen, PLANNED)) == [
        " HOST  SITE  NODE CIDR      PLAN  DRIFT  DROPS  ERRORS  TIMER",
        " idc1  idc   10.244.1.0/24  ok    -      -      -       active",
        " ",
        " next: nothing to do; ansible-playbook tke.overlay.verify checks that the nodes reach each other",
    ]


def of_pair(drift=(), pair="active", vips=(), name=None):
    return HostStatus("", overlay(name, drift=drift, pair=pair, vips=vips, timer="not installed"))


VIPS = PLANNED._replace(vips={"apiserver": "10.0.2.2", "services": "10.0.2.3"})


def test_status_of_a_healthy_pair():
    seen = {"clb1": of_pair(vips=["10.0.2.2"]), "clb2": of_pair(vips=["10.0.2.3"])}
    assert screen(host_tables.status(seen, VIPS)) == [
        " HOST  SITE  NODE CIDR  PLAN  DRIFT  DROPS  ERRORS  TIMER   VIPS",
        " clb1  -     -          -     -      -      -       active  10.0.2.2",
        " clb2  -     -          -     -      -      -       active  10.0.2.3",
        " ",
        " next: nothing to do; ansible-playbook tke.overlay.verify checks that the nodes reach each other",
    ]


def test_status_of_a_pair_with_drift():
    seen = {
        "clb1": of_pair(
            ["rules: table inet tke_overlay_clb is missing", "unit x: is off"], vips=["10.0.2.2", "10.0.2.3"]
        ),
        "clb2": of_pair(pair="active, last run failed (exit-code 1): journalctl -u y", vips=["10.0.2.3"]),
    }
    assert screen(host_tables.status(seen, VIPS)) == [
        " HOST  SITE  NODE CIDR  PLAN  DRIFT  DROPS  ERRORS  TIMER   VIPS",
        "!clb1  -     -          -     2      -      -       active  10.0.2.2 10.0.2.3",
        "!clb2  -     -          -     -      -      -       failed  10.0.2.3",
        " ",
        "!clb1: rules: table inet tke_overlay_clb is missing",
        "!clb1: unit x: is off",
        "!clb2: timer active, last run failed (exit-code 1): journalctl -u y",
        "!VIP services 10.0.2.3 is on clb1 and clb2 at the same time",
        " next: ansible-playbook tke.overlay.site --limit clb1,clb2 repairs all of it",
        ("       permit VRRP between clb1 and clb2: IP protocol 112, unicast; journalctl -u tke-overlay-keepalived"),
    ]


def test_status_of_a_pair_without_vips_and_of_one_that_is_not_installed():
    seen = {"clb1": of_pair(), "clb2": of_pair()}
    lines = screen(host_tables.status(seen, VIPS))
    assert "!VIP apiserver 10.0.2.2 is on no host of the pair" in lines
    step = " next: on clb1, clb2: systemctl status 'tke-overlay-*'; journalctl -u tke-overlay-keepalived"
    assert lines[-1] == step, "one step for both VIPs"
    lines = screen(host_tables.status({"clb1": of_pair()}, VIPS))
    assert not [line for line in lines if "VIP " in line], "with --limit, the other host can hold it"
    away = HostStatus("", reached=False, connection="Connection timed out")
    lines = screen(host_tables.status({"clb1": of_pair(vips=["10.0.2.2"]), "clb2": away}, VIPS))
    assert [line for line in lines if "VIP " in line] == [
        "!VIP services 10.0.2.3 is not on clb1, and the other host of the pair was not read"
    ]
    assert lines[-1].strip().startswith("on clb1: systemctl status")
    lines = screen(host_tables.status({"clb1": of_pair(["load balancer: not installed"], pair=None)}, VIPS))
    assert "!clb1: load balancer: not installed" in lines
    assert lines[-1] == " next: ansible-playbook tke.overlay.site --limit clb1 repairs all of it"


def test_status_of_a_vip_that_a_node_has_as_well():
    seen = {
        "clb1": of_pair(vips=["10.0.2.2"]),
        "clb2": of_pair(vips=["10.0.2.3"]),
        "idc1": HostStatus("idc", overlay("idc1", vips=["10.0.2.2"])),
    }
    lines = screen(host_tables.status(seen, VIPS))
    assert [line for line in lines if "VIP " in line] == [
        (
            "!VIP apiserver 10.0.2.2 is an address of idc1, which is no host of the pair: "
            "its packets to the VIP go nowhere else"
        ),
        (
            " next: remove the VIP from idc1: on kube-ipvs0 from externalIPs or status.loadBalancer of the Service, "
            "otherwise from the link; or set another one in overlay_clb_vips"
        ),
    ]


def test_status_shows_the_worse_timer_of_a_node_that_is_of_the_pair():
    for node, pair, word in (("active", "stopped", "stopped"), ("stopped", "active", "stopped")):
        seen = HostStatus("cloud", overlay("cloud1", timer=node, pair=pair))
        assert host_tables.status({"cloud1": seen}, PLANNED)[1] == Line(
            f"cloud1  cloud  10.244.0.0/24  ok    -      -      -       {word}", BAD
        )


@pytest.mark.parametrize(("number", "limit"), [(8, " --limit n0,n1,n2,n3,n4,n5,n6,n7"), (9, "")])
def test_a_command_for_many_hosts_has_no_limit(number, limit):
    seen = {f"n{each}": HostStatus("", overlay(f"n{each}", drift=["a"])) for each in range(number)}
    step = f"ansible-playbook tke.overlay.site{limit} repairs all of it"
    assert screen(host_tables.status(seen, PLANNED))[-1].endswith(step)


@pytest.mark.parametrize(("number", "more"), [(8, ""), (10, " (then the other 2)")])
def test_the_step_about_orphans_names_those_it_leaves_out(number, more):
    planned = PLANNED._replace(orphans=[f"old{each}" for each in range(number)])
    step = f"overlay_release=old0,old1,old2,old3,old4,old5,old6,old7{more}"
    assert screen(host_tables.status({}, planned))[-1].endswith(step)


def test_status_limits_details():
    seen = {f"n{number}": HostStatus("", overlay(f"n{number}", drift=["a"])) for number in range(21)}
    lines = screen(host_tables.status(seen, PLANNED))
    assert lines[23:-1] == [*(f"!n{number}: a" for number in range(20)), "!and 1 more line like these"]
    assert screen(host_tables.status(dict(list(seen.items())[:20]), PLANNED))[-2] == "!n19: a"


def test_the_screen_of_site(golden):
    seen = {
        "cloud1": HostStatus("cloud", {"changed": True, "counts": {"route": 1, "fdb": 1200}}),
        "cloud2": HostStatus("cloud", {"changed": True}),
        "idc1": HostStatus("idc", {"changed": False, "counts": {}}),
        "idc2": HostStatus("idc", reached=False, connection="ssh: connect to host b port 22: Connection timed out"),
        "idc3": HostStatus("idc", reached=False, connection="x\nHost key verification failed."),
        "idc4": HostStatus("idc", failure="The module interpreter '/usr/bin/python3' was not found."),
        "idc10": HostStatus("idc", failure="UDP port\n8472 is taken"),
        "idc11": HostStatus(""),
    }
    reach = [Line("API endpoint: 7 nodes reach the API server", GOOD)]
    assert screen(host_tables.site(seen, PLANNED._replace(orphans=["idc10"]), check=False, reach=reach)) == golden(
        "site"
    )


def test_site_in_check_mode():
    seen = {
        "cloud1": HostStatus("cloud", {"changed": True, "counts": {"route": 1}}),
        "idc2": HostStatus("idc", reached=False, connection="kex: no such thing"),
    }
    assert screen(host_tables.site(seen, PLANNED, check=True)) == [
        " HOST    SITE   WOULD CHANGE",
        " cloud1  cloud  route 1",
        "!idc2    idc    unreachable: kex: no such thing",
        " ",
        "!2 hosts: 1 would change, 0 unchanged, 1 not done",
        " 10.244.0.0/16 has room for 255 nodes.",
        " next: check power, network and SSH of idc2 (kex: no such thing)",
        "       idc2: the next run that reaches it brings it up to date; other hosts do not wait",
        "       run the same command without --check to apply this",
    ]


def test_site_with_no_host_done_has_only_their_next_steps():
    message = "ssh: connect to host 10.0.0.1 port 22: No route to host"
    seen = {host: HostStatus("idc", reached=False, connection=message) for host in ("idc1", "idc2")}
    assert [text.strip() for text in screen(host_tables.site(seen, PLANNED, check=False))[-2:]] == [
        f"next: idc1, idc2: there is no route to it: {cause_of(message).remedy}",
        "idc1, idc2: the next run that reaches them brings them up to date; other hosts do not wait",
    ]


def test_site_shortens_a_long_error():
    (_head, row, *_rest) = screen(host_tables.site({"a": HostStatus("", failure="word " * 40)}, PLANNED, check=False))
    assert row == f"!a     -     failed: {('word ' * 40)[:87]}..."


def test_site_has_at_most_forty_rows():
    seen = {f"n{number}": HostStatus("idc", {"changed": True, "counts": {"route": number}}) for number in range(43)}
    assert screen(host_tables.site(seen, PLANNED, check=False))[39:] == [
        " n38   idc   route 38",
        " n39   idc   route 39",
        " and 3 more rows",
        " ",
        "+43 hosts: 43 changed, 0 unchanged",
        " 10.244.0.0/16 has room for 255 nodes.",
        " next: ansible-playbook tke.overlay.verify checks that the nodes reach each other",
    ]
    same = {f"n{number}": HostStatus("idc", {"changed": False}) for number in range(40)}
    assert len(screen(host_tables.site(same, PLANNED, check=False))) == 45, "up to 40 hosts have a row each"
    assert screen(host_tables.site({**same, "x": HostStatus("idc", {"changed": False})}, PLANNED, check=False))[:3] == [
        " HOST                SITE  CHANGED",
        " n0, n1 and 39 more  idc   nothing",
        " ",
    ]


def test_the_screen_of_preflight(golden):
    sites = {"cloud1": "cloud", "idc2": "idc", "idc1": "idc"}
    nodes = {
        "cloud1": Underlay("203.0.113.7", "ansible_host", "10.0.0.7", "ip"),
        "idc1": Underlay("192.168.1.11", "overlay_underlay_ip"),
        "idc2": Underlay("192.168.1.12", "its name"),
    }
    planned = PLANNED._replace(fresh=["idc1", "idc2"], orphans=["idc10"], writable=True)
    assert screen(host_tables.preflight(sites, planned, nodes)) == golden("preflight")
    assert screen(host_tables.preflight({"cloud1": "cloud"}, PLANNED, addresses(["cloud1"])))[-1] == (
        " next: ansible-playbook tke.overlay.site; add --check --diff to see the changes on each host first"
    )
    forty = {f"n{number}": "idc" for number in range(40)}
    node_cidrs = {name: f"10.244.{number}.0/24" for number, name in enumerate(forty)}
    rows = screen(host_tables.preflight(forty, PLANNED._replace(node_cidrs=node_cidrs), addresses(forty)))
    assert rows[1].split() == ["n0", "idc", "keeps", "10.244.0.0/24", "10.0.1.1", "ansible_host"]


def test_limits_of_name_lists_and_messages():
    six = [f"n{number}" for number in range(6)]
    assert some(six) == "n0, n1, n2, n3, n4, n5"
    assert some([*six, "n6"]) == "n0, n1, n2, n3, n4, n5 and 1 more"
    assert first_line("x" * 118) == "x" * 118
    assert first_line("x" * 119) == f"{'x' * 115}..."


def test_the_forecast_has_a_line_per_sentence_and_is_wrapped():
    forecast = (
        "10.244.0.0/16 has room for 255 nodes of 253 Pods: 4 used, 251 free; node 256 needs a further container CIDR. "
        "Services: 10.244.255.0/24, 251 usable."
    )
    lines = screen(
        host_tables.preflight({"cloud1": "cloud"}, PLANNED._replace(forecast=forecast), addresses(["cloud1"]))
    )
    assert lines[4:6] == [
        " 10.244.0.0/16 has room for 255 nodes of 253 Pods: 4 used, 251 free; node 256 needs a further container CIDR.",
        " Services: 10.244.255.0/24, 251 usable.",
    ]
    long = f"{'word ' * 30}end. Short."
    lines = screen(host_tables.preflight({"cloud1": "cloud"}, PLANNED._replace(forecast=long), addresses(["cloud1"])))
    assert lines[4:7] == [f" {('word ' * 23).strip()}", f" {'word ' * 7}end.", " Short."]


NOTICE = "there is no ledger at /x, so a NEW one begins. If cluster 'demo' has nodes already, stop."


def test_preflight_begins_with_the_ledger_that_is_not_there():
    lines = host_tables.preflight({"cloud1": "cloud"}, PLANNED._replace(new_ledger=NOTICE), addresses(["cloud1"]))
    assert [(line.text, line.tone) for line in lines[:2]] == [
        ("there is no ledger at /x, so a NEW one begins.", BAD),
        ("If cluster 'demo' has nodes already, stop.", BAD),
    ]
    assert lines[2].text == ""


def test_status_without_a_ledger_does_not_advise_to_apply_a_plan():
    lines = texts(
        host_tables.status(
            {"cloud1": HostStatus("cloud", overlay("cloud1", current=False))}, PLANNED._replace(new_ledger=NOTICE)
        )
    )
    assert "there is no ledger at /x, so a NEW one begins." in lines
    assert [line for line in lines if line.startswith("next:")] == [f"next: {host_tables.LEDGER_STEP}"]
    assert "rebuild_ledger" in host_tables.LEDGER_STEP


@pytest.mark.parametrize("check", [False, True], ids=["run", "check mode"])
def test_site_names_the_hosts_for_which_a_cutover_waits(check):
    waiting = HostStatus("cloud", {"changed": True, "unfinished": True, "waits_for": ["idc10", "idc2"]})
    failed = HostStatus("idc", failure="UDP port 4789 is taken")
    seen = {"cloud1": waiting, "cloud2": waiting, "idc2": failed, "idc10": failed}
    text = " ".join(screen(host_tables.site(seen, PLANNED, check=check)))
    assert ("idc2, idc10 would lose contact" in text) is not check
    assert ("to continue without idc2, idc10: --limit 'all:!idc2:!idc10'" in text) is not check


def test_site_does_not_leave_out_hosts_that_a_batch_has_not_started():
    waiting = HostStatus("cloud", {"changed": True, "unfinished": True, "waits_for": ["idc1", "idc2"]})
    seen = {"cloud1": waiting, "idc1": HostStatus("idc", failure="UDP port 4789 is taken"), "idc2": HostStatus("idc")}
    text = " ".join(screen(host_tables.site(seen, PLANNED, check=False)))
    assert "idc1, idc2 would lose contact. The next run in which no node fails continues;" in text
    assert "--limit 'all:!idc1'" in text
    seen["idc1"] = HostStatus("idc")
    assert "--limit" not in " ".join(screen(host_tables.site(seen, PLANNED, check=False)))

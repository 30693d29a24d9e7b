# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The comparison of what a host has with its target. It runs no program, so no test here needs a kernel."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import ActualEntry
from ansible_collections.tke.overlay.plugins.module_utils._host.node.compare import (
    ActualState,
    compare,
    compare_tables,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.node.target import build_target
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE
from ansible_collections.tke.overlay.plugins.module_utils._host.state.systemd import HostFacts

UNITS = {"tke-overlay.service": "enabled", "tke-overlay.timer": "enabled active"}
ROW = {
    "ifname": "tke0",
    "address": "0a:58:0a:f4:00:00",
    "mtu": 1450,
    "flags": ["UP"],
    "ifalias": "tke.overlay",
    "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 1, "port": 8472, "local": "10.0.1.11", "learning": False}},
    "addr_info": [{"local": "10.244.0.0", "prefixlen": 32}],
}
ROUTE = "10.244.1.0/24"


@pytest.fixture
def target(document):
    """Return the target of a host with systemd."""
    return build_target(document, HostFacts(systemd=True, units=UNITS, loaded=True, kernel=(6, 1)))


def managed(entries):
    return {key: ActualEntry(spec, managed=True) for key, spec in entries.items()}


@pytest.fixture
def converged(target):
    """Return the state of a host that has everything that the target describes."""
    tables = {table.name: managed(wanted.entries) for table, wanted in target.tables.in_removal_order()}
    tables["rules"] = managed(target.rules.wanted)
    files = {path: text for path, text in target.all_files.items() if text is not None}
    return ActualState([ROW], tables, files, dict(target.sysctls), {})


def test_converged_host_does_not_differ(target, converged):
    result = compare(target, converged)
    assert not result.changed
    assert list(result.diffs()) == []
    assert result.file_names == []


def test_host_without_anything_lacks_everything(target):
    result = compare(target, ActualState([], {}, {}, {}, {}))
    assert result.kernel
    assert result.link.made
    assert {name: delta.added for name, delta in result.tables.items()} == {
        **{name: wanted.entries for name, wanted in target.tables.wanted.items()},
        "rules": target.rules.wanted,
    }
    assert set(result.file_names) == {path for path, text in target.all_files.items() if text is not None}


def test_reports_each_kind_of_difference_of_a_table(target, converged):
    routes = {**converged.tables["route"], "10.244.9.0/24": ActualEntry("via 10.244.9.0 dev tke0 onlink", True)}
    routes[ROUTE] = ActualEntry("via 10.244.7.0 dev tke0 onlink", True)
    del routes["10.244.0.0/24 metric 4096"]
    delta = compare(target, converged._replace(tables={**converged.tables, "route": routes})).tables["route"]
    assert list(delta.added) == ["10.244.0.0/24 metric 4096"]
    assert delta.changed == {ROUTE: ("via 10.244.7.0 dev tke0 onlink", "via 10.244.1.0 dev tke0 onlink")}
    assert list(delta.removed) == ["10.244.9.0/24"]


def test_rejects_a_foreign_entry_in_the_place_of_a_planned_one(target, converged):
    foreign = ActualEntry("via 10.0.1.1 dev eth0 proto static", managed=False, on_device=False)
    with pytest.raises(ValidationError, match=rf"{ROUTE} .*via 10\.0\.1\.1 dev eth0"):
        compare_tables(target, {**converged.tables, "route": {ROUTE: foreign}})


def test_difference_of_files_alone_does_not_concern_the_kernel(target, converged):
    path = "/etc/tke-overlay/summary"
    result = compare(target, converged._replace(files={**converged.files, path: "old\n"}))
    assert result.file_names == [path]
    assert result.changed
    assert not result.kernel


def test_diff_of_a_saved_batch_has_only_the_lines_that_differ(target, converged):
    path = "/etc/tke-overlay/route.batch"
    lines = converged.files[path].splitlines(keepends=True)
    (diff,) = compare(target, converged._replace(files={**converged.files, path: "".join(lines[1:])})).files
    assert (diff.before, diff.after) == ("", lines[0])


def test_difference_of_a_sysctl_concerns_the_kernel(target, converged):
    result = compare(target, converged._replace(sysctls={**converged.sysctls, "net.ipv4.ip_forward": "0"}))
    assert result.kernel
    assert [(diff.name, diff.before, diff.after) for diff in result.sysctls] == [("net.ipv4.ip_forward", "0", "1")]


def test_difference_of_a_unit_is_a_change(target, converged):
    target = target._replace(host=target.host._replace(units={**UNITS, "tke-overlay.timer": "enabled"}))
    result = compare(target, converged)
    assert [diff.name for diff in result.units] == ["tke-overlay.timer"]
    assert result.changed
    assert not result.kernel


def test_link_is_changed_in_place_where_possible(target, converged):
    result = compare(target, converged._replace(links=[{**ROW, "mtu": 1400}]))
    assert (result.link.before, result.link.after) == ({"mtu": "1400"}, {"mtu": "1450"})
    assert not result.link.made


def test_a_file_with_another_mode_is_written_again(target, converged):
    path = f"{STATE}/route.batch"
    result = compare(target, converged._replace(rights={path: "mode 0666, owner 0"}))
    assert result.files == [(path, "mode 0666, owner 0\n", "mode 0644, owner 0\n")]
    assert not result.kernel

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The saved state: what is written below /etc/tke-overlay is what is read from there."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import KernelError
from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.fdb import FdbTable, fdb_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.neighbor import NeighborTable, neighbor_entry
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.route import (
    RouteTable,
    blackhole_entry,
    via_entry,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.tables import wanted_of
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import (
    SavedState,
    batch_file,
    may_have_pods,
    saved_entries,
    saved_settings,
    saved_summary,
    state_files,
)

FDB = FdbTable("tke0")
TABLES = [
    (
        RouteTable("tke0"),
        dict([blackhole_entry("10.244.0.0/24"), via_entry("10.244.1.0/24", "10.244.1.0", "tke0")]),
    ),
    (FDB, dict([fdb_entry("0a:58:0a:f4:01:00", "10.0.1.12")])),
    (NeighborTable("tke0"), dict([neighbor_entry("10.244.1.0", "0a:58:0a:f4:01:00")])),
]
STATE = SavedState(
    link=LinkSpec("tke0", 1, 8472, "10.0.1.11", mac="0a:58:0a:f4:00:00", mtu=1400, addresses=["10.244.0.0/32"]),
    bridge="tke-br0",
    node_cidr="10.244.0.0/24",
    cidrs=["10.244.0.0/16", "10.245.0.0/16"],
    tables=[(table, wanted_of(table, entries)) for table, entries in TABLES],
    rules="table inet tke_overlay\n",
    sysctls={"net.ipv4.ip_forward": "1"},
    summary={"cluster": "it's a demo", "node": "me", "peers": 1},
    fleet="me 10.244.0.0/24 10.0.1.11\n",
)


@pytest.fixture
def saved():
    for path, text in state_files(STATE).items():
        files.write_file(path, text, durable=False)


@pytest.mark.parametrize(("bridge", "gateway"), [("tke-br0", "10.244.0.1/24"), ("", "")])
def test_settings_name_no_bridge_on_a_host_without_pods(bridge, gateway):
    for path, text in state_files(STATE._replace(bridge=bridge)).items():
        files.write_file(path, text, durable=False)
    settings = saved_settings()
    assert (settings["bridge"], settings["gateway"]) == (bridge, gateway)
    assert may_have_pods(settings) is bool(bridge)


def test_host_whose_settings_are_lost_may_have_pods():
    assert may_have_pods(saved_settings())


def test_saved_entries_are_those_of_each_table(saved):
    for table, entries in TABLES:
        assert saved_entries(table) == entries


def test_summary_and_settings_are_read_as_written(saved):
    assert saved_summary() == {"cluster": "it's a demo", "node": "me", "peers": "1"}
    settings = saved_settings()
    assert settings["cidrs"].split() == STATE.cidrs
    assert (settings["device"], settings["mtu"], settings["address"]) == ("tke0", "1400", "10.244.0.0/32")


def test_a_host_without_saved_state_has_nothing():
    assert (saved_entries(FDB), saved_summary(), saved_settings()) == (None, {}, {})


def test_an_edited_batch_names_file_and_line(saved):
    files.write_file(batch_file(FDB), "fdb replace everything\n", durable=False)
    with pytest.raises(KernelError) as caught:
        saved_entries(FDB)
    for words in (batch_file(FDB), "'fdb replace everything'", "run tke.overlay.site"):
        assert words in str(caught.value)

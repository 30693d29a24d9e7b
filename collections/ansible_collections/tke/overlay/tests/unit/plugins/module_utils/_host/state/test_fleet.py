# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a host in its saved state."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import checksums_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.fleet import (
    KEYS_LINE,
    link_lines,
    pair_cluster,
    read_saved,
)
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    FLEET_FILE,
    PAIR_CHECKSUMS,
    PAIR_CLUSTER_FILE,
    SETTINGS,
    STATE,
    SUMMARY,
)


def test_an_incomplete_saved_state_is_an_error(root):
    assert read_saved() is None
    path = root / FLEET_FILE[1:]
    path.parent.mkdir(parents=True)
    path.write_text("a 10.244.0.0/24 10.0.1.1\n")
    with pytest.raises(
        ValidationError, match=rf"the saved state {STATE} of this host is incomplete \('node'\): run tke.overlay"
    ):
        read_saved()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("port 51900 generation 3", {"wireguard_generation": 3, "wireguard_port": 51900}),
        ("generation 3", {"wireguard_generation": 3}),
    ],
)
def test_the_record_has_the_keys_and_their_port(root, text, expected):
    """Hosts with an earlier state have saved no port."""
    lines = {
        "node": "a",
        "cluster": "demo",
        "node_cidr": "10.244.0.0/24",
        "Service range": "10.244.255.0/24",
        KEYS_LINE: text,
    }
    summary = "".join(f"{name}: {value}\n" for name, value in lines.items())
    settings = "local=10.0.1.1\nport=8472\ncidrs=10.244.0.0/16\nmtu=1450\n"
    for path, content in ((SUMMARY, summary), (SETTINGS, settings), (FLEET_FILE, "")):
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_text(content)
    found = read_saved()
    assert {name: value for name, value in found.items() if name.startswith("wireguard")} == expected


def test_the_lines_of_the_summary_name_the_port():
    document = {"links": "a a wireguard 1440\n", "wireguard_generation": 3, "wireguard_port": 51900}
    assert link_lines(document, "a")[KEYS_LINE] == "port 51900 generation 3"


def test_load_balancer_host_knows_its_cluster(root):
    assert pair_cluster() == ""
    path = root / PAIR_CLUSTER_FILE[1:]
    path.parent.mkdir(parents=True)
    path.write_text("demo\n")
    sums = root / PAIR_CHECKSUMS[1:]
    sums.write_text(checksums_text(PAIR_CHECKSUMS, {PAIR_CLUSTER_FILE: "demo\n"}))
    assert pair_cluster() == "demo"
    for damaged in ("demo\nmore\n", ""):
        path.write_text(damaged)
        assert pair_cluster() == "", "a damaged file names no cluster"

# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a host in its saved state."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._errors import ValidationError
from ansible_collections.tke.overlay.plugins.module_utils._host.state.checksums import checksums_text
from ansible_collections.tke.overlay.plugins.module_utils._host.state.fleet import pair_cluster, read_saved
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import (
    FLEET_FILE,
    PAIR_CHECKSUMS,
    PAIR_CLUSTER_FILE,
    STATE,
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

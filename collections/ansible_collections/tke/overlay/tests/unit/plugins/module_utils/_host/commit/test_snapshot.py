# Copyright: (c) 2026, tke.overlay contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which commands a rollback needs beside the script of the saved state."""

from __future__ import annotations

import pytest

from ansible_collections.tke.overlay.plugins.module_utils._host import files
from ansible_collections.tke.overlay.plugins.module_utils._host.commit.snapshot import snapshot
from ansible_collections.tke.overlay.plugins.module_utils._host.kernel.link import LinkSpec
from ansible_collections.tke.overlay.plugins.module_utils._host.state.paths import STATE, STATE_FILES
from ansible_collections.tke.overlay.plugins.module_utils._host.state.saved_state import SavedState

LINK = LinkSpec("tke0", 1, 8472, "10.0.1.11", "0a:58:0a:f4:00:00", 1450, ["10.244.0.0/32"])
NEW = SavedState(LINK, "tke-br0", ["10.244.0.0/16"], "10.244.0.0/24", [], "", {}, {}, "")


def no_program(_command, _text=None):
    raise AssertionError("no program is needed")


@pytest.mark.parametrize(
    ("device", "removals"), [("tke0", []), ("old0", ["ip link del dev tke0"])], ids=["same device", "another device"]
)
def test_a_new_device_is_removed_by_a_rollback(tmp_path, monkeypatch, device, removals):
    """The script restores the saved device, and does not know a device of another name."""
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    for name in STATE_FILES:
        files.write_file(f"{STATE}/{name}", f"device={device}\n" if name == "settings" else "")
    before = snapshot(NEW, None, {}, {}, no_program)
    assert (before.base, before.removals) == (STATE, removals)


def test_a_host_that_was_no_node_loses_link_and_rules(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "ROOT", str(tmp_path))
    before = snapshot(NEW, None, {}, {"a": "1"}, no_program)
    assert before.base == ""
    assert before.removals == ["ip link del dev tke0", "nft delete table inet tke_overlay"]
    assert before.sysctls == {"a": "1"}
